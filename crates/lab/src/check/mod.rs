//! `lab check`: every path of the Pod network, tried with real sockets, one row each.
//!
//! What is tried and what must come of it is planned first ([`plan`]), as plain data; then one
//! probe process runs inside each source's namespaces. What it needs beside the Pods that are there,
//! it makes by the API and deletes again ([`trial`]).

mod cases;
mod plan;
mod probes;
mod report;
mod trial;
mod view;

#[cfg(test)]
pub(crate) use cases::Path;
#[cfg(test)]
pub(crate) use report::samples;
pub(crate) use report::{Exchange, Report, Row};

use self::cases::Case;
use self::plan::Pairs;
use self::trial::Trial;
use self::view::View;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::error::LabError;

/// How many sources are asked or probe at once.
const AT_ONCE: usize = 8;

/// Checks a lab.
pub(crate) fn run(client: &Client, all_pairs: bool) -> Result<Report, LabError> {
    let status = client.status()?;
    let pairs = if all_pairs { Pairs::All } else { Pairs::Ring };
    let mut view = View::of(client, &status)?;
    let mut report = Report::new(client.state(), status.network, view.pod_mtu());
    let cluster = Cluster::open(&client.state().kubeconfig())?;
    let node = status.nodes.first();
    let mut trial = node.map(|node| Trial::begin(client, &cluster, &status.network, node));
    if let Some(Ok(trial)) = &trial {
        view.exposed = Some(trial.exposed.clone());
    }
    for (case, outcome) in probes::run(client, plan::plan(&view, pairs)) {
        report.add(&case, &outcome);
    }
    match &mut trial {
        Some(Ok(trial)) => trial.check(&mut report),
        Some(Err(failed)) => report.add(&failed.case, &not_tried(&failed.reason)),
        None => {}
    }
    Ok(report)
}

/// The probe's view of a case that went wrong before it could be tried.
fn not_tried(reason: &str) -> crate::tool::ProbeOutcome {
    crate::tool::ProbeOutcome::bad(None, reason.to_owned())
}

/// A case with its number, as the probe process knows it.
type Numbered = (u64, Case);
