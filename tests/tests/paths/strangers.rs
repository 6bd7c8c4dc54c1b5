//! Row 34 of the scorecard: filters of others on the node. Either traffic goes through, or status
//! names the table and the chain that stop it; and when they are gone, it goes through by itself.

use std::time::Duration;

use seaway_kernel::netns::Netns;
use seaway_model::{Family, Transport, Wiring};
use seaway_testkit::eventually;
use seaway_tests::net::{Net, Shape};
use seaway_tests::probe::{udp_within, wait_for_talk};
use seaway_tests::{Pod, binary, shell};

use crate::common::{LIMIT, for_each};

/// A stranger's filter.
#[derive(Debug)]
struct Stranger {
    name: &'static str,
    come: fn(&Netns),
    go: fn(&Netns),
    /// What status must say for each that is in the way: table and chain.
    named: &'static [&'static str],
}

fn lines(netns: &Netns, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
        shell::run(netns, line);
    }
}

const STRANGERS: [Stranger; 4] = [
    Stranger {
        name: "docker, by iptables-nft",
        come: |node| {
            lines(
                node,
                "iptables-nft -N DOCKER-USER
                 iptables-nft -A DOCKER-USER -j RETURN
                 iptables-nft -A FORWARD -j DOCKER-USER
                 iptables-nft -P FORWARD DROP
                 ip6tables-nft -P FORWARD DROP",
            );
        },
        go: |node| {
            lines(
                node,
                "iptables-nft -P FORWARD ACCEPT
                 ip6tables-nft -P FORWARD ACCEPT",
            );
        },
        named: &["filter", "FORWARD"],
    },
    Stranger {
        name: "docker, by legacy iptables",
        come: |node| {
            lines(
                node,
                "iptables-legacy -P FORWARD DROP
                 ip6tables-legacy -P FORWARD DROP",
            );
        },
        go: |node| {
            lines(
                node,
                "iptables-legacy -P FORWARD ACCEPT
                 ip6tables-legacy -P FORWARD ACCEPT",
            );
        },
        named: &["filter", "FORWARD"],
    },
    Stranger {
        name: "firewalld",
        come: |node| {
            shell::nft(
                node,
                "table inet firewalld {
                   chain filter_FORWARD {
                     type filter hook forward priority 10; policy accept;
                     ct state { established, related } accept
                     iifname \"lo\" accept
                     reject with icmpx admin-prohibited
                   }
                 }\n",
            );
        },
        go: |node| lines(node, "nft delete table inet firewalld"),
        named: &["firewalld", "filter_FORWARD"],
    },
    Stranger {
        name: "a table that drops what is routed",
        come: |node| {
            shell::nft(
                node,
                "table ip shield {
                   chain guard { type filter hook forward priority -5; policy drop; }
                 }
                 table ip6 shield {
                   chain guard { type filter hook forward priority -5; policy drop; }
                 }\n",
            );
        },
        go: |node| {
            lines(
                node,
                "nft delete table ip shield\nnft delete table ip6 shield",
            );
        },
        named: &["shield", "guard"],
    },
];

/// What `seaway status` prints on a node.
fn status(net: &Net, number: usize) -> String {
    let socket = net.agent(number).socket();
    let line = format!(
        "{} status --socket {}",
        binary("seaway").display(),
        socket.display()
    );
    let output = shell::try_run(net.node(number), &line, "");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The paths that do not work: from, to, family.
fn broken<'a>(pods: &[&'a Pod]) -> Vec<(&'a str, &'a str, Family)> {
    let mut broken = Vec::new();
    for from in pods {
        for to in pods.iter().filter(|to| to.container != from.container) {
            for family in Family::ALL {
                let patience = Duration::from_millis(150);
                let target = to.address(family);
                if udp_within(from.netns(), to.netns(), target, patience).is_err() {
                    broken.push((from.container.as_str(), to.container.as_str(), family));
                }
            }
        }
    }
    broken
}

fn r34(wiring: Wiring, transport: Transport) {
    let net = Net::start(&Shape::flat().wiring(wiring).transport(transport));
    let (a, b, c) = (net.pod(1, "a"), net.pod(1, "b"), net.pod(2, "c"));
    wait_for_talk("at first", &a, &b);
    wait_for_talk("at first", &a, &c);
    for stranger in &STRANGERS {
        (stranger.come)(net.node(1));
        let broken = broken(&[&a, &b, &c]);
        println!(
            "{wiring} {transport}: {}: {} of 12 paths stopped",
            stranger.name,
            broken.len()
        );
        if !broken.is_empty() {
            eventually("status says who is in the way", LIMIT, || {
                let text = status(&net, 1);
                if stranger.named.iter().all(|name| text.contains(name)) {
                    Ok(())
                } else {
                    Err((stranger.name, text))
                }
            });
        }
        (stranger.go)(net.node(1));
        wait_for_talk(stranger.name, &a, &b);
        wait_for_talk(stranger.name, &a, &c);
        eventually("status says it no more", LIMIT, || {
            let text = status(&net, 1);
            if stranger.named.iter().all(|name| text.contains(name)) {
                Err((stranger.name, text))
            } else {
                Ok(())
            }
        });
        net.settle();
    }
}

#[test]
fn r34_filters_of_others_are_lived_with_or_named() {
    let cases = [
        (Wiring::Routed, Transport::Direct),
        (Wiring::Bridge, Transport::Vxlan),
    ];
    for_each(&cases, |(wiring, transport)| r34(*wiring, *transport));
}
