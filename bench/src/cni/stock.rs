//! Pods for a contender: namespaces are made once and used again, under a new container id.
//!
//! Making and above all destroying namespaces is work of the kernel that would otherwise run beside
//! what is measured.

use anyhow::{Context, Result};

use super::contender::Contender;
use crate::plugin::Pod;

/// The Pods of one contender.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    free: Vec<Pod>,
    attached: Vec<Pod>,
}

impl Stock {
    /// Takes a Pod that is not attached.
    pub(crate) fn take(&mut self) -> Result<Pod> {
        let Some(mut pod) = self.free.pop() else {
            return Pod::new();
        };
        pod.renew();
        Ok(pod)
    }

    /// Takes so many Pods that are not attached.
    pub(crate) fn take_many(&mut self, count: usize) -> Result<Vec<Pod>> {
        (0..count).map(|_| self.take()).collect()
    }

    /// Gives a Pod back that is attached.
    pub(crate) fn keep(&mut self, pod: Pod) {
        self.attached.push(pod);
    }

    /// Takes an attached Pod, attaching one if there is none.
    pub(crate) fn take_attached(&mut self, contender: &dyn Contender) -> Result<Pod> {
        if let Some(pod) = self.attached.pop() {
            return Ok(pod);
        }
        let pod = self.take()?;
        contender
            .room()
            .run(|| contender.add(&pod))
            .context("attaching a Pod to detach")?;
        Ok(pod)
    }

    /// Gives Pods back that have been detached, once nothing is left of the attachment.
    pub(crate) fn put_back(&mut self, contender: &dyn Contender, pods: Vec<Pod>) -> Result<()> {
        for pod in pods {
            contender.settle(&pod)?;
            self.free.push(pod);
        }
        Ok(())
    }

    /// Detaches what is attached still.
    pub(crate) fn detach_all(&mut self, contender: &dyn Contender) -> Result<()> {
        let pods = std::mem::take(&mut self.attached);
        contender
            .room()
            .run(|| pods.iter().try_for_each(|pod| contender.del(pod).map(drop)))?;
        self.put_back(contender, pods)
    }
}
