//! Since when nodes are missing, and which of them have been for long enough.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Remembers since when nodes that Pods name are not there.
#[derive(Debug)]
pub(crate) struct Missing {
    quarantine: Duration,
    since: BTreeMap<String, Duration>,
}

/// Which nodes to ask about now, and when to look again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Overdue {
    pub(crate) nodes: Vec<String>,
    pub(crate) next: Option<Duration>,
}

impl Missing {
    /// Nothing is missing yet.
    pub(crate) fn new(quarantine: Duration) -> Self {
        Self {
            quarantine,
            since: BTreeMap::new(),
        }
    }

    /// Nodes can no longer be seen: whoever is missing then is missing anew.
    pub(crate) fn blind(&mut self) {
        self.since.clear();
    }

    /// The node is there.
    pub(crate) fn saw(&mut self, node: &str) {
        self.since.remove(node);
    }

    /// Decides over the nodes that Pods name, by whether they are there.
    pub(crate) fn decide(
        &mut self,
        named: &BTreeSet<String>,
        exists: impl Fn(&str) -> bool,
        now: Duration,
    ) -> Overdue {
        self.since
            .retain(|node, _| named.contains(node) && !exists(node));
        let mut overdue = Overdue::default();
        for node in named.iter().filter(|node| !exists(node)) {
            let since = *self.since.entry(node.clone()).or_insert(now);
            let due = since.saturating_add(self.quarantine);
            if due <= now {
                overdue.nodes.push(node.clone());
            } else {
                overdue.next = Some(overdue.next.map_or(due, |next| next.min(due)));
            }
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn decide(missing: &mut Missing, named: &[&str], there: &[&str], now: u64) -> Overdue {
        let named = named.iter().map(ToString::to_string).collect();
        missing.decide(&named, |node| there.contains(&node), s(now))
    }

    fn overdue(nodes: &[&str], next: Option<u64>) -> Overdue {
        Overdue {
            nodes: nodes.iter().map(ToString::to_string).collect(),
            next: next.map(s),
        }
    }

    #[test]
    fn a_node_is_overdue_after_the_whole_quarantine() {
        let mut missing = Missing::new(s(40));
        let named = ["a", "b", "c"];
        assert_eq!(
            decide(&mut missing, &named, &["a", "b"], 100),
            overdue(&[], Some(140))
        );
        assert_eq!(
            decide(&mut missing, &named, &["a"], 139),
            overdue(&[], Some(140))
        );
        assert_eq!(
            decide(&mut missing, &named, &["a"], 140),
            overdue(&["c"], Some(179))
        );
    }

    #[test]
    fn a_node_that_was_there_meanwhile_is_missing_anew() {
        let mut missing = Missing::new(s(40));
        decide(&mut missing, &["a"], &[], 0);
        decide(&mut missing, &["a"], &["a"], 20);
        assert_eq!(
            decide(&mut missing, &["a"], &[], 41),
            overdue(&[], Some(81))
        );
        missing.saw("a");
        assert_eq!(
            decide(&mut missing, &["a"], &[], 90),
            overdue(&[], Some(130)),
            "it came and went between two looks"
        );
    }

    #[test]
    fn nobody_is_overdue_soon_after_we_were_blind() {
        let mut missing = Missing::new(s(40));
        decide(&mut missing, &["a"], &[], 0);
        missing.blind();
        assert_eq!(
            decide(&mut missing, &["a"], &[], 45),
            overdue(&[], Some(85))
        );
    }

    #[test]
    fn a_node_that_no_pod_names_is_forgotten() {
        let mut missing = Missing::new(s(40));
        decide(&mut missing, &["a"], &[], 0);
        assert_eq!(decide(&mut missing, &[], &[], 10), overdue(&[], None));
        assert_eq!(
            decide(&mut missing, &["a"], &[], 50),
            overdue(&[], Some(90))
        );
    }
}
