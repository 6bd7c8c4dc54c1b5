//! `lab check`: every path of the Pod network, tried with real sockets, one row each.
//!
//! What is tried and what must come of it is planned first ([`plan`]), as plain data; then one
//! probe process runs inside each source's namespaces. What it needs beside the Pods that are there,
//! it makes by the API and deletes again ([`trial`], [`services`]).

mod cases;
mod interrupt;
mod plan;
mod probes;
mod report;
mod services;
mod trial;
mod verdict;
mod view;

#[cfg(test)]
pub(crate) use cases::Path;
#[cfg(test)]
pub(crate) use report::samples;
pub(crate) use report::{Exchange, Report, Row};

use std::thread;

use self::cases::Case;
use self::plan::Pairs;
use self::services::Stage;
use self::trial::Trial;
use self::view::View;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::error::LabError;
use crate::protocol::NodeStatus;
use crate::tool::ProbeOutcome;

/// How many sources are asked or probe at once.
const AT_ONCE: usize = 8;

/// Checks a lab. A signal that ends this process meanwhile clears up first.
pub(crate) fn run(client: &Client, all_pairs: bool) -> Result<Report, LabError> {
    let kubeconfig = client.state().kubeconfig();
    interrupt::clear_up_when_asked(kubeconfig.clone())?;
    let status = client.status()?;
    let pairs = if all_pairs { Pairs::All } else { Pairs::Ring };
    let view = View::of(client, &status)?;
    let mut report = Report::new(client.state(), status.network, view.pod_mtu());
    let cluster = Cluster::open(&kubeconfig)?;
    match status.nodes.first() {
        Some(node) => check(client, &cluster, node, view, pairs, &mut report),
        None => tracing::warn!("the lab has no nodes"),
    }
    Ok(report)
}

/// Makes what it takes, tries everything, and has what was made gone.
fn check(
    client: &Client,
    cluster: &Cluster,
    node: &NodeStatus,
    mut view: View,
    pairs: Pairs,
    report: &mut Report,
) {
    let (mut trial, stage) = thread::scope(|scope| {
        let stage = scope.spawn(|| Stage::begin(client, node));
        let trial = Trial::begin(client, cluster, node);
        (trial, joined(stage))
    });
    if let Ok(trial) = &trial {
        view.exposed = Some(trial.exposed.clone());
    }
    if let Ok(stage) = &stage {
        view.staged = Some(stage.staged.clone());
    }
    let cases = plan::plan(&view, pairs);
    let rolling = match &stage {
        Ok(stage) => stage.rolling(&view),
        Err(_) => Vec::new(),
    };
    services::settle(client, &[&cases[..], &rolling].concat());
    thread::scope(|scope| {
        let rolled = scope.spawn(|| match &stage {
            Ok(stage) => stage.roll(client, &rolling),
            Err(_) => Vec::new(),
        });
        for (case, outcome) in probes::run(client, cases) {
            report.add(&case, &outcome);
        }
        match &mut trial {
            Ok(trial) => trial.check(report),
            Err(failed) => report.add(&failed.case, &not_tried(&failed.reason)),
        }
        for (case, verdict) in rolling.iter().zip(joined(rolled)) {
            report.add_plain(case, verdict);
        }
    });
    if let Err(e) = stage {
        report.add(&services::no_case(node), &not_tried(&e.to_string()));
    }
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The probe's view of a case that went wrong before it could be tried.
fn not_tried(reason: &str) -> ProbeOutcome {
    ProbeOutcome::bad(None, reason.to_owned())
}

/// A case with its number, as the probe process knows it.
type Numbered = (u64, Case);
