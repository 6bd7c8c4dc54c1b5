//! What holds whatever there was before.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::endpoint_slices::MAX_ENDPOINTS;
use crate::endpoint_slices::endpoint::ports as ports_in;

/// One Pod, in one of the states that matter.
fn any_pod() -> impl Strategy<Value = Arc<Pod>> {
    let nodes = prop::sample::select(vec!["node1", "node2", "node3", "gone"]);
    let number = prop::sample::select(vec![8080, 9090]);
    (0..400_usize, 0..12_u8, nodes, number).prop_map(|(name, state, node, number)| {
        let mut change = json!({"spec": {"nodeName": node, "containers": [{"name": "main",
            "ports": [{"name": "web", "containerPort": number}]}]}});
        match state {
            0 => over(&mut change, unready()),
            1 => over(&mut change, going()),
            2 => over(&mut change, json!({"status": {"phase": "Failed"}})),
            3 => over(
                &mut change,
                json!({"status": {"podIP": null, "podIPs": null}}),
            ),
            _ => {}
        }
        pod(name, change)
    })
}

fn any_pods() -> impl Strategy<Value = Vec<Arc<Pod>>> {
    let few = prop::collection::vec(any_pod(), 0..8);
    let many = prop::collection::vec(any_pod(), 0..350);
    prop_oneof![few, many].prop_map(|pods| {
        let named = pods.into_iter().map(|pod| (pod.metadata.name.clone(), pod));
        named.collect::<BTreeMap<_, _>>().into_values().collect()
    })
}

fn any_service() -> impl Strategy<Value = Service> {
    let families = prop::sample::select(vec![
        json!(["IPv4"]),
        json!(["IPv6"]),
        json!(["IPv4", "IPv6"]),
    ]);
    let target = prop::sample::select(vec![json!("web"), json!(8080)]);
    let near = prop::sample::select(vec![
        json!(null),
        json!("PreferClose"),
        json!("PreferSameNode"),
    ]);
    let kind = prop::sample::select(vec!["ClusterIP", "ClusterIP", "ClusterIP", "ExternalName"]);
    (families, target, near, kind, any::<bool>()).prop_map(|(families, target, near, kind, all)| {
        service(
            json!({"type": kind, "ipFamilies": families, "trafficDistribution": near,
            "publishNotReadyAddresses": all,
            "ports": [{"name": "http", "port": 80, "targetPort": target}]}),
        )
    })
}

/// Checks that slices say of the Pods what is true, once each.
fn check(store: &Store, service: &Service, pods: &[Arc<Pod>]) {
    let spec = service.spec.as_ref().expect("a spec");
    let families = spec.ip_families.clone().unwrap_or_default();
    let all = spec.publish_not_ready_addresses == Some(true);
    let external = spec.type_.as_deref() == Some("ExternalName");
    let by_name: BTreeMap<_, _> = pods
        .iter()
        .map(|pod| (pod.metadata.name.as_deref(), pod))
        .collect();
    for slice in store.slices.values() {
        assert!(families.contains(&slice.address_type) && !external);
        assert!(count(slice) <= MAX_ENDPOINTS);
        for endpoint in slice.endpoints.iter().flatten() {
            let target = endpoint.target_ref.as_ref().expect("a Pod");
            let pod = by_name
                .get(&target.name.as_deref())
                .expect("a Pod that is there");
            assert_eq!(
                slice.ports.clone().unwrap_or_default(),
                ports_in(service, pod)
            );
            let status = pod.status.as_ref().expect("a status");
            let listed: Vec<_> = status.pod_ips.iter().flatten().map(|ip| &ip.ip).collect();
            assert!(
                endpoint
                    .addresses
                    .iter()
                    .all(|address| listed.contains(&address))
            );
        }
    }
    for family in ["IPv4", "IPv6"] {
        let endpoints = store.endpoints(family);
        let names: BTreeSet<_> = endpoints
            .iter()
            .filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.clone())
            .collect();
        assert_eq!(names.len(), endpoints.len(), "each once");
        let wanted = pods.iter().filter(|pod| {
            let status = pod.status.as_ref().expect("a status");
            let lost = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some("gone");
            families.iter().any(|one| one == family)
                && !external
                && status.pod_ips.is_some()
                && status.phase.as_deref() != Some("Failed")
                && (all || !lost)
        });
        assert_eq!(wanted.count(), names.len());
        let expected = usize::from(!external && families.iter().any(|one| one == family));
        assert!(store.of(family).len() >= expected, "never without a slice");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever there was, the slices become right in one round, and the next has nothing to do.
    #[test]
    fn one_round_makes_it_right(
        history in prop::collection::vec((any_service(), any_pods()), 1..5),
    ) {
        let mut store = Store::default();
        for (service, pods) in history {
            store.sync(&service, &pods);
            check(&store, &service, &pods);
        }
    }

    /// A change of one Pod writes at most one slice a family, two where the Pod's ports change.
    #[test]
    fn one_pod_writes_one_slice(
        service in any_service(),
        pods in any_pods(),
        at in any::<prop::sample::Index>(),
        to in prop::option::of(any_pod()),
    ) {
        let mut store = slices(&service, &pods);
        let families = service.spec.as_ref().and_then(|spec| spec.ip_families.clone());
        let families = families.unwrap_or_default().len();
        let mut pods = pods;
        let at = at.index(pods.len() + 1);
        let before = (at < pods.len()).then(|| pods.remove(at));
        let name = before.as_ref().map(|pod| pod.metadata.name.clone());
        let to = to.filter(|to| pods.iter().all(|pod| pod.metadata.name != to.metadata.name));
        let ports = |pod: &Option<Arc<Pod>>| pod.as_ref().map(|pod| ports_in(&service, pod));
        let moved = before.is_some() && to.is_some()
            && (name != to.as_ref().map(|to| to.metadata.name.clone()) || ports(&before) != ports(&to));
        pods.extend(to);
        let writes = store.sync(&service, &pods);
        prop_assert!(writes <= families * if moved { 2 } else { 1 }, "{writes} writes");
        check(&store, &service, &pods);
    }
}
