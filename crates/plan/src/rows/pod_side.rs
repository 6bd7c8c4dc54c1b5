//! The rows of a Pod's own namespace.
//!
//! `routed`: a host prefix, and a link-local gateway whose neighbour entry is permanent. `bridge`:
//! the pod CIDR's prefix, so that Pods of the node find each other by ARP and ND, and the bridge's
//! address in that CIDR as the gateway.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{
    AddressRow, Attachment, Device, Family, LinkKind, LinkRow, MacAddr, NeighbourRow, SysctlScope,
    bridge_mac, gateway, host_mac,
};

use super::{sysctl, via};
use crate::context::Context;
use crate::planner::PodAddress;
use crate::table::Tables;

/// An address of an attachment as the Pod's interface has it, with its gateway.
pub(crate) fn pod_address(ctx: &Context, address: IpAddr) -> PodAddress {
    let family = Family::of(address);
    let host = Family::host_net(address);
    let (net, gateway) = match ctx.is_bridged() {
        false => (host, gateway(family)),
        true => match ctx.gateways().find(|(net, _)| net.contains(&address)) {
            Some((net, first)) => (within(&net, address), first),
            None => (host, bridge_gateway(ctx, family)),
        },
    };
    PodAddress { net, gateway }
}

/// The address with the prefix length of the network that it is in.
pub(super) fn within(net: &IpNet, address: IpAddr) -> IpNet {
    IpNet::new(address, net.prefix_len()).expect("the length is that of a network of its family")
}

/// An address that the bridge has; the well-known one, which needs none, when it has no other.
fn bridge_gateway(ctx: &Context, family: Family) -> IpAddr {
    let mut all = ctx.gateways().map(|(_, first)| first);
    all.find(|first| Family::of(*first) == family)
        .unwrap_or_else(|| gateway(family))
}

/// The rows of the Pod's own namespace.
pub(crate) fn pod_side_rows(ctx: &Context, attachment: &Attachment) -> Tables {
    let mut rows = Tables::default();
    let interface = &attachment.id.interface;
    let device = Device::Named(interface.clone());
    let mtu = Some(ctx.pod_mtu());
    rows.links.insert(plain_link(Device::Loopback, None));
    rows.links.insert(plain_link(device.clone(), mtu));
    let host_side = match ctx.is_bridged() {
        true => bridge_mac(&ctx.name),
        false => host_mac(&attachment.id),
    };
    for address in &attachment.addresses {
        one_address(ctx, *address, &device, host_side, &mut rows);
    }
    rows
}

fn one_address(
    ctx: &Context,
    address: IpAddr,
    device: &Device,
    host_side: MacAddr,
    rows: &mut Tables,
) {
    let family = Family::of(address);
    let PodAddress { net, gateway: hop } = pod_address(ctx, address);
    rows.addresses.insert(AddressRow {
        device: device.clone(),
        net,
    });
    if family == Family::V6 {
        // Some runtimes make namespaces with IPv6 switched off.
        let scope = || SysctlScope::Device(device.clone());
        rows.sysctls
            .insert(sysctl(family, scope(), "disable_ipv6", "0"));
        // Nobody has a router to announce here (CVE-2020-10749), so none is asked for either.
        rows.sysctls
            .insert(sysctl(family, scope(), "accept_ra", "0"));
    }
    if hop == gateway(family) {
        rows.neighbours.insert(NeighbourRow {
            device: device.clone(),
            address: hop,
            mac: host_side,
        });
    }
    let on_link = match net.prefix_len() == family.host_prefix() {
        false => Some(net.trunc()),
        // A link-local address is on the link without being told.
        true => Some(Family::host_net(hop)).filter(|_| !is_link_local_v6(hop)),
    };
    if let Some(on_link) = on_link {
        rows.routes.insert(via(on_link, device.clone(), None, None));
    }
    let default = family.default_net();
    rows.routes
        .insert(via(default, device.clone(), Some(hop), None));
}

fn is_link_local_v6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
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
