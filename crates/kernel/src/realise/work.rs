//! What a change asks of rtnetlink: the requests of one send, each with the row that it is for, so
//! that every answer can be told in terms of rows. Made without IO.

use std::io;
use std::os::fd::BorrowedFd;

use seaway_model::{
    AttachmentId, ContainerId, Device, IfName, LinkKind, LinkRow, PodLink, Reachability, RouteRow,
    Row, VxlanLink,
};

use super::{
    BRIDGE_ALIAS, BRIDGE_GROUP, DYING_GROUP, LIVE_GROUP, NODE_ALIASES, NODE_GROUP, RowFailure,
    SHAPER_GROUP, VXLAN_ALIAS, WRITTEN,
};
use crate::error::KernelError;
use crate::netlink::{
    BridgeInfo, KindSpec, LinkInfo, LinkSet, LinkSpec, LinkTarget, PortInfo, Request, RouteSpec,
    VethPeer, VethSpec, VxlanInfo,
};

/// Requests of one send, each with the row that it is for.
#[derive(Default)]
pub(super) struct Work<'a> {
    pub(super) requests: Vec<Request>,
    pub(super) origins: Vec<Origin<'a>>,
}

/// What a request is for.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// A deletion: gone already is as good.
    Delete(&'a dyn Keyed),
    /// A link to hand to the reaper.
    DeleteLink(&'a LinkRow),
    /// A new link, with an index that was chosen for it.
    NewLink(&'a LinkRow),
    /// What belongs to a link and fails with its creation.
    LinkPart(&'a LinkRow),
    /// A row to add.
    Add(&'a dyn Keyed),
    /// A route to add: it may meet one that is there.
    AddRoute(&'a RouteRow),
    /// What makes room, if there is something in the way.
    Clear,
}

/// A row of whatever table.
pub(super) trait Keyed {
    /// Its table.
    fn table(&self) -> &'static str;
    /// Its key as people see it.
    fn key_text(&self) -> String;
}

impl<R: Row> Keyed for R {
    fn table(&self) -> &'static str {
        R::TABLE
    }

    fn key_text(&self) -> String {
        self.key().to_string()
    }
}

impl<'a> Work<'a> {
    pub(super) fn push(&mut self, request: Request, origin: Origin<'a>) {
        self.requests.push(request);
        self.origins.push(origin);
    }
}

pub(super) fn in_the_way(row: &RouteRow, protocol: u8) -> KernelError {
    let why = format!("a route that is not ours (protocol {protocol}) is in the way; remove it");
    KernelError::new("add route", row.key().to_string(), io::Error::other(why))
}

/// The veth pair of a Pod, its host side born into the bridge if it is to be a port of it.
pub(super) fn create_veth(
    row: &LinkRow,
    pod: &PodLink,
    index: u32,
    netns: BorrowedFd<'_>,
    bridge: Option<u32>,
) -> Request {
    let request = Request::veth(VethSpec {
        name: pod.name.as_str(),
        index: Some(index),
        mac: row.mac,
        mtu: row.mtu,
        group: Some(LIVE_GROUP),
        up: false,
        peer: VethPeer {
            name: pod.peer_name.as_str(),
            index: None,
            mac: pod.peer_mac,
            mtu: row.mtu,
            netns,
        },
    });
    match bridge {
        Some(bridge) => request.in_bridge(bridge),
        None => request,
    }
}

/// A link of a kind of its own; `None` for those that are not made so. The MTU of a bridge is set
/// when it is there: only then does the kernel not change it with its ports.
pub(super) fn create_link(row: &LinkRow, index: u32) -> Option<Request> {
    let (mtu, kind) = match &row.kind {
        LinkKind::Bridge(_) => (None, KindSpec::Bridge(BridgeInfo::NODE)),
        LinkKind::Vxlan(vxlan) => (row.mtu, KindSpec::Vxlan(vxlan_info(vxlan))),
        LinkKind::Shaper(_) => (row.mtu, KindSpec::Ifb),
        LinkKind::Pod(_) | LinkKind::Existing => return None,
    };
    Some(Request::link(&LinkSpec {
        name: name(row)?.as_str(),
        index: Some(index),
        mac: row.mac,
        mtu,
        group: group(row),
        kind,
    }))
}

/// The name that a link of ours has.
pub(super) fn name(row: &LinkRow) -> Option<&IfName> {
    match &row.kind {
        LinkKind::Existing => None,
        LinkKind::Pod(pod) => Some(&pod.name),
        LinkKind::Bridge(bridge) => Some(&bridge.name),
        LinkKind::Vxlan(vxlan) => Some(&vxlan.name),
        LinkKind::Shaper(shaper) => Some(&shaper.name),
    }
}

fn group(row: &LinkRow) -> Option<u32> {
    match &row.kind {
        LinkKind::Existing => None,
        LinkKind::Pod(_) => Some(LIVE_GROUP),
        LinkKind::Bridge(_) => Some(BRIDGE_GROUP),
        LinkKind::Vxlan(_) => Some(NODE_GROUP),
        LinkKind::Shaper(_) => Some(SHAPER_GROUP),
    }
}

/// The alias by which a link of ours is known again. That of a shaper goes on with container and
/// interface of its owner.
pub(super) fn alias(row: &LinkRow) -> Option<String> {
    match &row.kind {
        LinkKind::Existing => None,
        LinkKind::Pod(pod) => Some(pod.alias.to_string()),
        LinkKind::Bridge(_) => Some(BRIDGE_ALIAS.to_owned()),
        LinkKind::Vxlan(_) => Some(VXLAN_ALIAS.to_owned()),
        LinkKind::Shaper(_) => row.device.attachment().map(shaper_alias),
    }
}

pub(super) fn shaper_alias(id: &AttachmentId) -> String {
    let [_, _, start] = NODE_ALIASES[WRITTEN];
    format!("{start}{}:{}", id.container, id.interface)
}

/// Whose shaper the alias names.
pub(super) fn shaper_owner(alias: &str) -> Option<AttachmentId> {
    let mut forms = NODE_ALIASES.iter();
    let owner = forms.find_map(|[_, _, start]| alias.strip_prefix(start))?;
    let (container, interface) = owner.split_once(':')?;
    Some(AttachmentId {
        container: ContainerId::new(container).ok()?,
        interface: IfName::new(interface).ok()?,
    })
}

fn vxlan_info(vxlan: &VxlanLink) -> VxlanInfo {
    VxlanInfo {
        vni: vxlan.vni,
        port: vxlan.port,
        local: Some(vxlan.local),
        remote: None,
        learning: false,
    }
}

/// Whether a link cannot become what is planned, so that it must be made anew.
pub(super) fn is_beyond(row: &LinkRow, found: &LinkInfo) -> bool {
    match (&row.kind, &found.vxlan) {
        (LinkKind::Vxlan(wanted), Some(found)) => {
            let family = |local: std::net::IpAddr| local.is_ipv6();
            wanted.vni != found.vni
                || wanted.port != found.port
                || found.local.map(family) != Some(family(wanted.local))
                || found.remote.is_some()
        }
        (LinkKind::Vxlan(_), None) => true,
        (LinkKind::Bridge(_), _) => found.bridge.is_none(),
        _ => false,
    }
}

/// Brings a link that exists to what is planned, touching only what differs: to set a MAC address
/// again makes the kernel forget the neighbours. A rename is a request of its own, because kernels
/// before 6.2 refuse it while the link is up. `bridge` is the index of the node's bridge.
pub(super) fn adjust<'a>(
    row: &'a LinkRow,
    found: &LinkInfo,
    bridge: Option<u32>,
    work: &mut Work<'a>,
) {
    let target = LinkTarget::Index(found.index);
    let alias = alias(row);
    let mut set = LinkSet {
        up: Some(row.up).filter(|up| *up != found.up),
        mac: row.mac.filter(|mac| Some(*mac) != found.mac),
        mtu: row.mtu.filter(|mtu| *mtu != found.mtu),
        group: group(row).filter(|group| *group != found.group),
        alias: alias
            .as_deref()
            .filter(|a| found.alias.as_deref() != Some(*a)),
        no_link_local: row.kind != LinkKind::Existing,
        ..LinkSet::default()
    };
    match &row.kind {
        LinkKind::Bridge(_) => {
            let met = found.bridge.is_some_and(|b| BridgeInfo::NODE.is_met_by(&b));
            set.bridge = (!met).then_some(BridgeInfo::NODE);
        }
        LinkKind::Vxlan(vxlan) => {
            let wanted = vxlan_info(vxlan);
            set.vxlan = (found.vxlan != Some(wanted)).then_some(wanted);
        }
        LinkKind::Pod(pod) => {
            let master = bridge.filter(|_| pod.bridge_port);
            set.master = (master != found.master).then_some(master.unwrap_or(0));
        }
        LinkKind::Existing | LinkKind::Shaper(_) => {}
    }
    if let Some(name) = name(row).filter(|name| name.as_str() != found.name) {
        let rename = LinkSet {
            name: Some(name),
            ..LinkSet::default()
        };
        work.push(Request::set_link(target, rename), Origin::LinkPart(row));
    }
    work.push(Request::set_link(target, set), Origin::LinkPart(row));
    if is_port(row) && found.port != Some(PortInfo::POD) {
        work.push(Request::set_link(target, port()), Origin::LinkPart(row));
    }
}

/// Whether the link is to be a port of the node's bridge.
pub(super) fn is_port(row: &LinkRow) -> bool {
    matches!(&row.kind, LinkKind::Pod(pod) if pod.bridge_port)
}

fn port() -> LinkSet<'static> {
    LinkSet {
        port: Some(PortInfo::POD),
        ..LinkSet::default()
    }
}

/// What follows the creation of a link: its alias, by which it is known again, and that it is up.
pub(super) fn finish<'a>(row: &'a LinkRow, index: u32, up: bool, work: &mut Work<'a>) {
    let alias = alias(row);
    let mut set = LinkSet {
        up: Some(up),
        alias: alias.as_deref(),
        no_link_local: true,
        ..LinkSet::default()
    };
    if is_port(row) {
        set.port = Some(PortInfo::POD);
    }
    let request = Request::set_link(LinkTarget::Index(index), set);
    work.push(request, Origin::LinkPart(row));
}

pub(super) fn dying(index: u32) -> Request {
    let set = LinkSet {
        group: Some(DYING_GROUP),
        ..LinkSet::default()
    };
    Request::set_link(LinkTarget::Index(index), set)
}

/// How a link goes: those of Pods with others at once, by the reaper; the node's own at once.
pub(super) fn removal(device: &Device, index: u32) -> Request {
    match device {
        Device::PodLink(_) | Device::Shaper(_) => dying(index),
        _ => Request::delete_link(LinkTarget::Index(index)),
    }
}

pub(super) fn bare_route(row: &RouteRow) -> RouteSpec {
    RouteSpec {
        table: row.table,
        destination: row.destination,
        metric: row.metric,
        index: None,
        gateway: None,
        on_link: false,
        source: None,
        mtu: None,
        unreachable: row.reach == Reachability::Unreachable,
    }
}

/// All that is asked for a route by the device of this index.
pub(super) fn whole_route(row: &RouteRow, index: Option<u32>) -> RouteSpec {
    let mut spec = bare_route(row);
    if let Reachability::Via {
        device,
        gateway,
        source,
        mtu,
    } = &row.reach
    {
        spec.index = index;
        spec.gateway = *gateway;
        // An IPv6 gateway there is a link-local address, which is on the link anyway.
        spec.on_link = *device == Device::Vxlan && gateway.is_some_and(|g| g.is_ipv4());
        spec.source = *source;
        spec.mtu = *mtu;
    }
    spec
}

impl RowFailure {
    /// The failure of a row whose device, or what else it needs, does not exist.
    pub(super) fn missing(row: &dyn Keyed, what: &str) -> RowFailure {
        RowFailure::absent(row.table(), &row.key_text(), what)
    }

    /// The failure of a row.
    pub(super) fn for_row(row: &dyn Keyed, error: &KernelError) -> RowFailure {
        RowFailure::of(row.table(), &row.key_text(), error)
    }

    /// The failure of a row, by table and key, whose device, or what else it needs, does not exist.
    pub(super) fn absent(
        table: &'static str,
        key: &dyn std::fmt::Display,
        what: &str,
    ) -> RowFailure {
        RowFailure {
            table,
            key: key.to_string(),
            error: format!("{what} does not exist"),
            errno: Some(libc::ENODEV),
        }
    }

    /// The failure of a row by table and key.
    pub(super) fn of(
        table: &'static str,
        key: &dyn std::fmt::Display,
        error: &KernelError,
    ) -> RowFailure {
        RowFailure {
            table,
            key: key.to_string(),
            error: error.to_string(),
            errno: error.errno(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shaper_is_known_again_by_its_alias() {
        let id = AttachmentId {
            container: ContainerId::new("c.1_2-x").expect("valid"),
            interface: IfName::new("eth0").expect("valid"),
        };
        assert_eq!(shaper_owner(&shaper_alias(&id)), Some(id));
        assert_eq!(shaper_owner("seaway1:c:eth0:pods:10.0.0.1"), None);
        assert_eq!(shaper_owner("seaway1-shaper:c"), None);
    }
}
