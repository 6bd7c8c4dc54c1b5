//! Somebody stops the check by a signal: then what it made is deleted, too.

use std::path::PathBuf;
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use seaway_kernel::container::die_by;

use super::trial::own_name;
use crate::cluster::Cluster;
use crate::error::{Context, LabError};

const ASKING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// From now on, such a signal clears up and ends this process. To be called before any thread is
/// started: they inherit what it does.
pub(super) fn clear_up_when_asked(kubeconfig: PathBuf) -> Result<(), LabError> {
    let asking: SigSet = ASKING.into_iter().collect();
    asking
        .thread_block()
        .during("block", || "the signals that ask for the end".to_owned())?;
    let wait = move || {
        if let Ok(signal) = asking.wait() {
            if let Err(e) = clear_up(&kubeconfig) {
                tracing::warn!("delete what the check made: {e}");
            }
            die_by(signal);
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .map(drop)
        .during("start", || "the thread that waits for signals".to_owned())
}

/// Asks for the end of all that a check makes. It may not have been made yet, or be gone.
fn clear_up(kubeconfig: &std::path::Path) -> Result<(), LabError> {
    let cluster = Cluster::open(kubeconfig)?;
    let namespace = cluster.doom_namespace(&own_name());
    cluster.doom_pod(&own_name()).and(namespace)
}
