//! Row 33 for Services: somebody flushes or deletes tables, chains, sets and elements of ours. All of
//! it comes back, flows that are open live on, and what is theirs stays as it was to the byte.

use std::time::Instant;

use seaway_kernel::netns::Netns;
use seaway_model::{Family, Protocol};
use seaway_testkit::eventually;
use seaway_tests::services::stage::ways;
use seaway_tests::services::{Load, Objects, Stage, at};
use seaway_tests::shell;
use serde_json::{Value, json};

use crate::rounds::{LIMIT, assert_unharmed, staying};

const THEIRS: &str = "
table inet theirs {
  set friends { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 } }
  map doors { type inet_service : verdict; elements = { 22 : accept } }
  chain forward { type filter hook forward priority 10; policy accept; ip saddr @friends accept; }
}
table ip theirs_nat {
  chain post { type nat hook postrouting priority 120; policy accept; ip saddr 192.0.2.0/24 masquerade; }
}
";

fn theirs(netns: &Netns) -> String {
    ["inet theirs", "ip theirs_nat"]
        .map(|table| shell::run(netns, &format!("nft -s list table {table}")))
        .concat()
}

/// Everything of ours of one kind in the ruleset, as `family table name`, or `family table`.
fn ours(netns: &Netns, kinds: &[&str]) -> Vec<String> {
    let text = shell::run(netns, "nft -j list ruleset");
    let ruleset: Value = serde_json::from_str(&text).expect("JSON");
    let items = ruleset["nftables"].as_array().expect("a list").iter();
    let of_kind = |item: &Value| {
        let (kind, object) = item.as_object()?.iter().next()?;
        let field = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
        let table = if kind == "table" {
            String::new()
        } else {
            field("table")
        };
        let name = format!("{} {table} {}", field("family"), field("name"));
        let is_ours = kinds.contains(&kind.as_str()) && !name.contains("theirs");
        is_ours.then(|| {
            format!(
                "{kind} {}",
                name.split_whitespace().collect::<Vec<_>>().join(" ")
            )
        })
    };
    items.filter_map(of_kind).collect()
}

struct Vandal<'a> {
    stage: &'a Stage,
    objects: Objects,
    loads: Vec<Load>,
    theirs: String,
}

impl Vandal<'_> {
    /// Does some of it at once, and waits until everything is as it was.
    fn damage(&self, what: &str, lines: &[String]) {
        let node = self.stage.net.node(1);
        for line in lines {
            // What others hang on cannot be deleted alone; that is no damage then.
            let _ = shell::try_run(node, line, "");
        }
        let start = Instant::now();
        let agent = self.stage.net.agent(1);
        eventually(&format!("{what}: {lines:?}"), LIMIT, || {
            let (drift, failures) = (agent.drift(), agent.status()["failures"].clone());
            match drift.is_empty() && failures == json!([]) {
                true => Ok(()),
                false => Err((drift, failures)),
            }
        });
        let time = start.elapsed().as_millis();
        println!("repaired in {time:4} ms: {what} ({})", lines.join(", "));
        assert_eq!(theirs(node), self.theirs, "{what}: {lines:?}");
        self.works(&format!("{what}: {lines:?}"));
    }

    /// The same for everything of these kinds, some at a time.
    fn damage_all(&self, verb: &str, kinds: &[&str], at_once: usize) {
        let node = self.stage.net.node(1);
        let all = ours(node, kinds);
        assert!(!all.is_empty(), "{kinds:?}: there is none");
        for some in all.chunks(at_once) {
            let lines: Vec<String> = some.iter().map(|i| format!("nft {verb} {i}")).collect();
            self.damage(&format!("{verb} {kinds:?}"), &lines);
        }
    }

    /// New flows are led as before.
    fn works(&self, what: &str) {
        for (family, protocol) in ways() {
            let cluster = self.objects.cluster_door("s", protocol, family);
            let port = self.objects.node_port("s", protocol);
            let node = self.stage.node_door(1, family, port);
            for (from, door) in [("pod1", cluster), ("outside", node)] {
                let client = at(self.stage.cast.place(from).netns(), door, protocol);
                eventually(what, LIMIT, || match client.ask() {
                    outcome if outcome.name().is_some() => Ok(()),
                    other => Err((from, door, other)),
                });
            }
        }
    }
}

/// e2e: "Networking should recreate its iptables rules if they are deleted".
#[test]
fn r33_what_strangers_do_to_services_is_undone() {
    let mut stage = Stage::two_nodes();
    let objects = stage.publish_written(
        "[{type: NodePort, endpoints: [b1, b2]},
          {name: kept, affinity: 600, endpoints: [b1, b2]},
          {name: none, endpoints: []}]",
    );
    let node = stage.net.node(1);
    shell::nft(node, THEIRS);
    let mut vandal = Vandal {
        stage: &stage,
        loads: staying(&stage, &objects, "s"),
        theirs: theirs(node),
        objects,
    };
    vandal.works("at first");
    vandal.damage_all("flush", &["map", "set"], 5);
    vandal.damage_all("flush", &["chain"], 12);
    vandal.damage_all("delete", &["map", "set", "chain"], 12);
    one_element(&vandal);
    vandal.loads.iter().for_each(|load| load.wait_for_more(3));
    assert_unharmed("what is open lives on", &vandal.loads);
    // Without any table that translates, the kernel forgets how open flows were translated.
    vandal.loads.clear();
    vandal.damage_all("delete", &["table"], 1);
    whole_ruleset(&vandal);
}

/// A single frontend that is led elsewhere, and one that is taken out.
fn one_element(vandal: &Vandal<'_>) {
    let node = vandal.stage.net.node(1);
    let door = vandal.objects.cluster_door("s", Protocol::Tcp, Family::V4);
    for item in ours(node, &["map"]) {
        let text = shell::run(node, &format!("nft list {item}"));
        let address = door.ip().to_string();
        let mut elements = text.split(['{', '}', ',']).map(str::trim);
        let found = elements.rfind(|e| e.starts_with(&address) && e.contains(" : "));
        let Some((key, _)) = found.and_then(|element| element.split_once(" : ")) else {
            continue;
        };
        let name = item.trim_start_matches("map ");
        let line = format!("delete element {name} {{ {key} }}\n");
        let start = Instant::now();
        shell::nft(node, &line);
        let client = at(vandal.stage.cast.place("pod1").netns(), door, Protocol::Tcp);
        eventually("the element is back", LIMIT, || match client.ask() {
            outcome if outcome.name().is_some() => Ok(()),
            other => Err(other),
        });
        println!(
            "repaired in {:4} ms: {}",
            start.elapsed().as_millis(),
            line.trim()
        );
        return;
    }
    panic!("no map has {door}");
}

/// Everything at once, theirs too; then theirs is not ours to bring back.
fn whole_ruleset(vandal: &Vandal<'_>) {
    let node = vandal.stage.net.node(1);
    for _ in 0..3 {
        shell::run(node, "nft flush ruleset");
        vandal.works("after a flush of everything");
        vandal.stage.net.agent(1).wait_settled();
    }
    let text = shell::run(node, "nft list tables");
    assert!(!text.contains("theirs"), "{text}");
}
