//! Other nodes: their VTEPs, what these may speak for, and what is inside the cluster.

use seaway_model::{ClusterNetRow, Family, InnerSourceRow, VtepRow};

use super::super::parts::address_field;
use super::{by_family, inet, key, set};
use crate::nft::{Element, Field, SetSpec};

/// Known VTEPs.
pub(in crate::realise::firewall) fn vteps(family: Family) -> &'static str {
    by_family(family, ["vteps-v4", "vteps-v6"])
}

/// What VTEPs may speak for.
pub(in crate::realise::firewall) fn inner_sources(underlay: Family, inner: Family) -> &'static str {
    let v4 = ["inner-v4-by-v4", "inner-v6-by-v4"];
    let v6 = ["inner-v4-by-v6", "inner-v6-by-v6"];
    match underlay {
        Family::V4 => by_family(inner, v4),
        Family::V6 => by_family(inner, v6),
    }
}

/// Destinations inside the cluster.
pub(in crate::realise::firewall) fn cluster_nets(family: Family) -> &'static str {
    by_family(family, ["cluster-v4", "cluster-v6"])
}

pub(super) fn sets(family: Family) -> Vec<SetSpec> {
    let address = address_field(family);
    let mut sets = vec![set(vteps(family), vec![address])];
    for inner in Family::ALL {
        let key = vec![address, Field::Number, address_field(inner)];
        sets.push(set(inner_sources(family, inner), key));
    }
    sets.push(set(cluster_nets(family), vec![Field::Number, address]));
    sets
}

/// The element of a VTEP.
pub(in crate::realise::firewall) fn of_vtep(row: &VtepRow) -> Vec<Element> {
    let set = vteps(Family::of(row.address));
    vec![inet(set, key().address(row.address), key())]
}

/// The element of what a VTEP may speak for.
pub(in crate::realise::firewall) fn of_inner_source(row: &InnerSourceRow) -> Vec<Element> {
    let set = inner_sources(Family::of(row.vtep), Family::of_net(&row.net));
    let key = self::key()
        .address(row.vtep)
        .length(row.net.prefix_len())
        .address(row.net.addr());
    vec![inet(set, key, self::key())]
}

/// The element of a destination inside the cluster.
pub(in crate::realise::firewall) fn of_cluster_net(row: &ClusterNetRow) -> Vec<Element> {
    let set = cluster_nets(Family::of_net(&row.net));
    let key = self::key()
        .length(row.net.prefix_len())
        .address(row.net.addr());
    vec![inet(set, key, self::key())]
}
