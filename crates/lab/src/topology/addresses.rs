//! Which addresses a lab's machines have. Every subnet has its router at the same place, so that
//! flat and routed underlays follow one rule. Plain data.
//!
//! ```text
//!             flat                            routed
//! node N      172.18.0.N/16  fd00:5ea::N/64   172.18.N.1/24    fd00:5ea:N::1/64
//! control     172.18.255.1   fd00:5ea::ffff   172.18.255.1/24  fd00:5ea:ffff::1/64
//! router      172.18.255.254 fd00:5ea::fffe   .254             ::fffe in each of them
//! outside     203.0.113.10/24  2001:db8:5ea::10/64, with the router at .254 and ::fffe
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use seaway_model::{Family, dns_address};

use super::network::{Families, Network, UnderlayKind};

/// Pods of the whole cluster, with the prefix length of a node's part.
const CLUSTER_CIDRS: [(&str, u8); 2] = [("10.244.0.0/16", 24), ("fd00:10:244::/48", 64)];
/// Service addresses.
const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];
/// What all subnets of nodes and of the control plane are within.
const UNDERLAY: [&str; 2] = ["172.18.0.0/16", "fd00:5ea::/32"];
/// A host beyond the cluster.
const OUTSIDE: [&str; 2] = ["203.0.113.10/24", "2001:db8:5ea::10/64"];
/// The router in each IPv6 subnet.
const ROUTER_ID: u128 = 0xfffe;

impl Network {
    /// The addresses of a node, with the prefix length of its subnet.
    pub(super) fn node_addresses(&self, number: u16) -> Vec<IpNet> {
        let low = u8::try_from(number).expect("nodes are numbered up to 250");
        let hex = digits_as_hex(number);
        let nets = match self.underlay {
            UnderlayKind::Flat => flat([172, 18, 0, low], hex),
            UnderlayKind::Routed => routed([172, 18, low, 1], hex),
        };
        self.families.of(nets)
    }

    /// The addresses of the control plane, beyond those of nodes.
    pub(crate) fn control_plane_addresses(&self) -> Vec<IpNet> {
        let nets = match self.underlay {
            UnderlayKind::Flat => flat([172, 18, 255, 1], 0xffff),
            UnderlayKind::Routed => routed([172, 18, 255, 1], 0xffff),
        };
        self.families.of(nets)
    }

    /// The addresses of the host beyond the cluster.
    pub(crate) fn outside_addresses(&self) -> Vec<IpNet> {
        self.families.of(OUTSIDE.map(net))
    }

    /// Where nodes and the control plane are, as the host beyond the cluster knows it.
    pub(crate) fn underlay_nets(&self) -> Vec<IpNet> {
        self.families.of(UNDERLAY.map(net))
    }

    /// Pods of the whole cluster, with the prefix length of a node's part.
    pub(crate) fn cluster_cidrs(&self) -> Vec<(IpNet, u8)> {
        let all = CLUSTER_CIDRS.iter().map(|(cidr, bits)| (net(cidr), *bits));
        all.filter(|(cidr, _)| self.families.include(Family::of_net(cidr)))
            .collect()
    }

    /// Service addresses.
    pub(crate) fn service_cidrs(&self) -> Vec<IpNet> {
        self.families.of(SERVICE_CIDRS.map(net))
    }

    /// Where Pods ask for names: the same addresses on every node.
    pub(crate) fn name_servers(&self) -> Vec<IpAddr> {
        let families = Family::ALL.into_iter();
        let ours = families.filter(|family| self.families.include(*family));
        ours.map(dns_address).collect()
    }
}

impl Families {
    fn of(self, nets: [IpNet; 2]) -> Vec<IpNet> {
        let ours = |net: &IpNet| self.include(Family::of_net(net));
        nets.into_iter().filter(ours).collect()
    }
}

/// The router's address in the subnet of a machine.
pub(crate) fn router_in(machine: &IpNet) -> IpNet {
    match machine {
        IpNet::V4(net) => {
            let address = Ipv4Addr::from(u32::from(net.broadcast()) - 1);
            with_prefix(address.into(), net.prefix_len())
        }
        IpNet::V6(net) => {
            let address = Ipv6Addr::from(u128::from(net.network()) | ROUTER_ID);
            with_prefix(address.into(), net.prefix_len())
        }
    }
}

fn flat(v4: [u8; 4], id: u16) -> [IpNet; 2] {
    let v6 = Ipv6Addr::new(0xfd00, 0x5ea, 0, 0, 0, 0, 0, id);
    [
        with_prefix(IpAddr::from(v4), 16),
        with_prefix(v6.into(), 64),
    ]
}

fn routed(v4: [u8; 4], subnet: u16) -> [IpNet; 2] {
    let v6 = Ipv6Addr::new(0xfd00, 0x5ea, subnet, 0, 0, 0, 0, 1);
    [
        with_prefix(IpAddr::from(v4), 24),
        with_prefix(v6.into(), 64),
    ]
}

