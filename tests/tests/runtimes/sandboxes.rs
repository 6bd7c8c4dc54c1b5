//! Sandboxes as a kubelet has them made: what they get, and that it is given back.

use seaway_model::Family;
use seaway_tests::cri::{Sandbox, Site};
use seaway_tests::net::pod_cidrs;

#[test]
fn k15_sandboxes_get_addresses_of_both_families_and_talk() {
    let site = Site::start(2);
    let before = [1, 2].map(|number| site.traces(number));
    let pods = [(1, "a"), (1, "b"), (2, "c")].map(|(n, name)| Sandbox::run(site.host(n), name));
    for (pod, number) in pods.iter().zip([1, 1, 2]) {
        assert_eq!(pod.addresses.len(), 2, "{pod:?}");
        for (family, cidr) in [Family::V4, Family::V6].into_iter().zip(pod_cidrs(number)) {
            assert!(cidr.contains(&pod.address(family)), "{pod:?}");
        }
    }
    let servers = pods.each_ref().map(Sandbox::serve);
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
        servers[from].assert_reaches(&servers[to]);
    }
    for pod in &pods {
        pod.end();
    }
    for (number, before) in [1, 2].into_iter().zip(&before) {
        site.wait_for_traces(number, before);
    }
}
