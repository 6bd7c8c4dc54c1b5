//! Where the threads of the agent meet: the state under its lock, and the handles to the workers.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use seaway_cni::notes::Notes;
use seaway_dns::Names;
use seaway_kernel::KernelError;
use seaway_kernel::realise::{Host, NodeRealiser};
use seaway_model::ContainerId;
use tokio::sync::watch;

use crate::journal::Journal;
use crate::keeper::Command;
use crate::records::Records;
use crate::services::checks::Checks;
use crate::services::flows::Flows;
use crate::services::programming::Programming;
use crate::state::State;
use crate::strangers::Looks;
use crate::web::HealthAsked;

/// What all threads share.
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    pub(crate) host: Box<dyn Host>,
    pub(crate) records: Records,
    pub(crate) notes: Notes,
    pub(crate) journal: Journal,
    /// How far the node is behind the cluster.
    pub(crate) programming: Programming,
    /// UDP flows that are to be compared.
    pub(crate) flows: Flows,
    /// The health checks to answer.
    pub(crate) checks: watch::Sender<Checks>,
    pub(crate) asked: HealthAsked,
    /// The names of the cluster, where they are answered here.
    pub(crate) names: OnceLock<Names>,
    looks: Mutex<Looks>,
    spare: Mutex<VecDeque<Box<dyn NodeRealiser>>>,
    pub(crate) keeper: Keeper,
}

/// How to reach the keeper: a queue, and a descriptor that wakes it.
pub(crate) struct Keeper {
    queue: Mutex<Sender<Command>>,
    wake: nix::sys::eventfd::EventFd,
}

impl Keeper {
    pub(crate) fn new(queue: Sender<Command>, wake: nix::sys::eventfd::EventFd) -> Keeper {
        Keeper {
            queue: Mutex::new(queue),
            wake,
        }
    }

    /// Puts a command into the keeper's queue.
    pub(crate) fn tell(&self, command: Command) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.send(command).is_ok() {
            // The counter cannot overflow before the keeper reads it.
            let _ = self.wake.write(1);
        }
    }

    pub(crate) fn wake_fd(&self) -> &nix::sys::eventfd::EventFd {
        &self.wake
    }
}

/// The right to work on a container: two requests for one never run at once (K10).
pub(crate) struct Claim<'a> {
    shared: &'a Shared,
    container: ContainerId,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.shared.lock().busy.remove(&self.container);
        self.shared.changed.notify_all();
        self.shared.rewire_if_due();
    }
}

impl Shared {
    pub(crate) fn new(
        state: State,
        host: Box<dyn Host>,
        records: Records,
        notes: Notes,
        journal: Journal,
        keeper: Keeper,
    ) -> Shared {
        Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            host,
            records,
            notes,
            journal,
            programming: Programming::default(),
            flows: Flows::default(),
            checks: watch::Sender::default(),
            asked: HealthAsked::default(),
            names: OnceLock::new(),
            looks: Mutex::default(),
            spare: Mutex::default(),
            keeper,
        }
    }

    /// The state. Never held over a system call on the network.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic with the lock held is a bug of ours; the data is checked against the kernel by
        // every audit, so going on is better than leaving all Pods without an agent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What successive looks at the forwarded flows said.
    pub(crate) fn looks(&self) -> MutexGuard<'_, Looks> {
        // Nothing in there panics half-way.
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes everybody who waits for a change of the state.
    pub(crate) fn announce(&self) {
        self.changed.notify_all();
    }

    /// Lets the keeper change the wiring, if the last Pod of the one before is gone.
    pub(crate) fn rewire_if_due(&self) {
        if self.lock().can_rewire() {
            self.keeper.tell(Command::Rewire);
        }
    }

    /// Waits until `condition` gives a value, or the deadline.
    pub(crate) fn wait_until<T>(
        &self,
        deadline: Instant,
        mut condition: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(value) = condition(&mut state) {
                return Some(value);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Claims a container, waiting for whoever works on it.
    pub(crate) fn claim(&self, container: &ContainerId, limit: Duration) -> Option<Claim<'_>> {
        self.wait_until(Instant::now() + limit, |state| {
            state.busy.insert(container.clone()).then_some(())
        })?;
        Some(Claim {
            shared: self,
            container: container.clone(),
        })
    }

    /// Waits until nobody works on a container.
    pub(crate) fn wait_idle(&self, container: &ContainerId, limit: Duration) -> Option<()> {
        self.wait_until(Instant::now() + limit, |state| {
            (!state.busy.contains(container)).then_some(())
        })
    }

    /// Claims a container if nobody works on it.
    pub(crate) fn try_claim(&self, container: &ContainerId) -> Option<Claim<'_>> {
        let container = container.clone();
        let free = self.lock().busy.insert(container.clone());
        // Lazily: a claim that is made is also dropped, and would take the other's away.
        free.then(|| Claim {
            shared: self,
            container,
        })
    }

    /// Runs `work` with a realiser of the node's namespace, from the pool.
    pub(crate) fn with_node<T>(
        &self,
        work: impl FnOnce(&mut dyn NodeRealiser) -> T,
    ) -> Result<T, KernelError> {
        let spare = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_back();
        let mut node = match spare {
            Some(node) => node,
            None => self.host.node()?,
        };
        let result = work(node.as_mut());
        let mut pool = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < 32 {
            pool.push_back(node);
        }
        Ok(result)
    }
}
