//! All tables of a namespace, their difference, and their comparison for people.

use std::collections::BTreeSet;

use seaway_model::{
    AddressRow, AttachmentId, BackendRow, ClusterIpRow, ClusterNetRow, FdbRow, FirewallRow,
    FrontendRow, HostPortRow, InnerSourceRow, LinkRow, LocalPodRow, MemberRow, NeighbourRow,
    PortGuardRow, ProxyRow, RedirectRow, RouteRow, Row, RuleRow, ShapeRow, SourceRangeRow,
    SysctlRow, VtepRow,
};
use serde::Serialize;

pub use crate::store::Table;

impl<R: Row> Table<R> {
    /// What must be done so that `observed` becomes this table: rows that are missing or not in
    /// force are upserted, rows that nobody planned are deleted.
    pub fn changes_from(&self, observed: &Table<R>) -> Vec<Change<R>> {
        if self.shares_rows_with(observed) {
            return Vec::new();
        }
        let unplanned = observed.iter().filter(|row| self.get(&row.key()).is_none());
        let wanting = self.iter().filter(|row| {
            !observed
                .get(&row.key())
                .is_some_and(|found| row.in_force(found))
        });
        unplanned
            .cloned()
            .map(Change::Delete)
            .chain(wanting.cloned().map(Change::Upsert))
            .collect()
    }

    fn compare(&self, observed: &Table<R>, picked: &mut Picked<'_>) {
        if !picked.wanted.takes_table(R::TABLE) {
            return;
        }
        for row in self.iter() {
            let found = observed.get(&row.key());
            let state = match found {
                None => RowState::Missing,
                Some(found) if row.in_force(found) => RowState::InForce,
                Some(_) => RowState::Differs,
            };
            picked.take(state, || RowReport::new(row, Some(row), found, state));
        }
        for row in observed.iter().filter(|row| self.get(&row.key()).is_none()) {
            let state = RowState::Unplanned;
            picked.take(state, || RowReport::new(row, None, Some(row), state));
        }
    }
}

/// Which rows somebody wants to see; by default all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of this table only.
    pub table: Option<String>,
    /// Only those that are not as planned.
    pub drift: bool,
    /// Only those in which this is written.
    pub containing: Option<String>,
    /// No more than so many.
    pub limit: Option<usize>,
}

impl Wanted {
    fn takes_table(&self, table: &str) -> bool {
        self.table.as_deref().is_none_or(|wanted| wanted == table)
    }

    fn takes(&self, report: &RowReport) -> bool {
        let Some(text) = &self.containing else {
            return true;
        };
        let texts = report.planned.iter().chain(&report.observed);
        texts.into_iter().any(|row| row.contains(text.as_str()))
    }
}

/// Rows that were picked: text is made of no others.
struct Picked<'a> {
    wanted: &'a Wanted,
    rows: Vec<RowReport>,
    left_out: usize,
}

impl Picked<'_> {
    fn take(&mut self, state: RowState, report: impl FnOnce() -> RowReport) {
        if self.wanted.drift && state == RowState::InForce {
            return;
        }
        let full = self
            .wanted
            .limit
            .is_some_and(|limit| self.rows.len() >= limit);
        if full && self.wanted.containing.is_none() {
            self.left_out += 1;
            return;
        }
        let report = report();
        match self.wanted.takes(&report) {
            true if full => self.left_out += 1,
            true => self.rows.push(report),
            false => {}
        }
    }
}

/// One thing to do to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<R> {
    /// Make the row be there as it is.
    Upsert(R),
    /// Make the row be gone. It is the row as it was, so that it can be found by all its fields.
    Delete(R),
}

impl<R> Change<R> {
    /// The row that changes.
    pub fn row(&self) -> &R {
        match self {
            Change::Upsert(row) | Change::Delete(row) => row,
        }
    }
}

/// How an observed row stands to the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowState {
    /// As planned.
    InForce,
    /// Planned, not in the kernel.
    Missing,
    /// In the kernel otherwise than planned.
    Differs,
    /// In the kernel as ours, not planned.
    Unplanned,
}

/// A row for people: what is planned and what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowReport {
    /// The table's name.
    pub table: &'static str,
    /// The row's key.
    pub key: String,
    /// The planned row.
    pub planned: Option<String>,
    /// The observed row.
    pub observed: Option<String>,
    /// How the two stand to each other.
    pub state: RowState,
}

