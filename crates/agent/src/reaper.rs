//! The reaper: deletes dying links in groups, because the kernel needs as long for one as for
//! fifty (it waits for grace periods, not for work).

use std::sync::Arc;
use std::time::{Duration, Instant};

use seaway_kernel::fault::{FaultPoint, reach};
use seaway_model::Attachment;

use crate::shared::Shared;
use crate::state::State;

/// How long it must be quiet before the dying are deleted: to delete is to hold the kernel's lock
/// that every other request needs.
const QUIET: Duration = Duration::from_millis(10);
/// How long the first dying link waits for company at most.
const LONGEST: Duration = Duration::from_millis(200);
/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(1);
const FOREVER: Duration = Duration::from_secs(3600 * 24 * 365);

/// Deletes what is dying, for ever.
pub(crate) fn run(shared: &Arc<Shared>) {
    loop {
        let dying = |state: &mut State| (!state.dying.is_empty()).then_some(());
        if shared.wait_until(Instant::now() + FOREVER, dying).is_none() {
            continue;
        }
        gather(shared);
        if !reap(shared) {
            shared.wait_until(Instant::now() + RETRY, |_| None::<()>);
        }
    }
}

/// Lets more come, unless somebody waits for one of them.
fn gather(shared: &Shared) {
    let deadline = Instant::now() + LONGEST;
    let mut known = 0;
    loop {
        let more = shared.wait_until(Instant::now() + QUIET, |state| {
            let news = state.awaited > 0 || state.dying.len() != known;
            news.then_some((state.awaited > 0, state.dying.len()))
        });
        match more {
            Some((false, count)) if Instant::now() < deadline => known = count,
            _ => return,
        }
    }
}

/// Deletes what is dying now; tells whether that succeeded.
pub(crate) fn reap(shared: &Shared) -> bool {
    let doomed: Vec<Attachment> = shared.lock().dying.clone();
    reach(FaultPoint::ReapBefore);
    let result = shared
        .with_node(|node| node.reap())
        .and_then(|reaped| reaped);
    reach(FaultPoint::ReapAfter);
    if let Err(error) = result {
        tracing::error!(%error, "dying links not deleted; trying again");
        return false;
    }
    let mut state = shared.lock();
    for attachment in &doomed {
        state.let_go(attachment);
    }
    state
        .dying
        .retain(|attachment| !doomed.contains(attachment));
    drop(state);
    shared.announce();
    shared.rewire_if_due();
    true
}
