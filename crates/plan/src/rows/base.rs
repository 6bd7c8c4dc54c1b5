//! What the node needs for itself, whoever else there is: forwarding, an answer for addresses of
//! its own pod CIDRs that no Pod has, its bridge and its VXLAN device. What depends on how many
//! others there are of a kind is in `totals`.

use seaway_model::{
    AddressRow, BridgeLink, ClusterNetRow, Device, Family, LinkKind, LinkRow, Reachability,
    RouteRow, SysctlRow, SysctlScope, VxlanLink, bridge_mac, bridge_name, dns_address, vxlan_name,
};

use super::{link_guard, sysctl, via};
use crate::context::Context;
use crate::table::Tables;

/// The rows of the node itself.
pub(crate) fn base_rows(ctx: &Context) -> Tables {
    let mut rows = Tables::default();
    for family in ctx.families() {
        forward(ctx, family, &mut rows);
    }
    match ctx.is_bridged() {
        true => bridge(ctx, &mut rows),
        false => {
            for net in ctx.pod_cidrs() {
                let route = RouteRow::to(*net, Reachability::Unreachable);
                rows.routes.insert(route);
            }
        }
    }
    uplink(ctx, &mut rows);
    vxlan(ctx, &mut rows);
    cluster_nets(ctx, &mut rows);
    services(ctx, &mut rows);
    rows
}

/// Lets packets of a family through from device to device.
pub(super) fn forward(ctx: &Context, family: Family, rows: &mut Tables) {
    rows.sysctls.insert(forwarding(family));
    let learns = ctx.uplink.as_ref().is_some_and(|u| u.learns_routes);
    if learns && family == Family::V6 {
        // A node that forwards takes no router advertisements unless told so.
        let device = SysctlScope::Device(Device::Uplink);
        rows.sysctls
            .insert(sysctl(family, device, "accept_ra", "2"));
    }
}

fn forwarding(family: Family) -> SysctlRow {
    match family {
        Family::V4 => sysctl(family, SysctlScope::Family, "ip_forward", "1"),
        Family::V6 => sysctl(family, SysctlScope::All, "forwarding", "1"),
    }
}

/// The bridge is there as long as the wiring is, for its ports need it.
fn bridge(ctx: &Context, rows: &mut Tables) {
    rows.links.insert(LinkRow {
        device: Device::Bridge,
        mac: Some(bridge_mac(&ctx.name)),
        mtu: Some(ctx.pod_mtu()),
        up: true,
        kind: LinkKind::Bridge(BridgeLink {
            name: bridge_name(),
        }),
    });
    for family in ctx.families() {
        rows.sysctls.insert(link_guard(family, Device::Bridge, "1"));
    }
    for (net, gateway) in ctx.gateways() {
        let family = Family::of_net(&net);
        rows.addresses.insert(AddressRow {
            device: Device::Bridge,
            net: super::pod_side::within(&net, gateway),
        });
        rows.routes
            .insert(via(net, Device::Bridge, None, ctx.source(family)));
    }
}

/// Settings of the uplink, which is not ours: as few as can be, given back when no longer needed.
fn uplink(ctx: &Context, rows: &mut Tables) {
    let Some(uplink) = &ctx.uplink else { return };
    let device = SysctlScope::Device(Device::Uplink);
    if uplink.strict && ctx.overlay().is_some() && ctx.has_pods_of(Family::V4) {
        // A node that is answered in VXLAN may send direct.
        rows.sysctls
            .insert(link_guard(Family::V4, Device::Uplink, "2"));
    }
    if !ctx.is_proxy() {
        return;
    }
    for family in ctx.families() {
        if family == Family::V6 {
            rows.sysctls
                .insert(sysctl(family, device.clone(), "proxy_ndp", "1"));
        }
        // By default the first packet waits up to 0.8 s for the proxy's answer.
        let neighbours = SysctlScope::Neighbours(Device::Uplink);
        rows.sysctls
            .insert(sysctl(family, neighbours, "proxy_delay", "0"));
    }
}

fn vxlan(ctx: &Context, rows: &mut Tables) {
    let Some(overlay) = ctx.overlay() else { return };
    rows.links.insert(LinkRow {
        device: Device::Vxlan,
        mac: Some(ctx.own_vtep_mac()),
        mtu: Some(overlay.mtu),
        up: true,
        kind: LinkKind::Vxlan(VxlanLink {
            name: vxlan_name(),
            vni: overlay.vni,
            port: overlay.port,
            local: overlay.local,
        }),
    });
    for family in ctx.families() {
        // Loose, even where it is strict for all devices: a node that sends direct may be
        // answered in VXLAN. What a VTEP may speak for is the filter's to say.
        rows.sysctls.insert(link_guard(family, Device::Vxlan, "2"));
    }
    // On a device without an IPv4 address, Linux takes loose for strict. The network's own
    // address is nobody's.
    let mut nets = ctx.pod_cidrs().iter();
    if let Some(net) = nets.find(|net| Family::of_net(net) == Family::V4) {
        rows.addresses.insert(AddressRow {
            device: Device::Vxlan,
            net: Family::host_net(net.network()),
        });
    }
}

/// What the node needs to reach cluster addresses by itself, and to be asked for names: a process
/// must find a route before its packet can be translated. It is by the uplink, for the kernel sends
/// no ICMP error about what is routed to the loopback device, and segments are to have its size.
fn services(ctx: &Context, rows: &mut Tables) {
    let Some(settings) = ctx.services() else {
        return;
    };
    for net in ctx.service_cidrs() {
        if let Some(source) = ctx.source(Family::of_net(&net)) {
            rows.routes
                .insert(via(net, Device::Uplink, None, Some(source)));
        }
    }
    let speaks = |family: &Family| ctx.has_pods_of(*family) || ctx.source(*family).is_some();
    for family in Family::ALL.into_iter().filter(speaks) {
        if settings.dns {
            rows.addresses.insert(AddressRow {
                device: Device::Loopback,
                net: Family::host_net(dns_address(family)),
            });
        }
    }
}

/// The part of the cluster that is known without other nodes.
fn cluster_nets(ctx: &Context, rows: &mut Tables) {
    if !ctx.filters {
        return;
    }
    let addresses = ctx.own_addresses().map(Family::host_net);
    let listed = ctx.settings.keep_source_to.iter().map(ipnet::IpNet::trunc);
    let nets = ctx.pod_cidrs().iter().copied();
    for net in nets.chain(addresses).chain(listed) {
        rows.cluster_nets.insert(ClusterNetRow { net });
    }
}
