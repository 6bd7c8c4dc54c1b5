//! One Pod after another, contender by contender: what a single ADD and a single DEL take.

use std::time::Duration;

use anyhow::Result;

use super::Field;
use super::contender::Contender;
use crate::cpu;
use crate::rounds::{self, Plan, Series, Visit};

/// Metrics of a visit.
pub(crate) const WALL: usize = 0;
/// CPU time of the caller's children and of the daemon.
pub(crate) const CPU: usize = 1;

/// Attaches Pods and leaves them attached.
pub(crate) fn add(field: &mut Field, plan: Plan) -> Result<Series> {
    let Field {
        contenders, stocks, ..
    } = field;
    rounds::run(plan, contenders.len(), |i| {
        let contender = &*contenders[i];
        let pod = stocks[i].take()?;
        let visit = timed(contender, || contender.add(&pod))?;
        stocks[i].keep(pod);
        Ok(visit)
    })
}

/// Detaches what [`add`] attached.
pub(crate) fn del(field: &mut Field, plan: Plan) -> Result<Series> {
    let Field {
        contenders, stocks, ..
    } = field;
    rounds::run(plan, contenders.len(), |i| {
        let contender = &*contenders[i];
        let pod = stocks[i].take_attached(contender)?;
        let visit = timed(contender, || contender.del(&pod))?;
        stocks[i].put_back(contender, vec![pod])?;
        Ok(visit)
    })
}

/// Milliseconds of wall and of CPU time.
fn timed(
    contender: &dyn Contender,
    work: impl FnOnce() -> Result<Duration> + Send,
) -> Result<Visit> {
    let spent = || -> Result<f64> {
        let daemon = contender.daemon().map(cpu::of_process).transpose()?;
        let children = cpu::of_children()?;
        Ok((children + daemon.unwrap_or_default()).as_secs_f64())
    };
    contender.room().run(|| {
        let before = spent()?;
        let wall = work()?.as_secs_f64();
        Ok(vec![wall * 1e3, (spent()? - before) * 1e3])
    })
}
