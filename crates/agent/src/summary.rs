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

/// Tells how the agent is until nobody listens any more.
pub(crate) fn run(shared: &Arc<Shared>, tell: &watch::Sender<Option<AgentSummary>>) {
    let started = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    let mut drops = BTreeMap::new();
    let mut counted: Option<Instant> = None;
    while !tell.is_closed() {
        let now = Instant::now();
        if counted.is_none_or(|at| now.saturating_duration_since(at) >= COUNT) {
            counted = Some(now);
            drops = count_drops(shared);
        }
        let summary = AgentSummary {
            started: started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            drops: drops.clone(),
            ..summary(shared)
        };
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

fn summary(shared: &Shared) -> AgentSummary {
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
    AgentSummary {
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
    }
    .bounded()
}

/// What is wrong with the node itself.
fn own_problems(state: &State) -> Vec<String> {
    let uplink = state.uplink.as_ref().err();
    let uplink = uplink.map(|why| format!("no uplink: {why}"));
    let source = state.source_problem.as_ref();
    let source = source.map(|problem| format!("the cluster cannot be seen: {}", problem.text));
    let failures = state.failures.values();
    let failures = failures.map(|failure| format!("not in force: {failure}"));
    uplink.into_iter().chain(source).chain(failures).collect()
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
