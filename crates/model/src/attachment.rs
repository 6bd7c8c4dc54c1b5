//! Attachments: one network interface of one sandbox, and how its owner is written into the kernel.
//!
//! The host side of a Pod's link is the store of an attachment (design §1, "the kernel is the
//! store"). Its alias carries the owner in one line of at most 255 bytes:
//!
//! ```text
//! seaway1:<container id>:<interface>:<network>:<address>[,<address>]
//! ```
//!
//! Only the addresses may contain colons, and they come last. Name and MAC addresses follow from
//! the identity by a hash that is frozen, so that a new version finds what an old one made.
//!
//! The number is that of the form. A version of Seaway writes one form and reads the one before and the
//! one that comes next, so that either of two neighbouring versions takes over what the other made, and
//! writes it anew. The next form has the parts in another order, `seaway2:<network>:<interface>:<container
//! id>:<addresses>`; only builds for tests of upgrades (`next-format`) write it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hash::stable_hash;
use crate::names::{ContainerId, IfName, NameError, NetworkName};
use crate::{Extras, Family, MacAddr, NodeName};

/// What the name of every host-side Pod link starts with.
pub const HOST_LINK_PREFIX: &str = "sea";

/// What the name of every shaper starts with.
const SHAPER_PREFIX: &str = "shp";

/// What Linux takes at most as a link's alias, in bytes (`IFALIASZ` less the final NUL).
pub const MAX_ALIAS_BYTES: usize = 255;

/// The forms that are read.
const ALIAS_FORMS: [&str; 2] = ["seaway1", "seaway2"];

/// What every form begins with, before its number.
const ALIAS_PREFIX: &str = "seaway";

/// Which of the forms is written.
const WRITTEN_FORM: usize = if cfg!(feature = "next-format") { 1 } else { 0 };

/// Identity of an attachment: (container, interface in the Pod), as CNI keys it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttachmentId {
    /// The sandbox.
    pub container: ContainerId,
    /// The interface's name inside the Pod.
    pub interface: IfName,
}

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container, self.interface)
    }
}

/// An interface of a sandbox with its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Whose it is.
    pub id: AttachmentId,
    /// The CNI network that it belongs to.
    pub network: NetworkName,
    /// Its addresses, in the order in which the node is configured.
    pub addresses: Vec<IpAddr>,
    /// What else was asked for. The alias has no room for it: it is nothing there.
    #[serde(default)]
    pub extras: Extras,
}

impl Attachment {
    /// Whether both are the same attachment, whatever else was asked for it.
    pub fn is_same(&self, other: &Attachment) -> bool {
        self.id == other.id && self.network == other.network && self.addresses == other.addresses
    }

    /// The address of `family`, if it has one.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses
            .iter()
            .copied()
            .find(|a| Family::of(*a) == family)
    }
}

/// The text of a link's alias: the whole of an [`Attachment`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Alias(String);

/// Why an alias cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AliasError {
    /// Too long for the kernel.
    #[error("the alias of attachment {id} would have {len} bytes, Linux takes {MAX_ALIAS_BYTES}")]
    TooLong {
        /// Whose alias.
        id: AttachmentId,
        /// The length in bytes.
        len: usize,
    },
    /// Not written by us, or by a version that we do not know.
    #[error("alias \"{0}\" is not of the form seaway1:container:interface:network:addresses")]
    Form(String),
    /// Written by a version of Seaway that is later than the next.
    #[error(
        "alias \"{0}\" is of a later version of Seaway: run that one, or one before it that reads both"
    )]
    Later(String),
    /// A part of it breaks the rules of its kind.
    #[error("alias \"{alias}\" is damaged: {source}")]
    Name {
        /// The whole alias.
        alias: String,
        /// The part's error.
        source: NameError,
    },
    /// An address cannot be read.
    #[error("alias \"{alias}\" is damaged: \"{address}\" is not an IP address")]
    Address {
        /// The whole alias.
        alias: String,
        /// The text that is no address.
        address: String,
    },
}

