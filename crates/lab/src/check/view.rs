//! What there is to check, as plain data, and how a lab is asked for it.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_kernel::netlink::{LinkTarget, Netlink};
use seaway_model::{Family, Wiring, loopback_alias};

use super::AT_ONCE;
use crate::client::Client;
use crate::cluster::ReadyPod;
use crate::error::LabError;
use crate::parallel;
use crate::protocol::{LabStatus, NodeStatus, PodStatus};
use crate::topology::{Network, UPLINK};

/// What there is to check.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) nodes: Vec<NodeView>,
    /// The host beyond the cluster.
    pub(super) outside: Vec<IpAddr>,
    /// The Pod that has a port of its node, if it could be made.
    pub(super) exposed: Option<Exposed>,
    /// The Services that were made for the check, if they could be.
    pub(super) staged: Option<Staged>,
}

#[derive(Clone, Debug)]
pub(super) struct NodeView {
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
    /// What stands for a source that cannot show its own address, beside the node's addresses: what
    /// is sent from a loopback address, or comes back to where it is from.
    pub(super) stand_ins: Vec<IpAddr>,
    /// Whether Pods of the node answer each other past it.
    pub(super) bridged: bool,
    pub(super) pods: Vec<PodView>,
}

#[derive(Clone, Debug)]
pub(super) struct PodView {
    /// As `lab exec` names it.
    pub(super) name: String,
    /// As it calls itself.
    pub(super) host: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) mtu: u32,
}

/// A Pod with a port of its node.
#[derive(Clone, Debug)]
pub(super) struct Exposed {
    pub(super) pod: PodView,
    pub(super) node: String,
    pub(super) port: u16,
}

/// Services that were made for a check, and what is behind them.
#[derive(Clone, Debug)]
pub(super) struct Staged {
    /// Its Pods are those of `web`, on any nodes.
    pub(super) web: ServiceView,
    pub(super) web_hosts: Vec<String>,
    /// Leads to them, too, and each client always to the same.
    pub(super) sticky: ServiceView,
    /// Leads to nothing.
    pub(super) empty: ServiceView,
    /// Its only Pod is on a node of its own choice, and its external traffic policy is Local.
    pub(super) lone: ServiceView,
    pub(super) lone_pod: PodView,
    pub(super) lone_node: String,
}

/// A Service.
#[derive(Clone, Debug)]
pub(super) struct ServiceView {
    pub(super) name: String,
    /// Its whole name in DNS, without a dot at its end.
    pub(super) domain: String,
    pub(super) addresses: Vec<IpAddr>,
    /// Of its cluster addresses.
    pub(super) port: u16,
    /// Ports of nodes for TCP and UDP, if it has them.
    pub(super) node_ports: Option<[u16; 2]>,
}

impl NodeView {
    /// All that a server may see for something that the node sends in its own name.
    pub(super) fn all_own(&self) -> Vec<IpAddr> {
        [&self.addresses[..], &self.stand_ins].concat()
    }
}

impl View {
    /// Asks a lab for it, as it was when it gave `status`.
    pub(super) fn of(client: &Client, status: &LabStatus) -> Result<View, LabError> {
        let network = &status.network;
        let serving = |pod: &&PodStatus| pod.checked && pod.ready && !pod.host_network;
        let checked: Vec<&PodStatus> = status.pods.iter().filter(serving).collect();
        let views = parallel::map(checked.clone(), AT_ONCE, |pod| {
            pod_view(client, pod.target(), &pod.name, &pod.addresses)
        });
        let pods: Vec<(&PodStatus, PodView)> = checked
            .into_iter()
            .zip(views)
            .map(|(pod, view)| view.map(|view| (pod, view)))
            .collect::<Result<_, _>>()?;
        let of_node = |node: &NodeStatus| {
            let of_node = pods.iter().filter(|(pod, _)| pod.node == node.name);
            of_node.map(|(_, view)| view.clone()).collect()
        };
        let node_view = |(number, node): (u32, &NodeStatus)| NodeView {
            name: node.name.clone(),
            addresses: node.addresses.iter().map(IpNet::addr).collect(),
            stand_ins: stand_ins(network, number),
            bridged: network.wiring == Wiring::Bridge,
            pods: of_node(node),
        };
        Ok(View {
            nodes: (1..).zip(&status.nodes).map(node_view).collect(),
            outside: status.outside.addresses.iter().map(IpNet::addr).collect(),
            exposed: None,
            staged: None,
        })
    }

    /// The smallest MTU that a Pod has.
    pub(super) fn pod_mtu(&self) -> Option<u32> {
        let pods = self.nodes.iter().flat_map(|node| &node.pods);
        pods.map(|pod| pod.mtu).min()
    }
}

impl Exposed {
    /// Looks at a Pod that has `port` of its node.
    pub(super) fn of(client: &Client, pod: &ReadyPod, port: u16) -> Result<Exposed, LabError> {
        Ok(Exposed {
            pod: pod_view(client, pod.name.clone(), &pod.name, &pod.addresses)?,
            node: pod.node.clone(),
            port,
        })
    }
}

/// What stands for sources of the node of that number that cannot show their own address.
fn stand_ins(network: &Network, number: u32) -> Vec<IpAddr> {
    let mut all = Family::ALL.map(loopback_alias).to_vec();
    for (cidr, bits) in network.cluster_cidrs() {
        let of_part = |offset| address_of_part(cidr, bits, number, offset);
        // The bridge's.
        all.extend(of_part(1).filter(|_| network.wiring == Wiring::Bridge));
        // The VXLAN device's, which has one in IPv4 alone.
        all.extend(of_part(0).filter(IpAddr::is_ipv4));
    }
    all
}

/// An address of a node's part of a cluster network.
fn address_of_part(cidr: IpNet, bits: u8, number: u32, offset: u32) -> Option<IpAddr> {
    Some(match cidr.network() {
        IpAddr::V4(net) => {
            let part = number.checked_shl(32 - u32::from(bits))?;
            IpAddr::V4((u32::from(net) + part + offset).into())
        }
        IpAddr::V6(net) => {
            let part = u128::from(number).checked_shl(128 - u32::from(bits))?;
            IpAddr::V6((u128::from(net) + part + u128::from(offset)).into())
        }
    })
}

/// Looks at a Pod.
pub(super) fn pod_view(
    client: &Client,
    target: String,
    name: &str,
    addresses: &[IpAddr],
) -> Result<PodView, LabError> {
    let netns = client.enter(&target)?.net;
    let link = Netlink::open_in(&netns)?.link(LinkTarget::Name(UPLINK))?;
    let mtu = link
        .ok_or_else(|| LabError::Request(format!("the Pod {name} has no {UPLINK}")))?
        .mtu;
    Ok(PodView {
        name: target,
        host: name.to_owned(),
        addresses: addresses.to_vec(),
        mtu,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_a_node_depends_on_its_wiring_and_number() {
        let text = |wiring, number| -> Vec<String> {
            let network = Network {
                wiring,
                ..Network::default()
            };
            let all = stand_ins(&network, number);
            all.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            text(Wiring::Routed, 2),
            ["169.254.83.83", "fd5e:a83::83", "10.244.2.0"]
        );
        assert_eq!(
            text(Wiring::Bridge, 2)[2..],
            ["10.244.2.1", "10.244.2.0", "fd00:10:244:2::1"]
        );
    }
}
