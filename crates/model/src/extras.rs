//! What a runtime asks for an attachment beyond addresses: CNI's `portMappings` and `bandwidth`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// The text names no protocol.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{0}\" is no protocol; it is one of tcp, udp, sctp")]
pub struct ProtocolError(pub String);

impl Protocol {
    /// All protocols.
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    /// The number in the IP header (IANA).
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The protocol of a number.
    pub fn of_number(number: u8) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|p| p.number() == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Protocol, ProtocolError> {
        let lower = text.to_ascii_lowercase();
        let found = Protocol::ALL.into_iter().find(|p| p.to_string() == lower);
        found.ok_or_else(|| ProtocolError(text.to_owned()))
    }
}

/// A port of the node that is to lead to a port of the Pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortMapping {
    /// The node's port.
    pub host_port: u16,
    /// The Pod's port.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The one address of the node on which it is open; all of both families when `None`.
    pub host_ip: Option<IpAddr>,
}

impl PortMapping {
    /// Whether both would be open at the same address and port of the node.
    pub fn overlaps(&self, other: &PortMapping) -> bool {
        let at_one_address = match (self.host_ip, other.host_ip) {
            (None, _) | (_, None) => true,
            (Some(a), Some(b)) => {
                a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
            }
        };
        at_one_address && self.protocol == other.protocol && self.host_port == other.host_port
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host_port, self.protocol)?;
        match self.host_ip {
            Some(ip) => write!(f, " of {ip}")?,
            None => f.write_str(" of every address")?,
        }
        write!(f, " to {}", self.container_port)
    }
}

/// A limit of a rate, in the units of CNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Bits per second.
    pub rate: u64,
    /// How many bits may pass at once.
    pub burst: u64,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bit/s burst {} bit", self.rate, self.burst)
    }
}

/// What a runtime asks for an attachment beyond addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extras {
    /// Ports of the node that lead to the Pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// The limit of what the Pod receives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Rate>,
    /// The limit of what the Pod sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Rate>,
}
