//! The path under test: Pods of real agents, attached by the real plugin.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use seaway_kernel::netns::Netns;
use seaway_model::Family;

use super::{Shape, of_family, widen_ports};
use crate::binaries::Binaries;
use crate::cluster::{Cluster, Node, Settings};
use crate::hand;
use crate::plugin::Pod;
use crate::tcp::Link;

/// What of Seaway is left out or changed, to tell what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// Nothing: as it is used.
    Whole,
    /// Masquerading, by the agent's own flag.
    NoMasquerade,
    /// All of its tables of nftables, and with them connection tracking. No agent can be there to
    /// put them back: the agents are gone, what they made is still in force.
    NoFilters,
    /// What is in force is changed by a shell script, run on each node; likewise without agents.
    Changed(PathBuf),
}

impl Variant {
    /// What is added to a case's name.
    pub(super) fn suffix(&self) -> String {
        match self {
            Variant::Whole => String::new(),
            Variant::NoMasquerade => "-no-masquerade".to_owned(),
            Variant::NoFilters => "-no-filters".to_owned(),
            Variant::Changed(file) => {
                let name = file.file_stem().unwrap_or_default();
                format!("-{}", name.to_string_lossy())
            }
        }
    }

    /// Changes the filters of a node whose agent is gone.
    fn alter(&self, node: &Netns) -> Result<()> {
        match self {
            Variant::Whole | Variant::NoMasquerade => Ok(()),
            Variant::NoFilters => hand::flush_filters(node),
            Variant::Changed(file) => {
                let commands = std::fs::read_to_string(file)
                    .with_context(|| format!("reading {}", file.display()))?;
                hand::tool(node, "sh", &["-e", "-s"], &commands)
            }
        }
    }
}

/// Two nodes, two Pods on the first, one on the second.
#[derive(Debug)]
pub(super) struct Pods {
    cluster: Cluster,
    client: Pod,
    near: (Pod, Vec<IpAddr>),
    far: (Pod, Vec<IpAddr>),
}

impl Pods {
    pub(super) fn new(shape: Shape, variant: &Variant) -> Result<Pods> {
        let settings = Settings {
            underlay: shape.underlay,
            wiring: shape.wiring,
            transport: shape.transport,
            masquerade: *variant != Variant::NoMasquerade,
        };
        let mut cluster = Cluster::start_with(settings, 2, &Binaries::find()?)?;
        let [first, second] = &mut cluster.nodes[..] else {
            bail!("two nodes were asked for");
        };
        let attached = |node: &Node| -> Result<(Pod, Vec<IpAddr>)> {
            let pod = Pod::new()?;
            let addresses = node.attach(&pod)?;
            Ok((pod, addresses))
        };
        let (client, _) = attached(first)?;
        let (near, far) = (attached(first)?, attached(second)?);
        widen_ports(client.netns())?;
        if !matches!(variant, Variant::Whole | Variant::NoMasquerade) {
            for node in [first, second] {
                node.end_agent();
                variant.alter(node.room.netns())?;
            }
        }
        Ok(Pods {
            cluster,
            client,
            near,
            far,
        })
    }

    /// From Pod to Pod of one node.
    pub(super) fn near(&self, name: &str, family: Family, cpu: usize) -> Result<Link<'_>> {
        self.to(&self.near, name, family, cpu)
    }

    /// From Pod to Pod of the other node.
    pub(super) fn far(&self, name: &str, family: Family, cpu: usize) -> Result<Link<'_>> {
        self.to(&self.far, name, family, cpu)
    }

    fn to(
        &self,
        (server, addresses): &(Pod, Vec<IpAddr>),
        name: &str,
        family: Family,
        cpu: usize,
    ) -> Result<Link<'_>> {
        debug_assert_eq!(self.cluster.nodes.len(), 2);
        let address = of_family(addresses, family)?;
        Link::new(name, server.netns(), address, self.client.netns(), cpu)
    }
}
