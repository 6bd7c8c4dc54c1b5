//! Upstream servers that are away, change, or ask back.

use std::net::UdpSocket;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use seaway_dns::Upstreams;
use seaway_testkit::{eventually, isolate};

use crate::bed::{Bed, LIMIT, SERVER, addresses, ip, small_cluster};
use crate::upstream::{Mood, Upstream};

const NAME: &str = "www.example.com.";

fn answers(address: &str) -> Mood {
    Mood::Answers(ip(address), 60)
}

#[test]
fn old_answers_do_while_servers_are_away() {
    isolate();
    let upstream = Upstream::start("127.0.0.2:53", answers("192.0.2.80"));
    let bed = Bed::start(Upstreams::Given(vec![upstream.address]), |config| {
        let forward = &mut config.forward;
        (forward.min_ttl, forward.max_ttl) = (Duration::ZERO, Duration::from_nanos(1));
        forward.attempt = Duration::from_millis(200);
    });
    assert_eq!(
        addresses(&bed.ask(NAME, RecordType::A)).1,
        [ip("192.0.2.80")]
    );
    for mood in [Mood::Silent, Mood::Says(ResponseCode::ServFail)] {
        upstream.set(mood);
        let answer = bed.ask(NAME, RecordType::A);
        assert_eq!(
            addresses(&answer),
            (ResponseCode::NoError, vec![ip("192.0.2.80")])
        );
        assert_eq!(answer.answers[0].ttl, 30, "it is too old");
    }
    assert!(bed.names.counts().stale_answers >= 2);
    upstream.set(answers("192.0.2.99"));
    eventually("a new answer", LIMIT, || {
        let found = addresses(&bed.ask(NAME, RecordType::A)).1;
        (found == [ip("192.0.2.99")]).then_some(()).ok_or(found)
    });
}

#[test]
fn an_old_answer_is_given_while_a_slow_server_thinks() {
    isolate();
    let upstream = Upstream::start("127.0.0.2:53", answers("192.0.2.80"));
    let bed = Bed::start(Upstreams::Given(vec![upstream.address]), |config| {
        let forward = &mut config.forward;
        (forward.min_ttl, forward.max_ttl) = (Duration::ZERO, Duration::from_nanos(1));
        forward.stale_after = Duration::from_millis(50);
        (forward.attempt, forward.total) = (LIMIT, LIMIT);
    });
    assert_eq!(
        addresses(&bed.ask(NAME, RecordType::A)).1,
        [ip("192.0.2.80")]
    );
    upstream.set(Mood::Gated(ip("192.0.2.99")));
    let answer = bed.ask(NAME, RecordType::A);
    assert_eq!(addresses(&answer).1, [ip("192.0.2.80")]);
    upstream.open();
    eventually("a new answer", LIMIT, || {
        let found = addresses(&bed.ask(NAME, RecordType::A)).1;
        (found == [ip("192.0.2.99")]).then_some(()).ok_or(found)
    });
}

#[test]
fn without_any_server_the_answer_is_a_quick_no() {
    let bed = Bed::alone();
    for name in [
        NAME,
        "out.shop.svc.cluster.local.",
        "1.2.0.192.in-addr.arpa.",
    ] {
        let answer = bed.ask(name, RecordType::A);
        assert_eq!(
            addresses(&answer),
            (ResponseCode::ServFail, vec![]),
            "{name}"
        );
    }
    let counts = bed.names.counts();
    assert_eq!(
        (counts.forward[2], counts.forward_failures),
        (3, 0),
        "{counts:?}"
    );
}

#[test]
fn a_refusal_of_all_servers_is_passed_on_and_remembered_shortly() {
    isolate();
    let upstream = Upstream::start("127.0.0.2:53", Mood::Says(ResponseCode::Refused));
    let bed = Bed::start(Upstreams::Given(vec![upstream.address]), |_| {});
    let answer = bed.ask(NAME, RecordType::A);
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    upstream.set(answers("192.0.2.80"));
    eventually("an answer", LIMIT, || {
        let found = addresses(&bed.ask(NAME, RecordType::A)).1;
        (found == [ip("192.0.2.80")]).then_some(()).ok_or(found)
    });
}