impl Alias {
    /// Writes an attachment as an alias.
    pub fn of(attachment: &Attachment) -> Result<Alias, AliasError> {
        let addresses: Vec<String> = attachment
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        let AttachmentId {
            container,
            interface,
        } = &attachment.id;
        let (network, addresses) = (&attachment.network, addresses.join(","));
        let form = ALIAS_FORMS[WRITTEN_FORM];
        let text = match WRITTEN_FORM {
            0 => format!("{form}:{container}:{interface}:{network}:{addresses}"),
            _ => format!("{form}:{network}:{interface}:{container}:{addresses}"),
        };
        match text.len() {
            len if len > MAX_ALIAS_BYTES => Err(AliasError::TooLong {
                id: attachment.id.clone(),
                len,
            }),
            _ => Ok(Alias(text)),
        }
    }

    /// Takes the text of a link's alias as it stands in the kernel, whoever wrote it.
    pub fn raw(text: impl Into<String>) -> Alias {
        Alias(text.into())
    }

    /// Reads the attachment that the alias names.
    pub fn parse(&self) -> Result<Attachment, AliasError> {
        self.0.parse()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Attachment {
    type Err = AliasError;

    fn from_str(alias: &str) -> Result<Self, AliasError> {
        let parts: Vec<&str> = alias.splitn(5, ':').collect();
        let [form, first, interface, third, addresses] = parts[..] else {
            return Err(unread(alias));
        };
        let (container, network) = match ALIAS_FORMS.iter().position(|known| *known == form) {
            Some(0) => (first, third),
            Some(_) => (third, first),
            None => return Err(unread(alias)),
        };
        let name = |source| AliasError::Name {
            alias: alias.to_owned(),
            source,
        };
        let address = |text: &str| {
            text.parse::<IpAddr>().map_err(|_| AliasError::Address {
                alias: alias.to_owned(),
                address: text.to_owned(),
            })
        };
        Ok(Attachment {
            id: AttachmentId {
                container: ContainerId::new(container).map_err(name)?,
                interface: IfName::new(interface).map_err(name)?,
            },
            network: NetworkName::new(network).map_err(name)?,
            addresses: addresses
                .split(',')
                .map(address)
                .collect::<Result<_, _>>()?,
            extras: Extras::default(),
        })
    }
}

/// Why an alias is of no form that is read.
fn unread(alias: &str) -> AliasError {
    let number = alias.strip_prefix(ALIAS_PREFIX);
    let number: Option<usize> = number.and_then(|rest| rest.split(':').next()?.parse().ok());
    match number {
        Some(number) if number > ALIAS_FORMS.len() => AliasError::Later(alias.to_owned()),
        _ => AliasError::Form(alias.to_owned()),
    }
}

/// The host-side link's name of an attachment: `sea` and 60 bits of its hash in base 32 (K13).
pub fn host_link_name(id: &AttachmentId) -> IfName {
    hashed_name(HOST_LINK_PREFIX, id, "name")
}

fn hashed_name(prefix: &str, id: &AttachmentId, use_: &str) -> IfName {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let hash = hash_of(id, use_);
    let digits = (0..12).map(|i| char::from(DIGITS[(hash >> (5 * i)) as usize & 31]));
    let name: String = prefix.chars().chain(digits).collect();
    IfName::new(name).expect("three letters and twelve base-32 digits are a link name")
}

/// The MAC address of the host side of an attachment's link.
pub fn host_mac(id: &AttachmentId) -> MacAddr {
    MacAddr::local_from(hash_of(id, "host-mac"))
}

/// The MAC address of the Pod side of an attachment's link.
pub fn pod_mac(id: &AttachmentId) -> MacAddr {
    MacAddr::local_from(hash_of(id, "pod-mac"))
}

/// The name of the shaper of an attachment.
pub fn shaper_name(id: &AttachmentId) -> IfName {
    hashed_name(SHAPER_PREFIX, id, "shaper")
}

/// The Ethernet address of a node's VTEP: every other node knows it from the node's name.
pub fn vtep_mac(node: &NodeName) -> MacAddr {
    MacAddr::local_from(stable_hash(&["vtep-mac", node.as_str()]))
}

/// The Ethernet address of a node's bridge.
pub fn bridge_mac(node: &NodeName) -> MacAddr {
    MacAddr::local_from(stable_hash(&["bridge-mac", node.as_str()]))
}

/// The name of every node's bridge.
pub fn bridge_name() -> IfName {
    IfName::new("seaway-bridge").expect("13 letters")
}

/// The name of every node's VXLAN device.
pub fn vxlan_name() -> IfName {
    IfName::new("seaway-vxlan").expect("12 letters")
}

fn hash_of(id: &AttachmentId, use_: &str) -> u64 {
    stable_hash(&[use_, id.container.as_str(), id.interface.as_str()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attachment(container: &str, addresses: &[&str]) -> Attachment {
        Attachment {
            id: AttachmentId {
                container: ContainerId::new(container).expect("valid"),
                interface: IfName::new("eth0").expect("valid"),
            },
            network: NetworkName::new("pods").expect("valid"),
            addresses: addresses
                .iter()
                .map(|a| a.parse().expect("valid"))
                .collect(),
            extras: Extras::default(),
        }
    }

    #[test]
    fn alias_holds_the_whole_attachment() {
        let a = attachment("c1", &["10.244.1.2", "fd00:10:244:1::2"]);
        let alias = Alias::of(&a).expect("short");
        let forms = [
            "seaway1:c1:eth0:pods:10.244.1.2,fd00:10:244:1::2",
            "seaway2:pods:eth0:c1:10.244.1.2,fd00:10:244:1::2",
        ];
        assert_eq!(alias.as_str(), forms[WRITTEN_FORM]);
        for form in forms {
            assert_eq!(Alias::raw(form).parse(), Ok(a.clone()), "either is read");
        }
        assert_eq!(alias.parse(), Ok(a));
    }

    #[test]
    fn longest_names_fit_or_are_refused_with_the_length() {
        let longest_v6 = "fd00:1111:2222:3333:4444:5555:6666:7777";
        let mut a = attachment(&"c".repeat(64), &["255.255.255.255", longest_v6]);
        a.network = NetworkName::new("n".repeat(63)).expect("valid");
        assert!(Alias::of(&a).is_ok());
        a.id.container = ContainerId::new("c".repeat(128)).expect("valid");
        let error = Alias::of(&a).expect_err("too long").to_string();
        assert!(error.contains("Linux takes 255"), "{error}");
    }

    #[test]
    fn foreign_and_damaged_aliases_are_told_apart() {
        for form in [
            "",
            "uplink to switch 3",
            "seaway1:c:eth0",
            "seaway0:c:eth0:n:10.0.0.1",
        ] {
            assert!(
                matches!(Alias::raw(form).parse(), Err(AliasError::Form(_))),
                "{form}"
            );
        }
        for later in [
            "seaway3:c:eth0:n:10.0.0.1",
            "seaway17:{\"c\": 1}",
            "seaway3",
        ] {
            let read = Alias::raw(later).parse();
            assert_eq!(read, Err(AliasError::Later(later.to_owned())));
        }
        let damaged = Alias::raw("seaway1:c:eth0:n:10.0.0.256").parse();
        assert!(matches!(damaged, Err(AliasError::Address { .. })));
        let damaged = Alias::raw("seaway1:-c:eth0:n:10.0.0.2").parse();
        assert!(matches!(damaged, Err(AliasError::Name { .. })));
    }

    #[test]
    fn k13_names_are_frozen() {
        let id = attachment("c1", &["10.0.0.1"]).id;
        assert_eq!(host_link_name(&id).as_str(), "sea3mxxdt527zxi");
        assert_eq!(host_mac(&id).to_string(), "1a:8b:c5:0b:e2:79");
        assert_eq!(pod_mac(&id).to_string(), "96:a9:b4:42:d9:ca");
    }

    proptest! {
        #[test]
        fn alias_round_trip(c in "[a-z0-9][a-zA-Z0-9_.-]{0,63}", v4: [u8; 4], v6: [u8; 16]) {
            let mut a = attachment(&c, &[]);
            a.addresses = vec![IpAddr::from(v4), IpAddr::from(v6)];
            prop_assert_eq!(Alias::of(&a).expect("fits").parse(), Ok(a));
        }

        #[test]
        fn k13_different_owners_different_names(a in "[a-z0-9]{1,64}", b in "[a-z0-9]{1,64}") {
            let (x, y) = (attachment(&a, &[]).id, attachment(&b, &[]).id);
            prop_assert_eq!(a == b, host_link_name(&x) == host_link_name(&y));
            prop_assert_ne!(host_mac(&x), pod_mac(&x));
        }
    }
}
