//! What the node needs for another one in VXLAN: what may come from its VTEP, always, so that both
//! ends may differ in how they send; and the ways to it, where VXLAN is the way.
//!
//! Everything is static: a route's gateway stands for the other node, its neighbour entry names
//! the VTEP's Ethernet address, the forwarding entry the VTEP's address. Nothing is asked or
//! learned on the wire.

use std::net::IpAddr;

use seaway_model::{
    Device, Family, FdbRow, InnerSourceRow, MacAddr, NeighbourRow, RouteTable, VtepRow, vtep_mac,
};

use super::peer::{PeerView, path_mtu, with_mtu};
use super::via;
use crate::context::{Context, Method};
use crate::table::Tables;

/// Adds the VXLAN rows of another node.
pub(super) fn overlay_rows(ctx: &Context, peer: PeerView<'_>, rows: &mut Tables) {
    let Some(overlay) = ctx.overlay() else { return };
    let Some(vtep) = ctx.vtep(peer.node, &overlay) else {
        return;
    };
    rows.vteps.insert(VtepRow { address: vtep });
    let addresses = ctx.addresses_of(peer.node).map(Family::host_net);
    for net in ctx.nets_of(peer.node).chain(addresses) {
        rows.inner_sources.insert(InnerSourceRow { vtep, net });
    }
    let mac = vtep_mac(&peer.node.name);
    let mtu = path_mtu(ctx, peer, Some(overlay.underlay));
    // What nothing shows to be switched on here would be refused, and helps nobody.
    let in_use = |family: &Family| ctx.has_pods_of(*family) || ctx.source(*family).is_some();
    for family in Family::ALL.into_iter().filter(in_use) {
        if ctx.way(peer.node, family) == Ok(Method::Vxlan) {
            ways(ctx, peer, family, mac, mtu, rows);
        }
    }
    if !rows.neighbours.is_empty() {
        rows.fdb.insert(FdbRow {
            device: Device::Vxlan,
            mac,
            vtep: Some(vtep),
        });
    }
}

/// The ways to a node's Pods and, for what Pods send, to the node itself.
fn ways(
    ctx: &Context,
    peer: PeerView<'_>,
    family: Family,
    mac: MacAddr,
    mtu: Option<u32>,
    rows: &mut Tables,
) {
    let of_family = |net: &ipnet::IpNet| Family::of_net(net) == family;
    let nets: Vec<_> = ctx.nets_of(peer.node).filter(of_family).collect();
    let source = ctx.source(family);
    let mut add = |net, gateway: IpAddr, table| {
        rows.neighbours.insert(NeighbourRow {
            device: Device::Vxlan,
            address: gateway,
            mac,
        });
        let mut route = with_mtu(via(net, Device::Vxlan, Some(gateway), source), mtu);
        route.table = table;
        rows.routes.insert(route);
    };
    let gateway = |own: IpAddr| match family {
        Family::V4 => own,
        Family::V6 => mac.link_local().into(),
    };
    for net in &nets {
        add(*net, gateway(net.network()), RouteTable::Main);
    }
    let of_family = |address: &IpAddr| Family::of(*address) == family;
    for address in ctx.addresses_of(peer.node).filter(of_family) {
        let stand_in = nets.first().map_or(address, ipnet::IpNet::network);
        let net = Family::host_net(address);
        add(net, gateway(stand_in), RouteTable::FromPods);
    }
}
