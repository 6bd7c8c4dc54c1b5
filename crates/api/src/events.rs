//! Events for people (`kubectl describe`, `kubectl events`): repetitions counted in one object, each
//! object's rate limited, never in the way of work. An Event that cannot be written is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::{Backoff, Failure, Timing, describe};

/// How many notes wait for a slow server; more are dropped.
const WAITING: usize = 512;
/// How many different Events are remembered for counting.
const REMEMBERED: usize = 1024;
/// How many Events an object may have at once, and after how long it may have one more.
const BURST: u32 = 25;
const REFILL: Duration = Duration::from_secs(300);
/// How often a note is tried.
const ATTEMPTS: usize = 4;

/// Whether an Event tells of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// Things go as they should.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Something to be told about an object.
#[derive(Clone, Debug, PartialEq)]
pub struct EventNote {
    /// The object; kind, apiVersion, name, namespace and uid are to be set.
    pub object: ObjectReference,
    /// Whether it is trouble.
    pub event_type: EventType,
    /// A word in CamelCase, such as `FailedScheduling`.
    pub reason: String,
    /// What happened.
    pub message: String,
}

/// Records Events. Cheap to clone; what is not written when the last clone is dropped still is.
#[derive(Clone, Debug)]
pub struct EventRecorder {
    notes: mpsc::Sender<EventNote>,
    dropped: Arc<AtomicU64>,
}

impl EventRecorder {
    /// Starts to record for a component, such as `seaway-scheduler`, on a host. To be called on a
    /// tokio runtime.
    pub fn start(client: Client, component: &str, host: Option<&str>) -> EventRecorder {
        let (notes, queue) = mpsc::channel(WAITING);
        let source = EventSource {
            component: Some(component.to_owned()),
            host: host.map(str::to_owned),
        };
        tokio::spawn(write(client, Correlator::new(source), queue));
        EventRecorder {
            notes,
            dropped: Arc::default(),
        }
    }

    /// Takes a note. Never waits: with too many notes waiting, this one is dropped.
    pub fn record(&self, note: EventNote) {
        if self.notes.try_send(note).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many notes were dropped because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// What makes two notes the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Signature {
    object: String,
    event_type: EventType,
    reason: String,
    message: String,
}

#[derive(Clone, Debug)]
struct Known {
    name: String,
    count: i32,
    used: u64,
}

#[derive(Clone, Debug)]
struct Budget {
    left: u32,
    since: Instant,
}

/// What is to be sent for a note.
#[derive(Clone, Debug, PartialEq)]
enum Action {
    Create(Box<Event>),
    Count { name: String, count: i32 },
}

/// Decides what to do with notes. Pure but for what it is given.
struct Correlator {
    source: EventSource,
    known: BTreeMap<Signature, Known>,
    budgets: BTreeMap<String, Budget>,
    clock: u64,
}

impl Correlator {
    fn new(source: EventSource) -> Correlator {
        Correlator {
            source,
            known: BTreeMap::new(),
            budgets: BTreeMap::new(),
            clock: 0,
        }
    }

    fn decide(&mut self, note: &EventNote, now: Instant, wall: Timestamp) -> Option<Action> {
        let signature = Signature::of(note);
        if !self.afford(&signature.object, now) {
            return None;
        }
        self.clock += 1;
        if let Some(known) = self.known.get_mut(&signature) {
            known.count = known.count.saturating_add(1);
            known.used = self.clock;
            return Some(Action::Count {
                name: known.name.clone(),
                count: known.count,
            });
        }
        self.make_room();
        let event = self.event(note, wall);
        let known = Known {
            name: event.metadata.name.clone().unwrap_or_default(),
            count: 1,
            used: self.clock,
        };
        self.known.insert(signature, known);
        Some(Action::Create(Box::new(event)))
    }

    /// The note's Event is gone from the server, or never was there.
    fn forget(&mut self, note: &EventNote) {
        self.known.remove(&Signature::of(note));
    }

    fn make_room(&mut self) {
        if self.known.len() < REMEMBERED {
            return;
        }
        let oldest = self.known.iter().min_by_key(|(_, known)| known.used);
        if let Some(signature) = oldest.map(|(signature, _)| signature.clone()) {
            self.known.remove(&signature);
        }
    }

    fn afford(&mut self, object: &str, now: Instant) -> bool {
        if self.budgets.len() >= REMEMBERED {
            // Those that are full again say nothing.
            let refilled = REFILL * BURST;
            self.budgets
                .retain(|_, budget| now.duration_since(budget.since) < refilled);
        }
        if self.budgets.len() >= REMEMBERED && !self.budgets.contains_key(object) {
            return false;
        }
        let budget = self.budgets.entry(object.to_owned()).or_insert(Budget {
            left: BURST,
            since: now,
        });
        let periods = now.duration_since(budget.since).as_secs() / REFILL.as_secs();
        let periods = u32::try_from(periods).unwrap_or(BURST);
        budget.since += REFILL * periods;
        budget.left = budget.left.saturating_add(periods).min(BURST);
        let affordable = budget.left > 0;
        budget.left = budget.left.saturating_sub(1);
        affordable
    }

