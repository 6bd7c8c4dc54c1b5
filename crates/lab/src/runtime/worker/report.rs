//! What the worker of a Pod tells of it: its status to the API, and to the lab what is running.

use serde_json::Value;

use super::super::board::{ContainerReport, PodReport, Posted};
use super::super::plan::MemberPlan;
use super::{End, Worker};

impl Worker {
    pub(super) fn report(&self) {
        self.machine().board.post(self.posted());
        if self.life.is_settled() || self.end != End::Delete {
            return;
        }
        let status = self.life.status(&self.surroundings());
        if let Err(e) = self.machine().statuses.set(&self.key, &self.uid, &status) {
            tracing::warn!("{}: {e}", self.key);
        }
    }

    fn posted(&self) -> Posted {
        let plan = self.life.plan();
        let container = |(at, member): (usize, &MemberPlan)| ContainerReport {
            name: member.name.clone(),
            pid: self
                .running
                .get(&at)
                .map(|(_, started)| started.pid.as_raw()),
            restarts: self.life.restarts(at),
        };
        let (sandbox, spec) = (self.sandbox.as_ref(), self.pod.spec.as_ref());
        let name_of = |at: &usize| plan.members[*at].name.clone();
        Posted {
            report: PodReport {
                namespace: plan.namespace.clone(),
                name: plan.name.clone(),
                uid: plan.uid.clone(),
                node: self.hands.place.node.name().to_owned(),
                phase: self.life.phase_name(),
                ready: self.life.is_ready(),
                host_network: spec.and_then(|s| s.host_network).unwrap_or(false),
                labels: self.pod.metadata.labels.clone().unwrap_or_default(),
                addresses: self.life.addresses().to_vec(),
                sandbox: sandbox.map(|sandbox| sandbox.id.clone()),
                netns: sandbox.and_then(|s| s.netns()).map(str::to_owned),
                result: sandbox
                    .and_then(|s| s.result())
                    .cloned()
                    .unwrap_or(Value::Null),
                containers: plan.members.iter().enumerate().map(container).collect(),
            },
            namespaces: sandbox.map(|sandbox| sandbox.namespaces.clone()),
            pause: sandbox.and_then(|sandbox| sandbox.pause()),
            running: self
                .running
                .iter()
                .map(|(at, (_, s))| (name_of(at), s.clone()))
                .collect(),
        }
    }
}
