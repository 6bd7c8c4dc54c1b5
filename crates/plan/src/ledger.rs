//! Who asks for which row: rows by owner, and the one row per key that wins.
//!
//! Two owners may ask for a row of the same key (two nodes that claim one pod CIDR). The smallest
//! owner wins, whatever the order in which they came; when it goes, the next takes over.

use std::collections::{BTreeMap, BTreeSet};

use seaway_model::{AttachmentId, NodeName, Row};

use crate::table::{Change, ChangeSet, Table, Tables};

/// On whose behalf a row is planned. The order is the precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// The node itself.
    Base,
    /// An attachment of this node.
    Attachment(AttachmentId),
    /// Another node.
    Peer(NodeName),
}

#[derive(Clone, Debug)]
struct TableLedger<R: Row> {
    owned: BTreeMap<Owner, Vec<R::Key>>,
    claims: BTreeMap<R::Key, BTreeMap<Owner, R>>,
}

impl<R: Row> Default for TableLedger<R> {
    fn default() -> Self {
        TableLedger {
            owned: BTreeMap::new(),
            claims: BTreeMap::new(),
        }
    }
}

impl<R: Row> TableLedger<R> {
    /// Sets all rows of `owner` and brings `table` up to date; gives what changed there.
    fn set(&mut self, owner: &Owner, rows: Table<R>, table: &mut Table<R>) -> Vec<Change<R>> {
        let before = self.owned.remove(owner).unwrap_or_default();
        let mut touched: BTreeSet<R::Key> = before.into_iter().collect();
        for key in touched.iter().filter(|key| rows.get(key).is_none()) {
            self.withdraw(owner, key);
        }
        let keys: Vec<R::Key> = rows.iter().map(Row::key).collect();
        for row in rows.iter() {
            self.claims
                .entry(row.key())
                .or_default()
                .insert(owner.clone(), row.clone());
        }
        touched.extend(keys.iter().cloned());
        if !keys.is_empty() {
            self.owned.insert(owner.clone(), keys);
        }
        touched
            .into_iter()
            .filter_map(|key| self.settle(&key, table))
            .collect()
    }

    fn withdraw(&mut self, owner: &Owner, key: &R::Key) {
        if let Some(claims) = self.claims.get_mut(key) {
            claims.remove(owner);
            if claims.is_empty() {
                self.claims.remove(key);
            }
        }
    }

    fn settle(&self, key: &R::Key, table: &mut Table<R>) -> Option<Change<R>> {
        match self
            .claims
            .get(key)
            .and_then(|claims| claims.values().next())
        {
            Some(row) if table.get(key) == Some(row) => None,
            Some(row) => {
                table.insert(row.clone());
                Some(Change::Upsert(row.clone()))
            }
            None => table.remove(key).map(Change::Delete),
        }
    }
}

macro_rules! ledger {
    ($($name:ident: $row:ty),* $(,)?) => {
        /// The ledgers of all tables, with the tables that result.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Ledger {
            tables: Tables,
            $($name: TableLedger<$row>,)*
        }

        impl Ledger {
            /// Sets all rows of `owner`; gives what changed in the tables.
            pub(crate) fn set(&mut self, owner: &Owner, rows: Tables) -> ChangeSet {
                ChangeSet {
                    $($name: self.$name.set(owner, rows.$name, &mut self.tables.$name),)*
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
}

impl Ledger {
    /// The rows that win.
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }
}
