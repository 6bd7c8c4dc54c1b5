//! Names of the cluster.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use hickory_proto::op::{OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, RecordType};
use seaway_dns::Upstreams;
use seaway_model::{ClusterEvent, DNS_V4, DNS_V6, ServiceKind};
use seaway_testkit::{eventually, isolate};

use crate::bed::{
    Bed, LIMIT, SERVER, addresses, hear, ip, message, query, query_of_size, say, service, slice,
    small_cluster,
};

#[test]
fn s43_names_are_answered_by_udp_and_tcp_as_they_were_written() {
    let bed = Bed::alone();
    for answer in [
        bed.ask("WeB.shop.SVC.cluster.local.", RecordType::A),
        bed.ask_by_tcp("WeB.shop.SVC.cluster.local.", RecordType::A),
    ] {
        assert_eq!(
            addresses(&answer),
            (ResponseCode::NoError, vec![ip("10.96.0.5")])
        );
        assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
        assert!(answer.metadata.recursion_desired && !answer.metadata.truncation);
        let written = "WeB.shop.SVC.cluster.local.";
        assert_eq!(answer.queries[0].name.to_ascii(), written);
        assert_eq!(answer.answers[0].name.to_ascii(), written);
        assert_eq!(answer.answers[0].ttl, 5);
        assert!(answer.edns.is_none(), "it was not asked for");
    }
    let v6 = bed.ask("web.shop.svc.cluster.local.", RecordType::AAAA);
    assert_eq!(addresses(&v6).1, [ip("fd00:96::5")]);
    let counts = bed.names.counts();
    assert!(
        counts.cluster[0] >= 3 && counts.forward == [0; 6],
        "{counts:?}"
    );
}

#[test]
fn s43_no_data_and_no_name_are_told_apart_by_the_zone() {
    let bed = Bed::alone();
    for (name, kind, code) in [
        (
            "web.shop.svc.cluster.local.",
            RecordType::MX,
            ResponseCode::NoError,
        ),
        (
            "db.shop.svc.cluster.local.",
            RecordType::AAAA,
            ResponseCode::NoError,
        ),
        (
            "shop.svc.cluster.local.",
            RecordType::A,
            ResponseCode::NoError,
        ),
        (
            "none.shop.svc.cluster.local.",
            RecordType::A,
            ResponseCode::NXDomain,
        ),
    ] {
        let answer = bed.ask(name, kind);
        assert_eq!(addresses(&answer), (code, vec![]), "{name}");
        let [soa] = answer.authorities.as_slice() else {
            panic!("{name}: {:?}", answer.authorities)
        };
        assert_eq!(
            (soa.name.to_ascii().as_str(), soa.ttl),
            ("cluster.local.", 5)
        );
        assert!(
            matches!(&soa.data, RData::SOA(soa) if soa.minimum == 5),
            "{name}"
        );
    }
}

#[test]
fn s43_other_kinds_of_records_are_written_as_specified() {
    let bed = Bed::alone();
    let one = |name: &str, kind| {
        let answer = bed.ask(name, kind);
        let [record] = answer.answers.as_slice() else {
            panic!("{name}: {:?}", answer.answers)
        };
        (record.data.to_string(), answer.additionals.len())
    };
    for (name, kind, expected, extra) in [
        (
            "_http._tcp.web.shop.svc.cluster.local.",
            RecordType::SRV,
            "0 100 80 web.shop.svc.cluster.local.",
            2,
        ),
        (
            "5.0.96.10.in-addr.arpa.",
            RecordType::PTR,
            "web.shop.svc.cluster.local.",
            0,
        ),
        ("dns-version.cluster.local.", RecordType::TXT, "1.1.0", 0),
        ("cluster.local.", RecordType::NS, "ns.dns.cluster.local.", 0),
        (
            "out.shop.svc.cluster.local.",
            RecordType::CNAME,
            "www.example.com.",
            0,
        ),
        (
            "web.shop.svc.cluster.local.",
            RecordType::ANY,
            "RFC8482 ",
            0,
        ),
    ] {
        assert_eq!(one(name, kind), (expected.to_owned(), extra), "{name}");
    }
    let soa = bed.ask("cluster.local.", RecordType::SOA);
    assert!(matches!(soa.answers[0].data, RData::SOA(_)));
}

