//! Row 37 of the scorecard: nodes change address, MTU, networks and name, links flap, nodes come
//! and go. Routes follow, local Pods keep talking, nothing stale stays.

use seaway_kernel::netlink::{LinkTarget, Netlink};
use seaway_kernel::netns::Netns;
use seaway_model::{Family, Transport, Wiring};
use seaway_testkit::eventually;
use seaway_tests::net::{Net, Shape};
use seaway_tests::probe::{Traffic, carry, wait_for_talk};
use seaway_tests::{Pod, shell};

use crate::common::{LIMIT, for_each};

/// Two nodes, two Pods on the first and one on the second, and local traffic.
struct World {
    net: Net,
    a: Pod,
    b: Pod,
    c: Pod,
    local: Vec<Traffic>,
}

impl World {
    fn new(shape: &Shape) -> World {
        let net = Net::start(shape);
        let (a, b, c) = (net.pod(1, "a"), net.pod(1, "b"), net.pod(2, "c"));
        let local = Family::ALL
            .map(|family| Traffic::start(&a, &b, family))
            .into();
        let world = World {
            net,
            a,
            b,
            c,
            local,
        };
        world.all_talk("at first");
        world
    }

    fn all_talk(&self, what: &str) {
        wait_for_talk(what, &self.a, &self.b);
        wait_for_talk(what, &self.a, &self.c);
    }

    /// Everything in force, everybody reached, and nothing anywhere about what is gone.
    fn settled(&self, what: &str, gone: &[&str]) {
        self.net.settle();
        self.all_talk(what);
        for agent in &self.net.agents {
            for needle in gone {
                let stale = mentions(agent.netns(), needle);
                assert!(stale.is_empty(), "{what}: {}: {stale:?}", agent.name);
            }
        }
        println!("{what}: settled");
    }

    /// Local traffic has gone on all the time.
    fn end(self) {
        self.end_with(0);
    }

    /// Local traffic has gone on, but for this many pings.
    fn end_with(self, bearable: u64) {
        for traffic in self.local {
            traffic.wait_for_more();
            traffic.assert_lost_at_most(bearable);
        }
    }
}

/// Where the kernel of a node still knows something.
fn mentions(netns: &Netns, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for command in [
        "ip -4 route show table all proto 83",
        "ip -6 route show table all proto 83",
        "ip -4 rule show",
        "ip -6 rule show",
        "ip neigh show nud permanent",
        "ip neigh show proxy",
        "bridge fdb show",
        "nft list ruleset",
    ] {
        let text = shell::run(netns, command);
        let lines = text.lines().filter(|line| has(line, needle));
        found.extend(lines.map(|line| format!("{command}: {line}")));
    }
    found
}

/// Whether a line holds a word that begins with `needle`, not followed by another digit.
fn has(line: &str, needle: &str) -> bool {
    let more = |c: Option<char>| c.is_some_and(|c| c.is_ascii_hexdigit());
    line.match_indices(needle).any(|(at, _)| {
        !more(line[..at].chars().next_back()) && !more(line[at + needle.len()..].chars().next())
    })
}

fn shapes() -> Vec<Shape> {
    vec![
        Shape::flat().transport(Transport::Direct),
        Shape::routed()
            .vxlan_over(Family::V4)
            .wiring(Wiring::Bridge),
        Shape::flat().vxlan_over(Family::V6),
        Shape::flat().transport(Transport::L2),
        Shape::flat()
            .transport(Transport::L2)
            .wiring(Wiring::Bridge),
    ]
}

#[test]
fn r37_node_addresses_change() {
    for_each(&shapes(), |shape| {
        let mut world = World::new(shape);
        for number in [1, 2] {
            let old = shape.underlay.node_nets(number);
            let (mut lines, mut addresses) = (String::new(), Vec::new());
            for net in old {
                let new = net
                    .to_string()
                    .replace("1/", "21/")
                    .replace("2/24", "22/24");
                let new = new.replace("::2/", "::22/");
                lines += &format!("addr del {net} dev eth0\naddr add {new} dev eth0\n");
                let new: ipnet::IpNet = new.parse().expect("a network");
                addresses.push(new.addr());
            }
            lines += &world.net.fabric.default_routes(number);
            shell::ip(
                world.net.node(number),
                &lines.replace("64 dev eth0\n", "64 dev eth0 nodad\n"),
            );
            world
                .net
                .change(|cluster| cluster.members[number - 1].addresses = addresses);
            let gone: Vec<String> = old.iter().map(|net| net.addr().to_string()).collect();
            let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
            world.settled(&format!("node {number} has other addresses"), &gone);
        }
        // With an IPv4 address, Linux takes away every route that prefers it as a source, those to
        // Pods too. They are back in milliseconds.
        world.end_with(3);
    });
}

fn mtu(netns: &Netns) -> u32 {
    let mut netlink = Netlink::open_in(netns).expect("rtnetlink");
    let link = netlink.link(LinkTarget::Name("eth0")).expect("dump");
    link.expect("there").mtu
}

fn overhead(shape: &Shape) -> u32 {
    match (shape.transport, shape.vxlan_family) {
        (Transport::Direct | Transport::L2, _) => 0,
        (_, Some(Family::V6)) => 70,
        _ => 50,
    }
}

