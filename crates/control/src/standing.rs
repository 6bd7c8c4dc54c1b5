//! How the controller stands: what probes, metrics and the Lease say of it. Set by the loops and the
//! election, read by `web` and the election.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How the controller stands.
#[derive(Debug, Default)]
pub struct Standing {
    leads: AtomicBool,
    terms: AtomicU64,
    reached: AtomicBool,
    /// None until they were counted.
    unenforced: Mutex<Option<u64>>,
}

impl Standing {
    /// Whether this controller is the one that acts.
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// How often it became the one that acts.
    pub fn terms(&self) -> u64 {
        self.terms.load(Ordering::Relaxed)
    }

    /// Whether the API answered at all since the start.
    pub fn is_ready(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// How many NetworkPolicies there are that nobody enforces; None if nobody counted.
    pub fn unenforced(&self) -> Option<u64> {
        *self.count()
    }

    /// It acts from now on.
    pub(crate) fn begin(&self) {
        self.terms.fetch_add(1, Ordering::Relaxed);
        self.leads.store(true, Ordering::Relaxed);
    }

    /// It does not act any more, and what it counted grows old.
    pub(crate) fn end(&self) {
        self.leads.store(false, Ordering::Relaxed);
        *self.count() = None;
    }

    /// The API answered.
    pub(crate) fn reached(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }

    /// So many NetworkPolicies are not enforced.
    pub(crate) fn count_unenforced(&self, count: u64) {
        *self.count() = Some(count);
    }

    fn count(&self) -> MutexGuard<'_, Option<u64>> {
        self.unenforced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
