//! As much of SCTP's packets (RFC 9260) as asking and answering "who is there" takes: INIT, INIT ACK
//! and ABORT. What the answerer has to say travels in the state cookie, which is its own to fill.
//! Bytes in and out; no sockets.

/// Common header: ports, verification tag, checksum.
const HEADER: usize = 12;
const CHECKSUM: std::ops::Range<usize> = 8..12;
/// INIT and INIT ACK up to their parameters: chunk header, tag, window, streams, first number.
const INIT_CHUNK: usize = 20;
const CHUNK_HEADER: usize = 4;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const STATE_COOKIE: u16 = 7;

const WINDOW: u32 = 64 * 1024;
const STREAMS: u16 = 1;

/// What a packet is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Somebody wants an association.
    Init,
    /// Somebody is willing, and what its cookie says.
    InitAck(Vec<u8>),
    /// Somebody is not.
    Abort,
    /// Anything else.
    Other,
}

/// A packet that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) from: u16,
    pub(super) to: u16,
    /// The tag that its receiver has chosen; 0 in an INIT.
    pub(super) verification: u32,
    /// The tag that its sender has chosen, in INIT and INIT ACK.
    pub(super) tag: u32,
    pub(super) chunk: Chunk,
}

/// Who sends to whom, and the tags.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) from: u16,
    pub(super) to: u16,
    pub(super) verification: u32,
    pub(super) tag: u32,
}

/// An INIT.
pub(super) fn init(way: Way) -> Vec<u8> {
    build(way, INIT, &[])
}

/// An INIT ACK with a cookie.
pub(super) fn init_ack(way: Way, cookie: &[u8]) -> Vec<u8> {
    let mut parameter = Vec::with_capacity(CHUNK_HEADER + cookie.len());
    parameter.extend(STATE_COOKIE.to_be_bytes());
    parameter.extend(length(CHUNK_HEADER + cookie.len()).to_be_bytes());
    parameter.extend(cookie);
    build(way, INIT_ACK, &parameter)
}

fn build(way: Way, kind: u8, parameters: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + INIT_CHUNK + parameters.len() + 3);
    bytes.extend(way.from.to_be_bytes());
    bytes.extend(way.to.to_be_bytes());
    bytes.extend(way.verification.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend([kind, 0]);
    bytes.extend(length(INIT_CHUNK + parameters.len()).to_be_bytes());
    bytes.extend(way.tag.to_be_bytes());
    bytes.extend(WINDOW.to_be_bytes());
    bytes.extend(STREAMS.to_be_bytes());
    bytes.extend(STREAMS.to_be_bytes());
    bytes.extend(way.tag.to_be_bytes());
    bytes.extend(parameters);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let sum = checksum(&bytes);
    bytes[CHECKSUM].copy_from_slice(&sum);
    bytes
}

fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

/// Reads a packet; the error says what is wrong with it.
pub(super) fn parse(bytes: &[u8]) -> Result<Packet, &'static str> {
    if bytes.len() < HEADER + CHUNK_HEADER {
        return Err("it is cut off");
    }
    let mut blank = bytes.to_vec();
    blank[CHECKSUM].fill(0);
    if bytes[CHECKSUM] != checksum(&blank) {
        return Err("its checksum is wrong");
    }
    let chunk = &bytes[HEADER..];
    let whole = usize::from(be16(chunk, 2));
    let chunk = chunk.get(..whole).ok_or("its first chunk is cut off")?;
    let has_tag = matches!(chunk[0], INIT | INIT_ACK);
    if has_tag && chunk.len() < INIT_CHUNK {
        return Err("its first chunk is too short");
    }
    Ok(Packet {
        from: be16(bytes, 0),
        to: be16(bytes, 2),
        verification: be32(bytes, 4),
        tag: if has_tag { be32(chunk, 4) } else { 0 },
        chunk: match chunk[0] {
            INIT => Chunk::Init,
            INIT_ACK => Chunk::InitAck(cookie(&chunk[INIT_CHUNK..]).ok_or("it has no cookie")?),
            ABORT => Chunk::Abort,
            _ => Chunk::Other,
        },
    })
}

/// The cookie among the parameters of an INIT ACK.
fn cookie(mut parameters: &[u8]) -> Option<Vec<u8>> {
    while parameters.len() >= CHUNK_HEADER {
        let length = usize::from(be16(parameters, 2)).max(CHUNK_HEADER);
        let parameter = parameters.get(..length)?;
        if be16(parameter, 0) == STATE_COOKIE {
            return Some(parameter[CHUNK_HEADER..].to_vec());
        }
        parameters = parameters.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// CRC32c, as it stands in the header.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    const REFLECTED: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (REFLECTED & (crc & 1).wrapping_neg());
        }
    }
    (!crc).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Way = Way {
        from: 4000,
        to: 7777,
        verification: 0,
        tag: 0x0102_0304,
    };

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(checksum(b"123456789"), 0xe306_9283_u32.to_le_bytes());
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa_u32.to_le_bytes());
    }

    #[test]
    fn what_is_built_is_understood() {
        let packet = parse(&init(WAY)).expect("an INIT");
        assert_eq!((packet.from, packet.to), (4000, 7777));
        assert_eq!(
            (packet.tag, packet.verification, packet.chunk),
            (WAY.tag, 0, Chunk::Init)
        );
        for cookie in [&b"one"[..], b"four", b"fiver"] {
            let bytes = init_ack(WAY, cookie);
            assert_eq!(bytes.len() % 4, 0);
            let packet = parse(&bytes).expect("an INIT ACK");
            assert_eq!(packet.chunk, Chunk::InitAck(cookie.to_vec()));
        }
    }

    #[test]
    fn what_is_broken_is_refused() {
        let good = init_ack(WAY, b"cookie");
        for cut in 0..good.len() {
            assert!(parse(&good[..cut]).is_err(), "{cut}");
        }
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            assert!(parse(&bytes).is_err(), "{at}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_strange(mut bytes in proptest::collection::vec(0u8.., 0..80)) {
            if bytes.len() >= HEADER {
                bytes[CHECKSUM].fill(0);
                let sum = checksum(&bytes);
                bytes[CHECKSUM].copy_from_slice(&sum);
            }
            let _ = parse(&bytes);
        }
    }
}
