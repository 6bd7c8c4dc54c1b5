//! The flat underlay's wire: one bridge in a namespace of its own. It has no addresses and filters
//! nothing.

use seaway_kernel::netlink::{Netlink, Request};
use seaway_kernel::netns::Netns;
use seaway_kernel::sysctl;

use super::cable::{self, index_of, up};
use crate::error::LabError;

const BRIDGE: &str = "br0";

/// Settings without which a bridge is more than a wire; some kernels lack them.
const PLAIN_WIRE: [(&str, &str); 4] = [
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
];

/// The wire.
pub(super) struct Wire {
    netns: Netns,
    bridge: u32,
    mtu: u32,
}

impl Wire {
    pub(super) fn create(mtu: u32) -> Result<Wire, LabError> {
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
        Ok(Wire { netns, bridge, mtu })
    }

    /// Lays the cable to a machine.
    pub(super) fn connect(&self, name: &str, machine: &Netns) -> Result<(), LabError> {
        cable::lay(&self.netns, name, machine, self.mtu, Some(self.bridge))
    }
}
