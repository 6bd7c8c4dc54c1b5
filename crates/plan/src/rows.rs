//! The rows of the `routed` wiring and the `direct` transport, object by object.
//!
//! The Pod has a /32 and a /128 and reaches everything through a link-local gateway whose
//! neighbour entry is permanent; the node has a host route and a permanent neighbour entry per
//! Pod, and a route per pod CIDR of each other node. No ARP, no ND, no proxy, no bridge.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{
    AddressRow, Alias, Attachment, Device, Family, IfName, LinkKind, LinkRow, NeighbourRow, Node,
    PodLink, Reachability, RouteRow, SysctlKey, SysctlRow, SysctlScope, gateway, host_link_name,
    host_mac, pod_mac,
};

use crate::planner::Uplink;
use crate::table::Tables;

/// The MTU of Pod links while no uplink is known: Ethernet's.
const FALLBACK_MTU: u32 = 1500;

/// The MTU of Pod links in bytes.
pub(crate) fn pod_mtu(uplink: Option<&Uplink>) -> u32 {
    uplink.map_or(FALLBACK_MTU, |uplink| uplink.mtu)
}

/// What the node needs for itself: forwarding in the families of its pod CIDRs, and an answer for
/// addresses of its own pod CIDRs that no Pod has, so that these never leave by the default route.
pub(crate) fn base_rows(pod_cidrs: &[IpNet]) -> Tables {
    let mut rows = Tables::default();
    for net in pod_cidrs {
        rows.sysctls.insert(forwarding(Family::of_net(net)));
        rows.routes
            .insert(RouteRow::to(net.trunc(), Reachability::Unreachable));
    }
    rows
}

fn forwarding(family: Family) -> SysctlRow {
    let key = match family {
        Family::V4 => SysctlKey {
            family,
            scope: SysctlScope::Family,
            name: "ip_forward",
        },
        Family::V6 => SysctlKey {
            family,
            scope: SysctlScope::All,
            name: "forwarding",
        },
    };
    SysctlRow {
        key,
        value: "1".to_owned(),
    }
}

/// What the node needs for one of its Pods.
///
/// An attachment whose alias would not fit is refused where it is made; it has no rows here.
pub(crate) fn attachment_rows(attachment: &Attachment, uplink: Option<&Uplink>) -> Tables {
    let mut rows = Tables::default();
    let Ok(alias) = Alias::of(attachment) else {
        return rows;
    };
    let id = &attachment.id;
    let device = Device::PodLink(id.clone());
    rows.links.insert(LinkRow {
        device: device.clone(),
        mac: Some(host_mac(id)),
        mtu: Some(pod_mtu(uplink)),
        up: true,
        kind: LinkKind::Pod(PodLink {
            name: host_link_name(id),
            alias,
            peer_name: id.interface.clone(),
            peer_mac: Some(pod_mac(id)),
        }),
    });
    for address in &attachment.addresses {
        let family = Family::of(*address);
        rows.neighbours.insert(NeighbourRow {
            device: device.clone(),
            address: *address,
            mac: pod_mac(id),
        });
        rows.sysctls.insert(link_guard(family, device.clone()));
        let source = uplink.and_then(|uplink| uplink.address(family));
        rows.routes.insert(via(
            Family::host_net(*address),
            device.clone(),
            None,
            source,
        ));
    }
    rows
}

/// The setting that keeps a Pod from speaking for others on its link: strict reverse-path
/// filtering for IPv4, no router advertisements for IPv6.
fn link_guard(family: Family, device: Device) -> SysctlRow {
    let (name, value) = match family {
        Family::V4 => ("rp_filter", "1"),
        Family::V6 => ("accept_ra", "0"),
    };
    let key = SysctlKey {
        family,
        scope: SysctlScope::Device(device),
        name,
    };
    SysctlRow {
        key,
        value: value.to_owned(),
    }
}

/// What the node needs to reach the Pods of another: a route per pod CIDR by the node's address of
/// the same family. Pod CIDRs that would take over what is ours have no rows; see
/// [`crate::check`].
pub(crate) fn peer_rows(peer: &Node, own_cidrs: &[IpNet], uplink: Option<&Uplink>) -> Tables {
    let mut rows = Tables::default();
    let Some(uplink) = uplink else { return rows };
    for net in &peer.pod_cidrs {
        let family = Family::of_net(net);
        if conflict(net, own_cidrs, &uplink.addresses).is_some() {
            continue;
        }
        if let Some(next_hop) = peer.address(family) {
            let source = uplink.address(family);
            rows.routes
                .insert(via(net.trunc(), Device::Uplink, Some(next_hop), source));
        }
    }
    rows
}

/// Why another node's pod CIDR cannot be routed to it, if so.
pub(crate) fn conflict(
    net: &IpNet,
    own_cidrs: &[IpNet],
    own_addresses: &[IpAddr],
) -> Option<String> {
    let overlaps = |own: &&IpNet| own.contains(net) || net.contains(*own);
    if let Some(own) = own_cidrs.iter().find(overlaps) {
        return Some(format!("it overlaps this node's own pod CIDR {own}"));
    }
    let own = own_addresses
        .iter()
        .find(|address| net.contains(*address))?;
    Some(format!("it contains this node's address {own}"))
}

/// The rows of the Pod's own namespace.
pub fn pod_side_rows(attachment: &Attachment, mtu: u32) -> Tables {
    let mut rows = Tables::default();
    let device = Device::Named(attachment.id.interface.clone());
    rows.links.insert(plain_link(Device::Loopback, None));
    rows.links.insert(plain_link(device.clone(), Some(mtu)));
    for address in &attachment.addresses {
        let family = Family::of(*address);
        let next_hop = gateway(family);
        rows.addresses.insert(AddressRow {
            device: device.clone(),
            net: Family::host_net(*address),
        });
        rows.sysctls
            .extend_with(enabled(family, &attachment.id.interface));
        let mac = host_mac(&attachment.id);
        rows.neighbours.insert(NeighbourRow {
            device: device.clone(),
            address: next_hop,
            mac,
        });
        rows.routes.extend_with(gateway_on_link(family, &device));
        rows.routes.insert(via(
            family.default_net(),
            device.clone(),
            Some(next_hop),
            None,
        ));
    }
    rows
}

/// IPv4 must be told that the gateway is on the link; an IPv6 link-local address always is.
fn gateway_on_link(family: Family, device: &Device) -> Option<RouteRow> {
    let net = Family::host_net(gateway(family));
    (family == Family::V4).then(|| via(net, device.clone(), None, None))
}

/// Some runtimes make namespaces with IPv6 switched off.
fn enabled(family: Family, interface: &IfName) -> Option<SysctlRow> {
    let scope = SysctlScope::Device(Device::Named(interface.clone()));
    (family == Family::V6).then(|| SysctlRow {
        key: SysctlKey {
            family,
            scope,
            name: "disable_ipv6",
        },
        value: "0".to_owned(),
    })
}

fn plain_link(device: Device, mtu: Option<u32>) -> LinkRow {
    LinkRow {
        device,
        mac: None,
        mtu,
        up: true,
        kind: LinkKind::Existing,
    }
}

fn via(
    destination: IpNet,
    device: Device,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
) -> RouteRow {
    RouteRow::to(
        destination,
        Reachability::Via {
            device,
            gateway,
            source,
            mtu: None,
        },
    )
}
