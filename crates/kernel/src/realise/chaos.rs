//! A host that fails at random: every operation of another one is refused, or done only in part,
//! with a set probability. The randomness is seeded, so that a run can be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use seaway_model::{Attachment, AttachmentId, DropReason, IfName, SysctlRow};
use seaway_plan::{ChangeSet, Table, Tables};

use super::{Host, NetnsOf, NodeRealiser, Observed, PodNetns, PodRealiser, RowFailure, Services};
use crate::error::KernelError;
use crate::netns::Netns;

/// Fails where the host that it wraps would not.
pub struct ChaosHost<H> {
    inner: H,
    dice: Arc<Dice>,
}

/// Decides what fails.
pub struct Dice {
    state: AtomicU64,
    per_mille: AtomicU32,
}

impl Dice {
    /// Dice of a seed that never fail until [`Dice::set`].
    pub fn new(seed: u64) -> Arc<Dice> {
        Arc::new(Dice {
            state: AtomicU64::new(seed),
            per_mille: AtomicU32::new(0),
        })
    }

    /// From now on `per_mille` of a thousand operations fail.
    pub fn set(&self, per_mille: u32) {
        self.per_mille.store(per_mille, Ordering::Relaxed);
    }

    /// A number below `bound`.
    pub fn below(&self, bound: u32) -> u32 {
        let step = |x: u64| {
            x.wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407)
        };
        let previous = self
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |x| Some(step(x)));
        let value = previous.unwrap_or_default() >> 33;
        u32::try_from(value % u64::from(bound)).expect("below a u32")
    }

    fn fails(&self) -> bool {
        let limit = self.per_mille.load(Ordering::Relaxed);
        limit > 0 && self.below(1000) < limit
    }

    fn check(&self, operation: &'static str) -> Result<(), KernelError> {
        match self.fails() {
            true => Err(KernelError::new(
                operation,
                "by chaos",
                std::io::Error::other("chaos"),
            )),
            false => Ok(()),
        }
    }
}

impl<H: Host> ChaosHost<H> {
    /// Wraps a host.
    pub fn new(inner: H, dice: Arc<Dice>) -> ChaosHost<H> {
        ChaosHost { inner, dice }
    }
}

impl<H: Host> Host for ChaosHost<H> {
    fn node(&self) -> Result<Box<dyn NodeRealiser>, KernelError> {
        Ok(Box::new(ChaosNode {
            inner: self.inner.node()?,
            dice: self.dice.clone(),
        }))
    }

    fn pod<'a>(&self, netns: &'a Netns) -> Result<Box<dyn PodRealiser + 'a>, KernelError> {
        self.dice.check("enter a Pod's namespace")?;
        Ok(Box::new(ChaosPod {
            inner: self.inner.pod(netns)?,
            dice: self.dice.clone(),
        }))
    }
}

/// What of a batch gets through: all, nothing, or the rows of one table less.
fn maim(changes: &ChangeSet, dice: &Dice) -> (ChangeSet, Vec<RowFailure>) {
    if !dice.fails() {
        return (changes.clone(), Vec::new());
    }
    let mut left = changes.clone();
    let table = match dice.below(8) {
        0 => {
            left = ChangeSet::default();
            "links"
        }
        1 => {
            left.routes.clear();
            "routes"
        }
        2 => {
            left.neighbours.clear();
            "neighbours"
        }
        3 => {
            left.fdb.clear();
            "fdb"
        }
        4 => {
            left.addresses.clear();
            left.rules.clear();
            "addresses"
        }
        5 => {
            left.shapes.clear();
            left.redirects.clear();
            "shapes"
        }
        6 => {
            left.proxies.clear();
            left.host_ports.clear();
            "proxies"
        }
        _ => {
            left.sysctls.clear();
            "sysctls"
        }
    };
    let failure = RowFailure {
        table,
        key: "(all)".to_owned(),
        error: "chaos".to_owned(),
        errno: None,
    };
    (left, vec![failure])
}

struct ChaosNode {
    inner: Box<dyn NodeRealiser>,
    dice: Arc<Dice>,
}

impl NodeRealiser for ChaosNode {
    fn observe(&mut self, planned: &Tables, services: Services) -> Result<Observed, KernelError> {
        self.dice.check("dump")?;
        self.inner.observe(planned, services)
    }

    fn settings(&mut self, planned: &Table<SysctlRow>) -> Table<SysctlRow> {
        self.inner.settings(planned)
    }

    fn apply(&mut self, changes: &ChangeSet, netns_of: &NetnsOf<'_>) -> Vec<RowFailure> {
        let (left, mut failures) = maim(changes, &self.dice);
        failures.extend(self.inner.apply(&left, netns_of));
        failures
    }

    fn settle(&mut self, id: &AttachmentId) -> Result<(), KernelError> {
        self.dice.check("settle")?;
        self.inner.settle(id)
    }

    fn find(&mut self, id: &AttachmentId) -> Result<Option<Attachment>, KernelError> {
        self.dice.check("find")?;
        self.inner.find(id)
    }

    fn condemn(&mut self, indexes: &[u32]) -> Result<(), KernelError> {
        self.dice.check("condemn")?;
        self.inner.condemn(indexes)
    }

    fn reap(&mut self) -> Result<(), KernelError> {
        self.dice.check("reap")?;
        self.inner.reap()
    }

    fn drops(&mut self) -> Result<Vec<(DropReason, u64)>, KernelError> {
        self.dice.check("count drops")?;
        self.inner.drops()
    }

    fn forwarded(&mut self) -> Result<(u64, u64), KernelError> {
        self.dice.check("count flows")?;
        self.inner.forwarded()
    }
}

struct ChaosPod<'a> {
    inner: Box<dyn PodRealiser + 'a>,
    dice: Arc<Dice>,
}

impl PodRealiser for ChaosPod<'_> {
    fn observe(&mut self, planned: &Tables) -> Result<Tables, KernelError> {
        self.dice.check("dump a Pod's namespace")?;
        self.inner.observe(planned)
    }

    fn apply(&mut self, changes: &ChangeSet) -> Vec<RowFailure> {
        let (left, mut failures) = maim(changes, &self.dice);
        failures.extend(self.inner.apply(&left));
        failures
    }

    fn has_interface(&mut self, name: &IfName) -> Result<bool, KernelError> {
        self.dice.check("look into a Pod's namespace")?;
        self.inner.has_interface(name)
    }

    fn identity(&self) -> Result<PodNetns, KernelError> {
        self.inner.identity()
    }
}
