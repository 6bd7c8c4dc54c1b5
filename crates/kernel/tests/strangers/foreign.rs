//! Strangers' filters and devices are found and told apart; nothing is found where there is nothing.

use seaway_kernel::foreign::{Effect, Filter, FilterSystem, Policy, Stranger, survey};
use seaway_testkit::isolate;

use super::{nft, tool};

fn filters() -> Vec<Filter> {
    let found = survey(None).expect("readable");
    let filter = |stranger| match stranger {
        Stranger::Filter(filter) => filter,
        Stranger::Vxlan(_) => panic!("no port was given"),
    };
    found.into_iter().map(filter).collect()
}

fn only(filters: Vec<Filter>) -> Filter {
    assert_eq!(filters.len(), 1, "{filters:#?}");
    filters.into_iter().next().expect("one")
}

#[test]
fn an_empty_namespace_has_no_strangers() {
    isolate();
    assert_eq!(survey(Some(4789)).expect("readable"), vec![]);
}

#[test]
fn our_own_tables_and_harmless_ones_are_no_strangers() {
    isolate();
    let dropping = "{ chain c { type filter hook forward priority 0; policy drop; drop; }; }";
    nft(&format!("table inet seaway {dropping}"));
    nft(&format!("table bridge seaway {dropping}"));
    nft("table arp seaway { chain c { type filter hook input priority 0; drop; }; }");
    nft("table inet counting {
           chain c { type filter hook forward priority 0; policy accept; counter accept; }
           chain unused { drop; }
         }");
    assert_eq!(filters(), vec![]);
}

#[test]
fn docker_with_iptables_nft_is_found() {
    isolate();
    tool("iptables-nft", "-N DOCKER-USER");
    tool("iptables-nft", "-A FORWARD -j DOCKER-USER");
    tool("iptables-nft", "-P FORWARD DROP");
    let filter = only(filters());
    assert_eq!(filter.system, FilterSystem::IptablesNft);
    assert_eq!((&*filter.family, &*filter.table), ("ip", "filter"));
    assert_eq!((&*filter.chain, &*filter.hook), ("FORWARD", "forward"));
    assert_eq!(
        (filter.policy, filter.effect),
        (Policy::Drop, Effect::DropsByPolicy)
    );
    assert_eq!(filter.owner.as_deref(), Some("Docker"));
    let line = Stranger::Filter(filter).to_string();
    assert!(
        line.ends_with("see: iptables-nft -t filter -S FORWARD"),
        "{line}"
    );
}

#[test]
fn docker_with_iptables_legacy_is_found_in_both_families() {
    isolate();
    for command in ["iptables-legacy", "ip6tables-legacy"] {
        tool(command, "-N DOCKER");
        tool(command, "-A FORWARD -o docker0 -j DOCKER");
        tool(command, "-P FORWARD DROP");
    }
    let found = filters();
    assert_eq!(found.len(), 2, "{found:#?}");
    for (filter, family) in found.iter().zip(["ip", "ip6"]) {
        assert_eq!(filter.system, FilterSystem::IptablesLegacy);
        assert_eq!((&*filter.family, &*filter.chain), (family, "FORWARD"));
        assert_eq!(filter.effect, Effect::DropsByPolicy);
        assert_eq!(filter.owner.as_deref(), Some("Docker"));
    }
    let command = Stranger::Filter(found[1].clone()).command();
    assert_eq!(command, "ip6tables-legacy -t filter -S FORWARD");
}

/// The commands that `Stranger` names do exist and show the chain.
#[test]
fn the_command_shows_what_was_found() {
    isolate();
    tool("iptables-legacy", "-P INPUT DROP");
    nft("table inet house { chain in { type filter hook input priority 0; policy drop; }; }");
    for stranger in survey(None).expect("readable") {
        let command = stranger.command();
        let (name, arguments) = command.split_once(' ').expect("a command");
        let shown = tool(name, arguments).to_uppercase();
        assert!(shown.contains("DROP"), "{command}: {shown}");
    }
}

