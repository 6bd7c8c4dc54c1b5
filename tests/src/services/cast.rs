//! Who there is: the places that cases name, each a namespace with addresses.
//!
//! `pod1` … are client Pods, `b1`, `c1`, … Pods that serve, `node1` … programs of the nodes (and
//! endpoints that use the node's network), `outside` a host that knows no Pod network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use seaway_kernel::netns::Netns;
use seaway_model::{Family, Node, NodeName};

use super::{Crowd, Server};
use crate::Pod;
use crate::net::{Net, Underlay, outside_address, pod_cidrs};
use crate::shell::{self, ip};

/// The zones of the nodes, from node 1 on.
pub const ZONES: [&str; 3] = ["east", "east", "west"];

/// Pods and the nodes that they are on.
const PODS: [(&str, usize); 8] = [
    ("pod1", 1),
    ("b1", 1),
    ("c1", 1),
    ("pod2", 2),
    ("b2", 2),
    ("c2", 2),
    ("pod3", 3),
    ("b3", 3),
];

/// The ports that everybody serves.
pub const PORTS: [u16; 2] = [8080, 8081];
/// The ports that the host outside serves beside those.
const OUTER_PORTS: [u16; 3] = [80, 8080, 8081];

/// An address that the host outside has beside its own.
pub fn outer_address(family: Family) -> IpAddr {
    let text = match family {
        Family::V4 => "203.0.113.77",
        Family::V6 => "2001:db8:9::77",
    };
    text.parse().expect("valid")
}

/// A place.
#[derive(Debug)]
pub struct Place {
    /// The number of the node that it is on, or is.
    pub node: Option<usize>,
    /// It is a Pod with a network of its own.
    pub is_pod: bool,
    /// Its addresses, the first of a family being the one that it speaks from.
    pub addresses: Vec<IpAddr>,
    netns: Option<Netns>,
}

impl Place {
    /// Its namespace.
    ///
    /// # Panics
    ///
    /// If it is on paper only.
    pub fn netns(&self) -> &Netns {
        self.netns.as_ref().expect("a place of a real cluster")
    }

    /// Its address of a family.
    pub fn address(&self, family: Family) -> IpAddr {
        let mut all = self.addresses.iter();
        *all.find(|a| Family::of(**a) == family).expect("dual stack")
    }
}

/// Everybody.
pub struct Cast {
    /// The places by name.
    pub places: BTreeMap<String, Place>,
    /// The servers.
    pub crowd: Option<Crowd>,
    pods: Vec<Pod>,
}

impl Cast {
    /// Attaches the Pods to the nodes that there are; nobody serves yet.
    pub fn without_servers(net: &Net) -> Cast {
        let nodes = net.agents.len();
        lead_outer_addresses(net);
        let mut cast = Cast::nobody();
        for (name, node) in PODS.into_iter().filter(|(_, node)| *node <= nodes) {
            let pod = net.pod(node, name);
            cast.add(name, Some(node), Some(pod.netns()), pod.addresses.clone());
            cast.pods.push(pod);
        }
        for number in 1..=nodes {
            let addresses = Family::ALL.map(|family| net.address(number, family));
            let (name, netns) = (format!("node{number}"), net.node(number));
            cast.add(&name, Some(number), Some(netns), addresses.to_vec());
        }
        cast.add(
            "outside",
            None,
            Some(&net.fabric.outside),
            outside_addresses(),
        );
        cast
    }

    /// Everybody on paper: the same names on three nodes of a flat underlay, and no namespaces.
    pub fn on_paper() -> Cast {
        let mut cast = Cast::nobody();
        for (at, (name, node)) in PODS.into_iter().enumerate() {
            let parse = |text: String| text.parse().expect("valid");
            let v4 = parse(format!("10.244.{node}.{}", at + 2));
            let v6 = parse(format!("fd00:10:244:{node}::{:x}", at + 2));
            cast.add(name, Some(node), None, vec![v4, v6]);
        }
        for number in 1..=ZONES.len() {
            let nets = Underlay::Flat.node_nets(number);
            let addresses = nets.map(|net| net.addr()).to_vec();
            cast.add(&format!("node{number}"), Some(number), None, addresses);
        }
        cast.add("outside", None, None, outside_addresses());
        cast
    }

    fn nobody() -> Cast {
        Cast {
            places: BTreeMap::new(),
            crowd: None,
            pods: Vec::new(),
        }
    }

