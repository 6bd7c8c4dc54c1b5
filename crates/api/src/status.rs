//! Writing status subresources: only what changed, the last wish per object, tried until it is in.
//!
//! A status is what the writer's owner observes, so a wish is never refused for being late: the
//! patch says the uid, and an object that was replaced by another of its name is left alone.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::{Backoff, Failure, ObjectKey, Timing, describe, merge_diff};

/// How many requests run at once.
const PARALLEL: usize = 8;

/// What is known and wished of one object's status.
#[derive(Clone, Debug, Default)]
struct Entry {
    uid: String,
    /// What the server has, as far as is known; null when nothing is.
    base: Value,
    /// What it is to have, if that differs.
    wish: Option<Value>,
    /// A request with the wish is under way.
    busy: bool,
}

#[derive(Debug, Default)]
struct Desk {
    entries: BTreeMap<ObjectKey, Entry>,
    problem: Option<String>,
}

#[derive(Debug)]
struct Shared {
    desk: Mutex<Desk>,
    /// Counts wishes and outcomes.
    news: watch::Sender<u64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Desk> {
        // Nothing in here panics half-way.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self) {
        self.news.send_modify(|count| *count += 1);
    }
}

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Writes the status of objects of one kind. Cheap to clone; what is not written when the last
/// clone is dropped is lost, see [`StatusWriter::flush`].
pub struct StatusWriter<K> {
    shared: Arc<Shared>,
    _task: Arc<Task>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for StatusWriter<K> {
    fn clone(&self) -> StatusWriter<K> {
        StatusWriter {
            shared: self.shared.clone(),
            _task: self._task.clone(),
            kind: PhantomData,
        }
    }
}

/// What can be written: the `Api` for a key, by the scope of the kind.
type ApiOf<K> = fn(&Client, &ObjectKey) -> Api<K>;

impl<K> StatusWriter<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// A writer for objects in namespaces. To be called on a tokio runtime.
    pub fn namespaced(client: Client, timing: &Timing) -> StatusWriter<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
    {
        let api: ApiOf<K> = |client, key| {
            let namespace = key.namespace.as_deref().unwrap_or_default();
            Api::namespaced(client.clone(), namespace)
        };
        StatusWriter::start(client, timing, api)
    }

    /// A writer for objects of the cluster. To be called on a tokio runtime.
    pub fn cluster(client: Client, timing: &Timing) -> StatusWriter<K> {
        StatusWriter::start(client, timing, |client, _| Api::all(client.clone()))
    }

    fn start(client: Client, timing: &Timing, api: ApiOf<K>) -> StatusWriter<K> {
        let shared = Arc::new(Shared {
            desk: Mutex::default(),
            news: watch::channel(0).0,
        });
        let writing = write(shared.clone(), client, Backoff::new(timing), api);
        StatusWriter {
            shared,
            _task: Arc::new(Task(tokio::spawn(writing))),
            kind: PhantomData,
        }
    }
}

impl<K> StatusWriter<K> {
    /// Says what the status of an object is to be. Replaces an earlier wish; nothing is sent when
    /// the server is known to have it already.
    ///
    /// # Errors
    ///
    /// The status cannot be written as JSON.
    pub fn set(
        &self,
        key: &ObjectKey,
        uid: &str,
        status: &impl Serialize,
    ) -> Result<(), serde_json::Error> {
        let wish = serde_json::to_value(status)?;
        let mut desk = self.shared.lock();
        let entry = desk.entry(key, uid);
        entry.wish = (entry.busy || entry.base != wish).then_some(wish);
        let news = entry.wish.is_some();
        drop(desk);
        if news {
            self.shared.announce();
        }
        Ok(())
    }

    /// Says what status the server has, as a watch reports it, so that another's change is
    /// noticed by the next [`StatusWriter::set`].
    ///
    /// # Errors
    ///
    /// The status cannot be written as JSON.
    pub fn observe(
        &self,
        key: &ObjectKey,
        uid: &str,
        status: &impl Serialize,
    ) -> Result<(), serde_json::Error> {
        let observed = serde_json::to_value(status)?;
        let mut desk = self.shared.lock();
        let entry = desk.entry(key, uid);
        // With a request under way, the report may be older than its outcome.
        if !entry.busy {
            entry.wish.take_if(|wish| *wish == observed);
            entry.base = observed;
        }
        drop(desk);
        self.shared.announce();
        Ok(())
    }

