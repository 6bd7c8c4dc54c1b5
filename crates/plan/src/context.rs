//! What all rows follow from beside their own object: the node itself, its uplink and what people
//! chose. Small, and compared as a whole: when it changes, everything is planned again.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{
    Family, Node, NodeName, ServiceSettings, Settings, Transport, Wiring, vtep_mac,
};
use serde::Serialize;

use crate::ipam::Pool;
use crate::planner::Uplink;

/// The MTU of Pod links while no uplink is known: Ethernet's.
const FALLBACK_MTU: u32 = 1500;

/// How packets get to another node, as decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// By a route via its node address.
    Direct,
    /// Its Pods are on the uplink's own link.
    L2,
    /// In VXLAN.
    Vxlan,
}

/// Why there is no way to another node's Pods of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Nothing is known yet that a way could be made from.
    NotReady,
    /// It has no address of the family.
    NoAddress(Family),
    /// Its address is not on the uplink's link.
    NotOnLink(IpAddr),
    /// VXLAN is the only way and is switched off.
    VxlanOff,
    /// This node has no address of the underlay's family.
    NoOwnVtep(Family),
    /// The other node has none.
    NoVtep(Family),
}

/// The VXLAN network as this node can use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overlay {
    /// The network identifier.
    pub(crate) vni: u32,
    /// The UDP port.
    pub(crate) port: u16,
    /// The family of the outer packets.
    pub(crate) underlay: Family,
    /// This node's VTEP.
    pub(crate) local: IpAddr,
    /// The MTU of the VXLAN device.
    pub(crate) mtu: u32,
}

/// What is known of the node's own object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnNode {
    /// Its addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// Its pod CIDRs, without host bits.
    pub(crate) pod_cidrs: Vec<IpNet>,
}

/// What all rows follow from beside their own object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    /// The node's name.
    pub(crate) name: NodeName,
    /// The node's own object, if the cluster knows it.
    pub(crate) own: Option<OwnNode>,
    /// The way to the other nodes.
    pub(crate) uplink: Option<Uplink>,
    /// What people chose.
    pub(crate) settings: Settings,
    /// There are Pods here, or can be: only then are there filters, and what these guard.
    pub(crate) filters: bool,
}

/// How many bytes VXLAN adds to a packet: the outer IP, UDP and VXLAN headers and the inner
/// Ethernet header.
pub(crate) fn vxlan_overhead(underlay: Family) -> u32 {
    match underlay {
        Family::V4 => 20 + 8 + 8 + 14,
        Family::V6 => 40 + 8 + 8 + 14,
    }
}

impl Context {
    /// Nothing is known but name and settings.
    pub(crate) fn new(name: NodeName, settings: Settings) -> Context {
        Context {
            name,
            own: None,
            uplink: None,
            settings,
            filters: false,
        }
    }

    /// The node's own pod CIDRs.
    pub(crate) fn pod_cidrs(&self) -> &[IpNet] {
        self.own.as_ref().map_or(&[], |own| &own.pod_cidrs)
    }

    /// Whether `address` is in one of the node's own pod CIDRs.
    pub(crate) fn is_ours(&self, address: IpAddr) -> bool {
        self.pod_cidrs().iter().any(|net| net.contains(&address))
    }

    /// How Services are balanced, if they are: only where the node is known.
    pub(crate) fn services(&self) -> Option<&ServiceSettings> {
        let settings = self.settings.services.as_ref();
        settings.filter(|_| self.own.is_some())
    }

