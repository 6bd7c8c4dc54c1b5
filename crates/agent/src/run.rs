//! Start: take over what the kernel holds, then serve.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::eventfd::{EfdFlags, EventFd};
use seaway_api::NodeVoice;
use seaway_cni::notes::Notes;
use seaway_kernel::realise::{DeviceInfo, Devices, LinuxHost, Observed, Services, StrangeLink};
use seaway_kernel::uplink::UplinkRule;
use seaway_model::{
    AliasError, AttachmentId, Device, LinkKind, NodeName, Settings, Wiring, host_link_name,
};
use tokio::sync::watch;

use crate::error::AgentError;
use crate::journal::Journal;
use crate::records::{Record, Records};
use crate::services::flows;
use crate::shared::{Keeper as KeeperHandle, Shared};
use crate::source::{ClusterSource, Sink, Source};
use crate::state::State;
use crate::web::WebConfig;
use crate::{cni, conflist, dns, keeper, pathmtu, reaper, recover, server, summary, web};

/// How the agent is to run.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The name of this node in the cluster.
    pub node: NodeName,
    /// Where the plugin finds the agent.
    pub socket: PathBuf,
    /// Caches, notes and the lock; on tmpfs, so that a reboot clears it.
    pub state_dir: PathBuf,
    /// Where the cluster's state comes from.
    pub cluster: ClusterSource,
    /// How to find the uplink.
    pub uplink: UplinkRule,
    /// How the node's Pod network is to be.
    pub settings: Settings,
    /// Where health and metrics are.
    pub web: WebConfig,
    /// The namespace in the cluster of the agent's own Lease.
    pub namespace: String,
    /// Whom to ask for names that are not the cluster's; those whom the node asks when `None`.
    pub name_servers: Option<Vec<SocketAddr>>,
    /// Where the runtime's configuration is to be installed; nowhere when `None`.
    pub cni_conf_dir: Option<PathBuf>,
    /// Put the configurations of other networks aside when ours is there for the first time.
    pub replace_others: bool,
}

/// Runs the agent in the calling thread's network namespace; returns only on a failure that it
/// cannot go on with. What is in force stays in force whenever and however it ends.
pub fn run(config: &AgentConfig) -> Result<(), AgentError> {
    seaway_kernel::fault::arm_from_environment();
    seaway_kernel::limits::raise_descriptors();
    let services = config.settings.services.is_some();
    let mut source = Source::open(&config.cluster, &config.node, services)?;
    make_folder(&config.state_dir)?;
    let _lock = lock(&config.state_dir)?;
    let devices = Arc::new(Devices::default());
    let (commands, queue) = channel();
    let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(|e| AgentError::Thread("keeper", e.into()))?;
    let records =
        Records::open(&config.state_dir).map_err(AgentError::file("open", &config.state_dir))?;
    let saved = records.saved_settings().to_owned();
    let (journal, notes) = Journal::new();
    let shared = Arc::new(Shared::new(
        State::new(config.node.clone(), config.settings.clone()),
        Box::new(LinuxHost::new(devices.clone(), saved.clone())),
        records,
        Notes::beside(&config.socket),
        journal,
        KeeperHandle::new(commands, wake),
    ));
    shared.lock().source = config.cluster.describe();
    // The watch begins before the kernel is read, so that nothing changes unseen in between.
    let keeper = keeper::Keeper::new(
        shared.clone(),
        devices.clone(),
        queue,
        config.uplink.clone(),
        saved,
    )?;
    adopt(&shared, &devices)?;
    keeper.tell_wiring();
    dns::start(&shared, config)?;
    let sink = Sink::new(shared.clone());
    source.look(&sink);
    let worker = shared.clone();
    spawn("reaper", move || reaper::run(&worker))?;
    cni::collect_notes(&shared);
    let worker = shared.clone();
    spawn("prober", move || pathmtu::run(&worker))?;
    if services {
        let worker = shared.clone();
        spawn("flows", move || flows::run(&worker))?;
    }
    let (worker, runtime, wanted) = (shared.clone(), web::runtime()?, config.web);
    spawn("web", move || web::run(&runtime, &worker, wanted))?;
    let (tell, summaries) = watch::channel(None);
    let voice = NodeVoice {
        transport: Some(config.settings.transport),
        notes,
        summaries,
        namespace: config.namespace.clone(),
    };
    let worker = shared.clone();
    spawn("summary", move || summary::run(&worker, &tell))?;
    spawn("source", move || source.run(&sink, voice))?;
    let listener = server::listen(&config.socket)?;
    let worker = shared.clone();
    spawn("server", move || server::serve(&worker, &listener))?;
    if let Some(folder) = &config.cni_conf_dir {
        conflist::start(&shared, folder, &config.socket, config.replace_others)?;
    }
    tracing::info!(node = %config.node, socket = %config.socket.display(), "serving");
    Ok(keeper.run()?)
}

