//! An agent that finds a form later than the next refuses to go on, before it touches anything.

use seaway_model::{Family, host_link_name};
use seaway_tests::net::{Net, Shape};
use seaway_tests::probe::Traffic;
use seaway_tests::shell;

#[test]
fn r19_a_form_that_is_not_known_is_left_alone() {
    let mut net = Net::start(&Shape::flat());
    let (a, b) = (net.pod(1, "a"), net.pod(2, "b"));
    let flows = Family::ALL.map(|family| Traffic::start(&a, &b, family));
    net.agent_mut(1).kill_agent();
    let id = seaway_model::AttachmentId {
        container: "a".parse().expect("valid"),
        interface: "eth0".parse().expect("valid"),
    };
    let link = host_link_name(&id);
    let rename = |alias: &str| format!("ip link set {link} alias {alias}");
    shell::run(net.node(1), &rename("seaway3:whatever:it:will:be"));
    let before = state(&net);
    net.agent_mut(1).spawn_agent(&[]);
    assert!(!net.agent_mut(1).wait_for_death(), "it ends by itself");
    let log = net.agent(1).log();
    let said = log.contains("of a later version of Seaway") && log.contains(link.as_str());
    assert!(said, "{log}");
    assert_eq!(state(&net), before);
    flows.iter().for_each(Traffic::wait_for_more);
    let alias = format!(
        "seaway1:a:eth0:seaway:{},{}",
        a.addresses[0], a.addresses[1]
    );
    shell::run(net.node(1), &rename(&alias));
    net.agent_mut(1).start_agent();
    net.settle();
    a.check().expect("CHECK");
    flows.into_iter().for_each(Traffic::assert_nothing_lost);
}

/// All that an agent could touch.
fn state(net: &Net) -> Vec<String> {
    let commands = [
        "ip -d link show",
        "ip -4 route show table all",
        "ip -6 route show table all",
        "ip neigh show nud permanent",
        "nft -s list ruleset",
    ];
    commands
        .iter()
        .map(|command| shell::run(net.node(1), command))
        .collect()
}
