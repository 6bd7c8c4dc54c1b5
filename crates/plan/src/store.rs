//! One table: rows by their key, each stored once. What tables are compared and changed for is in
//! [`crate::table`].

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use seaway_model::Row;

use crate::ledger::Owner;

/// Rows of one kind by their key. A copy shares the rows with its original until one of them
/// changes.
#[derive(Clone, Debug)]
pub struct Table<R: Row> {
    rows: Arc<BTreeSet<Slot<R>>>,
}

/// A row and, in the plan, on whose behalf it is there. Its place is that of its key, which is
/// made when it is needed: kept, it would take as much room again.
#[derive(Clone, Debug)]
struct Slot<R> {
    row: R,
    owner: Option<Arc<Owner>>,
}

/// What has a place among rows: a row, or a key alone that is looked for.
trait Placed<K> {
    fn place(&self) -> K;
}

struct Wanted<'a, K>(&'a K);

impl<K: Clone> Placed<K> for Wanted<'_, K> {
    fn place(&self) -> K {
        self.0.clone()
    }
}

impl<R: Row> Placed<R::Key> for Slot<R> {
    fn place(&self) -> R::Key {
        self.row.key()
    }
}

impl<'a, R: Row + 'a> Borrow<dyn Placed<R::Key> + 'a> for Slot<R> {
    fn borrow(&self) -> &(dyn Placed<R::Key> + 'a) {
        self
    }
}

impl<K: Ord> PartialEq for dyn Placed<K> + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl<K: Ord> Eq for dyn Placed<K> + '_ {}

impl<K: Ord> PartialOrd for dyn Placed<K> + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> Ord for dyn Placed<K> + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl<R: Row> PartialEq for Slot<R> {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl<R: Row> Eq for Slot<R> {}

impl<R: Row> PartialOrd for Slot<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Row> Ord for Slot<R> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl<R: Row> PartialEq for Table<R> {
    fn eq(&self, other: &Self) -> bool {
        self.shares_rows_with(other) || (self.len() == other.len() && self.iter().eq(other.iter()))
    }
}

impl<R: Row> Eq for Table<R> {}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Table {
            rows: Arc::default(),
        }
    }
}

impl<R: Row> FromIterator<R> for Table<R> {
    fn from_iter<I: IntoIterator<Item = R>>(rows: I) -> Self {
        let mut table = Table::default();
        let slots = Arc::make_mut(&mut table.rows);
        for row in rows {
            // Of two rows of one key the last one counts.
            slots.replace(Slot { row, owner: None });
        }
        table
    }
}

impl<R: Row> Table<R> {
    /// Puts a row in; gives back the row of that key that was there.
    pub fn insert(&mut self, row: R) -> Option<R> {
        let slot = Slot { row, owner: None };
        self.put(slot)
    }

    /// Puts a row in on behalf of `owner`.
    pub(crate) fn insert_owned(&mut self, row: R, owner: Arc<Owner>) {
        let owner = Some(owner);
        self.put(Slot { row, owner });
    }

    fn put(&mut self, slot: Slot<R>) -> Option<R> {
        let rows = Arc::make_mut(&mut self.rows);
        rows.replace(slot).map(|before| before.row)
    }

    fn slot(&self, key: &R::Key) -> Option<&Slot<R>> {
        let wanted: &dyn Placed<R::Key> = &Wanted(key);
        self.rows.get(wanted)
    }

    /// The row of a key, and on whose behalf it is there.
    pub(crate) fn owned(&self, key: &R::Key) -> Option<(&R, Option<&Arc<Owner>>)> {
        let slot = self.slot(key)?;
        Some((&slot.row, slot.owner.as_ref()))
    }

    /// Puts the row in, if there is one.
    pub fn extend_with(&mut self, row: Option<R>) {
        if let Some(row) = row {
            self.insert(row);
        }
    }

    /// Takes a row out.
    pub fn remove(&mut self, key: &R::Key) -> Option<R> {
        self.slot(key)?;
        let rows = Arc::make_mut(&mut self.rows);
        let wanted: &dyn Placed<R::Key> = &Wanted(key);
        rows.take(wanted).map(|slot| slot.row)
    }

    /// The row of a key.
    pub fn get(&self, key: &R::Key) -> Option<&R> {
        self.slot(key).map(|slot| &slot.row)
    }

    /// The rows from a key on, in the order of their keys.
    pub fn iter_from(&self, first: R::Key) -> impl Iterator<Item = &R> {
        let wanted: &dyn Placed<R::Key> = &Wanted(&first);
        let from = (Bound::Included(wanted), Bound::Unbounded);
        self.rows
            .range::<dyn Placed<R::Key>, _>(from)
            .map(|slot| &slot.row)
    }

    /// All rows in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &R> {
        self.rows.iter().map(|slot| &slot.row)
    }

    /// Whether this is a copy of the other, and neither has changed since.
    pub(crate) fn shares_rows_with(&self, other: &Table<R>) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
