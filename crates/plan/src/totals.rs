//! What is true of all rows of a kind together, kept by counting, so that one row more or less
//! costs the same however many there are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{
    ClusterNetRow, Device, Family, FdbKey, FrontendKey, FrontendRow, InnerSourceRow, MacAddr,
    Protocol, SourceRangeRow, View, loopback_alias,
};

use crate::table::{Change, ChangeSet, Tables};

/// What the node's own rows follow from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The prefix lengths of destinations inside the cluster.
    pub(crate) cluster_lengths: BTreeSet<(Family, u8)>,
    /// The prefix lengths of what VTEPs may speak for.
    pub(crate) inner_lengths: BTreeSet<(Family, u8)>,
    /// Addresses of live attachments that are in no pod CIDR of this node.
    pub(crate) strays: BTreeSet<IpNet>,
    /// VXLAN is the way to somebody.
    pub(crate) sends_vxlan: bool,
    /// Some port of the node leads to a Pod.
    pub(crate) has_host_ports: bool,
    /// The prefix lengths of sources that may use guarded frontends.
    pub(crate) range_lengths: BTreeSet<(Family, u8)>,
    /// The families of frontends.
    pub(crate) frontends: BTreeSet<Family>,
    /// The families of frontends at the loopback address.
    pub(crate) loopbacks: BTreeSet<Family>,
    /// The times for which clients keep their backend.
    pub(crate) affinities: BTreeSet<u32>,
}

/// How often each value occurs.
#[derive(Clone, Debug)]
pub(crate) struct Counts<K>(BTreeMap<K, usize>);

impl<K: Ord> Default for Counts<K> {
    fn default() -> Self {
        Counts(BTreeMap::new())
    }
}

impl<K: Ord + Copy> Counts<K> {
    /// One more; true if it is the first.
    pub(crate) fn add(&mut self, value: K) -> bool {
        let count = self.0.entry(value).or_insert(0);
        *count += 1;
        *count == 1
    }

    /// One less; true if it was the last.
    pub(crate) fn remove(&mut self, value: K) -> bool {
        match self.0.get_mut(&value) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            _ => self.0.remove(&value).is_some(),
        }
    }

    /// Each value that there is, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = K> {
        self.0.keys().copied()
    }

    /// Whether there is any of a value.
    pub(crate) fn contains(&self, value: &K) -> bool {
        self.0.contains_key(value)
    }

    fn values(&self) -> BTreeSet<K> {
        self.iter().collect()
    }
}

/// The counts that a [`Summary`] comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    cluster_lengths: Counts<(Family, u8)>,
    inner_lengths: Counts<(Family, u8)>,
    strays: Counts<IpNet>,
    range_lengths: Counts<(Family, u8)>,
    summary: Summary,
    stale: bool,
}

impl Totals {
    /// Counts rows that were added to or taken from the tables. Both kinds are nothing but their
    /// key: a row that is upserted was not there.
    pub(crate) fn count(&mut self, changes: &ChangeSet) {
        for change in &changes.cluster_nets {
            self.stale |= tally(&mut self.cluster_lengths, change, cluster_length);
        }
        for change in &changes.inner_sources {
            self.stale |= tally(&mut self.inner_lengths, change, inner_length);
        }
    }

    /// Counts sources that may or may no more use guarded frontends.
    pub(crate) fn count_ranges(&mut self, changes: &ChangeSet) {
        for change in &changes.source_ranges {
            self.stale |= tally(&mut self.range_lengths, change, range_length);
        }
    }

    /// Counts the addresses outside the node's pod CIDRs that one attachment had and has.
    pub(crate) fn count_strays(&mut self, old: &Tables, new: &Tables) {
        for row in old.cluster_nets.iter() {
            self.stale |= self.strays.remove(row.net);
        }
        for row in new.cluster_nets.iter() {
            self.stale |= self.strays.add(row.net);
        }
    }

    /// The summary as it was, and as it is now, if that differs.
    pub(crate) fn renew(&mut self, tables: &Tables, affinities: &BTreeSet<u32>) -> Option<Summary> {
        let (sends_vxlan, has_host_ports) = (sends_vxlan(tables), !tables.host_ports.is_empty());
        let (frontends, loopbacks) = (frontends(tables), loopbacks(tables));
        let same = sends_vxlan == self.summary.sends_vxlan
            && has_host_ports == self.summary.has_host_ports
            && frontends == self.summary.frontends
            && loopbacks == self.summary.loopbacks
            && *affinities == self.summary.affinities;
        if same && !self.stale {
            return None;
        }
        let now = Summary {
            cluster_lengths: self.cluster_lengths.values(),
            inner_lengths: self.inner_lengths.values(),
            strays: self.strays.values(),
            sends_vxlan,
            has_host_ports,
            range_lengths: self.range_lengths.values(),
            frontends,
            loopbacks,
            affinities: affinities.clone(),
        };
        self.stale = false;
        let before = std::mem::replace(&mut self.summary, now);
        (before != self.summary).then_some(before)
    }

    /// The summary as of the last renewal.
    pub(crate) fn summary(&self) -> &Summary {
        &self.summary
    }
}

fn tally<R, K: Ord + Copy>(counts: &mut Counts<K>, change: &Change<R>, of: fn(&R) -> K) -> bool {
    match change {
        Change::Upsert(row) => counts.add(of(row)),
        Change::Delete(row) => counts.remove(of(row)),
    }
}

fn cluster_length(row: &ClusterNetRow) -> (Family, u8) {
    (Family::of_net(&row.net), row.net.prefix_len())
}

fn inner_length(row: &InnerSourceRow) -> (Family, u8) {
    (Family::of_net(&row.net), row.net.prefix_len())
}

fn range_length(row: &SourceRangeRow) -> (Family, u8) {
    (Family::of_net(&row.net), row.net.prefix_len())
}

/// The first frontend from an address on, of those of its family.
fn first_from(tables: &Tables, address: IpAddr) -> Option<&FrontendRow> {
    let first = FrontendKey {
        address,
        protocol: Protocol::Tcp,
        port: 0,
        view: View::Everyone,
    };
    let found = tables.frontends.iter_from(first).next()?;
    (Family::of(found.key.address) == Family::of(address)).then_some(found)
}

fn frontends(tables: &Tables) -> BTreeSet<Family> {
    let any = |family: &Family| first_from(tables, family.default_net().addr()).is_some();
    Family::ALL.into_iter().filter(any).collect()
}

fn loopbacks(tables: &Tables) -> BTreeSet<Family> {
    let any = |family: &Family| {
        let alias = loopback_alias(*family);
        first_from(tables, alias).is_some_and(|row| row.key.address == alias)
    };
    Family::ALL.into_iter().filter(any).collect()
}

/// The entries are in the order of their devices: the first behind VXLAN tells.
fn sends_vxlan(tables: &Tables) -> bool {
    let first = FdbKey {
        device: Device::Vxlan,
        mac: MacAddr([0; 6]),
    };
    let mut behind = tables.fdb.iter_from(first);
    behind.next().is_some_and(|row| row.device == Device::Vxlan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_and_the_last_of_a_kind_matter() {
        let mut counts = Counts::default();
        assert!(counts.add(24));
        assert!(!counts.add(24));
        assert!(!counts.remove(24));
        assert!(counts.remove(24));
        assert!(!counts.remove(24));
        assert!(counts.values().is_empty());
    }
}
