//! Requests that make, change and delete links.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridge, InfoData, InfoKind, InfoPortData,
    InfoPortKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo as InfoAttribute, LinkMessage,
};
use seaway_model::{IfName, MacAddr};

use super::{CREATE, LinkTarget, Request};
use crate::netlink::link::{BridgeInfo, PortInfo, VxlanInfo};

/// A veth pair to make, the peer in its own namespace at once.
#[derive(Clone, Debug)]
pub struct VethSpec<'a> {
    /// This side's name.
    pub name: &'a str,
    /// This side's index; the kernel chooses when `None`.
    pub index: Option<u32>,
    /// This side's MAC address; random when `None`.
    pub mac: Option<MacAddr>,
    /// This side's MTU in bytes.
    pub mtu: Option<u32>,
    /// The link group to be born in.
    pub group: Option<u32>,
    /// Whether this side is born up (the peer cannot be).
    pub up: bool,
    /// The other side.
    pub peer: VethPeer<'a>,
}

/// The other side of a veth pair.
#[derive(Clone, Debug)]
pub struct VethPeer<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its index; the kernel chooses when `None`. Taken only if this side's index is given too.
    pub index: Option<u32>,
    /// Its MAC address; random when `None`.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// The namespace that it is born in.
    pub netns: BorrowedFd<'a>,
}

/// What to set on a link; `None` leaves a thing as it is.
#[derive(Clone, Debug, Default)]
pub struct LinkSet<'a> {
    /// Up or down.
    pub up: Option<bool>,
    /// MAC address.
    pub mac: Option<MacAddr>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Link group.
    pub group: Option<u32>,
    /// Alias.
    pub alias: Option<&'a str>,
    /// New name; only with [`LinkTarget::Index`].
    pub name: Option<&'a IfName>,
    /// The bridge to belong to; 0 for none.
    pub master: Option<u32>,
    /// How to be a port of the bridge that it belongs to already.
    pub port: Option<PortInfo>,
    /// What to be as a bridge.
    pub bridge: Option<BridgeInfo>,
    /// What to be as a VXLAN device, as far as that can change.
    pub vxlan: Option<VxlanInfo>,
    /// Make no IPv6 link-local address when the link goes up.
    pub no_link_local: bool,
}

/// A link of a kind of its own to make, down.
#[derive(Clone, Debug)]
pub struct LinkSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its index; the kernel chooses when `None`.
    pub index: Option<u32>,
    /// Its MAC address; random when `None`.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// The link group to be born in.
    pub group: Option<u32>,
    /// What it is.
    pub kind: KindSpec,
}

/// What a link of a kind of its own is.
#[derive(Clone, Copy, Debug)]
pub enum KindSpec {
    /// A bridge without ports.
    Bridge(BridgeInfo),
    /// A VXLAN device.
    Vxlan(VxlanInfo),
    /// An intermediate functional block: what is redirected to it passes its queue.
    Ifb,
}

/// A veth without a word about queues is made with one a CPU and then brought down to the one that
/// it uses, which waits for two grace periods of RCU (`veth_init_queues`). Saying so at once does
/// not.
const ONE_QUEUE: [LinkAttribute; 2] =
    [LinkAttribute::NumTxQueues(1), LinkAttribute::NumRxQueues(1)];

