//! The handle to a zone in service: events go in on the threads of those who learn them, questions
//! are answered on the server's.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use seaway_model::ClusterEvent;

use crate::counts::{Counters, Counts};
use crate::zone::{Zone, ZoneConfig};

/// As many events are taken in before questions get their turn.
const BATCH: usize = 128;

/// A zone that is in service, and what has been done with it. A copy is the same.
#[derive(Clone, Debug)]
pub struct Names(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    zone: RwLock<Zone>,
    counters: Counters,
}

impl Names {
    /// An empty zone, which knows that it has not been told everything yet.
    pub fn new(config: &ZoneConfig) -> Names {
        Names(Arc::new(Inner {
            zone: RwLock::new(Zone::new(config)),
            counters: Counters::default(),
        }))
    }

    /// Takes in changes of the cluster.
    pub fn apply(&self, events: &[ClusterEvent]) {
        for batch in events.chunks(BATCH) {
            // Nothing in there panics half-way.
            let zone = self.0.zone.write();
            let mut zone = zone.unwrap_or_else(PoisonError::into_inner);
            batch.iter().for_each(|event| zone.apply(event));
        }
    }

    /// What the server has done so far.
    pub fn counts(&self) -> Counts {
        self.0.counters.snapshot()
    }

    pub(crate) fn zone(&self) -> RwLockReadGuard<'_, Zone> {
        self.0.zone.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }
}
