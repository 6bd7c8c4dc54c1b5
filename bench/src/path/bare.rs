//! The bare paths: two nodes and their Pods as a person would join them by hand, by routes or by a
//! bridge, over the underlay or over the kernel's VXLAN device. No filter, no connection tracking.

use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;
use seaway_kernel::netns::Netns;
use seaway_model::{Family, Transport, Wiring};

use super::{Shape, of_family, widen_ports};
use crate::tcp::Link;
use crate::underlay::{self, UPLINK};
use crate::wire::{self, End};
use crate::{hand, plugin};

/// The VXLAN device, and its network and port.
const VXLAN: &str = "vx0";
const BRIDGE: &str = "br0";

/// Two nodes, two Pods on the first, one on the second.
#[derive(Debug)]
pub(super) struct Bare {
    nodes: [Netns; 2],
    pods: [Pod; 3],
    shape: Shape,
    _between: Netns,
}

#[derive(Debug)]
struct Pod {
    netns: Netns,
    addresses: Vec<IpAddr>,
}

impl Bare {
    pub(super) fn new(shape: Shape) -> Result<Bare> {
        let nodes = [Netns::create()?, Netns::create()?];
        for node in &nodes {
            wire::loopback_up(node)?;
            widen_ports(node)?;
            underlay::forward(node)?;
        }
        let between = shape.underlay.join(&[&nodes[0], &nodes[1]])?;
        for (i, node) in nodes.iter().enumerate() {
            if shape.transport == Transport::Vxlan {
                hand::ip(node, &vxlan_lines(shape, i + 1))?;
            }
            if shape.wiring == Wiring::Bridge {
                bridge(node, i + 1)?;
            }
        }
        let pods = [(1, 2), (1, 3), (2, 2)];
        let pods = pods.map(|(n, last)| attach(&nodes[n - 1], shape.wiring, n, last));
        let [client, near, far] = pods;
        let pods = [client?, near?, far?];
        for (i, node) in nodes.iter().enumerate() {
            hand::ip(node, &peer_lines(shape, i + 1))?;
        }
        Ok(Bare {
            nodes,
            pods,
            shape,
            _between: between,
        })
    }

    /// From node to node, by their own addresses.
    pub(super) fn nodes(&self, family: Family, cpu: usize) -> Result<Link<'_>> {
        let addresses = self.shape.underlay.addresses(2).map(|net| net.addr());
        self.between_nodes("node-to-node", &addresses, family, cpu)
    }

    /// From VXLAN device to VXLAN device.
    pub(super) fn devices(&self, family: Family, cpu: usize) -> Result<Link<'_>> {
        let addresses = vxlan_nets(2).map(|net| net.addr());
        self.between_nodes("bare-vxlan", &addresses, family, cpu)
    }

    fn between_nodes(
        &self,
        name: &str,
        addresses: &[IpAddr],
        family: Family,
        cpu: usize,
    ) -> Result<Link<'_>> {
        let [first, second] = &self.nodes;
        Link::new(name, second, of_family(addresses, family)?, first, cpu)
    }

    /// From Pod to Pod of one node.
    pub(super) fn near(&self, name: &str, family: Family, cpu: usize) -> Result<Link<'_>> {
        self.to(&self.pods[1], name, family, cpu)
    }

    /// From Pod to Pod of the other node.
    pub(super) fn far(&self, name: &str, family: Family, cpu: usize) -> Result<Link<'_>> {
        self.to(&self.pods[2], name, family, cpu)
    }

    fn to(&self, pod: &Pod, name: &str, family: Family, cpu: usize) -> Result<Link<'_>> {
        let address = of_family(&pod.addresses, family)?;
        Link::new(name, &pod.netns, address, &self.pods[0].netns, cpu)
    }
}

/// The pod CIDRs of the `n`-th node.
fn pod_nets(n: usize) -> [IpNet; 2] {
    parsed([format!("10.98.{n}.0/24"), format!("fd98:{n}::/64")])
}

/// The addresses of the `n`-th node's VXLAN device.
fn vxlan_nets(n: usize) -> [IpNet; 2] {
    parsed([format!("10.99.0.{n}/24"), format!("fd99::{n}/64")])
}

/// The address of number `last` in a network, with the network's prefix length.
fn inside(net: IpNet, last: u8) -> IpNet {
    let mut address = net.network();
    match &mut address {
        IpAddr::V4(v4) => *v4 = (u32::from(*v4) + u32::from(last)).into(),
        IpAddr::V6(v6) => *v6 = (u128::from(*v6) + u128::from(last)).into(),
    }
    IpNet::new(address, net.prefix_len()).expect("the length is of another address of the family")
}

fn parsed(texts: [String; 2]) -> [IpNet; 2] {
    texts.map(|text| text.parse().expect("one digit fits all of these"))
}

/// Makes the VXLAN device of the `n`-th node: one remote, which is all there is.
fn vxlan_lines(shape: Shape, n: usize) -> String {
    let [own, other] = [n, 3 - n].map(|n| shape.underlay.addresses(n)[0].addr());
    let [v4, v6] = vxlan_nets(n);
    format!(
        "link add {VXLAN} type vxlan id 7 dstport 4789 local {own} remote {other} dev {UPLINK}\n\
         addr add {v4} dev {VXLAN}\n\
         addr add {v6} dev {VXLAN} nodad\n\
         link set {VXLAN} up\n"
    )
}

