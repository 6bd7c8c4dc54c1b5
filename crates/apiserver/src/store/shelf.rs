//! The objects of one kind, and snapshots of them.
//!
//! A snapshot of a kind is a copy of its sheet, which shares all that does not change, and serves
//! everybody who lists, pages or starts to watch until the next change. Readers that take their time
//! only borrow it: it goes when the log no longer reaches back to it, so that they hold no more of
//! the past than the log does.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::SnapshotError;
use super::log::Log;
use super::object::{Key, Shared};
use super::sheet::Sheet;

/// The objects of a kind at one resourceVersion, in order of namespace and name.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) revision: u64,
    all: Arc<Sheet>,
    range: Range<usize>,
}

/// The objects of a snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Objects<'a> {
    all: &'a Sheet,
    start: usize,
    end: usize,
}

impl<'a> Objects<'a> {
    /// How many there are.
    pub(crate) fn len(self) -> usize {
        self.end - self.start
    }

    /// Whether there is none.
    pub(crate) fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The object at a position.
    pub(crate) fn get(self, position: usize) -> Option<&'a Shared> {
        (position < self.len()).then(|| self.all.at(self.start + position))?
    }

    /// All of them.
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a Shared> {
        self.iter_from(0).map(|(_, object)| object)
    }

    /// Those from a position on, with their positions.
    pub(crate) fn iter_from(self, position: usize) -> impl Iterator<Item = (usize, &'a Shared)> {
        let left = self.len().saturating_sub(position);
        let objects = self.all.iter_from(self.start + position.min(self.len()));
        (position..).zip(objects.take(left))
    }
}

impl Snapshot {
    fn cut(all: Arc<Sheet>, namespace: Option<&str>, revision: u64) -> Self {
        let range = match namespace {
            None => 0..all.len(),
            Some(namespace) => all.namespace(namespace),
        };
        Self {
            revision,
            all,
            range,
        }
    }

    /// The objects.
    pub(crate) fn objects(&self) -> Objects<'_> {
        Objects {
            all: &self.all,
            start: self.range.start,
            end: self.range.end,
        }
    }

    /// Gives the objects up, but not the place in time.
    pub(crate) fn forget(&mut self) {
        self.all = Arc::default();
        self.range = 0..0;
    }

    /// Where the objects after `key` begin.
    pub(crate) fn after(&self, key: &Key) -> usize {
        let Range { start, end } = self.range;
        self.all.partition_point(|one| one <= key).clamp(start, end) - start
    }

    /// Whether both are the same copy.
    #[cfg(test)]
    pub(crate) fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.all, &other.all)
    }
}

/// A snapshot for somebody slow.
#[derive(Debug)]
pub(crate) struct Loan {
    revision: u64,
    all: Weak<Sheet>,
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
    pub(super) objects: Sheet,
    pub(super) log: Log,
    /// The resourceVersion of the newest change.
    pub(super) wake: watch::Sender<u64>,
    /// All objects as they are now, if somebody has asked since the last change.
    shared: Option<Arc<Sheet>>,
    /// What was lent, with its resourceVersion.
    lent: Vec<(u64, Arc<Sheet>)>,
}

impl Shelf {
    pub(super) fn new(log: Log) -> Self {
        Self {
            objects: Sheet::default(),
            wake: watch::Sender::new(log.floor()),
            log,
            shared: None,
            lent: Vec::new(),
        }
    }

    /// To be called with every change; what it gives is to be dropped outside the store's lock.
    pub(super) fn changed(&mut self) -> Vec<Arc<Sheet>> {
        let floor = self.log.floor();
        let over = |(revision, all): &mut (u64, Arc<Sheet>)| {
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
        let range = self.objects.namespace(namespace);
        self.objects.iter_from(range.start).take(range.len())
    }

    /// The objects as they are now.
    pub(super) fn snapshot(&mut self, namespace: Option<&str>, revision: u64) -> Snapshot {
        let all = self
            .shared
            .get_or_insert_with(|| Arc::new(self.objects.clone()));
        Snapshot::cut(Arc::clone(all), namespace, revision)
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
        let mut past = self.objects.clone();
        for (key, before) in undone {
            match before {
                Some(before) => past.insert(Arc::clone(before)),
                None => past.remove(key),
            }
        }
        Ok(Snapshot::cut(Arc::new(past), namespace, wanted))
    }
}
