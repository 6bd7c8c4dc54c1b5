//! From what rtnetlink dumps to rows: which of it is ours, and which device each thing is on.

use seaway_model::{
    Alias, Attachment, AttachmentId, Device, IfName, LinkKind, LinkRow, NeighbourRow, PodLink,
    Reachability, RouteRow,
};

use super::{DYING_GROUP, LIVE_GROUP, Observed, StrangeLink};
use crate::netlink::{LinkInfo, NeighbourInfo, RouteInfo, RouteTarget, SEAWAY_PROTOCOL};

/// Sorts the links of the namespace into live, unfinished, strange and dying ones. A link that
/// `device_of` knows is live whatever somebody did to its group or alias.
pub(super) fn links(
    links: &[LinkInfo],
    device_of: &dyn Fn(u32) -> Option<Device>,
    observed: &mut Observed,
) {
    for link in links {
        match (device_of(link.index), link.group) {
            (_, DYING_GROUP) => observed.dying.push(owner(link)),
            (Some(Device::PodLink(id)), _) => {
                observed.tables.links.extend_with(link_row(link, &id));
            }
            (_, LIVE_GROUP) if link.alias.as_deref().unwrap_or_default().is_empty() => {
                observed.unfinished.push(link.index);
            }
            (_, LIVE_GROUP) => observed.strange.push(StrangeLink::of(link)),
            _ => {}
        }
    }
    let owners = links
        .iter()
        .filter(|link| link.group == LIVE_GROUP)
        .filter_map(owner);
    observed.attachments = owners.collect();
}

fn owner(link: &LinkInfo) -> Option<Attachment> {
    Alias::raw(link.alias.as_deref()?).parse().ok()
}

/// The row of the host side of a Pod's link. Outside our group it is shown as somebody else's.
pub(super) fn link_row(link: &LinkInfo, id: &AttachmentId) -> Option<LinkRow> {
    let pod = PodLink {
        name: IfName::new(&link.name).ok()?,
        alias: Alias::raw(link.alias.as_deref().unwrap_or_default()),
        peer_name: id.interface.clone(),
        peer_mac: None,
    };
    let kind = if link.group == LIVE_GROUP {
        LinkKind::Pod(pod)
    } else {
        LinkKind::Existing
    };
    let device = Device::PodLink(id.clone());
    Some(LinkRow {
        device,
        mac: link.mac,
        mtu: Some(link.mtu),
        up: link.up,
        kind,
    })
}

impl StrangeLink {
    fn of(link: &LinkInfo) -> StrangeLink {
        let alias = Alias::raw(link.alias.as_deref().unwrap_or_default());
        StrangeLink {
            index: link.index,
            name: link.name.clone(),
            alias,
        }
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
