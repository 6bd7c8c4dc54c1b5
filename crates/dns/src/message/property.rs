//! No bytes from clients or upstream servers make anything panic, and what is written can be read.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode};
use hickory_proto::rr::{Name, RecordType};
use proptest::prelude::*;

use super::{Answer, MAX_UDP, Query, Reading, Soa, absolute, read};
use crate::forward::{Age, Asked, Reply};
use crate::zone::Data;

fn question(name: &str, edns: bool) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii(name).expect("a name");
    message.add_query(hickory_proto::op::Query::query(name, RecordType::A));
    if edns {
        message.set_edns(Edns::new());
    }
    message.to_vec().expect("bytes")
}

fn asked(bytes: &[u8]) -> Query {
    match read(bytes) {
        Reading::Asked(query) => *query,
        other => panic!("{other:?}"),
    }
}

/// A reply with answers, an authority and OPT, to the question for `a.example.`.
fn reply(edns: bool) -> Vec<u8> {
    let query = asked(&question("a.example.", edns));
    let soa = Soa {
        owner: "example",
        domain: "example",
        serial: 1,
    };
    let mut answer = Answer::known();
    let target = absolute("b.example").expect("a name");
    answer.add_alias(&query.name, &target);
    let data = [Data::Address(IpAddr::from([192, 0, 2, 1]))];
    answer.add(&target, &data, 0, &soa);
    answer.deny(&soa);
    answer.add_extra(&[("c.example".to_owned(), IpAddr::from([192, 0, 2, 2]))]);
    answer.write(&query, u16::MAX)
}

fn data() -> impl Strategy<Value = Data> {
    let label = "[a-z0-9-]{1,63}";
    prop_oneof![
        any::<u32>().prop_map(|bits| Data::Address(std::net::Ipv4Addr::from(bits).into())),
        any::<u128>().prop_map(|bits| Data::Address(std::net::Ipv6Addr::from(bits).into())),
        (label, any::<u16>()).prop_map(|(host, port)| Data::Srv {
            weight: 1,
            port,
            target: format!("{host}.db.default.svc.cluster.local"),
        }),
        label.prop_map(|host| Data::Ptr(format!("{host}.default.svc.cluster.local"))),
        Just(Data::Soa),
    ]
}

proptest! {
    #[test]
    fn no_question_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }

    #[test]
    fn no_damaged_question_makes_it_panic(edns: bool, damage in prop::collection::vec((0usize..60, any::<u8>()), 1..6), cut in 0usize..60) {
        let mut bytes = question("www.shop.svc.cluster.local.", edns);
        for (at, value) in damage {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(bytes.len() - cut % bytes.len());
        if let Reading::Asked(query) = read(&bytes) {
            let size = query.udp_size();
            let answer = Answer::failure(hickory_proto::op::ResponseCode::ServFail).write(&query, size);
            prop_assert!(Message::from_vec(&answer).is_ok());
            let (labels, asked) = (query.labels(), Asked::of(&query));
            prop_assert!(labels.len() < 128 && Message::from_vec(&asked.message(1, true)).is_ok());
        }
    }

    #[test]
    fn no_damaged_reply_makes_it_panic(edns: bool, damage in prop::collection::vec((2usize..150, any::<u8>()), 0..5), size in 512u16..) {
        let mut bytes = reply(edns);
        for (at, value) in damage {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let client = asked(&question("A.Example.", edns));
        let asked = Asked::of(&client);
        if !asked.is_answered_by(7, &bytes) {
            return Ok(());
        }
        if let Some(reply) = Reply::read(&bytes) {
            for age in [Age::Seconds(0), Age::Seconds(9), Age::Stale(30)] {
                let written = reply.write(&client, size, age, 3600);
                prop_assert!(written.len() <= usize::from(size));
                prop_assert!(asked.is_answered_by(7, &written));
            }
        }
    }

    #[test]
    fn what_is_written_fits_and_is_read_back(facts in prop::collection::vec(data(), 0..80), edns: bool, size in 512u16..2000, start in 0usize..90) {
        let query = asked(&question("Db.Default.svc.cluster.local.", edns));
        let soa = Soa { owner: "cluster.local", domain: "cluster.local", serial: 9 };
        let mut answer = Answer::known();
        let only_addresses: Option<Vec<IpAddr>> = facts.iter().map(|fact| match fact {
            Data::Address(address) => Some(*address),
            _ => None,
        }).collect();
        match only_addresses {
            Some(all) => answer.add_addresses(all.into_iter(), start),
            None => answer.add(&query.name, &facts, start, &soa),
        }
        let bytes = answer.write(&query, size);
        prop_assert!(bytes.len() <= usize::from(size));
        let message = Message::from_vec(&bytes);
        prop_assert!(message.is_ok(), "{message:?}");
        let message = message.expect("well formed");
        prop_assert_eq!(message.metadata.truncation, message.answers.len() < facts.len());
        prop_assert_eq!(message.edns.is_some(), edns);
        prop_assert!(query.udp_size() <= MAX_UDP);
    }
}
