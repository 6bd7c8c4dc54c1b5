//! The loop of policies that are not enforced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use seaway_api::Failure;
use tokio::time::{Instant, sleep};

use super::pace::Pace;
use super::telling::{Telling, until_next};
use crate::cluster::{Cluster, Heard};
use crate::error::Fault;
use crate::meta::{self, Key};
use crate::queue::Queue;
use crate::standing::Standing;
use crate::work::Controller;

/// So many Events are written at once, and then one each tenth of a second: ten thousand policies
/// take a quarter of an hour.
const BURST: u32 = 50;
const EVERY: Duration = Duration::from_millis(100);
/// When to try again what the server refused: its namespace goes, say.
const REFUSED: Duration = Duration::from_secs(3600);

/// Tells of policies that are not enforced.
#[derive(Debug)]
pub(crate) struct Unenforced {
    cluster: Arc<Cluster>,
    standing: Arc<Standing>,
    queue: Queue<Key>,
    start: Instant,
    pace: Mutex<Pace>,
    told: Mutex<BTreeMap<Key, Telling>>,
    /// The count that was logged last.
    logged: Mutex<u64>,
}

impl Unenforced {
    pub(crate) fn new(cluster: Arc<Cluster>, standing: Arc<Standing>) -> Self {
        Self {
            cluster,
            standing,
            queue: Queue::default(),
            start: Instant::now(),
            pace: Mutex::new(Pace::new(BURST, EVERY)),
            told: Mutex::default(),
            logged: Mutex::default(),
        }
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<Key, Telling>> {
        // Every change is one step, so a poisoned lock still guards good data.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Policies changed.
    pub(crate) fn hear_policies(&self, heard: &Heard<NetworkPolicy>) {
        for change in heard.changes() {
            match (&change.new, &change.old) {
                (Some(new), _) => self.queue.add(Key::of(&**new)),
                (None, Some(old)) => drop(self.told().remove(&Key::of(&**old))),
                (None, None) => {}
            }
        }
        if matches!(heard, Heard::Broken) {
            return;
        }
        let count = self.cluster.policies.len();
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.standing.count_unenforced(count);
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if is_news(*logged, count) {
            *logged = count;
            match count {
                0 => tracing::info!("no NetworkPolicy is left that would not be enforced"),
                _ => tracing::warn!(
                    count,
                    "NetworkPolicies exist and Seaway does not enforce them yet: they allow and deny nothing"
                ),
            }
        }
    }

    async fn tell(&self, key: &Key) -> Result<Option<Duration>, Fault> {
        let now = Timestamp::now();
        let Some(policy) = self.policy(key) else {
            return Ok(None);
        };
        if self.told().get(key) == Some(&Telling::of(&policy, now)) {
            return Ok(Some(until_next(&policy, now)));
        }
        let wait = {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            pace.take(self.start.elapsed())
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = self.cluster.ending() => return Ok(None),
        }
        // It may have changed or gone while it waited for its turn.
        let Some(policy) = self.policy(key) else {
            return Ok(None);
        };
        let telling = Telling::of(&policy, now);
        let api = self.cluster.namespaced::<Event>(&key.namespace);
        let event = telling.event(&policy, now);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            let fault = Fault::new("write an Event of", "NetworkPolicy", key, &error);
            match fault.failure() {
                // An earlier run told it.
                Failure::Conflict => {}
                Failure::Refused | Failure::Absent => {
                    tracing::info!(%fault, "not told");
                    return Ok(Some(REFUSED));
                }
                Failure::Expired | Failure::Passing(_) => return Err(fault),
            }
        }
        self.told().insert(key.clone(), telling);
        Ok(Some(until_next(&policy, now)))
    }

    fn policy(&self, key: &Key) -> Option<Arc<NetworkPolicy>> {
        let policy = self.cluster.policies.get(key)?;
        (!meta::is_terminating(&policy.metadata)).then_some(policy)
    }
}

/// Whether a count is worth another line in the log: not one for each of a thousand policies.
fn is_news(logged: u64, count: u64) -> bool {
    (count == 0) != (logged == 0) || count >= logged.saturating_mul(2).max(1)
}

impl Controller for Unenforced {
    type Key = Key;
    const NAME: &'static str = "unenforced-policies";

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Fault> {
        self.tell(key).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_a_line_for_a_magnitude() {
        let mut logged = 0;
        let mut lines = 0;
        for count in (0..10_000).chain([0]) {
            if is_news(logged, count) {
                logged = count;
                lines += 1;
            }
        }
        assert_eq!((logged, lines), (0, 15));
    }
}
