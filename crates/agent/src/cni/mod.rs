//! The CNI verbs, as the agent serves them. What they mean is in the CNI specification 1.1.0; the
//! plugin only carries them here.

mod add;
mod check;
mod del;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use seaway_cni::request::CniRequest;
use seaway_cni::spec::{CAPABILITIES, CniError, Verb, code};
use seaway_kernel::KernelError;
use seaway_kernel::realise::RowFailure;
use serde_json::Value;

pub(crate) use del::{collect_notes, remove};

use crate::shared::Shared;
use crate::state::State;

/// How long a request waits for another of the same container.
const CLAIM_LIMIT: Duration = Duration::from_secs(50);

/// ADD of an attachment that exists, or of an interface that somebody else made.
pub(crate) const ALREADY_ATTACHED: u32 = 102;
/// CHECK found something that is not in force.
pub(crate) const NOT_IN_FORCE: u32 = 103;
/// Another Pod has the port of the node that is asked for.
pub(crate) const HOST_PORT_TAKEN: u32 = 104;

/// Serves one CNI request; `netns` is the Pod's namespace, if it came along.
pub(crate) fn serve(
    shared: &Arc<Shared>,
    request: &CniRequest,
    netns: Option<OwnedFd>,
) -> Result<Value, CniError> {
    let call = request.validate(CAPABILITIES)?;
    match &call.verb {
        Verb::Add(endpoint) => add::add(shared, endpoint, &call.config, netns),
        Verb::Del(endpoint) => del::del(shared, endpoint),
        Verb::Check(endpoint) => check::check(shared, endpoint, &call.config, netns),
        Verb::Gc => del::collect_garbage(shared, &call.config),
        Verb::Status => status(shared),
    }
}

fn status(shared: &Shared) -> Result<Value, CniError> {
    can_serve(&shared.lock()).map(|()| Value::Null)
}

/// Whether all is fine: an ADD can be served, and Pods that run are not impaired.
pub(crate) fn can_serve(state: &State) -> Result<(), CniError> {
    if let Some(failure) = state.failures.values().next() {
        let msg = format!(
            "running Pods may be impaired: {} planned rows are not in force, the first: {failure}",
            state.failures.len()
        );
        return Err(CniError::new(code::LIMITED_CONNECTIVITY, msg));
    }
    if let (true, Err(problem)) = (state.settled && state.has_peers(), &state.uplink) {
        let msg = format!("Pods cannot reach those of other nodes: {problem}");
        return Err(CniError::new(code::LIMITED_CONNECTIVITY, msg));
    }
    match state.unready() {
        Some(why) => Err(CniError::new(code::PLUGIN_UNAVAILABLE, why)),
        None => Ok(()),
    }
}

/// An error of the kernel, as CNI tells it.
fn kernel_error(error: &KernelError) -> CniError {
    CniError::new(code::INTERNAL, error.to_string())
}

/// Rows that could not be made true, as CNI tells it.
fn row_failures(doing: &str, failures: &[RowFailure]) -> CniError {
    let lines: Vec<String> = failures.iter().map(ToString::to_string).collect();
    CniError::new(code::INTERNAL, format!("{doing}: {}", lines[0])).with_details(lines.join("\n"))
}

fn busy(container: &impl std::fmt::Display) -> CniError {
    let msg = format!("another request for container {container} is still running");
    CniError::new(code::TRY_AGAIN_LATER, msg)
}
