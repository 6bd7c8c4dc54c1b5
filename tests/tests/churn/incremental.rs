//! Row 5: after ten thousand events the kernel holds what it holds after a cold start with the same
//! cluster; also when the agent was killed on the way.

use std::collections::BTreeSet;
use std::time::Duration;

use seaway_kernel::netns::Netns;
use seaway_tests::net::{Cluster, Shape};
use seaway_tests::services::case::TableSettings;
use seaway_tests::services::{Cast, Stage};
use seaway_tests::{Agent, shell};

use crate::chaos::Chaos;
use crate::rounds::rounds;

/// How many events there are in an ordinary run, and how often it is compared.
const EVENTS: usize = 10_000;
const COMPARED: usize = 4;

fn settings() -> TableSettings {
    TableSettings {
        external_ips: true,
        ..TableSettings::default()
    }
}

/// What the kernel holds: the agent's rows, and what `nft` says of all tables.
#[derive(Debug, PartialEq, Eq)]
struct Dump {
    rows: BTreeSet<String>,
    ruleset: BTreeSet<String>,
}

impl Dump {
    fn of(agent: &Agent) -> Dump {
        let row = |row: &serde_json::Value| {
            let field = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            format!(
                "{} {} [{}]",
                field("table"),
                field("observed"),
                field("state")
            )
        };
        Dump {
            rows: agent.rows().iter().map(row).collect(),
            ruleset: ruleset(agent.netns()),
        }
    }

    fn assert_is(&self, cold: &Dump, what: &str) {
        let sizes = (self.rows.len(), self.ruleset.len());
        println!("{what}: {sizes:?} rows and lines of rules");
        assert!(
            sizes.0 > 200 && sizes.1 > 400,
            "{what}: hardly anything: {sizes:?}"
        );
        let differ = |a: &BTreeSet<String>, b: &BTreeSet<String>| -> Vec<String> {
            let only = |sign: &str, a: &BTreeSet<String>, b: &BTreeSet<String>| {
                let lines = a.difference(b).take(20);
                lines
                    .map(|line| format!("{sign} {line}"))
                    .collect::<Vec<_>>()
            };
            [only("+", a, b), only("- (cold)", b, a)].concat()
        };
        let rows = differ(&self.rows, &cold.rows);
        assert!(rows.is_empty(), "{what}: rows:\n{}", rows.join("\n"));
        let rules = differ(&self.ruleset, &cold.ruleset);
        assert!(rules.is_empty(), "{what}: ruleset:\n{}", rules.join("\n"));
    }
}

/// The ruleset, element by element, without counts.
fn ruleset(netns: &Netns) -> BTreeSet<String> {
    let text = shell::run(netns, "nft -s list ruleset");
    let (mut place, mut lines) = (String::new(), BTreeSet::new());
    for line in text.lines() {
        let trimmed = line.trim();
        // A table, or a chain or map in it: they come in any order.
        if trimmed.ends_with('{') && !line.starts_with("\t\t") {
            place = trimmed.to_owned();
        }
        for part in trimmed.split(", ") {
            let part = part
                .trim_start_matches("elements = {")
                .trim_end_matches(['}', ',']);
            lines.insert(format!("{place}: {}", part.trim()));
        }
    }
    lines
}

/// What a second agent of the same name makes of the cluster when it starts with it.
fn cold(cluster: &Cluster) -> Dump {
    let start = || {
        let mut stage = Stage::set_bare(Shape::flat().nodes(2), &settings());
        stage.start_with(cluster);
        Dump::of(stage.net.agent(1))
    };
    let result = std::thread::scope(|scope| scope.spawn(start).join());
    result.expect("a cold start")
}

#[test]
fn r05_events_lead_to_what_a_cold_start_builds() {
    let mut stage = Stage::set_bare(Shape::flat().nodes(2), &settings());
    stage.start_with(&stage.net.cluster.clone());
    let mut chaos = Chaos::new(&Cast::on_paper());
    let all = EVENTS * rounds(1);
    for compared in 1..=COMPARED {
        while chaos.events < all * compared / COMPARED {
            let some = 1 + chaos.below(80);
            chaos.change(some);
            stage.tell(&chaos.objects());
            // Some are seen one by one, some come in heaps.
            std::thread::sleep(Duration::from_millis(chaos.below(40) as u64));
        }
        if compared % 2 == 0 {
            stage.net.agent_mut(1).kill_agent();
            chaos.change(30);
            stage.tell(&chaos.objects());
            stage.net.agent_mut(1).start_agent();
        }
        stage.wait_heard_by(1);
        let what = format!("after {} events", chaos.events);
        Dump::of(stage.net.agent(1)).assert_is(&cold(&stage.net.cluster), &what);
    }
}
