//! The floor's netlink messages: what an attachment needs at least, made without IO.
//!
//! Two routed addresses, one of each family: a veth pair born in the Pod's namespace with its
//! owner as alias, host routes and neighbours outside; addresses, gateway and default route inside.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use seaway_kernel::netlink::{
    Exclusive, LinkSet, LinkTarget, Request, RouteSpec, VethPeer, VethSpec,
};
use seaway_model::{Family, MacAddr, gateway};

use crate::plugin::IF_NAME;

/// The link group of what is to be deleted.
pub(crate) const DYING: u32 = 4242;
const LIVE: u32 = 4241;

/// Indices of links are chosen, so that one send can name a link that it makes.
pub(crate) const FIRST_INDEX: u32 = 100_000;
/// The Pod's side has the same index beyond this.
const POD_INDEX: u32 = 1_000_000;

/// An attachment of the floor, all of it derived from a number.
pub(crate) struct Link {
    number: u32,
}

impl Link {
    /// The attachment of a number, below 65,000.
    pub(crate) fn new(number: u32) -> Link {
        Link { number }
    }

    /// The attachment whose Pod side has this index.
    pub(crate) fn of_pod_index(index: u32) -> Link {
        Link::new(index.saturating_sub(POD_INDEX + FIRST_INDEX))
    }

    fn index(&self) -> u32 {
        FIRST_INDEX + self.number
    }

    fn addresses(&self) -> [IpAddr; 2] {
        let [_, _, high, low] = self.number.to_be_bytes();
        let v6 = [0xfd00, 0x91, 0, 0, 0, 0, 0, self.number as u16];
        [IpAddr::from([10, 91, high, low]), IpAddr::from(v6)]
    }

    fn macs(&self) -> [MacAddr; 2] {
        [1, 2].map(|side| MacAddr::local_from(u64::from(self.number) << 8 | side))
    }

    /// Outside, in one send.
    pub(crate) fn host_requests(&self, pod: BorrowedFd<'_>) -> Vec<Request> {
        let index = self.index();
        let alias = LinkSet {
            alias: Some("floor:0123456789abcdef0123456789abcdef0123456789abcdef:eth0"),
            no_link_local: true,
            ..LinkSet::default()
        };
        let mut requests = vec![
            self.pair(pod),
            Request::set_link(LinkTarget::Index(index), alias),
        ];
        for address in self.addresses() {
            let route = RouteSpec::by_device(Family::host_net(address), index);
            requests.push(Request::add_neighbour(index, address, self.macs()[1]));
            requests.push(Request::add_route(&route, Exclusive::Yes));
        }
        requests
    }

    fn pair(&self, pod: BorrowedFd<'_>) -> Request {
        let [host, peer] = self.macs();
        Request::veth(VethSpec {
            name: &format!("floor{}", self.number),
            index: Some(self.index()),
            mac: Some(host),
            mtu: Some(1500),
            group: Some(LIVE),
            up: true,
            peer: VethPeer {
                name: IF_NAME,
                index: Some(POD_INDEX + self.index()),
                mac: Some(peer),
                mtu: Some(1500),
                netns: pod,
            },
        })
    }

    /// Inside, in one send.
    pub(crate) fn pod_requests(&self) -> Vec<Request> {
        let index = POD_INDEX + self.index();
        let up = LinkSet {
            up: Some(true),
            ..LinkSet::default()
        };
        let mut requests = vec![Request::set_link(LinkTarget::Index(index), up)];
        for address in self.addresses() {
            requests.extend(pod_side(index, address, self.macs()[0]));
        }
        requests
    }

    /// What makes the link die, in one send: its rows go, and it joins the group of the dying.
    pub(crate) fn withdrawal(&self) -> Vec<Request> {
        let index = self.index();
        let dying = LinkSet {
            group: Some(DYING),
            ..LinkSet::default()
        };
        let mut requests = vec![Request::set_link(LinkTarget::Index(index), dying)];
        for address in self.addresses() {
            let route = RouteSpec::by_device(Family::host_net(address), index);
            requests.push(Request::delete_route(&route));
            requests.push(Request::delete_neighbour(index, address));
        }
        requests
    }
}

fn pod_side(index: u32, address: IpAddr, router: MacAddr) -> [Request; 4] {
    let family = Family::of(address);
    let on_link = RouteSpec::by_device(Family::host_net(gateway(family)), index);
    let default = RouteSpec {
        gateway: Some(gateway(family)),
        ..RouteSpec::by_device(family.default_net(), index)
    };
    [
        Request::add_address(index, Family::host_net(address)),
        Request::add_neighbour(index, gateway(family), router),
        Request::add_route(&on_link, Exclusive::Yes),
        Request::add_route(&default, Exclusive::Yes),
    ]
}

/// A bare pair without addresses, in a group.
pub(crate) fn veth(index: u32, pod: BorrowedFd<'_>, group: u32) -> Request {
    Request::veth(VethSpec {
        name: &format!("bare{index}"),
        index: Some(index),
        mac: None,
        mtu: None,
        group: Some(group),
        up: true,
        peer: VethPeer {
            name: IF_NAME,
            index: None,
            mac: None,
            mtu: None,
            netns: pod,
        },
    })
}
