//! DNS messages (RFC 1035), as far as a client needs them: one question out, the records of the
//! answer in. Bytes only; no sockets.

use std::fmt::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use clap::ValueEnum;
use serde::Serialize;

const HEADER: usize = 12;
const INTERNET: u16 = 1;
const RECURSION_DESIRED: u16 = 0x0100;
const IS_ANSWER: u16 = 0x8000;
const IS_CUT: u16 = 0x0200;
const LONGEST_NAME: usize = 255;
const LONGEST_LABEL: usize = 63;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum RecordKind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Where a service is.
    Srv,
    /// The name of an address.
    Ptr,
    /// The name that this one stands for.
    Cname,
    /// Words.
    Txt,
    /// Where a zone begins.
    Soa,
}

impl RecordKind {
    fn number(self) -> u16 {
        match self {
            RecordKind::A => 1,
            RecordKind::Cname => 5,
            RecordKind::Soa => 6,
            RecordKind::Ptr => 12,
            RecordKind::Txt => 16,
            RecordKind::Aaaa => 28,
            RecordKind::Srv => 33,
        }
    }
}

/// A record of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Whose it is.
    pub name: String,
    /// For how many seconds it holds.
    pub ttl: u32,
    /// What it says.
    #[serde(flatten)]
    pub data: Data,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", content = "data", rename_all = "UPPERCASE")]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Where a service is.
    Srv {
        /// Smaller ones first.
        priority: u16,
        /// Its share among those of the same priority.
        weight: u16,
        /// The port.
        port: u16,
        /// The machine.
        target: String,
    },
    /// A name of an address.
    Ptr(String),
    /// The name that this one stands for.
    Cname(String),
    /// Words.
    Txt(String),
    /// Another kind, by number, in hexadecimal digits.
    Other(u16, String),
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Data::A(address) => write!(f, "A {address}"),
            Data::Aaaa(address) => write!(f, "AAAA {address}"),
            Data::Srv {
                priority,
                weight,
                port,
                target,
            } => write!(f, "SRV {priority} {weight} {port} {target}"),
            Data::Ptr(name) => write!(f, "PTR {name}"),
            Data::Cname(name) => write!(f, "CNAME {name}"),
            Data::Txt(text) => write!(f, "TXT {text:?}"),
            Data::Other(kind, hex) => write!(f, "TYPE{kind} {hex}"),
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) id: u16,
    /// 0 is well, 3 is "no such name".
    pub(super) code: u16,
    /// There is more than fits a datagram.
    pub(super) is_cut: bool,
    pub(super) records: Vec<Record>,
}

/// A question; `None` if the name cannot be one.
pub(super) fn question(id: u16, name: &str, kind: RecordKind) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER + name.len() + 6);
    for word in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    let name = name.trim_end_matches('.');
    for label in name.split('.').filter(|_| !name.is_empty()) {
        let length = u8::try_from(label.len()).ok()?;
        if label.is_empty() || label.len() > LONGEST_LABEL {
            return None;
        }
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.number().to_be_bytes());
    bytes.extend(INTERNET.to_be_bytes());
    (bytes.len() <= HEADER + LONGEST_NAME + 4).then_some(bytes)
}