#[test]
fn the_cluster_is_answered_for_while_servers_are_slow() {
    isolate();
    let upstream = Upstream::start("127.0.0.2:53", Mood::Gated(ip("192.0.2.80")));
    let bed = Bed::start(Upstreams::Given(vec![upstream.address]), |config| {
        (config.forward.attempt, config.forward.total) = (LIMIT, LIMIT);
    });
    bed.names.apply(&small_cluster());
    std::thread::scope(|scope| {
        let ask = |n: usize| {
            let (bed, name) = (&bed, format!("n{n}.example."));
            scope.spawn(move || addresses(&bed.ask(&name, RecordType::A)).1)
        };
        let slow: Vec<_> = (0..50).map(ask).collect();
        eventually("all wait", LIMIT, || {
            let waiting = bed.names.counts().cache_misses;
            (waiting == 50).then_some(()).ok_or(waiting)
        });
        for _ in 0..20 {
            let answer = bed.ask("web.shop.svc.cluster.local.", RecordType::A);
            assert_eq!(addresses(&answer).1, [ip("10.96.0.5")]);
        }
        assert_eq!(
            bed.names.counts().forward,
            [0; 6],
            "nobody has been answered yet"
        );
        upstream.open();
        for client in slow {
            assert_eq!(client.join().expect("an answer"), [ip("192.0.2.80")]);
        }
    });
}

#[test]
fn a_changed_resolv_conf_is_read_again() {
    isolate();
    let first = Upstream::start("127.0.0.2:53", Mood::Answers(ip("192.0.2.1"), 0));
    let second = Upstream::start("127.0.0.3:53", Mood::Answers(ip("192.0.2.2"), 0));
    let path = std::path::PathBuf::from("/run/resolv.conf");
    let write = |upstream: &Upstream| {
        let address = upstream.address.ip();
        // Its own address is among them, as on a node whose Pods' file was taken for the node's.
        let text = format!("nameserver 127.0.0.1\nnameserver {address}\n");
        std::fs::write(&path, text).expect("written");
    };
    write(&first);
    let bed = Bed::start(Upstreams::File(path.clone()), |_| {});
    eventually("the first server", LIMIT, || {
        let found = addresses(&bed.ask(NAME, RecordType::A)).1;
        (found == [ip("192.0.2.1")]).then_some(()).ok_or(found)
    });
    write(&second);
    eventually("the second server", LIMIT, || {
        let found = addresses(&bed.ask(NAME, RecordType::A)).1;
        (found == [ip("192.0.2.2")]).then_some(()).ok_or(found)
    });
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(
        addresses(&bed.ask(NAME, RecordType::A)).1,
        [ip("192.0.2.2")]
    );
}

#[test]
fn a_server_that_asks_back_is_left_alone() {
    isolate();
    let relay = UdpSocket::bind("127.0.0.2:53").expect("a socket");
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = relay.recv_from(&mut buffer) {
            let question = buffer[..length].to_vec();
            let relay = relay.try_clone().expect("a copy");
            std::thread::spawn(move || {
                let back = UdpSocket::bind("127.0.0.2:0").expect("a socket");
                back.set_read_timeout(Some(LIMIT)).expect("a limit");
                back.send_to(&question, SERVER).expect("sent");
                let mut buffer = [0; 2048];
                if let Ok(length) = back.recv(&mut buffer) {
                    relay.send_to(&buffer[..length], client).expect("sent");
                }
            });
        }
    });
    let relay = "127.0.0.2:53".parse().expect("an address");
    let bed = Bed::start(Upstreams::Given(vec![relay]), |_| {});
    eventually("nobody left to ask", LIMIT, || {
        let before = bed.names.counts().forward_failures;
        let name = format!("n{before}-{}.example.", bed.names.counts().cache_misses);
        let answer = bed.ask(&name, RecordType::A);
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        let after = bed.names.counts().forward_failures;
        (before == after).then_some(()).ok_or(after)
    });
}
