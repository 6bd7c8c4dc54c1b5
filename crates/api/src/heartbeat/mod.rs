//! An agent's Lease: that it lives, and what it says of itself, for whoever looks at the cluster.
//!
//! It is not on the Node, which every agent watches: nobody watches Leases. Nothing waits for it,
//! and nothing on the node depends on it.
//!
//! `renewTime` is told in the API server's time: the agent compares its clock with the `Date` of
//! every answer, so that one clock tells the ages of all.

mod pace;
mod summary;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Client, Resource};
use seaway_model::NodeName;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use self::pace::{Extent, Pace};
pub use self::summary::{AgentSummary, PoolSummary, RowsSummary, SUMMARY_FORMAT, UplinkSummary};
use crate::backoff::random;
use crate::clock::{self, Dated};
use crate::voice::{Complaints, Seen};
use crate::{Backoff, Failure, Timing, describe};

/// The namespace of Seaway's own objects, unless another is chosen.
pub const NAMESPACE: &str = "seaway-system";
/// The label of agents' Leases.
pub const AGENT_LABEL: &str = "network.seaway.dev/agent";
/// The annotation of an agent's Lease that holds its [`AgentSummary`] as JSON.
pub const SUMMARY_ANNOTATION: &str = "network.seaway.dev/summary";
/// For how many seconds a Lease is good.
pub const LEASE_SECONDS: i32 = 40;
/// What every agent's Lease is called, before the node's name.
const PREFIX: &str = "agent.";
/// By how much a clock may differ: `Date` has whole seconds, and answers take time.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(2);
/// A clock that differs by more is worth mentioning.
const CLOCK_WRONG: SignedDuration = SignedDuration::from_secs(5);

/// What the Lease of a node's agent is called.
pub fn lease_name(node: &str) -> String {
    format!("{PREFIX}{node}")
}

/// The node of an agent's Lease.
pub fn node_of_lease(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)
}

/// Writes the Lease.
pub(crate) struct Heartbeat {
    client: Client,
    node: NodeName,
    namespace: String,
    timing: Timing,
    started: Timestamp,
    /// By how much the server's clock is before ours; nothing while it is about the same.
    correction: SignedDuration,
    complaints: Complaints,
}

impl Heartbeat {
    pub(crate) fn new(
        client: Client,
        node: NodeName,
        namespace: String,
        timing: &Timing,
        complaints: Complaints,
    ) -> Heartbeat {
        Heartbeat {
            client,
            node,
            namespace,
            timing: timing.clone(),
            started: Timestamp::now(),
            correction: SignedDuration::ZERO,
            complaints,
        }
    }

