//! ADD: an address, a link, its rows in both namespaces, all in force when the answer goes out.
//! On failure everything is taken back.

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
    Alias, Attachment, AttachmentId, Extras, Family, host_link_name, host_mac, pod_mac,
};
use seaway_plan::ipam::AllocationError;
use seaway_plan::{ChangeSet, PodAddress, Tables};
use serde_json::Value;

use super::{ALREADY_ATTACHED, CLAIM_LIMIT, HOST_PORT_TAKEN, busy, kernel_error, row_failures};
use crate::records::Record;
use crate::shared::Shared;

/// How long ADD waits for the same attachment to be gone from the kernel after its DEL.
const DYING_LIMIT: Duration = Duration::from_secs(30);
/// What a packet has on a link besides itself, in bytes.
const ETHERNET_HEADER: u64 = 14;

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
    let extras = config.extras()?;
    let netns = open(endpoint, netns)?;
    let _claim = shared
        .claim(&endpoint.id.container, CLAIM_LIMIT)
        .ok_or_else(|| busy(&endpoint.id.container))?;
    let mut pod = shared.host.pod(&netns).map_err(|e| kernel_error(&e))?;
    refuse_second(shared, &endpoint.id, pod.as_mut())?;
    wait_for_the_wiring(shared)?;
    wait_for_the_ports(shared, &extras);
    let planned = plan(shared, endpoint, config, extras, pod.as_ref())?;
    reach(FaultPoint::AddReserved);
    match make(shared, &planned, &netns, pod.as_mut()) {
        Ok(()) => {
            reach(FaultPoint::AddAnswering);
            Ok(result(previous.unwrap_or_default(), &planned, config))
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

/// The wiring changes when the last Pod of the one before is gone; that is over at once.
fn wait_for_the_wiring(shared: &Shared) -> Result<(), CniError> {
    let settled = shared.wait_until(Instant::now() + CLAIM_LIMIT, |state| {
        (!state.rewiring).then_some(())
    });
    settled.ok_or_else(|| {
        let msg = "the node's wiring is being changed";
        CniError::new(code::TRY_AGAIN_LATER, msg)
    })
}

/// A port that its last holder's DEL is closing is free at once. If it is not, planning says why.
fn wait_for_the_ports(shared: &Shared, extras: &Extras) {
    shared.wait_until(Instant::now() + CLAIM_LIMIT, |state| {
        (!state.awaits_closing(&extras.ports)).then_some(())
    });
}

/// An attachment that is planned and not made yet.
struct Planned {
    record: Record,
    changes: ChangeSet,
    pod_rows: Tables,
    addresses: Vec<PodAddress>,
    mtu: u32,
}

/// Takes addresses and ports and plans the attachment, all under one lock: what it has been given
/// nobody else gets.
fn plan(
    shared: &Shared,
    endpoint: &Endpoint,
    config: &NetworkConfig,
    extras: Extras,
    pod: &dyn PodRealiser,
) -> Result<Planned, CniError> {
    let netns = pod.identity().map_err(|e| kernel_error(&e))?;
    let mut state = shared.lock();
    if let Some(why) = state.unready() {
        return Err(CniError::new(code::TRY_AGAIN_LATER, why));
    }
    if let Some(why) = state.port_conflict(&endpoint.id, &extras.ports) {
        return Err(CniError::new(HOST_PORT_TAKEN, why));
    }
    refuse_small_bursts(&extras, state.planner.pod_mtu())?;
    let addresses = state.reserve(&endpoint.id).map_err(|e| no_address(&e))?;
    let attachment = Attachment {
        id: endpoint.id.clone(),
        network: config.name.clone(),
        addresses,
        extras,
    };
    if let Err(error) = refuse_impossible(&attachment, config) {
        state.let_go(&attachment);
        return Err(error);
    }
    let record = Record {
        attachment,
        pod: endpoint.args.pod(),
        netns_path: endpoint.netns.as_ref().map(PathBuf::from),
        netns: Some(netns),
        wiring: Some(state.wiring()),
    };
    Ok(Planned {
        changes: state.attach(record.clone()),
        pod_rows: state.planner.pod_side_rows(&record.attachment),
        addresses: state.planner.pod_addresses(&record.attachment),
        mtu: state.planner.pod_mtu(),
        record,
    })
}

/// What only shows when the addresses are known.
fn refuse_impossible(attachment: &Attachment, config: &NetworkConfig) -> Result<(), CniError> {
    let families = attachment.addresses.iter().map(|a| Family::of(*a));
    config.refuse_host_ips_outside(&families.collect::<Vec<_>>())?;
    Alias::of(attachment).map(drop).map_err(|error| {
        let msg = format!("{error}; use a shorter network name");
        CniError::new(code::INVALID_CONFIG, msg)
    })
}

/// Of a burst that is smaller than a packet, no full packet ever gets through.
fn refuse_small_bursts(extras: &Extras, mtu: u32) -> Result<(), CniError> {
    let least = 8 * (u64::from(mtu) + ETHERNET_HEADER);
    let limits = [("ingress", extras.ingress), ("egress", extras.egress)];
    for (direction, rate) in limits {
        if let Some(rate) = rate.filter(|rate| rate.burst < least) {
            let msg = format!(
                "field runtimeConfig.bandwidth.{direction}Burst of the network configuration is {} \
                 bits, and a packet of the Pod has up to {least}: none of that size would get \
                 through",
                rate.burst
            );
            return Err(CniError::new(code::INVALID_CONFIG, msg));
        }
    }
    Ok(())
}

fn no_address(error: &AllocationError) -> CniError {
    CniError::new(code::TRY_AGAIN_LATER, error.to_string())
}

/// Makes the attachment's rows true in both namespaces.
fn make(
    shared: &Shared,
    planned: &Planned,
    netns: &Netns,
    pod: &mut dyn PodRealiser,
) -> Result<(), CniError> {
    let record = &planned.record;
    let id = &record.attachment.id;
    let failures = shared
        .with_node(|node| node.apply(&planned.changes, &|_| Some(netns.as_fd())))
        .map_err(|e| kernel_error(&e))?;
    if !failures.is_empty() {
        return Err(row_failures(&format!("attach {id}"), &failures));
    }
    reach(FaultPoint::AddHostSet);
    let failures = pod.apply(&planned.pod_rows.changes_from(&Tables::default()));
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
    Ok(())
}

/// The result: what was before us, then the host side, the Pod's side, its addresses and routes.
fn result(mut result: CniResult, planned: &Planned, config: &NetworkConfig) -> Value {
    let Planned { record, mtu, .. } = planned;
    let id = &record.attachment.id;
    let sandbox = record
        .netns_path
        .as_ref()
        .map(|path| path.display().to_string());
    let interface = |name: String, mac: String, sandbox: Option<String>| Interface {
        name,
        mac: Some(mac),
        mtu: Some(*mtu),
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
    for address in &planned.addresses {
        let (ip, route) = of_address(address, index);
        result.ips.push(ip);
        result.routes.push(route);
    }
    if !config.dns.is_empty() {
        result.dns = config.dns.clone();
    }
    result.to_json(config.version)
}

fn of_address(address: &PodAddress, interface: u32) -> (IpConfig, Route) {
    let next_hop = Some(address.gateway);
    let ip = IpConfig {
        address: address.net,
        gateway: next_hop,
        interface: Some(interface),
        others: serde_json::Map::new(),
    };
    let anywhere = Family::of(address.gateway).default_net();
    (ip, Route::to(anywhere, next_hop))
}
