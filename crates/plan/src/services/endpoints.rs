//! Which endpoints a port of a Service has, and which of them take new traffic (S3, S5, S6, S7,
//! S12). Where they lie in the kernel is not decided here.

use std::net::SocketAddr;

use seaway_model::{Endpoint, EndpointSlice, Family, ServicePort};

use super::ground::Ground;
use super::judge::{Judge, Reason};

/// What an endpoint can be used for; the order is the preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// It takes new traffic.
    Ready,
    /// It takes new traffic while there is nothing better: it is about to end, and answers.
    Fallback,
    /// It answers what it has, and takes nothing new.
    Serving,
    /// None.
    Nothing,
}

impl Use {
    fn of(endpoint: &Endpoint) -> Use {
        // Whoever fills slices says that what ends is ready only where that is wanted (S7).
        match (endpoint.ready, endpoint.serving, endpoint.terminating) {
            (true, _, _) => Use::Ready,
            (false, true, true) => Use::Fallback,
            (false, true, false) => Use::Serving,
            (false, false, _) => Use::Nothing,
        }
    }
}

/// An endpoint of a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    /// Its address and port.
    pub(super) target: SocketAddr,
    /// What it can be used for.
    pub(super) usage: Use,
    /// All about it.
    pub(super) endpoint: &'a Endpoint,
}

/// An endpoint that is not used, and why.
pub(super) struct Refused<'a> {
    /// Where it is named.
    pub(super) slice: &'a EndpointSlice,
    /// The address.
    pub(super) address: std::net::IpAddr,
    /// Why.
    pub(super) reason: Reason,
}

/// The endpoints of a port in a family, by address and port, each once: of one that several slices
/// name the most useful copy counts, then that of the first slice.
pub(super) fn candidates<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    family: Family,
    port: &ServicePort,
    judge: &Judge<'_>,
    mut refuse: impl FnMut(Refused<'a>),
) -> Vec<Candidate<'a>> {
    let mut all = Vec::new();
    for slice in slices.filter(|slice| slice.family == family) {
        let named =
            |p: &&seaway_model::SlicePort| p.protocol == port.protocol && p.name == port.name;
        let numbers = slice.ports.iter().filter(named).filter_map(|p| p.port);
        for number in numbers.filter(|number| *number != 0) {
            for endpoint in &slice.endpoints {
                let address = endpoint.address;
                match judge.endpoint(slice, endpoint) {
                    Some(reason) => refuse(Refused {
                        slice,
                        address,
                        reason,
                    }),
                    None => all.push(Candidate {
                        target: SocketAddr::new(address, number),
                        usage: Use::of(endpoint),
                        endpoint,
                    }),
                }
            }
        }
    }
    all.sort_by_key(|c| (c.target, c.usage));
    all.dedup_by_key(|c| c.target);
    all
}

/// Those that new traffic may go to, wherever they are (S6, S12).
pub(super) fn of_cluster(all: &[Candidate<'_>], ground: &Ground) -> Vec<SocketAddr> {
    let ready: Vec<_> = all.iter().filter(|c| c.usage == Use::Ready).collect();
    if ready.is_empty() {
        return with_use(all.iter(), Use::Fallback);
    }
    let for_us = |c: &Candidate<'_>| c.endpoint.for_nodes.contains(&ground.name);
    let for_some = |c: &Candidate<'_>| !c.endpoint.for_nodes.is_empty();
    if ready.iter().all(|c| for_some(c)) && ready.iter().any(|c| for_us(c)) {
        return with_use(ready.into_iter().filter(|c| for_us(c)), Use::Ready);
    }
    if let Some(zone) = &ground.zone {
        let for_us = |c: &Candidate<'_>| c.endpoint.for_zones.contains(zone);
        let for_some = |c: &Candidate<'_>| !c.endpoint.for_zones.is_empty();
        if ready.iter().all(|c| for_some(c)) && ready.iter().any(|c| for_us(c)) {
            return with_use(ready.into_iter().filter(|c| for_us(c)), Use::Ready);
        }
    }
    with_use(ready.into_iter(), Use::Ready)
}

/// Those on this node that new traffic may go to (S6).
pub(super) fn of_node(all: &[Candidate<'_>], ground: &Ground) -> Vec<SocketAddr> {
    let here = || all.iter().filter(|c| is_local(c.endpoint, ground));
    let ready = with_use(here(), Use::Ready);
    match ready.is_empty() {
        true => with_use(here(), Use::Fallback),
        false => ready,
    }
}

/// Whether an endpoint is on this node.
pub(super) fn is_local(endpoint: &Endpoint, ground: &Ground) -> bool {
    endpoint.node.as_ref() == Some(&ground.name)
}

fn with_use<'a>(all: impl Iterator<Item = &'a Candidate<'a>>, usage: Use) -> Vec<SocketAddr> {
    all.filter(|c| c.usage == usage).map(|c| c.target).collect()
}
