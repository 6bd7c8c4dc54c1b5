//! Which Pods are on the lab's nodes: follows the API and gives each Pod a [`Worker`].
//!
//! A Pod's worker ends with the Pod. A Pod that the API no longer lists because it has become
//! another cluster goes on: [`seaway_api::Mirror`] tells only of what has really been deleted.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use seaway_api::{Change, Changes, ObjectKey, Problem, Selector, watched};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::hands::News;
use super::machine::{Machine, ReferredChanges};
use super::refs::Names;
use super::worker::Worker;

/// All Pods that there are workers for.
pub(crate) struct Pods {
    machine: Arc<Machine>,
    workers: HashMap<String, Handle>,
    by_key: HashMap<ObjectKey, String>,
    /// Pods whose predecessor of the same name is not quite gone.
    waiting: HashMap<ObjectKey, Arc<Pod>>,
    ended: UnboundedSender<String>,
    ends: UnboundedReceiver<String>,
    problems: Vec<String>,
}

struct Handle {
    key: ObjectKey,
    names: Names,
    news: UnboundedSender<News>,
}

impl Pods {
    pub(crate) fn new(machine: Arc<Machine>) -> Pods {
        let (ended, ends) = unbounded_channel();
        Pods {
            machine,
            workers: HashMap::new(),
            by_key: HashMap::new(),
            waiting: HashMap::new(),
            ended,
            ends,
            problems: Vec::new(),
        }
    }

    /// Follows the API until told to close; then ends all Pods and returns when they are gone.
    pub(crate) async fn run(
        mut self,
        mut referred: ReferredChanges,
        mut close: oneshot::Receiver<()>,
    ) {
        let api: Api<Pod> = Api::all(self.machine.client.clone());
        let (_store, mut pods) = watched(api, Selector::default(), self.machine.timing.clone());
        loop {
            tokio::select! {
                changes = pods.next() => self.follow(changes),
                changes = next_of(&mut referred.config_maps) => {
                    changes.iter().for_each(|key| self.nudge(key, |n: &Names| n.config_maps.contains(&key.name)));
                }
                changes = next_of(&mut referred.secrets) => {
                    changes.iter().for_each(|key| self.nudge(key, |n: &Names| n.secrets.contains(&key.name)));
                }
                Some(uid) = self.ends.recv() => self.ended(&uid),
                _ = &mut close => break,
            }
        }
        self.close().await;
    }

    async fn close(&mut self) {
        self.machine.hurry_up();
        self.waiting.clear();
        for handle in self.workers.values() {
            let _ = handle.news.send(News::Shutdown);
        }
        while !self.workers.is_empty() {
            if let Some(uid) = self.ends.recv().await {
                self.ended(&uid);
            }
        }
    }

    fn follow(&mut self, changes: Option<Vec<Change<Pod>>>) {
        for change in changes.into_iter().flatten() {
            match change {
                Change::Upsert(key, pod) => self.upsert(key, pod),
                Change::Delete(key, pod) => self.deleted(&key, &pod),
                Change::Synced => {}
                Change::Problems(problems) => self.complain(&problems),
            }
        }
    }

    /// Says once what is wrong, and once that it is over.
    fn complain(&mut self, problems: &[Problem]) {
        let problems: Vec<_> = problems.iter().map(in_short).collect();
        for problem in problems.iter().filter(|p| !self.problems.contains(p)) {
            tracing::warn!("{problem}; all Pods go on meanwhile");
        }
        if problems.is_empty() && !self.problems.is_empty() {
            tracing::info!("the API server is back");
        }
        self.problems = problems;
    }

    fn upsert(&mut self, key: ObjectKey, pod: Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if let Some(handle) = self.workers.get(&uid) {
            let _ = handle.news.send(News::Pod(pod));
            return;
        }
        match self.by_key.get(&key).and_then(|old| self.workers.get(old)) {
            Some(old) => {
                let _ = old.news.send(News::Deleted);
                self.waiting.insert(key, pod);
            }
            None => self.start(key, pod),
        }
    }

    fn deleted(&mut self, key: &ObjectKey, pod: &Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if self
            .waiting
            .get(key)
            .is_some_and(|next| next.metadata.uid == pod.metadata.uid)
        {
            self.waiting.remove(key);
        }
        if let Some(handle) = self.workers.get(&uid) {
            let _ = handle.news.send(News::Deleted);
        }
    }

    fn start(&mut self, key: ObjectKey, pod: Arc<Pod>) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let Some(place) = node.and_then(|node| self.machine.places.get(node)) else {
            return;
        };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let names = Names::of(&pod);
        let (worker, news) = Worker::new(&self.machine, place, pod);
        let farewell = Farewell {
            ended: self.ended.clone(),
            uid: uid.clone(),
        };
        tokio::spawn(async move {
            worker.run().await;
            drop(farewell);
        });
        self.by_key.insert(key.clone(), uid.clone());
        self.workers.insert(uid, Handle { key, names, news });
    }

    fn ended(&mut self, uid: &str) {
        let Some(handle) = self.workers.remove(uid) else {
            return;
        };
        if self
            .by_key
            .get(&handle.key)
            .is_some_and(|known| known == uid)
        {
            self.by_key.remove(&handle.key);
        }
        if let Some(pod) = self.waiting.remove(&handle.key) {
            self.start(handle.key, pod);
        }
    }

    fn nudge(&self, key: &ObjectKey, refers: impl Fn(&Names) -> bool) {
        let concerned = self
            .workers
            .values()
            .filter(|handle| handle.key.namespace == key.namespace && refers(&handle.names));
        concerned.for_each(|handle| {
            let _ = handle.news.send(News::Referred);
        });
    }
}

/// A problem in words that do not change as long as it is the same one.
fn in_short(problem: &Problem) -> String {
    match problem {
        Problem::Away { .. } => "the API server is away".to_owned(),
        Problem::Kept { identity, .. } => format!(
            "the API server has come back as another cluster ({}) and does not know Pods that run here",
            identity.as_ref().unwrap_or_else(|reason| reason)
        ),
        Problem::Object { .. } | Problem::Field { .. } => problem.to_string(),
    }
}

/// Tells that a worker has ended, however it ends.
struct Farewell {
    ended: UnboundedSender<String>,
    uid: String,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.ended.send(std::mem::take(&mut self.uid));
    }
}

/// The keys of what has changed.
async fn next_of<T>(changes: &mut Changes<T>) -> Vec<ObjectKey> {
    let Some(batch) = changes.next().await else {
        return std::future::pending().await;
    };
    let key = |change: Change<T>| match change {
        Change::Upsert(key, _) | Change::Delete(key, _) => Some(key),
        Change::Synced | Change::Problems(_) => None,
    };
    batch.into_iter().filter_map(key).collect()
}
