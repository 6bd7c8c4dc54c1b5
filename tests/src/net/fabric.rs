//! What is between the nodes: a namespace that is a switch (`flat`) or a router (`routed`), and
//! the world outside behind it.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use seaway_kernel::netns::Netns;
use seaway_kernel::sysctl;
use seaway_model::Family;

use crate::shell::ip;

/// What is between the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underlay {
    /// One link.
    Flat,
    /// A subnet per node and a router between.
    Routed,
}

/// Everything that is not a node.
pub struct Fabric {
    /// The switch or router; the cable of node 1 is its device `n1`, and so on. The cable to the
    /// outside is `out`.
    pub netns: Netns,
    /// A host that knows no Pod network, only the nodes; its device is `eth0`.
    pub outside: Netns,
    underlay: Underlay,
}

/// A namespace with a name in `/run/netns`, where no address waits to be found unique.
pub(super) fn namespace(name: &str) -> Netns {
    let netns = Netns::create().expect("namespace");
    netns
        .pin(&Path::new("/run/netns").join(name))
        .expect("pinned");
    set(&netns, "net/ipv6/conf/all/accept_dad", "0");
    set(&netns, "net/ipv6/conf/default/accept_dad", "0");
    ip(&netns, "link set lo up\n");
    netns
}

/// Writes a kernel setting in a namespace.
pub fn set(netns: &Netns, name: &str, value: &str) {
    let written = netns.enter(|| sysctl::write(name, value));
    written.expect("namespace").expect("written");
}

/// Reads a kernel setting in a namespace.
pub fn get(netns: &Netns, name: &str) -> String {
    let read = netns.enter(|| sysctl::read(name));
    read.expect("namespace").expect("read")
}

fn net(text: String) -> IpNet {
    text.parse().expect("a network")
}

impl Underlay {
    /// The addresses of node `number`, with their networks.
    pub fn node_nets(self, number: usize) -> [IpNet; 2] {
        match self {
            Underlay::Flat => [
                net(format!("192.168.7.{number}/24")),
                net(format!("fd00:7::{number}/64")),
            ],
            Underlay::Routed => [
                net(format!("192.168.{}.1/24", 10 + number)),
                net(format!("fd00:7:{number}::1/64")),
            ],
        }
    }

    /// The router's addresses where node `number` is.
    pub fn router(self, number: usize) -> [IpAddr; 2] {
        self.router_nets(number).map(|net| net.addr())
    }

    fn router_nets(self, number: usize) -> [IpNet; 2] {
        match self {
            Underlay::Flat => [
                net("192.168.7.254/24".to_owned()),
                net("fd00:7::fe/64".to_owned()),
            ],
            Underlay::Routed => [
                net(format!("192.168.{}.254/24", 10 + number)),
                net(format!("fd00:7:{number}::fe/64")),
            ],
        }
    }
}

/// The address outside.
pub fn outside_address(family: Family) -> IpAddr {
    let text = match family {
        Family::V4 => "203.0.113.9",
        Family::V6 => "2001:db8:9::9",
    };
    text.parse().expect("valid")
}

impl Fabric {
    pub(super) fn new(underlay: Underlay) -> Fabric {
        let (netns, outside) = (namespace("fabric"), namespace("outside"));
        set(&netns, "net/ipv4/ip_forward", "1");
        set(&netns, "net/ipv6/conf/all/forwarding", "1");
        let lines = "link add out type veth peer name eth0 netns outside\n\
                     addr add 203.0.113.1/24 dev out\n\
                     addr add 2001:db8:9::1/64 dev out nodad\n\
                     link set out up\n";
        ip(&netns, lines);
        let lines = "addr add 203.0.113.9/24 dev eth0\n\
                     addr add 2001:db8:9::9/64 dev eth0 nodad\n\
                     link set eth0 up\n\
                     route add 192.168.0.0/16 via 203.0.113.1\n\
                     route add fd00:7::/32 via 2001:db8:9::1\n";
        ip(&outside, lines);
        if underlay == Underlay::Flat {
            let [v4, v6] = underlay.router_nets(0);
            let lines = format!(
                "link add name switch type bridge mcast_snooping 0 forward_delay 0\n\
                 addr add {v4} dev switch\naddr add {v6} dev switch nodad\nlink set switch up\n"
            );
            ip(&netns, &lines);
            // The switch is to switch, whatever filters its namespace has.
            for family in ["iptables", "ip6tables"] {
                set(&netns, &format!("net/bridge/bridge-nf-call-{family}"), "0");
            }
        }
        Fabric {
            netns,
            outside,
            underlay,
        }
    }

    /// Plugs in node `number`, whose namespace has this name.
    pub(super) fn plug(&self, number: usize, node: &Netns, name: &str) {
        let cable = format!("n{number}");
        let mut lines = format!("link add {cable} type veth peer name eth0 netns {name}\n");
        let [v4, v6] = self.underlay.router_nets(number);
        lines += &match self.underlay {
            Underlay::Flat => format!("link set {cable} master switch\n"),
            Underlay::Routed => {
                format!("addr add {v4} dev {cable}\naddr add {v6} dev {cable} nodad\n")
            }
        };
        lines += &format!("link set {cable} up\n");
        ip(&self.netns, &lines);
        let [own_v4, own_v6] = self.underlay.node_nets(number);
        let lines = format!(
            "addr add {own_v4} dev eth0\naddr add {own_v6} dev eth0 nodad\n\
             link set eth0 up\n{}",
            self.default_routes(number)
        );
        ip(node, &lines);
    }

    /// What gives node `number` its way out (again).
    pub fn default_routes(&self, number: usize) -> String {
        let [v4, v6] = self.underlay.router(number);
        format!(
            "route replace default via {v4} dev eth0\n\
             route replace default via {v6} dev eth0\n"
        )
    }

    /// Makes the router's way to node `number` of a `routed` underlay narrower than its cables. (A
    /// cable with a smaller MTU would drop large frames that come in, and say nothing.)
    pub fn narrow(&self, number: usize, mtu: u32) {
        let nets = self.underlay.node_nets(number);
        self.narrow_ways(&nets, &format!("n{number}"), mtu);
    }

    /// Makes the router's way to the outside narrower than its cable.
    pub fn narrow_way_out(&self, mtu: u32) {
        let nets = ["203.0.113.0/24", "2001:db8:9::/64"].map(|text| net(text.to_owned()));
        self.narrow_ways(&nets, "out", mtu);
    }

    fn narrow_ways(&self, nets: &[IpNet], device: &str, mtu: u32) {
        for net in nets {
            let metric = match Family::of_net(net) {
                Family::V4 => "",
                // That of the route that it takes the place of.
                Family::V6 => "metric 256",
            };
            let net = net.trunc();
            let line = format!("route replace {net} dev {device} {metric} mtu lock {mtu}\n");
            ip(&self.netns, &line);
        }
    }

    /// Which underlay it is.
    pub fn underlay(&self) -> Underlay {
        self.underlay
    }
}
