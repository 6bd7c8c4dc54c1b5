//! The syntax of names, labels, ports and addresses, and what is said when it is missed.

use std::net::IpAddr;

use serde_json::Value;

use super::fault::FieldError;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
    start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
    and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
    an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
    and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
    validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  \
    or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// Says what is wrong with a text.
pub(crate) type Rule = fn(&str) -> Vec<String>;

fn too_long(most: usize) -> String {
    format!("must be no more than {most} characters")
}

fn lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Whether a text is of `inner` bytes, with `edge` bytes at its ends.
fn shaped(text: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            edge(*first) && edge(*last) && bytes.iter().all(|byte| inner(*byte))
        }
        _ => false,
    }
}

/// What is wrong with a DNS label.
pub(crate) fn label(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push(too_long(63));
    }
    if !shaped(text, lower, |byte| lower(byte) || byte == b'-') {
        faults.push(LABEL.to_owned());
    }
    faults
}

/// What is wrong with a DNS subdomain.
pub(crate) fn subdomain(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 253 {
        faults.push(too_long(253));
    }
    let well = text
        .split('.')
        .all(|part| shaped(part, lower, |byte| lower(byte) || byte == b'-'));
    if !well {
        faults.push(SUBDOMAIN.to_owned());
    }
    faults
}

/// What is wrong with a name that only has to fit into a path.
pub(crate) fn path_segment(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if [".", ".."].contains(&text) {
        faults.push(format!("may not be '{text}'"));
    }
    let strange = ["/", "%"].into_iter().filter(|part| text.contains(part));
    faults.extend(strange.map(|part| format!("may not contain '{part}'")));
    faults
}

fn qualified_part(text: &str) -> bool {
    shaped(
        text,
        |byte| byte.is_ascii_alphanumeric(),
        |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
    )
}

/// What is wrong with the key of a label or an annotation.
pub(crate) fn qualified(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let name = match text.split_once('/') {
        Some(("", name)) => {
            faults.push("prefix part must be non-empty".to_owned());
            name
        }
        Some((prefix, name)) => {
            faults.extend(
                subdomain(prefix)
                    .into_iter()
                    .map(|fault| format!("prefix part {fault}")),
            );
            name
        }
        None => text,
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        faults.push(format!("name part {}", too_long(63)));
    }
    if !qualified_part(name) {
        faults.push(NAME_PART.to_owned());
    }
    faults
}

/// What is wrong with the value of a label.
pub(crate) fn label_value(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push(too_long(63));
    }
    if !text.is_empty() && !qualified_part(text) {
        faults.push(LABEL_VALUE.to_owned());
    }
    faults
}

