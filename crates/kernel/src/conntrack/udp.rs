//! UDP flows against the truth: which endpoints may answer at a frontend (S27).
//!
//! A UDP flow has no end that the kernel could see. It goes on to the endpoint that its first packet
//! was led to, or past all of them when it began before there were any.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use seaway_model::{Family, Protocol};
use seaway_plan::FlowTruth;

use super::entry::Entry;
use super::{MOST_READINGS, MSG_GET, Reading, delete, entry};
use crate::error::KernelError;
use crate::netfilter::{Netfilter, Subsystem};

/// A UDP flow to a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpFlow {
    /// Whom the client asks.
    pub frontend: SocketAddr,
    /// Who answers.
    pub answers_from: SocketAddr,
}

/// Forgets UDP flows to these frontends that somebody else answers than who may, and tells how many
/// there were. Where nobody may, all flows to the frontend are forgotten; flows to any other address
/// are left alone.
///
/// With few frontends the kernel passes over all other flows; with many its table is read once a
/// family. That takes a while, and the truth may have become another: `spares` is asked, once all is
/// read, for what of it is to be left alone all the same.
pub fn reconcile_udp<S>(
    truths: &[FlowTruth],
    spares: impl FnOnce() -> S,
) -> Result<usize, KernelError>
where
    S: Fn(&UdpFlow) -> bool,
{
    let by_frontend = by_frontend(truths);
    if by_frontend.is_empty() {
        return Ok(0);
    }
    let mut conntrack = Netfilter::open(Subsystem::Conntrack)?;
    let mut wrong = Vec::new();
    for reading in readings(by_frontend.keys().copied()) {
        let number = entry::family_number(reading.family);
        let filter = entry::filter(&reading);
        let found = conntrack.dump(MSG_GET, number, &filter, |reply| {
            let entry = Entry::read(reply.family, reply.attributes)?;
            let flow = UdpFlow {
                frontend: entry.destination,
                answers_from: entry.answers_from,
            };
            let named = || Some((flow, (reply.family, entry::identity(reply.attributes)?)));
            is_wrong(&entry, &by_frontend).then(named)?
        })?;
        wrong.extend(found);
    }
    let spares = spares();
    let deletions: Vec<_> = wrong
        .into_iter()
        .filter_map(|(flow, named)| (!spares(&flow)).then_some(named))
        .collect();
    // It may hold up whoever changes things.
    drop(spares);
    delete(&mut conntrack, &deletions)
}

type ByFrontend<'a> = BTreeMap<SocketAddr, Vec<&'a BTreeSet<SocketAddr>>>;

/// Of several truths of one frontend each allows what it says.
fn by_frontend(truths: &[FlowTruth]) -> ByFrontend<'_> {
    let mut all = ByFrontend::new();
    for truth in truths {
        all.entry(truth.frontend)
            .or_default()
            .push(&truth.may_answer);
    }
    all
}

fn is_wrong(entry: &Entry, by_frontend: &ByFrontend<'_>) -> bool {
    let may_answer = by_frontend.get(&entry.destination);
    entry.protocol == Protocol::Udp.number()
        && may_answer.is_some_and(|sets| !sets.iter().any(|set| set.contains(&entry.answers_from)))
}

/// How to read the table so that all flows to the frontends are shown.
fn readings(frontends: impl Iterator<Item = SocketAddr>) -> BTreeSet<Reading> {
    let one = |at: SocketAddr| Reading {
        family: Family::of(at.ip()),
        protocol: Protocol::Udp,
        port: Some(at.port()),
        destination: Some(at.ip()),
    };
    let each: BTreeSet<Reading> = frontends.map(one).collect();
    let without = |change: fn(&mut Reading)| -> BTreeSet<Reading> {
        let mut wider: Vec<Reading> = each.iter().cloned().collect();
        wider.iter_mut().for_each(change);
        wider.into_iter().collect()
    };
    let by_port = without(|reading| reading.destination = None);
    if each.len() <= MOST_READINGS {
        each
    } else if by_port.len() <= MOST_READINGS {
        by_port
    } else {
        without(|reading| {
            reading.destination = None;
            reading.port = None;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("valid")
    }

    fn truth(frontend: &str, may_answer: &[&str]) -> FlowTruth {
        FlowTruth {
            frontend: at(frontend),
            may_answer: may_answer.iter().map(|text| at(text)).collect(),
        }
    }

    fn entry(protocol: u8, destination: &str, answers_from: &str) -> Entry {
        Entry {
            protocol,
            destination: at(destination),
            answers_from: at(answers_from),
        }
    }

    #[test]
    fn only_flows_of_frontends_that_others_answer_are_wrong() {
        let truths = [
            truth("10.96.0.10:53", &["10.244.0.2:5353"]),
            truth("10.96.0.10:53", &["10.244.0.3:5353"]),
            truth("10.96.0.11:53", &[]),
        ];
        let by_frontend = by_frontend(&truths);
        let wrong = |protocol, to, from| is_wrong(&entry(protocol, to, from), &by_frontend);
        assert!(!wrong(17, "10.96.0.10:53", "10.244.0.2:5353"));
        assert!(!wrong(17, "10.96.0.10:53", "10.244.0.3:5353"));
        assert!(wrong(17, "10.96.0.10:53", "10.244.0.4:5353"));
        assert!(
            wrong(17, "10.96.0.10:53", "10.96.0.10:53"),
            "before there were rules"
        );
        assert!(wrong(17, "10.96.0.11:53", "10.244.0.2:5353"), "nobody may");
        assert!(
            !wrong(6, "10.96.0.11:53", "10.244.0.2:5353"),
            "TCP drains (S28)"
        );
        assert!(!wrong(17, "8.8.8.8:53", "8.8.8.8:53"), "no frontend");
    }

    #[test]
    fn many_frontends_are_one_reading_a_family() {
        let count = |number: u16, at: fn(u16) -> String| {
            readings((0..number).map(|i| self::at(&at(i)))).len()
        };
        assert_eq!(count(10, |i| format!("10.96.0.{i}:53")), 10);
        assert_eq!(count(100, |i| format!("10.96.0.{i}:53")), 1, "one port");
        let mixed = |i: u16| match i % 2 {
            0 => format!("10.96.0.1:{i}"),
            _ => format!("[fd00::1]:{i}"),
        };
        assert_eq!(count(100, mixed), 2);
    }
}
