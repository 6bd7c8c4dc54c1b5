//! Every way between Pods: for each combination of the matrix, a lab of two nodes with two Pods each
//! comes up, its whole check passes at the first try, and it goes down.
//!
//! The tests are data, so this program lists and runs them by itself, as test runners expect it.
//! With `SEAWAY_FULL_MATRIX=1` there are all valid combinations, else those in which every two
//! choices meet.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a test program lists its tests and fails by panic"
)]

use std::process::ExitCode;

use seaway_testkit::isolate;
use seaway_tests::lab::{Lab, good, lab};
use seaway_tests::matrix::{self, Combination};
use serde_json::Value;

/// A test.
enum Trial {
    Works(Combination),
    /// A transport that needs one link, on the routed underlay.
    Refused(&'static str),
}

impl Trial {
    fn name(&self) -> String {
        match self {
            Trial::Works(combination) => combination.name(),
            Trial::Refused(transport) => format!("{transport}_is_refused_on_routed_underlay"),
        }
    }

    fn run(&self, number: usize) {
        // A lab of a test lives for this process alone.
        let name: &'static str = Box::leak(format!("m-isolated-{number}").into_boxed_str());
        isolate();
        match self {
            Trial::Works(combination) => works(name, combination),
            Trial::Refused(transport) => is_refused(name, transport),
        }
    }
}

fn trials() -> Vec<Trial> {
    let full = std::env::var_os("SEAWAY_FULL_MATRIX").is_some_and(|v| v == "1");
    let combinations = if full {
        matrix::all()
    } else {
        matrix::pairwise()
    };
    let works = combinations.into_iter().map(Trial::Works);
    works.chain(["direct", "l2"].map(Trial::Refused)).collect()
}

fn works(name: &'static str, combination: &Combination) {
    let flags = combination.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let lab = Lab::up(name, &flags);
    let output = self::lab(&["check", "--name", lab.name, "-o", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    let rows = report["rows"].as_array().expect("rows");
    let failed: Vec<String> = rows.iter().filter_map(failure).collect();
    assert!(failed.is_empty(), "{flags:?}:\n{}", failed.join("\n"));
    let families = if flags.contains(&"--family=dual") {
        2
    } else {
        1
    };
    // Of each path and protocol one row a family.
    assert_eq!(rows.len(), 71 * families, "{} rows", rows.len());
    assert_eq!(report["ok"], true);
}

/// What went wrong with a row, in a line.
fn failure(row: &Value) -> Option<String> {
    if row["ok"] == true {
        return None;
    }
    let exchanges = row["exchanges"].as_array().into_iter().flatten();
    let failed = exchanges.filter(|e| e["ok"] == false);
    let words = failed.map(|e| format!("{} -> {}: {}", e["from"], e["target"], e["error"]));
    let words: Vec<String> = words.collect();
    let (path, family, protocol) = (&row["path"], &row["family"], &row["protocol"]);
    Some(format!("{path} {family} {protocol}: {}", words.join("; ")))
}

/// The lab refuses it, and says what to use; whoever insists hears the same of the agents.
fn is_refused(name: &'static str, transport: &str) {
    let flags = ["--underlay=routed", &format!("--transport={transport}")];
    let refused = lab(&[&["up", "--name", name], &flags[..]].concat());
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{words}");
    for word in [transport, "--transport auto or vxlan", "--force"] {
        assert!(words.contains(word), "{words}");
    }
    let forced = Lab::up(name, &[&flags[..], &["--force"]].concat());
    let status = forced.exec("node1", &["seaway", "status"]);
    assert!(status.contains("node2"), "the peer is named: {status}");
    assert!(status.contains("--transport auto or vxlan"), "{status}");
    let pods = good(&["exec", "--name", forced.name, "pod-1-1", "--", "hostname"]);
    assert_eq!(pods.trim(), "pod-1-1", "Pods come up all the same");
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let (trials, ignored) = (trials(), has("--ignored"));
    if has("--list") {
        for trial in trials.iter().filter(|_| !ignored) {
            println!("{}: test", trial.name());
        }
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let is_wanted = |name: &str| match wanted.is_empty() {
        true => !ignored,
        false if has("--exact") => wanted.iter().any(|w| *w == name),
        false => wanted.iter().any(|w| name.contains(w.as_str())),
    };
    for (number, trial) in trials.iter().enumerate() {
        if is_wanted(&trial.name()) {
            println!("{}", trial.name());
            trial.run(number);
        }
    }
    ExitCode::SUCCESS
}
