//! Exchanges are tried by clients in Pods, which read their orders from an annotation of their Pod, in
//! a volume, and answer in their log. So a check needs nothing but the API: no way into a container,
//! no path that is itself to be tried.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seaway_model::Family;

use super::super::cases::Case;
use super::super::hands::{Hands, Loads, Outcomes, Source};
use super::super::probes::job;
use super::super::view::PodView;
use crate::cluster::{CLIENT, Cluster, ORDER, ReadyPod};
use crate::error::LabError;
use crate::tool::{LoadReport, Order, ProbeJob, Told};

/// So many probes are ordered at once: what annotations hold is limited.
const ORDERED: usize = 400;
/// How long one request of a load may take.
const LOAD_TIMEOUT_MS: u64 = 2000;
/// How many probes a client runs at once.
const PARALLEL: u32 = 4;
/// How long all nodes of a cluster may take to balance a Service that is new.
const IN_FORCE: Duration = Duration::from_secs(30);

/// Orders to clients in Pods.
pub(super) struct ClusterHands<'a> {
    pub(super) cluster: &'a Cluster,
    /// The Pods that stand for nodes.
    pub(super) nodes: BTreeMap<String, String>,
    /// The families that are tried.
    pub(super) families: Vec<Family>,
    /// How long Pods may take, be it to be ready or to hear of an order.
    pub(super) limit: Duration,
    turns: Mutex<BTreeMap<String, Turn>>,
}

/// The number of a client's last order, held by whoever has it carried out.
type Turn = Arc<Mutex<u64>>;

impl<'a> ClusterHands<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        nodes: BTreeMap<String, String>,
        families: Vec<Family>,
        limit: Duration,
    ) -> ClusterHands<'a> {
        ClusterHands {
            cluster,
            nodes,
            families,
            limit,
            turns: Mutex::default(),
        }
    }

    /// The Pod at a node, or of that name.
    fn pod_at<'p>(&'p self, place: &'p str) -> &'p str {
        self.nodes.get(place).map_or(place, String::as_str)
    }

    fn turn(&self, pod: &str) -> Turn {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(pod.to_owned()).or_default().clone()
    }

    /// Has an order carried out and gives what was told of it.
    fn order(&self, place: &str, order: Order, takes: Duration) -> Result<Vec<Told>, LabError> {
        let pod = self.pod_at(place);
        let turn = self.turn(pod);
        let mut number = turn.lock().unwrap_or_else(PoisonError::into_inner);
        *number += 1;
        let order = Order {
            number: *number,
            ..order
        };
        let text = serde_json::to_string(&order)
            .map_err(|e| LabError::Api(format!("an order for the Pod {pod}: {e}")))?;
        self.cluster.annotate(pod, ORDER, &text)?;
        let mut told = Vec::new();
        let mut failed = None;
        self.cluster.read_log(
            pod,
            CLIENT,
            self.limit + takes,
            |line| match serde_json::from_str(line) {
                Ok(Told::Done { order, error }) if order == *number => {
                    failed = error;
                    true
                }
                Ok(one) if concerns(&one) == Some(*number) => {
                    told.push(one);
                    false
                }
                _ => false,
            },
        )?;
        match failed {
            Some(error) => Err(LabError::Api(format!("the client in {pod}: {error}"))),
            None => Ok(told),
        }
    }

    fn of_families(&self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let wanted = addresses
            .iter()
            .filter(|a| self.families.contains(&Family::of(**a)));
        wanted.copied().collect()
    }
}

/// The order that a line is about.
fn concerns(told: &Told) -> Option<u64> {
    match told {
        Told::Here { .. } => None,
        Told::Outcome { order, .. } | Told::Load { order, .. } | Told::Done { order, .. } => {
            Some(*order)
        }
    }
}

/// How long probes may take together.
fn duration(jobs: &[ProbeJob]) -> Duration {
    let all: u64 = jobs.iter().map(|job| job.timeout_ms).sum();
    Duration::from_millis(all) / PARALLEL
}

