//! Row 33 of the scorecard: somebody flushes, deletes or resets what is ours. It comes back, and
//! what is theirs stays as it was to the byte.
//!
//! Repair times are printed, never asserted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use seaway_kernel::netns::Netns;
use seaway_model::{Family, Transport, Wiring};
use seaway_testkit::eventually;
use seaway_tests::net::{Net, Shape, get, set};
use seaway_tests::probe::{Traffic, wait_for_talk};
use seaway_tests::{Agent, Pod, shell};
use serde_json::json;

use crate::common::{LIMIT, end, for_each};

/// Tables of somebody else, one of each kind that we have.
const THEIRS: &str = "
table inet theirs {
  set friends { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 } }
  chain forward { type filter hook forward priority 10; policy accept; ip saddr @friends accept; }
}
table ip theirs_nat {
  chain post { type nat hook postrouting priority 120; policy accept; ip saddr 192.0.2.0/24 masquerade; }
}
table bridge theirs_bridge {
  chain forward { type filter hook forward priority 0; policy accept; }
}
";

const IN_VXLAN: [(Wiring, Transport); 2] = [
    (Wiring::Routed, Transport::Vxlan),
    (Wiring::Bridge, Transport::Vxlan),
];

/// How long it may take until the agent has looked through everything by itself.
const AUDIT: Duration = Duration::from_secs(90);

/// The tables that are not of somebody else, by `family name`.
fn our_tables(netns: &Netns) -> Vec<String> {
    let text = shell::run(netns, "nft list tables");
    let names = text.lines().filter_map(|line| line.strip_prefix("table "));
    names
        .filter(|name| !name.contains("theirs"))
        .map(str::to_owned)
        .collect()
}

fn their_tables(netns: &Netns) -> String {
    let tables = ["inet theirs", "ip theirs_nat", "bridge theirs_bridge"];
    tables
        .map(|table| shell::run(netns, &format!("nft -s list table {table}")))
        .concat()
}

/// What our tables say, without counts, line by line in a fixed order.
fn our_rules(netns: &Netns) -> BTreeMap<String, Vec<String>> {
    let rules = |table: String| {
        let output = shell::try_run(netns, &format!("nft -s list table {table}"), "");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut parts: Vec<String> = text
            .split(['\n', ','])
            .map(|part| part.trim().replace("elements = { ", "").replace(" }", ""))
            .collect();
        parts.sort();
        (table, parts)
    };
    our_tables(netns).into_iter().map(rules).collect()
}

/// One damage after another, each repaired before the next.
struct Vandal<'a> {
    net: &'a Net,
    pods: [&'a Pod; 3],
    traffic: Vec<Traffic>,
    theirs: String,
    rules: BTreeMap<String, Vec<String>>,
}

impl<'a> Vandal<'a> {
    fn new(net: &'a Net, pods: [&'a Pod; 3]) -> Vandal<'a> {
        let node = net.node(1);
        shell::nft(node, THEIRS);
        let [a, b, c] = pods;
        let traffic = Family::ALL
            .into_iter()
            .flat_map(|f| [b, c].map(|to| Traffic::between(end(a, f), end(to, f))))
            .collect();
        Vandal {
            net,
            pods,
            traffic,
            theirs: their_tables(node),
            rules: our_rules(node),
        }
    }

    fn agent(&self) -> &Agent {
        self.net.agent(1)
    }

    /// Does it and waits until everything is as it was.
    fn damage(&self, what: &str, damage: impl FnOnce(&Netns)) {
        self.damage_within(what, LIMIT, damage);
        self.talk(what);
    }

    fn damage_within(&self, what: &str, limit: Duration, damage: impl FnOnce(&Netns)) {
        let node = self.net.node(1);
        damage(node);
        let start = Instant::now();
        eventually(what, limit, || {
            let (drift, failures) = (self.agent().drift(), &self.agent().status()["failures"]);
            if drift.is_empty() && *failures == json!([]) {
                Ok(())
            } else {
                Err((drift, failures.clone()))
            }
        });
        let rows = start.elapsed();
        eventually(what, LIMIT, || match our_rules(node) {
            same if same == self.rules => Ok(()),
            other => Err(difference(&self.rules, &other)),
        });
        println!("repaired in {:4} ms: {what}", rows.as_millis());
        assert_eq!(their_tables(node), self.theirs, "{what}");
        // Each time: a stream that one damage delays is not to be delayed longer by the next.
        self.traffic.iter().for_each(Traffic::wait_for_stream);
    }

    /// All paths work, by packets.
    fn talk(&self, what: &str) {
        let [a, b, c] = self.pods;
        wait_for_talk(what, a, b);
        wait_for_talk(what, a, c);
    }

    /// A damage by command lines.
    fn lines(&self, what: &str, lines: &[&str]) {
        self.damage(what, |node| {
            for line in lines {
                let done = shell::try_run(node, line, "");
                let errors = String::from_utf8_lossy(&done.stderr).into_owned();
                assert!(done.status.success(), "{line}: {errors}");
            }
        });
    }

    /// Every connection that was there from the first is still there.
    fn streams_go_on(&self) {
        self.traffic.iter().for_each(Traffic::wait_for_more);
    }
}

