//! What one client can take away from others: its share.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use seaway_dns::Upstreams;
use seaway_testkit::{eventually, isolate};

use crate::bed::{Bed, LIMIT, addresses, hear, ip, query, say, small_cluster};
use crate::upstream::{Mood, Upstream};

const WEB: &str = "web.shop.svc.cluster.local.";

#[test]
fn questions_of_one_client_that_wait_are_bounded() {
    isolate();
    let upstream = Upstream::start("127.0.0.2:53", Mood::Gated(ip("192.0.2.80")));
    let bed = Bed::start(Upstreams::Given(vec![upstream.address]), |config| {
        config.limits.waiting_each = 2;
        (config.forward.attempt, config.forward.total) = (LIMIT, LIMIT);
    });
    bed.names.apply(&small_cluster());
    std::thread::scope(|scope| {
        for name in ["a.example.", "b.example."] {
            let bed = &bed;
            scope.spawn(move || bed.ask(name, RecordType::A));
        }
        eventually("two wait", LIMIT, || {
            let waiting = bed.names.counts().cache_misses;
            (waiting == 2).then_some(()).ok_or(waiting)
        });
        let third = bed.ask("c.example.", RecordType::A);
        assert_eq!(third.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(bed.names.counts().over_limit, 1);
        assert_eq!(addresses(&bed.ask(WEB, RecordType::A)).1, [ip("10.96.0.5")]);
        upstream.open();
    });
    assert_eq!(
        addresses(&bed.ask("c.example.", RecordType::A)).1,
        [ip("192.0.2.80")]
    );
}

#[test]
fn questions_under_way_are_bounded() {
    isolate();
    let upstream = Upstream::start("127.0.0.2:53", Mood::Gated(ip("192.0.2.80")));
    let bed = Bed::start(Upstreams::Given(vec![upstream.address]), |config| {
        config.forward.flights = 1;
        (config.forward.attempt, config.forward.total) = (LIMIT, LIMIT);
    });
    std::thread::scope(|scope| {
        scope.spawn(|| bed.ask("a.example.", RecordType::A));
        eventually("one is under way", LIMIT, || {
            let waiting = bed.names.counts().cache_misses;
            (waiting == 1).then_some(()).ok_or(waiting)
        });
        let other = bed.ask("b.example.", RecordType::A);
        assert_eq!(other.metadata.response_code, ResponseCode::ServFail);
        upstream.open();
    });
}

#[test]
fn connections_serve_many_questions_and_end_when_idle() {
    isolate();
    let bed = Bed::start(Upstreams::Given(Vec::new()), |config| {
        config.limits.idle = Duration::from_millis(300);
        config.limits.connections_each = 2;
    });
    bed.names.apply(&small_cluster());
    let mut first = bed.connect();
    for _ in 0..3 {
        say(&mut first, &query(WEB, RecordType::A));
    }
    for _ in 0..3 {
        let answer = hear(&mut first).expect("an answer");
        assert_eq!(addresses(&answer).1, [ip("10.96.0.5")]);
    }
    assert!(
        hear(&mut first).is_none(),
        "it is closed when nothing is said"
    );
    let held = [bed.connect(), bed.connect()];
    let mut third = bed.connect();
    assert!(hear(&mut third).is_none(), "closed at once or when idle");
    drop(held);
    eventually("room again", LIMIT, || {
        let mut stream = bed.connect();
        say(&mut stream, &query(WEB, RecordType::A));
        hear(&mut stream).map(drop).ok_or("closed")
    });
}
