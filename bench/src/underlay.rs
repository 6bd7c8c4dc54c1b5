//! The network between nodes: one link that all share, or a subnet for each and a router between.
//!
//! It is the same for nodes of ours and for those that they are compared with, and no filter looks
//! at what passes.

use clap::ValueEnum;
use ipnet::IpNet;
use seaway_kernel::netns::Netns;
use seaway_kernel::sysctl;

use anyhow::Result;

use crate::hand;
use crate::wire::{self, End};

/// What a node's device towards the others is called.
pub(crate) const UPLINK: &str = "uplink0";

/// What the nodes have between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Underlay {
    /// A bridge: every node is on every other's link.
    #[default]
    Flat,
    /// A router: no node is on another's link.
    Routed,
}

impl Underlay {
    /// The addresses of the `n`-th node (1 to 100), one of each family.
    pub(crate) fn addresses(self, n: usize) -> [IpNet; 2] {
        parsed(match self {
            Underlay::Flat => [format!("172.20.0.{n}/24"), format!("fd00:20::{n}/64")],
            Underlay::Routed => [format!("172.20.{n}.2/24"), format!("fd00:20:{n}::2/64")],
        })
    }

    /// The router's addresses towards the `n`-th node; none on a link that all share.
    fn gateways(self, n: usize) -> Vec<IpNet> {
        match self {
            Underlay::Flat => Vec::new(),
            Underlay::Routed => {
                parsed([format!("172.20.{n}.1/24"), format!("fd00:20:{n}::1/64")]).into()
            }
        }
    }

    /// Joins nodes, numbered from 1 in this order; what is between them lives as long as the
    /// namespace that is given back.
    pub(crate) fn join(self, nodes: &[&Netns]) -> Result<Netns> {
        let between = Netns::create()?;
        let mut ports = Vec::new();
        for (i, node) in nodes.iter().enumerate() {
            let (n, port) = (i + 1, format!("to-{}", i + 1));
            let (addresses, gateways) = (self.addresses(n), self.gateways(n));
            let uplink = End {
                netns: node,
                name: UPLINK,
                addresses: &addresses,
            };
            let other = End {
                netns: &between,
                name: &port,
                addresses: &gateways,
            };
            wire::pair(&uplink, &other)?;
            for gateway in gateways {
                let line = format!("route add default via {} dev {UPLINK}\n", gateway.addr());
                hand::ip(node, &line)?;
            }
            ports.push(port);
        }
        match self {
            Underlay::Flat => wire::bridge(&between, "br0", &ports)?,
            Underlay::Routed => forward(&between)?,
        }
        Ok(between)
    }
}

/// Makes a router of a namespace.
pub(crate) fn forward(netns: &Netns) -> Result<()> {
    let settings = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];
    Ok(netns.run(|| {
        settings
            .iter()
            .try_for_each(|name| sysctl::write(name, "1"))
    })??)
}

fn parsed(texts: [String; 2]) -> [IpNet; 2] {
    texts.map(|text| text.parse().expect("numbers up to 100 fit all of these"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use seaway_model::Family;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn nodes_reach_each_other_over_both() {
        for underlay in [Underlay::Flat, Underlay::Routed] {
            let [a, b] = [(); 2].map(|()| Netns::create().expect("the tests run as root"));
            let _between = underlay.join(&[&a, &b]).expect("they can be joined");
            for net in underlay.addresses(2) {
                let listener = b.run(|| TcpListener::bind((net.addr(), 7)));
                let _listener = listener.expect("runs").expect("binds");
                let stream = a.run(|| TcpStream::connect((net.addr(), 7))).expect("runs");
                assert!(stream.is_ok(), "{underlay:?} {net}: {stream:?}");
            }
        }
    }

    #[test]
    fn nodes_have_both_families() {
        for underlay in [Underlay::Flat, Underlay::Routed] {
            assert_eq!(
                underlay.addresses(100).map(|net| Family::of_net(&net)),
                Family::ALL
            );
        }
    }
}
