//! The first two messages of SCTP (RFC 9260): INIT and the INIT ACK that answers it, which are all
//! that address translation needs to be tried. Nothing here sets up an association.

use std::net::SocketAddr;

use super::ip::{Packet, protocol};

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
/// The parameter that an INIT ACK must have; here it carries what the server says.
const STATE_COOKIE: u16 = 7;
/// Common header, chunk header, and the fixed part of INIT and INIT ACK.
const FIXED: usize = 12 + 4 + 16;

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SctpChunk {
    /// Somebody wants an association, and is to be answered with this tag.
    Init {
        /// The tag.
        tag: u32,
    },
    /// Somebody grants one.
    InitAck {
        /// What the cookie holds.
        cookie: Vec<u8>,
    },
    /// Somebody refuses it.
    Abort,
    /// Something else.
    Other(u8),
}

/// A message, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SctpMessage {
    /// The sender's port.
    pub source: u16,
    /// The receiver's port.
    pub destination: u16,
    /// The tag that the receiver asked to be answered with; 0 in an INIT.
    pub verification: u32,
    /// Its first chunk.
    pub chunk: SctpChunk,
}

impl SctpMessage {
    /// The message's bytes, with their checksum. Only INIT and INIT ACK are made.
    ///
    /// # Panics
    ///
    /// For any other chunk, and for a cookie that is too long.
    pub fn bytes(&self) -> Vec<u8> {
        let (kind, tag, cookie): (u8, u32, &[u8]) = match &self.chunk {
            SctpChunk::Init { tag } => (INIT, *tag, &[]),
            // The tag of this side matters to nobody here, but it must not be zero.
            SctpChunk::InitAck { cookie } => (INIT_ACK, 0x5ea1, cookie),
            other => panic!("{other:?} is only read"),
        };
        let mut bytes = Vec::with_capacity(FIXED + 4 + cookie.len());
        bytes.extend(self.source.to_be_bytes());
        bytes.extend(self.destination.to_be_bytes());
        bytes.extend(self.verification.to_be_bytes());
        bytes.extend([0; 4]);
        let parameter = if kind == INIT { 0 } else { 4 + cookie.len() };
        let length = u16::try_from(20 + parameter).expect("a short cookie");
        bytes.extend([kind, 0]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(tag.to_be_bytes());
        // Window, streams out and in, first number.
        bytes.extend(0xffffu32.to_be_bytes());
        bytes.extend([0, 1, 0, 1]);
        bytes.extend(tag.to_be_bytes());
        if kind == INIT_ACK {
            bytes.extend(STATE_COOKIE.to_be_bytes());
            bytes.extend(u16::try_from(parameter).unwrap_or_default().to_be_bytes());
            bytes.extend(cookie);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let check = crc32c(&bytes).to_le_bytes();
        bytes[8..12].copy_from_slice(&check);
        bytes
    }

    /// Reads a message; `None` if it is cut or its checksum is wrong.
    pub fn read(bytes: &[u8]) -> Option<SctpMessage> {
        let word = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let long = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let mut blank = bytes.to_vec();
        blank.get_mut(8..12)?.fill(0);
        if crc32c(&blank).to_le_bytes() != bytes[8..12] {
            return None;
        }
        let chunk = match *bytes.get(12)? {
            INIT => SctpChunk::Init { tag: long(16)? },
            INIT_ACK => SctpChunk::InitAck {
                cookie: match word(FIXED)? {
                    STATE_COOKIE => {
                        let length = usize::from(word(FIXED + 2)?);
                        bytes.get(FIXED + 4..FIXED + length)?.to_vec()
                    }
                    _ => Vec::new(),
                },
            },
            ABORT => SctpChunk::Abort,
            other => SctpChunk::Other(other),
        };
        Some(SctpMessage {
            source: word(0)?,
            destination: word(2)?,
            verification: long(4)?,
            chunk,
        })
    }
}

/// An INIT in an IP packet.
pub fn sctp_init(source: SocketAddr, destination: SocketAddr, tag: u32) -> Packet {
    let message = SctpMessage {
        source: source.port(),
        destination: destination.port(),
        verification: 0,
        chunk: SctpChunk::Init { tag },
    };
    Packet::new(
        source.ip(),
        destination.ip(),
        protocol::SCTP,
        message.bytes(),
    )
}

/// The checksum of SCTP (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), step);
    !bytes.iter().fold(!0, byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // The check value of CRC-32C, and the all-zero example of RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn messages_are_read_as_they_were_made_and_not_when_spoiled() {
        for chunk in [
            SctpChunk::Init { tag: 7 },
            SctpChunk::InitAck {
                cookie: b"a 10.0.0.1:7".to_vec(),
            },
            SctpChunk::InitAck {
                cookie: b"odd".to_vec(),
            },
        ] {
            let message = SctpMessage {
                source: 7,
                destination: 80,
                verification: 9,
                chunk,
            };
            let mut bytes = message.bytes();
            assert_eq!(bytes.len() % 4, 0);
            assert_eq!(SctpMessage::read(&bytes), Some(message));
            bytes[16] ^= 1;
            assert_eq!(SctpMessage::read(&bytes), None);
            assert_eq!(SctpMessage::read(&bytes[..6]), None);
        }
    }
}