impl RowReport {
    fn new<R: Row>(
        any: &R,
        planned: Option<&R>,
        observed: Option<&R>,
        state: RowState,
    ) -> RowReport {
        RowReport {
            table: R::TABLE,
            key: any.key().to_string(),
            planned: planned.map(ToString::to_string),
            observed: observed.map(ToString::to_string),
            state,
        }
    }
}

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident: $row:ty),* $(,)?) => {
        /// All tables of one network namespace.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Tables {
            $($(#[$doc])* pub $name: Table<$row>,)*
        }

        /// Changes to all tables of one network namespace, per table in the order to be made.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct ChangeSet {
            $($(#[$doc])* pub $name: Vec<Change<$row>>,)*
        }

        impl Tables {
            /// The tables' names as people see them.
            pub const NAMES: &[&str] = &[$(<$row as Row>::TABLE),*];

            /// What must be done so that `observed` becomes these tables.
            pub fn changes_from(&self, observed: &Tables) -> ChangeSet {
                ChangeSet { $($name: self.$name.changes_from(&observed.$name),)* }
            }

            /// How many rows each table has.
            pub fn counts(&self) -> Vec<(&'static str, usize)> {
                vec![$((<$row as Row>::TABLE, self.$name.len())),*]
            }

            /// How many rows there are in all.
            pub fn len(&self) -> usize {
                0 $(+ self.$name.len())*
            }

            /// Whether there is no row in any table.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The rows that are for one attachment, found by looking at all. Of planned rows
            /// [`Planner::rows_of`](crate::Planner::rows_of) gives more at less cost.
            pub fn of_attachment(&self, id: &AttachmentId) -> Tables {
                Tables {
                    $($name: self.$name.iter()
                        .filter(|row| row.attachment() == Some(id)).cloned().collect(),)*
                }
            }

            /// Carries out changes on these tables, as a kernel would.
            pub fn apply(&mut self, changes: &ChangeSet) {
                $(for change in &changes.$name {
                    match change {
                        Change::Upsert(row) => { self.$name.insert(row.clone()); }
                        Change::Delete(row) => { self.$name.remove(&row.key()); }
                    }
                })*
            }
        }

        impl ChangeSet {
            /// How many changes there are.
            pub fn len(&self) -> usize {
                0 $(+ self.$name.len())*
            }

            /// Whether there is nothing to do.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The attachments that the changes are for.
            pub fn attachments(&self) -> BTreeSet<&AttachmentId> {
                let mut ids = BTreeSet::new();
                $(ids.extend(self.$name.iter().filter_map(|change| change.row().attachment()));)*
                ids
            }

            /// Keeps the changes that are for no attachment, or for one that `keep` wants.
            pub fn retain_attachments(&mut self, keep: impl Fn(&AttachmentId) -> bool) {
                $(self.$name.retain(|change| change.row().attachment().is_none_or(&keep));)*
            }

            /// Keeps only rows to add whose key is not in `observed` in any form.
            pub fn retain_missing(&mut self, observed: &Tables) {
                $(self.$name.retain(|change| {
                    matches!(change, Change::Upsert(_))
                        && observed.$name.get(&change.row().key()).is_none()
                });)*
            }

            /// Drops the changes that `planned` does not ask for (any more).
            pub fn retain_planned(&mut self, planned: &Tables) {
                $(self.$name.retain(|change| {
                    let now = planned.$name.get(&change.row().key());
                    match change {
                        Change::Upsert(row) => now == Some(row),
                        Change::Delete(_) => now.is_none(),
                    }
                });)*
            }

            /// Just the deletions.
            pub fn deletions(&self) -> ChangeSet {
                let mut changes = self.clone();
                $(changes.$name.retain(|change| matches!(change, Change::Delete(_)));)*
                changes
            }

            /// What undoes additions: every row that changes, deleted.
            pub fn reversed(self) -> ChangeSet {
                ChangeSet {
                    $($name: self.$name.into_iter().map(|change| match change {
                        Change::Upsert(row) | Change::Delete(row) => Change::Delete(row),
                    }).collect(),)*
                }
            }

            /// Table and key of every row that changes.
            pub fn keys(&self) -> Vec<(&'static str, String)> {
                let mut keys = Vec::new();
                $(keys.extend(self.$name.iter()
                    .map(|change| (<$row>::TABLE, change.row().key().to_string())));)*
                keys
            }

            /// Adds the changes of `later` behind these.
            pub fn append(&mut self, mut later: ChangeSet) {
                $(self.$name.append(&mut later.$name);)*
            }
        }

        /// Planned against observed, table by table.
        pub fn compare(planned: &Tables, observed: &Tables) -> Vec<RowReport> {
            compare_some(planned, observed, &Wanted::default()).0
        }

        /// The same of some rows; the second value tells how many more are wanted than the limit.
        pub fn compare_some(
            planned: &Tables,
            observed: &Tables,
            wanted: &Wanted,
        ) -> (Vec<RowReport>, usize) {
            let mut picked = Picked { wanted, rows: Vec::new(), left_out: 0 };
            $(planned.$name.compare(&observed.$name, &mut picked);)*
            (picked.rows, picked.left_out)
        }
    };
}

tables! {
    /// Links.
    links: LinkRow,
    /// Addresses.
    addresses: AddressRow,
    /// Permanent neighbour entries.
    neighbours: NeighbourRow,
    /// Kernel settings.
    sysctls: SysctlRow,
    /// Routes.
    routes: RouteRow,
    /// Rules.
    rules: RuleRow,
    /// Forwarding entries.
    fdb: FdbRow,
    /// Proxy neighbours.
    proxies: ProxyRow,
    /// The static part of the filters.
    firewall: FirewallRow,
    /// Known VTEPs.
    vteps: VtepRow,
    /// What VTEPs may speak for.
    inner_sources: InnerSourceRow,
    /// Destinations inside the cluster.
    cluster_nets: ClusterNetRow,
    /// What may enter at the ports of the bridge.
    port_guards: PortGuardRow,
    /// Ports of the node that lead to Pods.
    host_ports: HostPortRow,
    /// Backends of Services.
    backends: BackendRow,
    /// Backends that clients may keep.
    members: MemberRow,
    /// Sources that may use guarded frontends.
    source_ranges: SourceRangeRow,
    /// Frontends of Services.
    frontends: FrontendRow,
    /// Addresses of Services.
    cluster_ips: ClusterIpRow,
    /// Addresses of this node's Pods.
    local_pods: LocalPodRow,
    /// Limits of rates.
    shapes: ShapeRow,
    /// What passes through a shaper.
    redirects: RedirectRow,
}

#[cfg(test)]
mod tests {
    use super::*;
    use seaway_model::{Device, Reachability};

    fn route(net: &str, mtu: Option<u32>) -> RouteRow {
        let device = Device::Uplink;
        let reach = Reachability::Via {
            device,
            gateway: None,
            source: None,
            mtu,
        };
        RouteRow::to(net.parse().expect("valid"), reach)
    }

    #[test]
    fn difference_is_the_least_that_is_needed() {
        let planned: Table<_> = [route("10.1.0.0/24", None), route("10.2.0.0/24", Some(1400))]
            .into_iter()
            .collect();
        let observed: Table<_> = [route("10.2.0.0/24", None), route("10.3.0.0/24", None)]
            .into_iter()
            .collect();
        let changes = planned.changes_from(&observed);
        assert_eq!(
            changes,
            vec![
                Change::Delete(route("10.3.0.0/24", None)),
                Change::Upsert(route("10.1.0.0/24", None)),
                Change::Upsert(route("10.2.0.0/24", Some(1400))),
            ]
        );
        assert!(planned.changes_from(&planned).is_empty());
    }

    #[test]
    fn comparison_names_every_state() {
        let mut planned = Tables::default();
        planned.routes.insert(route("10.1.0.0/24", None));
        planned.routes.insert(route("10.2.0.0/24", Some(1400)));
        let mut observed = Tables::default();
        observed.routes.insert(route("10.2.0.0/24", None));
        observed.routes.insert(route("10.3.0.0/24", None));
        let states: Vec<_> = compare(&planned, &observed)
            .iter()
            .map(|r| r.state)
            .collect();
        assert_eq!(
            states,
            vec![RowState::Missing, RowState::Differs, RowState::Unplanned]
        );
    }

    #[test]
    fn of_many_rows_those_that_are_wanted_are_told() {
        let mut planned = Tables::default();
        for net in 0..9 {
            planned
                .routes
                .insert(route(&format!("10.{net}.0.0/24"), None));
        }
        let mut observed = planned.clone();
        observed.routes.remove(&route("10.7.0.0/24", None).key());
        let count = |wanted: Wanted| {
            let (rows, left_out) = compare_some(&planned, &observed, &wanted);
            (rows.len(), left_out)
        };
        let all = Wanted::default;
        assert_eq!(
            count(Wanted {
                limit: Some(4),
                ..all()
            }),
            (4, 5)
        );
        assert_eq!(
            count(Wanted {
                drift: true,
                ..all()
            }),
            (1, 0)
        );
        let containing = Some("10.3".to_owned());
        assert_eq!(
            count(Wanted {
                containing,
                limit: Some(0),
                ..all()
            }),
            (0, 1)
        );
        assert_eq!(
            count(Wanted {
                table: Some("fdb".to_owned()),
                ..all()
            }),
            (0, 0)
        );
    }
}
