//! Formats of texts. Those that are not known say nothing, as upstream.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::Date;
use uuid::Uuid;

use crate::cel::functions::nanoseconds;

/// Whether a text has a format.
pub(super) fn fits(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => text.parse::<Timestamp>().is_ok(),
        "date" => text.parse::<Date>().is_ok(),
        "duration" => nanoseconds(text).is_some(),
        "byte" => STANDARD.decode(text).is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.contains('/') && text.parse::<IpNet>().is_ok(),
        "uuid" => Uuid::parse_str(text).is_ok(),
        "uuid3" => has_version(text, 3),
        "uuid4" => has_version(text, 4),
        "uuid5" => has_version(text, 5),
        "uri" => text.parse::<Uri>().is_ok(),
        "hostname" => is_host(text),
        "mac" => is_mac(text),
        "email" => text.split_once('@').is_some_and(|(local, host)| {
            !local.is_empty() && !local.contains(' ') && is_host(host)
        }),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && digits.bytes().all(|one| one.is_ascii_hexdigit())
        }
        _ => true,
    }
}

fn has_version(text: &str, version: usize) -> bool {
    Uuid::parse_str(text).is_ok_and(|uuid| uuid.get_version_num() == version)
}

fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|one| one.is_ascii_alphanumeric() || one == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 255 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

fn is_mac(text: &str) -> bool {
    [':', '-'].iter().any(|by| {
        let parts: Vec<&str> = text.split(*by).collect();
        matches!(parts.len(), 6 | 8)
            && parts
                .iter()
                .all(|part| part.len() == 2 && part.bytes().all(|one| one.is_ascii_hexdigit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_or_say_nothing() {
        for (format, good, bad) in [
            ("date-time", "2026-11-27T14:00:00Z", "2026-11-27"),
            ("date", "2026-11-27", "27.11.2026"),
            ("duration", "1h10m0.5s", "1x"),
            ("byte", "YQ==", "?"),
            ("ipv4", "10.0.0.1", "::1"),
            ("ipv6", "fd00::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0"),
            ("uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7"),
            ("uri", "https://a.b/c", "a b"),
            ("hostname", "a.b-c", "-a"),
            ("mac", "00:00:5e:00:53:01", "00:00"),
            ("email", "a@b.c", "a"),
        ] {
            assert!(fits(format, good), "{format} {good}");
            assert!(!fits(format, bad), "{format} {bad}");
        }
        assert!(fits("whatever", "x"));
    }
}
