//! Names that come from outside, each validated once at the rim and trusted afterwards. A copy
//! shares the text: rows are many, and each names its owner.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A name that breaks the rules of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind} \"{value}\" is not valid: {rule}")]
pub struct NameError {
    /// What the name is for, for example `container id`.
    pub kind: &'static str,
    /// The text that was refused.
    pub value: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text if it obeys the rules of this kind of name.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let value = text.into();
                match $check(&value) {
                    None => Ok(Self(value.into())),
                    Some(rule) => Err(NameError { kind: $kind, value, rule }),
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether there is another copy that shares the text.
            pub fn is_shared(&self) -> bool {
                Arc::strong_count(&self.0) > 1
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.as_str().to_owned()
            }
        }
    };
}

name_type! {
    /// A container (sandbox) id as the runtime gives it (CNI spec, `CNI_CONTAINERID`).
    /// At most 128 bytes, so that it fits a link's alias beside the addresses.
    ContainerId, "container id", container_id_rule
}
name_type! {
    /// A network's name (CNI spec, `name` of the configuration). At most 63 bytes, so that it fits
    /// a link's alias beside the longest container id and the addresses.
    NetworkName, "network name", network_name_rule
}
name_type! {
    /// A link's name as Linux takes it.
    IfName, "interface name", if_name_rule
}
name_type! {
    /// A node's name: an RFC 1123 subdomain.
    NodeName, "node name", subdomain_rule
}

fn container_id_rule(text: &str) -> Option<&'static str> {
    if text.len() > 128 {
        Some("it must have at most 128 bytes")
    } else {
        cni_rule(text)
    }
}

fn network_name_rule(text: &str) -> Option<&'static str> {
    if text.len() > 63 {
        Some("it must have at most 63 bytes")
    } else {
        cni_rule(text)
    }
}

/// CNI spec 1.1.0: alphanumeric start, then alphanumerics, `_`, `.`, `-`.
fn cni_rule(text: &str) -> Option<&'static str> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let well_formed =
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(inner);
    (!well_formed)
        .then_some("it must start with a letter or digit and go on with letters, digits, _ . or -")
}

/// CNI spec 1.1.0 and `dev_valid_name()` of Linux.
fn if_name_rule(text: &str) -> Option<&'static str> {
    let forbidden = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if text.is_empty() || text.len() > 15 {
        Some("it must have 1 to 15 bytes")
    } else if text == "." || text == ".." {
        Some("it must not be . or ..")
    } else if text.contains(forbidden) {
        Some("it must not contain /, :, white space or control characters")
    } else {
        None
    }
}

/// RFC 1123 subdomain as Kubernetes takes it: at most 253 bytes, labels of at most 63.
pub(crate) fn subdomain_rule(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > 253 {
        Some("it must have 1 to 253 bytes")
    } else if !text.split('.').all(is_label) {
        Some("it must be lower-case letters, digits and -, in parts joined by dots")
    } else {
        None
    }
}

/// RFC 1123 label.
pub(crate) fn is_label(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k1_container_ids_and_network_names() {
        for good in ["a", "0", "cri-1_x.y", &"f".repeat(128)] {
            assert!(ContainerId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a/b", "a b", "a:b", "ä", &"f".repeat(129)] {
            assert!(ContainerId::new(bad).is_err(), "{bad}");
        }
        assert!(NetworkName::new("k8s-pod-network").is_ok());
        assert!(NetworkName::new("n".repeat(64)).is_err());
    }

    #[test]
    fn k1_interface_names() {
        for good in ["eth0", "a", "abcdefghijklmno"] {
            assert!(IfName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "abcdefghijklmnop",
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "a\n",
        ] {
            assert!(IfName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn node_names_are_subdomains() {
        for good in ["node-1", "a.b.c", "1"] {
            assert!(NodeName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Node", "a..b", "-a", "a-", "a_b", &"a".repeat(64)] {
            assert!(NodeName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_name_kind_value_and_rule() {
        let message = IfName::new("a/b")
            .expect_err("a slash is forbidden")
            .to_string();
        assert_eq!(
            message,
            "interface name \"a/b\" is not valid: it must not contain /, :, white space or control characters"
        );
    }
}
