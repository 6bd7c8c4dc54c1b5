//! A cable: a veth pair with one end in a namespace of the underlay, and the other in a machine. It
//! knows addresses and routes that it is told, and nothing of what they are for.

use std::net::IpAddr;
use std::os::fd::AsFd;

use ipnet::IpNet;
use seaway_kernel::netlink::{
    Exclusive, LinkSet, LinkTarget, Netlink, Request, RouteSpec, VethPeer, VethSpec,
};
use seaway_kernel::netns::Netns;
use seaway_kernel::sysctl;
use seaway_model::Family;

use crate::error::LabError;
use crate::topology::UPLINK;

/// `RTPROT_STATIC`: what an administrator sets by hand.
const STATIC: u8 = 4;

/// Lays a cable from `from`, where its end is called `name`, to `to`, where it is the uplink. The
/// near end is up and belongs to the bridge of the index `master`, if there is one.
pub(super) fn lay(
    from: &Netns,
    name: &str,
    to: &Netns,
    mtu: u32,
    master: Option<u32>,
) -> Result<(), LabError> {
    let peer = VethPeer {
        name: UPLINK,
        index: None,
        mac: None,
        mtu: Some(mtu),
        netns: to.as_fd(),
    };
    let cable = VethSpec {
        name,
        index: None,
        mac: None,
        mtu: Some(mtu),
        group: None,
        up: true,
        peer,
    };
    let mut requests = vec![Request::veth(cable)];
    if master.is_some() {
        let port = LinkSet {
            master,
            ..LinkSet::default()
        };
        requests.push(Request::set_link(LinkTarget::Name(name), port));
    }
    Ok(Netlink::open_in(from)?.send_all(&requests)?)
}

/// Brings a machine's uplink up with its addresses, and the routes that go by a neighbour on it.
pub(super) fn plug_in(
    machine: &Netns,
    addresses: &[IpNet],
    routes: &[(IpNet, IpAddr)],
) -> Result<(), LabError> {
    // A node's link-local address has been there since it booted. While it was on trial for a
    // second or two, the kernel would not ask for neighbours on behalf of forwarded packets.
    machine.run(|| sysctl::write(&format!("net/ipv6/conf/{UPLINK}/accept_dad"), "0"))??;
    let mut netlink = Netlink::open_in(machine)?;
    let uplink = index_of(&mut netlink, UPLINK)?;
    let address = |net: &IpNet| Request::add_address(uplink, *net);
    let mut requests = vec![up("lo"), up(UPLINK)];
    requests.extend(addresses.iter().map(address));
    requests.extend(routes.iter().map(|(to, by)| {
        let route = RouteSpec {
            gateway: Some(*by),
            ..RouteSpec::by_device(*to, uplink)
        };
        Request::add_route(&route, Exclusive::Yes).with_protocol(STATIC)
    }));
    Ok(netlink.send_all(&requests)?)
}

/// A default route for each family that one of the gateways has.
pub(super) fn default_routes(gateways: &[IpNet]) -> Vec<(IpNet, IpAddr)> {
    let route = |gateway: &IpNet| {
        let everywhere = Family::of_net(gateway).default_net();
        (everywhere, gateway.addr())
    };
    gateways.iter().map(route).collect()
}

/// The request that brings a link up.
pub(crate) fn up(name: &str) -> Request {
    Request::set_link(
        LinkTarget::Name(name),
        LinkSet {
            up: Some(true),
            ..LinkSet::default()
        },
    )
}

pub(super) fn index_of(netlink: &mut Netlink, name: &str) -> Result<u32, LabError> {
    netlink
        .link_index(name)?
        .ok_or_else(|| LabError::Request(format!("the link {name}, made just now, is gone")))
}
