//! Who answers a question: the zone, the cache, or servers elsewhere.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{HINFO, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use seaway_model::Family;

use crate::counts::{For, count};
use crate::dice::Dice;
use crate::forward::{Age, Asked, Forwarder, Reply, Resolved};
use crate::message::{self, Answer, Query, Reading, Soa, absolute};
use crate::names::Names;
use crate::wire::rcode;
use crate::zone::{Data, Found, Kind, Zone};

/// As many aliases in a row are followed.
const ALIASES: usize = 8;
/// The questions about the server itself (class CHAOS) that are answered.
const ABOUT: [&str; 2] = ["version.bind", "version.server"];

/// How large an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// As the client says.
    Udp,
    /// As large as a message can be.
    Tcp,
}

/// What to do about a message.
pub(super) enum Step {
    /// Nothing.
    Nothing,
    /// Send this.
    Done(Vec<u8>),
    /// Somebody else has to be asked.
    Wait(Box<Pending>),
}

/// A question that somebody else has to be asked about.
pub(super) struct Pending {
    query: Query,
    asked: Asked,
    size: u16,
    /// What is known already, when an alias leads elsewhere.
    begun: Option<Answer>,
}

/// What the zone says.
enum Local {
    Known(Answer),
    /// An alias that leads to this name elsewhere.
    Leads(Answer, Name),
    Elsewhere,
}

/// Answers questions.
pub(super) struct Front {
    names: Names,
    forwarder: Arc<Forwarder>,
    dice: Dice,
}

impl Front {
    pub(super) fn new(names: Names, forwarder: Arc<Forwarder>) -> Front {
        Front {
            names,
            forwarder,
            dice: Dice::default(),
        }
    }

    /// Answers a message if that needs nobody else.
    pub(super) fn step(&self, bytes: &[u8], size: Size) -> Step {
        match message::read(bytes) {
            Reading::Ignored => {
                count(&self.names.counters().ignored);
                Step::Nothing
            }
            Reading::Refused(bytes) => Step::Done(self.told(For::Cluster, bytes)),
            Reading::Asked(query) => {
                let size = match size {
                    Size::Udp => query.udp_size(),
                    Size::Tcp => u16::MAX,
                };
                self.asked(*query, size)
            }
        }
    }

    fn asked(&self, query: Query, size: u16) -> Step {
        let labels = query.labels();
        let local = match query.class {
            DNSClass::IN => self.local(&query, &labels),
            DNSClass::CH => Local::Known(about(&query, &labels)),
            _ => Local::Known(Answer::failure(ResponseCode::Refused)),
        };
        let (begun, asked) = match local {
            Local::Known(answer) => {
                let bytes = answer.write(&query, size);
                return Step::Done(self.told(For::Cluster, bytes));
            }
            Local::Leads(answer, target) => {
                let asked = Asked::of(&query).about(target.iter());
                (Some(answer), asked)
            }
            Local::Elsewhere => (None, Asked::of(&query)),
        };
        let known = match begun {
            None => self.forwarder.known(&asked),
            Some(_) => None,
        };
        if let Some((reply, age)) = known {
            let bytes = reply.write(&query, size, age, self.longest());
            return Step::Done(self.told(For::Forward, bytes));
        }
        Step::Wait(Box::new(Pending {
            query,
            asked,
            size,
            begun,
        }))
    }

    fn longest(&self) -> u32 {
        let longest = self.forwarder.limits.max_ttl.as_secs();
        u32::try_from(longest).unwrap_or(u32::MAX)
    }

    /// Answers what had to wait.
    pub(super) async fn finish(&self, pending: Pending) -> Vec<u8> {
        let Pending {
            query,
            asked,
            size,
            begun,
        } = pending;
        let resolved = self.forwarder.resolve(&asked).await;
        let bytes = match (resolved, begun) {
            (Resolved::Answer(reply, age), None) => reply.write(&query, size, age, self.longest()),
            (Resolved::Answer(reply, age), Some(begun)) => {
                self.joined(begun, &reply, age, &query).write(&query, size)
            }
            (Resolved::Failed, _) => failure(&query, size),
        };
        self.told(For::Forward, bytes)
    }

    /// What is said when too many questions wait.
    pub(super) fn too_many(&self, pending: Pending) -> Vec<u8> {
        count(&self.names.counters().over_limit);
        let bytes = failure(&pending.query, pending.size);
        self.told(For::Forward, bytes)
    }

    /// An alias of the cluster, and what servers elsewhere say of its target.
    fn joined(&self, mut begun: Answer, reply: &Reply, age: Age, query: &Query) -> Answer {
        let whole = reply.write(query, u16::MAX, age, self.longest());
        let Ok(message) = Message::from_vec(&whole) else {
            return Answer::failure(ResponseCode::ServFail);
        };
        begun.code = message.metadata.response_code;
        begun.answers.extend(message.answers);
        begun.authorities.extend(message.authorities);
        begun
    }