    fn add(
        &mut self,
        name: &str,
        node: Option<usize>,
        netns: Option<&Netns>,
        addresses: Vec<IpAddr>,
    ) {
        let place = Place {
            node,
            is_pod: PODS.iter().any(|(pod, _)| *pod == name),
            addresses,
            netns: netns.map(|netns| netns.try_clone().expect("a descriptor")),
        };
        self.places.insert(name.to_owned(), place);
    }

    /// The nodes, as the cluster has them.
    pub fn nodes(&self) -> Vec<Node> {
        let node = |number: usize| Node {
            name: node_name(number),
            addresses: self.place(&format!("node{number}")).addresses.clone(),
            pod_cidrs: pod_cidrs(number).to_vec(),
            transport: None,
            zone: Some(ZONES[number - 1].to_owned()),
            leaving: false,
        };
        let there = |number: &usize| self.places.contains_key(&format!("node{number}"));
        (1..=ZONES.len()).filter(there).map(node).collect()
    }

    /// Opens the servers of everybody.
    pub fn servers(&self) -> Vec<Server> {
        let serves = |name: &str| !name.starts_with("pod");
        let names = self.places.keys().filter(|name| serves(name));
        names.map(|name| self.server(name)).collect()
    }

    /// Opens the server of one place.
    pub fn server(&self, name: &str) -> Server {
        let place = self.place(name);
        let ports: &[u16] = match name {
            "outside" => &OUTER_PORTS,
            _ => &PORTS,
        };
        Server::open(name, place.netns(), &place.addresses, ports)
    }

    /// A place.
    ///
    /// # Panics
    ///
    /// If there is none of this name.
    pub fn place(&self, name: &str) -> &Place {
        let place = self.places.get(name);
        place.unwrap_or_else(|| panic!("there is no place named {name}"))
    }

    /// Who has an address, if it is one of the cast.
    pub fn name_of(&self, address: IpAddr) -> Option<&str> {
        let mut places = self.places.iter();
        let found = places.find(|(_, place)| place.addresses.contains(&address));
        found.map(|(name, _)| name.as_str())
    }

    /// All addresses that a node has by now.
    pub fn addresses_of_node(&self, number: usize) -> Vec<IpAddr> {
        let place = self.place(&format!("node{number}"));
        let netns = place.netns();
        let text = shell::run(netns, "ip -o addr show");
        let address = |line: &str| {
            let mut words = line.split_whitespace();
            words.find(|word| word.starts_with("inet"))?;
            words.next()?.split('/').next()?.parse().ok()
        };
        text.lines().filter_map(address).collect()
    }
}

/// The name of a node.
///
/// # Panics
///
/// Never: the name is valid.
pub fn node_name(number: usize) -> NodeName {
    NodeName::new(format!("node{number}")).expect("valid")
}

fn outside_addresses() -> Vec<IpAddr> {
    let own = Family::ALL.map(outside_address).into_iter();
    own.chain(Family::ALL.map(outer_address)).collect()
}

/// Gives the host outside its second address (never to speak from), and leads those of load balancers to nodes 1 and 2,
/// and those of Services to node 1.
fn lead_outer_addresses(net: &Net) {
    let [v4, v6] = Family::ALL.map(outer_address);
    ip(
        &net.fabric.outside,
        &format!(
            "addr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad preferred_lft 0\n\
             route add 198.51.100.0/22 via 203.0.113.1\n\
             route add 2001:db8:100::/40 via 2001:db8:9::1\n\
             route add 10.96.0.0/16 via 203.0.113.1\n\
             route add fd00:10:96::/112 via 2001:db8:9::1\n"
        ),
    );
    let via = Family::ALL.map(|family| net.address(1, family));
    ip(
        &net.fabric.netns,
        &format!(
            "route add 10.96.0.0/16 via {}\nroute add fd00:10:96::/112 via {}\n",
            via[0], via[1]
        ),
    );
    for number in 1..=net.agents.len().min(2) {
        let via = Family::ALL.map(|family| net.address(number, family));
        ip(
            &net.fabric.netns,
            &format!(
                "route add 198.51.10{number}.0/24 via {}\n\
                 route add 2001:db8:10{number}::/48 via {}\n",
                via[0], via[1]
            ),
        );
    }
}
