//! Who asks for which row, and the one row per key that wins.
//!
//! Two owners may ask for a row of the same key (two nodes that claim one pod CIDR). The smallest
//! owner wins, whatever the order in which they came; when it goes, the next takes over.
//!
//! What an owner asked for is not kept: its rows are a pure function, so whoever changes them can
//! say what they were. Only keys that two owners ask for have an entry of their own; every other
//! row is stored once, in its table, with its owner.

use std::collections::BTreeMap;
use std::sync::Arc;

use seaway_model::{AttachmentId, NodeName, Row, ServiceName};

use crate::table::{Change, ChangeSet, Table, Tables};

/// On whose behalf a row is planned. The order is the precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// The node itself.
    Base,
    /// The node itself, by what all others have.
    Totals,
    /// An attachment of this node.
    Attachment(AttachmentId),
    /// Another node.
    Peer(NodeName),
    /// A Service. Which of two has a frontend is decided where these are planned.
    Service(ServiceName),
}

/// All claims of each key that has more than one.
#[derive(Clone, Debug)]
struct Contest<R: Row> {
    claims: BTreeMap<R::Key, BTreeMap<Arc<Owner>, R>>,
}

impl<R: Row> Default for Contest<R> {
    fn default() -> Self {
        Contest {
            claims: BTreeMap::new(),
        }
    }
}

impl<R: Row> Contest<R> {
    /// Replaces the rows of `owner` and brings `table` up to date; gives what changed there,
    /// deletions first.
    fn replace(
        &mut self,
        owner: &Arc<Owner>,
        old: &Table<R>,
        new: &Table<R>,
        table: &mut Table<R>,
    ) -> Vec<Change<R>> {
        if old == new {
            return Vec::new();
        }
        let gone = old.iter().filter(|row| new.get(&row.key()).is_none());
        let (mut deletions, mut upserts) = (Vec::new(), Vec::new());
        for row in gone {
            match self.withdraw(owner, &row.key(), table) {
                Some(Change::Upsert(row)) => upserts.push(Change::Upsert(row)),
                deletion => deletions.extend(deletion),
            }
        }
        upserts.extend(new.iter().filter_map(|row| self.claim(owner, row, table)));
        deletions.append(&mut upserts);
        deletions
    }

    fn claim(&mut self, owner: &Arc<Owner>, row: &R, table: &mut Table<R>) -> Option<Change<R>> {
        let key = row.key();
        if let Some(claims) = self.claims.get_mut(&key) {
            claims.insert(owner.clone(), row.clone());
            return self.settle(&key, table);
        }
        match table.owned(&key) {
            Some((first, holder)) if holder != Some(owner) => {
                let holder = holder.cloned().unwrap_or_else(|| Arc::new(Owner::Base));
                let claims =
                    BTreeMap::from([(holder, first.clone()), (owner.clone(), row.clone())]);
                self.claims.insert(key.clone(), claims);
                self.settle(&key, table)
            }
            Some((before, _)) if before == row => None,
            _ => {
                table.insert_owned(row.clone(), owner.clone());
                Some(Change::Upsert(row.clone()))
            }
        }
    }

    fn withdraw(
        &mut self,
        owner: &Arc<Owner>,
        key: &R::Key,
        table: &mut Table<R>,
    ) -> Option<Change<R>> {
        let Some(claims) = self.claims.get_mut(key) else {
            debug_assert!(table.owned(key).is_some_and(|(_, o)| o == Some(owner)));
            return table.remove(key).map(Change::Delete);
        };
        claims.remove(owner);
        let last = claims.len() < 2;
        let change = self.settle(key, table);
        if last {
            self.claims.remove(key);
        }
        change
    }

    /// Puts the winner of a contested key into the table.
    fn settle(&self, key: &R::Key, table: &mut Table<R>) -> Option<Change<R>> {
        let (owner, row) = self.claims.get(key)?.iter().next()?;
        let (before, holder) = table.owned(key)?;
        let same = before == row;
        if same && holder == Some(owner) {
            return None;
        }
        table.insert_owned(row.clone(), owner.clone());
        (!same).then(|| Change::Upsert(row.clone()))
    }
}

macro_rules! ledger {
    ($($name:ident: $row:ty),* $(,)?) => {
        /// The claims on all tables but those of Services, with all tables.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Ledger {
            tables: Tables,
            $($name: Contest<$row>,)*
        }

        impl Ledger {
            /// Replaces the rows of `owner`, which are `old`; gives what changed in the tables.
            pub(crate) fn replace(
                &mut self,
                owner: Owner,
                old: &Tables,
                new: &Tables,
            ) -> ChangeSet {
                let owner = Arc::new(owner);
                let tables = &mut self.tables;
                ChangeSet {
                    $($name: self.$name.replace(
                        &owner, &old.$name, &new.$name, &mut tables.$name,
                    ),)*
                    ..ChangeSet::default()
                }
            }

            /// Of the rows that `owner` asks for those that won.
            pub(crate) fn won(&self, owner: &Owner, rows: &Tables) -> Tables {
                let won = Some(owner);
                Tables {
                    $($name: rows.$name.iter().filter(|row| {
                        let held = self.tables.$name.owned(&row.key());
                        held.and_then(|(_, holder)| holder).map(Arc::as_ref) == won
                    }).cloned().collect(),)*
                    ..Tables::default()
                }
            }
        }
    };
}

ledger! {
    links: seaway_model::LinkRow,
    addresses: seaway_model::AddressRow,
    neighbours: seaway_model::NeighbourRow,
    sysctls: seaway_model::SysctlRow,
    routes: seaway_model::RouteRow,
    rules: seaway_model::RuleRow,
    fdb: seaway_model::FdbRow,
    proxies: seaway_model::ProxyRow,
    firewall: seaway_model::FirewallRow,
    vteps: seaway_model::VtepRow,
    inner_sources: seaway_model::InnerSourceRow,
    cluster_nets: seaway_model::ClusterNetRow,
    port_guards: seaway_model::PortGuardRow,
    host_ports: seaway_model::HostPortRow,
    local_pods: seaway_model::LocalPodRow,
    shapes: seaway_model::ShapeRow,
    redirects: seaway_model::RedirectRow,
}

impl Ledger {
    /// The rows that win.
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The tables, for the rows of Services: nobody else has any of their kinds.
    pub(crate) fn tables_mut(&mut self) -> &mut Tables {
        &mut self.tables
    }
}