impl Request {
    /// Makes a veth pair.
    pub fn veth(spec: VethSpec<'_>) -> Request {
        let VethPeer {
            name,
            index,
            mac,
            mtu,
            netns,
        } = spec.peer;
        let mut peer = link(index.unwrap_or(0));
        peer.attributes.push(LinkAttribute::IfName(name.to_owned()));
        peer.attributes.extend(mac.map(mac_attribute));
        peer.attributes.extend(mtu.map(LinkAttribute::Mtu));
        peer.attributes.extend(ONE_QUEUE);
        peer.attributes
            .push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
        let mut host = link(spec.index.unwrap_or(0));
        if spec.up {
            set_up(&mut host, true);
        }
        host.attributes
            .push(LinkAttribute::IfName(spec.name.to_owned()));
        host.attributes.extend(spec.mac.map(mac_attribute));
        host.attributes.extend(spec.mtu.map(LinkAttribute::Mtu));
        host.attributes.extend(spec.group.map(LinkAttribute::Group));
        host.attributes.extend(ONE_QUEUE);
        host.attributes.push(LinkAttribute::LinkInfo(vec![
            InfoAttribute::Kind(InfoKind::Veth),
            InfoAttribute::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        Request::new("create link", CREATE, RouteNetlinkMessage::NewLink(host))
    }

    /// Makes a bridge, down and without ports.
    pub fn bridge(name: &str) -> Request {
        let mut message = link(0);
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        let kind = vec![InfoAttribute::Kind(InfoKind::Bridge)];
        message.attributes.push(LinkAttribute::LinkInfo(kind));
        Request::new(
            "create bridge",
            CREATE,
            RouteNetlinkMessage::NewLink(message),
        )
    }

    /// Makes a link of a kind of its own, with one queue a side.
    pub fn link(spec: &LinkSpec<'_>) -> Request {
        let mut message = link(spec.index.unwrap_or(0));
        let attributes = &mut message.attributes;
        attributes.push(LinkAttribute::IfName(spec.name.to_owned()));
        attributes.extend(spec.mac.map(mac_attribute));
        attributes.extend(spec.mtu.map(LinkAttribute::Mtu));
        attributes.extend(spec.group.map(LinkAttribute::Group));
        attributes.extend(ONE_QUEUE);
        let (kind, data) = match spec.kind {
            KindSpec::Bridge(bridge) => {
                let mut data = bridge.attributes();
                data.push(InfoBridge::ForwardDelay(0));
                (InfoKind::Bridge, Some(InfoData::Bridge(data)))
            }
            KindSpec::Vxlan(vxlan) => (InfoKind::Vxlan, Some(InfoData::Vxlan(vxlan.attributes()))),
            KindSpec::Ifb => (InfoKind::Ifb, None),
        };
        let mut parts = vec![InfoAttribute::Kind(kind)];
        parts.extend(data.map(InfoAttribute::Data));
        attributes.push(LinkAttribute::LinkInfo(parts));
        Request::new("create link", CREATE, RouteNetlinkMessage::NewLink(message))
    }

    /// The same request to make a link, born into a bridge.
    pub fn in_bridge(mut self, bridge: u32) -> Request {
        if let RouteNetlinkMessage::NewLink(message) = &mut self.message {
            message.attributes.push(LinkAttribute::Controller(bridge));
        }
        self
    }

    /// Changes a link.
    pub fn set_link(target: LinkTarget<'_>, set: LinkSet<'_>) -> Request {
        let mut message = targeted(target);
        if let Some(up) = set.up {
            set_up(&mut message, up);
        }
        let attributes = &mut message.attributes;
        attributes.extend(set.mac.map(mac_attribute));
        attributes.extend(set.mtu.map(LinkAttribute::Mtu));
        attributes.extend(set.group.map(LinkAttribute::Group));
        attributes.extend(
            set.alias
                .map(|alias| LinkAttribute::IfAlias(alias.to_owned())),
        );
        attributes.extend(set.name.map(|name| LinkAttribute::IfName(name.to_string())));
        attributes.extend(set.master.map(LinkAttribute::Controller));
        if set.no_link_local {
            attributes.push(no_link_local());
        }
        let parts = set_parts(&set);
        if parts.is_empty() {
            return Request::new("set link", 0, RouteNetlinkMessage::SetLink(message));
        }
        // Only a request to make a link that is there already changes what its kind says of it.
        attributes.push(LinkAttribute::LinkInfo(parts));
        Request::new("set link", 0, RouteNetlinkMessage::NewLink(message))
    }

    /// Deletes a link.
    pub fn delete_link(target: LinkTarget<'_>) -> Request {
        Request::new(
            "delete link",
            0,
            RouteNetlinkMessage::DelLink(targeted(target)),
        )
    }

    /// Deletes all links of a group at once. Refused by the kernel when the group is empty.
    pub fn delete_group(group: u32) -> Request {
        let mut message = link(0);
        message.attributes.push(LinkAttribute::Group(group));
        Request::new(
            "delete link group",
            0,
            RouteNetlinkMessage::DelLink(message),
        )
    }
}

fn set_parts(set: &LinkSet<'_>) -> Vec<InfoAttribute> {
    let mut parts = Vec::new();
    if let Some(bridge) = set.bridge {
        parts.push(InfoAttribute::Kind(InfoKind::Bridge));
        parts.push(InfoAttribute::Data(InfoData::Bridge(bridge.attributes())));
    }
    if let Some(vxlan) = set.vxlan {
        parts.push(InfoAttribute::Kind(InfoKind::Vxlan));
        parts.push(InfoAttribute::Data(InfoData::Vxlan(vxlan.changes())));
    }
    if let Some(port) = set.port {
        parts.push(InfoAttribute::PortKind(InfoPortKind::Bridge));
        let data = InfoPortData::BridgePort(port.attributes());
        parts.push(InfoAttribute::PortData(data));
    }
    parts
}

fn no_link_local() -> LinkAttribute {
    let mode = vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)];
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(mode)])
}

fn link(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn targeted(target: LinkTarget<'_>) -> LinkMessage {
    match target {
        LinkTarget::Index(index) => link(index),
        LinkTarget::Name(name) => {
            let mut message = link(0);
            message
                .attributes
                .push(LinkAttribute::IfName(name.to_owned()));
            message
        }
    }
}

fn set_up(message: &mut LinkMessage, up: bool) {
    message.header.change_mask |= LinkFlags::Up;
    message.header.flags.set(LinkFlags::Up, up);
}

fn mac_attribute(mac: MacAddr) -> LinkAttribute {
    LinkAttribute::Address(mac.0.to_vec())
}

pub(super) fn write_link(f: &mut fmt::Formatter<'_>, message: &LinkMessage) -> fmt::Result {
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => return f.write_str(name),
            LinkAttribute::Group(group) if message.header.index == 0 => {
                return write!(f, "group {group}");
            }
            _ => {}
        }
    }
    write!(f, "{}", message.header.index)
}