    /// For ever, or until nobody has anything to say any more.
    pub(crate) async fn run(
        mut self,
        mut node: watch::Receiver<Option<Seen>>,
        mut summaries: watch::Receiver<Option<AgentSummary>>,
    ) {
        let mut backoff = Backoff::new(&self.timing);
        let mut pace = Pace::new(self.timing.renewal, Instant::now());
        loop {
            let uid = node
                .borrow_and_update()
                .as_ref()
                .map(|node| node.uid.clone());
            let summary = summaries.borrow_and_update().clone();
            let due = match (uid, summary) {
                (Some(uid), Some(summary)) => {
                    let summary = self.with_clock(summary);
                    let (at, extent) = pace.next(Instant::now(), &uid, &summary);
                    Some((at, extent, uid, summary))
                }
                // The Lease of a Node that is gone goes with it.
                _ => None,
            };
            let wait = async {
                match &due {
                    Some((at, ..)) => sleep_until(*at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => {}
                news = node.changed() => match news {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                news = summaries.changed() => match news {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            }
            if let Some((_, extent, uid, summary)) = due {
                self.beat(&mut pace, &mut backoff, extent, uid, summary)
                    .await;
            }
        }
    }

    /// Writes once, and pauses if it did not work.
    async fn beat(
        &mut self,
        pace: &mut Pace,
        backoff: &mut Backoff,
        extent: Extent,
        uid: String,
        summary: AgentSummary,
    ) {
        match self.write(extent, &uid, &summary).await {
            Ok(in_time) => {
                backoff.reset();
                self.complaints.lease(None);
                let chance = (random() % 1000) as f64 / 1000.0;
                pace.wrote(Instant::now(), uid, summary, chance);
                if !in_time {
                    pace.lost();
                }
            }
            Err(error) => {
                let failure = Failure::of(&error);
                self.complaints.lease(Some(self.complaint(failure, &error)));
                pace.lost();
                let pause = match failure {
                    // Only people can put that right.
                    Failure::Refused | Failure::Absent => self.timing.pause_last + backoff.pause(),
                    Failure::Passing(at_least) => backoff.pause().max(at_least),
                    Failure::Conflict | Failure::Expired => backoff.pause(),
                };
                sleep(pause).await;
            }
        }
    }

    fn complaint(&self, failure: Failure, error: &kube::Error) -> String {
        let advice = match failure {
            Failure::Absent => format!(
                "; create namespace {}, or name another by --namespace",
                self.namespace
            ),
            Failure::Refused => format!(
                "; give the agent create and patch on leases in namespace {}",
                self.namespace
            ),
            _ => String::new(),
        };
        format!(
            "the agent's Lease cannot be written, so that `seaway status` of the cluster does not know \
             this node: write lease {}/{}: {}{advice}",
            self.namespace,
            lease_name(self.node.as_str()),
            describe(error),
        )
    }

    fn with_clock(&self, summary: AgentSummary) -> AgentSummary {
        let wrong = self.correction.abs() > CLOCK_WRONG;
        AgentSummary {
            clock_ahead_seconds: wrong.then(|| -self.correction.as_secs()),
            ..summary
        }
    }

    /// Writes; tells whether the time that was written was the server's.
    async fn write(
        &mut self,
        extent: Extent,
        uid: &str,
        summary: &AgentSummary,
    ) -> Result<bool, kube::Error> {
        let name = lease_name(self.node.as_str());
        let request = self.request();
        let body = self.body(extent, uid, summary)?;
        let patch = request
            .patch(&name, &PatchParams::default(), &Patch::Merge(&body))
            .map_err(kube::Error::BuildRequest)?;
        let mut dated = clock::send(&self.client, patch).await;
        let absent = |error: &kube::Error| Failure::of(error) == Failure::Absent;
        if dated.answer.as_ref().is_err_and(absent) {
            let body = self.body(Extent::Whole, uid, summary)?;
            let data = serde_json::to_vec(&body).map_err(kube::Error::SerdeError)?;
            let create = request
                .create(&PostParams::default(), data)
                .map_err(kube::Error::BuildRequest)?;
            dated = clock::send(&self.client, create).await;
        }
        let in_time = self.learn_time(&dated);
        dated.answer.map(|_| in_time)
    }

    fn request(&self) -> Request {
        Request::new(Lease::url_path(&(), Some(&self.namespace)))
    }

    /// Compares the clocks; tells whether they went as was thought.
    fn learn_time(&mut self, dated: &Dated) -> bool {
        let Some(at) = dated.at else {
            return true;
        };
        let ahead = at.duration_since(Timestamp::now());
        let thought = (ahead - self.correction).abs() <= CLOCK_SLACK;
        if !thought {
            self.correction = match ahead.abs() <= CLOCK_SLACK {
                true => SignedDuration::ZERO,
                false => ahead,
            };
        }
        thought
    }

    fn body(
        &self,
        extent: Extent,
        uid: &str,
        summary: &AgentSummary,
    ) -> Result<Value, kube::Error> {
        // A clock that is off by thousands of years is left as it is.
        let corrected = |at: Timestamp| at.checked_add(self.correction).unwrap_or(at);
        let now = MicroTime(corrected(Timestamp::now()));
        let text = serde_json::to_string(summary).map_err(kube::Error::SerdeError)?;
        Ok(match extent {
            Extent::Time => json!({"spec": {"renewTime": now}}),
            Extent::Summary => json!({
                "metadata": {"annotations": {SUMMARY_ANNOTATION: text}},
                "spec": {"renewTime": now},
            }),
            Extent::Whole => {
                let spec = LeaseSpec {
                    holder_identity: Some(self.node.to_string()),
                    lease_duration_seconds: Some(LEASE_SECONDS),
                    acquire_time: Some(MicroTime(corrected(self.started))),
                    renew_time: Some(now),
                    ..LeaseSpec::default()
                };
                let lease = Lease {
                    metadata: self.metadata(uid, text),
                    spec: Some(spec),
                };
                serde_json::to_value(lease).map_err(kube::Error::SerdeError)?
            }
        })
    }

    fn metadata(&self, uid: &str, summary: String) -> ObjectMeta {
        let pair = |key: &str, value: String| Some([(key.to_owned(), value)].into());
        ObjectMeta {
            name: Some(lease_name(self.node.as_str())),
            namespace: Some(self.namespace.clone()),
            labels: pair(AGENT_LABEL, "true".to_owned()),
            annotations: pair(SUMMARY_ANNOTATION, summary),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: self.node.to_string(),
                uid: uid.to_owned(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        }
    }
}