#[test]
fn legacy_rules_are_followed_through_chains() {
    isolate();
    for (command, reject) in [
        ("iptables-legacy", "icmp-port-unreachable"),
        ("ip6tables-legacy", "icmp6-port-unreachable"),
    ] {
        tool(command, "-N inner");
        tool(command, "-N outer");
        tool(
            command,
            &format!("-A inner -p tcp -j REJECT --reject-with {reject}"),
        );
        tool(command, "-A outer -j inner");
        tool(command, "-A outer -p udp");
        tool(command, "-A FORWARD -j outer");
        tool(command, "-A FORWARD -j RETURN");
        tool(command, "-A FORWARD -j DROP");
        tool(command, "-A INPUT -p tcp --dport 22 -j ACCEPT");
        tool(command, "-A INPUT -j DROP");
    }
    let found = filters();
    let told = |filter: &Filter| {
        let chain = format!("{} {}", filter.family, filter.chain);
        (
            chain,
            filter.effect,
            filter.dropped_in.clone().expect("by a rule"),
        )
    };
    let some = |chain: &str| (chain.to_owned(), Effect::DropsSome, "inner".to_owned());
    let rest = |chain: &str| (chain.to_owned(), Effect::DropsTheRest, "INPUT".to_owned());
    let expected = vec![
        some("ip FORWARD"),
        rest("ip INPUT"),
        some("ip6 FORWARD"),
        rest("ip6 INPUT"),
    ];
    assert_eq!(found.iter().map(told).collect::<Vec<_>>(), expected);
}

#[test]
fn a_firewalld_like_table_is_found_through_its_zones() {
    isolate();
    nft("table inet firewalld {
           chain filter_FORWARD {
             type filter hook forward priority filter + 10; policy accept;
             ct state { established, related } accept
             jump filter_FORWARD_ZONES
             ct state invalid drop
             reject with icmpx admin-prohibited
           }
           chain filter_FORWARD_ZONES { iifname \"eth0\" goto filter_FWD_public; }
           chain filter_FWD_public { accept; }
           chain filter_INPUT {
             type filter hook input priority filter + 10; policy accept;
             iifname vmap { \"eth0\" : goto zone_block, \"eth1\" : accept }
           }
           chain zone_block { log prefix \"no\" drop; }
         }");
    let found = filters();
    assert_eq!(found.len(), 2, "{found:#?}");
    let forward = &found[0];
    assert_eq!(
        (&*forward.chain, forward.priority),
        ("filter_FORWARD", Some(10))
    );
    assert_eq!(forward.effect, Effect::DropsTheRest);
    assert_eq!(forward.owner.as_deref(), Some("firewalld"));
    // Through a verdict map.
    let input = &found[1];
    assert_eq!(
        (&*input.chain, input.effect),
        ("filter_INPUT", Effect::DropsSome)
    );
    assert_eq!(input.dropped_in.as_deref(), Some("zone_block"));
    assert_eq!(
        Stranger::Filter(input.clone()).to_string(),
        "nftables chain inet firewalld filter_INPUT at input, priority 10 (looks like firewalld) \
         drops or rejects some packets by its rules (in its chain zone_block); \
         see: nft list table inet firewalld"
    );
}

#[test]
fn reject_of_iptables_nft_is_a_drop() {
    isolate();
    tool("ip6tables-nft", "-A FORWARD -j REJECT");
    let filter = only(filters());
    assert_eq!(filter.effect, Effect::DropsTheRest);
    assert_eq!((&*filter.family, &*filter.chain), ("ip6", "FORWARD"));
}

#[test]
fn vxlan_devices_on_our_port_are_found_but_for_our_own() {
    isolate();
    tool("ip", "link add flannel.1 type vxlan id 1 dstport 4789");
    tool("ip", "link add other type vxlan id 2 dstport 8472");
    tool(
        "ip",
        "link add ours group 24227 type vxlan id 24225 dstport 4789",
    );
    let found = survey(Some(4789)).expect("readable");
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "VXLAN device flannel.1 (VNI 1) (looks like flannel) uses UDP port 4789, as Seaway does; \
          see: ip -d link show flannel.1"
        ]
    );
    assert_eq!(survey(Some(9)).expect("readable"), vec![]);
}
