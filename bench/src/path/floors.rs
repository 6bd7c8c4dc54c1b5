//! What the same packets cost without Pods and without nodes: loopback, and a bare veth pair.

use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;
use seaway_kernel::netns::Netns;
use seaway_model::Family;

use super::{of_family, widen_ports};
use crate::tcp::Link;
use crate::wire::{self, End};

/// Two namespaces and the pair between them.
#[derive(Debug)]
pub(super) struct Floors {
    left: Netns,
    right: Netns,
}

const LEFT: [&str; 2] = ["192.168.76.1/24", "fd76::1/64"];
const RIGHT: [&str; 2] = ["192.168.76.2/24", "fd76::2/64"];

impl Floors {
    pub(super) fn new() -> Result<Floors> {
        let floors = Floors {
            left: Netns::create()?,
            right: Netns::create()?,
        };
        for netns in [&floors.left, &floors.right] {
            wire::loopback_up(netns)?;
            widen_ports(netns)?;
        }
        let [left, right] = [LEFT, RIGHT].map(parsed);
        let end = |netns, addresses| End {
            netns,
            name: "veth0",
            addresses,
        };
        wire::pair(&end(&floors.left, &left), &end(&floors.right, &right))?;
        Ok(floors)
    }

    /// Loopback under a name.
    pub(super) fn loopback(&self, name: &str, family: Family, cpu: usize) -> Result<Link<'_>> {
        let address: IpAddr = match family {
            Family::V4 => std::net::Ipv4Addr::LOCALHOST.into(),
            Family::V6 => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        Link::new(name, &self.left, address, &self.left, cpu)
    }

    /// The veth pair.
    pub(super) fn veth(&self, family: Family, cpu: usize) -> Result<Link<'_>> {
        let right = of_family(&parsed(RIGHT).map(|net| net.addr()), family)?;
        Link::new("veth", &self.right, right, &self.left, cpu)
    }
}

fn parsed(texts: [&str; 2]) -> [IpNet; 2] {
    texts.map(|text| text.parse().expect("these constants are networks"))
}
