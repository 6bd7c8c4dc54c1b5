//! The Internet checksum (RFC 1071), with the pseudo-headers of both families.

use std::net::IpAddr;

/// The sum of the 16-bit words, not folded yet.
fn sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(u16::from_be_bytes([*high, 0])),
        _ => 0,
    };
    bytes.chunks(2).map(word).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or_default()
}

/// The checksum of a header or message that stands alone; 0 if it holds a right one already.
pub fn internet(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// The checksum of what an IP packet carries, with the pseudo-header of its family.
pub fn transport(source: IpAddr, destination: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    let address = |a: IpAddr| match a {
        IpAddr::V4(a) => sum(&a.octets()),
        IpAddr::V6(a) => sum(&a.octets()),
    };
    let length = u32::try_from(bytes.len()).unwrap_or_default();
    let pseudo = address(source) + address(destination) + u32::from(protocol) + length;
    !fold(pseudo + sum(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sums() {
        // The worked example of RFC 1071, section 3.
        assert_eq!(
            internet(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
        assert_eq!(internet(&[0x01]), !0x0100, "an odd length is padded");
    }

    #[test]
    fn a_message_with_its_checksum_sums_to_nothing() {
        let (a, b) = ("10.0.0.1".parse(), "10.0.0.2".parse());
        let (a, b): (IpAddr, IpAddr) = (a.expect("valid"), b.expect("valid"));
        let mut message = [1, 2, 3, 4, 0, 12, 0, 0, b'p', b'i', b'n', b'g'];
        let check = transport(a, b, 17, &message);
        message[6..8].copy_from_slice(&check.to_be_bytes());
        assert_eq!(transport(a, b, 17, &message), 0);
    }
}
