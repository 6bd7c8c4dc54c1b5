//! A question for an upstream server, and what it says, both as bytes. Replies are kept and passed on
//! without being decoded. Pure.

use crate::message::{MAX_UDP, Query};
use crate::wire::{self, flag, rcode};

/// A question as upstream servers see it; equal ones are asked once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    /// The name in lower case, as bytes of a message.
    name: Box<[u8]>,
    kind: u16,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl Asked {
    /// What a client asks.
    pub(crate) fn of(query: &Query) -> Asked {
        let name = query.question.split_last_chunk::<4>();
        Asked {
            name: name
                .map_or(&[][..], |(name, _)| name)
                .to_ascii_lowercase()
                .into(),
            kind: query.kind.into(),
            dnssec_ok: query.edns.is_some_and(|edns| edns.dnssec_ok),
            checking_disabled: query.metadata.checking_disabled,
        }
    }

    /// A question for a name given by its labels, for the same client.
    pub(crate) fn about<'a>(&self, labels: impl IntoIterator<Item = &'a [u8]>) -> Asked {
        let mut name = Vec::new();
        for label in labels {
            name.push(u8::try_from(label.len()).unwrap_or(0));
            name.extend(label.to_ascii_lowercase());
        }
        name.push(0);
        Asked {
            name: name.into(),
            ..self.clone()
        }
    }

    /// A question for an address (or any `kind`) by nobody in particular.
    pub(crate) fn plain<'a>(labels: impl IntoIterator<Item = &'a [u8]>, kind: u16) -> Asked {
        let nobody = Asked {
            name: Box::default(),
            kind,
            dnssec_ok: false,
            checking_disabled: false,
        };
        nobody.about(labels)
    }

    /// How much memory it takes.
    pub(crate) fn size(&self) -> usize {
        self.name.len() + size_of::<Asked>()
    }

    /// The message.
    pub(crate) fn message(&self, id: u16, edns: bool) -> Vec<u8> {
        let mut message = Vec::with_capacity(wire::HEADER + self.name.len() + 4 + wire::OPT);
        message.extend(id.to_be_bytes());
        let checking = match self.checking_disabled {
            true => flag::CHECKING_DISABLED,
            false => 0,
        };
        message.extend([flag::RECURSION_DESIRED, flag::AUTHENTIC | checking]);
        message.extend([0, 1, 0, 0, 0, 0, 0, 0]);
        message.extend(&*self.name);
        message.extend(self.kind.to_be_bytes());
        message.extend(wire::CLASS_IN.to_be_bytes());
        if edns {
            wire::append_opt(&mut message, MAX_UDP, 0, self.dnssec_ok);
        }
        message
    }

    /// Whether this is an answer to it: the id, and every byte of the question but case.
    pub(crate) fn is_answered_by(&self, id: u16, bytes: &[u8]) -> bool {
        let is_response = bytes
            .get(2)
            .is_some_and(|first| first & flag::RESPONSE != 0 && first & flag::OPERATION == 0);
        let right_id = wire::u16_at(bytes, 0) == Some(id);
        let Some(question) = wire::question(bytes).filter(|_| is_response && right_id) else {
            return false;
        };
        bytes[question.name].eq_ignore_ascii_case(&self.name)
            && (question.kind, question.class) == (self.kind, wire::CLASS_IN)
    }

    /// Whether a server says, without repeating the question, that it does not know EDNS.
    pub(crate) fn is_refused_by(id: u16, bytes: &[u8]) -> bool {
        let response = bytes
            .get(2)
            .is_some_and(|first| first & flag::RESPONSE != 0);
        let code = bytes.get(3).map(|second| second & flag::OUTCOME);
        let no_question = wire::u16_at(bytes, 4) == Some(0);
        response && no_question && wire::u16_at(bytes, 0) == Some(id) && code == Some(rcode::FORMAT)
    }
}

/// How old a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// So many seconds.
    Seconds(u32),
    /// Too old: its time to live is this.
    Stale(u32),
}

/// What an upstream server says.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The message without OPT.
    bytes: Box<[u8]>,
    question_end: usize,
    ttls: Box<[usize]>,
    /// How long it may be kept by its own words; `None` if it says nothing about that.
    pub(crate) lifetime: Option<u32>,
}

