//! The objects of one kind, and snapshots of them.
//!
//! A snapshot of a whole kind is made once per change and shared by everybody who lists, pages or
//! starts to watch meanwhile: many slow readers of one moment cost what one costs. Readers that
//! take their time only borrow it: it goes when the log no longer reaches back to it, so that they
//! hold no more of the past than the log does.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::SnapshotError;
use super::log::Log;
use super::object::{Key, Object, Shared};

/// A namespace with fewer objects is copied rather than cut from a snapshot of everything.
const SMALL: usize = 256;

/// The objects of a kind at one resourceVersion, in order of namespace and name.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) revision: u64,
    all: Arc<[Shared]>,
    range: Range<usize>,
}

impl Snapshot {
    fn cut(all: Arc<[Shared]>, namespace: Option<&str>, revision: u64) -> Self {
        let range = match namespace {
            None => 0..all.len(),
            Some(namespace) => {
                let start = all.partition_point(|object| object.key.namespace.as_ref() < namespace);
                let end = all.partition_point(|object| object.key.namespace.as_ref() <= namespace);
                start..end
            }
        };
        Self {
            revision,
            all,
            range,
        }
    }

    /// The objects.
    pub(crate) fn objects(&self) -> &[Shared] {
        &self.all[self.range.clone()]
    }

    /// Gives the objects up, but not the place in time.
    pub(crate) fn forget(&mut self) {
        self.all = Arc::new([]);
        self.range = 0..0;
    }

    /// Where the objects after `key` begin.
    pub(crate) fn after(&self, key: &Key) -> usize {
        self.objects().partition_point(|object| object.key <= *key)
    }
}

/// A snapshot for somebody slow.
#[derive(Debug)]
pub(crate) struct Loan {
    revision: u64,
    all: Weak<[Shared]>,
    range: Range<usize>,
}

impl Loan {
    /// The snapshot, if it is not too old by now.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        Some(Snapshot {
            revision: self.revision,
            all: self.all.upgrade()?,
            range: self.range.clone(),
        })
    }
}

/// The objects of one kind.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) objects: BTreeMap<Key, Shared>,
    pub(super) log: Log,
    /// The resourceVersion of the newest change.
    pub(super) wake: watch::Sender<u64>,
    /// All objects as they are now, if somebody has asked since the last change.
    shared: Option<Arc<[Shared]>>,
    /// What was lent, with its resourceVersion.
    lent: Vec<(u64, Arc<[Shared]>)>,
}

impl Shelf {
    pub(super) fn new(log: Log) -> Self {
        Self {
            objects: BTreeMap::new(),
            wake: watch::Sender::new(log.floor()),
            log,
            shared: None,
            lent: Vec::new(),
        }
    }

    /// To be called with every change; what it gives is to be dropped outside the store's lock.
    pub(super) fn changed(&mut self) -> Vec<Arc<[Shared]>> {
        let floor = self.log.floor();
        let over = |(revision, all): &mut (u64, Arc<[Shared]>)| {
            *revision < floor || Arc::weak_count(all) == 0
        };
        let ended = self.lent.extract_if(.., over).map(|(_, all)| all);
        self.shared.take().into_iter().chain(ended).collect()
    }

    /// Lends a snapshot for as long as the log reaches back to it.
    pub(super) fn lend(&mut self, snapshot: &Snapshot) -> Loan {
        let loan = Loan {
            revision: snapshot.revision,
            all: Arc::downgrade(&snapshot.all),
            range: snapshot.range.clone(),
        };
        let mut lent = self.lent.iter();
        if !lent.any(|(_, all)| Arc::ptr_eq(all, &snapshot.all)) {
            let lent = (snapshot.revision, Arc::clone(&snapshot.all));
            self.lent.push(lent);
        }
        loan
    }

    /// The objects of one namespace.
    pub(super) fn range(&self, namespace: &str) -> impl Iterator<Item = &Shared> {
        self.objects
            .range((Bound::Included(Key::new(namespace, "")), Bound::Unbounded))
            .take_while(move |(key, _)| key.namespace.as_ref() == namespace)
            .map(|(_, object)| object)
    }

    /// The objects as they are now.
    pub(super) fn snapshot(&mut self, namespace: Option<&str>, revision: u64) -> Snapshot {
        if let Some(all) = self.shared.clone() {
            return Snapshot::cut(all, namespace, revision);
        }
        if let Some(namespace) = namespace
            && self.range(namespace).nth(SMALL).is_none()
        {
            let all: Arc<[Shared]> = self.range(namespace).cloned().collect();
            return Snapshot::cut(all, None, revision);
        }
        let all: Arc<[Shared]> = self.objects.values().cloned().collect();
        self.shared = Some(Arc::clone(&all));
        Snapshot::cut(all, namespace, revision)
    }

    /// The objects with some of them as they were before, in order.
    fn past(&self, undone: &BTreeMap<&Key, Option<&Shared>>) -> Vec<Shared> {
        let mut past = Vec::with_capacity(self.objects.len() + undone.len());
        let mut undone = undone.iter().peekable();
        for (key, now) in &self.objects {
            while let Some((_, gone)) = undone.next_if(|(before, _)| **before < key) {
                past.extend(gone.map(Arc::<Object>::clone));
            }
            match undone.next_if(|(before, _)| **before == key) {
                Some((_, before)) => past.extend(before.map(Arc::<Object>::clone)),
                None => past.push(Arc::clone(now)),
            }
        }
        past.extend(undone.filter_map(|(_, gone)| gone.map(Arc::<Object>::clone)));
        past
    }

    /// The objects as they were at `wanted`: the present, with the log undone.
    pub(super) fn snapshot_at(
        &mut self,
        namespace: Option<&str>,
        wanted: u64,
        revision: u64,
    ) -> Result<Snapshot, SnapshotError> {
        if wanted < self.log.floor() {
            return Err(SnapshotError::Expired {
                oldest: self.log.floor(),
            });
        }
        let mut undone: BTreeMap<&Key, Option<&Shared>> = BTreeMap::new();
        for event in self.log.newest_first(wanted) {
            undone.insert(&event.object.key, event.previous.as_ref());
        }
        if undone.is_empty() {
            let mut snapshot = self.snapshot(namespace, revision);
            snapshot.revision = wanted;
            return Ok(snapshot);
        }
        let all = self.past(&undone).into();
        Ok(Snapshot::cut(all, namespace, wanted))
    }
}
