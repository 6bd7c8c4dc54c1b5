//! What was asked for an attachment beyond addresses: ports of the node, limits of rates.

use std::net::{IpAddr, SocketAddr};

use seaway_model::{
    Attachment, Device, Family, HostPortKey, HostPortRow, LinkKind, LinkRow, Protocol, Rate,
    RedirectRow, ShapeRow, ShaperLink, shaper_name,
};

use crate::context::Context;
use crate::table::Tables;

/// Adds the rows of an attachment's extras.
pub(super) fn extra_rows(ctx: &Context, attachment: &Attachment, link: &Device, rows: &mut Tables) {
    if ctx.filters {
        for row in host_ports(attachment) {
            // Of two mappings of one port the first counts.
            if rows.host_ports.get(&row.key).is_none() && !is_vxlan_port(ctx, &row.key) {
                rows.host_ports.insert(row);
            }
        }
    }
    if let Some(rate) = limit(attachment.extras.ingress) {
        let device = link.clone();
        rows.shapes.insert(ShapeRow { device, rate });
    }
    if let Some(rate) = limit(attachment.extras.egress) {
        let shaper = Device::Shaper(attachment.id.clone());
        rows.links.insert(LinkRow {
            device: shaper.clone(),
            mac: None,
            mtu: Some(ctx.pod_mtu()),
            up: true,
            kind: LinkKind::Shaper(ShaperLink {
                name: shaper_name(&attachment.id),
            }),
        });
        rows.redirects.insert(RedirectRow {
            from: link.clone(),
            through: shaper.clone(),
        });
        let device = shaper;
        rows.shapes.insert(ShapeRow { device, rate });
    }
}

/// A rate of nothing is no limit, as in the reference plugin.
fn limit(rate: Option<Rate>) -> Option<Rate> {
    rate.filter(|rate| rate.rate > 0)
}

/// The ports of the node that an attachment asks for: each in every family that it has an address
/// of and that the mapping does not rule out.
pub(crate) fn host_ports(attachment: &Attachment) -> impl Iterator<Item = HostPortRow> + '_ {
    let wanted = attachment.extras.ports.iter();
    let wanted = wanted.filter(|p| p.host_port != 0 && p.container_port != 0);
    wanted.flat_map(move |port| {
        Family::ALL.into_iter().filter_map(move |family| {
            let target = attachment.address(family)?;
            if port.host_ip.is_some_and(|ip| Family::of(ip) != family) {
                return None;
            }
            Some(HostPortRow {
                key: HostPortKey {
                    family,
                    protocol: port.protocol,
                    port: port.host_port,
                    address: port.host_ip.filter(|ip: &IpAddr| !ip.is_unspecified()),
                },
                target: SocketAddr::new(target, port.container_port),
                owner: Some(attachment.id.clone()),
            })
        })
    })
}

/// Whether the frames of other nodes come to this port: it cannot lead to a Pod.
pub(crate) fn is_vxlan_port(ctx: &Context, key: &HostPortKey) -> bool {
    key.protocol == Protocol::Udp
        && ctx
            .overlay()
            .is_some_and(|o| o.port == key.port && o.underlay == key.family)
}