/// Reads an answer; `None` if it is none or is broken.
pub(super) fn parse(bytes: &[u8]) -> Option<Answer> {
    let mut reader = Reader { bytes, at: 0 };
    let [id, flags, questions, answers] = [(); 4].map(|()| reader.be16());
    let (id, flags) = (id?, flags?);
    reader.at = HEADER;
    if flags & IS_ANSWER == 0 || bytes.len() < HEADER {
        return None;
    }
    for _ in 0..questions? {
        reader.name()?;
        reader.take(4)?;
    }
    let is_cut = flags & IS_CUT != 0;
    let mut records = Vec::new();
    for _ in 0..answers? {
        match reader.record() {
            Some(record) => records.push(record),
            None if is_cut => break,
            None => return None,
        }
    }
    Some(Answer {
        id,
        code: flags & 15,
        is_cut,
        records,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(taken)
    }

    fn be16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn be32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?;
        Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A name. Pointers lead backwards only, so that none can go round in circles.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut at = self.at;
        let mut limit = self.bytes.len();
        let mut end = None;
        loop {
            let length = usize::from(*self.bytes.get(at)?);
            match length {
                0 => break,
                1..=LONGEST_LABEL => {
                    let label = self.bytes.get(at + 1..)?.get(..length)?;
                    name.push_str(&String::from_utf8_lossy(label));
                    name.push('.');
                    at += 1 + length;
                }
                0xc0.. => {
                    let low = usize::from(*self.bytes.get(at + 1)?);
                    let target = (length & 0x3f) << 8 | low;
                    end.get_or_insert(at + 2);
                    if target >= limit.min(at) {
                        return None;
                    }
                    (limit, at) = (target, target);
                }
                _ => return None,
            }
            if name.len() > LONGEST_NAME {
                return None;
            }
        }
        self.at = end.unwrap_or(at + 1);
        if name.is_empty() {
            name.push('.');
        }
        Some(name)
    }

    fn record(&mut self) -> Option<Record> {
        let name = self.name()?;
        let kind = self.be16()?;
        let _class = self.be16()?;
        let ttl = self.be32()?;
        let length = usize::from(self.be16()?);
        let end = self.at + length;
        let data = self.data(kind, length)?;
        if end > self.bytes.len() || self.at > end {
            return None;
        }
        self.at = end;
        Some(Record { name, ttl, data })
    }

    fn data(&mut self, kind: u16, length: usize) -> Option<Data> {
        Some(match (kind, length) {
            (1, 4) => Data::A(<[u8; 4]>::try_from(self.take(4)?).ok()?.into()),
            (28, 16) => Data::Aaaa(<[u8; 16]>::try_from(self.take(16)?).ok()?.into()),
            (5, _) => Data::Cname(self.name()?),
            (12, _) => Data::Ptr(self.name()?),
            (33, _) => Data::Srv {
                priority: self.be16()?,
                weight: self.be16()?,
                port: self.be16()?,
                target: self.name()?,
            },
            (16, _) => Data::Txt(words(self.take(length)?)?),
            _ => Data::Other(kind, hex(self.take(length)?)),
        })
    }
}

fn words(mut bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    while let Some((length, rest)) = bytes.split_first() {
        let word = rest.get(..usize::from(*length))?;
        text.push_str(&String::from_utf8_lossy(word));
        bytes = &rest[word.len()..];
    }
    Some(text)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_to(question: &[u8], records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = question.to_vec();
        bytes[2..4].copy_from_slice(&(IS_ANSWER | RECURSION_DESIRED).to_be_bytes());
        bytes[6..8].copy_from_slice(&u16::try_from(records.len()).expect("few").to_be_bytes());
        bytes.extend(records.concat());
        bytes
    }

    /// Of the name in the question: type, class, ttl 30, length, data.
    fn record(kind: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xc0, 12];
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 30]);
        bytes.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn a_question_is_as_the_rfc_has_it() {
        let bytes = question(7, "a.bc.", RecordKind::Srv).expect("a name");
        let expected = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x21\0\x01";
        assert_eq!(bytes, expected);
        assert!(question(7, "a..b", RecordKind::A).is_none());
        assert!(question(7, &"x".repeat(64), RecordKind::A).is_none());
        assert!(question(7, &"abc.".repeat(80), RecordKind::A).is_none());
    }

    #[test]
    fn records_are_read_with_names_that_point_back() {
        let question = question(7, "web.x", RecordKind::A).expect("a name");
        let srv = record(33, b"\0\0\0\x64\0\x50\xc0\x0c");
        let all = [
            record(1, &[10, 96, 0, 7]),
            srv,
            record(5, b"\x01y\xc0\x10"),
            record(16, b"\x02ab\x01c"),
            record(99, &[0xab, 1]),
        ];
        let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        let answer = parse(&answer_to(&question, &all)).expect("an answer");
        let text: Vec<_> = answer.records.iter().map(|r| r.data.to_string()).collect();
        assert_eq!(
            text,
            [
                "A 10.96.0.7",
                "SRV 0 100 80 web.x.",
                "CNAME y.x.",
                "TXT \"abc\"",
                "TYPE99 ab01"
            ]
        );
        assert!(
            answer
                .records
                .iter()
                .all(|r| r.name == "web.x." && r.ttl == 30)
        );
        assert_eq!((answer.id, answer.code, answer.is_cut), (7, 0, false));
    }

    #[test]
    fn circles_and_cuts_are_refused() {
        let question = question(7, "web.x", RecordKind::A).expect("a name");
        let here = u8::try_from(question.len() + 12).expect("short");
        let circle = answer_to(&question, &[&record(5, &[0xc0, here])]);
        assert_eq!(parse(&circle), None);
        let good = answer_to(&question, &[&record(1, &[1, 2, 3, 4])]);
        for cut in 0..good.len() {
            assert_eq!(parse(&good[..cut]), None, "{cut}");
        }
        assert_eq!(parse(&question), None, "it is a question");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_strange(mut bytes in proptest::collection::vec(0u8.., 0..200)) {
            if bytes.len() > 3 {
                bytes[2] |= 0x80;
            }
            let _ = parse(&bytes);
        }
    }
}
