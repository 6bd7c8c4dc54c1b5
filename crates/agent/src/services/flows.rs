//! UDP flows that began under other rules (S27): the kernel asks the rules for the first packet of
//! a flow only, and UDP has no end that it could see. After every change that touched a Service's
//! UDP ports, what the kernel tracks is compared with who may answer now, and flows that somebody
//! else answers are forgotten, so that their next packet asks again. Nothing else is disturbed.
//!
//! The rules may change while the table is read, and then a flow that is right may look wrong: what
//! is about to change is said before it does ([`Flows::expect`]), and no flow is forgotten that it
//! may have made right.
//!
//! A thread of its own: to read what the kernel tracks takes as long as there are flows, and no
//! change waits for that. It rests for longer than it works. Once at the start, and with every
//! audit, all Services are gone through.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use seaway_kernel::KernelError;
use seaway_kernel::conntrack::{UdpFlow, reconcile_udp};
use seaway_model::ServiceName;
use seaway_plan::FlowTruth;

use crate::shared::Shared;

/// With more frontends than this waiting, all Services are gone through.
const MOST_WAITING: usize = 16_384;
/// How many Services are asked for at once: nobody else knows anything meanwhile.
const AT_ONCE: usize = 256;
/// The shortest rest, and how much longer it is than the work.
const REST: (Duration, u32) = (Duration::from_millis(10), 4);
/// How long after a failure it is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// What is to be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Waiting {
    truths: BTreeMap<SocketAddr, BTreeSet<SocketAddr>>,
    all: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.truths.is_empty() && !self.all
    }

    /// Adds what is newer than what waits.
    fn add(&mut self, truths: impl IntoIterator<Item = FlowTruth>) {
        let pairs = truths
            .into_iter()
            .map(|truth| (truth.frontend, truth.may_answer));
        self.truths.extend(pairs);
        if self.truths.len() > MOST_WAITING {
            self.all = true;
            // Whoever may be answered is found again then; who has gone from the plan is not.
            self.truths.retain(|_, may_answer| may_answer.is_empty());
        }
    }

    /// Gives back what could not be done; what came meanwhile is newer.
    fn give_back(&mut self, before: Waiting) {
        self.all |= before.all;
        for (frontend, may_answer) in before.truths {
            self.truths.entry(frontend).or_insert(may_answer);
        }
    }
}

/// What is under way to the kernel.
#[derive(Debug, Default, PartialEq, Eq)]
struct Coming {
    frontends: BTreeSet<SocketAddr>,
    /// It cannot be told one by one.
    all: bool,
}

/// What is newer than what the thread works with.
#[derive(Debug, Default)]
struct News {
    waiting: Waiting,
    coming: Coming,
}

impl News {
    /// Whether what was taken before says nothing any more about any flow.
    fn is_about_all(&self) -> bool {
        self.coming.all || self.waiting.all
    }

    /// Whether a flow that looked wrong is to be left alone: it may be right by now, or will be
    /// compared once what is under way is in force.
    fn spares(&self, flow: &UdpFlow) -> bool {
        let newer = self.waiting.truths.get(&flow.frontend);
        self.is_about_all()
            || self.coming.frontends.contains(&flow.frontend)
            || newer.is_some_and(|may_answer| may_answer.contains(&flow.answers_from))
    }
}

/// What waits for the thread, and what came of it.
#[derive(Debug)]
pub(crate) struct Flows {
    told: Mutex<News>,
    news: Condvar,
    /// How many flows have been forgotten.
    pub(crate) forgotten: Counter,
    /// How long it takes, in seconds.
    pub(crate) seconds: Histogram,
}

impl Default for Flows {
    fn default() -> Flows {
        Flows {
            told: Mutex::default(),
            news: Condvar::new(),
            forgotten: Counter::default(),
            seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
        }
    }
}

impl Flows {
    fn lock(&self) -> MutexGuard<'_, News> {
        // Nothing in here panics half-way.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This is about to go to the kernel; with `all`, more may be. [`Flows::arrived`] ends it.
    pub(crate) fn expect(&self, truths: &[FlowTruth], all: bool) {
        let coming = &mut self.lock().coming;
        coming.all |= all;
        let frontends = truths.iter().map(|truth| truth.frontend);
        coming.frontends.extend(frontends);
    }

    /// What was expected is how it is from now on, in the kernel too; with `all`, all Services are to
    /// be gone through.
    pub(crate) fn arrived(&self, truths: Vec<FlowTruth>, all: bool) {
        let mut told = self.lock();
        told.coming = Coming::default();
        told.waiting.all |= all;
        told.waiting.add(truths);
        self.news.notify_one();
    }

    /// This is how it is.
    pub(crate) fn compare(&self, truths: Vec<FlowTruth>) {
        self.lock().waiting.add(truths);
        self.news.notify_one();
    }

    /// All Services are to be gone through.
    pub(crate) fn compare_all(&self) {
        self.lock().waiting.all = true;
        self.news.notify_one();
    }

    fn wait(&self) -> Waiting {
        let told = self.lock();
        let waited = self.news.wait_while(told, |told| told.waiting.is_empty());
        let mut told = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut told.waiting)
    }

    /// What is not to be forgotten after all, of what was found with what `taken` says. If that says
    /// nothing any more, it waits again.
    fn spares(&self, taken: &Waiting) -> MutexGuard<'_, News> {
        let mut told = self.lock();
        if told.is_about_all() {
            told.waiting.give_back(taken.clone());
        }
        told
    }
}