impl Hands for ClusterHands<'_> {
    fn probe(&self, source: &Source, jobs: &[ProbeJob]) -> Result<Outcomes, LabError> {
        let mut outcomes = Outcomes::new();
        for jobs in jobs.chunks(ORDERED) {
            let order = Order {
                probes: jobs.to_vec(),
                ..Order::default()
            };
            let told = self.order(&source.name, order, duration(jobs))?;
            outcomes.extend(told.into_iter().filter_map(|told| match told {
                Told::Outcome { outcome, .. } => Some((outcome.id?, outcome)),
                _ => None,
            }));
        }
        Ok(outcomes)
    }

    fn begin_loads<'b>(&'b self, cases: &'b [Case]) -> Box<dyn Loads + 'b> {
        let mut begun: BTreeMap<&str, Result<(), String>> = BTreeMap::new();
        for place in cases.iter().map(|case| case.from.as_str()) {
            begun.entry(place).or_insert_with(|| {
                let own = (0..).zip(cases).filter(|(_, case)| case.from == place);
                let order = Order {
                    loads: own.map(|(id, c)| job(id, c, LOAD_TIMEOUT_MS)).collect(),
                    ..Order::default()
                };
                let begun = self.order(place, order, Duration::ZERO);
                begun.map(drop).map_err(|e| e.to_string())
            });
        }
        Box::new(Ordered {
            hands: self,
            cases,
            begun,
        })
    }

    fn end_container(&self, pod: &str, _container: &str) -> Result<(), LabError> {
        let order = Order {
            end_server: true,
            ..Order::default()
        };
        self.order(pod, order, Duration::ZERO).map(drop)
    }

    fn look_at(&self, _namespace: &str, pod: &ReadyPod) -> Result<PodView, LabError> {
        let mut found = None;
        self.cluster.read_log(
            &pod.name,
            CLIENT,
            self.limit,
            |line| match serde_json::from_str(line) {
                Ok(Told::Here { mtu }) => {
                    found = mtu;
                    true
                }
                _ => false,
            },
        )?;
        let mtu = found.ok_or_else(|| {
            LabError::Api(format!("the client in {} has no interface eth0", pod.name))
        })?;
        Ok(PodView {
            name: pod.name.clone(),
            host: pod.name.clone(),
            addresses: self.of_families(&pod.addresses),
            mtu,
        })
    }

    /// Nobody can be asked by the API; that the Pod does not answer there has to do.
    fn holds(&self, _node: &str, _address: IpAddr) -> Result<bool, LabError> {
        Ok(false)
    }

    fn made(&self) -> Duration {
        self.limit
    }

    fn in_force(&self) -> Duration {
        IN_FORCE
    }
}

/// Loads that have been ordered.
struct Ordered<'a> {
    hands: &'a ClusterHands<'a>,
    cases: &'a [Case],
    begun: BTreeMap<&'a str, Result<(), String>>,
}

impl Loads for Ordered<'_> {
    fn end(self: Box<Self>) -> Vec<Result<LoadReport, String>> {
        let mut reports: BTreeMap<u64, LoadReport> = BTreeMap::new();
        let mut failed: BTreeMap<&str, String> = BTreeMap::new();
        for (place, begun) in self.begun {
            let order = Order {
                end_loads: true,
                ..Order::default()
            };
            let takes = Duration::from_millis(LOAD_TIMEOUT_MS);
            let ended = self.hands.order(place, order, takes);
            match begun.and(ended.map_err(|e| e.to_string())) {
                Ok(told) => reports.extend(told.into_iter().filter_map(|told| match told {
                    Told::Load { id, report, .. } => Some((id, report)),
                    _ => None,
                })),
                Err(e) => drop(failed.insert(place, e)),
            }
        }
        let of = |(id, case): (u64, &Case)| match failed.get(case.from.as_str()) {
            Some(e) => Err(e.clone()),
            None => reports
                .remove(&id)
                .ok_or_else(|| "the client did not tell of its load".to_owned()),
        };
        (0..).zip(self.cases).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::ProbeKind;

    #[test]
    fn a_full_order_fits_into_an_annotation() {
        let target = "[fd00:10:244:1234:5678:9abc:def0:1234]:65535".parse();
        let job = ProbeJob {
            name: Some(format!("_tcp._tcp.web.{}.svc", "x".repeat(63))),
            timeout_ms: 20_000,
            ..ProbeJob::new(u64::MAX, ProbeKind::UdpFragmented, target.expect("valid"))
        };
        let order = Order {
            probes: vec![job; ORDERED],
            ..Order::default()
        };
        let text = serde_json::to_string(&order).expect("JSON");
        // All annotations of an object together.
        assert!(text.len() < 200 * 1024, "{}", text.len());
    }
}
