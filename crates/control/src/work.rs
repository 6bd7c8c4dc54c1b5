//! How a loop works: take a key, reconcile it, take note of success, failure and the next deadline.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::cluster::Cluster;
use crate::error::Fault;
use crate::queue::Queue;

/// A loop. `reconcile` makes true what should be for one key, from whatever there is now.
pub(crate) trait Controller: Send + Sync + 'static {
    /// What it works on.
    type Key: Ord + Clone + std::fmt::Debug + Send + Sync;
    /// Its name in the log.
    const NAME: &'static str;

    /// The keys that need a look.
    fn queue(&self) -> &Queue<Self::Key>;

    /// Takes a look. The answer says after what time to look again though nothing changed.
    fn reconcile(
        &self,
        key: &Self::Key,
    ) -> impl Future<Output = Result<Option<Duration>, Fault>> + Send;
}

/// Works until the loops are to end; what has been begun is brought to its end.
pub(crate) async fn work<C: Controller>(cluster: Arc<Cluster>, controller: Arc<C>) {
    tokio::select! {
        () = cluster.complete() => {}
        () = cluster.ending() => return,
    }
    let queue = controller.queue();
    loop {
        let key = tokio::select! {
            biased;
            () = cluster.ending() => return,
            key = queue.next() => key,
        };
        match controller.reconcile(&key).await {
            Ok(again) => {
                queue.done(&key);
                if let Some(wait) = again {
                    queue.add_after(key, wait);
                }
            }
            Err(fault) => {
                let wait = queue.failed(&key);
                if fault.is_usual() {
                    tracing::debug!(controller = C::NAME, %fault, ?wait);
                } else {
                    tracing::warn!(controller = C::NAME, %fault, ?wait);
                }
            }
        }
    }
}

/// The time until a moment, none if it has come.
pub(crate) fn until(moment: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(now)).unwrap_or(Duration::ZERO)
}
