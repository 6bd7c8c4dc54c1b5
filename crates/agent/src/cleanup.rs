//! Removing everything of Seaway from a node: the comparison of its kernel with an empty plan, made
//! true by the same realiser that makes every other plan true.
//!
//! What Seaway shares with others stays: forwarding, and where the uplink leads.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::Flock;
use seaway_cni::notes::Notes;
use seaway_kernel::netlink::{LinkInfo, Netlink, RouteTarget, SEAWAY_PROTOCOL};
use seaway_kernel::realise::{
    DeviceInfo, Devices, Host, LIVE_GROUP, LinuxHost, NodeRealiser, Observed, RowFailure,
    SHAPER_GROUP, Services, StrangeLink,
};
use seaway_kernel::uplink::{Surroundings, UplinkRule, choose};
use seaway_model::{Device, LinkRow, Row};
use seaway_plan::{Tables, compare};
use serde::Serialize;

use crate::error::AgentError;
use crate::records::Records;
use crate::run::lock;

/// How often the kernel is compared with the empty plan: what goes may show something that it hid.
const ROUNDS: usize = 4;

/// What to clean up.
#[derive(Clone, Debug)]
pub struct CleanupConfig {
    /// The agent's state directory.
    pub state_dir: PathBuf,
    /// The agent's socket.
    pub socket: PathBuf,
    /// How to find the uplink.
    pub uplink: UplinkRule,
    /// Cut live Pods off, too.
    pub force: bool,
}

/// What was removed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CleanupReport {
    /// Rows, each with its table.
    pub rows: Vec<(&'static str, String)>,
    /// How many links of deleted Pods, or of ADDs that were never finished, were still there.
    pub leftovers: usize,
    /// Links of ours whose alias somebody had changed, which only `force` removes.
    pub strange: Vec<String>,
    /// Files.
    pub files: Vec<PathBuf>,
    /// What could not be removed.
    pub failures: Vec<RowFailure>,
}

/// Removes everything of Seaway from the calling thread's network namespace, and the agent's files.
///
/// # Errors
///
/// An agent is running, Pods are attached and `force` is not set, or the kernel cannot be read.
pub fn cleanup(config: &CleanupConfig) -> Result<CleanupReport, AgentError> {
    Cleaner::open(config)?.clean()
}

/// A cleaning up that nothing speaks against: no agent runs, and none can start.
pub struct Cleaner<'a> {
    config: &'a CleanupConfig,
    locked: Option<Flock<File>>,
    node: Box<dyn NodeRealiser>,
    first: Observed,
}

