//! What the node needs for another one: the ways to its Pods, and what it may say.

use ipnet::IpNet;
use seaway_model::{ClusterNetRow, Device, Family, Node, Reachability, RouteRow};

use super::overlay::overlay_rows;
use super::via;
use crate::context::{Context, Method, vxlan_overhead};
use crate::table::Tables;

/// Another node, as far as rows follow from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerView<'a> {
    /// Its object.
    pub(crate) node: &'a Node,
    /// The largest packet in bytes that gets to it, if that is less than the uplink takes.
    pub(crate) path_mtu: Option<u32>,
}

/// The rows of another node.
///
/// Its pod CIDRs and addresses that would take over what is ours have none; see [`crate::check`].
pub(crate) fn peer_rows(ctx: &Context, peer: PeerView<'_>) -> Tables {
    let mut rows = Tables::default();
    let node = peer.node;
    if ctx.filters {
        let addresses = ctx.addresses_of(node).map(Family::host_net);
        for net in ctx.nets_of(node).chain(addresses) {
            rows.cluster_nets.insert(ClusterNetRow { net });
        }
    }
    for net in ctx.nets_of(node) {
        rows.routes.extend_with(underlay_route(ctx, peer, net));
    }
    overlay_rows(ctx, peer, &mut rows);
    rows
}

/// The route to a pod CIDR outside VXLAN, if that is the way.
fn underlay_route(ctx: &Context, peer: PeerView<'_>, net: IpNet) -> Option<RouteRow> {
    let family = Family::of_net(&net);
    let gateway = match ctx.way(peer.node, family).ok()? {
        Method::Direct => Some(peer.node.address(family)?),
        Method::L2 => None,
        Method::Vxlan => return None,
    };
    let route = via(net, Device::Uplink, gateway, ctx.source(family));
    Some(with_mtu(route, path_mtu(ctx, peer, None)))
}

/// The largest packet that a path takes, when the device takes a larger one. Outside VXLAN that is
/// also what the Pods at its end take: what a node puts together again from a Pod's fragments must
/// not travel in pieces too large for them.
pub(super) fn path_mtu(ctx: &Context, peer: PeerView<'_>, underlay: Option<Family>) -> Option<u32> {
    let uplink = ctx.uplink.as_ref()?.mtu;
    let path = peer.path_mtu.unwrap_or(uplink);
    let limit = match underlay {
        Some(_) => path,
        None => path.min(ctx.pod_mtu()),
    };
    (limit < uplink).then(|| limit.saturating_sub(underlay.map_or(0, vxlan_overhead)))
}

/// The same route for packets of at most `limit` bytes.
pub(super) fn with_mtu(mut route: RouteRow, limit: Option<u32>) -> RouteRow {
    if let Reachability::Via { mtu, .. } = &mut route.reach {
        *mtu = limit;
    }
    route
}