fn difference(
    before: &BTreeMap<String, Vec<String>>,
    now: &BTreeMap<String, Vec<String>>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (table, rules) in before {
        let none = Vec::new();
        let other = now.get(table).unwrap_or(&none);
        let missing = rules.iter().filter(|rule| !other.contains(rule));
        lines.extend(missing.map(|rule| format!("{table}: - {rule}")));
        let more = other.iter().filter(|rule| !rules.contains(rule));
        lines.extend(more.map(|rule| format!("{table}: + {rule}")));
    }
    lines
}

/// A cluster with everything in its kernel that there can be.
fn furnished(wiring: Wiring, transport: Transport) -> (Net, [Pod; 3]) {
    let net = Net::start(&Shape::flat().wiring(wiring).transport(transport));
    let mut a = net.bare_pod(1, "a").asking(json!({
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
        "bandwidth": {"ingressRate": 1_000_000_000u64, "ingressBurst": 100_000_000u64,
                      "egressRate": 1_000_000_000u64, "egressBurst": 100_000_000u64},
    }));
    a.add().expect("ADD");
    let (b, c) = (net.pod(1, "b"), net.pod(2, "c"));
    net.settle();
    (net, [a, b, c])
}

/// Every object of our tables, as a command that damages it.
fn objects(netns: &Netns) -> Vec<String> {
    let mut commands = Vec::new();
    for table in our_tables(netns) {
        let text = shell::run(netns, &format!("nft -a list table {table}"));
        let mut chain = None;
        let mut holder = String::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["chain", name, "{", ..] => {
                    commands.push(format!("nft flush chain {table} {name}"));
                    chain = Some((*name).to_owned());
                }
                ["set" | "map", name, "{", ..] => {
                    commands.push(format!("nft flush {} {table} {name}", words[0]));
                    (*name).clone_into(&mut holder);
                    chain = None;
                }
                ["elements", "=", "{", ..] => {
                    let list = line.split('{').nth(1).unwrap_or_default();
                    let first = list.split([',', '}']).next().unwrap_or_default().trim();
                    let first = first.split(" counter").next().unwrap_or_default();
                    commands.push(format!("nft delete element {table} {holder} {{ {first} }}"));
                }
                [.., "handle", handle] if !line.contains('{') => {
                    // The first rule of a chain stands for all.
                    if let Some(chain) = chain.take() {
                        commands.push(format!("nft delete rule {table} {chain} handle {handle}"));
                    }
                }
                _ => {}
            }
        }
    }
    commands
}

/// Runs such a command. Handles change with each repair, so that of a rule is looked up again.
fn break_it(netns: &Netns, command: &str) {
    let Some((start, _)) = command.split_once(" handle ") else {
        shell::run(netns, command);
        return;
    };
    let chain = start.replace("nft delete rule", "chain");
    let text = shell::run(netns, &format!("nft -a list {chain}"));
    let rules = text.lines().filter(|line| !line.contains('{'));
    let handle = rules
        .filter_map(|line| line.split("# handle ").nth(1))
        .next();
    let handle = handle.expect("the chain has a rule");
    shell::run(netns, &format!("{start} handle {handle}"));
}

