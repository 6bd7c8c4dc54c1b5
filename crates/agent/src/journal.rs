//! What happens on the node that people should hear of: logged, kept for status, and told as Events
//! on the Node where the source can.
//!
//! A *condition* holds until it is over and is told when it begins, changes and ends; what holds on
//! is not told again. One that can change all the time rests after it was told.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use seaway_api::{EventType, NodeNote};
use serde::Serialize;
use tokio::sync::mpsc;

/// How many are kept for status.
const KEPT: usize = 32;
/// How many wait for a source that is not there yet.
const WAITING: usize = 64;
/// How long a condition that can change all the time is not told again.
const REST: Duration = Duration::from_secs(60);

/// What can hold for a while.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// A wiring waits for the Pods of another to go.
    Wiring,
    /// A stranger's filter drops packets of Pods.
    Forward,
    /// Packets to some nodes must be smaller than the uplink takes.
    PathMtu,
    /// There is no way to the Pods of some nodes.
    Peers,
    /// Ports of the node do not lead from Pods to Pods of the same bridge.
    BridgedPorts,
    /// Ports that Services have are given to the node's own clients.
    NodePorts,
    /// Nobody can be answered at an address.
    Listener(SocketAddr),
    /// The runtime's configuration cannot be kept, or another is before it.
    Conflist,
    /// Objects of the cluster are wrong in themselves.
    Objects,
    /// An object of the cluster does not go together with others.
    Object(String),
}

/// How bad it is that something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Something does not work.
    Problem,
    /// It works, but not as people may think.
    Warning,
}

