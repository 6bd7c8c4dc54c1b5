//! Every path of the Pod network, tried with real sockets, one row each.
//!
//! What is tried and what must come of it is planned first ([`plan`]), as plain data, and judged the
//! same everywhere ([`verdict`]). How an exchange is tried from a machine or Pod is all that differs
//! between a [`lab`] and a cluster that is reached by its API alone ([`cluster`]); both are [`hands`].
//! What a check needs beside the Pods that are there, it makes by the API and deletes again
//! ([`trial`], [`services`]).

mod cases;
mod cluster;
mod hands;
mod interrupt;
mod lab;
mod plan;
mod probes;
mod report;
mod services;
mod trial;
mod verdict;
mod view;

#[cfg(test)]
pub(crate) use cases::Path;
pub use cluster::{CheckOptions, Checker};
pub(crate) use lab::run;
pub use report::Report;
#[cfg(test)]
pub(crate) use report::samples;
pub(crate) use report::{Exchange, Row};

use std::thread;

use self::cases::Case;
use self::hands::Hands;
use self::plan::Pairs;
use self::services::{Room, Stage};
use self::trial::Trial;
use self::view::{NodeView, View};
use crate::cluster::Cluster;
use crate::error::LabError;
use crate::tool::ProbeOutcome;

/// How many sources are asked or probe at once.
const AT_ONCE: usize = 8;

/// Why a path is not tried.
const NO_OUTSIDE: &str = "no host outside of the cluster";

/// What is checked, and how it is done.
struct Checked<'a> {
    hands: &'a dyn Hands,
    cluster: &'a Cluster,
    room: Room,
}

/// Makes what it takes, tries everything, and has what was made gone. `node` gets what is alone.
fn check(
    checked: &Checked<'_>,
    node: &NodeView,
    mut view: View,
    pairs: Pairs,
    report: &mut Report,
) -> Result<(), LabError> {
    let hands = checked.hands;
    let (mut trial, stage) = thread::scope(|scope| {
        let stage = scope.spawn(|| Stage::begin(checked, node));
        let trial = Trial::begin(checked, node);
        (trial, joined(stage))
    });
    // What is refused by the API says nothing of the network.
    let (trial_error, stage_error) = (
        trial.as_ref().err().map(|e| &e.reason),
        stage.as_ref().err(),
    );
    if let Room::Given(_) = checked.room
        && let Some(LabError::Api(why)) = trial_error.or(stage_error)
    {
        return Err(LabError::Api(why.clone()));
    }
    if let Ok(trial) = &trial {
        view.exposed = Some(trial.exposed.clone());
    }
    if let Ok(stage) = &stage {
        view.staged = Some(stage.staged.clone());
    }
    let cases = plan::plan(&view, pairs);
    let is_tried = |case: &Case| view.reaches_outside || !case.path.needs_outside();
    let (cases, beyond): (Vec<_>, Vec<_>) = cases.into_iter().partition(is_tried);
    for case in beyond {
        report.add_untried(&case, NO_OUTSIDE);
    }
    let rolling = match &stage {
        Ok(stage) => stage.rolling(&view),
        Err(_) => Vec::new(),
    };
    services::settle(hands, &[&cases[..], &rolling].concat());
    thread::scope(|scope| {
        let rolled = scope.spawn(|| match &stage {
            Ok(stage) => stage.roll(hands, &rolling),
            Err(_) => Vec::new(),
        });
        for (case, outcome) in probes::run(hands, cases) {
            report.add(&case, &outcome);
        }
        match &mut trial {
            Ok(trial) => trial.check(report),
            Err(failed) => report.add(&failed.case, &not_tried(&failed.reason.to_string())),
        }
        for (case, verdict) in rolling.iter().zip(joined(rolled)) {
            report.add_plain(case, verdict);
        }
    });
    if let Err(e) = stage {
        report.add(&services::no_case(node), &not_tried(&e.to_string()));
    }
    Ok(())
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