    fn event(&self, note: &EventNote, wall: Timestamp) -> Event {
        let object = note.object.name.as_deref().unwrap_or_default();
        let name = format!("{object}.{:x}{:x}", wall.as_nanosecond(), self.clock);
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace(note).to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: note.object.clone(),
            type_: Some(format!("{:?}", note.event_type)),
            reason: Some(note.reason.clone()),
            message: Some(note.message.clone()),
            first_timestamp: Some(Time(wall)),
            last_timestamp: Some(Time(wall)),
            count: Some(1),
            reporting_component: self.source.component.clone(),
            reporting_instance: self.source.host.clone(),
            source: Some(self.source.clone()),
            ..Event::default()
        }
    }
}

impl Signature {
    fn of(note: &EventNote) -> Signature {
        let object = &note.object;
        let parts = [&object.kind, &object.namespace, &object.name, &object.uid];
        let parts = parts.map(|part| part.as_deref().unwrap_or_default());
        Signature {
            object: parts.join("/"),
            event_type: note.event_type,
            reason: note.reason.clone(),
            message: note.message.clone(),
        }
    }
}

/// Events of objects of the cluster live in `default`, as Kubernetes' own do.
fn namespace(note: &EventNote) -> &str {
    let namespace = note.object.namespace.as_deref();
    namespace.filter(|n| !n.is_empty()).unwrap_or("default")
}

async fn write(client: Client, mut correlator: Correlator, mut queue: mpsc::Receiver<EventNote>) {
    let timing = Timing::default();
    while let Some(note) = queue.recv().await {
        let mut backoff = Backoff::new(&timing);
        let api: Api<Event> = Api::namespaced(client.clone(), namespace(&note));
        let Some(mut action) = correlator.decide(&note, Instant::now(), Timestamp::now()) else {
            continue;
        };
        for _ in 0..ATTEMPTS {
            let Err(error) = send(&api, &action).await else {
                break;
            };
            match (Failure::of(&error), &action) {
                (Failure::Absent, Action::Count { .. }) => {
                    // Events expire on the server.
                    correlator.forget(&note);
                    action = Action::Create(Box::new(correlator.event(&note, Timestamp::now())));
                }
                (Failure::Passing(at_least), _) => sleep(backoff.pause().max(at_least)).await,
                _ => {
                    correlator.forget(&note);
                    tracing::debug!(reason = %note.reason, error = %describe(&error), "event dropped");
                    break;
                }
            }
        }
    }
}

async fn send(api: &Api<Event>, action: &Action) -> Result<(), kube::Error> {
    match action {
        Action::Create(event) => api.create(&PostParams::default(), event).await.map(drop),
        Action::Count { name, count } => {
            let patch = json!({"count": count, "lastTimestamp": Time(Timestamp::now())});
            let answer = api
                .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await;
            answer.map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(object: &str, message: &str) -> EventNote {
        EventNote {
            object: ObjectReference {
                kind: Some("Pod".to_owned()),
                namespace: Some("a".to_owned()),
                name: Some(object.to_owned()),
                ..ObjectReference::default()
            },
            event_type: EventType::Warning,
            reason: "Tested".to_owned(),
            message: message.to_owned(),
        }
    }

    fn correlator() -> Correlator {
        Correlator::new(EventSource::default())
    }

    #[test]
    fn repetitions_are_counted_in_one_event() {
        let mut correlator = correlator();
        let now = Instant::now();
        let mut decide = |n: &EventNote| correlator.decide(n, now, Timestamp::UNIX_EPOCH);
        let Some(Action::Create(event)) = decide(&note("p", "m")) else {
            panic!("the first creates");
        };
        assert_eq!(event.metadata.namespace.as_deref(), Some("a"));
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        let name = event.metadata.name.expect("named");
        let second = decide(&note("p", "m"));
        assert_eq!(second, Some(Action::Count { name, count: 2 }));
        assert!(matches!(
            decide(&note("p", "other")),
            Some(Action::Create(_))
        ));
    }

    #[test]
    fn an_object_that_talks_too_much_is_cut_short_and_others_are_not() {
        let mut correlator = correlator();
        let now = Instant::now();
        let mut decide =
            |n: &EventNote, at: Instant| correlator.decide(n, at, Timestamp::UNIX_EPOCH).is_some();
        for number in 0..BURST {
            assert!(decide(&note("p", &number.to_string()), now));
        }
        assert!(!decide(&note("p", "one more"), now));
        assert!(decide(&note("q", "another's"), now));
        assert!(decide(&note("p", "later"), now + REFILL));
        assert!(!decide(&note("p", "much"), now + REFILL));
    }

    #[test]
    fn memory_is_bounded() {
        let mut correlator = correlator();
        let now = Instant::now();
        for number in 0..3 * REMEMBERED {
            correlator.decide(&note(&number.to_string(), "m"), now, Timestamp::UNIX_EPOCH);
        }
        assert!(correlator.known.len() <= REMEMBERED);
        assert!(correlator.budgets.len() <= REMEMBERED);
        assert!(
            correlator
                .decide(
                    &note("new", "m"),
                    now + REFILL * (BURST + 1),
                    Timestamp::UNIX_EPOCH
                )
                .is_some(),
            "full again, so forgotten"
        );
    }
}
