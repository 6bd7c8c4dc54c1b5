//! Node CIDRs: a range of Pod addresses for each node, one of each family.
//!
//! `assign` is pure: nodes in, the ranges for those without out. What a node has is taken, whoever
//! gave it; what is free is given in the order of creation, the lowest first, so the same cluster gets
//! the same ranges each time. A range that a node has is never changed: Kubernetes forbids it, and
//! Pods use its addresses. The driver is `NodeCidrs`.

mod doubts;
mod driver;
mod pool;

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;

pub(crate) use driver::NodeCidrs;
pub use pool::{ClusterCidr, PoolError};

use crate::{meta, natural};
use pool::Taken;

/// What becomes of a node without ranges.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) node: Arc<Node>,
    /// One range of each cluster range, or the cluster range that has none left.
    pub(crate) ranges: Result<Vec<IpNet>, ClusterCidr>,
}

/// The ranges that a node has; what cannot be read is nothing.
pub(crate) fn ranges_of(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else {
        return Vec::new();
    };
    let several = spec.pod_cidrs.iter().flatten();
    let single = spec.pod_cidr.iter();
    let mut ranges = Vec::new();
    for range in several.chain(single).filter_map(|text| text.parse().ok()) {
        // The single one is the first of the several.
        if !ranges.contains(&range) {
            ranges.push(range);
        }
    }
    ranges
}

/// Gives ranges to nodes that have none. `promised`: by uid, what was asked for and is not seen yet.
pub(crate) fn assign(
    pools: &[ClusterCidr],
    nodes: &[Arc<Node>],
    promised: &BTreeMap<String, Vec<IpNet>>,
) -> Vec<Assignment> {
    let mut taken: Vec<Taken> = pools.iter().copied().map(Taken::new).collect();
    let mut waiting = Vec::new();
    for node in nodes {
        let has = ranges_of(node);
        if has.is_empty() && !meta::is_terminating(&node.metadata) {
            waiting.push(node.clone());
        }
        let promised = promised.get(meta::uid(&node.metadata));
        for range in has.iter().chain(promised.into_iter().flatten()) {
            taken.iter_mut().for_each(|pool| pool.take(range));
        }
    }
    waiting.sort_by(|left, right| {
        meta::created(&left.metadata)
            .cmp(&meta::created(&right.metadata))
            .then_with(|| natural::compare(meta::name(&left.metadata), meta::name(&right.metadata)))
    });
    waiting
        .into_iter()
        .map(|node| {
            let ranges = match promised.get(meta::uid(&node.metadata)) {
                Some(promised) => Ok(promised.clone()),
                None => next(&mut taken),
            };
            Assignment { node, ranges }
        })
        .collect()
}

/// One free range of each pool, all or nothing.
fn next(taken: &mut [Taken]) -> Result<Vec<IpNet>, ClusterCidr> {
    let mut ranges = Vec::with_capacity(taken.len());
    for pool in taken.iter() {
        ranges.push(pool.first_free().ok_or(pool.pool())?);
    }
    for range in &ranges {
        taken.iter_mut().for_each(|pool| pool.take(range));
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests;
