//! Labels made from addresses, and addresses from reverse names. Pure text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The label that an address makes: `10-1-2-3`, `fd00--1`. It neither begins nor ends with `-`.
pub(super) fn label(address: IpAddr) -> String {
    let text = match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() || v6.to_ipv4().is_some() => {
            let segments = v6.segments().map(|segment| format!("{segment:x}"));
            segments.join("-")
        }
        _ => address.to_string().replace(['.', ':'], "-"),
    };
    let start = if text.starts_with('-') { "0" } else { "" };
    let end = if text.ends_with('-') { "0" } else { "" };
    format!("{start}{text}{end}")
}

/// The address that a label is made from.
pub(super) fn address(label: &str) -> Option<IpAddr> {
    let plain = |c: char| c.is_ascii_hexdigit() || c == '-';
    if !label.chars().all(plain) {
        return None;
    }
    let v4 = label.replace('-', ".").parse::<Ipv4Addr>();
    let v6 = || label.replace('-', ":").parse::<Ipv6Addr>();
    v4.map(IpAddr::V4).or_else(|_| v6().map(IpAddr::V6)).ok()
}

/// The address whose reverse name this is: all of it, and nothing before it.
pub(super) fn reverse(labels: &[&str]) -> Option<IpAddr> {
    match labels {
        [d, c, b, a, "in-addr", "arpa"] => {
            let octets = [octet(a)?, octet(b)?, octet(c)?, octet(d)?];
            Some(Ipv4Addr::from(octets).into())
        }
        [nibbles @ .., "ip6", "arpa"] if nibbles.len() == 32 => {
            let bits = nibbles.iter().rev().try_fold(0u128, |bits, nibble| {
                Some(bits << 4 | u128::from(digit(nibble)?))
            });
            Some(Ipv6Addr::from(bits?).into())
        }
        _ => None,
    }
}

fn octet(label: &str) -> Option<u8> {
    let canonical = label == "0" || !label.starts_with(['0', '+']);
    canonical.then(|| label.parse().ok()).flatten()
}

fn digit(label: &str) -> Option<u32> {
    let mut chars = label.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => c.to_digit(16),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_are_those_that_people_know() {
        for (address, expected) in [
            ("10.1.2.3", "10-1-2-3"),
            ("fd00::1", "fd00--1"),
            ("fd00::", "fd00--0"),
            ("::1", "0-0-0-0-0-0-0-1"),
            ("2001:db8:0:1:2:3:4:5", "2001-db8-0-1-2-3-4-5"),
            ("::ffff:192.0.2.1", "0-0-0-0-0-ffff-c000-201"),
        ] {
            assert_eq!(label(address.parse().expect(address)), expected);
        }
    }

    #[test]
    fn what_is_no_address_makes_none() {
        for bad in [
            "",
            "-",
            "10-1-2",
            "10-1-2-256",
            "web-0",
            "10.1.2.3",
            "g--1",
            "1--2--3",
        ] {
            assert_eq!(super::address(bad), None, "{bad}");
        }
    }

    #[test]
    fn reverse_names_are_read_to_the_end() {
        let read = |name: &str| reverse(&name.split('.').collect::<Vec<_>>());
        assert_eq!(
            read("3.2.1.10.in-addr.arpa"),
            Some("10.1.2.3".parse().expect("v4"))
        );
        let v6 = format!("1.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
        assert_eq!(read(&v6), Some("fd00::1".parse().expect("v6")));
        for bad in [
            "2.1.10.in-addr.arpa",
            "x.3.2.1.10.in-addr.arpa",
            "03.2.1.10.in-addr.arpa",
            "+3.2.1.10.in-addr.arpa",
            "256.2.1.10.in-addr.arpa",
            "1.0.ip6.arpa",
            "arpa",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_address_is_read_back(v4: u32, v6: u128, cut in 0u32..128) {
            for address in [IpAddr::from(Ipv4Addr::from(v4)), Ipv6Addr::from(v6).into(), Ipv6Addr::from(v6 >> cut).into()] {
                let label = label(address);
                prop_assert!(!label.starts_with('-') && !label.ends_with('-'));
                prop_assert_eq!(super::address(&label), Some(address));
            }
        }
    }
}
