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
}

#[derive(Clone, Debug)]
pub(super) struct NodeView {
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
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
    /// What stands for a source that cannot show its own address, beside the node's addresses: what
    /// is sent from a loopback address, or comes back to where it is from.
    pub(super) stand_ins: Vec<IpAddr>,
    /// Whether Pods of a node answer each other past the node.
    pub(super) bridged: bool,
}

impl View {
    /// Asks a lab for it, as it was when it gave `status`.
    pub(super) fn of(client: &Client, status: &LabStatus) -> Result<View, LabError> {
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
        let node_view = |node: &NodeStatus| NodeView {
            name: node.name.clone(),
            addresses: node.addresses.iter().map(IpNet::addr).collect(),
            pods: pods
                .iter()
                .filter(|(pod, _)| pod.node == node.name)
                .map(|(_, view)| view.clone())
                .collect(),
        };
        Ok(View {
            nodes: status.nodes.iter().map(node_view).collect(),
            outside: status.outside.addresses.iter().map(IpNet::addr).collect(),
            exposed: None,
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
    pub(super) fn of(
        client: &Client,
        network: &Network,
        pod: &ReadyPod,
        port: u16,
    ) -> Result<Exposed, LabError> {
        let bridged = network.wiring == Wiring::Bridge;
        let mut stand_ins = Family::ALL.map(loopback_alias).to_vec();
        if bridged {
            stand_ins.extend(
                pod.addresses
                    .iter()
                    .filter_map(|a| first_of_part(network, *a)),
            );
        }
        Ok(Exposed {
            pod: pod_view(client, pod.name.clone(), &pod.name, &pod.addresses)?,
            node: pod.node.clone(),
            port,
            stand_ins,
            bridged,
        })
    }
}

/// The first address of the node's part of the cluster network that `address` is in: the bridge's.
fn first_of_part(network: &Network, address: IpAddr) -> Option<IpAddr> {
    let all = network.cluster_cidrs();
    let (_, bits) = all.into_iter().find(|(cidr, _)| cidr.contains(&address))?;
    let part = IpNet::new(address, bits).ok()?.network();
    Some(match part {
        IpAddr::V4(part) => IpAddr::V4((u32::from(part) + 1).into()),
        IpAddr::V6(part) => IpAddr::V6((u128::from(part) + 1).into()),
    })
}

fn pod_view(
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
