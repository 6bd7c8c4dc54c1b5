//! Before the agent can serve, the runtime's network is not ready.

use seaway_tests::Call;
use seaway_tests::cri::{Sandbox, Site};
use serde_json::Value;

#[test]
fn k15_the_runtimes_network_is_not_ready_before_the_agent_is() {
    let mut site = Site::bare(1);
    let unready = site.host(1).cri.network().expect("a status");
    assert!(!unready.status, "{unready:?}");
    // As libcni 1.1 and newer ask.
    let socket = site.net.agent(1).socket();
    let status = Call::new("STATUS", "").config("socket", serde_json::json!(socket));
    assert_eq!(status.run().expect_err("no agent").code, 50);
    site.host(1)
        .cri
        .run_sandbox(&Sandbox::config(site.host(1), "early"))
        .expect_err("no network");
    // The agent puts the configuration in place when it can serve: containerd 1.6 asks no STATUS.
    let folder = site.host(1).machine.folder.join("net.d");
    let flags = [
        "--cni-conf-dir".to_owned(),
        folder.to_string_lossy().into_owned(),
    ];
    site.net.agent_mut(1).flags.extend(flags);
    site.net.agent_mut(1).start_agent();
    site.host(1).wait_for_network();
    assert_eq!(status.run().expect("ready"), Value::Null);
    let pod = Sandbox::run(site.host(1), "a");
    assert_eq!(pod.addresses.len(), 2, "{pod:?}");
}