/// What is wrong with a key of a ConfigMap or a Secret.
pub(crate) fn config_key(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 253 {
        faults.push(too_long(253));
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !shaped(text, known, known) {
        faults.push(CONFIG_KEY.to_owned());
    } else if text == "." || text.starts_with("..") {
        faults.push(format!("must not be '.' or start with '..': '{text}'"));
    }
    faults
}

/// What is wrong with the name of an environment variable (any printable ASCII but `=`).
pub(crate) fn env_name(text: &str) -> Vec<String> {
    if !text.is_empty()
        && text
            .bytes()
            .all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=')
    {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

/// What is wrong with the name of a port.
pub(crate) fn port_name(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 15 {
        faults.push("must be no more than 15 characters".to_owned());
    }
    if !text.bytes().all(|byte| lower(byte) || byte == b'-') || text.is_empty() {
        faults.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        faults.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        faults.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        faults.push("must not begin or end with a hyphen".to_owned());
    }
    faults
}

/// What is wrong with the number of a port.
pub(crate) fn port_number(number: i64) -> Option<&'static str> {
    (!(1..=65535).contains(&number)).then_some("must be between 1 and 65535, inclusive")
}

/// Refuses what is neither a port's number nor a port's name.
pub(crate) fn check_port(errors: &mut Vec<FieldError>, field: String, port: &Value) {
    if let Some(number) = port.as_i64() {
        check_port_number(errors, field, number);
    } else if let Some(name) = port.as_str() {
        push_all(errors, &field, name, port_name(name));
    } else {
        errors.push(FieldError::required(field, ""));
    }
}

/// Refuses an application protocol of a port that is no qualified name.
pub(crate) fn check_app_protocol(errors: &mut Vec<FieldError>, place: &str, port: &Value) {
    if let Some(protocol) = port.get("appProtocol").and_then(Value::as_str) {
        let field = format!("{place}.appProtocol");
        push_all(errors, &field, protocol, qualified(protocol));
    }
}

/// Refuses a number that is no port.
pub(crate) fn check_port_number(errors: &mut Vec<FieldError>, field: String, number: i64) {
    if let Some(fault) = port_number(number) {
        errors.push(FieldError::invalid(field, &number.into(), fault));
    }
}

/// Refuses a text that has faults, once for each.
pub(crate) fn push_all(
    errors: &mut Vec<FieldError>,
    field: &str,
    value: &str,
    faults: Vec<String>,
) {
    errors.extend(
        faults
            .iter()
            .map(|fault| FieldError::bad_text(field, value, fault)),
    );
}

/// An address in the one form that means the same to everybody: no leading zeros, no zones.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// What is said of an address that means another thing on every host, and so is nobody's to offer.
pub(crate) fn special_address(address: IpAddr) -> Option<&'static str> {
    let (local, local_group) = match address.to_canonical() {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (
            ip.is_unicast_link_local(),
            ip.segments()[0] & 0xff0f == 0xff02,
        ),
    };
    if address.is_unspecified() {
        Some("may not be unspecified (0.0.0.0 or ::)")
    } else if address.to_canonical().is_loopback() {
        Some("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    } else if local {
        Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    } else if local_group {
        Some("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    } else {
        None
    }
}

/// What is said of something that is no address.
pub(crate) const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// What is said of something that is no prefix.
pub(crate) const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_well_formed_or_say_why_not() {
        let long = "a".repeat(64);
        let cases: [(Rule, &[&str], &[&str]); 7] = [
            (
                label,
                &["a", "a-1", "0"],
                &["", "A", "-a", "a-", "a.b", "a_b", "ä", &long],
            ),
            (
                subdomain,
                &["a", "a.b-c.0", &long],
                &["", "a..b", ".a", "a.", "A.b", "a b"],
            ),
            (
                qualified,
                &["a", "A_b.c", "x.y/Z"],
                &["", "/a", "a/", "A.b/c", "a/b/c", "_a", &long],
            ),
            (
                label_value,
                &["", "A", "a_b.c-d"],
                &["-a", "a b", "a/b", &long],
            ),
            (
                config_key,
                &["a", "A_B.c"],
                &["", "a/b", "..", "..a", "a b"],
            ),
            (env_name, &["A", "a.b", "1 2"], &["", "a=b", "ä"]),
            (
                port_name,
                &["http", "a-1"],
                &["", "1", "a--b", "-a", "a-", "HTTP", "abcdefghijklmnop"],
            ),
        ];
        for (rule, good, bad) in cases {
            for name in good {
                assert_eq!(rule(name), Vec::<String>::new(), "{name}");
            }
            for name in bad {
                assert!(!rule(name).is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn ports_are_numbers_in_range_or_names() {
        let faults = |port: Value| {
            let mut errors = Vec::new();
            check_port(&mut errors, "p".to_owned(), &port);
            errors.len()
        };
        assert_eq!(
            (
                faults(1.into()),
                faults(65535.into()),
                faults("http".into())
            ),
            (0, 0, 0)
        );
        assert_eq!(
            (faults(0.into()), faults(65536.into()), faults(Value::Null)),
            (1, 1, 1)
        );
    }
}
