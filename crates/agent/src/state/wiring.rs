//! The wiring of a running node. Pods keep the wiring that they were attached with, for their own
//! side of it is inside them; another one comes when the last of them is gone.

use seaway_model::{Attachment, Family, Settings, Wiring};
use seaway_plan::{ChangeSet, Input};

use super::State;

impl State {
    /// The wiring that is planned.
    pub(crate) fn wiring(&self) -> Wiring {
        self.planner.settings().wiring
    }

    /// Whether it is known by which address the Pod reaches its node. On a bridge, that is in the pod
    /// CIDRs of the node: as long as the cluster has not told them, its API being away, what the Pod
    /// has is right.
    pub(super) fn knows_gateways_of(&self, attachment: &Attachment) -> bool {
        let told = |family| {
            let mut nets = self.planner.pod_cidrs().iter();
            nets.any(|net| Family::of_net(net) == family)
        };
        self.wiring() == Wiring::Routed
            || self.synced
            || attachment.addresses.iter().all(|a| told(Family::of(*a)))
    }

    /// Plans on with the wiring that most Pods have, whatever was asked for. To be called before
    /// any Pod is planned.
    pub(crate) fn keep_wiring_of(&mut self, pods: &[Wiring]) {
        let wanted = self.wanted.wiring;
        let others = pods.iter().filter(|wiring| **wiring != wanted).count();
        if others * 2 <= pods.len() {
            return;
        }
        let other = Wiring::ALL.into_iter().find(|wiring| *wiring != wanted);
        let wiring = other.unwrap_or(wanted);
        // Nothing is in the plan yet that could change.
        self.planner.apply(Input::Settings(Settings {
            wiring,
            ..self.wanted.clone()
        }));
    }

    /// The wiring that waits for the Pods of another to go.
    pub(crate) fn waiting_wiring(&self) -> Option<Wiring> {
        (self.wiring() != self.wanted.wiring).then_some(self.wanted.wiring)
    }

    /// Whether the wiring that waits can come now: no Pod is attached, dying or being worked on.
    pub(crate) fn can_rewire(&self) -> bool {
        self.waiting_wiring().is_some()
            && self.records.is_empty()
            && self.dying.is_empty()
            && self.busy.is_empty()
    }

    /// Plans the wiring that waits, if it can come now. No Pod can be attached until
    /// [`State::rewired`].
    pub(crate) fn rewire(&mut self) -> Option<ChangeSet> {
        if !self.can_rewire() {
            return None;
        }
        self.rewiring = true;
        Some(self.planner.apply(Input::Settings(self.wanted.clone())))
    }

    /// What followed from [`State::rewire`] has been carried out.
    pub(crate) fn rewired(&mut self) {
        self.rewiring = false;
    }
}

#[cfg(test)]
mod tests {
    use seaway_model::{Alias, ClusterEvent, Node, NodeName};

    use super::*;
    use crate::records::Record;

    #[test]
    fn pods_on_a_bridge_stay_as_they_are_until_the_pod_cidrs_are_known() {
        let name = NodeName::new("a").expect("valid");
        let node = |cidrs: &[&str]| Node {
            name: name.clone(),
            addresses: Vec::new(),
            pod_cidrs: cidrs.iter().map(|c| c.parse().expect("valid")).collect(),
            transport: None,
            zone: None,
            leaving: false,
        };
        for (wiring, known_at_once) in [(Wiring::Routed, true), (Wiring::Bridge, false)] {
            let settings = Settings {
                wiring,
                ..Settings::default()
            };
            let mut state = State::new(name.clone(), settings);
            let alias = Alias::raw("seaway1:c:eth0:pods:10.0.0.2,fd00::2");
            let attachment: Attachment = alias.parse().expect("valid");
            let id = attachment.id.clone();
            state.attach(Record::bare(attachment));
            assert_eq!(state.pod_rows(&id).is_some(), known_at_once, "{wiring}");
            state.cluster(ClusterEvent::NodeUpsert(node(&["10.0.0.0/24"])));
            assert_eq!(state.pod_rows(&id).is_some(), known_at_once, "{wiring}");
            state.cluster(ClusterEvent::NodeUpsert(node(&[
                "10.0.0.0/24",
                "fd00::/64",
            ])));
            assert!(state.pod_rows(&id).is_some(), "{wiring}");
            state.cluster(ClusterEvent::Synced);
            // The bridge has lost its addresses then, so that the Pod needs another gateway.
            state.cluster(ClusterEvent::NodeDelete(name.clone()));
            assert!(state.pod_rows(&id).is_some(), "{wiring}");
        }
    }
}