impl Reply {
    /// Reads a reply; `None` if it is damaged or says what only OPT could have said.
    pub(crate) fn read(bytes: &[u8]) -> Option<Reply> {
        let layout = wire::layout(bytes)?;
        if layout.outcome_high != 0 {
            return None;
        }
        let code = bytes[3] & flag::OUTCOME;
        let lifetime = match code {
            rcode::NO_ERROR if layout.answers > 0 => layout.shortest,
            rcode::NO_ERROR | rcode::NO_NAME => layout.negative,
            _ => None,
        };
        let mut kept = bytes[..layout.end].to_vec();
        kept[10..12].copy_from_slice(&layout.additionals.to_be_bytes());
        Some(Reply {
            bytes: kept.into(),
            question_end: layout.question_end,
            ttls: layout.ttls.into(),
            lifetime,
        })
    }

    /// Reads a reply that is cut off: only its question is kept.
    pub(crate) fn read_cut(bytes: &[u8]) -> Option<Reply> {
        let question = wire::question(bytes)?;
        let mut kept = bytes.get(..question.end)?.to_vec();
        kept[6..12].fill(0);
        let cut = kept[2] & flag::TRUNCATED != 0;
        cut.then(|| Reply {
            bytes: kept.into(),
            question_end: question.end,
            ttls: Box::default(),
            lifetime: None,
        })
    }

    /// Whether it says that it does not know what came with the question.
    pub(crate) fn dislikes_edns(&self) -> bool {
        matches!(self.code(), rcode::FORMAT | rcode::NOT_IMPLEMENTED)
    }

    /// The outcome.
    pub(crate) fn code(&self) -> u8 {
        self.bytes[3] & flag::OUTCOME
    }

    /// Whether another server would say the same.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self.code(), rcode::NO_ERROR | rcode::NO_NAME)
    }

    /// Whether it says yes.
    pub(crate) fn is_positive(&self) -> bool {
        self.code() == rcode::NO_ERROR && wire::u16_at(&self.bytes, 6) != Some(0)
    }

    /// Whether it is cut off.
    pub(crate) fn is_truncated(&self) -> bool {
        self.bytes[2] & flag::TRUNCATED != 0
    }

    /// How much memory it takes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.ttls.len() * size_of::<usize>() + size_of::<Reply>()
    }

    /// The message for a client in at most `size` bytes: with its id and its way to write the
    /// name, and what is left of the times to live. `longest` bounds them.
    pub(crate) fn write(&self, query: &Query, size: u16, age: Age, longest: u32) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        for at in &self.ttls {
            let Some(place) = bytes.get_mut(*at..at + 4) else {
                continue;
            };
            let told = u32::from_be_bytes([place[0], place[1], place[2], place[3]]);
            let told = if told > i32::MAX as u32 { 0 } else { told };
            let left = match age {
                Age::Seconds(0) => told.min(longest),
                Age::Seconds(age) => told.min(longest).saturating_sub(age).max(1),
                Age::Stale(ttl) => ttl,
            };
            place.copy_from_slice(&left.to_be_bytes());
        }
        self.address_to(query, &mut bytes);
        let opt = match query.edns {
            Some(_) => wire::OPT,
            None => 0,
        };
        if bytes.len() + opt > usize::from(size) {
            bytes.truncate(self.question_end);
            bytes[2] |= flag::TRUNCATED;
            bytes[6..12].fill(0);
        }
        if let Some(edns) = query.edns {
            wire::append_opt(&mut bytes, MAX_UDP, 0, edns.dnssec_ok);
        }
        bytes
    }

    fn address_to(&self, query: &Query, bytes: &mut [u8]) {
        let asked = &query.metadata;
        bytes[..2].copy_from_slice(&asked.id.to_be_bytes());
        bytes[2] = flag::RESPONSE;
        if asked.recursion_desired {
            bytes[2] |= flag::RECURSION_DESIRED;
        }
        let validates = asked.authentic_data || query.edns.is_some_and(|edns| edns.dnssec_ok);
        let authentic = match validates {
            true => bytes[3] & flag::AUTHENTIC,
            false => 0,
        };
        bytes[3] = flag::RECURSION_AVAILABLE | authentic | self.code();
        if asked.checking_disabled {
            bytes[3] |= flag::CHECKING_DISABLED;
        }
        // The name of an alias may be as long as that of its target, to which records point.
        let place = &mut bytes[wire::HEADER..self.question_end];
        if place.eq_ignore_ascii_case(&query.question) {
            place.copy_from_slice(&query.question);
        }
    }
}
