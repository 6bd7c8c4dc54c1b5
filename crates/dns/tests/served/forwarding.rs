//! Names that are not the cluster's: asked for, and kept.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};
use seaway_dns::{ServerConfig, Upstreams};
use seaway_model::ServiceKind;
use seaway_testkit::{eventually, isolate};

use crate::bed::{Bed, LIMIT, addresses, ip, query_of_size, service, small_cluster};
use crate::upstream::{Mood, Upstream};

const NAME: &str = "www.example.com.";

/// A server that asks these, in a namespace of the test's own.
fn bed(moods: &[Mood], change: impl FnOnce(&mut ServerConfig)) -> (Bed, Vec<Upstream>) {
    isolate();
    let start =
        |(n, mood): (usize, &Mood)| Upstream::start(&format!("127.0.0.{}:53", n + 2), mood.clone());
    let upstreams: Vec<Upstream> = moods.iter().enumerate().map(start).collect();
    let given = upstreams.iter().map(|u| u.address).collect();
    let bed = Bed::start(Upstreams::Given(given), change);
    bed.names.apply(&small_cluster());
    (bed, upstreams)
}

fn answers(address: &str) -> Mood {
    Mood::Answers(ip(address), 60)
}

#[test]
fn replies_are_passed_on_and_kept() {
    let (bed, upstreams) = bed(&[answers("192.0.2.80")], |_| {});
    for written in ["WWW.Example.com.", NAME, NAME] {
        let answer = bed.ask(written, RecordType::A);
        assert_eq!(
            addresses(&answer),
            (ResponseCode::NoError, vec![ip("192.0.2.80")])
        );
        assert_eq!(answer.queries[0].name.to_ascii(), written);
        assert_eq!(answer.answers[0].name.to_ascii(), written);
        assert!(!answer.metadata.authoritative && answer.metadata.recursion_available);
        assert!(answer.edns.is_none() && answer.answers[0].ttl <= 60);
    }
    let with_edns = bed.put(&query_of_size(NAME, RecordType::A, 1232));
    assert!(with_edns.edns.is_some());
    let by_tcp = bed.ask_by_tcp(NAME, RecordType::A);
    assert_eq!(addresses(&by_tcp).1, [ip("192.0.2.80")]);
    assert_eq!(upstreams[0].asked(NAME), 1, "the rest came from the cache");
    let counts = bed.names.counts();
    assert_eq!(
        (counts.cache_hits, counts.cache_misses),
        (4, 1),
        "{counts:?}"
    );
    assert_eq!(counts.forward[0], 5);
}

#[test]
fn what_does_not_exist_is_kept_as_well() {
    let (bed, upstreams) = bed(&[Mood::Denies(60)], |_| {});
    for _ in 0..3 {
        let answer = bed.ask(NAME, RecordType::A);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert!(matches!(answer.authorities[0].data, RData::SOA(_)));
    }
    assert_eq!(upstreams[0].asked(NAME), 1);
}

#[test]
fn what_is_not_to_be_kept_is_not() {
    let (bed, upstreams) = bed(&[Mood::Answers(ip("192.0.2.80"), 0)], |_| {});
    for _ in 0..3 {
        assert_eq!(
            addresses(&bed.ask(NAME, RecordType::A)).1,
            [ip("192.0.2.80")]
        );
    }
    assert_eq!(upstreams[0].asked(NAME), 3);
}

#[test]
fn replies_too_long_for_udp_come_by_tcp() {
    let (bed, upstreams) = bed(&[Mood::Long(200)], |_| {});
    let answer = bed.ask(NAME, RecordType::A);
    assert!(answer.metadata.truncation, "the client takes 512 bytes");
    assert_eq!(answer.answers.len(), 0);
    let whole = bed.ask_by_tcp(NAME, RecordType::A);
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 200);
    assert_eq!(upstreams[0].asked_by_tcp(), 1, "for both clients");
}

#[test]
fn equal_questions_are_asked_once() {
    let (bed, upstreams) = bed(&[Mood::Gated(ip("192.0.2.80"))], |_| {});
    std::thread::scope(|scope| {
        let ask = || scope.spawn(|| addresses(&bed.ask(NAME, RecordType::A)).1);
        let clients: Vec<_> = (0..20).map(|_| ask()).collect();
        eventually("all wait", LIMIT, || {
            let waiting = bed.names.counts().cache_misses;
            (waiting == 20).then_some(()).ok_or(waiting)
        });
        upstreams[0].open();
        for client in clients {
            assert_eq!(client.join().expect("an answer"), [ip("192.0.2.80")]);
        }
    });
    assert_eq!(upstreams[0].asked(NAME), 1);
}

