//! Answers of somebody else.

use hickory_proto::rr::RecordType;
use seaway_dns::Upstreams;
use seaway_testkit::isolate;

use crate::bed::{Bed, addresses, ip};
use crate::upstream::{Mood, Upstream};

#[test]
fn answers_to_other_questions_and_from_others_are_dropped() {
    isolate();
    let upstream = Upstream::start("127.0.0.2:53", Mood::Spoofed(ip("192.0.2.80")));
    let bed = Bed::start(Upstreams::Given(vec![upstream.address]), |_| {});
    for name in ["a.example.", "b.example.", "c.example."] {
        let answer = bed.ask(name, RecordType::A);
        assert_eq!(addresses(&answer).1, [ip("192.0.2.80")], "{name}");
    }
    // Those from another port or address do not even reach the server.
    assert_eq!(bed.names.counts().spoofed, 3 * 5);
    assert_eq!(upstream.asked_by_tcp(), 0);
}

#[test]
fn who_is_flooded_by_guesses_asks_by_tcp() {
    isolate();
    let upstream = Upstream::start("127.0.0.2:53", Mood::Flooded(ip("192.0.2.80")));
    let bed = Bed::start(Upstreams::Given(vec![upstream.address]), |_| {});
    let answer = bed.ask("a.example.", RecordType::A);
    assert_eq!(addresses(&answer).1, [ip("192.0.2.80")]);
    assert_eq!(upstream.asked_by_tcp(), 1);
    assert_eq!(bed.names.counts().spoofed, 16);
}
