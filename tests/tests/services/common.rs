//! What the tests of this suite share.

use std::net::SocketAddr;
use std::time::Duration;

use seaway_model::{Family, Protocol};
use seaway_tests::net::Shape;
use seaway_tests::services::case::TableSettings;
use seaway_tests::services::{Objects, Stage};

/// How long anything may take that is not measured.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Two nodes with the usual settings.
pub(crate) fn two_nodes() -> Stage {
    Stage::set(Shape::flat(), &TableSettings::default())
}

/// Every family and protocol.
pub(crate) fn ways() -> impl Iterator<Item = (Family, Protocol)> {
    Family::ALL
        .into_iter()
        .flat_map(|family| Protocol::ALL.map(|protocol| (family, protocol)))
}

/// Tells of these Services, and waits until they are in force.
pub(crate) fn publish(stage: &mut Stage, services: &str) -> Objects {
    let objects = Objects::written(services, &stage.cast);
    stage.publish(&objects);
    objects
}

/// A node's address with a port.
pub(crate) fn node_door(stage: &Stage, number: usize, family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(stage.net.address(number, family), port)
}
