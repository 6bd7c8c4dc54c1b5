//! The network between the nodes: one bridge in a namespace of its own, a cable to each node.
//! It is a plain wire: it has no addresses and filters nothing.

use std::os::fd::AsFd;

use ipnet::IpNet;
use seaway_kernel::netlink::{LinkSet, LinkTarget, Netlink, Request, VethPeer, VethSpec};
use seaway_kernel::netns::Netns;
use seaway_kernel::sysctl;

use crate::error::LabError;
use crate::topology::UPLINK;

const BRIDGE: &str = "br0";

/// Settings without which a bridge is more than a wire; some kernels lack them.
const PLAIN_WIRE: [(&str, &str); 4] = [
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
];

/// The underlay.
pub(crate) struct Underlay {
    netns: Netns,
    bridge: u32,
}

impl Underlay {
    /// Makes the bridge.
    pub(crate) fn create() -> Result<Underlay, LabError> {
        let netns = Netns::create()?;
        netns.run(|| {
            for (name, value) in PLAIN_WIRE {
                if let Err(e) = sysctl::write(name, value) {
                    tracing::debug!("{e}");
                }
            }
        })?;
        let mut netlink = Netlink::open_in(&netns)?;
        netlink.send_all(&[Request::bridge(BRIDGE), up(BRIDGE)])?;
        let bridge = index_of(&mut netlink, BRIDGE)?;
        Ok(Underlay { netns, bridge })
    }

    /// Lays the cable to a machine and brings its side up with the machine's addresses.
    pub(crate) fn attach(
        &self,
        name: &str,
        addresses: &[IpNet],
        netns: &Netns,
    ) -> Result<(), LabError> {
        self.lay_cable(name, netns)?;
        // A node's link-local address has been there since it booted. While it was on trial for a
        // second or two, the kernel would not ask for neighbours on behalf of forwarded packets.
        netns.run(|| sysctl::write(&format!("net/ipv6/conf/{UPLINK}/accept_dad"), "0"))??;
        let mut netlink = Netlink::open_in(netns)?;
        let uplink = index_of(&mut netlink, UPLINK)?;
        let address = |net: &IpNet| Request::add_address(uplink, *net);
        let mut requests = vec![up("lo"), up(UPLINK)];
        requests.extend(addresses.iter().map(address));
        Ok(netlink.send_all(&requests)?)
    }

    fn lay_cable(&self, name: &str, netns: &Netns) -> Result<(), LabError> {
        let peer = VethPeer {
            name: UPLINK,
            index: None,
            mac: None,
            mtu: None,
            netns: netns.as_fd(),
        };
        let cable = VethSpec {
            name,
            index: None,
            mac: None,
            mtu: None,
            group: None,
            up: true,
            peer,
        };
        let port = LinkSet {
            master: Some(self.bridge),
            ..LinkSet::default()
        };
        let requests = [
            Request::veth(cable),
            Request::set_link(LinkTarget::Name(name), port),
        ];
        Ok(Netlink::open_in(&self.netns)?.send_all(&requests)?)
    }
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

fn index_of(netlink: &mut Netlink, name: &str) -> Result<u32, LabError> {
    netlink
        .link_index(name)?
        .ok_or_else(|| LabError::Request(format!("the link {name}, made just now, is gone")))
}