#[test]
fn r33_our_filters_come_back_whatever_is_taken_of_them() {
    filters_come_back(Wiring::Routed);
}

#[test]
fn r33_our_filters_come_back_on_a_bridge_too() {
    filters_come_back(Wiring::Bridge);
}

fn filters_come_back(wiring: Wiring) {
    for_each(&[(wiring, Transport::Vxlan)], |(wiring, transport)| {
        let (net, [a, b, c]) = furnished(*wiring, *transport);
        let vandal = Vandal::new(&net, [&a, &b, &c]);
        let node = net.node(1);
        let commands = objects(node);
        assert!(commands.len() > 8, "{commands:?}");
        for command in &commands {
            vandal.damage_within(command, LIMIT, |node| break_it(node, command));
        }
        vandal.talk("everything was broken once");
        for table in our_tables(node) {
            let what = format!("nft delete table {table}");
            vandal.lines(&what, &[&what]);
        }
        vandal.damage("a rule of theirs in our chain", |node| {
            let chain = commands
                .iter()
                .find_map(|c| c.strip_prefix("nft flush chain "));
            let chain = chain.expect("we have chains");
            shell::nft(node, &format!("insert rule {chain} counter drop\n"));
        });
        vandal.damage("nft flush ruleset", |node| {
            shell::run(node, "nft flush ruleset");
            shell::nft(node, THEIRS);
        });
        vandal.streams_go_on();
        let shaped = shell::run(node, "tc qdisc show");
        assert!(shaped.contains("tbf"), "{shaped}");
    });
}

#[test]
fn r33_routes_rules_and_neighbours_come_back() {
    let cases = [
        (Wiring::Routed, Transport::Vxlan),
        (Wiring::Bridge, Transport::Vxlan),
        (Wiring::Routed, Transport::L2),
    ];
    for_each(&cases, |(wiring, transport)| {
        let (net, [a, b, c]) = furnished(*wiring, *transport);
        let vandal = Vandal::new(&net, [&a, &b, &c]);
        vandal.lines(
            "flush routes of protocol 83",
            &[
                "ip route flush table all proto 83",
                "ip -6 route flush table all proto 83",
            ],
        );
        vandal.damage("flush permanent neighbours", |node| {
            for family in ["-4", "-6"] {
                shell::try_run(
                    node,
                    &format!("ip {family} neigh flush all nud permanent"),
                    "",
                );
            }
        });
        vandal.damage("delete rules", |node| {
            for family in ["-4", "-6"] {
                let rules = shell::run(node, &format!("ip {family} rule show"));
                for rule in rules.lines() {
                    let number = rule.split(':').next().unwrap_or_default();
                    if !["0", "32766", "32767"].contains(&number) {
                        shell::run(node, &format!("ip {family} rule del pref {number}"));
                    }
                }
            }
        });
        vandal.streams_go_on();
    });
}

