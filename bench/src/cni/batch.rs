//! Several callers at once, each with its next Pod as soon as the last one is answered.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Field;
use super::contender::Contender;
use crate::plugin::Pod;
use crate::rounds::{self, Plan, Series, Visit};
use crate::stats::{median, percentile};

/// Metrics of a visit: verb, name, unit.
pub(crate) const METRICS: [(&str, &str, &str); 6] = [
    ("add", "rate", "Pods/s"),
    ("add", "p50", "ms"),
    ("add", "p99", "ms"),
    ("del", "rate", "Pods/s"),
    ("del", "p50", "ms"),
    ("del", "p99", "ms"),
];

/// A whole batch.
#[derive(Debug)]
pub(crate) struct Batch {
    /// From the start of the first to the end of the last.
    pub(crate) wall: Duration,
    each: Vec<Duration>,
}

/// Rounds over the contenders of these names: ADD of `pods` Pods by `workers` callers, then DEL.
pub(crate) fn rounds(
    field: &mut Field,
    names: &[&str],
    workers: usize,
    pods: usize,
    plan: Plan,
) -> Result<Series> {
    let places: Vec<usize> = names.iter().filter_map(|name| field.find(name)).collect();
    rounds::run(plan, places.len(), |i| {
        let place = places[i];
        let (contender, stock) = (field.contenders[place], &mut field.stocks[place]);
        let pods = stock.take_many(pods)?;
        let added = all(contender, &pods, workers, |c, pod| c.add(pod))?;
        let deleted = all(contender, &pods, workers, |c, pod| c.del(pod))?;
        stock.put_back(contender, pods)?;
        Ok([added, deleted].iter().flat_map(numbers).collect())
    })
}

fn numbers(batch: &Batch) -> Visit {
    let each: Vec<f64> = batch.each.iter().map(|d| d.as_secs_f64() * 1e3).collect();
    let rate = each.len() as f64 / batch.wall.as_secs_f64();
    vec![rate, median(&each), percentile(&each, 99.0)]
}

/// Does `work` for every Pod, by `workers` callers that start at the same instant.
pub(crate) fn all(
    contender: &dyn Contender,
    pods: &[Pod],
    workers: usize,
    work: impl Fn(&dyn Contender, &Pod) -> Result<Duration> + Sync,
) -> Result<Batch> {
    let workers = workers.min(pods.len());
    let (next, ready) = (AtomicUsize::new(0), Barrier::new(workers));
    let caller = || -> Result<Times> {
        let place = contender.room().move_in();
        ready.wait();
        place?;
        let start = Instant::now();
        let mine = std::iter::from_fn(|| pods.get(next.fetch_add(1, Ordering::Relaxed)));
        let each = mine
            .map(|pod| work(contender, pod))
            .collect::<Result<_>>()?;
        let end = Instant::now();
        Ok(Times { start, end, each })
    };
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..workers).map(|_| scope.spawn(caller)).collect();
        let times = callers.into_iter().map(|caller| match caller.join() {
            Ok(times) => times,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        Ok(together(&times.collect::<Result<Vec<_>>>()?))
    })
}

/// What one caller did.
struct Times {
    start: Instant,
    end: Instant,
    each: Vec<Duration>,
}

/// From the first start to the last end. No other thread could tell: with more callers than CPUs
/// it may run only when all is over.
fn together(callers: &[Times]) -> Batch {
    let start = callers.iter().map(|times| times.start).min();
    let end = callers.iter().map(|times| times.end).max();
    Batch {
        wall: start
            .zip(end)
            .map(|(start, end)| end - start)
            .unwrap_or_default(),
        each: callers
            .iter()
            .flat_map(|times| times.each.iter().copied())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_lasts_from_the_first_start_to_the_last_end() {
        let zero = Instant::now();
        let caller = |start, end| Times {
            start: zero + Duration::from_millis(start),
            end: zero + Duration::from_millis(end),
            each: vec![Duration::from_millis(end - start)],
        };
        let batch = together(&[caller(5, 20), caller(2, 9), caller(4, 31)]);
        assert_eq!(batch.wall, Duration::from_millis(29));
        let [rate, p50, p99] = numbers(&batch)[..] else {
            panic!("three metrics a verb");
        };
        assert!((rate - 3.0 / 0.029).abs() < 1e-6);
        assert!(p50 <= p99 && p99 <= 27.0);
    }
}
