//! From what rtnetlink dumps to rows: which of it is ours, and which device each thing is on.

use seaway_model::{
    Alias, Attachment, Device, IfName, LinkKind, LinkRow, NeighbourRow, PodLink, Reachability,
    RouteRow,
};

use super::{DYING_GROUP, LIVE_GROUP, Observed, StrangeLink};
use crate::netlink::{LinkInfo, NeighbourInfo, RouteInfo, RouteTarget, SEAWAY_PROTOCOL};

/// Sorts the links of the namespace into live, unfinished, strange and dying ones.
pub(super) fn links(links: &[LinkInfo], observed: &mut Observed) {
    for link in links {
        match link.group {
            LIVE_GROUP => live_link(link, observed),
            DYING_GROUP => observed.dying.push(owner(link)),
            _ => {}
        }
    }
}

fn owner(link: &LinkInfo) -> Option<Attachment> {
    Alias::raw(link.alias.as_deref()?).parse().ok()
}

fn live_link(link: &LinkInfo, observed: &mut Observed) {
    let Some(alias) = link.alias.as_deref().filter(|alias| !alias.is_empty()) else {
        observed.unfinished.push(link.index);
        return;
    };
    match (Alias::raw(alias).parse(), IfName::new(&link.name)) {
        (Ok(attachment), Ok(name)) => {
            observed
                .tables
                .links
                .insert(link_row(link, &attachment, name));
            observed.attachments.push(attachment);
        }
        _ => observed.strange.push(StrangeLink {
            index: link.index,
            name: link.name.clone(),
            alias: Alias::raw(alias),
        }),
    }
}

pub(super) fn link_row(link: &LinkInfo, attachment: &Attachment, name: IfName) -> LinkRow {
    LinkRow {
        device: Device::PodLink(attachment.id.clone()),
        mac: link.mac,
        mtu: Some(link.mtu),
        up: link.up,
        kind: LinkKind::Pod(PodLink {
            name,
            alias: Alias::raw(link.alias.as_deref().unwrap_or_default()),
            peer_name: attachment.id.interface.clone(),
            peer_mac: None,
        }),
    }
}

/// The row of a route that is ours.
pub(super) fn route_row(
    route: &RouteInfo,
    device_of: &dyn Fn(u32) -> Option<Device>,
) -> Option<RouteRow> {
    if route.protocol != SEAWAY_PROTOCOL {
        return None;
    }
    any_route_row(route, device_of)
}

/// The row of a route, whoever made it.
pub(super) fn any_route_row(
    route: &RouteInfo,
    device_of: &dyn Fn(u32) -> Option<Device>,
) -> Option<RouteRow> {
    let reach = match route.target {
        RouteTarget::Unreachable => Reachability::Unreachable,
        RouteTarget::Via {
            index,
            gateway,
            source,
            mtu,
        } => Reachability::Via {
            device: device_of(index)?,
            gateway,
            source,
            mtu,
        },
        RouteTarget::Other => return None,
    };
    Some(RouteRow {
        destination: route.destination,
        metric: route.metric,
        reach,
    })
}

/// The row of a permanent neighbour entry on one of the devices that `device_of` knows.
pub(super) fn neighbour_row(
    entry: &NeighbourInfo,
    device_of: &dyn Fn(u32) -> Option<Device>,
) -> Option<NeighbourRow> {
    let device = device_of(entry.index)?;
    let ours = entry.permanent && !entry.address.is_multicast();
    ours.then_some(NeighbourRow {
        device,
        address: entry.address,
        mac: entry.mac,
    })
}
