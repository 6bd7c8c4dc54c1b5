//! The second net: what looks like a secret in text that goes into the archive is taken out. Pure.
//!
//! The first net is that such text is not asked for at all; but programs log what they like.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// What is put in its place.
pub(super) const REDACTED: &str = "[REDACTED]";

/// Each with what stays before and after the secret, in groups 1 and 2.
static PATTERNS: LazyLock<[Regex; 6]> = LazyLock::new(|| {
    [
        // PEM of any kind; one that is cut off counts up to its end.
        r"(-----BEGIN [A-Z0-9 ]+-----)(?s:.*?)(-----END [A-Z0-9 ]+-----|\z)",
        // JSON web tokens, as service accounts have.
        r"()eyJ[A-Za-z0-9_=-]{8,}\.[A-Za-z0-9_=-]{8,}(?:\.[A-Za-z0-9_=-]*)?()",
        r"(?i-u:(\b(?:bearer|basic)(?:[ \t]|%20)+))[A-Za-z0-9._~+/=-]{6,}()",
        // Names of fields that hold secrets, in the forms of JSON, YAML, flags and logs.
        r#"(?i-u:((?:api[_-]?key|authorization|client[_-]key[_-]data|passwd|password|secret[_-]?key|(?:access|auth|bearer|id|refresh|session)[_-]?token|token)\\?["']?[ \t]*[:=][ \t]*\\?["']?))[A-Za-z0-9._~+/=!@#$%^&*-]{4,}()"#,
        // Who somebody is, in a URL.
        r"([a-z][a-z0-9+.-]*://)[A-Za-z0-9._~%!$&'()*+,;=-]*:[A-Za-z0-9._~%!$&'()*+,;=-]+(@)",
        // Bootstrap tokens.
        r"(?-u:\b)()[a-z0-9]{6}\.[a-z0-9]{16}()(?-u:\b)",
    ]
    .map(|pattern| Regex::new(pattern).expect("a pattern of ours"))
});

/// The text without what looks like a secret.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for pattern in &*PATTERNS {
        let with = format!("${{1}}{REDACTED}${{2}}");
        if let Cow::Owned(changed) = pattern.replace_all(&text, with) {
            text = Cow::Owned(changed);
        }
    }
    text
}

/// Every text in a value, in place. Keys are names of fields and labels.
pub(super) fn value(value: &mut Value) {
    match value {
        Value::String(found) => {
            if let Cow::Owned(changed) = text(found) {
                *found = changed;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(self::value),
        Value::Object(fields) => fields.values_mut().for_each(self::value),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_taken_out() {
        let pem = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\nabc=\n-----END EC PRIVATE KEY-----";
        for (given, wanted) in [
            (
                format!("a {pem} b"),
                "a -----BEGIN EC PRIVATE KEY-----[REDACTED]-----END EC PRIVATE KEY----- b",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nMHc".to_owned(),
                "-----BEGIN CERTIFICATE-----[REDACTED]",
            ),
            (
                "at eyJhbGciOiJSUzI1.eyJzdWIiOiJ4.c2ln_-x end".to_owned(),
                "at [REDACTED] end",
            ),
            (
                "Authorization: Bearer canary-1".to_owned(),
                "Authorization: [REDACTED] [REDACTED]",
            ),
            ("bearer  abcdef.g".to_owned(), "bearer  [REDACTED]"),
            (
                r#"{"token":"abcd"}"#.to_owned(),
                r#"{"token":"[REDACTED]"}"#,
            ),
            (
                r#"{\"password\": \"abcd\"}"#.to_owned(),
                r#"{\"password\": \"[REDACTED]\"}"#,
            ),
            (
                "--token=abcd PASSWORD=efgh".to_owned(),
                "--token=[REDACTED] PASSWORD=[REDACTED]",
            ),
            ("https://u:p4ss@h:1/".to_owned(), "https://[REDACTED]@h:1/"),
            (
                "kubeadm abcdef.0123456789abcdef".to_owned(),
                "kubeadm [REDACTED]",
            ),
        ] {
            assert_eq!(text(&given), wanted, "{given}");
        }
    }

    #[test]
    fn what_people_need_stays() {
        for line in [
            "pod default/web-1 has 10.244.1.5 and fd00:10:244::5 on node1",
            "https://192.0.2.1:6443: the token is refused (401)",
            "https://[2001:db8::1]:6443/api/v1/nodes?watch=true",
            "the token of the service account cannot be read",
            "secrets is forbidden: User \"x\" cannot list resource",
            "container 0123456789abcdef0123456789abcdef",
        ] {
            assert!(
                matches!(text(line), Cow::Borrowed(_)),
                "{line}: {}",
                text(line)
            );
        }
    }

    #[test]
    fn texts_in_values_are_seen() {
        let mut given = json!({"a": ["token=abcd", 1, {"b": "x"}], "c": null});
        value(&mut given);
        assert_eq!(
            given,
            json!({"a": ["token=[REDACTED]", 1, {"b": "x"}], "c": null})
        );
    }
}
