//! The cases against the reference evaluator: what the specification says, on paper.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use seaway_model::{DropReason, ServiceSettings, Settings};
use seaway_plan::eval::{self, Cluster, Packet, Source, SourceSeen, Verdict};
use seaway_tests::services::case::TableSettings;
use seaway_tests::services::cast::{PORTS, node_name};
use seaway_tests::services::objects::SERVICE_CIDRS;
use seaway_tests::services::{Cast, Expect, Objects, Seen, Table};

use crate::table::{FILES, Question, complaints, questions, table};

fn settings(of: &TableSettings) -> Settings {
    let cidrs = SERVICE_CIDRS.map(|text| text.parse().expect("a network"));
    Settings {
        services: Some(ServiceSettings {
            service_cidrs: cidrs.to_vec(),
            external_ips: of.external_ips,
            masquerade_all: of.masquerade_all,
            node_endpoints: of.node_endpoints,
            ..ServiceSettings::default()
        }),
        ..Settings::default()
    }
}

fn cluster(table: &Table, objects: &Objects, cast: &Cast) -> Cluster {
    Cluster {
        nodes: cast.nodes(),
        services: objects.services.clone(),
        slices: objects.slices.clone(),
        settings: settings(&table.settings),
        host_addresses: Vec::new(),
    }
}

fn packet(question: &Question<'_>, cast: &Cast) -> Packet {
    let place = cast.place(question.from);
    let is_here = place.node == Some(question.target.entry);
    let from = match (is_here, place.is_pod) {
        (true, true) => Source::Pod(place.address(question.family)),
        (true, false) => Source::Node,
        (false, _) => Source::Outside(place.address(question.family)),
    };
    Packet {
        node: node_name(question.target.entry),
        from,
        destination: question.target.door,
        protocol: question.protocol,
    }
}

/// The name of an endpoint, as its server calls itself.
fn called(cast: &Cast, target: &SocketAddr) -> String {
    let name = cast.name_of(target.ip()).unwrap_or("nobody");
    match target.port() == PORTS[1] {
        true => format!("{name}:{}", target.port()),
        false => name.to_owned(),
    }
}

/// What is wrong with a verdict.
fn judge(
    question: &Question<'_>,
    packet: &Packet,
    verdict: &Verdict,
    cast: &Cast,
) -> Option<String> {
    let targets: Option<BTreeSet<String>> = match verdict {
        Verdict::Backends { targets, .. } => {
            Some(targets.iter().map(|t| called(cast, t)).collect())
        }
        _ => None,
    };
    let good = match &question.probe.expect {
        Expect::Reach(_) | Expect::ReachAsNode(_) | Expect::Sticks(_) => {
            let wanted = question.answerers();
            let same = targets.as_ref().is_some_and(|targets| {
                targets.iter().map(String::as_str).collect::<BTreeSet<_>>() == wanted
            });
            same && has_affinity(verdict) == matches!(question.probe.expect, Expect::Sticks(_))
        }
        Expect::Refused => *verdict == Verdict::Refused,
        Expect::Dropped(reason) => {
            matches!(verdict, Verdict::Dropped(r) if r.as_str() == reason.as_str())
        }
        Expect::Passes(_) => *verdict == Verdict::NotAService,
        // What is nobody's in a network of cluster addresses is dropped at once.
        Expect::PassesToNobody => matches!(
            verdict,
            Verdict::NotAService | Verdict::Dropped(DropReason::ServiceUnknown)
        ),
    };
    if !good {
        return Some(format!("{verdict:?} ({targets:?})"));
    }
    let Verdict::Backends { targets, .. } = verdict else {
        return None;
    };
    targets.iter().find_map(|target| {
        let seen = verdict.source_at(packet, *target);
        let wanted = match question.seen_by(&called(cast, target)) {
            // The node's own address is the client's.
            _ if packet.from == Source::Node => return None,
            // What leaves the cluster is masqueraded for that alone; Services do not decide it.
            Seen::Node if called(cast, target) == "outside" => return None,
            Seen::Anybody => return None,
            Seen::Client => SourceSeen::Kept,
            Seen::Node => SourceSeen::Node,
        };
        (seen != Some(wanted)).then(|| format!("{} sees {seen:?}", called(cast, target)))
    })
}

fn has_affinity(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Backends {
            affinity: Some(_),
            ..
        }
    )
}

#[test]
fn the_reference_evaluator_agrees_with_every_case() {
    let cast = Cast::on_paper();
    let (mut text, mut count, mut good) = (String::new(), 0, 0);
    for (name, _) in FILES {
        let table = table(name);
        let objects = Objects::of(&table.cases, &cast);
        let cluster = cluster(&table, &objects, &cast);
        let questions = questions(&table, &objects, &cast);
        let wrong = |question| {
            let packet = packet(question, &cast);
            let verdict = eval::decide(&cluster, &packet);
            Some((question, judge(question, &packet, &verdict, &cast)?))
        };
        let wrong: Vec<_> = questions.iter().filter_map(wrong).collect();
        count += questions.len();
        good += questions.len() - wrong.len();
        text += &complaints(&wrong);
    }
    println!("{good} of {count} questions");
    assert!(text.is_empty(), "{} are wrong:\n{text}", count - good);
}