    /// The networks that cluster addresses come from, without host bits. One that this node or its
    /// Pods are in is none: it would cut them off.
    pub(crate) fn service_cidrs(&self) -> impl Iterator<Item = IpNet> + '_ {
        let settings = self.services().into_iter();
        let all = settings.flat_map(|settings| settings.service_cidrs.iter().map(IpNet::trunc));
        all.filter(|net| self.service_cidr_conflict(net).is_none())
    }

    /// Why a network cannot be one that cluster addresses come from, if so.
    pub(crate) fn service_cidr_conflict(&self, net: &IpNet) -> Option<String> {
        let overlaps = |own: &&IpNet| own.contains(net) || net.contains(*own);
        if let Some(own) = self.pod_cidrs().iter().find(overlaps) {
            return Some(format!("it overlaps this node's pod CIDR {own}"));
        }
        let own = self.own_addresses().find(|address| net.contains(address))?;
        Some(format!("it contains this node's address {own}"))
    }

    /// The families that Pods of this node have addresses of.
    pub(crate) fn families(&self) -> impl Iterator<Item = Family> {
        Family::ALL
            .into_iter()
            .filter(|family| self.has_pods_of(*family))
    }

    /// Whether Pods of this node have addresses of `family`.
    pub(crate) fn has_pods_of(&self, family: Family) -> bool {
        let nets = self.pod_cidrs();
        nets.iter().any(|net| Family::of_net(net) == family)
    }

    /// The pod CIDRs that addresses are given from, each with its first address: the gateway in
    /// `bridge` wiring.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = (IpNet, IpAddr)> {
        let nets = self.pod_cidrs();
        let serves = |(index, net): (usize, &IpNet)| {
            let overlaps = |other: &IpNet| other.contains(net) || net.contains(other);
            let pool = Pool::new(*net).ok()?;
            (!nets[..index].iter().any(overlaps)).then(|| (*net, pool.gateway()))
        };
        nets.iter().enumerate().filter_map(serves)
    }

    /// The node's addresses, those of the uplink first.
    pub(crate) fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let uplink = self.uplink.iter().flat_map(|uplink| &uplink.addresses);
        let object = self.own.iter().flat_map(|own| &own.addresses);
        uplink.chain(object).copied()
    }

    /// The node's own address of `family` towards other nodes.
    pub(crate) fn source(&self, family: Family) -> Option<IpAddr> {
        self.uplink.as_ref()?.address(family)
    }

    /// Whether Pods are ports of a bridge.
    pub(crate) fn is_bridged(&self) -> bool {
        self.settings.wiring == Wiring::Bridge
    }

    /// Whether the node answers for its Pods on the uplink.
    pub(crate) fn is_proxy(&self) -> bool {
        self.settings.transport == Transport::L2 && self.uplink.is_some()
    }

    /// The family of the outer packets of VXLAN, if that is on and the uplink known.
    pub(crate) fn underlay(&self) -> Option<Family> {
        let vxlan = self.settings.vxlan.as_ref()?;
        let uplink = self.uplink.as_ref()?;
        let has_v4 = uplink.address(Family::V4).is_some();
        let usual = if has_v4 { Family::V4 } else { Family::V6 };
        Some(vxlan.underlay.unwrap_or(usual))
    }

    /// The VXLAN network, if this node takes part in it.
    pub(crate) fn overlay(&self) -> Option<Overlay> {
        let vxlan = self.settings.vxlan.as_ref().filter(|_| self.filters)?;
        let underlay = self.underlay()?;
        Some(Overlay {
            vni: vxlan.vni,
            port: vxlan.port,
            underlay,
            local: self.source(underlay)?,
            mtu: self.room_in_vxlan(underlay),
        })
    }

    fn room_in_vxlan(&self, underlay: Family) -> u32 {
        let mtu = self.uplink.as_ref().map_or(FALLBACK_MTU, |u| u.mtu);
        mtu.saturating_sub(vxlan_overhead(underlay))
    }

    /// The largest MTU of Pod links with which every packet of a Pod gets through, whatever way it
    /// takes to another node.
    pub(crate) fn largest_mtu(&self) -> u32 {
        let mtu = self.uplink.as_ref().map_or(FALLBACK_MTU, |u| u.mtu);
        match self.settings.transport {
            Transport::Direct | Transport::L2 => mtu,
            Transport::Auto | Transport::Vxlan => match self.underlay() {
                Some(underlay) => self.room_in_vxlan(underlay),
                None => mtu,
            },
        }
    }

    /// The MTU of Pod links: what people chose, as far as there is room for it.
    pub(crate) fn pod_mtu(&self) -> u32 {
        let largest = self.largest_mtu();
        self.settings.mtu.map_or(largest, |mtu| mtu.min(largest))
    }

    /// How packets get to Pods of `peer` with addresses of `family`.
    pub(crate) fn way(&self, peer: &Node, family: Family) -> Result<Method, Obstacle> {
        if self.uplink.is_none() {
            return Err(Obstacle::NotReady);
        }
        let direct = || match peer.address(family) {
            None => Err(Obstacle::NoAddress(family)),
            Some(address) if self.is_on_link(address) => Ok(Method::Direct),
            Some(address) => Err(Obstacle::NotOnLink(address)),
        };
        match self.settings.transport {
            Transport::Direct => direct(),
            Transport::Vxlan => self.way_in_vxlan(peer),
            Transport::Auto => direct().or_else(|first| {
                let off = |second| match second {
                    Obstacle::VxlanOff => first,
                    other => other,
                };
                self.way_in_vxlan(peer).map_err(off)
            }),
            Transport::L2 => match peer.transport {
                None | Some(Transport::L2) => self.way_on_link(peer, family),
                Some(_) => direct(),
            },
        }
    }

    /// On the link are all addresses of a node or none: whichever shows it will do.
    fn way_on_link(&self, peer: &Node, family: Family) -> Result<Method, Obstacle> {
        if peer.addresses.iter().any(|a| self.is_on_link(*a)) {
            return Ok(Method::L2);
        }
        let shown = peer.address(family).or(peer.addresses.first().copied());
        Err(shown.map_or(Obstacle::NoAddress(family), Obstacle::NotOnLink))
    }

    fn way_in_vxlan(&self, peer: &Node) -> Result<Method, Obstacle> {
        let Some(underlay) = self.underlay() else {
            return Err(Obstacle::VxlanOff);
        };
        if self.source(underlay).is_none() {
            return Err(Obstacle::NoOwnVtep(underlay));
        }
        let Some(overlay) = self.overlay() else {
            return Err(Obstacle::NotReady);
        };
        match self.vtep(peer, &overlay) {
            Some(_) => Ok(Method::Vxlan),
            None => Err(Obstacle::NoVtep(underlay)),
        }
    }

    /// The address of `peer` on the underlay of VXLAN. One that is this node's own, or may be that of
    /// one of its Pods, is nobody's.
    pub(crate) fn vtep(&self, peer: &Node, overlay: &Overlay) -> Option<IpAddr> {
        let address = peer.address(overlay.underlay)?;
        (!self.is_taken(address)).then_some(address)
    }

    fn is_on_link(&self, address: IpAddr) -> bool {
        let link_local = matches!(address, IpAddr::V6(a) if a.is_unicast_link_local());
        let networks = self.uplink.iter().flat_map(|uplink| &uplink.networks);
        link_local || networks.into_iter().any(|net| net.contains(&address))
    }

    /// Why another node's pod CIDR cannot be routed to it, if so.
    pub(crate) fn conflict(&self, peer: &Node, net: &IpNet) -> Option<String> {
        let overlaps = |own: &&IpNet| own.contains(net) || net.contains(*own);
        if let Some(own) = self.pod_cidrs().iter().find(overlaps) {
            return Some(format!("it overlaps this node's own pod CIDR {own}"));
        }
        if let Some(own) = self.own_addresses().find(|address| net.contains(address)) {
            return Some(format!("it contains this node's address {own}"));
        }
        let address = peer.addresses.iter().find(|a| net.contains(*a))?;
        Some(format!("it contains that node's own address {address}"))
    }

    /// The pod CIDRs of `peer` that can be routed to it, without host bits.
    pub(crate) fn nets_of<'a>(&'a self, peer: &'a Node) -> impl Iterator<Item = IpNet> + 'a {
        let usable = |net: &&IpNet| self.conflict(peer, net).is_none();
        peer.pod_cidrs.iter().filter(usable).map(IpNet::trunc)
    }

    /// The addresses of `peer` that are not ours.
    pub(crate) fn addresses_of<'a>(&'a self, peer: &'a Node) -> impl Iterator<Item = IpAddr> + 'a {
        let addresses = peer.addresses.iter().copied();
        addresses.filter(|address| !self.is_taken(*address))
    }

    /// Whether `address` is this node's, or may be that of one of its Pods.
    fn is_taken(&self, address: IpAddr) -> bool {
        self.is_ours(address) || self.own_addresses().any(|own| own == address)
    }

    /// The Ethernet address of the node's own VTEP.
    pub(crate) fn own_vtep_mac(&self) -> seaway_model::MacAddr {
        vtep_mac(&self.name)
    }
}
