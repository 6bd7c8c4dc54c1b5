//! UDP flows that began under other rules (S27): the kernel asks the rules for the first packet of
//! a flow only, and UDP has no end that it could see. After every change that touched a Service's
//! UDP ports, what the kernel tracks is compared with who may answer now, and flows that somebody
//! else answers are forgotten, so that their next packet asks again. Nothing else is disturbed.
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
use seaway_kernel::conntrack::reconcile_udp;
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
#[derive(Debug, Default, PartialEq, Eq)]
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

/// What waits for the thread, and what came of it.
#[derive(Debug)]
pub(crate) struct Flows {
    waiting: Mutex<Waiting>,
    news: Condvar,
    /// How many flows have been forgotten.
    pub(crate) forgotten: Counter,
    /// How long it takes, in seconds.
    pub(crate) seconds: Histogram,
}

impl Default for Flows {
    fn default() -> Flows {
        Flows {
            waiting: Mutex::default(),
            news: Condvar::new(),
            forgotten: Counter::default(),
            seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
        }
    }
}

impl Flows {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics half-way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This is how it is from now on, in the kernel too.
    pub(crate) fn compare(&self, truths: Vec<FlowTruth>) {
        if truths.is_empty() {
            return;
        }
        self.lock().add(truths);
        self.news.notify_one();
    }

    /// All Services are to be gone through.
    pub(crate) fn compare_all(&self) {
        self.lock().all = true;
        self.news.notify_one();
    }

    fn wait(&self) -> Waiting {
        let waiting = self.lock();
        let waited = self.news.wait_while(waiting, |waiting| waiting.is_empty());
        std::mem::take(&mut *waited.unwrap_or_else(PoisonError::into_inner))
    }
}

/// Puts flows right, for ever, in the calling thread's network namespace.
pub(crate) fn run(shared: &Shared) {
    let mut retry = RETRY.0;
    loop {
        let waiting = shared.flows.wait();
        let began = Instant::now();
        match work(shared, &waiting, reconcile_udp) {
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
                shared.flows.lock().give_back(waiting);
                std::thread::sleep(retry);
                retry = (retry * 2).min(RETRY.1);
            }
        }
    }
}

fn work(
    shared: &Shared,
    waiting: &Waiting,
    reconcile: impl FnOnce(&[FlowTruth]) -> Result<usize, KernelError>,
) -> Result<usize, KernelError> {
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
        false => reconcile(&truths),
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
        flows.lock().give_back(before);
        let now = flows.wait();
        let counts: Vec<usize> = now.truths.values().map(BTreeSet::len).collect();
        assert_eq!((counts, now.all), (vec![1, 0], false));
        assert!(flows.lock().is_empty());
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