pub(crate) fn spawn(
    name: &'static str,
    work: impl FnOnce() + Send + 'static,
) -> Result<(), AgentError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map(drop).map_err(|e| AgentError::Thread(name, e))
}

pub(crate) fn make_folder(path: &Path) -> Result<(), AgentError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(AgentError::file("make folder", path))
}

/// One agent a node: the lock ends with the process, however that ends.
pub(crate) fn lock(state_dir: &Path) -> Result<Flock<File>, AgentError> {
    let path = state_dir.join("agent.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.map_err(AgentError::file("open", &path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| AgentError::AlreadyRunning(path))
}

/// Refuses to go on where a later version has attached Pods, in a form that cannot be read: their
/// addresses would be given to others.
fn refuse_later(observed: &Observed) -> Result<(), AgentError> {
    for link in &observed.strange {
        if let Err(error @ AliasError::Later(_)) = link.alias.parse() {
            return Err(AgentError::Later(link.name.clone(), error));
        }
    }
    Ok(())
}

/// Takes over what the kernel holds: live links become attachments, the rest is cleared away.
pub(crate) fn adopt(shared: &Shared, devices: &Devices) -> Result<(), AgentError> {
    let known = shared.records.read_all();
    let nothing = seaway_plan::Tables::default();
    let mut observed = shared.with_node(|node| node.observe(&nothing, Services::Omitted))??;
    refuse_later(&observed)?;
    if recognise(&observed, devices, &known) {
        observed = shared.with_node(|node| node.observe(&nothing, Services::Omitted))??;
    }
    shared.with_node(|node| node.condemn(&observed.unfinished))??;
    shared.with_node(|node| node.reap())??;
    let mut adopted: BTreeMap<AttachmentId, Record> = BTreeMap::new();
    for attachment in &observed.attachments {
        let mut attachment = attachment.clone();
        attachment.extras = recover::extras(&attachment, &observed.tables);
        adopted.insert(attachment.id.clone(), Record::bare(attachment));
    }
    for (id, record) in known {
        let in_kernel = observed
            .tables
            .links
            .get(&Device::PodLink(id.clone()))
            .is_some();
        match adopted.get(&id) {
            Some(bare) if !bare.attachment.is_same(&record.attachment) => {}
            Some(_) => drop(adopted.insert(id, record)),
            // Its alias is damaged, or its link is gone and can be made again.
            None if in_kernel || keeper::leads_on(shared, &record) => {
                adopted.insert(id, record);
            }
            None => shared.records.remove(&id),
        }
    }
    let wirings = wirings(adopted.values_mut(), &observed);
    let mut state = shared.lock();
    state.keep_wiring_of(&wirings);
    for record in adopted.into_values() {
        state.attach(record);
    }
    for (net, last) in shared.records.read_cursors() {
        state.ipam.set_cursor(net, last);
    }
    let adopted = state.records.len();
    tracing::info!(
        adopted,
        unfinished = observed.unfinished.len(),
        "kernel state taken over"
    );
    Ok(())
}

/// How each Pod is wired: by its record, or else by its link.
fn wirings<'a>(records: impl Iterator<Item = &'a mut Record>, observed: &Observed) -> Vec<Wiring> {
    let by_link = |id: &AttachmentId| {
        let link = observed.tables.links.get(&Device::PodLink(id.clone()))?;
        match &link.kind {
            LinkKind::Pod(pod) if pod.bridge_port => Some(Wiring::Bridge),
            LinkKind::Pod(_) => Some(Wiring::Routed),
            _ => None,
        }
    };
    records
        .filter_map(|record| {
            record.wiring = record.wiring.or_else(|| by_link(&record.attachment.id));
            record.wiring
        })
        .collect()
}

/// Links of ours whose alias somebody changed while no agent ran are known by their name.
fn recognise(
    observed: &Observed,
    devices: &Devices,
    known: &BTreeMap<AttachmentId, Record>,
) -> bool {
    let mut any = false;
    for StrangeLink { index, name, alias } in &observed.strange {
        match known.keys().find(|id| host_link_name(id).as_str() == name) {
            Some(id) => {
                let info = DeviceInfo {
                    index: *index,
                    name: name.clone(),
                    peer_netns: None,
                };
                devices.set(Device::PodLink(id.clone()), info);
                any = true;
            }
            None => tracing::warn!(
                link = %name, %alias,
                "a link in Seaway's group has an alias that is not Seaway's; it is left alone"
            ),
        }
    }
    any
}
