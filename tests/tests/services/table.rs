//! The files of cases, and every single question that they ask.

use std::collections::BTreeSet;

use seaway_model::{Family, Protocol};
use seaway_tests::services::{Case, Cast, Expect, Objects, Probe, Seen, Table, Target};

/// The files: their names and what they hold.
pub(crate) const FILES: [(&str, &str); 5] = [
    ("basics", include_str!("cases/basics.yaml")),
    ("closed", include_str!("cases/closed.yaml")),
    ("opened", include_str!("cases/opened.yaml")),
    ("outer", include_str!("cases/outer.yaml")),
    ("policies", include_str!("cases/policies.yaml")),
];

/// A file of cases.
pub(crate) fn table(name: &str) -> Table {
    let (_, text) = FILES
        .iter()
        .find(|(file, _)| *file == name)
        .expect("listed");
    serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{name}.yaml: {e}"))
}

/// One client asks by one protocol in one family.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    /// Where it is asked.
    pub(crate) case: &'a Case,
    /// From where.
    pub(crate) from: &'a str,
    /// By what.
    pub(crate) protocol: Protocol,
    /// In which family.
    pub(crate) family: Family,
    /// What is asked.
    pub(crate) probe: &'a Probe,
    /// Where that leads.
    pub(crate) target: Target,
}

impl Question<'_> {
    /// Who may answer, when somebody must.
    pub(crate) fn answerers(&self) -> BTreeSet<&str> {
        match &self.probe.expect {
            Expect::Reach(names)
            | Expect::ReachAsNode(names)
            | Expect::Sticks(names)
            | Expect::Passes(names) => names.iter().map(String::as_str).collect(),
            Expect::Refused | Expect::Dropped(_) | Expect::PassesToNobody => BTreeSet::new(),
        }
    }

    /// Whom an endpoint must see.
    pub(crate) fn seen_by(&self, endpoint: &str) -> Seen {
        let hairpin = endpoint.split(':').next() == Some(self.from);
        // What is led to the node that leads it goes no further, and needs no other source.
        let is_there = endpoint == format!("node{}", self.target.entry);
        match &self.probe.expect {
            Expect::ReachAsNode(_) if is_there => Seen::Anybody,
            Expect::Reach(_) if hairpin && !self.from.starts_with("node") => Seen::Node,
            Expect::Reach(_) => Seen::Client,
            Expect::ReachAsNode(_) => Seen::Node,
            _ => Seen::Anybody,
        }
    }
}

/// What is wrong, in few words: what is the same by several protocols or families is said once.
pub(crate) fn complaints(wrong: &[(&Question<'_>, String)]) -> String {
    let mut ways: Vec<(String, Vec<String>)> = Vec::new();
    for (question, problem) in wrong {
        let Question {
            case,
            from,
            protocol,
            family,
            probe,
            target,
        } = question;
        let (to, wanted) = (&probe.to, &probe.expect);
        let service = probe.service.as_deref().unwrap_or_default();
        let port = target.door.port().to_string();
        // Addresses and ports differ by family and protocol, what is wrong seldom does.
        let problem = problem.replace(&target.door.to_string(), "the door");
        let line = format!(
            "\"{}\": {from} -> {to} {service}\n    is {problem}\n    not {wanted:?}",
            case.name
        );
        let way = format!("{protocol}/{family}:{port}");
        match ways.iter_mut().find(|(known, _)| *known == line) {
            Some((_, same)) => same.push(way),
            None => ways.push((line, vec![way])),
        }
    }
    let lines = ways
        .iter()
        .map(|(line, ways)| format!("{line}\n    by {}\n", ways.join(" ")));
    lines.collect()
}

/// Every question of a file.
pub(crate) fn questions<'a>(table: &'a Table, objects: &Objects, cast: &Cast) -> Vec<Question<'a>> {
    let mut questions = Vec::new();
    for (number, case) in table.cases.iter().enumerate() {
        for probe in &case.probes {
            for from in &probe.from {
                for family in &probe.families {
                    for protocol in protocols(case, probe) {
                        let client = (from.as_str(), protocol, *family);
                        questions.push(Question {
                            case,
                            from,
                            protocol,
                            family: *family,
                            probe,
                            target: objects.target((number, case), probe, client, cast),
                        });
                    }
                }
            }
        }
    }
    questions
}

/// Those of a probe; by default all that the Service's port has.
fn protocols(case: &Case, probe: &Probe) -> Vec<Protocol> {
    let service = match &probe.service {
        None => case.services.first(),
        Some(name) => case.services.iter().find(|s| s.name == *name),
    };
    let all = probe.protocols.iter().copied();
    let ports = service.map_or(&[][..], |s| &s.ports);
    if ports.is_empty() || probe.to == "cluster-as-tcp" {
        return all.collect();
    }
    let named = |port: &&seaway_tests::services::case::PortCase| {
        probe.port.as_ref().is_none_or(|name| port.name == *name)
    };
    let has = |protocol: &Protocol| {
        let mut ports = ports.iter().filter(named);
        ports.any(|port| port.protocols.contains(protocol))
    };
    all.filter(has).collect()
}

#[test]
fn every_file_is_read_and_asks_something() {
    let cast = Cast::on_paper();
    let mut total = 0;
    for (name, _) in FILES {
        let table = table(name);
        let objects = Objects::of(&table.cases, &cast);
        let count = questions(&table, &objects, &cast).len();
        println!("{name}: {} cases, {count} questions", table.cases.len());
        assert!(count >= 20, "{name}: {count}");
        total += count;
    }
    println!("{total} questions");
}

#[test]
fn every_file_is_listed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/services/cases");
    let entries = std::fs::read_dir(folder).expect("the cases");
    let there: BTreeSet<String> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_string_lossy().replace(".yaml", ""))
        .collect();
    let listed: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(there, listed);
}

#[test]
fn no_two_cases_have_one_name() {
    let mut names = BTreeSet::new();
    for (file, _) in FILES {
        for case in table(file).cases {
            assert!(names.insert(case.name.clone()), "twice: {}", case.name);
        }
    }
}
