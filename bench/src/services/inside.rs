//! Where the time goes: what an agent does for Services, one part after another, in this process:
//! planning, carrying out in the kernel, reading back.

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use seaway_kernel::netlink::{LinkTarget, Netlink};
use seaway_kernel::realise::{DeviceInfo, Devices, Host, LinuxHost, NodeRealiser, Services};
use seaway_model::{
    AttachmentId, ClusterEvent, Device, NodeName, ServiceSettings, Settings, Transport,
};
use seaway_plan::{ChangeSet, Input, Planner, Uplink};

use super::objects::{self, Scale};
use super::spot::Spot;
use crate::room::Room;
use crate::stats::percentile;
use crate::underlay::UPLINK;

/// What the parts took.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    /// Rows in all.
    pub(super) rows: f64,
    /// Milliseconds to plan everything, to make it true, to read it back and compare.
    pub(super) cold: [f64; 3],
    /// Milliseconds to plan one change of an endpoint, and to make it true, of every change.
    pub(super) changes: [Vec<f64>; 2],
}

impl Parts {
    /// A percentile of planning one change, or of making it true.
    pub(super) fn percentile(&self, part: usize, p: f64) -> f64 {
        percentile(&self.changes[part], p)
    }
}

/// Does them, without an agent; `changes` endpoints are replaced, one by one.
pub(super) fn parts(spot: &mut Spot, changes: usize) -> Result<Parts> {
    spot.wipe()?;
    let scale = spot.scale;
    let room = spot.room();
    let mut planner = planner()?;
    let start = Instant::now();
    let mut all = ChangeSet::default();
    for i in 0..objects::NODES {
        all.append(cluster(
            &mut planner,
            ClusterEvent::NodeUpsert(objects::node(i)),
        ));
    }
    for i in 0..scale.services {
        let service = ClusterEvent::ServiceUpsert(objects::service(i));
        all.append(cluster(&mut planner, service));
        let slice = slice(i, &objects::endpoints(scale, i));
        all.append(cluster(&mut planner, slice));
    }
    let planned = millis(start);
    let mut node = realiser(room)?;
    let start = Instant::now();
    apply(room, node.as_mut(), &all)?;
    let applied = millis(start);
    drop(all);
    let start = Instant::now();
    let rows = planner.rows();
    let observed = room.run(|| Ok(node.observe(rows, Services::Read)?))?;
    let drift = rows.changes_from(&observed.tables);
    let read = millis(start);
    ensure!(
        drift.len() <= 1,
        "not all is in force: {:?}",
        drift.keys().iter().take(5).collect::<Vec<_>>()
    );
    let mut parts = Parts {
        rows: rows.len() as f64,
        cold: [planned, applied, read],
        ..Parts::default()
    };
    drop(observed);
    for n in 0..changes {
        let i = chosen(scale, n);
        let slice = slice(i, &objects::changed(scale, i, n));
        let start = Instant::now();
        let change = cluster(&mut planner, slice);
        parts.changes[0].push(millis(start));
        ensure!(!change.is_empty(), "nothing follows from a new endpoint");
        parts.changes[1].push(room.run(|| {
            let start = Instant::now();
            let failures = node.apply(&change, &nobody);
            let took = millis(start);
            ensure!(failures.is_empty(), "rows are not in force: {failures:?}");
            Ok(took)
        })?);
    }
    Ok(parts)
}

/// The Service whose endpoint the `n`-th change replaces: all in turn, neighbours far apart.
pub(super) fn chosen(scale: Scale, n: usize) -> usize {
    const STRIDE: usize = 7_919;
    n.wrapping_mul(STRIDE) % scale.services
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn slice(i: usize, endpoints: &[(Ipv4Addr, usize)]) -> ClusterEvent {
    ClusterEvent::SliceUpsert(objects::slice(i, endpoints))
}

fn cluster(planner: &mut Planner, event: ClusterEvent) -> ChangeSet {
    planner.apply(Input::Cluster(event))
}

fn planner() -> Result<Planner> {
    let settings = Settings {
        transport: Transport::Direct,
        services: Some(ServiceSettings {
            service_cidrs: vec![objects::SERVICE_CIDR.parse().context("the Service CIDR")?],
            ..ServiceSettings::default()
        }),
        ..Settings::default()
    };
    let own = objects::node_net(objects::OWN);
    let name = NodeName::new(objects::node_name(objects::OWN)).context("naming the node")?;
    let mut planner = Planner::new(name, settings);
    planner.apply(Input::Uplink(Some(Uplink {
        mtu: 1500,
        addresses: vec![own.addr()],
        networks: vec![own.trunc()],
        learns_routes: false,
        strict: false,
    })));
    Ok(planner)
}

/// The realiser of the room's network, for the use of whoever moves in.
fn realiser(room: &Room) -> Result<Box<dyn NodeRealiser>> {
    let devices = Arc::new(Devices::default());
    let index = Netlink::open_in(room.netns())?.link(LinkTarget::Name(UPLINK))?;
    let index = index.context("the spot has no uplink")?.index;
    let uplink = DeviceInfo {
        index,
        name: UPLINK.to_owned(),
        peer_netns: None,
    };
    devices.set(Device::Uplink, uplink);
    let host = LinuxHost::new(devices, "/run/uplink-settings".into());
    room.run(|| Ok(host.node()?))
}

fn nobody(_: &AttachmentId) -> Option<BorrowedFd<'static>> {
    None
}

fn apply(room: &Room, node: &mut dyn NodeRealiser, changes: &ChangeSet) -> Result<()> {
    let failures = room.run(|| Ok(node.apply(changes, &nobody)))?;
    let first = failures.first();
    ensure!(
        failures.is_empty(),
        "{} rows are not in force: {first:?}",
        failures.len()
    );
    Ok(())
}
