//! The bounded log of one kind's changes, read by cursor.
//!
//! It holds no state of its readers: who asks for changes after a resourceVersion that has been
//! dropped learns that it expired. Old revisions stay in the log with the change that replaced
//! them, so that the recent past can be rebuilt exactly (paging, exact lists).

use std::collections::VecDeque;

use super::Batch;
use super::object::Shared;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventType {
    Added,
    Modified,
    Deleted,
}

/// One change.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) revision: u64,
    pub(crate) kind: EventType,
    /// The new revision; for a deletion the last state.
    pub(crate) object: Shared,
    /// What was there before.
    pub(crate) previous: Option<Shared>,
}

impl Event {
    fn size(&self) -> usize {
        self.object.size() + self.previous.as_ref().map_or(0, |object| object.size())
    }
}

/// The remembered changes of one kind.
#[derive(Debug)]
pub(crate) struct Log {
    events: VecDeque<Event>,
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
    /// Every change after this resourceVersion is in the log.
    floor: u64,
}

impl Log {
    pub(super) fn new(max_events: usize, max_bytes: usize, floor: u64) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            max_events,
            max_bytes,
            floor,
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.bytes += event.size();
        self.events.push_back(event);
        while self.events.len() > self.max_events || self.bytes > self.max_bytes {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.size();
            self.floor = oldest.revision;
        }
    }

    /// The oldest resourceVersion from which changes can be followed.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Changes after `revision`, newest first.
    pub(super) fn newest_first(&self, revision: u64) -> impl Iterator<Item = &Event> {
        self.events
            .iter()
            .rev()
            .take_while(move |event| event.revision > revision)
    }

    /// Changes after `cursor` that are wanted, until about `budget` bytes (at least one).
    pub(super) fn after(
        &self,
        cursor: u64,
        current: u64,
        budget: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> Batch {
        if cursor < self.floor || cursor > current {
            return Batch::Expired { oldest: self.floor };
        }
        let start = self
            .events
            .partition_point(|event| event.revision <= cursor);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for event in self.events.range(start..) {
            if !wanted(event) {
                continue;
            }
            bytes += event.object.size();
            found.push(event.clone());
            if bytes >= budget {
                return Batch::Events(found, event.revision);
            }
        }
        Batch::Events(found, current)
    }
}