    fn told(&self, who: For, bytes: Vec<u8>) -> Vec<u8> {
        let code = bytes.get(3).map_or(rcode::FAILURE, |b| b & 0x0f);
        self.names.counters().answered(who, code);
        bytes
    }

    fn local(&self, query: &Query, labels: &[String]) -> Local {
        if matches!(query.kind, RecordType::AXFR | RecordType::IXFR) {
            return Local::Known(Answer::failure(ResponseCode::Refused));
        }
        if self.forwarder.is_own_check(labels) {
            return Local::Known(Answer::failure(ResponseCode::Refused));
        }
        let zone = self.names.zone();
        let mut answer = Answer::known();
        let (mut name, mut labels) = (query.name.clone(), labels.to_vec());
        for _ in 0..ALIASES {
            let view: Vec<&str> = labels.iter().map(String::as_str).collect();
            let soa = soa(&zone, &view);
            match zone.find(&view, kind(query.kind)) {
                Found::Elsewhere if answer.answers.is_empty() => return Local::Elsewhere,
                Found::Elsewhere => return Local::Leads(answer, name),
                Found::Unknown => return Local::Known(Answer::failure(ResponseCode::ServFail)),
                Found::Missing => {
                    answer.code = ResponseCode::NXDomain;
                    answer.deny(&soa);
                    return Local::Known(answer);
                }
                Found::Records { .. } if query.kind == RecordType::ANY => {
                    answer.answers.push(any(&name));
                    return Local::Known(answer);
                }
                Found::Records { answers, extra } => {
                    // Turned, so that clients which take the first record spread.
                    let start = self.dice.place(answers.len());
                    let is_own = answer.answers.is_empty() && extra.is_empty();
                    match (answers.is_empty(), addresses(&answers)) {
                        (true, _) => answer.deny(&soa),
                        (false, Some(all)) if is_own => answer.add_addresses(all, start),
                        (false, _) => answer.add(&name, &answers, start, &soa),
                    }
                    answer.add_extra(&extra);
                    return Local::Known(answer);
                }
                Found::Alias(target) => {
                    let Some(target) = absolute(&target) else {
                        return Local::Known(Answer::failure(ResponseCode::ServFail));
                    };
                    answer.add_alias(&name, &target);
                    if matches!(query.kind, RecordType::CNAME | RecordType::ANY) {
                        return Local::Known(answer);
                    }
                    labels = message::labels(&target);
                    name = target;
                }
            }
        }
        Local::Known(Answer::failure(ResponseCode::ServFail))
    }
}

fn failure(query: &Query, size: u16) -> Vec<u8> {
    Answer::failure(ResponseCode::ServFail).write(query, size)
}

/// Who says no: the zone of the cluster, or that of all addresses.
fn soa<'a>(zone: &'a Zone, labels: &[&str]) -> Soa<'a> {
    let owner = match labels {
        [.., "in-addr", "arpa"] => "in-addr.arpa",
        [.., "ip6", "arpa"] => "ip6.arpa",
        _ => zone.domain(),
    };
    Soa {
        owner,
        domain: zone.domain(),
        serial: zone.serial(),
    }
}

/// The addresses, if these are addresses and nothing else.
fn addresses(answers: &[Data]) -> Option<impl Iterator<Item = IpAddr>> {
    let address = |data: &Data| match data {
        Data::Address(address) => Some(*address),
        _ => None,
    };
    let all = answers.iter().all(|data| address(data).is_some());
    all.then(|| answers.iter().filter_map(address))
}

fn kind(kind: RecordType) -> Kind {
    match kind {
        RecordType::A => Kind::Address(Family::V4),
        RecordType::AAAA => Kind::Address(Family::V6),
        RecordType::SRV => Kind::Srv,
        RecordType::PTR => Kind::Ptr,
        RecordType::TXT => Kind::Txt,
        RecordType::SOA => Kind::Soa,
        RecordType::NS => Kind::Ns,
        _ => Kind::Other,
    }
}

/// Who wants everything gets the least (RFC 8482).
fn any(name: &Name) -> Record {
    let data = HINFO::new("RFC8482".to_owned(), String::new());
    Record::from_rdata(name.clone(), 3600, RData::HINFO(data))
}

/// What is asked about the server itself.
fn about(query: &Query, labels: &[String]) -> Answer {
    if !ABOUT.contains(&labels.join(".").as_str()) || query.kind != RecordType::TXT {
        return Answer::failure(ResponseCode::Refused);
    }
    let mut answer = Answer::known();
    let text = RData::TXT(TXT::new(vec!["seaway".to_owned()]));
    let mut record = Record::from_rdata(query.name.clone(), 0, text);
    record.dns_class = DNSClass::CH;
    answer.answers.push(record);
    answer
}
