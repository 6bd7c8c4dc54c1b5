//! Many sandboxes at once, and what their network costs beside the reference plugins.

use std::collections::HashSet;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use seaway_tests::cri::api::{LinuxSandboxSecurityContext, NamespaceOption};
use seaway_tests::cri::{Host, Sandbox, Site};
use serde_json::json;

const PODS: usize = 20;
/// `NODE`, of a namespace: the node's own.
const NODE: i32 = 2;

#[test]
fn k15_twenty_sandboxes_at_once_get_unique_addresses_and_leave_nothing() {
    let site = Site::start(1);
    let (host, before) = (site.host(1), site.traces(1));
    // First, so that what is done once is nobody's.
    let (pods, none) = crowd(host, Network::Node);
    assert!(pods.iter().all(|pod| pod.addresses.is_empty()));
    let none = (none, end(&pods));
    let (pods, ours) = crowd(host, Network::Pods);
    let addresses: HashSet<IpAddr> = pods.iter().flat_map(|pod| pod.addresses.clone()).collect();
    assert_eq!(addresses.len(), 2 * PODS, "unique addresses");
    assert_eq!(crate::attachments(&site, 1), PODS);
    pods[0].serve().assert_reaches(&pods[PODS - 1].serve());
    let ours = (ours, end(&pods));
    site.wait_for_traces(1, &before);
    configure_reference(host);
    let (pods, reference) = crowd(host, Network::Pods);
    assert!(pods.iter().all(|pod| pod.addresses.len() == 2));
    let reference = (reference, end(&pods));
    let rows = [
        ("seaway", ours),
        ("bridge + portmap", reference),
        ("node's network", none),
    ];
    for (name, (made, ended)) in rows {
        let each = |time: Duration| 1e3 * time.as_secs_f64() / PODS as f64;
        println!(
            "{name:>16}: {:6.1} ms a sandbox made, {:6.1} ended",
            each(made),
            each(ended)
        );
    }
}

/// Whose network the sandboxes have.
#[derive(Clone, Copy)]
enum Network {
    Pods,
    Node,
}

/// Makes sandboxes, all at once.
fn crowd(host: &Host, network: Network) -> (Vec<Sandbox>, Duration) {
    let start = Instant::now();
    let make = |i: usize| {
        let mut config = Sandbox::config(host, &format!("p{i}"));
        if let (Network::Node, Some(linux)) = (network, &mut config.linux) {
            config.hostname.clear();
            let namespace_options = Some(NamespaceOption {
                network: NODE,
                ..NamespaceOption::default()
            });
            linux.security_context = Some(LinuxSandboxSecurityContext {
                namespace_options,
                ..LinuxSandboxSecurityContext::default()
            });
        }
        Sandbox::try_run(host, config).expect("RunPodSandbox")
    };
    let pods = thread::scope(|scope| {
        let makers: Vec<_> = (0..PODS).map(|i| scope.spawn(move || make(i))).collect();
        let made = makers.into_iter().map(|maker| maker.join().expect("made"));
        made.collect()
    });
    (pods, start.elapsed())
}

/// Ends them, all at once.
fn end(pods: &[Sandbox]) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| {
        for pod in pods {
            scope.spawn(|| pod.end());
        }
    });
    start.elapsed()
}

/// The reference plugins in Seaway's place, as they are configured for the same.
fn configure_reference(host: &Host) {
    for plugin in ["bridge", "host-local", "portmap"] {
        host.install_program(&format!("/usr/lib/cni/{plugin}"));
    }
    let ranges = json!([[{"subnet": "10.99.0.0/24"}], [{"subnet": "fd00:99::/64"}]]);
    let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    let bridge = json!({
        "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
        "ipam": {"type": "host-local", "ranges": ranges, "routes": routes},
    });
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    host.configure("reference", &json!([bridge, portmap]));
}
