//! What the tests of this suite share.

use std::net::SocketAddr;
use std::time::Duration;

use seaway_model::Family;
pub(crate) use seaway_tests::services::stage::ways;
use seaway_tests::services::{Objects, Stage};

/// How long anything may take that is not measured.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Two nodes with the usual settings.
pub(crate) fn two_nodes() -> Stage {
    Stage::two_nodes()
}

/// Tells of these Services, and waits until they are in force.
pub(crate) fn publish(stage: &mut Stage, services: &str) -> Objects {
    stage.publish_written(services)
}

/// A node's address with a port.
pub(crate) fn node_door(stage: &Stage, number: usize, family: Family, port: u16) -> SocketAddr {
    stage.node_door(number, family, port)
}
