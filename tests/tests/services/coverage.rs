//! Which test proves which line of the semantics, and where each of Kubernetes' own end-to-end tests
//! is found: lists held against the tests and cases that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::table::{FILES, table};

/// How many lines the semantics have.
const LINES: usize = 45;

/// What stands for the truth table: every case that names the line.
const CASES: &str = "cases";

/// Names of all test functions of the workspace.
fn functions() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let mut found = BTreeSet::new();
    let mut folders = vec![root.join("crates"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                found.extend(tests_of(&text));
            }
        }
    }
    found
}

/// The functions below a test attribute.
fn tests_of(text: &str) -> Vec<String> {
    let mut is_test = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
            let name = rest.split('(').next().unwrap_or_default();
            found.push(name.to_owned());
            is_test = false;
        }
    }
    found
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> BTreeMap<String, T> {
    serde_saphyr::from_str(text).expect("a map")
}

/// Every name that stands for `wanted` is there.
fn missing<'a>(
    wanted: &'a [String],
    cases: &BTreeSet<String>,
    functions: &BTreeSet<String>,
    name: &str,
) -> Vec<&'a String> {
    let is_there = |proof: &&String| match proof.as_str() {
        CASES => cases.contains(name),
        why if why.starts_with("not ") => true,
        function => functions.contains(function),
    };
    wanted.iter().filter(|proof| !is_there(proof)).collect()
}

#[test]
fn every_line_of_the_semantics_is_proven() {
    let proofs: BTreeMap<String, Vec<String>> = read(include_str!("semantics.yaml"));
    let mut covered = BTreeSet::new();
    for (file, _) in FILES {
        for case in table(file).cases {
            assert!(!case.covers.is_empty(), "\"{}\" covers nothing", case.name);
            covered.extend(case.covers);
        }
    }
    let functions = functions();
    let mut wrong = Vec::new();
    for number in 1..=LINES {
        let name = format!("S{number}");
        match proofs.get(&name) {
            None => wrong.push(format!("{name}: nothing proves it")),
            Some(proofs) if proofs.is_empty() => wrong.push(format!("{name}: nothing proves it")),
            Some(proofs) => {
                for proof in missing(proofs, &covered, &functions, &name) {
                    wrong.push(format!("{name}: there is no {proof}"));
                }
            }
        }
    }
    for name in &covered {
        let listed = proofs
            .get(name)
            .is_some_and(|all| all.iter().any(|p| p == CASES));
        if !listed {
            wrong.push(format!("{name}: the cases that cover it are not listed"));
        }
    }
    let known = |name: &&String| (1..=LINES).any(|n| **name == format!("S{n}"));
    wrong.extend(
        proofs
            .keys()
            .filter(|n| !known(n))
            .map(|n| format!("{n}: is no line")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each is found in a case that names it, in a test, or nowhere for a reason.
#[test]
fn every_end_to_end_test_of_kubernetes_is_accounted_for() {
    let listed: BTreeMap<String, Vec<String>> = read(include_str!("e2e.yaml"));
    let mut named = BTreeSet::new();
    for (file, _) in FILES {
        for case in table(file).cases {
            named.extend(case.e2e);
        }
    }
    let functions = functions();
    let mut wrong = Vec::new();
    let mut elsewhere = 0;
    for (name, proofs) in &listed {
        elsewhere += usize::from(proofs.iter().any(|p| p.starts_with("not ")));
        if proofs.is_empty() {
            wrong.push(format!("{name}: nothing stands for it"));
        }
        for proof in missing(proofs, &named, &functions, name) {
            wrong.push(format!("{name}: there is no {proof}"));
        }
    }
    for name in &named {
        if !listed.contains_key(name) {
            wrong.push(format!("{name}: a case names it, the list does not"));
        }
    }
    println!(
        "{} of {} stand here",
        listed.len() - elsewhere,
        listed.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
