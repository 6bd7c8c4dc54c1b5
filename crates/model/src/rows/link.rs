//! Links.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::{Device, Row};
use crate::{Alias, AttachmentId, IfName, MacAddr};

/// A link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkRow {
    /// Which device.
    pub device: Device,
    /// Its Ethernet address.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// Administratively up.
    pub up: bool,
    /// What must be made when it does not exist.
    pub kind: LinkKind,
}

/// Whether a link is ours to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// Made by somebody else; only its attributes are set.
    Existing,
    /// The host side of a veth pair whose other end is born in the Pod's namespace.
    Pod(PodLink),
    /// The node's bridge.
    Bridge(BridgeLink),
    /// The node's VXLAN device.
    Vxlan(VxlanLink),
    /// What limits the rate at which a Pod sends.
    Shaper(ShaperLink),
}

/// What a Pod's veth pair needs beyond its host side's attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodLink {
    /// The host side's name (K13).
    pub name: IfName,
    /// The host side's alias: the owner.
    pub alias: Alias,
    /// The Pod side's name.
    pub peer_name: IfName,
    /// The Pod side's MAC address; not visible from the host, so `None` when observed.
    pub peer_mac: Option<MacAddr>,
    /// A port of the node's bridge: hairpin, neither learning nor flooding unknown addresses.
    pub bridge_port: bool,
}

/// What the node's bridge needs beyond a link's attributes. It has no multicast snooping, so that
/// neighbour discovery needs no querier, and hands what it forwards to the IP filters, so that
/// the answers to translated packets are translated back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BridgeLink {
    /// Its name.
    pub name: IfName,
}

/// What the node's VXLAN device needs beyond a link's attributes. It neither learns nor floods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VxlanLink {
    /// Its name.
    pub name: IfName,
    /// The network identifier, 24 bits.
    pub vni: u32,
    /// The UDP port that it listens on and sends to.
    pub port: u16,
    /// This node's VTEP: the address that it sends from; its family is the underlay's.
    pub local: IpAddr,
}

/// What a shaper needs beyond a link's attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShaperLink {
    /// Its name.
    pub name: IfName,
}

impl Row for LinkRow {
    type Key = Device;
    const TABLE: &'static str = "links";

    fn attachment(&self) -> Option<&AttachmentId> {
        self.device.attachment()
    }

    fn key(&self) -> Device {
        self.device.clone()
    }

    fn in_force(&self, observed: &LinkRow) -> bool {
        let said =
            |planned: Option<u64>, observed: Option<u64>| planned.is_none() || planned == observed;
        let mac = |m: Option<MacAddr>| m.map(|m| m.0.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
        let kind = match (&self.kind, &observed.kind) {
            (LinkKind::Existing, _) => true,
            (LinkKind::Pod(a), LinkKind::Pod(b)) => {
                a.name == b.name && a.alias == b.alias && a.bridge_port == b.bridge_port
            }
            (a, b) => a == b,
        };
        kind && self.up == observed.up
            && said(mac(self.mac), mac(observed.mac))
            && said(self.mtu.map(u64::from), observed.mtu.map(u64::from))
    }
}

impl fmt::Display for LinkRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.up { "up" } else { "down" })?;
        if let Some(mac) = self.mac {
            write!(f, " mac {mac}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        match &self.kind {
            LinkKind::Existing => Ok(()),
            LinkKind::Pod(pod) => {
                let port = if pod.bridge_port { " bridge port" } else { "" };
                write!(f, "{port} name {} alias {}", pod.name, pod.alias)
            }
            LinkKind::Bridge(bridge) => write!(f, " name {}", bridge.name),
            LinkKind::Vxlan(v) => write!(
                f,
                " name {} vni {} port {} local {}",
                v.name, v.vni, v.port, v.local
            ),
            LinkKind::Shaper(shaper) => write!(f, " name {}", shaper.name),
        }
    }
}
