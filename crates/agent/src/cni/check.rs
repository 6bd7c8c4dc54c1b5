//! CHECK: the result of the ADD against what is in force, in both namespaces. What other plugins
//! added is theirs and not looked at.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use seaway_cni::spec::{CniError, CniResult, Endpoint, NetworkConfig, code};
use seaway_kernel::netns::Netns;
use seaway_kernel::realise::Services;
use seaway_model::{AttachmentId, Rate};
use seaway_plan::{RowState, Tables, compare};
use serde_json::Value;

use super::{CLAIM_LIMIT, NOT_IN_FORCE, busy, kernel_error};
use crate::records::Record;
use crate::shared::Shared;

pub(super) fn check(
    shared: &Shared,
    endpoint: &Endpoint,
    config: &NetworkConfig,
    netns: Option<OwnedFd>,
) -> Result<Value, CniError> {
    let id = &endpoint.id;
    let previous = config
        .prev_result
        .as_ref()
        .map(CniResult::read)
        .transpose()?;
    // It only looks, so it waits for whoever works on the container, and keeps nobody from it.
    shared
        .wait_idle(&id.container, CLAIM_LIMIT)
        .ok_or_else(|| busy(&id.container))?;
    let record = shared.lock().records.get(id).cloned();
    let record = record.ok_or_else(|| {
        CniError::new(
            code::UNKNOWN_CONTAINER,
            format!("there is no attachment {id}"),
        )
    })?;
    let mut problems = Vec::new();
    if let Some(previous) = previous {
        compare_result(&record, &previous, &mut problems);
    }
    compare_extras(&record, config, &mut problems)?;
    check_node(shared, id, &mut problems)?;
    if let Some(fd) = netns {
        check_pod(shared, &record, fd, &mut problems)?;
    }
    if problems.is_empty() {
        return Ok(Value::Null);
    }
    let msg = format!("{id} is not as it should be: {}", problems[0]);
    Err(CniError::new(NOT_IN_FORCE, msg).with_details(problems.join("\n")))
}

fn compare_result(record: &Record, previous: &CniResult, problems: &mut Vec<String>) {
    let attachment = &record.attachment;
    let interface = attachment.id.interface.as_str();
    let known = |i: &seaway_cni::spec::Interface| i.name == interface && i.sandbox.is_some();
    if !previous.interfaces.iter().any(known) {
        problems.push(format!("prevResult has no interface {interface}"));
    }
    let listed: Vec<IpAddr> = previous.ips.iter().map(|ip| ip.address.addr()).collect();
    for address in attachment.addresses.iter().filter(|a| !listed.contains(a)) {
        problems.push(format!("prevResult does not name the address {address}"));
    }
}

/// A runtime that names a capability asks for what the ADD got. Whether that is in force, the rows
/// tell.
fn compare_extras(
    record: &Record,
    config: &NetworkConfig,
    problems: &mut Vec<String>,
) -> Result<(), CniError> {
    let (asked, has) = (config.extras()?, &record.attachment.extras);
    let named = |key| config.runtime_config.contains_key(key);
    let missing = asked.ports.iter().filter(|port| !has.ports.contains(port));
    problems.extend(missing.map(|port| {
        format!("runtimeConfig.portMappings asks for {port}, which the ADD was not asked for")
    }));
    let limits = [
        ("ingress", asked.ingress, has.ingress),
        ("egress", asked.egress, has.egress),
    ];
    for (direction, asked, has) in limits {
        if named("bandwidth") && asked != has {
            let text = |rate: Option<Rate>| rate.map_or("no limit".to_owned(), |r| r.to_string());
            problems.push(format!(
                "runtimeConfig.bandwidth asks for {} {direction}, and the ADD got {}",
                text(asked),
                text(has)
            ));
        }
    }
    Ok(())
}

fn check_node(
    shared: &Shared,
    id: &AttachmentId,
    problems: &mut Vec<String>,
) -> Result<(), CniError> {
    let planned = shared.lock().planner.rows_of(id);
    let observed = shared
        .with_node(|node| node.observe(&planned, Services::Omitted))
        .and_then(|observed| observed)
        .map_err(|e| kernel_error(&e))?;
    report("on the node", &planned, &observed.tables, problems);
    Ok(())
}

fn check_pod(
    shared: &Shared,
    record: &Record,
    fd: OwnedFd,
    problems: &mut Vec<String>,
) -> Result<(), CniError> {
    let netns = Netns::from_fd(fd, || "CNI_NETNS".to_owned()).map_err(|e| kernel_error(&e))?;
    let mut pod = shared.host.pod(&netns).map_err(|e| kernel_error(&e))?;
    let planned = shared
        .lock()
        .pod_rows(&record.attachment.id)
        .unwrap_or_default();
    let observed = pod.observe(&planned).map_err(|e| kernel_error(&e))?;
    report("in the Pod", &planned, &observed, problems);
    Ok(())
}

fn report(place: &str, planned: &Tables, observed: &Tables, problems: &mut Vec<String>) {
    for row in compare(planned, observed) {
        match row.state {
            RowState::Missing => {
                problems.push(format!("{place}, {} {} is missing", row.table, row.key));
            }
            RowState::Differs => problems.push(format!(
                "{place}, {} {} is {}, not {}",
                row.table,
                row.key,
                row.observed.as_deref().unwrap_or_default(),
                row.planned.as_deref().unwrap_or_default()
            )),
            RowState::InForce | RowState::Unplanned => {}
        }
    }
}
