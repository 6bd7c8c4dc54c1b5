//! The rules, each with the name that it has in the specification.

use super::*;
use crate::endpoint_slices::{HEADLESS, TRIGGER_TIME};

#[test]
fn s3_a_named_port_is_what_each_pod_calls_so() {
    let named = service(json!({"ports": [
        {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"},
        {"name": "plain", "port": 81, "protocol": "TCP", "targetPort": 9000}]}));
    let other = |number: i32| {
        json!({"spec": {"containers": [{"name": "main",
            "ports": [{"name": "web", "containerPort": number, "protocol": "TCP"}]}]}})
    };
    let udp = json!({"spec": {"containers": [{"name": "main",
        "ports": [{"name": "web", "containerPort": 1, "protocol": "UDP"}]}]}});
    let pods = [
        pod(1, json!({})),
        pod(2, other(9090)),
        pod(3, json!({})),
        pod(4, udp),
    ];
    let store = slices(&named, &pods);
    let mut found: Vec<_> = store
        .slices
        .values()
        .map(|slice| (ports(slice), count(slice)))
        .collect();
    found.sort();
    let plain = ("plain".to_owned(), Some(9000));
    assert_eq!(
        found,
        [
            (vec![("http".to_owned(), Some(8080)), plain.clone()], 2),
            (vec![("http".to_owned(), Some(9090)), plain.clone()], 1),
            (vec![plain], 1),
        ]
    );
}

#[test]
fn s3_a_container_that_starts_first_and_stays_has_ports_too() {
    let named = service(json!({"ports": [{"port": 80, "targetPort": "side"}]}));
    let ports_of = |policy: Value| {
        let spec = json!({"spec": {"initContainers": [{"name": "side", "restartPolicy": policy,
            "ports": [{"name": "side", "containerPort": 7000}]}]}});
        ports(only(&slices(&named, &[pod(1, spec)])))
    };
    assert_eq!(ports_of(json!("Always")), [(String::new(), Some(7000))]);
    assert_eq!(ports_of(Value::Null), []);
}

#[test]
fn s3_without_a_target_the_services_own_number_is_meant() {
    let spec = json!({"ports": [{"name": "http", "port": 80, "appProtocol": "kubernetes.io/h2c"}]});
    let store = slices(&service(spec), &[pod(1, json!({}))]);
    let port = only(&store).ports.clone().expect("ports").remove(0);
    assert_eq!(
        (port.port, port.protocol.as_deref()),
        (Some(80), Some("TCP"))
    );
    assert_eq!(port.app_protocol.as_deref(), Some("kubernetes.io/h2c"));
}

#[test]
fn s4_each_family_has_slices_of_its_own_and_may_come_and_go() {
    let pods: Vec<_> = (0..3).map(|number| pod(number, json!({}))).collect();
    let (one, two) = (
        service(json!({})),
        service(json!({"ipFamilies": ["IPv4", "IPv6"]})),
    );
    let mut store = slices(&one, &pods);
    assert_eq!(store.of("IPv6").len(), 0);
    let before = only(&store).clone();
    assert_eq!(store.sync(&two, &pods), 1, "the new family alone");
    assert_eq!(store.endpoints("IPv6")[1].addresses, ["fd00:1::2"]);
    assert_eq!(store.of("IPv4"), [&before]);
    assert_eq!(store.sync(&one, &pods), 1, "the family that went");
    assert_eq!(only(&store), &before);
}

#[test]
fn s4_a_pod_without_an_address_of_a_family_is_not_in_it() {
    let v6 = json!({"status": {"podIP": "fd00:1::5", "podIPs": [{"ip": "fd00:1::5"}]}});
    let two = service(json!({"ipFamilies": ["IPv6", "IPv4"]}));
    let store = slices(&two, &[pod(1, v6)]);
    assert_eq!(store.endpoints("IPv4").len(), 0);
    assert_eq!(store.of("IPv4").len(), 1, "looked at, and empty");
    assert_eq!(store.endpoints("IPv6").len(), 1);
}

#[test]
fn s6_ready_serving_and_terminating_are_told_apart() {
    let mut both = unready();
    over(&mut both, going());
    let pods = [
        pod(0, json!({})),
        pod(1, unready()),
        pod(2, going()),
        pod(3, both),
        pod(4, json!({"status": {"conditions": null}})),
    ];
    let told = |change: Value| -> Vec<_> {
        let store = slices(&service(change), &pods);
        let endpoints = store.endpoints("IPv4").into_iter();
        let conditions = endpoints.map(|one| one.conditions.clone().expect("told"));
        conditions
            .map(|one| [one.ready, one.serving, one.terminating].map(|told| told == Some(true)))
            .collect()
    };
    assert_eq!(
        told(json!({})),
        [
            [true, true, false],
            [false, false, false],
            [false, true, true],
            [false, false, true],
            [false, false, false],
        ]
    );
    let published = told(json!({"publishNotReadyAddresses": true}));
    assert!(published.iter().all(|[ready, ..]| *ready), "S7");
    assert!(!published[1][1] && published[2][2], "the rest stays true");
}

#[test]
fn s7_publishing_all_takes_pods_of_unknown_nodes_too() {
    let lost = pod(1, json!({"spec": {"nodeName": "gone"}}));
    let pending = pod(2, json!({"spec": {"nodeName": null}}));
    let count_of = |change: Value| {
        let pods = [lost.clone(), pending.clone()];
        slices(&service(change), &pods).endpoints("IPv4").len()
    };
    assert_eq!(count_of(json!({})), 0);
    assert_eq!(count_of(json!({"publishNotReadyAddresses": true})), 2);
}

#[test]
fn s40_who_is_finished_or_has_no_address_is_no_endpoint() {
    let phase = |phase: &str| json!({"status": {"phase": phase}});
    let address = |text: Value| json!({"status": {"podIP": text, "podIPs": [{"ip": text}]}});
    let none = json!({"status": {"podIP": null, "podIPs": null}});
    let pods = [
        pod(0, phase("Succeeded")),
        pod(1, phase("Failed")),
        pod(2, none),
        pod(3, address("127.0.0.1".into())),
        pod(4, address("169.254.7.7".into())),
        pod(5, address("224.0.0.1".into())),
        pod(6, address("nonsense".into())),
        pod(
            7,
            json!({"spec": {"hostNetwork": true}, "status": {"podIPs": null}}),
        ),
    ];
    let store = slices(&service(json!({})), &pods);
    let endpoints = store.endpoints("IPv4");
    assert_eq!(endpoints.len(), 1);
    assert_eq!(
        endpoints[0].addresses,
        ["10.1.0.8"],
        "the one address that is told"
    );
}

#[test]
fn s40_an_endpoint_says_whose_it_is_and_where() {
    let named = json!({"spec": {"hostname": "db-0", "subdomain": "web", "nodeName": "node2"}});
    let strange = json!({"spec": {"hostname": "db-1", "subdomain": "other", "nodeName": "node3"}});
    let store = slices(&service(json!({})), &[pod(0, named), pod(1, strange)]);
    let endpoints = store.endpoints("IPv4");
    let target = endpoints[0].target_ref.clone().expect("told");
    assert_eq!(
        [target.kind, target.namespace, target.name, target.uid].map(Option::unwrap_or_default),
        ["Pod", "n", "web-0000", "uid-0"]
    );
    let said = |at: usize| {
        let one = endpoints[at];
        [&one.hostname, &one.node_name, &one.zone].map(Option::as_deref)
    };
    assert_eq!(said(0), [Some("db-0"), Some("node2"), Some("west")]);
    assert_eq!(said(1), [None, Some("node3"), None]);
}

#[test]
fn s40_a_slice_says_whose_it_is() {
    let store = slices(&service(json!({})), &[pod(0, json!({}))]);
    let metadata = &only(&store).metadata;
    let labels = |headless: bool| {
        let mut labels =
            BTreeMap::from([("team", "a"), (SERVICE_NAME, "web"), (MANAGED_BY, MANAGER)]);
        labels.extend(headless.then_some((HEADLESS, "")));
        let labels = labels.into_iter();
        labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(metadata.labels, Some(labels(false)));
    let owner = metadata
        .owner_references
        .clone()
        .expect("an owner")
        .remove(0);
    assert_eq!(
        (owner.kind.as_str(), owner.uid.as_str()),
        ("Service", "web-uid")
    );
    assert_eq!(
        (owner.controller, owner.block_owner_deletion),
        (Some(true), Some(true))
    );
    let headless = slices(&service(json!({"clusterIP": "None"})), &[]);
    assert_eq!(only(&headless).metadata.labels, Some(labels(true)));
}

#[test]
fn s40_labels_follow_the_service() {
    let pods = [pod(0, json!({}))];
    let mut web = service(json!({}));
    let mut store = slices(&web, &pods);
    let labels = [("tier", "b"), (MANAGED_BY, "a-user")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    web.metadata.labels = Some(labels.into());
    assert_eq!(store.sync(&web, &pods), 1);
    let labels = only(&store).metadata.labels.clone().expect("labels");
    assert_eq!(labels.get("team"), None);
    assert_eq!(labels.get("tier").map(String::as_str), Some("b"));
    assert_eq!(labels.get(MANAGED_BY).map(String::as_str), Some(MANAGER));
}

#[test]
fn s1_a_headless_service_may_have_no_ports_and_a_name_has_no_endpoints() {
    let pods = [pod(0, json!({}))];
    let headless = service(json!({"clusterIP": "None", "ports": null}));
    let mut store = slices(&headless, &pods);
    assert_eq!((ports(only(&store)), count(only(&store))), (vec![], 1));
    let name = service(json!({"type": "ExternalName", "externalName": "a.b"}));
    assert_eq!(store.sync(&name, &pods), 1);
    assert!(store.slices.is_empty(), "what it was must not live on");
}

#[test]
fn s12_hints_follow_the_traffic_distribution() {
    let pods = [
        pod(0, json!({})),
        pod(1, json!({"spec": {"nodeName": "node3"}})),
        pod(2, unready()),
    ];
    let hints = |store: &Store| -> Vec<(Vec<String>, Vec<String>)> {
        let endpoints = store.endpoints("IPv4").into_iter();
        let hints = endpoints.map(|one| one.hints.clone().unwrap_or_default());
        hints
            .map(|hints| {
                let zones = hints.for_zones.into_iter().flatten();
                let nodes = hints.for_nodes.into_iter().flatten();
                (
                    zones.map(|one| one.name).collect(),
                    nodes.map(|one| one.name).collect(),
                )
            })
            .collect()
    };
    let (east, none) = (vec!["east".to_owned()], Vec::<String>::new());
    let nothing = (none.clone(), none.clone());
    let mut store = slices(&service(json!({})), &pods);
    assert_eq!(hints(&store), vec![nothing.clone(); 3]);
    for near in ["PreferClose", "PreferSameZone"] {
        store.sync(&service(json!({"trafficDistribution": near})), &pods);
        let expected = [
            (east.clone(), none.clone()),
            nothing.clone(),
            nothing.clone(),
        ];
        assert_eq!(hints(&store), expected, "{near}");
    }
    store.sync(
        &service(json!({"trafficDistribution": "PreferSameNode"})),
        &pods,
    );
    let on = |node: &str| vec![node.to_owned()];
    assert_eq!(
        hints(&store),
        [(east, on("node1")), (none, on("node3")), nothing.clone()]
    );
    assert_eq!(store.sync(&service(json!({})), &pods), 1, "cleared again");
    assert_eq!(hints(&store), vec![nothing; 3]);
}

#[test]
fn s40_one_pod_is_one_write() {
    let web = service(json!({}));
    let mut pods: Vec<_> = (0..250).map(|number| pod(number, json!({}))).collect();
    let mut store = slices(&web, &pods);
    let sizes = |store: &Store| {
        let mut sizes: Vec<_> = store.slices.values().map(count).collect();
        sizes.sort_unstable();
        sizes
    };
    assert_eq!(sizes(&store), [50, 100, 100]);
    pods[120] = pod(120, unready());
    assert_eq!(store.sync(&web, &pods), 1, "changed");
    pods.remove(10);
    assert_eq!(store.sync(&web, &pods), 1, "gone");
    assert_eq!(sizes(&store), [50, 99, 100]);
    pods.push(pod(300, json!({})));
    assert_eq!(store.sync(&web, &pods), 1, "new");
    assert_eq!(sizes(&store), [50, 100, 100], "the fullest that has room");
    pods[3] = pod(301, json!({}));
    assert_eq!(store.sync(&web, &pods), 1, "replaced, in one slice");
    for slice in store.slices.values().filter(|slice| count(slice) == 100) {
        let first = slice.endpoints.as_ref().expect("endpoints")[0].clone();
        let name = first.target_ref.expect("a Pod").name;
        pods.retain(|pod| pod.metadata.name != name);
    }
    assert_eq!(store.sync(&web, &pods), 2, "one in each of two");
    assert_eq!(sizes(&store), [50, 99, 99], "nothing is moved");
    pods.extend((400..460).map(|number| pod(number, json!({}))));
    assert_eq!(
        store.sync(&web, &pods),
        1,
        "no slice has room for all of them"
    );
    assert_eq!(sizes(&store), [50, 60, 99, 99]);
}

#[test]
fn s40_slices_that_are_not_needed_are_used_again() {
    let pods: Vec<_> = (0..150).map(|number| pod(number, json!({}))).collect();
    let mut store = slices(&service(json!({})), &[]);
    let first = only(&store).metadata.name.clone();
    assert_eq!((ports(only(&store)), count(only(&store))), (vec![], 0));
    assert_eq!(store.sync(&service(json!({})), &pods), 2);
    assert!(
        store
            .slices
            .values()
            .any(|slice| slice.metadata.name == first)
    );
    let names: Vec<_> = store.slices.keys().cloned().collect();
    let before = store.clone();
    let moved = service(json!({"ports": [{"name": "http", "port": 80, "targetPort": 9999}]}));
    assert_eq!(
        store.sync(&moved, &pods),
        2,
        "other ports in the same slices"
    );
    assert!(store.slices.keys().eq(&names));
    let held = |store: &Store, name: &str| -> Vec<_> {
        let endpoints = store.slices[name].endpoints.iter().flatten();
        endpoints.map(|one| one.addresses.clone()).collect()
    };
    for name in &names {
        let kept = held(&store, name) == held(&before, name);
        assert!(kept, "nobody may be in no slice on the way");
    }
    assert_eq!(store.sync(&moved, &[]), 2, "one is emptied, one deleted");
    assert_eq!((ports(only(&store)), count(only(&store))), (vec![], 0));
}

#[test]
fn s40_a_changed_order_of_ports_changes_nothing() {
    let ports = |names: [&str; 2]| {
        let ports = names.map(|name| json!({"name": name, "port": name.len(), "targetPort": 1}));
        service(json!({ "ports": ports }))
    };
    let pods = [pod(0, json!({}))];
    let mut store = slices(&ports(["a", "bb"]), &pods);
    assert_eq!(store.sync(&ports(["bb", "a"]), &pods), 0);
}

#[test]
fn s40_slices_of_an_earlier_service_go_and_none_is_made_for_one_that_goes() {
    let pods = [pod(0, json!({}))];
    let mut store = slices(&service(json!({})), &pods);
    let mut again = service(json!({}));
    again.metadata.uid = Some("another".to_owned());
    assert_eq!(store.sync(&again, &pods), 2);
    let owner = only(&store)
        .metadata
        .owner_references
        .clone()
        .expect("an owner");
    assert_eq!(owner[0].uid, "another");
    again.metadata =
        serde_json::from_value(json!({"namespace": "n", "name": "web", "uid": "another",
        "deletionTimestamp": "2026-01-03T00:00:00Z"}))
        .expect("metadata");
    assert!(Store::default().plan(&again, &pods).create.is_empty());
}

#[test]
fn s40_what_others_did_to_a_slice_is_put_right() {
    let pods: Vec<_> = (0..2).map(|number| pod(number, json!({}))).collect();
    let web = service(json!({}));
    let mut store = slices(&web, &pods);
    let good = only(&store).clone();
    let mut bad = good.clone();
    let endpoints = bad.endpoints.as_mut().expect("endpoints");
    endpoints[0].conditions = None;
    let twice = endpoints[1].clone();
    endpoints.push(twice);
    bad.metadata.labels.get_or_insert_default().remove("team");
    store.put(bad);
    assert_eq!(store.sync(&web, &pods), 1);
    let now = only(&store);
    assert_eq!(
        (&now.endpoints, &now.metadata.labels),
        (&good.endpoints, &good.metadata.labels)
    );
    let mut strange = good;
    strange.ports = None;
    store.put(strange);
    assert_eq!(store.sync(&web, &pods), 1);
    assert_eq!(ports(only(&store)), [("http".to_owned(), Some(8080))]);
}

#[test]
fn s40_the_trigger_time_is_that_of_the_change() {
    let web = service(json!({}));
    let time = |store: &Store| {
        let annotations = only(store).metadata.annotations.clone();
        annotations.and_then(|all| all.get(TRIGGER_TIME).cloned())
    };
    let since = |time: &str| {
        json!({"status": {"conditions": [{"type": "Ready", "status": "True",
            "lastTransitionTime": time}]}})
    };
    let early = pod(0, since("2025-01-01T00:00:00Z"));
    let mut pods = vec![early, pod(1, json!({})), pod(2, json!({}))];
    let mut store = slices(&web, &pods);
    let made = Some("2026-01-01T00:00:00Z");
    assert_eq!(time(&store).as_deref(), made, "not before the Service was");
    pods[1] = pod(1, unready());
    store.sync(&web, &pods);
    assert_eq!(time(&store).as_deref(), Some("2026-01-03T00:00:00Z"));
    pods[2] = pod(2, going());
    store.sync(&web, &pods);
    let asked = Some("2026-01-03T00:00:10Z");
    assert_eq!(time(&store).as_deref(), asked, "when it was asked to go");
    pods.pop();
    store.sync(&web, &pods);
    assert_eq!(time(&store), None, "nobody is left who could tell");
}
