//! How a node's Pod network is to be: what people choose.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Family;

/// How the Pods of a node are joined to it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Wiring {
    /// A host route per Pod; no broadcast domain.
    #[default]
    Routed,
    /// A bridge that holds the gateway's address; Pods of a node find each other by ARP and ND.
    Bridge,
}

/// How packets get from node to node.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Direct to peers on the same link, VXLAN to all others.
    #[default]
    Auto,
    /// A route to each peer's pod CIDRs by its node address; every peer is on the link.
    Direct,
    /// In VXLAN, to all peers.
    Vxlan,
    /// Pods are found across nodes by ARP and ND; every peer is on the link.
    L2,
}

/// The text names no wiring or transport.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{value}\" is no {kind}; it is one of {known}")]
pub struct ChoiceError {
    kind: &'static str,
    value: String,
    known: &'static str,
}

impl Wiring {
    /// Both wirings.
    pub const ALL: [Wiring; 2] = [Wiring::Routed, Wiring::Bridge];
}

impl Transport {
    /// All transports.
    pub const ALL: [Transport; 4] = [
        Transport::Auto,
        Transport::Direct,
        Transport::Vxlan,
        Transport::L2,
    ];
}

impl fmt::Display for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Wiring::Routed => "routed",
            Wiring::Bridge => "bridge",
        })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Transport::Auto => "auto",
            Transport::Direct => "direct",
            Transport::Vxlan => "vxlan",
            Transport::L2 => "l2",
        })
    }
}

impl FromStr for Wiring {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Wiring, ChoiceError> {
        let found = Wiring::ALL.into_iter().find(|w| w.to_string() == text);
        found.ok_or_else(|| ChoiceError {
            kind: "wiring",
            value: text.to_owned(),
            known: "routed, bridge",
        })
    }
}

impl FromStr for Transport {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Transport, ChoiceError> {
        let found = Transport::ALL.into_iter().find(|t| t.to_string() == text);
        found.ok_or_else(|| ChoiceError {
            kind: "transport",
            value: text.to_owned(),
            known: "auto, direct, vxlan, l2",
        })
    }
}

/// The VXLAN network of the cluster; the same on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VxlanSettings {
    /// The network identifier, 24 bits.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// The family of the outer packets; when `None`, IPv4 if the node has an IPv4 address.
    pub underlay: Option<Family>,
}

impl Default for VxlanSettings {
    fn default() -> Self {
        VxlanSettings {
            vni: 0x5ea1,
            port: 4789,
            underlay: None,
        }
    }
}

/// How a node's Pod network is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How Pods are joined to the node.
    pub wiring: Wiring,
    /// How packets get to other nodes.
    pub transport: Transport,
    /// The VXLAN network. A node takes in VXLAN frames whatever its own transport, so that nodes
    /// can change one by one; `None` switches it off.
    pub vxlan: Option<VxlanSettings>,
    /// The MTU of Pod links in bytes, when it is not to follow the uplink's.
    pub mtu: Option<u32>,
    /// Pods that leave the cluster get the node's address.
    pub masquerade: bool,
    /// Destinations outside the cluster towards which Pods keep their own address.
    pub keep_source_to: Vec<IpNet>,
    /// How Services are balanced; not by Seaway when `None`.
    pub services: Option<ServiceSettings>,
}

/// How Services are balanced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSettings {
    /// Where cluster addresses come from. Where it is not known, an address that no Service has is
    /// not told from others.
    pub service_cidrs: Vec<IpNet>,
    /// On which addresses of the node its ports are open (S15).
    pub node_ports: NodePortAddresses,
    /// `spec.externalIPs` is in force (KEP-5707).
    pub external_ips: bool,
    /// Pods do not keep their source towards Services (S9).
    pub masquerade_all: bool,
    /// Hand-written slices may name addresses of nodes.
    pub node_endpoints: bool,
    /// Names are answered on the node.
    pub dns: bool,
}

/// On which addresses of a node its ports are open, beside the loopback address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodePortAddresses {
    /// Those by which other nodes reach it.
    #[default]
    Primary,
    /// All of its addresses that are in these networks.
    Within(Vec<IpNet>),
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            wiring: Wiring::default(),
            transport: Transport::default(),
            vxlan: Some(VxlanSettings::default()),
            mtu: None,
            masquerade: true,
            keep_source_to: Vec::new(),
            services: Some(ServiceSettings::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_they_print_and_refused_with_the_choice() {
        for transport in Transport::ALL {
            assert_eq!(transport.to_string().parse(), Ok(transport));
        }
        for wiring in Wiring::ALL {
            assert_eq!(wiring.to_string().parse(), Ok(wiring));
        }
        let error = "VXLAN".parse::<Transport>().expect_err("upper case");
        assert!(error.to_string().contains("auto, direct, vxlan, l2"));
    }
}