    /// The object is gone: wishes for it are dropped.
    pub fn forget(&self, key: &ObjectKey) {
        self.shared.lock().entries.remove(key);
        self.shared.announce();
    }

    /// Why the last write failed, if it did.
    pub fn problem(&self) -> Option<String> {
        self.shared.lock().problem.clone()
    }

    /// Waits until everything wished so far is written or refused.
    pub async fn flush(&self) {
        let mut news = self.shared.news.subscribe();
        loop {
            news.mark_unchanged();
            let idle = |entry: &Entry| entry.wish.is_none() && !entry.busy;
            if self.shared.lock().entries.values().all(idle) {
                return;
            }
            if news.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Desk {
    /// The entry of an object; that of an earlier object of the same name is dropped.
    fn entry(&mut self, key: &ObjectKey, uid: &str) -> &mut Entry {
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.uid != uid {
            *entry = Entry {
                uid: uid.to_owned(),
                ..Entry::default()
            };
        }
        entry
    }

    /// Takes the wishes out to be written; also tells whether the server has one already.
    fn take(&mut self) -> (Vec<Job>, bool) {
        let wanting = |entry: &Entry| entry.wish.is_some() && !entry.busy;
        let entries = self.entries.iter_mut();
        let (mut jobs, mut fulfilled) = (Vec::new(), false);
        for (key, entry) in entries.filter(|(_, entry)| wanting(entry)) {
            let Some(wish) = entry.wish.take() else {
                continue;
            };
            let Some(patch) = merge_diff(&entry.base, &wish) else {
                fulfilled = true;
                continue;
            };
            entry.busy = true;
            jobs.push(Job {
                key: key.clone(),
                uid: entry.uid.clone(),
                wish,
                patch,
            });
        }
        (jobs, fulfilled)
    }

    /// Notes what came of a job; tells for how long to rest before the next, if it failed.
    fn settle(&mut self, job: Job, outcome: Result<(), kube::Error>) -> Option<Duration> {
        let failure = outcome.as_ref().err().map(Failure::of);
        self.problem = outcome.err().map(|error| {
            let problem = format!("patch status of {}: {}", job.key, describe(&error));
            tracing::debug!(%problem, ?failure, "status not written");
            problem
        });
        let entry = self.entries.get_mut(&job.key);
        let entry = entry.filter(|entry| entry.uid == job.uid)?;
        entry.busy = false;
        match failure {
            None => entry.base = job.wish,
            // Gone, or another object of this name: its owner will hear of it by a watch.
            Some(Failure::Absent | Failure::Conflict) => {
                entry.base = Value::Null;
                self.problem = None;
            }
            // The same again would be refused again; the next wish starts from nothing.
            Some(Failure::Refused) => entry.base = Value::Null,
            Some(Failure::Expired | Failure::Passing(_)) => {
                let wish = job.wish;
                entry.wish.get_or_insert(wish);
                return Some(match failure {
                    Some(Failure::Passing(at_least)) => at_least,
                    _ => Duration::ZERO,
                });
            }
        }
        None
    }
}

/// A status on its way.
struct Job {
    key: ObjectKey,
    uid: String,
    wish: Value,
    patch: Value,
}

async fn write<K>(shared: Arc<Shared>, client: Client, mut backoff: Backoff, api: ApiOf<K>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut news = shared.news.subscribe();
    loop {
        news.mark_unchanged();
        let (jobs, fulfilled) = shared.lock().take();
        if fulfilled {
            shared.announce(); // somebody may wait in `flush` for just this
        }
        if jobs.is_empty() {
            if news.changed().await.is_err() {
                return;
            }
            continue;
        }
        let requests = jobs.into_iter().map(|job| {
            let api = api(&client, &job.key);
            async move {
                let outcome = send(&api, &job).await;
                (job, outcome)
            }
        });
        let mut answers = stream::iter(requests).buffer_unordered(PARALLEL);
        let mut rest = None;
        while let Some((job, outcome)) = answers.next().await {
            rest = shared.lock().settle(job, outcome).max(rest);
            shared.announce();
        }
        match rest {
            Some(at_least) => sleep(backoff.pause().max(at_least)).await,
            None => backoff.reset(),
        }
    }
}

async fn send<K>(api: &Api<K>, job: &Job) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let body = json!({"metadata": {"uid": job.uid}, "status": job.patch});
    let answer = api
        .patch_status(&job.key.name, &PatchParams::default(), &Patch::Merge(body))
        .await;
    answer.map(drop)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn error(code: u16) -> Result<(), kube::Error> {
        let status = Status::failure("words", "Reason").with_code(code);
        Err(kube::Error::Api(status.boxed()))
    }

    fn desk_with(wish: Value) -> (Desk, ObjectKey) {
        let key = ObjectKey::namespaced("a", "b");
        let mut desk = Desk::default();
        desk.entry(&key, "u1").wish = Some(wish);
        (desk, key)
    }

    #[test]
    fn only_what_changed_is_patched() {
        let (mut desk, key) = desk_with(json!({"phase": "Running", "podIP": "10.0.0.1"}));
        let job = desk.take().0.pop().expect("a job");
        assert_eq!(job.patch, job.wish, "nothing is known of the server's");
        assert!(desk.settle(job, Ok(())).is_none());
        desk.entry(&key, "u1").wish = Some(json!({"phase": "Failed"}));
        let job = desk.take().0.pop().expect("a job");
        assert_eq!(job.patch, json!({"phase": "Failed", "podIP": null}));
        desk.settle(job, Ok(()));
        desk.entry(&key, "u1").wish = Some(json!({"phase": "Failed"}));
        assert!(desk.take().0.is_empty(), "the server has it");
    }

    #[test]
    fn a_wish_repeated_while_it_is_written_is_fulfilled() {
        let (mut desk, key) = desk_with(json!({"phase": "Running"}));
        let job = desk.take().0.pop().expect("a job");
        desk.entry(&key, "u1").wish = Some(json!({"phase": "Running"}));
        desk.settle(job, Ok(()));
        let (jobs, fulfilled) = desk.take();
        assert!(jobs.is_empty() && fulfilled, "who flushes is to hear of it");
        assert!(!desk.take().1);
    }

    #[test]
    fn a_passing_failure_keeps_the_wish_unless_there_is_a_newer_one() {
        let (mut desk, key) = desk_with(json!({"phase": "Running"}));
        let job = desk.take().0.pop().expect("a job");
        assert!(desk.take().0.is_empty(), "one request an object");
        assert_eq!(desk.settle(job, error(503)), Some(Duration::ZERO));
        assert!(desk.problem.is_some());
        let job = desk.take().0.pop().expect("again");
        desk.entry(&key, "u1").wish = Some(json!({"phase": "Failed"}));
        desk.settle(job, error(500));
        let job = desk.take().0.pop().expect("again");
        assert_eq!(job.wish, json!({"phase": "Failed"}));
        desk.settle(job, Ok(()));
        assert_eq!(desk.problem, None);
    }

    #[test]
    fn a_replaced_object_starts_from_nothing() {
        let (mut desk, key) = desk_with(json!({"phase": "Running"}));
        let job = desk.take().0.pop().expect("a job");
        desk.entry(&key, "u2").wish = Some(json!({"phase": "Pending"}));
        assert!(desk.settle(job, Ok(())).is_none());
        let job = desk.take().0.pop().expect("a job");
        assert_eq!((job.uid.as_str(), &job.patch), ("u2", &job.wish));
    }

    #[test]
    fn what_is_refused_or_gone_is_not_tried_again() {
        for code in [403, 404, 409, 422] {
            let (mut desk, _) = desk_with(json!({"phase": "Running"}));
            let job = desk.take().0.pop().expect("a job");
            assert_eq!(desk.settle(job, error(code)), None);
            assert!(desk.take().0.is_empty(), "{code}");
        }
    }
}