#[test]
fn r37_pods_follow_the_mtu_of_the_uplink() {
    for_each(&shapes(), |shape| {
        let world = World::new(shape);
        for size in [1400, 1500, 9000, 1500] {
            for number in [1, 2] {
                let cable = format!("link set n{number} mtu {size}\n");
                shell::ip(&world.net.fabric.netns, &cable);
                shell::ip(
                    world.net.node(number),
                    &format!("link set eth0 mtu {size}\n"),
                );
            }
            let wanted = size - overhead(shape);
            for pod in [&world.a, &world.b, &world.c] {
                eventually("the Pod's MTU follows", LIMIT, || match mtu(pod.netns()) {
                    mtu if mtu == wanted => Ok(()),
                    other => Err((wanted, other)),
                });
                pod.check().expect("all in force");
            }
            world.settled(&format!("MTU {size}"), &[]);
            for family in Family::ALL {
                for to in [&world.b, &world.c] {
                    let (from, target) = (world.a.netns(), to.address(family));
                    carry(from, to.netns(), target, 1 << 20, LIMIT / 4)
                        .unwrap_or_else(|e| panic!("MTU {size} {family}: {e}"));
                }
            }
        }
        world.end();
    });
}

#[test]
fn r37_links_flap() {
    for_each(&shapes(), |shape| {
        let world = World::new(shape);
        for _ in 0..20 {
            shell::ip(
                &world.net.fabric.netns,
                "link set n1 down\nlink set n1 up\n",
            );
        }
        world.settled("the cable flapped", &[]);
        let [_, v6] = shape.underlay.node_nets(1);
        for _ in 0..5 {
            // The kernel forgets IPv6 addresses of a link that is set down, and all its routes:
            // who sets it up again gives them back.
            let lines = format!(
                "link set eth0 down\nlink set eth0 up\naddr add {v6} dev eth0 nodad\n{}",
                world.net.fabric.default_routes(1)
            );
            shell::ip(world.net.node(1), &lines);
        }
        world.settled("the uplink flapped", &[]);
        world.end();
    });
}

#[test]
fn r37_nodes_get_second_pod_networks() {
    for_each(&shapes(), |shape| {
        let mut world = World::new(shape);
        for number in [2, 1] {
            let more = [
                format!("10.245.{number}.0/24"),
                format!("fd00:10:245:{number}::/64"),
            ];
            let more = more.map(|text| text.parse().expect("a network"));
            world.net.change(|cluster| {
                // New ones first: from them new Pods get their addresses.
                cluster.members[number - 1].pod_cidrs.splice(0..0, more);
            });
            eventually("the agent knows them", LIMIT, || {
                let cidrs = world.net.agent(number).status()["pod_cidrs"].clone();
                match cidrs.as_array().map(Vec::len) {
                    Some(4) => Ok(()),
                    other => Err(other),
                }
            });
            world.settled("two networks a family", &[]);
            let late = world.net.pod(number, &format!("late{number}"));
            let v4 = late.address(Family::V4).to_string();
            assert!(v4.starts_with("10.245."), "{v4}");
            for pod in [&world.a, &world.c] {
                wait_for_talk("a Pod of the second network", pod, &late);
            }
        }
        world.end();
    });
}

#[test]
fn r37_nodes_go_and_come_back() {
    for_each(&shapes(), |shape| {
        let mut world = World::new(shape);
        let gone = world.net.cluster.members[1].clone();
        for _ in 0..2 {
            world.net.change(|cluster| {
                cluster.members.pop();
            });
            let needles = ["10.244.2.0", "fd00:10:244:2::"];
            let node = world.net.node(1);
            eventually("nothing is left of it", LIMIT, || {
                let left: Vec<String> = needles.iter().flat_map(|n| mentions(node, n)).collect();
                if left.is_empty() { Ok(()) } else { Err(left) }
            });
            world.net.agent(1).wait_settled();
            wait_for_talk("local Pods", &world.a, &world.b);
            world
                .net
                .change(|cluster| cluster.members.push(gone.clone()));
            world.settled("it is back", &[]);
        }
        world.end();
    });
}

#[test]
fn r37_a_node_is_renamed() {
    let shapes = shapes().into_iter().filter(|s| s.wiring == Wiring::Routed);
    for_each(&shapes.collect::<Vec<_>>(), |shape| {
        let mut world = World::new(shape);
        let mac = seaway_model::vtep_mac(&"node2".parse().expect("valid")).to_string();
        world
            .net
            .change(|cluster| "other".clone_into(&mut cluster.members[1].name));
        "other".clone_into(&mut world.net.agent_mut(2).name);
        world.net.agent_mut(2).restart_agent();
        world.settled("renamed", &[&mac]);
        world.end();
    });
}

/// Our links on a node, by name.
fn our_links(netns: &Netns) -> Vec<String> {
    let text = shell::run(netns, "ip -o link show");
    let ours = text
        .lines()
        .filter(|line| line.contains(" group ") && !line.contains("group default"))
        .filter_map(|line| line.split(": ").nth(1))
        .filter_map(|name| name.split('@').next());
    let mut names: Vec<String> = ours.map(str::to_owned).collect();
    names.sort();
    names
}

/// Devices are found by group and alias, whatever somebody calls them.
#[test]
fn links_that_somebody_renames_are_known_still() {
    for_each(&Wiring::ALL, |wiring| {
        let shape = Shape::flat().wiring(*wiring).transport(Transport::Vxlan);
        let mut world = World::new(&shape);
        let names = our_links(world.net.node(1));
        assert!(names.len() >= 3, "{names:?}");
        for running in [true, false] {
            if !running {
                world.net.agent_mut(1).kill_agent();
            }
            for (number, name) in names.iter().enumerate() {
                let line = format!("ip link set {name} name mine{number}");
                shell::run(world.net.node(1), &line);
            }
            if !running {
                world.net.agent_mut(1).start_agent();
            }
            world.settled("renamed links", &["mine"]);
            assert_eq!(our_links(world.net.node(1)), names);
        }
        // The guard of a bridge's port goes by the port's name: what comes in while it has another
        // is dropped, which costs no more than a ping for each half second without an agent.
        let bearable = if *wiring == Wiring::Bridge { 20 } else { 0 };
        world.end_with(bearable);
    });
}
