//! Messages as bytes: just enough to pass on what upstream servers say without reading what it is
//! about. Names, lengths and times to live are found; records are never decoded here. Pure.

use std::net::IpAddr;
use std::ops::Range;

/// The length of a message's header.
pub(crate) const HEADER: usize = 12;
/// The length of an OPT record without options.
pub(crate) const OPT: usize = 11;
/// The type of an OPT record.
const TYPE_OPT: u16 = 41;
/// The type of an SOA record.
const TYPE_SOA: u16 = 6;
/// The class of the Internet.
pub(crate) const CLASS_IN: u16 = 1;
/// Longer names are not valid.
const MAX_NAME: usize = 255;

/// What the header's first flag byte says.
pub(crate) mod flag {
    /// It is a response.
    pub(crate) const RESPONSE: u8 = 0x80;
    /// Where the kind of operation is.
    pub(crate) const OPERATION: u8 = 0x78;
    /// It is cut off.
    pub(crate) const TRUNCATED: u8 = 0x02;
    /// The asker wants the whole way to be gone.
    pub(crate) const RECURSION_DESIRED: u8 = 0x01;
    /// In the second byte: the whole way can be gone.
    pub(crate) const RECURSION_AVAILABLE: u8 = 0x80;
    /// In the second byte: the answer has been validated.
    pub(crate) const AUTHENTIC: u8 = 0x20;
    /// In the second byte: the asker validates.
    pub(crate) const CHECKING_DISABLED: u8 = 0x10;
    /// In the second byte: the outcome.
    pub(crate) const OUTCOME: u8 = 0x0f;
}

/// Outcomes of a query (RCODE).
pub(crate) mod rcode {
    /// Answered.
    pub(crate) const NO_ERROR: u8 = 0;
    /// The query is not understood.
    pub(crate) const FORMAT: u8 = 1;
    /// It cannot be answered now.
    pub(crate) const FAILURE: u8 = 2;
    /// The name does not exist.
    pub(crate) const NO_NAME: u8 = 3;
    /// The operation is not known.
    pub(crate) const NOT_IMPLEMENTED: u8 = 4;
    /// It is not answered here.
    pub(crate) const REFUSED: u8 = 5;
}

/// Two bytes of a message as a number.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(two.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

/// Where a name ends.
pub(crate) fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *bytes.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(length),
            // A pointer ends a name.
            192..=255 => return bytes.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

/// The one question of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The name as it was written.
    pub(crate) name: Range<usize>,
    /// The type.
    pub(crate) kind: u16,
    /// The class.
    pub(crate) class: u16,
    /// Where the question ends.
    pub(crate) end: usize,
}

/// Reads the question of a message that has exactly one.
pub(crate) fn question(bytes: &[u8]) -> Option<Question> {
    if u16_at(bytes, 4)? != 1 {
        return None;
    }
    let end = skip_name(bytes, HEADER)?;
    // A pointer has nothing to point to; a name without pointers ends with zero.
    let plain = bytes.get(end - 1) == Some(&0) && labels_only(bytes.get(HEADER..end)?);
    if !plain || end - HEADER > MAX_NAME {
        return None;
    }
    Some(Question {
        name: HEADER..end,
        kind: u16_at(bytes, end)?,
        class: u16_at(bytes, end + 2)?,
        end: end + 4,
    })
}

fn labels_only(name: &[u8]) -> bool {
    let mut at = 0;
    while let Some(length) = name.get(at) {
        match length {
            0 => return at + 1 == name.len(),
            1..=63 => at += 1 + usize::from(*length),
            _ => return false,
        }
    }
    false
}

/// What is found in a response by walking over its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Where the question ends.
    pub(crate) question_end: usize,
    /// Where times to live are.
    pub(crate) ttls: Vec<usize>,
    /// The shortest time to live among answers and authorities.
    pub(crate) shortest: Option<u32>,
    /// What an SOA record among the authorities says about how long a "no" may be kept.
    pub(crate) negative: Option<u32>,
    /// The number of answers.
    pub(crate) answers: u16,
    /// Where the message ends for somebody who did not ask for OPT.
    pub(crate) end: usize,
    /// The number of additional records up to there.
    pub(crate) additionals: u16,
    /// The upper part of the outcome, in OPT.
    pub(crate) outcome_high: u8,
}

/// Walks over all records of a response; `None` if it is damaged.
///
/// OPT belongs to two neighbours and is not passed on. It is cut off where it is the last record,
/// as is usual; else all additional records are: nobody relies on them.
pub(crate) fn layout(bytes: &[u8]) -> Option<Layout> {
    let question = question(bytes)?;
    let counts = [u16_at(bytes, 6)?, u16_at(bytes, 8)?, u16_at(bytes, 10)?];
    let mut layout = Layout {
        question_end: question.end,
        answers: counts[0],
        ..Layout::default()
    };
    let mut at = question.end;
    for (section, count) in counts.into_iter().enumerate() {
        let section_start = (at, layout.ttls.len());
        for n in 0..count {
            let record = record(bytes, at)?;
            if record.kind == TYPE_OPT {
                layout.outcome_high = (record.ttl >> 24) as u8;
                let is_last = section == 2 && n + 1 == count;
                if !is_last {
                    layout.ttls.truncate(section_start.1);
                    layout.end = section_start.0;
                    layout.additionals = 0;
                    return (section == 2).then_some(layout);
                }
                layout.end = at;
                layout.additionals = n;
                return Some(layout);
            }
            layout.ttls.push(record.ttl_at);
            if section < 2 {
                let shortest = layout.shortest.unwrap_or(u32::MAX);
                layout.shortest = Some(shortest.min(record.ttl));
            }
            if section == 1 && record.kind == TYPE_SOA {
                // The last of five numbers after two names.
                let minimum = u32_at(bytes, record.end.checked_sub(4)?)?;
                layout.negative = Some(minimum.min(record.ttl));
            }
            at = record.end;
        }
    }
    layout.end = at;
    layout.additionals = counts[2];
    Some(layout)
}

