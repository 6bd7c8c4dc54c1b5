//! What the agent says of itself to the cluster, and the thread that looks at it now and then: when
//! and how often that is written is the business of whoever hears it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use seaway_api::AgentSummary;
use seaway_api::heartbeat::{PoolSummary, RowsSummary, SUMMARY_FORMAT, UplinkSummary};
use seaway_kernel::uplink::ChosenUplink;
use tokio::sync::watch;

use crate::journal::Weight;
use crate::shared::Shared;
use crate::state::State;

/// How often the node is looked at; that it is ready, or not, is noticed at once.
const LOOK: Duration = Duration::from_secs(2);
/// How often packets that were dropped are counted.
const COUNT: Duration = Duration::from_secs(10);

/// Rows that are put right in less time are nobody's business: a Pod that comes or goes while
/// everything is compared looks like that, too.
const PATIENCE: Duration = Duration::from_secs(5);

/// More rows than this are not looked at one by one: far fewer are told.
const MOST_FAILURES: usize = 256;

/// Since when rows have not been in force, by what is said of them.
#[derive(Debug, Default)]
struct Lasting(BTreeMap<String, Instant>);

impl Lasting {
    /// Those of `texts` that have been said for a while. To be told all of them each time.
    fn of(&mut self, texts: Vec<String>, now: Instant) -> Vec<String> {
        let mut before = std::mem::take(&mut self.0);
        for text in &texts {
            let since = before.remove(text).unwrap_or(now);
            self.0.insert(text.clone(), since);
        }
        let long = |since: &Instant| now.saturating_duration_since(*since) >= PATIENCE;
        let mut texts = texts;
        texts.retain(|text| self.0.get(text).is_some_and(long));
        texts
    }
}

/// Tells how the agent is until nobody listens any more.
pub(crate) fn run(shared: &Arc<Shared>, tell: &watch::Sender<Option<AgentSummary>>) {
    let started = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    let mut drops = BTreeMap::new();
    let mut counted: Option<Instant> = None;
    let (mut failing, mut drifting) = (Lasting::default(), Lasting::default());
    while !tell.is_closed() {
        let now = Instant::now();
        if counted.is_none_or(|at| now.saturating_duration_since(at) >= COUNT) {
            counted = Some(now);
            drops = count_drops(shared);
        }
        let (summary, failures) = summary(shared);
        let mut problems = failing.of(failures, now);
        problems.extend(summary.problems);
        let drifts: Vec<String> = (summary.rows.drifted > 0)
            .then(String::new)
            .into_iter()
            .collect();
        let drifted = match drifting.of(drifts, now).is_empty() {
            true => 0,
            false => summary.rows.drifted,
        };
        let summary = AgentSummary {
            problems,
            rows: RowsSummary {
                drifted,
                ..summary.rows
            },
            started: started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            drops: drops.clone(),
            ..summary
        }
        .bounded();
        let ready = summary.ready;
        tell.send_if_modified(|last| {
            let news = last.as_ref() != Some(&summary);
            *last = Some(summary);
            news
        });
        // In vain, if nothing happens.
        let _ = shared.wait_until(now + LOOK, |state| {
            (state.unready().is_none() != ready).then_some(())
        });
    }
}

/// How many packets were dropped, by reason. In the node's namespace.
fn count_drops(shared: &Shared) -> BTreeMap<String, u64> {
    match shared.with_node(|node| node.drops()) {
        Ok(Ok(drops)) => drops
            .into_iter()
            .filter(|(_, packets)| *packets > 0)
            .map(|(reason, packets)| (reason.as_str().to_owned(), packets))
            .collect(),
        Ok(Err(error)) | Err(error) => {
            tracing::debug!(%error, "drops are not known");
            BTreeMap::new()
        }
    }
}

/// All but what takes a while to know; and the rows that are not in force now.
fn summary(shared: &Shared) -> (AgentSummary, Vec<String>) {
    // Before the state is locked.
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for (weight, message) in shared.journal.conditions() {
        match weight {
            Weight::Problem => problems.push(message),
            Weight::Warning => warnings.push(message),
        }
    }
    let state = shared.lock();
    let mut all = own_problems(&state);
    all.append(&mut problems);
    let reason = state.unready();
    let failures = state.failures.values().take(MOST_FAILURES);
    let failures = failures.map(|failure| format!("not in force: {failure}"));
    let failures = failures.collect();
    let summary = AgentSummary {
        format: SUMMARY_FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: reason.is_none(),
        reason,
        pods: state.records.len(),
        pod_cidrs: pools(&state),
        rows: RowsSummary {
            planned: state.planner.rows().len(),
            drifted: drifted(&state),
            repaired: state.repairs,
        },
        problems: all,
        warnings,
        notes: state.notes.clone(),
        uplink: state.uplink.as_ref().ok().map(uplink),
        transport: state.planner.settings().transport.to_string(),
        wiring: state.wiring().to_string(),
        mtu: state.planner.pod_mtu(),
        backend: "nftables".to_owned(),
        api_server: state.source.clone(),
        ..AgentSummary::default()
    };
    (summary, failures)
}

/// What is wrong with the node itself.
fn own_problems(state: &State) -> Vec<String> {
    let uplink = state.uplink.as_ref().err();
    let uplink = uplink.map(|why| format!("no uplink: {why}"));
    let source = state.source_problem.as_ref();
    let source = source.map(|problem| format!("the cluster cannot be seen: {}", problem.text));
    uplink.into_iter().chain(source).collect()
}

/// What the last comparison left. What a starting agent finds was never as planned.
fn drifted(state: &State) -> usize {
    let compared = state.compared.filter(|_| state.unready().is_none());
    compared.map_or(0, |compared| compared.drifted)
}

fn pools(state: &State) -> Vec<PoolSummary> {
    let pool = |(cidr, held, usable): (ipnet::IpNet, usize, u128)| PoolSummary {
        cidr: cidr.to_string(),
        usable: u64::try_from(usable).unwrap_or(u64::MAX),
        free: u64::try_from(usable.saturating_sub(held as u128)).unwrap_or(u64::MAX),
    };
    state.ipam.usage().map(pool).collect()
}

fn uplink(uplink: &ChosenUplink) -> UplinkSummary {
    UplinkSummary {
        name: uplink.name.clone(),
        addresses: uplink.addresses.iter().map(ToString::to_string).collect(),
        mtu: uplink.mtu,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_is_told() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let texts =
            |all: &[&str]| -> Vec<String> { all.iter().map(|text| (*text).to_owned()).collect() };
        let mut lasting = Lasting::default();
        assert_eq!(lasting.of(texts(&["a", "b"]), at(0)), texts(&[]));
        assert_eq!(lasting.of(texts(&["a"]), at(4)), texts(&[]));
        assert_eq!(lasting.of(texts(&["a", "b"]), at(5)), texts(&["a"]));
        assert_eq!(
            lasting.of(texts(&["a", "b"]), at(9)),
            texts(&["a"]),
            "b was gone"
        );
        assert_eq!(lasting.of(texts(&["a", "b"]), at(10)), texts(&["a", "b"]));
    }
}
