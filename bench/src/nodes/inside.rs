//! Where the time goes: what an agent does for its peers, one part after another, in this process.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use k8s_openapi::List;
use k8s_openapi::api::core::v1 as core;
use seaway_kernel::netlink::{LinkTarget, Netlink};
use seaway_kernel::realise::{DeviceInfo, Devices, Host, LinuxHost, NodeRealiser, Services};
use seaway_model::{AttachmentId, ClusterEvent, Device, NodeName, Settings, Transport};
use seaway_plan::{ChangeSet, Input, Planner, Uplink};

use super::objects;
use super::place::Place;
use crate::api::client::Request;
use crate::api::server::text_after;
use crate::room::Room;
use crate::rounds::Visit;
use crate::stats::median;
use crate::underlay::UPLINK;

/// What one visit measures: name, unit.
pub(super) const METRICS: [(&str, &str); 8] = [
    ("list", "ms"),
    ("list-size", "MB"),
    ("decode", "ms"),
    ("plan", "ms"),
    ("apply", "ms"),
    ("observe", "ms"),
    ("plan-one", "us"),
    ("apply-one", "us"),
];

/// How many nodes join one by one.
const JOINS: usize = 20;

/// Does the parts of an agent's start and of a join, without an agent.
pub(super) fn parts(place: &mut Place<'_>, transport: Transport) -> Result<Visit> {
    place.wipe()?;
    let peers = place.peers();
    let [list, size, decode] = lists(place)?;
    let mut planner = planner(transport)?;
    let start = Instant::now();
    let mut changes = ChangeSet::default();
    for i in 0..=peers {
        changes.append(planner.apply(upsert(i)));
    }
    let plan = start.elapsed();
    let room = place.room();
    let mut node = realiser(room)?;
    let start = Instant::now();
    apply(room, node.as_mut(), &changes)?;
    let applied = start.elapsed();
    let start = Instant::now();
    let rows = planner.rows();
    room.run(|| Ok(node.observe(rows, Services::Read)?))?;
    let observed = start.elapsed();
    let (mut planned, mut sent) = (Vec::new(), Vec::new());
    for i in peers + 1..=peers + JOINS {
        let start = Instant::now();
        let changes = planner.apply(upsert(i));
        planned.push(start.elapsed().as_secs_f64() * 1e6);
        let start = Instant::now();
        apply(room, node.as_mut(), &changes)?;
        sent.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let millis = [plan, applied, observed].map(|time| time.as_secs_f64() * 1e3);
    let mut visit = vec![list, size, decode];
    visit.extend(millis);
    visit.extend([median(&planned), median(&sent)]);
    Ok(visit)
}

fn upsert(i: usize) -> Input {
    Input::Cluster(ClusterEvent::NodeUpsert(objects::node(i)))
}

fn planner(transport: Transport) -> Result<Planner> {
    let settings = Settings {
        transport,
        ..Settings::default()
    };
    let own = objects::addresses(objects::OWN);
    let name = NodeName::new(objects::name(objects::OWN)).context("naming the node")?;
    let mut planner = Planner::new(name, settings);
    planner.apply(Input::Uplink(Some(Uplink {
        mtu: 1500,
        addresses: own.map(|net| net.addr()).into(),
        networks: own.map(|net| net.trunc()).into(),
        learns_routes: false,
        strict: false,
    })));
    Ok(planner)
}

/// The realiser of the room's network, for the use of whoever moves in.
fn realiser(room: &Room) -> Result<Box<dyn NodeRealiser>> {
    let devices = Arc::new(Devices::default());
    let index = Netlink::open_in(room.netns())?.link(LinkTarget::Name(UPLINK))?;
    let index = index.context("the place has no uplink")?.index;
    let uplink = DeviceInfo {
        index,
        name: UPLINK.to_owned(),
        peer_netns: None,
    };
    devices.set(Device::Uplink, uplink);
    // A file of the room's own, as everything below its /run.
    let host = LinuxHost::new(devices, "/run/uplink-settings".into());
    room.run(|| Ok(host.node()?))
}

fn apply(room: &Room, node: &mut dyn NodeRealiser, changes: &ChangeSet) -> Result<()> {
    let nobody = |_: &AttachmentId| None::<BorrowedFd<'_>>;
    let failures = room.run(|| Ok(node.apply(changes, &nobody)))?;
    ensure!(failures.is_empty(), "rows are not in force: {failures:?}");
    Ok(())
}

/// Milliseconds to list all nodes in the pages of an agent, megabytes of that, and milliseconds to
/// make of them what planning needs; nothing where there is no API server.
fn lists(place: &mut Place<'_>) -> Result<[f64; 3]> {
    let Some(connection) = place.connection() else {
        return Ok([f64::NAN; 3]);
    };
    let (start, mut pages) = (Instant::now(), Vec::new());
    let mut more = String::new();
    loop {
        let path = format!("{}?limit=500{more}", objects::COLLECTION);
        let page = connection.ask(Request::get(&path))?.to_vec();
        let token = text_after(&page, "\"continue\":\"").map(str::to_owned);
        pages.push(page);
        match token {
            Some(token) if !token.is_empty() => more = format!("&continue={token}"),
            _ => break,
        }
    }
    let listed = start.elapsed().as_secs_f64() * 1e3;
    let size: usize = pages.iter().map(Vec::len).sum();
    let (start, mut count) = (Instant::now(), 0);
    for page in &pages {
        let list: List<core::Node> = serde_json::from_slice(page).context("reading a list")?;
        for node in &list.items {
            seaway_api::convert::node(node)?;
            count += 1;
        }
    }
    let decoded = start.elapsed().as_secs_f64() * 1e3;
    ensure!(count > place.peers(), "the list holds {count} nodes");
    Ok([listed, size as f64 / 1e6, decoded])
}