fn bridge(node: &Netns, n: usize) -> Result<()> {
    // Without ports yet; what passes it is not shown to IP's filters.
    wire::bridge(node, BRIDGE, &[])?;
    let [v4, v6] = pod_nets(n).map(|net| inside(net, 1));
    hand::ip(
        node,
        &format!("addr add {v4} dev {BRIDGE}\naddr add {v6} dev {BRIDGE} nodad\n"),
    )
}

/// Makes a Pod of the `n`-th node.
fn attach(node: &Netns, wiring: Wiring, n: usize, last: u8) -> Result<Pod> {
    let netns = Netns::create()?;
    wire::loopback_up(&netns)?;
    widen_ports(&netns)?;
    let own = pod_nets(n).map(|net| inside(net, last));
    let gateways = pod_nets(n).map(|net| inside(net, 1).addr());
    let host = format!("pod{last}");
    let outside = End {
        netns: node,
        name: &host,
        addresses: &[],
    };
    let within = match wiring {
        Wiring::Bridge => own,
        Wiring::Routed => own.map(|net| Family::host_net(net.addr())),
    };
    let inner = End {
        netns: &netns,
        name: plugin::IF_NAME,
        addresses: &within,
    };
    wire::pair(&outside, &inner)?;
    match wiring {
        Wiring::Bridge => {
            hand::ip(node, &format!("link set {host} master {BRIDGE}\n"))?;
            hand::ip(&netns, &defaults(gateways, ""))?;
        }
        Wiring::Routed => {
            hand::ip(node, &host_lines(&host, gateways, own))?;
            hand::ip(&netns, &defaults(gateways, "onlink"))?;
        }
    }
    Ok(Pod {
        netns,
        addresses: own.map(|net| net.addr()).into(),
    })
}

/// The node's end of a routed Pod: the gateway's addresses and a route to each of the Pod's.
fn host_lines(link: &str, gateways: [IpAddr; 2], own: [IpNet; 2]) -> String {
    let [v4, v6] = gateways;
    let routes = own.map(|net| format!("route add {} dev {link}\n", net.addr()));
    let addresses = format!("addr add {v4}/32 dev {link}\naddr add {v6}/128 dev {link} nodad\n");
    addresses + &routes.concat()
}

fn defaults(gateways: [IpAddr; 2], more: &str) -> String {
    let eth = plugin::IF_NAME;
    gateways
        .map(|gateway| format!("route add default via {gateway} dev {eth} {more}\n"))
        .concat()
}

/// The routes of the `n`-th node to the other's Pods.
fn peer_lines(shape: Shape, n: usize) -> String {
    let other = 3 - n;
    let (hops, more) = match shape.transport {
        Transport::Vxlan => (vxlan_nets(other), format!("dev {VXLAN}")),
        _ => (shape.underlay.addresses(other), String::new()),
    };
    let routes = pod_nets(other).into_iter().zip(hops);
    routes
        .map(|(net, hop)| format!("route add {net} via {} {more}\n", hop.addr()))
        .collect()
}

/// Whether a namespace tracks connections: a bare path that did would be none.
#[cfg(test)]
fn tracks_connections(netns: &Netns) -> bool {
    let read = || seaway_kernel::sysctl::read("net/netfilter/nf_conntrack_count");
    let count = netns.run(read).expect("it can be entered");
    count.is_ok_and(|count| count.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::Effort;
    use crate::underlay::Underlay;
    use std::time::Duration;

    #[test]
    fn every_bare_path_carries_both_families_and_is_not_tracked() {
        let effort = Effort {
            round_trips: 3,
            connections: 2,
            stream: Duration::from_millis(5),
        };
        let shapes = [
            (Underlay::Flat, Wiring::Routed, Transport::Direct),
            (Underlay::Flat, Wiring::Bridge, Transport::Direct),
            (Underlay::Flat, Wiring::Bridge, Transport::Vxlan),
            (Underlay::Routed, Wiring::Routed, Transport::Vxlan),
        ];
        for (underlay, wiring, transport) in shapes {
            let shape = Shape {
                underlay,
                wiring,
                transport,
            };
            let bare = Bare::new(shape).unwrap_or_else(|e| panic!("{shape:?}: {e:#}"));
            for family in Family::ALL {
                let mut links = vec![bare.nodes(family, 0), bare.near("near", family, 0)];
                links.push(bare.far("far", family, 0));
                if transport == Transport::Vxlan {
                    links.push(bare.devices(family, 0));
                }
                for link in links {
                    let link = link.expect("it can listen");
                    let result = link.round_trips(effort.round_trips).and_then(|_| {
                        link.connections(effort.connections)?;
                        link.stream(effort.stream)
                    });
                    result.unwrap_or_else(|e| panic!("{shape:?} {family}: {e:#}"));
                }
            }
            assert!(!bare.nodes.iter().any(tracks_connections), "{shape:?}");
        }
    }
}
