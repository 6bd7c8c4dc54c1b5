//! The reference's choice of endpoints: S3, S5, S6, S7 and S12, as they are written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use seaway_model::{Endpoint, EndpointSlice, Family, Node, Service, ServicePort};

use super::Cluster;
use super::addresses::is_special;

/// As many backends can a port have.
const MOST: usize = 6144;

/// The endpoints that new traffic may go to.
pub(super) struct Choice {
    /// Wherever they are.
    pub(super) cluster: BTreeSet<SocketAddr>,
    /// On the node itself.
    pub(super) local: BTreeSet<SocketAddr>,
}

/// The choice for a port of a Service on a node.
pub(super) fn choose(
    cluster: &Cluster,
    node: &Node,
    service: &Service,
    port: &ServicePort,
    family: Family,
) -> Choice {
    let all = merged(cluster, service, port, family);
    let here = |e: &Endpoint| e.node.as_ref() == Some(&node.name);
    let local = usable(all.iter().filter(|(_, e)| here(e)));
    let everywhere = usable(all.iter());
    let hinted = by_hints(node, &everywhere);
    let first = |chosen: Vec<(SocketAddr, &Endpoint)>| {
        let addresses: BTreeSet<SocketAddr> = chosen.into_iter().map(|(a, _)| a).collect();
        addresses.into_iter().take(MOST).collect()
    };
    Choice {
        cluster: first(hinted),
        local: first(local),
    }
}

/// Each endpoint once: it is ready if one copy is; then it serves if one copy does (S5).
fn merged<'a>(
    cluster: &'a Cluster,
    service: &Service,
    port: &ServicePort,
    family: Family,
) -> BTreeMap<SocketAddr, &'a Endpoint> {
    let mut slices: Vec<&EndpointSlice> = cluster.slices.iter().collect();
    slices.sort_by(|a, b| a.name.cmp(&b.name));
    let mut all: BTreeMap<SocketAddr, &Endpoint> = BTreeMap::new();
    let rank = |e: &Endpoint| {
        if e.ready {
            0
        } else if e.serving && e.terminating {
            1
        } else if e.serving {
            2
        } else {
            3
        }
    };
    for slice in slices {
        if slice.service != service.name || slice.family != family {
            continue;
        }
        for slice_port in &slice.ports {
            let fits = slice_port.name == port.name && slice_port.protocol == port.protocol;
            let Some(number) = slice_port.port.filter(|number| fits && *number != 0) else {
                continue;
            };
            for endpoint in &slice.endpoints {
                if !is_allowed(cluster, service, family, endpoint) {
                    continue;
                }
                let known = all
                    .entry(SocketAddr::new(endpoint.address, number))
                    .or_insert(endpoint);
                if rank(endpoint) < rank(known) {
                    *known = endpoint;
                }
            }
        }
    }
    all
}

/// Whether a slice may lead to this endpoint.
fn is_allowed(cluster: &Cluster, service: &Service, family: Family, e: &Endpoint) -> bool {
    if Family::of(e.address) != family || is_special(e.address) {
        return false;
    }
    let has = |node: &&Node| node.addresses.contains(&e.address);
    let mut holders = cluster.nodes.iter().filter(has).peekable();
    if holders.peek().is_none() {
        return true;
    }
    let switched_on = cluster
        .settings
        .services
        .as_ref()
        .is_some_and(|s| s.node_endpoints);
    let is_its_pod = e.pod.is_some() && holders.any(|node| e.node.as_ref() == Some(&node.name));
    switched_on || service.name.to_string() == "default/kubernetes" || is_its_pod
}

/// Ready ones; if there are none, those that end but still serve (S6).
fn usable<'a>(
    all: impl Iterator<Item = (&'a SocketAddr, &'a &'a Endpoint)>,
) -> Vec<(SocketAddr, &'a Endpoint)> {
    let all: Vec<(SocketAddr, &Endpoint)> = all.map(|(a, e)| (*a, *e)).collect();
    let any_ready = all.iter().any(|(_, e)| e.ready);
    let ending = |e: &Endpoint| e.terminating && e.serving;
    let wanted = |e: &Endpoint| if any_ready { e.ready } else { ending(e) };
    all.into_iter().filter(|(_, e)| wanted(e)).collect()
}

/// Those that the hints are for, if every one has a hint and one is for us; nodes before zones; not
/// among those that end (S12).
fn by_hints<'a>(
    node: &Node,
    all: &[(SocketAddr, &'a Endpoint)],
) -> Vec<(SocketAddr, &'a Endpoint)> {
    let is_fallback = !all.iter().any(|(_, e)| e.ready);
    let of_node = |e: &Endpoint| e.for_nodes.contains(&node.name);
    let of_zone = |e: &Endpoint| node.zone.as_ref().is_some_and(|z| e.for_zones.contains(z));
    if is_fallback {
        return all.to_vec();
    }
    if all.iter().all(|(_, e)| !e.for_nodes.is_empty()) && all.iter().any(|(_, e)| of_node(e)) {
        return all.iter().filter(|(_, e)| of_node(e)).copied().collect();
    }
    if all.iter().all(|(_, e)| !e.for_zones.is_empty()) && all.iter().any(|(_, e)| of_zone(e)) {
        return all.iter().filter(|(_, e)| of_zone(e)).copied().collect();
    }
    all.to_vec()
}
