//! The cases with real packets: three nodes with real agents, real sockets behind every endpoint,
//! and clients at every place. All cases of a file are there at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use seaway_model::Wiring;
use seaway_tests::net::Shape;
use seaway_tests::services::{Expect, Objects, Outcome, Seen, Stage, ask};

use crate::table::{Question, complaints, questions, table};

/// How long an answer may take that is to come.
const SOON: Duration = Duration::from_secs(3);
/// How long one waits for what is not to come.
const LONG_ENOUGH: Duration = Duration::from_millis(400);
/// How many wait at the same time.
const AT_ONCE: usize = 48;

/// What everybody may be seen as.
struct Addresses {
    nodes: BTreeMap<usize, Vec<IpAddr>>,
}

impl Addresses {
    fn of(stage: &Stage) -> Addresses {
        let numbers = 1..=stage.net.agents.len();
        Addresses {
            nodes: numbers
                .map(|n| (n, stage.cast.addresses_of_node(n)))
                .collect(),
        }
    }

    /// Whether a server that saw `seen` saw whom it must have.
    fn fits(&self, question: &Question<'_>, stage: &Stage, endpoint: &str, seen: IpAddr) -> bool {
        let place = stage.cast.place(question.from);
        let of_node = |number: usize| self.nodes[&number].contains(&seen);
        match (question.seen_by(endpoint), place.node) {
            (Seen::Anybody, _) => true,
            // What a program of a node speaks from is up to its routes.
            (_, Some(own)) if !place.is_pod && own == question.target.entry => of_node(own),
            (Seen::Client, Some(own)) if !place.is_pod => of_node(own),
            (Seen::Client, _) => seen == place.address(question.family),
            (Seen::Node, _) => of_node(question.target.entry),
        }
    }
}

/// Asks until everybody has answered who is to, and long enough to meet somebody who is not to.
fn reach(stage: &Stage, addresses: &Addresses, question: &Question<'_>) -> Result<(), String> {
    let wanted = question.answerers();
    let enough = 10 * (wanted.len() + 1);
    let mut met = BTreeSet::new();
    let netns = stage.cast.place(question.from).netns();
    for count in 0.. {
        let outcome = ask(netns, question.target.door, question.protocol, SOON);
        let Outcome::Answered(greeting) = &outcome else {
            return Err(format!("{outcome:?} after {count} that were answered"));
        };
        let Some(name) = wanted.get(greeting.name.as_str()) else {
            return Err(format!("{} answers, not one of {wanted:?}", greeting.name));
        };
        if !addresses.fits(question, stage, name, greeting.seen.ip()) {
            return Err(format!("{name} sees {}", greeting.seen.ip()));
        }
        met.insert(*name);
        let sticks = matches!(question.probe.expect, Expect::Sticks(_));
        if sticks && met.len() > 1 {
            return Err(format!("{met:?} answer the same client"));
        }
        if count >= enough && (sticks || met == wanted) {
            return Ok(());
        }
        if count > 40 * enough {
            return Err(format!("only {met:?} of {wanted:?} answer"));
        }
    }
    Ok(())
}

/// What must come of it at the first try, where nobody is to answer.
fn fail(stage: &Stage, question: &Question<'_>) -> Result<(), String> {
    let netns = stage.cast.place(question.from).netns();
    let patience = match question.probe.expect {
        Expect::Refused => SOON,
        _ => LONG_ENOUGH,
    };
    let outcome = ask(netns, question.target.door, question.protocol, patience);
    let good = match question.probe.expect {
        Expect::Refused => outcome == Outcome::Refused,
        Expect::PassesToNobody => outcome.name().is_none(),
        _ => outcome == Outcome::Silent,
    };
    if good {
        Ok(())
    } else {
        Err(format!("{outcome:?}"))
    }
}

/// What each node counts of each reason.
fn drops(stage: &Stage, questions: &[&Question<'_>]) -> BTreeMap<(usize, String), u64> {
    let mut drops = BTreeMap::new();
    for question in questions {
        if let Expect::Dropped(reason) = &question.probe.expect {
            let entry = question.target.entry;
            let count = || stage.net.agent(entry).drops(reason);
            drops.entry((entry, reason.clone())).or_insert_with(count);
        }
    }
    drops
}

/// Asks where nobody is to answer, many at once since it is all waiting.
fn all_fail<'a>(
    stage: &Stage,
    questions: &[&'a Question<'a>],
    wrong: &mut Vec<(&'a Question<'a>, String)>,
) -> Vec<String> {
    let before = drops(stage, questions);
    let mut silent: BTreeMap<(usize, String), u64> = BTreeMap::new();
    for some in questions.chunks(AT_ONCE) {
        let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
            let spawn = |question| scope.spawn(move || fail(stage, question));
            let threads: Vec<_> = some.iter().map(|q| spawn(*q)).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join();
            threads
                .into_iter()
                .map(|t| join(t).expect("no panic"))
                .collect()
        });
        for (question, result) in some.iter().zip(results) {
            match (result, &question.probe.expect) {
                (Err(problem), _) => wrong.push((*question, problem)),
                (Ok(()), Expect::Dropped(reason)) => {
                    *silent
                        .entry((question.target.entry, reason.clone()))
                        .or_default() += 1;
                }
                (Ok(()), _) => {}
            }
        }
    }
    let after = drops(stage, questions);
    let mut uncounted = Vec::new();
    for ((node, reason), count) in silent {
        let key = (node, reason);
        let counted = after[&key] - before[&key];
        if counted < count {
            let (node, reason) = key;
            uncounted.push(format!(
                "node{node} counts {counted} of {count} that are {reason}"
            ));
        }
    }
    uncounted
}

/// Tries all cases of a file.
fn run(name: &str, shape: Shape) {
    let start = Instant::now();
    let table = table(name);
    let mut stage = Stage::set(shape.nodes(3), &table.settings);
    let objects = Objects::of(&table.cases, &stage.cast);
    stage.publish(&objects);
    println!("{name}: in force after {:?}", start.elapsed());
    let addresses = Addresses::of(&stage);
    let questions = questions(&table, &objects, &stage.cast);
    let (answered, unanswered): (Vec<&Question<'_>>, Vec<_>) =
        questions.iter().partition(|q| !q.answerers().is_empty());
    let mut wrong = Vec::new();
    for question in &answered {
        if let Err(problem) = reach(&stage, &addresses, question) {
            wrong.push((*question, problem));
        }
    }
    println!(
        "{name}: {} answered at {:?}",
        answered.len(),
        start.elapsed()
    );
    let uncounted = all_fail(&stage, &unanswered, &mut wrong);
    println!(
        "{name}: {} unanswered at {:?}",
        unanswered.len(),
        start.elapsed()
    );
    let count = questions.len();
    assert!(
        wrong.is_empty(),
        "{name}: {} of {count} are wrong:\n{}",
        wrong.len(),
        complaints(&wrong)
    );
    assert!(uncounted.is_empty(), "{name}: {uncounted:?}");
    stage.net.settle();
}

#[test]
fn the_basics_hold() {
    run("basics", Shape::flat());
}

#[test]
fn the_policies_hold() {
    run("policies", Shape::flat().wiring(Wiring::Bridge));
}

#[test]
fn addresses_from_outside_hold() {
    run("outer", Shape::routed());
}

#[test]
fn what_is_closed_is_closed() {
    run("closed", Shape::flat().wiring(Wiring::Bridge));
}

#[test]
fn what_is_opened_is_open() {
    run("opened", Shape::routed());
}
