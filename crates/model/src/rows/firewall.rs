//! The static part of the filters: what they are made from, as one row.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::Row;
use crate::{Family, Wiring};

/// The static part of the node's filters and translations: chains and rules follow from it alone.
/// What changes with Pods and peers is in rows of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FirewallRow {
    /// How Pods are wired, and therefore where forgeries are caught.
    pub wiring: Wiring,
    /// The node's own pod CIDRs: what its Pods may send from.
    pub own_nets: BTreeSet<IpNet>,
    /// What may come in by VXLAN; nothing when `None`.
    pub vxlan: Option<VxlanGuard>,
    /// Pods that leave the cluster get the node's address.
    pub masquerade: bool,
    /// The prefix lengths of all [`ClusterNetRow`](super::ClusterNetRow)s: each is a look-up.
    pub cluster_lengths: BTreeSet<(Family, u8)>,
    /// How Services are balanced; not at all when `None`.
    pub services: Option<ServiceRules>,
}

/// The static part of the balancing of Services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServiceRules {
    /// Where cluster addresses come from: one that no Service has is dropped (S14).
    pub service_cidrs: BTreeSet<IpNet>,
    /// What becomes the source of translated flows that are not to keep theirs: an address of this
    /// node, at most one a family. Without one it is masqueraded.
    pub sources: BTreeSet<IpAddr>,
    /// The times in seconds for which clients keep their backend: each is a map.
    pub affinities: BTreeSet<u32>,
    /// The prefix lengths of all [`SourceRangeRow`](super::SourceRangeRow)s: each is a look-up.
    pub range_lengths: BTreeSet<(Family, u8)>,
    /// Pods do not keep their source either (S9).
    pub masquerade_all: bool,
    /// The addresses of names are open to this node's Pods and itself, and to nobody else.
    pub dns: bool,
}

/// The static part of the filter of VXLAN frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VxlanGuard {
    /// The network identifier.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// The family of the VTEPs.
    pub underlay: Family,
    /// The prefix lengths of all [`InnerSourceRow`](super::InnerSourceRow)s: each is a look-up.
    pub inner_lengths: BTreeSet<(Family, u8)>,
}

/// There is one firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FirewallKey;

impl fmt::Display for FirewallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("rules")
    }
}

impl Row for FirewallRow {
    type Key = FirewallKey;
    const TABLE: &'static str = "firewall";

    fn key(&self) -> FirewallKey {
        FirewallKey
    }
}

impl fmt::Display for FirewallRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wiring {}", self.wiring)?;
        for net in &self.own_nets {
            write!(f, " pods {net}")?;
        }
        if let Some(v) = &self.vxlan {
            let lengths = lengths(&v.inner_lengths);
            write!(
                f,
                " vxlan {} port {} over {} {lengths}",
                v.vni, v.port, v.underlay
            )?;
        }
        if self.masquerade {
            write!(f, " masquerade {}", lengths(&self.cluster_lengths))?;
        }
        match &self.services {
            Some(services) => services.fmt(f),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ServiceRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(" services")?;
        for net in &self.service_cidrs {
            write!(f, " {net}")?;
        }
        for source in &self.sources {
            write!(f, " as {source}")?;
        }
        for seconds in &self.affinities {
            write!(f, " kept {seconds} s")?;
        }
        if !self.range_lengths.is_empty() {
            write!(f, " ranges {}", lengths(&self.range_lengths))?;
        }
        match self.masquerade_all {
            true => f.write_str(" masquerade all"),
            false => Ok(()),
        }
    }
}

fn lengths(all: &BTreeSet<(Family, u8)>) -> String {
    let texts: Vec<String> = all.iter().map(|(_, length)| format!("/{length}")).collect();
    texts.join(",")
}
