//! The same small exchange many times, each from a port of its own: who all answers.

use std::collections::BTreeMap;

use super::{Deadline, Exchange, ProbeJob};

/// Does `once` as often as the job's size says. One that goes wrong ends it.
pub(super) fn times(
    job: &ProbeJob,
    once: impl Fn(&ProbeJob) -> Result<Exchange, String>,
) -> Result<Exchange, String> {
    let deadline = job.deadline();
    let mut hosts: BTreeMap<String, u64> = BTreeMap::new();
    let mut last = None;
    for at in 0..job.size {
        let left = deadline.left()?;
        let single = ProbeJob {
            size: 0,
            timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            ..job.clone()
        };
        let exchange = once(&single).map_err(|e| which(at, job.size, &e))?;
        if let Some(greeting) = &exchange.greeting {
            *hosts.entry(greeting.host.clone()).or_default() += 1;
        }
        last = exchange.greeting;
    }
    Ok(finished(last, hosts, deadline))
}

fn finished(
    greeting: Option<super::Greeting>,
    hosts: BTreeMap<String, u64>,
    deadline: Deadline,
) -> Exchange {
    Exchange {
        greeting,
        hosts,
        latency: deadline.elapsed(),
    }
}

fn which(at: usize, of: usize, error: &str) -> String {
    format!("number {} of {of}: {error}", at + 1)
}