/// Puts flows right, for ever, in the calling thread's network namespace.
pub(crate) fn run(shared: &Shared) {
    let mut retry = RETRY.0;
    loop {
        let waiting = shared.flows.wait();
        let began = Instant::now();
        match work(shared, &waiting) {
            Ok(forgotten) => {
                retry = RETRY.0;
                let took = began.elapsed();
                shared.flows.forgotten.inc_by(forgotten as u64);
                shared.flows.seconds.observe(took.as_secs_f64());
                if forgotten > 0 {
                    tracing::debug!(forgotten, "UDP flows forgotten that somebody else answers");
                }
                std::thread::sleep(REST.0.max(took * REST.1));
            }
            Err(error) => {
                tracing::warn!(%error, "UDP flows are not compared with Services; trying again");
                shared.flows.lock().waiting.give_back(waiting);
                std::thread::sleep(retry);
                retry = (retry * 2).min(RETRY.1);
            }
        }
    }
}

fn work(shared: &Shared, waiting: &Waiting) -> Result<usize, KernelError> {
    let mut truths = waiting.truths.clone();
    if waiting.all {
        // Newer than what waited, whose frontends may be gone.
        truths.extend(all(shared));
    }
    let truths: Vec<FlowTruth> = truths
        .into_iter()
        .map(|(frontend, may_answer)| FlowTruth {
            frontend,
            may_answer,
        })
        .collect();
    match truths.is_empty() {
        true => Ok(0),
        false => reconcile_udp(&truths, || {
            let told = shared.flows.spares(waiting);
            move |flow: &UdpFlow| told.spares(flow)
        }),
    }
}

/// Who may answer at each UDP frontend of every Service.
fn all(shared: &Shared) -> BTreeMap<SocketAddr, BTreeSet<SocketAddr>> {
    let names: Vec<ServiceName> = {
        let state = shared.lock();
        state
            .planner
            .services()
            .map(|view| view.name().clone())
            .collect()
    };
    let mut truths = BTreeMap::new();
    for names in names.chunks(AT_ONCE) {
        let state = shared.lock();
        let of_all = names.iter().flat_map(|name| state.planner.udp_flows(name));
        truths.extend(of_all.map(|truth| (truth.frontend, truth.may_answer)));
    }
    truths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(port: u16, answers: &[&str]) -> FlowTruth {
        let may_answer = answers.iter().map(|a| a.parse().expect("valid")).collect();
        FlowTruth {
            frontend: SocketAddr::new([10, 96, 0, 1].into(), port),
            may_answer,
        }
    }

    #[test]
    fn what_could_not_be_done_waits_unless_there_is_newer() {
        let flows = Flows::default();
        flows.compare(vec![truth(1, &["10.0.0.1:1"]), truth(2, &["10.0.0.1:1"])]);
        let before = flows.wait();
        flows.compare(vec![truth(2, &[])]);
        flows.lock().waiting.give_back(before);
        let now = flows.wait();
        let counts: Vec<usize> = now.truths.values().map(BTreeSet::len).collect();
        assert_eq!((counts, now.all), (vec![1, 0], false));
        assert!(flows.lock().waiting.is_empty());
    }

    #[test]
    fn what_changed_while_the_table_was_read_is_spared() {
        let flow = |port, from: &str| UdpFlow {
            frontend: truth(port, &[]).frontend,
            answers_from: from.parse().expect("valid"),
        };
        let (old, new, other) = (
            flow(1, "10.0.0.1:1"),
            flow(1, "10.0.0.2:1"),
            flow(2, "10.0.0.9:1"),
        );
        let flows = Flows::default();
        flows.compare(vec![truth(1, &[]), truth(2, &[])]);
        let taken = flows.wait();
        let spared = || {
            let told = flows.spares(&taken);
            [old, new, other].map(|flow| told.spares(&flow))
        };
        assert_eq!(spared(), [false; 3]);
        let next = vec![truth(1, &["10.0.0.2:1"])];
        flows.expect(&next, false);
        assert_eq!(
            spared(),
            [true, true, false],
            "on its way: either may be right"
        );
        flows.arrived(next, false);
        assert_eq!(
            spared(),
            [false, true, false],
            "the old one is wrong for sure"
        );
        flows.expect(&[], true);
        assert_eq!(spared(), [true; 3]);
        flows.arrived(Vec::new(), true);
        assert_eq!(spared(), [true; 3]);
        let again = flows.wait();
        assert!(again.all);
        assert_eq!(
            again.truths.len(),
            2,
            "nothing is lost of what could not be done"
        );
    }

    #[test]
    fn memory_is_bounded_while_nobody_works() {
        let flows = Flows::default();
        for port in 0..2 {
            let all = (0..=u16::MAX / 2).map(|p| truth(p + port, &["10.0.0.1:1"]));
            flows.compare(all.collect());
        }
        flows.compare(vec![truth(1, &[])]);
        let waiting = flows.wait();
        assert!(waiting.all);
        assert_eq!(
            waiting.truths.len(),
            1,
            "that of a frontend nobody answers at"
        );
    }
}
