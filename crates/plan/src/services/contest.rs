//! Who gets a point that several Services claim: cluster addresses before ports of the node,
//! these before addresses outside; then the older Service, then the name. All that goes with a
//! point goes to one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use seaway_model::ServiceName;

use super::spots::{Class, Point};

/// A Service that claims a point; the order is the precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claimant {
    /// By what right.
    pub(super) class: Class,
    /// When it was made.
    pub(super) created: i64,
    /// Its name.
    pub(super) name: ServiceName,
}

/// The points and cluster addresses that more than one Service claims. All others have an owner in
/// their row, and nothing here.
#[derive(Clone, Debug, Default)]
pub(super) struct Contests {
    points: BTreeMap<Point, BTreeSet<Claimant>>,
    cluster_ips: BTreeMap<IpAddr, BTreeSet<ServiceName>>,
}

impl Contests {
    /// All contested points with who claims them.
    pub(super) fn points(&self) -> impl Iterator<Item = (&Point, &BTreeSet<Claimant>)> {
        self.points.iter()
    }

    /// Who claims a contested point.
    pub(super) fn point(&mut self, point: Point) -> Option<&mut BTreeSet<Claimant>> {
        self.points.get_mut(&point)
    }

    /// Several claim a point.
    pub(super) fn open(&mut self, point: Point, claimants: [Claimant; 2]) {
        self.points.insert(point, claimants.into());
    }

    /// Forgets a point that no two claim any more.
    pub(super) fn close(&mut self, point: Point) {
        if self.points.get(&point).is_some_and(|all| all.len() < 2) {
            self.points.remove(&point);
        }
    }

    /// Who has a cluster address that several have.
    pub(super) fn cluster_ip(&self, address: IpAddr) -> Option<&BTreeSet<ServiceName>> {
        self.cluster_ips.get(&address)
    }

    /// Another Service has a cluster address that `first` has.
    pub(super) fn share(&mut self, address: IpAddr, first: &ServiceName, other: &ServiceName) {
        let all = self.cluster_ips.entry(address).or_default();
        all.extend([first.clone(), other.clone()]);
    }

    /// A Service has a cluster address no more; gives another one that has it.
    pub(super) fn leave(&mut self, address: IpAddr, name: &ServiceName) -> Option<ServiceName> {
        let all = self.cluster_ips.get_mut(&address)?;
        all.remove(name);
        let next = all.first().cloned();
        if all.len() < 2 {
            self.cluster_ips.remove(&address);
        }
        next
    }
}