#[test]
fn a_silent_server_is_asked_last() {
    let (bed, upstreams) = bed(&[Mood::Silent, answers("192.0.2.81")], |config| {
        config.forward.attempt = Duration::from_millis(300);
    });
    for name in ["a.example.", "b.example.", "c.example."] {
        assert_eq!(
            addresses(&bed.ask(name, RecordType::A)).1,
            [ip("192.0.2.81")]
        );
    }
    let asked = ["a.example.", "b.example.", "c.example."].map(|name| upstreams[0].asked(name));
    assert_eq!(asked, [1, 0, 0]);
    assert!(bed.names.counts().forward_failures >= 1);
}

#[test]
fn a_failing_server_hands_over_to_the_next() {
    let (bed, upstreams) = bed(
        &[
            Mood::Says(ResponseCode::ServFail),
            Mood::Says(ResponseCode::Refused),
            answers("192.0.2.82"),
        ],
        |_| {},
    );
    assert_eq!(
        addresses(&bed.ask(NAME, RecordType::A)).1,
        [ip("192.0.2.82")]
    );
    assert_eq!((upstreams[0].asked(NAME), upstreams[1].asked(NAME)), (1, 1));
}

#[test]
fn servers_that_do_not_know_edns_are_asked_without() {
    let moods = [true, false].map(|repeat| Mood::Plain(ip("192.0.2.83"), repeat));
    let (bed, upstreams) = bed(&moods[..1], |_| {});
    assert_eq!(
        addresses(&bed.ask(NAME, RecordType::A)).1,
        [ip("192.0.2.83")]
    );
    assert_eq!(upstreams[0].asked(NAME), 2);
    assert_eq!(
        addresses(&bed.ask("b.example.", RecordType::A)).1,
        [ip("192.0.2.83")]
    );
    assert_eq!(upstreams[0].asked("b.example."), 1, "it is known by now");
    let other = Upstream::start("127.0.0.9:53", moods[1].clone());
    let bed = Bed::start(Upstreams::Given(vec![other.address]), |config| {
        config.listen = vec!["127.0.0.10:53".parse().expect("an address")];
    });
    assert_eq!(
        addresses(&bed.ask(NAME, RecordType::A)).1,
        [ip("192.0.2.83")]
    );
}

#[test]
fn s43_aliases_are_followed_outside() {
    let (bed, upstreams) = bed(&[answers("192.0.2.84")], |_| {});
    let name = "Out.shop.svc.cluster.local.";
    let answer = bed.ask(name, RecordType::A);
    assert_eq!(answer.answers[0].name.to_ascii(), name);
    assert_eq!(answer.answers[0].data.to_string(), NAME);
    assert_eq!(answer.answers[1].name.to_ascii(), NAME);
    assert_eq!(
        addresses(&answer),
        (ResponseCode::NoError, vec![ip("192.0.2.84")])
    );
    upstreams[0].set(Mood::Denies(60));
    let answer = bed.ask(name, RecordType::AAAA);
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(answer.answers.len(), 1, "the alias itself");
    assert!(matches!(answer.authorities[0].data, RData::SOA(_)));
    upstreams[0].set(Mood::Says(ResponseCode::ServFail));
    let answer = bed.ask(name, RecordType::MX);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn s43_an_alias_as_long_as_its_target_is_told_from_it() {
    let (bed, _upstreams) = bed(&[answers("192.0.2.85")], |_| {});
    let (name, target) = ("out.shop.svc.cluster.local.", "www.twenty-six.example.com.");
    assert_eq!(name.len(), target.len());
    let kind = ServiceKind::ExternalName(target.to_owned());
    bed.names.apply(&[service("shop/out", kind, &[])]);
    let answer = bed.ask(name, RecordType::A);
    let owners: Vec<_> = answer.answers.iter().map(|r| r.name.to_ascii()).collect();
    assert_eq!(owners, [name, target]);
    assert_eq!(addresses(&answer).1, [ip("192.0.2.85")]);
}

#[test]
fn both_families_are_spoken_on_both_sides() {
    isolate();
    let upstream = Upstream::start("[::1]:5300", Mood::Answers(ip("2001:db8::80"), 60));
    let bed = Bed::start(Upstreams::Given(vec![upstream.address]), |config| {
        config.listen = vec!["[::1]:53".parse().expect("an address")];
    });
    bed.names.apply(&small_cluster());
    assert_eq!(
        addresses(&bed.ask(NAME, RecordType::AAAA)).1,
        [ip("2001:db8::80")]
    );
    assert_eq!(
        addresses(&bed.ask_by_tcp(NAME, RecordType::AAAA)).1,
        [ip("2001:db8::80")]
    );
    let own = bed.ask("web.shop.svc.cluster.local.", RecordType::AAAA);
    assert_eq!(addresses(&own).1, [ip("fd00:96::5")]);
}
