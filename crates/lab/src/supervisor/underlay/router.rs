//! The router: a namespace that forwards between its links, and is as strict as networks of clouds
//! are. It knows the subnets that it is in and nothing else, no Pods either, and what comes from a
//! link with a source that does not belong there, it drops.

use std::sync::Arc;

use ipnet::IpNet;
use seaway_kernel::netlink::{Netlink, Request};
use seaway_kernel::netns::Netns;
use seaway_kernel::sysctl;
use seaway_model::Family;

use super::cable::{self, index_of, up};
use crate::error::LabError;
use crate::namespaces::Namespaces;
use crate::topology::UPLINK;

/// As routers have it. Before there is any link, so that all get it.
const SETTINGS: [(&str, &str); 6] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "1"),
    ("net/ipv4/conf/default/rp_filter", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/forwarding", "1"),
    // Its link-local addresses have been there for long.
    ("net/ipv6/conf/default/accept_dad", "0"),
];

/// The router.
pub(super) struct Router {
    pub(super) namespaces: Arc<Namespaces>,
    mtu: u32,
}

impl Router {
    pub(super) fn create(namespaces: Namespaces, mtu: u32) -> Result<Router, LabError> {
        let set = || {
            SETTINGS
                .iter()
                .try_for_each(|(key, value)| sysctl::write(key, value))
        };
        namespaces.net.run(set)??;
        Netlink::open_in(&namespaces.net)?.send_all(&[up("lo")])?;
        Ok(Router {
            namespaces: Arc::new(namespaces),
            mtu,
        })
    }

    /// Lays a cable to a machine, with the router's own addresses on this end.
    pub(super) fn connect(
        &self,
        name: &str,
        own: &[IpNet],
        machine: &Netns,
    ) -> Result<(), LabError> {
        cable::lay(&self.namespaces.net, name, machine, self.mtu, None)?;
        self.guard(name, own)
    }

    /// Uses the uplink that a wire has been connected to.
    pub(super) fn join(&self, own: &[IpNet]) -> Result<(), LabError> {
        Netlink::open_in(&self.namespaces.net)?.send_all(&[up(UPLINK)])?;
        self.guard(UPLINK, own)
    }

    /// Gives the link its addresses, and lets pass from there only what belongs there.
    fn guard(&self, link: &str, own: &[IpNet]) -> Result<(), LabError> {
        let mut netlink = Netlink::open_in(&self.namespaces.net)?;
        let index = index_of(&mut netlink, link)?;
        let address = |net: &IpNet| Request::add_address(index, *net);
        let mut requests: Vec<Request> = own.iter().map(address).collect();
        for family in Family::ALL {
            let subnets = own.iter().filter(|net| Family::of_net(net) == family);
            requests.extend(subnets.map(|net| Request::admit_from(link, net.trunc())));
            requests.push(Request::refuse_from(link, family));
        }
        Ok(netlink.send_all(&requests)?)
    }
}
