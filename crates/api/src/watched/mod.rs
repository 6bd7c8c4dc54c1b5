//! A kept copy of the objects of a kind: a [`Store`] to look into, [`Changes`] to follow.
//!
//! Why not kube-runtime's watcher: it repeats a watch for ever when the server answers it with
//! HTTP 410 instead of an event, notices a silent server only when the watch would have ended
//! anyway, and tells a list's omissions before anybody could ask whether the server is still the
//! same cluster. The task behind this is [`run`]; what may be deleted is decided in
//! [`Mirror`](crate::Mirror).

mod identity;
mod problem;
mod run;

use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::{Change, Mirror, ObjectKey, Timing};

pub use identity::read_identity;
pub use problem::Problem;

/// How many batches of changes wait for a slow consumer before the watch waits too.
const BATCHES: usize = 16;

/// Which objects of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// A field selector, such as `spec.nodeName=node1`.
    pub fields: Option<String>,
    /// A label selector.
    pub labels: Option<String>,
}

impl Selector {
    /// Objects by their fields.
    pub fn fields(selector: impl Into<String>) -> Selector {
        Selector {
            fields: Some(selector.into()),
            labels: None,
        }
    }

    /// Objects by their labels.
    pub fn labels(selector: impl Into<String>) -> Selector {
        Selector {
            fields: None,
            labels: Some(selector.into()),
        }
    }
}

/// What can be watched.
pub trait Kind:
    Resource<DynamicType = ()>
    + k8s_openapi::Metadata<Ty = ObjectMeta>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<T> Kind for T where
    T: Resource<DynamicType = ()>
        + k8s_openapi::Metadata<Ty = ObjectMeta>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Where the copy is with respect to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Progress {
    /// Counts the changes of the copy.
    generation: u64,
    synced: bool,
    problems: Vec<Problem>,
}

/// The copy and its progress, shared by the task and whoever looks.
struct Shared<T> {
    mirror: RwLock<Mirror<T>>,
    progress: watch::Sender<Progress>,
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, Mirror<T>> {
        // Writers do not panic half-way: they only insert and remove.
        self.mirror.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the task with the last handle.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A look into the copy. Cheap to clone; the watch ends when all clones and the [`Changes`] are
/// dropped.
pub struct Store<T> {
    shared: Arc<Shared<T>>,
    progress: watch::Receiver<Progress>,
    task: Arc<Task>,
}

impl<T> Clone for Store<T> {
    fn clone(&self) -> Store<T> {
        Store {
            shared: self.shared.clone(),
            progress: self.progress.clone(),
            task: self.task.clone(),
        }
    }
}

impl<T> Store<T> {
    /// An object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.shared.read().get(key).cloned()
    }

    /// All objects in the order of their keys.
    pub fn list(&self) -> Vec<Arc<T>> {
        let mirror = self.shared.read();
        mirror.iter().map(|(_, object)| object.clone()).collect()
    }

    /// The objects that `wanted` picks, in the order of their keys.
    pub fn select(&self, wanted: impl Fn(&ObjectKey, &T) -> bool) -> Vec<Arc<T>> {
        let mirror = self.shared.read();
        let picked = mirror.iter().filter(|(key, object)| wanted(key, object));
        picked.map(|(_, object)| object.clone()).collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shared.read().len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.shared.read().is_empty()
    }

    /// Whether a complete list has been taken in.
    pub fn is_synced(&self) -> bool {
        self.progress.borrow().synced
    }

    /// All that is wrong at present.
    pub fn problems(&self) -> Vec<Problem> {
        self.progress.borrow().problems.clone()
    }

    /// Waits until a complete list has been taken in.
    pub async fn synced(&self) {
        let mut progress = self.progress.clone();
        // It fails only when the task is gone, which this handle keeps alive.
        let _ = progress.wait_for(|progress| progress.synced).await;
    }

    /// Waits until the copy or its progress differs from what this handle has waited for before.
    /// For controllers that look at the whole, not at single changes.
    pub async fn changed(&mut self) {
        // As above.
        let _ = self.progress.changed().await;
    }
}

/// The changes of the copy, in batches: the first list as one, then what comes together.
pub struct Changes<T> {
    batches: mpsc::Receiver<Vec<Change<T>>>,
    _task: Arc<Task>,
}

impl<T> Changes<T> {
    /// The next changes. May be dropped while waiting; nothing is lost. `None` only when the
    /// runtime shuts down.
    pub async fn next(&mut self) -> Option<Vec<Change<T>>> {
        self.batches.recv().await
    }
}

/// Starts to keep a copy of the objects of `api` that match `selector`. To be called on a tokio
/// runtime. Changes that are not read hold the watch up; drop the [`Changes`] if only the
/// [`Store`] is of interest.
pub fn watched<T: Kind>(api: Api<T>, selector: Selector, timing: Timing) -> (Store<T>, Changes<T>) {
    watched_in_part(api, selector, timing, |object| object)
}

/// The same, with what `keep` makes of each object in its place: for those who watch thousands of
/// objects and need a few fields of each.
pub fn watched_in_part<T: Kind, O: Send + Sync + 'static>(
    api: Api<T>,
    selector: Selector,
    timing: Timing,
    keep: impl Fn(T) -> O + Send + Sync + 'static,
) -> (Store<O>, Changes<O>) {
    let (progress, observer) = watch::channel(Progress::default());
    let shared = Arc::new(Shared {
        mirror: RwLock::default(),
        progress,
    });
    let (sender, batches) = mpsc::channel(BATCHES);
    let what = (selector, Box::new(keep) as run::Keep<T, O>);
    let run = run::Run::new(api, what, timing, shared.clone(), sender);
    let task = Arc::new(Task(tokio::spawn(run.for_ever())));
    let store = Store {
        shared,
        progress: observer,
        task: task.clone(),
    };
    let changes = Changes {
        batches,
        _task: task,
    };
    (store, changes)
}
