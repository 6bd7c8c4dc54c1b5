//! What is answered: facts of the zone as records, and the bytes of a message that holds them.

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use super::query::{MAX_UDP, Query};
use crate::wire;
use crate::zone::Data;

/// How long the cluster's names may be kept by those who ask, in seconds.
pub(crate) const TTL: u32 = 5;
/// More records of 16 bytes do not fit any message.
const MOST_RECORDS: usize = 4096;

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) code: ResponseCode,
    pub(crate) authoritative: bool,
    /// Addresses of the name that was asked for, which come before all records.
    addresses: Vec<IpAddr>,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
    pub(crate) extra: Vec<Record>,
}

impl Answer {
    /// Nothing but an outcome.
    pub(crate) fn failure(code: ResponseCode) -> Answer {
        Answer {
            code,
            authoritative: false,
            addresses: Vec::new(),
            answers: Vec::new(),
            authorities: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// An answer of those who know, empty so far.
    pub(crate) fn known() -> Answer {
        Answer {
            authoritative: true,
            ..Answer::failure(ResponseCode::NoError)
        }
    }

    /// Adds addresses of the very name that was asked for, beginning at `start`. There may be
    /// thousands, and the codec, which is careful with long messages, would write the name each time.
    pub(crate) fn add_addresses(&mut self, addresses: impl Iterator<Item = IpAddr>, start: usize) {
        self.addresses.extend(addresses);
        let start = start.min(self.addresses.len());
        self.addresses.rotate_left(start);
    }

    /// Adds facts about a name; as many as may fit, beginning at `start`.
    pub(crate) fn add(&mut self, name: &Name, facts: &[Data], start: usize, soa: &Soa<'_>) {
        let (late, early) = facts.split_at(start.min(facts.len()));
        let turned = early.iter().chain(late).take(MOST_RECORDS);
        let records = turned
            .filter_map(|fact| Some(Record::from_rdata(name.clone(), TTL, rdata(fact, soa)?)));
        self.answers.extend(records);
    }

    /// Adds that a name is another one's.
    pub(crate) fn add_alias(&mut self, name: &Name, target: &Name) {
        let data = RData::CNAME(CNAME(target.clone()));
        self.answers
            .push(Record::from_rdata(name.clone(), TTL, data));
    }

    /// Adds the addresses of a name that is in the answers.
    pub(crate) fn add_extra(&mut self, extra: &[(String, IpAddr)]) {
        for (name, address) in extra.iter().take(MOST_RECORDS) {
            if let Some(name) = absolute(name) {
                self.extra
                    .push(Record::from_rdata(name, TTL, address_data(*address)));
            }
        }
    }

    /// Says who it is that says no.
    pub(crate) fn deny(&mut self, soa: &Soa<'_>) {
        if let (Some(owner), Some(data)) = (absolute(soa.owner), soa.data()) {
            self.authorities.push(Record::from_rdata(owner, TTL, data));
        }
    }

    /// The message for `query`, in at most `size` bytes. Additional records are left out where
    /// there is no room; where answers are, the client is told to come back by TCP.
    pub(crate) fn write(self, query: &Query, size: u16) -> Vec<u8> {
        let opt = query.edns.map(|edns| edns.dnssec_ok);
        let room = match opt {
            Some(_) => size.saturating_sub(wire::OPT as u16),
            None => size,
        };
        let high = self.code.high();
        let mut message = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        message.metadata = Metadata::response_from_request(&query.metadata);
        message.metadata.response_code = self.code;
        message.metadata.authoritative = self.authoritative;
        message.metadata.recursion_available = true;
        message.metadata.authentic_data = false;
        message.metadata.checking_disabled = query.metadata.checking_disabled;
        message.add_query(hickory_proto::op::Query::query(
            query.name.clone(),
            query.kind,
        ));
        message.queries[0].query_class = query.class;
        message.answers = self.answers;
        message.authorities = self.authorities;
        message.additionals = self.extra;
        let mut bytes = encode(&message, room);
        wire::append_addresses(&mut bytes, &self.addresses, TTL, room.into());
        let cut = bytes.get(2).is_some_and(|b| b & wire::flag::TRUNCATED != 0);
        if cut && !message.additionals.is_empty() {
            message.additionals.clear();
            bytes = encode(&message, room);
        }
        if let Some(dnssec_ok) = opt {
            wire::append_opt(&mut bytes, MAX_UDP, high, dnssec_ok);
        }
        bytes
    }
}

fn encode(message: &Message, room: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(usize::from(room.min(MAX_UDP)));
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(room);
    let written = message.emit(&mut encoder);
    // A record that did not fit has left its beginning behind.
    encoder.trim();
    match written {
        Ok(()) => bytes,
        Err(error) => {
            // Names come from clients and from objects that have been checked; all can be written.
            tracing::warn!(%error, "an answer cannot be written");
            let id = message.metadata.id.to_be_bytes();
            wire::bare(&[id[0], id[1], 0, 0], wire::rcode::FAILURE).unwrap_or_default()
        }
    }
}

/// What is said of a zone.
pub(crate) struct Soa<'a> {
    /// The zone's name.
    pub(crate) owner: &'a str,
    /// The cluster's domain.
    pub(crate) domain: &'a str,
    pub(crate) serial: u32,
}

impl Soa<'_> {
    fn data(&self) -> Option<RData> {
        let server = absolute(&format!("ns.dns.{}", self.domain))?;
        let person = absolute(&format!("hostmaster.{}", self.domain))?;
        let (refresh, retry, expire) = (7200, 1800, 86_400);
        Some(RData::SOA(SOA::new(
            server,
            person,
            self.serial,
            refresh,
            retry,
            expire,
            TTL,
        )))
    }
}

fn rdata(fact: &Data, soa: &Soa<'_>) -> Option<RData> {
    Some(match fact {
        Data::Address(address) => address_data(*address),
        Data::Srv {
            weight,
            port,
            target,
        } => RData::SRV(SRV::new(0, *weight, *port, absolute(target)?)),
        Data::Ptr(name) => RData::PTR(PTR(absolute(name)?)),
        Data::Ns(name) => RData::NS(NS(absolute(name)?)),
        Data::Txt(text) => RData::TXT(TXT::new(vec![(*text).to_owned()])),
        Data::Soa => soa.data()?,
    })
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    }
}

/// A name as the codec has it, if it is one. Labels are taken as they are.
pub(crate) fn absolute(name: &str) -> Option<Name> {
    let labels = name.trim_end_matches('.').split('.');
    Name::from_labels(labels.map(str::as_bytes)).ok()
}
