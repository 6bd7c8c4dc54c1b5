//! How a lab is asked for what there is to check.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_kernel::netlink::{LinkTarget, Netlink};
use seaway_model::{Family, Wiring, loopback_alias};

use super::super::AT_ONCE;
use super::super::view::{NodeView, PodView, View};
use crate::client::Client;
use crate::error::LabError;
use crate::parallel;
use crate::protocol::{LabStatus, NodeStatus, PodStatus};
use crate::supervisor::NODE_PORTS;
use crate::topology::{Network, UPLINK};

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
        echo: NODE_PORTS.1,
        addresses: node.addresses.iter().map(IpNet::addr).collect(),
        stand_ins: stand_ins(network, number),
        bridged: network.wiring == Wiring::Bridge,
        pods: of_node(node),
    };
    Ok(View {
        nodes: (1..).zip(&status.nodes).map(node_view).collect(),
        outside: status.outside.addresses.iter().map(IpNet::addr).collect(),
        reaches_outside: true,
        exposed: None,
        staged: None,
    })
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
