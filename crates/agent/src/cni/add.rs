//! ADD: an address, a link, its rows in both namespaces, all in force when the answer goes out.
//! On failure everything is taken back.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use seaway_cni::spec::{
    CniError, CniResult, Endpoint, Interface, IpConfig, NetworkConfig, Route, code,
};
use seaway_kernel::fault::{FaultPoint, reach};
use seaway_kernel::netns::Netns;
use seaway_kernel::realise::PodRealiser;
use seaway_model::{
    Alias, Attachment, AttachmentId, Family, gateway, host_link_name, host_mac, pod_mac,
};
use seaway_plan::ipam::AllocationError;
use seaway_plan::{ChangeSet, Tables};
use serde_json::Value;

use super::{ALREADY_ATTACHED, CLAIM_LIMIT, busy, kernel_error, row_failures};
use crate::records::Record;
use crate::shared::Shared;

/// How long ADD waits for the same attachment to be gone from the kernel after its DEL.
const DYING_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn add(
    shared: &Shared,
    endpoint: &Endpoint,
    config: &NetworkConfig,
    netns: Option<OwnedFd>,
) -> Result<Value, CniError> {
    reach(FaultPoint::AddReceived);
    let previous = config
        .prev_result
        .as_ref()
        .map(CniResult::read)
        .transpose()?;
    let netns = open(endpoint, netns)?;
    let _claim = shared
        .claim(&endpoint.id.container, CLAIM_LIMIT)
        .ok_or_else(|| busy(&endpoint.id.container))?;
    let mut pod = shared.host.pod(&netns).map_err(|e| kernel_error(&e))?;
    refuse_second(shared, &endpoint.id, pod.as_mut())?;
    let record = reserve(shared, endpoint, config, pod.as_ref())?;
    reach(FaultPoint::AddReserved);
    match make(shared, &record, &netns, pod.as_mut()) {
        Ok(mtu) => {
            reach(FaultPoint::AddAnswering);
            Ok(result(previous.unwrap_or_default(), &record, mtu, config))
        }
        Err(error) => {
            super::remove(shared, &endpoint.id);
            Err(error)
        }
    }
}

fn open(endpoint: &Endpoint, netns: Option<OwnedFd>) -> Result<Netns, CniError> {
    let name = || endpoint.netns.clone().unwrap_or_default();
    let fd = netns.ok_or_else(|| {
        let msg = "the Pod's network namespace did not come with the request as a descriptor";
        CniError::new(code::INVALID_ENVIRONMENT, msg)
    })?;
    Netns::from_fd(fd, name)
        .map_err(|e| CniError::new(code::INVALID_ENVIRONMENT, format!("CNI_NETNS: {e}")))
}

/// K4: one attachment, one interface. What is still dying gets the time to do so.
fn refuse_second(
    shared: &Shared,
    id: &AttachmentId,
    pod: &mut dyn PodRealiser,
) -> Result<(), CniError> {
    if shared.lock().records.contains_key(id) {
        let msg = format!("attachment {id} exists already; DEL it before another ADD");
        return Err(CniError::new(ALREADY_ATTACHED, msg));
    }
    let mut exists = || {
        pod.has_interface(&id.interface)
            .map_err(|e| kernel_error(&e))
    };
    if !shared.lock().is_dying(id) && !exists()? {
        return Ok(());
    }
    wait_for_the_dying(shared, id)?;
    if exists()? {
        let msg = format!(
            "the Pod of container {} has an interface {} already; \
             DEL it, or choose another CNI_IFNAME",
            id.container, id.interface
        );
        return Err(CniError::new(ALREADY_ATTACHED, msg));
    }
    Ok(())
}

/// Waits until all that is dying now is gone: the interface in the way may be of another
/// attachment of the same namespace.
fn wait_for_the_dying(shared: &Shared, id: &AttachmentId) -> Result<(), CniError> {
    let doomed = {
        let mut state = shared.lock();
        state.awaited += 1;
        state.dying.clone()
    };
    shared.announce();
    let gone = shared.wait_until(Instant::now() + DYING_LIMIT, |state| {
        (!state
            .dying
            .iter()
            .any(|attachment| doomed.contains(attachment)))
        .then_some(())
    });
    shared.lock().awaited -= 1;
    gone.ok_or_else(|| {
        let msg = format!("attachment {id} has been deleted but is not gone from the kernel yet");
        CniError::new(code::TRY_AGAIN_LATER, msg)
    })
}

