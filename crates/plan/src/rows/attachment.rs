//! What the node needs for one of its Pods' interfaces.

use seaway_model::{
    Alias, Attachment, ClusterNetRow, Device, Family, FdbRow, LinkKind, LinkRow, LocalPodRow,
    NeighbourRow, PodLink, PortGuardRow, ProxyRow, host_link_name, host_mac, pod_mac,
};

use super::extras::extra_rows;
use super::{link_guard, via};
use crate::context::Context;
use crate::table::Tables;

/// The rows of an attachment.
///
/// One whose alias would not fit is refused where it is made; it has no rows here.
pub(crate) fn attachment_rows(ctx: &Context, attachment: &Attachment) -> Tables {
    let mut rows = Tables::default();
    let Ok(alias) = Alias::of(attachment) else {
        return rows;
    };
    let id = &attachment.id;
    let device = Device::PodLink(id.clone());
    rows.links.insert(LinkRow {
        device: device.clone(),
        mac: Some(host_mac(id)),
        mtu: Some(ctx.pod_mtu()),
        up: true,
        kind: LinkKind::Pod(PodLink {
            name: host_link_name(id),
            alias,
            peer_name: id.interface.clone(),
            peer_mac: Some(pod_mac(id)),
            bridge_port: ctx.is_bridged(),
        }),
    });
    for address in &attachment.addresses {
        let family = Family::of(*address);
        rows.sysctls.insert(link_guard(family, device.clone(), "1"));
        if ctx.is_proxy() {
            rows.proxies.insert(ProxyRow {
                device: Device::Uplink,
                address: *address,
                owner: Some(id.clone()),
            });
        }
        if ctx.services().is_some() {
            rows.local_pods.insert(LocalPodRow {
                address: *address,
                owner: Some(id.clone()),
            });
        }
        // The pod CIDR that it came from is the node's no more; the Pod lives on.
        if ctx.filters && !ctx.is_ours(*address) {
            let net = Family::host_net(*address);
            rows.cluster_nets.insert(ClusterNetRow { net });
        }
    }
    match ctx.is_bridged() {
        true => bridged(ctx, attachment, &device, &mut rows),
        false => routed(ctx, attachment, &device, &mut rows),
    }
    extra_rows(ctx, attachment, &device, &mut rows);
    rows
}

/// A host route and a permanent neighbour entry for each address.
fn routed(ctx: &Context, attachment: &Attachment, device: &Device, rows: &mut Tables) {
    for address in &attachment.addresses {
        let source = ctx.source(Family::of(*address));
        let net = Family::host_net(*address);
        rows.routes.insert(via(net, device.clone(), None, source));
        rows.neighbours.insert(NeighbourRow {
            device: device.clone(),
            address: *address,
            mac: pod_mac(&attachment.id),
        });
    }
}

/// A port of the bridge that only this Pod's addresses may speak at. Nothing is learned: the node
/// knows where each address is, and the bridge where each Ethernet address is.
fn bridged(ctx: &Context, attachment: &Attachment, device: &Device, rows: &mut Tables) {
    let mac = pod_mac(&attachment.id);
    rows.fdb.insert(FdbRow {
        device: device.clone(),
        mac,
        vtep: None,
    });
    if ctx.filters {
        let link_local = mac.link_local().into();
        for address in attachment.addresses.iter().copied().chain([link_local]) {
            rows.port_guards.insert(PortGuardRow {
                device: device.clone(),
                address,
                mac,
            });
        }
    }
    for address in &attachment.addresses {
        rows.neighbours.insert(NeighbourRow {
            device: Device::Bridge,
            address: *address,
            mac,
        });
        // No route of a pod CIDR leads to it.
        if ctx.own.is_some() && ctx.gateways().all(|(net, _)| !net.contains(address)) {
            let source = ctx.source(Family::of(*address));
            let net = Family::host_net(*address);
            rows.routes.insert(via(net, Device::Bridge, None, source));
        }
    }
}