impl<'a> Cleaner<'a> {
    /// Looks, and changes nothing yet.
    ///
    /// # Errors
    ///
    /// An agent is running, Pods are attached and `force` is not set, or the kernel cannot be read.
    pub fn open(config: &'a CleanupConfig) -> Result<Cleaner<'a>, AgentError> {
        let locked = match config.state_dir.is_dir() {
            true => Some(lock(&config.state_dir)?),
            false => None,
        };
        let saved = Records::saved_settings_in(&config.state_dir);
        let devices = Arc::new(Devices::default());
        find_uplink(&devices, &config.uplink, &saved)?;
        let host = LinuxHost::new(devices, saved);
        let mut node = host.node()?;
        let first = node.observe(&Tables::default(), Services::Read)?;
        let pods = first.attachments.len() + first.strange.len();
        if pods > 0 && !config.force {
            return Err(AgentError::PodsAttached(pods));
        }
        Ok(Cleaner {
            config,
            locked,
            node,
            first,
        })
    }

    /// Removes everything of Seaway from the calling thread's network namespace, and the agent's
    /// files.
    ///
    /// # Errors
    ///
    /// The kernel cannot be read.
    pub fn clean(mut self) -> Result<CleanupReport, AgentError> {
        let strange = self.first.strange.iter();
        let mut report = CleanupReport {
            leftovers: self.first.dying.len() + self.first.unfinished.len(),
            strange: strange
                .map(|link| format!("{} (alias {})", link.name, link.alias))
                .collect(),
            ..CleanupReport::default()
        };
        empty(self.node.as_mut(), self.first, &mut report)?;
        remove_files(self.config, &mut report);
        if self.locked.is_some() {
            let dir = &self.config.state_dir;
            // Still held: nobody else has begun.
            remove(&dir.join("agent.lock"), &mut report.files);
            let _ = fs::remove_dir(dir);
        }
        Ok(report)
    }
}

/// Settings and routes of the uplink can only be given back to a device that is known. Unless people
/// say which it is, it is the one that routes of ours lead by.
fn find_uplink(devices: &Devices, rule: &UplinkRule, saved: &Path) -> Result<(), AgentError> {
    let around = Surroundings::read(&mut Netlink::open()?, saved)?;
    let told = rule.name.is_some() || rule.matching.is_some() || !rule.node_ips.is_empty();
    let used = match told {
        true => None,
        false => link_in_use(&around).map(|link| (link.index, link.name.clone())),
    };
    let chosen = match used {
        Some(used) => Ok(used),
        None => choose(rule, &[], &around).map(|uplink| (uplink.index, uplink.name)),
    };
    match chosen {
        Ok((index, name)) => devices.set(
            Device::Uplink,
            DeviceInfo {
                index,
                name,
                peer_netns: None,
            },
        ),
        Err(problem) => tracing::info!(%problem, "no uplink"),
    }
    Ok(())
}

/// The link of somebody else's by which routes of ours lead.
fn link_in_use(around: &Surroundings) -> Option<&LinkInfo> {
    let ours = |link: &LinkInfo| (LIVE_GROUP..=SHAPER_GROUP).contains(&link.group);
    around.routes.iter().find_map(|route| match route.target {
        RouteTarget::Via { index, .. } if route.protocol == SEAWAY_PROTOCOL => {
            let link = around.links.iter().find(|link| link.index == index)?;
            (!ours(link) && link.name != "lo").then_some(link)
        }
        _ => None,
    })
}

fn empty(
    node: &mut dyn NodeRealiser,
    first: Observed,
    report: &mut CleanupReport,
) -> Result<(), AgentError> {
    let nothing = Tables::default();
    let mut observed = first;
    for _ in 0..ROUNDS {
        let strange = observed.strange.iter().map(|link| link.index);
        let condemned: Vec<u32> = observed.unfinished.iter().copied().chain(strange).collect();
        node.condemn(&condemned)?;
        let rows = compare(&nothing, &observed.tables).into_iter();
        let found = rows.map(|row| (row.table, row.observed.unwrap_or(row.key)));
        report.rows.extend(found);
        report.failures = node.apply(&nothing.changes_from(&observed.tables), &|_| None);
        node.reap()?;
        observed = node.observe(&nothing, Services::Read)?;
        if is_empty(&observed) {
            // What failed on the way is gone all the same.
            report.failures.clear();
            report.rows.dedup();
            return Ok(());
        }
    }
    for StrangeLink { name, alias, .. } in &observed.strange {
        let link = format!("{name} (alias {alias})");
        report.strange.retain(|removed| *removed != link);
        report.failures.push(still_there(LinkRow::TABLE, link));
    }
    let left = observed.unfinished.len() + observed.dying.len();
    if left > 0 {
        let links = format!("{left} links of Pods that are gone");
        report.failures.push(still_there(LinkRow::TABLE, links));
    }
    for row in compare(&nothing, &observed.tables) {
        report.failures.push(still_there(row.table, row.key));
    }
    Ok(())
}

fn is_empty(observed: &Observed) -> bool {
    let links = observed.strange.len() + observed.unfinished.len() + observed.dying.len();
    observed.tables.is_empty() && links == 0
}

fn still_there(table: &'static str, key: String) -> RowFailure {
    RowFailure {
        table,
        key,
        error: "it is still there".to_owned(),
        errno: None,
    }
}

fn remove_files(config: &CleanupConfig, report: &mut CleanupReport) {
    let dir = &config.state_dir;
    let notes = Notes::beside(&config.socket);
    for folder in [&Records::folder_in(dir), notes.folder()] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            remove(&entry.path(), &mut report.files);
        }
        let _ = fs::remove_dir(folder);
    }
    for file in Records::files_in(dir) {
        remove(&file, &mut report.files);
    }
    remove(&config.socket, &mut report.files);
}

/// Removes a file, if it is there.
fn remove(path: &Path, removed: &mut Vec<PathBuf>) {
    match fs::remove_file(path) {
        Ok(()) => removed.push(path.to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "file not removed"),
    }
}
