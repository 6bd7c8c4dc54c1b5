//! What Endpoints say of slices, and slices of Endpoints.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::made::made;
use super::mirror::{Writes, plan};
use super::{MAKER, MAX_ADDRESSES};

fn from<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

fn service(spec: Value) -> Service {
    from(
        json!({"metadata": {"namespace": "n", "name": "web", "uid": "u", "labels": {"team": "a"}},
        "spec": spec}),
    )
}

fn selecting() -> Service {
    service(json!({"selector": {"app": "web"}, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"]}))
}

fn slice(family: &str, port: u16, endpoints: Value) -> Arc<EndpointSlice> {
    Arc::new(from(
        json!({"metadata": {"namespace": "n", "name": format!("web-{family}-{port}")},
        "addressType": family, "endpoints": endpoints,
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}]}),
    ))
}

fn endpoints(uid: &str, subsets: Value) -> Endpoints {
    from(
        json!({"metadata": {"namespace": "n", "name": "web", "uid": uid, "labels": {"a": "b"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x", "c": "d"}},
        "subsets": subsets}),
    )
}

fn value<T: serde::Serialize>(object: &T) -> Value {
    serde_json::to_value(object).expect("JSON")
}

#[test]
fn endpoints_say_what_the_slices_of_the_first_family_say() {
    let slices = [
        slice(
            "IPv4",
            8080,
            json!([
                {"addresses": ["10.0.0.10"], "conditions": {"ready": true}, "nodeName": "n1",
                 "targetRef": {"kind": "Pod", "name": "p"}, "hostname": "h"},
                {"addresses": ["10.0.0.9"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.8"], "conditions": {"ready": false, "terminating": true}},
                {"addresses": ["10.0.0.7"], "conditions": {"ready": false}},
            ]),
        ),
        slice("IPv4", 9090, json!([{"addresses": ["10.0.0.1"]}])),
        slice("IPv6", 8080, json!([{"addresses": ["fd00::1"]}])),
    ];
    let made_now = made(&selecting(), &slices, None).expect("there is none");
    let port = |number: u16| json!([{"name": "http", "port": number, "protocol": "TCP"}]);
    let subsets = json!([
        {"addresses": [
            {"ip": "10.0.0.9"},
            {"ip": "10.0.0.10", "nodeName": "n1", "hostname": "h", "targetRef": {"kind": "Pod", "name": "p"}}],
         "notReadyAddresses": [{"ip": "10.0.0.7"}], "ports": port(8080)},
        {"addresses": [{"ip": "10.0.0.1"}], "ports": port(9090)},
    ]);
    assert_eq!(value(&made_now.subsets), subsets);
    let labels = made_now.metadata.labels.clone().expect("labels");
    assert_eq!(labels["endpoints.kubernetes.io/managed-by"], MAKER);
    assert_eq!(labels["team"], "a");
    assert_eq!(made(&selecting(), &slices, Some(&made_now)), None);
    let all = service(
        json!({"selector": {"app": "web"}, "publishNotReadyAddresses": true,
        "clusterIP": "None", "ipFamilies": ["IPv4"]}),
    );
    let headless = made(&all, &slices, Some(&made_now)).expect("another");
    let subsets = headless.subsets.expect("some");
    assert_eq!(
        subsets[0].not_ready_addresses.as_ref().map(Vec::len),
        Some(2)
    );
    let labels = headless.metadata.labels.expect("labels");
    assert!(labels.contains_key("service.kubernetes.io/headless"));
}

#[test]
fn endpoints_are_cut_off_and_say_so() {
    let many: Vec<Value> = (0..1200)
        .map(|at| {
            json!({"addresses": [format!("10.0.{}.{}", at / 250, at % 250 + 1)],
                "conditions": {"ready": at >= 300}})
        })
        .collect();
    let slices = [slice("IPv4", 80, Value::Array(many))];
    let cut = made(&selecting(), &slices, None).expect("new");
    let subset = &cut.subsets.as_ref().expect("one")[0];
    let count = |list: &Option<Vec<_>>| list.as_ref().map_or(0, Vec::len);
    assert_eq!(
        (count(&subset.addresses), count(&subset.not_ready_addresses)),
        (900, 100)
    );
    let annotations = cut.metadata.annotations.clone().expect("said");
    assert_eq!(
        annotations["endpoints.kubernetes.io/over-capacity"],
        "truncated"
    );
    assert_eq!(made(&selecting(), &slices, Some(&cut)), None);
    let few = [slice("IPv4", 80, json!([{"addresses": ["10.0.0.1"]}]))];
    let few = made(&selecting(), &few, Some(&cut)).expect("fewer");
    assert_eq!(few.metadata.annotations, None);
}

/// The slices after what is planned was written.
fn written(slices: &[Arc<EndpointSlice>], writes: &Writes) -> Vec<Arc<EndpointSlice>> {
    let name = |slice: &EndpointSlice| slice.metadata.name.clone();
    let touched: Vec<_> = writes.update.iter().map(name).collect();
    let deleted: Vec<_> = writes.delete.iter().map(|slice| name(slice)).collect();
    let kept = slices
        .iter()
        .filter(|one| !touched.contains(&name(one)) && !deleted.contains(&name(one)));
    let new = writes.create.iter().chain(&writes.update);
    kept.cloned().chain(new.cloned().map(Arc::new)).collect()
}

#[test]
fn what_others_write_for_a_service_without_a_selector_is_mirrored() {
    let by_hand = endpoints(
        "e",
        json!([
            {"addresses": [{"ip": "10.0.0.1", "nodeName": "n1"}, {"ip": "fd00::1"}, {"ip": "127.0.0.1"}],
             "notReadyAddresses": [{"ip": "10.0.0.2"}, {"ip": "10.0.0.1"}],
             "ports": [{"name": "http", "port": 80}]},
            {"addresses": [{"ip": "10.0.0.3"}], "ports": [{"name": "http", "port": 80}]},
        ]),
    );
    let plain = service(json!({}));
    let writes = plan(Some(&plain), Some(&by_hand), &[]);
    assert_eq!((writes.create.len(), writes.invalid), (2, 1));
    let of = |family: &str| {
        let mut slices = writes.create.iter();
        slices
            .find(|slice| slice.address_type == family)
            .expect("one")
    };
    let four = of("IPv4");
    assert_eq!(
        value(&four.endpoints),
        json!([
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "nodeName": "n1"},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": true}},
        ])
    );
    assert_eq!(
        value(&of("IPv6").ports),
        json!([{"name": "http", "port": 80, "protocol": "TCP"}])
    );
    assert_eq!(
        value(&four.metadata.labels),
        json!({"a": "b", "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io"})
    );
    assert_eq!(value(&four.metadata.annotations), json!({"c": "d"}));
    let owner = &four.metadata.owner_references.as_ref().expect("one")[0];
    assert_eq!(
        (owner.kind.as_str(), owner.uid.as_str()),
        ("Endpoints", "e")
    );

    let slices = written(&[], &writes);
    assert_eq!(plan(Some(&plain), Some(&by_hand), &slices).count(), 0);
    // Those of earlier Endpoints go, and none is made in their place before they are gone.
    let mut later = by_hand.clone();
    later.metadata.uid = Some("f".to_owned());
    let swapped = plan(Some(&plain), Some(&later), &slices);
    assert_eq!((swapped.create.len(), swapped.delete.len()), (0, 2));
    let mut fewer = by_hand.clone();
    fewer.subsets.as_mut().expect("two").truncate(1);
    let update = plan(Some(&plain), Some(&fewer), &slices);
    assert_eq!((update.count(), update.update.len()), (1, 1));
    for (service, endpoints) in [
        (None, Some(&by_hand)),
        (Some(&plain), None),
        (Some(&selecting()), Some(&by_hand)),
    ] {
        assert_eq!(plan(service, endpoints, &slices).delete.len(), 2);
    }
}

#[test]
fn some_endpoints_are_not_mirrored_and_none_without_bound() {
    let subsets = json!([{"addresses": [{"ip": "10.0.0.1"}]}]);
    let plain = service(json!({}));
    let mut skipped = endpoints("e", subsets.clone());
    let labels = skipped.metadata.labels.get_or_insert_default();
    labels.insert(
        "endpointslice.kubernetes.io/skip-mirror".into(),
        "true".into(),
    );
    assert_eq!(plan(Some(&plain), Some(&skipped), &[]).count(), 0);
    let mut lock = endpoints("e", subsets);
    let annotations = lock.metadata.annotations.get_or_insert_default();
    annotations.insert(
        "control-plane.alpha.kubernetes.io/leader".into(),
        "{}".into(),
    );
    assert_eq!(plan(Some(&plain), Some(&lock), &[]).count(), 0);
    let many: Vec<Value> = (0..1300)
        .map(|at| json!({"ip": format!("10.0.{}.{}", at / 250, at % 250 + 1)}))
        .collect();
    let many = endpoints("e", json!([{"addresses": many}]));
    let writes = plan(Some(&plain), Some(&many), &[]);
    let held = writes.create[0].endpoints.as_ref().map_or(0, Vec::len);
    assert_eq!(
        (writes.create.len(), held, writes.surplus),
        (1, MAX_ADDRESSES, 300)
    );
}

fn subset() -> impl Strategy<Value = Value> {
    let ips = prop::collection::vec(0..6_u8, 0..5);
    (ips.clone(), ips, 0..3_u16).prop_map(|(ready, unready, port)| {
        let list = |all: Vec<u8>| -> Vec<Value> {
            let text = |at: u8| match at {
                0 => "fe80::1".to_owned(),
                1 | 2 => format!("fd00::{at}"),
                at => format!("10.0.0.{at}"),
            };
            all.into_iter().map(|at| json!({"ip": text(at)})).collect()
        };
        json!({"addresses": list(ready), "notReadyAddresses": list(unready),
            "ports": [{"port": 80 + port}]})
    })
}

proptest! {
    /// From whatever there was, one round of writes is enough, and each address is in one slice.
    #[test]
    fn mirroring_comes_to_rest(
        before in prop::collection::vec(subset(), 0..4),
        after in prop::collection::vec(subset(), 0..4),
    ) {
        let plain = service(json!({}));
        let slices = written(&[], &plan(Some(&plain), Some(&endpoints("e", json!(before))), &[]));
        let now = endpoints("e", json!(after));
        let slices = written(&slices, &plan(Some(&plain), Some(&now), &slices));
        prop_assert_eq!(plan(Some(&plain), Some(&now), &slices).count(), 0);
        let mut seen = std::collections::BTreeSet::new();
        for slice in &slices {
            let endpoints = slice.endpoints.clone().unwrap_or_default();
            prop_assert!(!endpoints.is_empty());
            for one in endpoints {
                let port = slice.ports.as_ref().and_then(|ports| ports[0].port);
                prop_assert!(seen.insert((one.addresses[0].clone(), port)));
            }
        }
    }
}