#[test]
fn s43_aliases_are_followed_within_the_cluster() {
    let bed = Bed::alone();
    let answer = bed.ask("in.shop.svc.cluster.local.", RecordType::A);
    assert!(matches!(answer.answers[0].data, RData::CNAME(_)));
    assert_eq!(
        addresses(&answer),
        (ResponseCode::NoError, vec![ip("10.96.0.5")])
    );
    assert_eq!(
        answer.answers[1].name.to_ascii(),
        "web.shop.svc.cluster.local."
    );
    let round = bed.ask("round.shop.svc.cluster.local.", RecordType::A);
    assert_eq!(round.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn nothing_is_said_of_the_cluster_before_it_is_known() {
    isolate();
    let bed = Bed::start(Upstreams::Given(Vec::new()), |_| {});
    let ask = || addresses(&bed.ask("web.shop.svc.cluster.local.", RecordType::A));
    let cluster = small_cluster();
    let (last, first) = cluster.split_last().expect("events");
    bed.names.apply(first);
    assert_eq!(ask(), (ResponseCode::ServFail, vec![]));
    bed.names.apply(std::slice::from_ref(last));
    assert_eq!(ask(), (ResponseCode::NoError, vec![ip("10.96.0.5")]));
    // From now on the last state is answered, whether or not anybody can see the cluster.
    bed.names.apply(&[ClusterEvent::ServiceDelete(
        "shop/web".parse().expect("a name"),
    )]);
    assert_eq!(ask(), (ResponseCode::NXDomain, vec![]));
}

#[test]
fn long_answers_are_cut_for_udp_and_whole_by_tcp() {
    let bed = Bed::alone();
    let all = |count: u16| -> Vec<IpAddr> {
        (0..count)
            .map(|n| IpAddr::from([10, 2, (n >> 8) as u8, n as u8]))
            .collect()
    };
    bed.names.apply(&[
        service("shop/big", ServiceKind::ClusterIp, &[]),
        slice("shop/big-1", "shop/big", all(200)),
        service("shop/huge", ServiceKind::ClusterIp, &[]),
        slice("shop/huge-1", "shop/huge", all(6000)),
    ]);
    let name = "big.shop.svc.cluster.local.";
    for (query, most) in [
        (query(name, RecordType::A), 512),
        (query_of_size(name, RecordType::A, 100), 512),
        (query_of_size(name, RecordType::A, 800), 800),
        (query_of_size(name, RecordType::A, 65_535), 1232),
    ] {
        let bytes = bed.exchange(&query, LIMIT).expect("an answer");
        assert!(
            bytes.len() <= most && bytes.len() > most - 32,
            "{} of {most}",
            bytes.len()
        );
        let answer = bed.put(&query);
        assert!(answer.metadata.truncation);
        assert_eq!(
            answer.edns.is_some(),
            most != 512 || query.len() > 50,
            "EDNS for EDNS"
        );
    }
    let whole = bed.ask_by_tcp(name, RecordType::A);
    let found: BTreeSet<IpAddr> = addresses(&whole).1.into_iter().collect();
    assert_eq!(found, all(200).into_iter().collect());
    assert!(!whole.metadata.truncation);
    let huge = bed.ask_by_tcp("huge.shop.svc.cluster.local.", RecordType::A);
    let count = huge.answers.len();
    assert!(count > 4000 && count < 6000, "{count}");
}

#[test]
fn additional_records_make_room_for_answers() {
    let bed = Bed::alone();
    let addresses: Vec<String> = (0..30).map(|n| format!("10.96.1.{n}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let long = format!("{}/{}", "n".repeat(63), "s".repeat(63));
    bed.names
        .apply(&[service(&long, ServiceKind::ClusterIp, &addresses)]);
    let name = format!(
        "_http._tcp.{}.{}.svc.cluster.local.",
        "s".repeat(63),
        "n".repeat(63)
    );
    let answer = bed.ask(&name, RecordType::SRV);
    assert!(!answer.metadata.truncation, "the answer is whole");
    assert_eq!((answer.answers.len(), answer.additionals.len()), (1, 0));
}

#[test]
fn each_endpoint_is_first_now_and_then() {
    let bed = Bed::alone();
    let mut first = BTreeSet::new();
    eventually("every endpoint first", LIMIT, || {
        let answer = bed.ask("db.shop.svc.cluster.local.", RecordType::A);
        let found = addresses(&answer).1;
        assert_eq!(found.len(), 3);
        first.insert(found[0]);
        (first.len() == 3).then_some(()).ok_or(first.clone())
    });
}

#[test]
fn questions_that_cannot_be_answered_are_told_so() {
    let bed = Bed::alone();
    let good = query("web.shop.svc.cluster.local.", RecordType::A);
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let code = |bytes: &[u8]| bed.put(bytes).metadata.response_code;
    assert_eq!(code(&changed(2, 0x28)), ResponseCode::NotImp, "UPDATE");
    assert_eq!(code(&changed(5, 0)), ResponseCode::FormErr, "no question");
    assert_eq!(code(&changed(5, 2)), ResponseCode::FormErr, "two questions");
    assert_eq!(
        code(&good[..good.len() - 1]),
        ResponseCode::FormErr,
        "cut off"
    );
    assert_eq!(
        code(&changed(12, 0xc0)),
        ResponseCode::FormErr,
        "a pointer to nothing"
    );
    assert_eq!(
        code(&changed(good.len() - 1, 4)),
        ResponseCode::Refused,
        "class HS"
    );
    for kind in [RecordType::AXFR, RecordType::IXFR] {
        assert_eq!(code(&query("cluster.local.", kind)), ResponseCode::Refused);
    }
    let mut newer = query_of_size("web.shop.svc.cluster.local.", RecordType::A, 1232);
    let version = newer.len() - 5;
    newer[version] = 1;
    let answer = bed.put(&newer);
    assert_eq!(u16::from(answer.metadata.response_code), 16, "BADVERS");
    let mut about = message("version.bind.", RecordType::TXT);
    about.queries[0].query_class = DNSClass::CH;
    let answer = bed.put(&about.to_vec().expect("bytes"));
    assert_eq!(answer.answers[0].data.to_string(), "seaway");
    about.queries[0].query_type = RecordType::A;
    assert_eq!(code(&about.to_vec().expect("bytes")), ResponseCode::Refused);
    assert_eq!(about.metadata.op_code, OpCode::Query);
}

#[test]
fn what_is_no_question_gets_no_answer_and_does_no_harm() {
    let bed = Bed::alone();
    let before = bed.names.counts().ignored;
    let mut response = query("web.shop.svc.cluster.local.", RecordType::A);
    response[2] |= 0x80;
    let rubbish: [&[u8]; 4] = [b"", b"x", b"0123456789", &response];
    for bytes in rubbish {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.send_to(bytes, SERVER).expect("sent");
    }
    eventually("all ignored", LIMIT, || {
        let now = bed.names.counts().ignored;
        (now == before + 4).then_some(()).ok_or(now)
    });
    let mut stream = bed.connect();
    say(&mut stream, &response);
    assert!(hear(&mut stream).is_none(), "the connection is closed");
    let answer = bed.ask("web.shop.svc.cluster.local.", RecordType::A);
    assert_eq!(addresses(&answer).1, [ip("10.96.0.5")]);
}

#[test]
fn addresses_may_come_after_the_server_and_again() {
    isolate();
    let listen = [
        SocketAddr::from((DNS_V4, 53)),
        SocketAddr::from((DNS_V6, 53)),
    ];
    let mut bed = Bed::start(Upstreams::Given(Vec::new()), |config| {
        config.listen = vec![SERVER, listen[0], listen[1]];
    });
    bed.names.apply(&small_cluster());
    let change = |what: &str| {
        for address in [format!("{DNS_V4}/32"), format!("{DNS_V6}/128")] {
            let mut ip = Command::new("ip");
            let done = ip.args(["address", what, &address, "dev", "lo"]).status();
            assert!(done.expect("ip").success(), "{what} {address}");
        }
    };
    let name = query("web.shop.svc.cluster.local.", RecordType::A);
    for address in ["add", "del", "add"] {
        change(address);
        for server in listen.iter().filter(|_| address == "add") {
            bed.server = *server;
            eventually("an answer", LIMIT, || {
                bed.exchange(&name, Duration::from_millis(200))
                    .ok_or(*server)
            });
            let answer = bed.ask_by_tcp("web.shop.svc.cluster.local.", RecordType::A);
            assert_eq!(addresses(&answer).1, [ip("10.96.0.5")]);
        }
    }
}
