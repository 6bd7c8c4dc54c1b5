//! The cluster file of a [`Net`](super::Net): rewriting it is how its cluster changes.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use seaway_model::{EndpointSlice, Service, Transport};

use crate::node::replace;

/// A node as the cluster file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its pod CIDRs.
    pub pod_cidrs: Vec<IpNet>,
    /// What it says about its transport.
    pub transport: Option<Transport>,
    /// The zone that it is in.
    pub zone: Option<String>,
}

/// What the cluster file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The nodes.
    pub members: Vec<Member>,
    /// The Services.
    pub services: Vec<Service>,
    /// The endpoints of Services.
    pub slices: Vec<EndpointSlice>,
}

impl Cluster {
    /// The file's text.
    pub fn text(&self) -> String {
        let quoted = |items: Vec<String>| {
            let items: Vec<String> = items.iter().map(|item| format!("'{item}'")).collect();
            items.join(", ")
        };
        let mut text = String::from("nodes:\n");
        for member in &self.members {
            let addresses = member.addresses.iter().map(ToString::to_string);
            let cidrs = member.pod_cidrs.iter().map(ToString::to_string);
            let (addresses, cidrs) = (quoted(addresses.collect()), quoted(cidrs.collect()));
            let said = member.transport.map(|t| format!("\n  transport: {t}"));
            let zone = member.zone.as_ref().map(|z| format!("\n  zone: {z}"));
            let _ = writeln!(
                text,
                "- name: {}\n  addresses: [{addresses}]\n  podCIDRs: [{cidrs}]{}{}",
                member.name,
                said.unwrap_or_default(),
                zone.unwrap_or_default()
            );
        }
        if self.members.is_empty() {
            "nodes: []\n".clone_into(&mut text);
        }
        // JSON is YAML.
        let _ = writeln!(text, "services: {}", serde_json::json!(self.services));
        let _ = writeln!(text, "endpointSlices: {}", serde_json::json!(self.slices));
        text
    }

    pub(crate) fn write(&self, path: &Path) {
        replace(path, &self.text());
    }
}