struct RawRecord {
    kind: u16,
    ttl: u32,
    ttl_at: usize,
    end: usize,
}

fn record(bytes: &[u8], at: usize) -> Option<RawRecord> {
    let at = skip_name(bytes, at)?;
    let length = usize::from(u16_at(bytes, at + 8)?);
    let end = at + 10 + length;
    if end > bytes.len() {
        return None;
    }
    // RFC 2181: a time to live with the highest bit set is none.
    let ttl = u32_at(bytes, at + 4)?;
    let kind = u16_at(bytes, at)?;
    let is_time = kind == TYPE_OPT || ttl <= i32::MAX as u32;
    Some(RawRecord {
        kind,
        ttl: if is_time { ttl } else { 0 },
        ttl_at: at + 4,
        end,
    })
}

/// Appends an OPT record and counts it.
pub(crate) fn append_opt(message: &mut Vec<u8>, size: u16, outcome_high: u8, dnssec_ok: bool) {
    let Some(count) = u16_at(message, 10) else {
        return;
    };
    message[10..12].copy_from_slice(&count.saturating_add(1).to_be_bytes());
    message.push(0);
    message.extend(TYPE_OPT.to_be_bytes());
    message.extend(size.to_be_bytes());
    message.extend([outcome_high, 0, if dnssec_ok { 0x80 } else { 0 }, 0]);
    message.extend([0, 0]);
}

/// Appends addresses of the name in the question as answers, as long as there is room; says so if
/// there is not. Nothing but the question may stand in the message before.
pub(crate) fn append_addresses(message: &mut Vec<u8>, all: &[IpAddr], ttl: u32, room: usize) {
    let mut count: u16 = 0;
    for address in all {
        let (kind, bytes) = match address {
            IpAddr::V4(v4) => (1u16, v4.octets().to_vec()),
            IpAddr::V6(v6) => (28, v6.octets().to_vec()),
        };
        let record_length = 12 + bytes.len();
        if message.len() + record_length > room {
            message[2] |= flag::TRUNCATED;
            break;
        }
        // A pointer to the name in the question.
        message.extend([0xc0, HEADER as u8]);
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message.extend(ttl.to_be_bytes());
        message.extend([0, bytes.len() as u8]);
        message.extend(bytes);
        count += 1;
    }
    if count > 0 {
        message[6..8].copy_from_slice(&count.to_be_bytes());
    }
}

/// A response that consists of a header only, to bytes whose question cannot be read.
pub(crate) fn bare(query: &[u8], outcome: u8) -> Option<Vec<u8>> {
    let id = query.get(..2)?;
    let flags = *query.get(2)?;
    let kept = flags & (flag::OPERATION | flag::RECURSION_DESIRED);
    let mut message = vec![0; HEADER];
    message[..2].copy_from_slice(id);
    message[2] = flag::RESPONSE | kept;
    message[3] = flag::RECURSION_AVAILABLE | outcome;
    Some(message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `a. IN A` with one answer of time to live 60, an authority SOA-like record and OPT.
    fn message() -> Vec<u8> {
        let mut bytes = vec![0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 1, 0, 0];
        bytes.extend([1, b'a', 0, 0, 1, 0, 1]);
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
        bytes.extend([0, 0, 6, 0, 1, 0, 0, 0, 90, 0, 22, 0, 0]);
        bytes.extend([0; 16]);
        bytes.extend([0, 0, 0, 7]);
        append_opt(&mut bytes, 1232, 1, false);
        bytes
    }

    #[test]
    fn a_response_is_walked_over() {
        let bytes = message();
        let layout = layout(&bytes).expect("well formed");
        assert_eq!(layout.question_end, 19);
        assert_eq!(layout.ttls, [25, 40]);
        assert_eq!((layout.shortest, layout.negative), (Some(60), Some(7)));
        assert_eq!((layout.end, layout.additionals), (bytes.len() - OPT, 0));
        assert_eq!(layout.outcome_high, 1);
    }

    #[test]
    fn opt_before_other_records_takes_them_along() {
        let mut bytes = message();
        let end = bytes.len() - OPT;
        bytes.extend([0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0]);
        bytes[11] = 2;
        let found = layout(&bytes).expect("well formed");
        assert_eq!((found.end, found.additionals), (end, 0));
        assert_eq!(found.ttls.len(), 2);
    }

    #[test]
    fn damage_is_seen() {
        let bytes = message();
        for length in 0..bytes.len() {
            assert_eq!(layout(&bytes[..length]), None, "{length}");
        }
        let mut pointed = bytes.clone();
        pointed[12] = 0xc0;
        assert_eq!(question(&pointed), None, "a pointer in the question");
        pointed = bytes;
        pointed[5] = 2;
        assert_eq!(question(&pointed), None, "two questions");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..220) {
            let _ = (layout(&bytes), question(&bytes), skip_name(&bytes, at), bare(&bytes, 1));
        }

        #[test]
        fn no_damage_makes_it_panic(at in 0usize..72, value: u8) {
            let mut bytes = message();
            let at = at % bytes.len();
            bytes[at] = value;
            if let Some(found) = layout(&bytes) {
                prop_assert!(found.end <= bytes.len());
                prop_assert!(found.ttls.iter().all(|ttl| ttl + 4 <= found.end));
            }
        }
    }
}
