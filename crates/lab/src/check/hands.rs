//! What differs between the places that a check is made in: how an exchange is tried from somewhere,
//! and what only who runs the place can do or know. All else is the same everywhere.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::cases::Case;
use super::view::PodView;
use crate::cluster::ReadyPod;
use crate::error::LabError;
use crate::tool::{LoadReport, ProbeJob, ProbeOutcome};

/// Where probes are run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    /// The machine or Pod.
    pub(super) name: String,
    /// Names are looked up by what a container knows; all else is the same without one.
    pub(super) in_container: bool,
}

/// What came of probes, by their numbers.
pub(super) type Outcomes = HashMap<u64, ProbeOutcome>;

/// Whoever tries exchanges in a place.
pub(super) trait Hands: Sync {
    /// Runs probes somewhere.
    fn probe(&self, source: &Source, jobs: &[ProbeJob]) -> Result<Outcomes, LabError>;

    /// Begins to ask as the cases say, each for itself, until told to end.
    fn begin_loads<'a>(&'a self, cases: &'a [Case]) -> Box<dyn Loads + 'a>;

    /// Has a container's program die.
    fn end_container(&self, pod: &str, container: &str) -> Result<(), LabError>;

    /// Looks at a Pod.
    fn look_at(&self, namespace: &str, pod: &ReadyPod) -> Result<PodView, LabError>;

    /// Whether a node still keeps an address for a Pod, as far as that can be known.
    fn holds(&self, node: &str, address: IpAddr) -> Result<bool, LabError>;

    /// How long Pods may take to be ready, or gone.
    fn made(&self) -> Duration;

    /// How long all nodes may take to balance a Service that is new.
    fn in_force(&self) -> Duration;
}

/// Clients that ask.
pub(super) trait Loads {
    /// Ends them, and gives what came of each.
    fn end(self: Box<Self>) -> Vec<Result<LoadReport, String>>;
}
