//! A whole node's Pods removed: from the first call until the last link is gone.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::batch;
use super::contender::{Contender, Floor, Seaway, Start, wait_until_gone};
use crate::plugin::Pod;
use crate::rounds::{self, Plan, Series};

/// Callers at once, as a kubelet has them.
const WORKERS: usize = 32;

/// Rounds over: Seaway by DEL of each Pod; Seaway by one GC; bare pairs deleted as a group; and as
/// many processes that do nothing. Milliseconds.
pub(crate) fn rounds(
    seaway: &Seaway,
    floor: &Floor,
    exec: &Start,
    count: usize,
    plan: Plan,
) -> Result<Series> {
    let mut pods = (0..count).map(|_| Pod::new()).collect::<Result<Vec<_>>>()?;
    rounds::run(plan, 4, |subject| {
        pods.iter_mut().for_each(Pod::renew);
        let wall = match subject {
            0 => by_del(seaway, &pods)?,
            1 => by_gc(seaway, &pods)?,
            2 => by_group(floor, &pods)?,
            _ => batch::all(exec, &pods, WORKERS, |c, pod| c.del(pod))?.wall,
        };
        Ok(vec![wall.as_secs_f64() * 1e3])
    })
}

fn by_del(seaway: &Seaway, pods: &[Pod]) -> Result<Duration> {
    batch::all(seaway, pods, WORKERS, |c, pod| c.add(pod))?;
    until_gone(pods, || {
        batch::all(seaway, pods, WORKERS, |c, pod| c.del(pod)).map(drop)
    })
}

fn by_gc(seaway: &Seaway, pods: &[Pod]) -> Result<Duration> {
    batch::all(seaway, pods, WORKERS, |c, pod| c.add(pod))?;
    until_gone(pods, || {
        seaway.room().run(|| seaway.collect_all().map(drop))
    })
}

fn by_group(floor: &Floor, pods: &[Pod]) -> Result<Duration> {
    pods.iter().try_for_each(|pod| floor.add_bare(pod))?;
    until_gone(pods, || floor.delete_all())
}

fn until_gone(pods: &[Pod], remove: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    remove()?;
    pods.iter().try_for_each(wait_until_gone)?;
    Ok(start.elapsed())
}
