//! Who may say what: the data of the filters, and what they drop.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::{Device, Row};
use crate::{AttachmentId, MacAddr};

/// Another node's VTEP: VXLAN frames from any other address are dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct VtepRow {
    /// Its address on the underlay.
    pub address: IpAddr,
}

impl Row for VtepRow {
    type Key = IpAddr;
    const TABLE: &'static str = "vteps";

    fn key(&self) -> IpAddr {
        self.address
    }
}

impl fmt::Display for VtepRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// Inner source addresses that a VTEP may speak for: its node's pod CIDRs and own addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct InnerSourceRow {
    /// The VTEP.
    pub vtep: IpAddr,
    /// The inner sources.
    pub net: IpNet,
}

impl Row for InnerSourceRow {
    type Key = InnerSourceRow;
    const TABLE: &'static str = "inner-sources";

    fn key(&self) -> InnerSourceRow {
        self.clone()
    }
}

impl fmt::Display for InnerSourceRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.net, self.vtep)
    }
}

/// A destination towards which a Pod keeps its own address: a pod CIDR, a node, or what people
/// listed. Towards everything else the node lends its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ClusterNetRow {
    /// The destination.
    pub net: IpNet,
}

impl Row for ClusterNetRow {
    type Key = IpNet;
    const TABLE: &'static str = "cluster-nets";

    fn key(&self) -> IpNet {
        self.net
    }
}

impl fmt::Display for ClusterNetRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.net.fmt(f)
    }
}

/// An address that may be spoken for at a port of the node's bridge, with the Ethernet address
/// that belongs to it. Everything else that enters there is dropped, ARP and ND included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortGuardRow {
    /// The port.
    pub device: Device,
    /// The Pod's address; also its link-local one.
    pub address: IpAddr,
    /// The Pod's Ethernet address.
    pub mac: MacAddr,
}

/// What identifies an entry of the port guard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PortGuardKey {
    /// The port.
    pub device: Device,
    /// The address.
    pub address: IpAddr,
}

impl fmt::Display for PortGuardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.address, self.device)
    }
}

impl Row for PortGuardRow {
    type Key = PortGuardKey;
    const TABLE: &'static str = "port-guards";

    fn attachment(&self) -> Option<&AttachmentId> {
        self.device.attachment()
    }

    fn key(&self) -> PortGuardKey {
        PortGuardKey {
            device: self.device.clone(),
            address: self.address,
        }
    }
}

impl fmt::Display for PortGuardRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mac {}", self.key(), self.mac)
    }
}

/// Why the filters drop a packet; each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DropReason {
    /// A Pod sent from an address that is not its own.
    PodSource,
    /// A Pod sent from an Ethernet address that is not its own (bridge).
    PodMac,
    /// A Pod sent ARP for an address that is not its own, or at all where there is none.
    PodArp,
    /// A Pod sent neighbour or router discovery, or answers of DHCP, that are not its to send.
    PodDiscovery,
    /// A Pod sent something that is neither IP nor, on a bridge, ARP.
    PodProtocol,
    /// A Pod sent to the node's VXLAN port, or to another's with what would be the node's address.
    PodToVtep,
    /// A VXLAN frame came from an address that is no VTEP of the cluster.
    VtepUnknown,
    /// A VXLAN frame of another network came to our port.
    VtepNetwork,
    /// The inner source of a VXLAN frame does not belong to its VTEP.
    VtepInnerSource,
    /// The inner packet of a VXLAN frame is neither IPv4 nor IPv6.
    VtepInnerProtocol,
    /// Somebody on the wire used the address that only the node's loopback traffic has.
    LoopbackAlias,
    /// Somebody on the wire used the address at which the node's Pods ask for names.
    DnsAddress,
    /// A Service has backends elsewhere, and this traffic may only go to those of this node.
    ServiceNotLocal,
    /// A Service has no backend: the sender was told so.
    ServiceRefused,
    /// The sender is not among those that may use the load balancer's address.
    ServiceSource,
    /// The address could be a Service's, but no Service has it.
    ServiceUnknown,
    /// The packet fits no flow that is known, where an answer would break one.
    Invalid,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [DropReason; 17] = [
        DropReason::PodSource,
        DropReason::PodMac,
        DropReason::PodArp,
        DropReason::PodDiscovery,
        DropReason::PodProtocol,
        DropReason::PodToVtep,
        DropReason::VtepUnknown,
        DropReason::VtepNetwork,
        DropReason::VtepInnerSource,
        DropReason::VtepInnerProtocol,
        DropReason::LoopbackAlias,
        DropReason::DnsAddress,
        DropReason::ServiceNotLocal,
        DropReason::ServiceRefused,
        DropReason::ServiceSource,
        DropReason::ServiceUnknown,
        DropReason::Invalid,
    ];

    /// A short name, as in counters and status.
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::PodSource => "pod-source",
            DropReason::PodMac => "pod-mac",
            DropReason::PodArp => "pod-arp",
            DropReason::PodDiscovery => "pod-discovery",
            DropReason::PodProtocol => "pod-protocol",
            DropReason::PodToVtep => "pod-to-vtep",
            DropReason::VtepUnknown => "vtep-unknown",
            DropReason::VtepNetwork => "vtep-network",
            DropReason::VtepInnerSource => "vtep-inner-source",
            DropReason::VtepInnerProtocol => "vtep-inner-protocol",
            DropReason::LoopbackAlias => "loopback-alias",
            DropReason::DnsAddress => "dns-address",
            DropReason::ServiceNotLocal => "service-not-local",
            DropReason::ServiceRefused => "service-refused",
            DropReason::ServiceSource => "service-source",
            DropReason::ServiceUnknown => "service-unknown",
            DropReason::Invalid => "invalid",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