impl Topic {
    fn weight(&self) -> Weight {
        match self {
            Topic::Forward
            | Topic::Peers
            | Topic::BridgedPorts
            | Topic::Listener(_)
            | Topic::Conflist => Weight::Problem,
            Topic::Wiring
            | Topic::PathMtu
            | Topic::NodePorts
            | Topic::Objects
            | Topic::Object(_) => Weight::Warning,
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct JournalEntry {
    /// How many seconds ago.
    pub seconds_ago: u64,
    /// Whether it is trouble.
    pub warning: bool,
    /// A word in CamelCase.
    pub reason: String,
    /// What happened.
    pub message: String,
}

#[derive(Debug)]
struct Inner {
    recent: VecDeque<(Instant, NodeNote)>,
    conditions: BTreeMap<Topic, String>,
    told: BTreeMap<Topic, Instant>,
    listener: mpsc::Sender<NodeNote>,
}

/// The journal.
#[derive(Debug)]
pub(crate) struct Journal {
    inner: Mutex<Inner>,
}

impl Journal {
    /// A journal, and where a source hears of what is told.
    pub(crate) fn new() -> (Journal, mpsc::Receiver<NodeNote>) {
        let (listener, notes) = mpsc::channel(WAITING);
        let inner = Mutex::new(Inner {
            recent: VecDeque::new(),
            conditions: BTreeMap::new(),
            told: BTreeMap::new(),
            listener,
        });
        (Journal { inner }, notes)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A condition begins, goes on, or changes.
    pub(crate) fn holds(&self, topic: Topic, reason: &str, message: String) {
        let mut inner = self.lock();
        if inner.conditions.get(&topic) != Some(&message) {
            inner.conditions.insert(topic.clone(), message.clone());
            inner.note_told(topic, Instant::now());
            inner.tell(EventType::Warning, reason, message);
        }
    }

    /// A condition does not hold; told if it did.
    pub(crate) fn over(&self, topic: &Topic, reason: &str, message: impl FnOnce() -> String) {
        let mut inner = self.lock();
        if inner.conditions.remove(topic).is_some() {
            inner.note_told(topic.clone(), Instant::now());
            inner.tell(EventType::Normal, reason, message());
        }
    }

    /// Whether a condition was told so lately that it had better wait.
    pub(crate) fn rests(&self, topic: &Topic, now: Instant) -> bool {
        let told = self.lock().told.get(topic).copied();
        told.is_some_and(|at| now.saturating_duration_since(at) < REST)
    }

    /// All that holds.
    pub(crate) fn conditions(&self) -> Vec<(Weight, String)> {
        let inner = self.lock();
        let all = inner.conditions.iter();
        all.map(|(topic, message)| (topic.weight(), message.clone()))
            .collect()
    }

    /// What happened last, the newest first.
    pub(crate) fn recent(&self) -> Vec<JournalEntry> {
        let inner = self.lock();
        let newest = inner.recent.iter().rev();
        newest
            .map(|(at, note)| JournalEntry {
                seconds_ago: at.elapsed().as_secs(),
                warning: note.event_type == EventType::Warning,
                reason: note.reason.clone(),
                message: note.message.clone(),
            })
            .collect()
    }
}

impl Inner {
    /// Topics that need not rest any more are forgotten: objects come and go for ever.
    fn note_told(&mut self, topic: Topic, now: Instant) {
        self.told
            .retain(|_, at| now.saturating_duration_since(*at) < REST);
        self.told.insert(topic, now);
    }

    fn tell(&mut self, event_type: EventType, reason: &str, message: String) {
        match event_type {
            EventType::Warning => tracing::warn!(reason, "{message}"),
            EventType::Normal => tracing::info!(reason, "{message}"),
        }
        let note = NodeNote {
            event_type,
            reason: reason.to_owned(),
            message,
        };
        // Nobody may be listening, or not for a while: status has it all the same.
        let _ = self.listener.try_send(note.clone());
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back((Instant::now(), note));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_told_when_it_begins_changes_and_ends() {
        let (journal, mut notes) = Journal::new();
        let topic = || Topic::PathMtu;
        for message in ["1400", "1400", "1300", "1300"] {
            journal.holds(topic(), "PathMtuLowered", message.to_owned());
        }
        for _ in 0..2 {
            journal.over(&topic(), "PathMtuRestored", || "all".to_owned());
        }
        let told: Vec<String> = std::iter::from_fn(|| notes.try_recv().ok())
            .map(|note| format!("{:?} {} {}", note.event_type, note.reason, note.message))
            .collect();
        assert_eq!(
            told,
            [
                "Warning PathMtuLowered 1400",
                "Warning PathMtuLowered 1300",
                "Normal PathMtuRestored all"
            ]
        );
        assert_eq!(journal.recent()[0].reason, "PathMtuRestored");
        assert_eq!(journal.conditions(), []);
        journal.holds(Topic::Peers, "NodesUnreachable", "b".to_owned());
        let conditions = journal.conditions();
        assert_eq!(conditions, [(Weight::Problem, "b".to_owned())]);
    }

    #[test]
    fn what_was_told_rests_and_then_does_not() {
        let (journal, _notes) = Journal::new();
        let now = Instant::now();
        assert!(!journal.rests(&Topic::PathMtu, now));
        journal.holds(Topic::PathMtu, "PathMtuLowered", "1400".to_owned());
        assert!(journal.rests(&Topic::PathMtu, now));
        assert!(!journal.rests(&Topic::Peers, now));
        assert!(!journal.rests(&Topic::PathMtu, Instant::now() + REST));
    }

    #[test]
    fn memory_is_bounded_without_a_listener() {
        let (journal, notes) = Journal::new();
        drop(notes);
        for number in 0..3 * KEPT {
            journal.holds(Topic::Wiring, "Tested", number.to_string());
        }
        assert_eq!(journal.recent().len(), KEPT);
    }

    #[test]
    fn topics_of_the_past_are_forgotten() {
        let (journal, _notes) = Journal::new();
        let now = Instant::now();
        let object = |number: u8| Topic::Object(number.to_string());
        let mut inner = journal.lock();
        inner.note_told(object(1), now);
        inner.note_told(object(2), now + REST / 2);
        assert_eq!(inner.told.len(), 2);
        inner.note_told(object(3), now + REST);
        assert!(!inner.told.contains_key(&object(1)), "it has rested");
        assert_eq!(inner.told.len(), 2);
    }
}
