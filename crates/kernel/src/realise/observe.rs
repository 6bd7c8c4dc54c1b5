//! From what rtnetlink dumps to rows: which of it is ours, and which device each thing is on.

use seaway_model::{
    AddressRow, Alias, Attachment, AttachmentId, BridgeLink, Device, FdbRow, IfName, LinkKind,
    LinkRow, NeighbourRow, PodLink, ProxyRow, RULE_PRIORITY, Reachability, RedirectRow, RouteRow,
    RouteTable, RuleRow, ShapeRow, ShaperLink, VxlanLink, is_of_every_node,
};

use super::{
    BRIDGE_ALIAS, BRIDGE_GROUP, DYING_GROUP, Devices, LIVE_GROUP, NODE_GROUP, Observed,
    SHAPER_GROUP, StrangeLink, VXLAN_ALIAS, is_shaped, work,
};
use crate::netlink::{
    AddressInfo, BridgeInfo, FdbInfo, LinkInfo, NeighbourInfo, PortInfo, QueueInfo, RouteInfo,
    RouteTarget, RuleInfo, SEAWAY_PROTOCOL,
};

/// Which device an index is, if it is one that counts.
type DeviceOf<'a> = dyn Fn(u32) -> Option<Device> + 'a;

/// Sorts the links of the namespace into live, unfinished, strange and dying ones. A link that
/// `device_of` knows is live whatever somebody did to its group or alias.
pub(super) fn links(links: &[LinkInfo], device_of: &DeviceOf<'_>, observed: &mut Observed) {
    for link in links {
        let nameless = || link.alias.as_deref().unwrap_or_default().is_empty();
        match (device_of(link.index), link.group) {
            (_, DYING_GROUP) => observed.dying.push(owner(link)),
            (Some(device), _) => {
                let row = link_row(link, &device, device_of);
                observed.tables.links.extend_with(row);
            }
            (_, LIVE_GROUP | NODE_GROUP | BRIDGE_GROUP | SHAPER_GROUP) if nameless() => {
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

/// The row of a link of ours; `None` for devices that are not ours to make. What makes it another
/// link than ours, its group or alias or how it works, shows it as somebody else's.
pub(super) fn link_row(
    link: &LinkInfo,
    device: &Device,
    device_of: &DeviceOf<'_>,
) -> Option<LinkRow> {
    let kind = match device {
        Device::PodLink(id) => pod_kind(link, id, device_of)?,
        Device::Shaper(id) => {
            let name = IfName::new(&link.name).ok()?;
            // In the form that is written: one of the other is to be written anew.
            let named = link.alias.as_deref() == Some(work::shaper_alias(id).as_str());
            let ours = link.group == SHAPER_GROUP && named;
            kind_if(ours, LinkKind::Shaper(ShaperLink { name }))
        }
        Device::Bridge => {
            let name = IfName::new(&link.name).ok()?;
            let works = link
                .bridge
                .is_some_and(|found| BridgeInfo::NODE.is_met_by(&found));
            let ours = link.group == BRIDGE_GROUP && link.alias.as_deref() == Some(BRIDGE_ALIAS);
            kind_if(works && ours, LinkKind::Bridge(BridgeLink { name }))
        }
        Device::Vxlan => vxlan_kind(link)?,
        Device::Loopback | Device::Uplink | Device::Named(_) => return None,
    };
    Some(LinkRow {
        device: device.clone(),
        mac: link.mac,
        mtu: Some(link.mtu),
        up: link.up,
        kind,
    })
}

fn kind_if(ours: bool, kind: LinkKind) -> LinkKind {
    if ours { kind } else { LinkKind::Existing }
}

fn pod_kind(link: &LinkInfo, id: &AttachmentId, device_of: &DeviceOf<'_>) -> Option<LinkKind> {
    let bridge_port = match link.master {
        None => Some(false),
        Some(master) => {
            let works = device_of(master) == Some(Device::Bridge) && is_good_port(link.port);
            works.then_some(true)
        }
    };
    let pod = PodLink {
        name: IfName::new(&link.name).ok()?,
        alias: Alias::raw(link.alias.as_deref().unwrap_or_default()),
        peer_name: id.interface.clone(),
        peer_mac: None,
        bridge_port: bridge_port.unwrap_or_default(),
    };
    let ours = link.group == LIVE_GROUP && bridge_port.is_some();
    Some(kind_if(ours, LinkKind::Pod(pod)))
}

/// Whether a Pod's link is a port of a bridge as it must be.
pub(super) fn is_good_port(port: Option<PortInfo>) -> bool {
    port == Some(PortInfo::POD)
}

fn vxlan_kind(link: &LinkInfo) -> Option<LinkKind> {
    let name = IfName::new(&link.name).ok()?;
    let ours = link.group == NODE_GROUP && link.alias.as_deref() == Some(VXLAN_ALIAS);
    let Some(found) = link
        .vxlan
        .filter(|v| ours && !v.learning && v.remote.is_none())
    else {
        return Some(LinkKind::Existing);
    };
    Some(match found.local {
        Some(local) => LinkKind::Vxlan(VxlanLink {
            name,
            vni: found.vni,
            port: found.port,
            local,
        }),
        None => LinkKind::Existing,
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
pub(super) fn route_row(route: &RouteInfo, device_of: &DeviceOf<'_>) -> Option<RouteRow> {
    if route.protocol != SEAWAY_PROTOCOL {
        return None;
    }
    any_route_row(route, device_of)
}

/// The row of a route, whoever made it.
pub(super) fn any_route_row(route: &RouteInfo, device_of: &DeviceOf<'_>) -> Option<RouteRow> {
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
        table: route.table,
        destination: route.destination,
        metric: route.metric,
        reach,
    })
}

/// The row of a permanent neighbour entry on one of the devices that `device_of` knows.
pub(super) fn neighbour_row(
    entry: &NeighbourInfo,
    device_of: &DeviceOf<'_>,
) -> Option<NeighbourRow> {
    let device = device_of(entry.index)?;
    let ours = entry.permanent && !entry.proxy && !entry.address.is_multicast();
    ours.then_some(NeighbourRow {
        device,
        address: entry.address,
        mac: entry.mac,
    })
}

/// The devices of ours on which every permanent neighbour is ours.
pub(super) fn made_by_us<'a>(device_of: &'a DeviceOf<'a>) -> impl Fn(u32) -> Option<Device> + 'a {
    |index| {
        device_of(index)
            .filter(|device| matches!(device, Device::PodLink(_) | Device::Bridge | Device::Vxlan))
    }
}

/// The row of a proxy entry that is ours, also on a device that was the uplink once.
pub(super) fn proxy_row(entry: &NeighbourInfo, device_of: &DeviceOf<'_>) -> Option<ProxyRow> {
    let ours = entry.proxy && entry.protocol == SEAWAY_PROTOCOL;
    ours.then_some(ProxyRow {
        device: device_of(entry.index)?,
        address: entry.address,
        owner: None,
    })
}

/// The row of a rule that is ours.
pub(super) fn rule_row(rule: &RuleInfo) -> Option<RuleRow> {
    let ours = rule.protocol == SEAWAY_PROTOCOL
        && rule.table == RouteTable::FromPods.id()
        && rule.priority == RULE_PRIORITY
        && rule.plain;
    ours.then_some(RuleRow {
        source: rule.source,
    })
}

/// The row of an address that is ours: every one of the bridge and of the VXLAN device that is not
/// link-local, and those of loopback that stand in for its own.
pub(super) fn address_row(address: &AddressInfo, device_of: &DeviceOf<'_>) -> Option<AddressRow> {
    let device = device_of(address.index)?;
    let ip = address.net.addr();
    let ours = match device {
        Device::Bridge | Device::Vxlan => {
            !matches!(ip, std::net::IpAddr::V6(ip) if ip.is_unicast_link_local())
        }
        Device::Loopback => is_of_every_node(ip),
        _ => false,
    };
    ours.then_some(AddressRow {
        device,
        net: address.net,
    })
}

/// Whether there is a device with forwarding entries of ours.
pub(super) fn has_fdb(devices: &Devices) -> bool {
    [Device::Bridge, Device::Vxlan]
        .iter()
        .any(|device| devices.get(device).is_some())
}

/// The row of a forwarding entry that is ours: every fixed one that leads to a VTEP, and every
/// fixed one of the bridge that leads to a Pod's link. The entries for the ports' own addresses are
/// the kernel's.
pub(super) fn fdb_row(entry: &FdbInfo, device_of: &DeviceOf<'_>) -> Option<FdbRow> {
    let device = device_of(entry.index).filter(|_| entry.fixed)?;
    let ours = match device {
        Device::Vxlan => !entry.of_bridge && entry.destination.is_some(),
        Device::PodLink(_) => entry.of_bridge,
        _ => false,
    };
    ours.then_some(FdbRow {
        device,
        mac: entry.mac,
        vtep: entry.destination,
    })
}

/// The row of a token bucket at the root of a Pod's link or shaper; the planned one if the kernel
/// shows what it would show of that.
pub(super) fn shape_row(
    device: &Device,
    queue: &QueueInfo,
    planned: Option<&ShapeRow>,
) -> Option<ShapeRow> {
    let bucket = queue.bucket?;
    let met = planned.filter(|row| is_shaped(row, Some(&bucket)));
    Some(met.cloned().unwrap_or_else(|| ShapeRow {
        device: device.clone(),
        rate: bucket.rate(),
    }))
}

/// The row of a redirection.
pub(super) fn redirect_row(
    from: Device,
    through: u32,
    device_of: &DeviceOf<'_>,
) -> Option<RedirectRow> {
    let through = device_of(through)?;
    Some(RedirectRow { from, through })
}
