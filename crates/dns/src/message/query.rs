//! What a client asks, and whether it can be answered at all.

use hickory_proto::op::{Message, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use super::reply::Answer;
use crate::wire::{self, flag, rcode};

/// No answer by UDP is longer, whatever the client says: longer ones would be sent in fragments.
pub(crate) const MAX_UDP: u16 = 1232;
/// A client that says nothing takes as much (RFC 1035).
const MIN_UDP: u16 = 512;

/// A question of a client.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) metadata: Metadata,
    /// The name as the client writes it.
    pub(crate) name: Name,
    pub(crate) kind: RecordType,
    pub(crate) class: DNSClass,
    /// The question as bytes.
    pub(crate) question: Vec<u8>,
    pub(crate) edns: Option<Edns>,
}

/// What a client says of itself by EDNS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edns {
    pub(crate) size: u16,
    pub(crate) dnssec_ok: bool,
}

impl Query {
    /// The name in lower case, from the left. What is no text becomes a label that nothing has.
    pub(crate) fn labels(&self) -> Vec<String> {
        labels(&self.name)
    }

    /// How long an answer by UDP may be.
    pub(crate) fn udp_size(&self) -> u16 {
        self.edns
            .map_or(MIN_UDP, |edns| edns.size.clamp(MIN_UDP, MAX_UDP))
    }
}

/// The labels of a name in lower case.
pub(crate) fn labels(name: &Name) -> Vec<String> {
    let text = |label: &[u8]| {
        let plain = label.iter().all(|b| b.is_ascii_graphic() && *b != b'.');
        let text = std::str::from_utf8(label).ok().filter(|_| plain);
        text.map_or_else(|| "\0".to_owned(), str::to_ascii_lowercase)
    };
    name.iter().map(text).collect()
}

/// What to do with a message.
#[derive(Debug)]
pub(crate) enum Reading {
    /// Nothing: it is no question.
    Ignored,
    /// Say that it cannot be answered; the outcome is in the bytes.
    Refused(Vec<u8>),
    /// Answer it.
    Asked(Box<Query>),
}

/// Reads a message.
///
/// 1. What is too short for a header, or is an answer, gets no answer: two servers would else talk
///    to each other for ever.
/// 2. Operations other than a query are not implemented.
/// 3. There must be exactly one question, and the whole must be well formed.
/// 4. Nobody speaks a later version of EDNS than 0.
pub(crate) fn read(bytes: &[u8]) -> Reading {
    let (Some(first), true) = (bytes.get(2), bytes.len() >= wire::HEADER) else {
        return Reading::Ignored;
    };
    if first & flag::RESPONSE != 0 {
        return Reading::Ignored;
    }
    let refuse = |code| wire::bare(bytes, code).map_or(Reading::Ignored, Reading::Refused);
    if first & flag::OPERATION != 0 {
        return refuse(rcode::NOT_IMPLEMENTED);
    }
    let Some(question) = wire::question(bytes) else {
        return refuse(rcode::FORMAT);
    };
    let Ok(message) = Message::from_vec(bytes) else {
        return refuse(rcode::FORMAT);
    };
    let (Some(asked), OpCode::Query) = (message.queries.first(), message.metadata.op_code) else {
        return refuse(rcode::FORMAT);
    };
    let query = Query {
        metadata: message.metadata,
        name: asked.name.clone(),
        kind: asked.query_type,
        class: DNSClass::from(question.class),
        question: bytes[wire::HEADER..question.end].to_vec(),
        edns: message.edns.as_ref().map(|edns| Edns {
            size: edns.max_payload(),
            dnssec_ok: edns.flags().dnssec_ok,
        }),
    };
    if message.edns.is_some_and(|edns| edns.version() != 0) {
        let answer = Answer::failure(ResponseCode::BADVERS);
        return Reading::Refused(answer.write(&query, MIN_UDP));
    }
    Reading::Asked(Box::new(query))
}
