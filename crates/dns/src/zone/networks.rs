//! The addresses that Pods can have: those of the nodes' Pod networks, and the nodes' own for Pods
//! on the host's network. One look-up per prefix length in use, however many nodes there are.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{Family, Node, NodeName};

#[derive(Debug, Default)]
pub(super) struct Networks {
    of_node: HashMap<NodeName, Box<[IpNet]>>,
    nets: HashMap<IpNet, usize>,
    lengths: BTreeMap<(Family, u8), usize>,
}

impl Networks {
    pub(super) fn upsert(&mut self, node: &Node) {
        let own = node.addresses.iter().map(|a| Family::host_net(*a));
        let nets: Box<[IpNet]> = own.chain(node.pod_cidrs.iter().map(IpNet::trunc)).collect();
        if self.of_node.get(&node.name) == Some(&nets) {
            return;
        }
        self.delete(&node.name);
        for net in &nets {
            *self.nets.entry(*net).or_default() += 1;
            *self.lengths.entry(length(net)).or_default() += 1;
        }
        self.of_node.insert(node.name.clone(), nets);
    }

    pub(super) fn delete(&mut self, name: &NodeName) {
        for net in self.of_node.remove(name).iter().flatten() {
            if let Some(count) = self.nets.get_mut(net) {
                *count -= 1;
                if *count == 0 {
                    self.nets.remove(net);
                }
            }
            if let Some(count) = self.lengths.get_mut(&length(net)) {
                *count -= 1;
                if *count == 0 {
                    self.lengths.remove(&length(net));
                }
            }
        }
    }

    /// Whether a Pod can have the address.
    pub(super) fn contain(&self, address: IpAddr) -> bool {
        self.contain_within(address, u8::MAX)
    }

    /// Whether it is of a Pod network, so that nobody outside can know it.
    pub(super) fn contain_among_pods(&self, address: IpAddr) -> bool {
        self.contain_within(address, Family::of(address).host_prefix() - 1)
    }

    fn contain_within(&self, address: IpAddr, longest: u8) -> bool {
        let family = Family::of(address);
        let mut lengths = self.lengths.range((family, 0)..=(family, longest));
        lengths.any(|((_, length), _)| {
            let net = IpNet::new(address, *length).map(|net| net.trunc());
            net.is_ok_and(|net| self.nets.contains_key(&net))
        })
    }
}

fn length(net: &IpNet) -> (Family, u8) {
    (Family::of_net(net), net.prefix_len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, address: &str, net: &str) -> Node {
        Node {
            name: NodeName::new(name).expect("valid"),
            addresses: vec![address.parse().expect("address")],
            pod_cidrs: vec![net.parse().expect("net")],
            transport: None,
            zone: None,
            leaving: false,
        }
    }

    #[test]
    fn networks_come_and_go_with_their_nodes() {
        let mut networks = Networks::default();
        let holds = |networks: &Networks, a: &str| networks.contain(a.parse().expect("address"));
        networks.upsert(&node("a", "172.18.0.2", "10.1.0.0/24"));
        networks.upsert(&node("b", "fd00::2", "fd00:1::/64"));
        for inside in ["10.1.0.7", "172.18.0.2", "fd00:1::9", "fd00::2"] {
            assert!(holds(&networks, inside), "{inside}");
        }
        for outside in ["10.1.1.7", "8.8.8.8", "fd00:2::9"] {
            assert!(!holds(&networks, outside), "{outside}");
        }
        let of_pods = |a: &str| networks.contain_among_pods(a.parse().expect("address"));
        assert!(of_pods("10.1.0.7") && of_pods("fd00:1::9"));
        assert!(!of_pods("172.18.0.2") && !of_pods("fd00::2") && !of_pods("8.8.8.8"));
        networks.upsert(&node("a", "172.18.0.2", "10.1.1.0/24"));
        assert!(!holds(&networks, "10.1.0.7") && holds(&networks, "10.1.1.7"));
        networks.delete(&NodeName::new("a").expect("valid"));
        networks.delete(&NodeName::new("b").expect("valid"));
        assert!(networks.nets.is_empty() && networks.lengths.is_empty());
    }
}