fn with_prefix(address: IpAddr, bits: u8) -> IpNet {
    match address {
        IpAddr::V4(address) => Ipv4Net::new(address, bits).expect("at most 32 bits").into(),
        IpAddr::V6(address) => Ipv6Net::new(address, bits)
            .expect("at most 128 bits")
            .into(),
    }
}

fn net(text: &str) -> IpNet {
    text.parse()
        .expect("the networks of this module are written correctly")
}

/// The number whose hexadecimal digits read like `number`'s decimal ones, so that node 12 is `:12`
/// in IPv6 as it is `.12` in IPv4.
fn digits_as_hex(number: u16) -> u16 {
    let mut rest = number;
    let mut result = 0;
    let mut place = 0;
    while rest > 0 {
        result |= (rest % 10) << place;
        rest /= 10;
        place += 4;
    }
    result
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::topology::{MAX_NODES, Topology};

    fn text(nets: &[IpNet]) -> Vec<String> {
        nets.iter().map(ToString::to_string).collect()
    }

    fn of(underlay: UnderlayKind, families: Families) -> Network {
        Network {
            underlay,
            families,
            ..Network::default()
        }
    }

    const KINDS: [UnderlayKind; 2] = [UnderlayKind::Flat, UnderlayKind::Routed];

    #[test]
    fn the_twelfth_node_reads_as_such_everywhere() {
        let [flat, routed] = KINDS.map(|kind| of(kind, Families::Dual).node_addresses(12));
        assert_eq!(text(&flat), ["172.18.0.12/16", "fd00:5ea::12/64"]);
        assert_eq!(text(&routed), ["172.18.12.1/24", "fd00:5ea:12::1/64"]);
    }

    #[test]
    fn no_address_is_given_twice_at_any_size() {
        for (kind, size) in KINDS.into_iter().zip([MAX_NODES, MAX_NODES]) {
            let network = of(kind, Families::Dual);
            let lab = Topology::new(size, 0, network).expect("valid");
            let mut seen = BTreeSet::new();
            let fixed = [
                network.control_plane_addresses(),
                network.outside_addresses(),
            ];
            let nodes = lab.nodes.iter().map(|node| &node.addresses);
            for net in nodes.chain(&fixed).flatten() {
                assert!(seen.insert(net.addr()), "{net}");
            }
        }
    }

    #[test]
    fn nodes_share_a_subnet_on_a_flat_underlay_and_none_on_a_routed_one() {
        for (kind, subnets) in KINDS.into_iter().zip([2, 2 * usize::from(MAX_NODES)]) {
            let lab = Topology::new(MAX_NODES, 0, of(kind, Families::Dual)).expect("valid");
            let nets: BTreeSet<IpNet> = lab
                .nodes
                .iter()
                .flat_map(|node| node.addresses.iter().map(IpNet::trunc))
                .collect();
            assert_eq!(nets.len(), subnets, "{kind}");
        }
    }

    #[test]
    fn the_router_is_in_every_subnet_and_nobody_else_there() {
        for kind in KINDS {
            let network = of(kind, Families::Dual);
            let machines = [
                network.node_addresses(1),
                network.node_addresses(250),
                network.control_plane_addresses(),
                network.outside_addresses(),
            ];
            for net in machines.iter().flatten() {
                let router = router_in(net);
                assert_eq!(router.trunc(), net.trunc());
                assert!(machines.iter().flatten().all(|m| m.addr() != router.addr()));
            }
        }
        let routed = of(UnderlayKind::Routed, Families::Dual).node_addresses(3);
        let routers: Vec<IpNet> = routed.iter().map(router_in).collect();
        assert_eq!(text(&routers), ["172.18.3.254/24", "fd00:5ea:3::fffe/64"]);
    }

    #[test]
    fn the_outside_knows_where_nodes_are_and_not_where_pods_are() {
        for kind in KINDS {
            let network = of(kind, Families::Dual);
            let known = network.underlay_nets();
            let is_known = |net: &IpNet| known.iter().any(|known| known.contains(net));
            for number in [1, 12, 250] {
                assert!(network.node_addresses(number).iter().all(is_known));
            }
            assert!(network.control_plane_addresses().iter().all(is_known));
            assert!(!network.cluster_cidrs().iter().any(|(net, _)| is_known(net)));
            assert!(!network.service_cidrs().iter().any(is_known));
        }
    }

    #[test]
    fn a_cluster_of_one_family_has_nothing_of_the_other() {
        for (families, family) in [(Families::Ipv4, Family::V4), (Families::Ipv6, Family::V6)] {
            let network = of(UnderlayKind::Flat, families);
            let pods = network.cluster_cidrs().into_iter().map(|(net, _)| net);
            let all = [
                network.node_addresses(1),
                network.control_plane_addresses(),
                network.outside_addresses(),
                network.underlay_nets(),
                network.service_cidrs(),
                pods.collect(),
            ];
            for nets in all {
                assert_eq!(nets.len(), 1);
                assert_eq!(Family::of_net(&nets[0]), family);
            }
            assert_eq!(network.name_servers(), [dns_address(family)]);
        }
    }
}