#[test]
fn r33_devices_and_what_hangs_on_them_come_back() {
    for_each(&IN_VXLAN, |(wiring, transport)| {
        let (net, [a, b, c]) = furnished(*wiring, *transport);
        let vandal = Vandal::new(&net, [&a, &b, &c]);
        let devices = |kind: &str| -> Vec<String> {
            let text = shell::run(net.node(1), &format!("ip -o link show type {kind}"));
            let name = |line: &str| {
                let name = line.split(": ").nth(1).unwrap_or_default();
                name.split('@').next().unwrap_or_default().to_owned()
            };
            text.lines()
                .map(name)
                .filter(|name| name != "eth0")
                .collect()
        };
        for device in devices("vxlan") {
            let fdb = shell::run(net.node(1), &format!("bridge fdb show dev {device}"));
            vandal.damage("delete fdb entries", |node| {
                for line in fdb.lines().filter(|line| line.contains("dst")) {
                    let mac = line.split_whitespace().next().unwrap_or_default();
                    shell::run(node, &format!("bridge fdb del {mac} dev {device}"));
                }
            });
            vandal.lines(
                "vxlan device down",
                &[&format!("ip link set {device} down")],
            );
            vandal.lines(
                "vxlan device's MTU",
                &[&format!("ip link set {device} mtu 1300")],
            );
            vandal.lines(
                "delete the vxlan device",
                &[&format!("ip link del {device}")],
            );
        }
        for device in devices("bridge") {
            vandal.lines("bridge down", &[&format!("ip link set {device} down")]);
            let flush = format!("ip addr flush dev {device}");
            vandal.lines("addresses of the bridge", &[&flush]);
            vandal.lines("delete the bridge", &[&format!("ip link del {device}")]);
            vandal.damage("ports taken out", |node| {
                for port in devices("veth") {
                    shell::try_run(node, &format!("ip link set {port} nomaster"), "");
                }
            });
        }
        vandal.damage("delete qdiscs", |node| {
            for device in [devices("veth"), devices("ifb")].concat() {
                for which in ["root", "ingress"] {
                    shell::try_run(node, &format!("tc qdisc del dev {device} {which}"), "");
                }
            }
        });
        for device in devices("ifb") {
            // Those that the kernel makes in every namespace are nobody's.
            if device.starts_with("shp") {
                vandal.lines("delete the shaper", &[&format!("ip link del {device}")]);
            }
        }
        vandal.streams_go_on();
    });
}

#[test]
fn r33_kernel_settings_come_back() {
    for_each(&[Wiring::Routed, Wiring::Bridge], |wiring| {
        let (net, [a, b, c]) = furnished(*wiring, Transport::L2);
        let vandal = Vandal::new(&net, [&a, &b, &c]);
        let node = net.node(1);
        let rows = net.agent(1).rows();
        let settings = rows.iter().filter(|row| row["table"] == "sysctls");
        let mut count = 0;
        for row in settings {
            let planned = row["planned"].as_str().expect("a row");
            let Some(path) = path_of(planned).filter(|path| !path.ends_with("accept_ra")) else {
                continue;
            };
            let good = get(node, &path);
            let bad = if good == "0" { "1" } else { "0" };
            vandal.damage(&format!("{path} = {bad}"), |node| set(node, &path, bad));
            eventually(&path, LIMIT, || match get(node, &path) {
                now if now == good => Ok(()),
                other => Err(other),
            });
            count += 1;
        }
        assert!(count >= 3, "{count} settings");
        vandal.streams_go_on();
    });
}

/// Of some things the kernel tells nobody: proxies that are deleted, and settings of IPv6. They are
/// found missing when the agent looks through everything, which it does every minute.
#[test]
fn r33_what_the_kernel_is_silent_about_comes_back_too() {
    let (net, [a, b, c]) = furnished(Wiring::Routed, Transport::L2);
    let vandal = Vandal::new(&net, [&a, &b, &c]);
    let setting = "net/ipv6/conf/eth0/accept_ra";
    assert_eq!(get(net.node(1), setting), "2");
    vandal.damage_within("delete proxies", AUDIT, |node| {
        set(node, setting, "0");
        for family in ["-4", "-6"] {
            let proxies = shell::run(node, &format!("ip {family} neigh show proxy"));
            for proxy in proxies.lines().filter_map(|line| line.split_once(" dev ")) {
                let device = proxy.1.split_whitespace().next().unwrap_or_default();
                let line = format!("ip neigh del proxy {} dev {device}", proxy.0);
                shell::run(node, &line);
            }
        }
    });
    assert_eq!(get(net.node(1), setting), "2");
    vandal.streams_go_on();
}

/// The file of a setting whose device has a name that the test knows.
fn path_of(planned: &str) -> Option<String> {
    let name = planned.split(" = ").next()?;
    let name = name.replace("[uplink]", "eth0");
    let plain = !name.contains('[') && !name.contains(' ');
    plain.then(|| name.replace('.', "/"))
}
