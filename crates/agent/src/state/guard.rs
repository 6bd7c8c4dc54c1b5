//! Whether the node's filters have been in force: before, no Pod is attached, for nothing would keep
//! it from speaking for others.
//!
//! Once they were, those that are there stay when newer ones are refused: a transaction of the kernel
//! is carried out as a whole or not at all.

use seaway_kernel::realise::RowFailure;
use seaway_model::{FirewallRow, Row};
use seaway_plan::{Change, ChangeSet, Tables};

use super::State;

/// The key of the failure of a whole batch.
pub(crate) const WHOLE: &str = "(all)";

impl State {
    /// Notes what became of the filters, if they were among the changes.
    pub(super) fn note_filters(&mut self, tried: &ChangeSet, failures: &[RowFailure]) {
        let refused =
            |failure: &RowFailure| failure.table == FirewallRow::TABLE || failure.key == WHOLE;
        match tried.firewall.last() {
            Some(Change::Upsert(_)) if failures.iter().any(refused) => {}
            Some(Change::Upsert(_)) => self.guarded = true,
            Some(Change::Delete(_)) => self.guarded = false,
            None => {}
        }
    }

    /// Notes the filters that a comparison found, if they are those that are planned.
    pub(crate) fn note_comparison(&mut self, observed: &Tables) {
        let planned = &self.planner.rows().firewall;
        self.guarded |= !planned.is_empty() && *planned == observed.firewall;
    }

    /// Why a Pod would be without filters, if so.
    pub(super) fn unguarded(&self) -> Option<String> {
        if self.guarded || self.planner.rows().firewall.is_empty() {
            return None;
        }
        let refused = |(table, _): &&(&'static str, String)| *table == FirewallRow::TABLE;
        let failure = self
            .failures
            .keys()
            .find(refused)
            .or(self.failures.keys().next());
        Some(match failure.and_then(|key| self.failures.get(key)) {
            Some(failure) => format!(
                "the node's filters are not in force, and without them Pods could speak for others: \
                 {failure}"
            ),
            None => "the node's filters are being made".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use seaway_model::{ClusterEvent, Node, NodeName, Settings};

    use super::*;

    fn refusal() -> RowFailure {
        RowFailure {
            table: FirewallRow::TABLE,
            key: "rules".to_owned(),
            error: "no nf_tables".to_owned(),
            errno: None,
        }
    }

    /// A node that knows its pod CIDR, and what makes its filters.
    fn node() -> (State, ChangeSet) {
        let name = NodeName::new("n").expect("valid");
        let mut state = State::new(name.clone(), Settings::default());
        let mut changes = state.cluster(ClusterEvent::NodeUpsert(Node {
            name,
            addresses: vec![],
            pod_cidrs: vec!["10.0.0.0/28".parse().expect("valid")],
            transport: None,
            zone: None,
            leaving: false,
        }));
        state.settled = true;
        let firewall = std::mem::take(&mut changes.firewall);
        assert_eq!(firewall.len(), 1);
        let changes = ChangeSet {
            firewall,
            ..ChangeSet::default()
        };
        (state, changes)
    }

    #[test]
    fn no_pod_before_the_filters_have_been_in_force() {
        let (mut state, changes) = node();
        let why = state.unready().expect("nothing is in force");
        assert!(why.contains("are being made"), "{why}");
        state.note_outcome(&changes, vec![refusal()]);
        let why = state.unready().expect("refused");
        assert!(why.contains("no nf_tables"), "{why}");
        state.note_outcome(&changes, vec![]);
        assert_eq!(state.unready(), None);
        state.note_outcome(&changes, vec![refusal()]);
        assert_eq!(state.unready(), None, "the old ones stand");
        state.note_outcome(&changes.clone().reversed(), vec![]);
        assert!(state.unready().is_some(), "taken away");
    }

    #[test]
    fn filters_that_an_earlier_agent_made_will_do() {
        let (mut state, changes) = node();
        let mut observed = Tables::default();
        state.note_comparison(&observed);
        assert!(state.unready().is_some());
        observed.apply(&changes);
        state.note_comparison(&observed);
        assert_eq!(state.unready(), None);
    }
}
