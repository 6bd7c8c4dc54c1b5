//! Ethernet addresses.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

/// The text is not six hexadecimal octets joined by colons.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{0}\" is not a MAC address (want six hexadecimal octets such as 0a:58:0a:f4:01:02)")]
pub struct MacParseError(pub String);

impl MacAddr {
    /// A unicast, locally administered address made of the low 46 bits of `seed`.
    pub fn local_from(seed: u64) -> MacAddr {
        let b = seed.to_be_bytes();
        MacAddr([(b[2] & 0b1111_1100) | 0b10, b[3], b[4], b[5], b[6], b[7]])
    }

    /// The IPv6 link-local address that follows from it (RFC 4291, appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, g] = self.0.map(u16::from);
        let (a, b) = ((a ^ 2) << 8 | b, c << 8 | 0xff);
        Ipv6Addr::new(0xfe80, 0, 0, 0, a, b, 0xfe00 | d, e << 8 | g)
    }

    /// From the bytes of a netlink attribute; `None` if these are not six.
    pub fn from_slice(bytes: &[u8]) -> Option<MacAddr> {
        bytes.try_into().ok().map(MacAddr)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = MacParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || MacParseError(text.to_owned());
        let mut octets = [0u8; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(fail)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| fail())?;
        }
        if parts.next().is_some() {
            Err(fail())
        } else {
            Ok(MacAddr(octets))
        }
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_round_trip(octets: [u8; 6]) {
            let mac = MacAddr(octets);
            prop_assert_eq!(mac.to_string().parse::<MacAddr>(), Ok(mac));
        }

        #[test]
        fn local_addresses_are_unicast_and_local(seed: u64) {
            prop_assert_eq!(MacAddr::local_from(seed).0[0] & 0b11, 0b10);
        }
    }

    #[test]
    fn bad_text_is_refused() {
        for bad in [
            "",
            "1:2:3:4:5:6",
            "0a:58:0a:f4:01",
            "0a:58:0a:f4:01:02:03",
            "zz:58:0a:f4:01:02",
        ] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
    }
}
