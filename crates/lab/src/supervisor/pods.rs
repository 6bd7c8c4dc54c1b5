//! The Pods of a lab by name, and who is busy with which. The lock is never held while a Pod comes
//! or goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Lab;
use super::node::Node;
use super::pod::Pod;
use crate::error::{Errors, LabError};
use crate::namespaces::Namespaces;
use crate::parallel;
use crate::protocol::PodStatus;
use crate::topology::pod_name;

/// How many Pods come or go at once.
pub(crate) const AT_ONCE: usize = 8;

/// All Pods.
#[derive(Default)]
pub(crate) struct Pods {
    slots: Mutex<Slots>,
    changed: Condvar,
}

#[derive(Default)]
struct Slots {
    closed: bool,
    by_name: BTreeMap<String, Slot>,
}

enum Slot {
    /// Coming or going.
    Busy,
    Ready(Box<Pod>),
}

/// A name that is taken until the reservation ends, whatever comes of it.
struct Reservation<'a> {
    pods: &'a Pods,
    name: String,
    outcome: Option<Slot>,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut slots = self.pods.lock();
        match self.outcome.take() {
            Some(slot) => drop(slots.by_name.insert(self.name.clone(), slot)),
            None => drop(slots.by_name.remove(&self.name)),
        }
        self.pods.changed.notify_all();
    }
}

impl Pods {
    /// Makes a Pod.
    pub(crate) fn create(
        &self,
        lab: &Lab,
        node: &Arc<Node>,
        name: &str,
    ) -> Result<PodStatus, LabError> {
        pod_name(name).map_err(|e| LabError::Request(e.to_string()))?;
        let mut reservation = self.reserve(name)?;
        let pod = Pod::create(lab, node, name)?;
        let status = pod.status(&lab.keeper.list());
        reservation.outcome = Some(Slot::Ready(Box::new(pod)));
        Ok(status)
    }

    /// Deletes a Pod.
    pub(crate) fn delete(&self, lab: &Lab, name: &str) -> Result<(), LabError> {
        let (_reservation, mut pod) = self.claim(name)?;
        pod.take_down(lab)
    }

    /// Lets no Pod come any more, waits for those that are coming or going, and deletes all.
    pub(crate) fn close(&self, lab: &Lab) -> Result<(), LabError> {
        let mut slots = self.lock();
        slots.closed = true;
        let busy = |slots: &mut Slots| {
            slots
                .by_name
                .values()
                .any(|slot| matches!(slot, Slot::Busy))
        };
        let slots = self
            .changed
            .wait_while(slots, busy)
            .unwrap_or_else(PoisonError::into_inner);
        let names: Vec<String> = slots.by_name.keys().cloned().collect();
        drop(slots);
        let mut errors = Errors::default();
        let results = parallel::map(names, AT_ONCE, |name| self.delete(lab, &name));
        results.into_iter().for_each(|result| errors.note(result));
        errors.result()
    }

    /// The states of all Pods that stand, by name.
    pub(crate) fn status(&self, lab: &Lab) -> Vec<PodStatus> {
        let processes = lab.keeper.list();
        let slots = self.lock();
        let status = |slot: &Slot| match slot {
            Slot::Ready(pod) => Some(pod.status(&processes)),
            Slot::Busy => None,
        };
        slots.by_name.values().filter_map(status).collect()
    }

    /// The namespaces of a Pod, if it stands; on that node, if one is named.
    pub(crate) fn namespaces(&self, node: Option<&str>, name: &str) -> Option<Arc<Namespaces>> {
        match self.lock().by_name.get(name)? {
            Slot::Ready(pod) if node.is_none_or(|node| node == pod.node.name()) => {
                Some(pod.namespaces.clone())
            }
            _ => None,
        }
    }

    fn reserve(&self, name: &str) -> Result<Reservation<'_>, LabError> {
        let mut slots = self.lock();
        if slots.closed {
            return Err(LabError::Request("the lab is being taken down".to_owned()));
        }
        if slots.by_name.contains_key(name) {
            return Err(LabError::Request(format!("there is a Pod {name} already")));
        }
        slots.by_name.insert(name.to_owned(), Slot::Busy);
        Ok(Reservation {
            pods: self,
            name: name.to_owned(),
            outcome: None,
        })
    }

    fn claim(&self, name: &str) -> Result<(Reservation<'_>, Box<Pod>), LabError> {
        let mut slots = self.lock();
        match slots.by_name.insert(name.to_owned(), Slot::Busy) {
            Some(Slot::Ready(pod)) => Ok((
                Reservation {
                    pods: self,
                    name: name.to_owned(),
                    outcome: None,
                },
                pod,
            )),
            Some(Slot::Busy) => Err(LabError::Request(format!(
                "the Pod {name} is coming or going"
            ))),
            None => {
                slots.by_name.remove(name);
                Err(LabError::Request(format!("there is no Pod {name}")))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
