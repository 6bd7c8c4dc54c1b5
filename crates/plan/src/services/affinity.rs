//! The times for which clients keep their endpoint (S25). Each is a map in the kernel, so there
//! can only be so many: beyond, the short ones are rounded up to the shortest that has one.

use std::collections::{BTreeMap, BTreeSet};

use seaway_model::{Service, ServiceName};

/// How many different times there can be.
pub(super) const MOST_TIMES: usize = 16;

/// The longest time that a Service can ask for, in seconds.
const LONGEST: u32 = 86_400;

/// Who asks for which time.
#[derive(Clone, Debug, Default)]
pub(super) struct Affinities {
    wanted: BTreeMap<u32, BTreeSet<ServiceName>>,
    kept: BTreeSet<u32>,
}

/// The time that a Service asks for.
pub(super) fn wanted(service: &Service) -> Option<u32> {
    service.affinity.map(|seconds| seconds.clamp(1, LONGEST))
}

impl Affinities {
    /// Takes in that a Service asks for another time; gives the Services whose time becomes
    /// another because of that.
    pub(super) fn change(
        &mut self,
        name: &ServiceName,
        before: Option<u32>,
        now: Option<u32>,
    ) -> Vec<ServiceName> {
        if before == now {
            return Vec::new();
        }
        if let Some(seconds) = before
            && let Some(names) = self.wanted.get_mut(&seconds)
        {
            names.remove(name);
            if names.is_empty() {
                self.wanted.remove(&seconds);
            }
        }
        if let Some(seconds) = now {
            self.wanted.entry(seconds).or_default().insert(name.clone());
        }
        let kept: BTreeSet<u32> = self.wanted.keys().rev().take(MOST_TIMES).copied().collect();
        if kept == self.kept {
            return Vec::new();
        }
        let old = std::mem::replace(&mut self.kept, kept);
        // The longest ones are kept: who asks for one that was and is kept has what it wants.
        let settled = |seconds: &u32| old.contains(seconds) && self.kept.contains(seconds);
        let others = self.wanted.iter().filter(|(seconds, _)| !settled(seconds));
        others
            .flat_map(|(_, names)| names.iter().cloned())
            .collect()
    }

    /// The time that who asks for `seconds` gets.
    pub(super) fn given(&self, seconds: u32) -> u32 {
        self.kept
            .range(seconds..)
            .next()
            .copied()
            .unwrap_or(seconds)
    }

    /// All times that are given.
    pub(super) fn kept(&self) -> &BTreeSet<u32> {
        &self.kept
    }
}
