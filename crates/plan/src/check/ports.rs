//! What is wrong with the ports of the node that Pods ask for.

use std::net::IpAddr;

use seaway_model::{AttachmentId, Family, HostPortKey};

use super::{Finding, finding};
use crate::planner::Planner;
use crate::rows::{host_ports, is_vxlan_port};

/// Adds the findings about ports of the node.
pub(super) fn findings(planner: &Planner, findings: &mut Vec<Finding>) {
    for attachment in planner.attachments().values() {
        for row in host_ports(attachment) {
            let message = is_refused(planner, &row.key)
                .or_else(|| is_nobodys(planner, &row.key))
                .or_else(|| is_node_port(planner, &row.key))
                .or_else(|| is_lost(planner, &attachment.id, &row.key));
            if let Some(message) = message {
                let object = format!("attachment {}", attachment.id);
                findings.push(finding(object, "portMappings", message));
            }
        }
    }
}

fn is_refused(planner: &Planner, key: &HostPortKey) -> Option<String> {
    is_vxlan_port(planner.context(), key).then(|| {
        format!(
            "{key} is not opened: VXLAN frames of other nodes come to this port; choose another \
             host port, or another port for VXLAN on every node"
        )
    })
}

fn is_nobodys(planner: &Planner, key: &HostPortKey) -> Option<String> {
    let address = key.address?;
    let known = |own: IpAddr| own == address;
    if address.is_loopback() || planner.context().own_addresses().any(known) {
        return None;
    }
    Some(format!(
        "{key} leads nowhere: {address} is no address of this node that other nodes know; name \
         one that it has, or none for all"
    ))
}

fn is_node_port(planner: &Planner, key: &HostPortKey) -> Option<String> {
    let is_meant = |address: &IpAddr| {
        let of_family = Family::of(*address) == key.family;
        of_family && key.address.is_none_or(|wanted| wanted == *address)
    };
    let mut addresses = planner.node_port_addresses().filter(is_meant);
    let service = addresses.find_map(|a| planner.service_at(a, key.protocol, key.port))?;
    Some(format!(
        "{key} is also a node port of Service {service}; give one of them another port"
    ))
}

fn is_lost(planner: &Planner, id: &AttachmentId, key: &HostPortKey) -> Option<String> {
    let winner = planner.rows().host_ports.get(key)?.owner.as_ref()?;
    (winner != id).then(|| {
        format!(
            "{key} leads to {winner}, which asked for it too; only one of them can have it, so \
             choose another host port or let them run on different nodes"
        )
    })
}