fn reserve(
    shared: &Shared,
    endpoint: &Endpoint,
    config: &NetworkConfig,
    pod: &dyn PodRealiser,
) -> Result<Record, CniError> {
    let netns = pod.identity().map_err(|e| kernel_error(&e))?;
    let mut state = shared.lock();
    if let Some(why) = state.unready() {
        return Err(CniError::new(code::TRY_AGAIN_LATER, why));
    }
    let addresses = state.reserve(&endpoint.id).map_err(|e| no_address(&e))?;
    let id = endpoint.id.clone();
    let attachment = Attachment {
        id,
        network: config.name.clone(),
        addresses,
    };
    if let Err(error) = Alias::of(&attachment) {
        state.let_go(&attachment);
        let msg = format!("{error}; use a shorter network name");
        return Err(CniError::new(code::INVALID_CONFIG, msg));
    }
    Ok(Record {
        attachment,
        pod: endpoint.args.pod(),
        netns_path: endpoint.netns.as_ref().map(PathBuf::from),
        netns: Some(netns),
    })
}

fn no_address(error: &AllocationError) -> CniError {
    CniError::new(code::TRY_AGAIN_LATER, error.to_string())
}

/// Makes the attachment's rows true in both namespaces; gives the MTU.
fn make(
    shared: &Shared,
    record: &Record,
    netns: &Netns,
    pod: &mut dyn PodRealiser,
) -> Result<u32, CniError> {
    let id = &record.attachment.id;
    let (changes, pod_rows, mtu) = plan(shared, record);
    let failures = shared
        .with_node(|node| node.apply(&changes, &|_| Some(netns.as_fd())))
        .map_err(|e| kernel_error(&e))?;
    if !failures.is_empty() {
        return Err(row_failures(&format!("attach {id}"), &failures));
    }
    reach(FaultPoint::AddHostSet);
    let failures = pod.apply(&pod_rows.changes_from(&Tables::default()));
    if !failures.is_empty() {
        return Err(row_failures(
            &format!("configure {id} inside the Pod"),
            &failures,
        ));
    }
    reach(FaultPoint::AddPodSet);
    shared
        .with_node(|node| node.settle(id))
        .and_then(|settled| settled)
        .map_err(|e| kernel_error(&e))?;
    shared.records.write(record);
    if let Err(error) = shared.notes.remove(id) {
        tracing::warn!(attachment = %id, %error, "note of an earlier deletion not removed");
    }
    shared.records.write_cursors(shared.lock().ipam.cursors());
    reach(FaultPoint::AddRecorded);
    Ok(mtu)
}

fn plan(shared: &Shared, record: &Record) -> (ChangeSet, Tables, u32) {
    let mut state = shared.lock();
    let changes = state.attach(record.clone());
    let rows = state.pod_rows(&record.attachment.id).unwrap_or_default();
    (changes, rows, state.planner.pod_mtu())
}

/// The result: what was before us, then the host side, the Pod's side, its addresses and routes.
fn result(mut result: CniResult, record: &Record, mtu: u32, config: &NetworkConfig) -> Value {
    let id = &record.attachment.id;
    let sandbox = record
        .netns_path
        .as_ref()
        .map(|path| path.display().to_string());
    let interface = |name: String, mac: String, sandbox: Option<String>| Interface {
        name,
        mac: Some(mac),
        mtu: Some(mtu),
        sandbox,
        ..Interface::default()
    };
    let host = interface(
        host_link_name(id).to_string(),
        host_mac(id).to_string(),
        None,
    );
    let inside = interface(id.interface.to_string(), pod_mac(id).to_string(), sandbox);
    result.interfaces.push(host);
    let index = u32::try_from(result.interfaces.len()).unwrap_or(u32::MAX);
    result.interfaces.push(inside);
    for address in &record.attachment.addresses {
        let (ip, route) = of_address(*address, index);
        result.ips.push(ip);
        result.routes.push(route);
    }
    if !config.dns.is_empty() {
        result.dns = config.dns.clone();
    }
    result.to_json(config.version)
}

fn of_address(address: IpAddr, interface: u32) -> (IpConfig, Route) {
    let family = Family::of(address);
    let next_hop = gateway(family);
    let ip = IpConfig {
        address: Family::host_net(address),
        gateway: Some(next_hop),
        interface: Some(interface),
        others: serde_json::Map::new(),
    };
    (ip, Route::to(family.default_net(), Some(next_hop)))
}
