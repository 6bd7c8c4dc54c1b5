//! The newest changes as tables: many watchers show the same change at about the same time, and
//! only the first of them has to read the object for it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;

use super::IncludeObject;
use crate::kinds::Kind;

/// How many tables are kept.
const MAX_TABLES: usize = 512;
/// How many bytes they may have together.
const MAX_BYTES: usize = 1 << 20;

/// What a table shows: ages change with the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Shown {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    revision: u64,
    include: IncludeObject,
    second: i64,
}

impl Shown {
    pub(crate) fn new(kind: &Kind, revision: u64, include: IncludeObject, now: Timestamp) -> Self {
        Self {
            group: kind.group,
            version: kind.version,
            kind: kind.kind,
            revision,
            include,
            second: now.as_second(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    tables: HashMap<Shown, Bytes>,
    order: VecDeque<Shown>,
    bytes: usize,
}

/// The kept tables.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<State>);

impl Cache {
    /// The table, made now if it is not kept.
    pub(crate) fn table(&self, shown: Shown, make: impl FnOnce() -> Bytes) -> Bytes {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = lock().tables.get(&shown) {
            return kept.clone();
        }
        let table = make();
        lock().keep(shown, table.clone());
        table
    }
}

impl State {
    fn keep(&mut self, shown: Shown, table: Bytes) {
        if table.len() > MAX_BYTES || self.tables.contains_key(&shown) {
            return;
        }
        self.bytes += table.len();
        self.tables.insert(shown, table);
        self.order.push_back(shown);
        while self.order.len() > MAX_TABLES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            let gone = self.tables.remove(&oldest);
            self.bytes -= gone.map_or(0, |table| table.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    fn shown(revision: u64) -> Shown {
        let pods = kinds::find("", "v1", "pods").unwrap();
        Shown::new(pods, revision, IncludeObject::None, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_change_is_encoded_once_for_all() {
        let cache = Cache::default();
        let first = cache.table(shown(1), || "a".into());
        let again = cache.table(shown(1), || unreachable!("it is kept"));
        assert_eq!((&first[..], &again[..]), (&b"a"[..], &b"a"[..]));
        let second = Shown {
            second: 1,
            ..shown(1)
        };
        assert_eq!(&cache.table(second, || "b".into())[..], b"b");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let cache = Cache::default();
        let large = Bytes::from(vec![b'x'; MAX_BYTES / 3]);
        for revision in 0..10 {
            cache.table(shown(revision), || large.clone());
        }
        assert_eq!(cache.0.lock().unwrap().tables.len(), 3);
        cache.table(shown(10), || vec![b'x'; MAX_BYTES + 1].into());
        for revision in 100..2000 {
            cache.table(shown(revision), || "x".into());
        }
        let state = cache.0.lock().unwrap();
        assert_eq!((state.tables.len(), state.order.len()), (512, 512));
        assert_eq!(state.bytes, 512);
    }
}
