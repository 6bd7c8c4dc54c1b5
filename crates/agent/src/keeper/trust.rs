//! Whether the tables of Services must be read again when the kernel is compared with the plan.
//!
//! They are the only ones that grow with the cluster's Services, and reading them takes seconds where
//! there are a hundred thousand. Once they have been found as planned, and as long as everything that
//! we do about filters succeeds and nobody else is seen to change our tables, they still are.

use std::time::{Duration, Instant};

use seaway_kernel::realise::{RowFailure, Services};
use seaway_model::{
    AddressRow, FdbRow, LinkRow, NeighbourRow, ProxyRow, RedirectRow, RouteRow, Row, RuleRow,
    ShapeRow, SysctlRow,
};
use seaway_plan::ChangeSet;

use crate::state::WHOLE;

/// For how long they are trusted at most.
const TRUST: Duration = Duration::from_secs(3600);

/// The tables whose rows are not nftables'.
const OTHERS: [&str; 10] = [
    AddressRow::TABLE,
    FdbRow::TABLE,
    LinkRow::TABLE,
    NeighbourRow::TABLE,
    ProxyRow::TABLE,
    RedirectRow::TABLE,
    RouteRow::TABLE,
    RuleRow::TABLE,
    ShapeRow::TABLE,
    SysctlRow::TABLE,
];

/// Since when the tables of Services are known to be as planned, if they are.
#[derive(Debug, Default)]
pub(super) struct Trust {
    since: Option<Instant>,
}

impl Trust {
    /// How the next comparison looks at them.
    pub(super) fn services(&self, now: Instant) -> Services {
        match self.since {
            Some(since) if now.saturating_duration_since(since) < TRUST => Services::Unchanged,
            Some(_) | None => Services::Read,
        }
    }

    /// Somebody may have changed them.
    pub(super) fn doubt(&mut self) {
        self.since = None;
    }

    /// Changes were carried out, and this failed. What became of a row of nftables that failed, or
    /// of a whole batch, is not known.
    pub(super) fn carried_out(&mut self, failures: &[RowFailure]) {
        let unknown =
            |failure: &RowFailure| failure.key == WHOLE || !OTHERS.contains(&failure.table);
        if failures.iter().any(unknown) {
            self.doubt();
        }
    }

    /// They were read, from `now` on, and all that differed from the plan is in `changes`. What is
    /// about to be repaired is read once more the next time.
    pub(super) fn compared(&mut self, changes: &ChangeSet, now: Instant) {
        let as_planned = changes.firewall.is_empty()
            && changes.backends.is_empty()
            && changes.members.is_empty()
            && changes.source_ranges.is_empty()
            && changes.frontends.is_empty()
            && changes.cluster_ips.is_empty();
        self.since = as_planned.then_some(now);
    }
}

#[cfg(test)]
mod tests {
    use seaway_model::{BackendRow, ClusterIpRow, FirewallRow, FrontendRow, HostPortRow};
    use seaway_plan::Change;

    use super::*;

    fn failure(table: &'static str, key: &str) -> RowFailure {
        RowFailure {
            table,
            key: key.to_owned(),
            error: "refused".to_owned(),
            errno: None,
        }
    }

    fn trusting(now: Instant) -> Trust {
        let mut trust = Trust::default();
        assert_eq!(trust.services(now), Services::Read, "nothing is known");
        trust.compared(&ChangeSet::default(), now);
        assert_eq!(trust.services(now), Services::Unchanged);
        trust
    }

    #[test]
    fn what_was_found_as_planned_is_not_read_again_for_a_while() {
        let now = Instant::now();
        let mut trust = trusting(now);
        trust.carried_out(&[]);
        assert_eq!(trust.services(now + TRUST / 2), Services::Unchanged);
        assert_eq!(trust.services(now + TRUST), Services::Read, "once an hour");
    }

    #[test]
    fn what_somebody_may_have_changed_is_read() {
        let now = Instant::now();
        let mut trust = trusting(now);
        trust.doubt();
        assert_eq!(trust.services(now), Services::Read);
    }

    #[test]
    fn what_had_to_be_repaired_is_read_once_more() {
        let now = Instant::now();
        let mut trust = trusting(now);
        let address = "10.96.0.1".parse().expect("valid");
        let changes = ChangeSet {
            cluster_ips: vec![Change::Upsert(ClusterIpRow { address })],
            ..ChangeSet::default()
        };
        trust.compared(&changes, now);
        assert_eq!(trust.services(now), Services::Read);
    }

    #[test]
    fn failures_of_filters_and_of_whole_batches_are_doubted_and_no_others() {
        let now = Instant::now();
        let doubtful = [
            (FrontendRow::TABLE, "a"),
            (BackendRow::TABLE, "b"),
            (FirewallRow::TABLE, "rules"),
            (HostPortRow::TABLE, "c"),
            (LinkRow::TABLE, WHOLE),
            ("a table of later", "d"),
        ];
        for (table, key) in doubtful {
            let mut trust = trusting(now);
            trust.carried_out(&[failure(RouteRow::TABLE, "r"), failure(table, key)]);
            assert_eq!(trust.services(now), Services::Read, "{table} {key}");
        }
        for table in OTHERS {
            let mut trust = trusting(now);
            trust.carried_out(&[failure(table, "x")]);
            assert_eq!(trust.services(now), Services::Unchanged, "{table}");
        }
    }
}
