//! Which Pods have to leave nodes that tolerate none (`NoExecute`), and when.
//!
//! The time that a Pod may stay counts from when *we* saw the taint first, by our own clock; a restart
//! grants it anew. A Pod that says nothing about a lost node may stay for a default time, as if the
//! usual admission had written it down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Taint};

use crate::meta;
use crate::taints::{self, NO_EXECUTE, NOT_READY, UNREACHABLE};

type TaintId = (String, String, Option<String>);

/// Remembers since when taints are there.
#[derive(Debug, Default)]
pub(crate) struct Evictions {
    since: BTreeMap<TaintId, Duration>,
}

/// Who leaves now, and when to look again.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    pub(crate) now: Vec<Arc<Pod>>,
    pub(crate) next: Option<Duration>,
}

impl Evictions {
    /// Decides over the Pods of the nodes.
    pub(crate) fn decide(
        &mut self,
        nodes: &[Arc<Node>],
        pods: &[Arc<Pod>],
        default_stay: Duration,
        now: Duration,
    ) -> Leaving {
        let mut tainted: BTreeMap<&str, Vec<(&Taint, Duration)>> = BTreeMap::new();
        let mut present = BTreeSet::new();
        for node in nodes {
            let name = meta::name(&node.metadata);
            for taint in taints::of_node(node)
                .iter()
                .filter(|t| t.effect == NO_EXECUTE)
            {
                let id = (name.to_owned(), taint.key.clone(), taint.value.clone());
                let since = *self.since.entry(id.clone()).or_insert(now);
                present.insert(id);
                tainted.entry(name).or_default().push((taint, since));
            }
        }
        self.since.retain(|id, _| present.contains(id));
        let mut leaving = Leaving::default();
        for pod in pods.iter().filter(|pod| meta::is_active(pod)) {
            let on = meta::node_name(pod).and_then(|node| tainted.get(node));
            let Some(due) = on.and_then(|taints| due(pod, taints, default_stay)) else {
                continue;
            };
            if due <= now {
                leaving.now.push(pod.clone());
            } else {
                leaving.next = Some(leaving.next.map_or(due, |next| next.min(due)));
            }
        }
        leaving
    }
}

/// When a Pod has to leave; None: it may stay.
fn due(pod: &Pod, tainted: &[(&Taint, Duration)], default_stay: Duration) -> Option<Duration> {
    let stay = |(taint, since): &(&Taint, Duration)| {
        let mut bounded: Option<Duration> = None;
        let mut tolerated = false;
        for toleration in taints::of_pod(pod)
            .iter()
            .filter(|t| taints::covers(t, taint))
        {
            tolerated = true;
            if let Some(seconds) = toleration.toleration_seconds {
                let stay = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                bounded = Some(bounded.map_or(stay, |shortest| shortest.min(stay)));
            }
        }
        let lost_node = matches!(taint.key.as_str(), NOT_READY | UNREACHABLE);
        let stay = match (tolerated, bounded) {
            (true, bounded) => bounded?,
            (false, _) if lost_node => default_stay,
            (false, _) => Duration::ZERO,
        };
        Some(since.saturating_add(stay))
    };
    tainted.iter().filter_map(stay).min()
}
