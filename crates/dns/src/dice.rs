//! Numbers that nobody can foresee, from the keyed hash of the standard library (its key comes from
//! the system). Good for message ids and for mixing answers; not for keys.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Dice {
    key: RandomState,
    thrown: AtomicU64,
}

impl Dice {
    pub(crate) fn throw(&self) -> u64 {
        let turn = self.thrown.fetch_add(1, Ordering::Relaxed);
        self.key.hash_one(turn)
    }

    /// A message id.
    pub(crate) fn id(&self) -> u16 {
        (self.throw() >> 32) as u16
    }

    /// A place in a row of `length`.
    pub(crate) fn place(&self, length: usize) -> usize {
        let length = length.max(1) as u64;
        usize::try_from(self.throw() % length).unwrap_or(0)
    }
}
