//! The objects of a kind in order of namespace and name, in leaves that copies share.
//!
//! A copy costs one pointer a leaf, and a change afterwards one leaf: snapshots are cheap however
//! many objects there are, however often they change, and however long somebody keeps one.

use std::ops::Range;
use std::sync::Arc;

use super::object::{Key, Shared};

/// The most objects in a leaf. Small leaves make copies dear, large ones changes after a copy.
const LEAF: usize = 128;

/// Objects in order of their keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Sheet {
    /// None is empty.
    leaves: Vec<Arc<Vec<Shared>>>,
    /// How many objects are before each leaf.
    starts: Vec<usize>,
}

impl Sheet {
    pub(super) fn len(&self) -> usize {
        let last = self.starts.last().zip(self.leaves.last());
        last.map_or(0, |(start, leaf)| start + leaf.len())
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Shared> {
        let leaf = self.leaves.get(self.leaf_of(key))?;
        let at = leaf.binary_search_by(|one| one.key.cmp(key)).ok()?;
        leaf.get(at)
    }

    /// The leaf in which a key is, if it is anywhere.
    fn leaf_of(&self, key: &Key) -> usize {
        let before = |leaf: &Arc<Vec<Shared>>| leaf.last().is_some_and(|last| last.key < *key);
        self.leaves.partition_point(before)
    }

    /// Puts an object in its place, where no other or an older revision of it was.
    pub(super) fn insert(&mut self, object: Shared) {
        let last = self.leaves.len().saturating_sub(1);
        let at = self.leaf_of(&object.key).min(last);
        let Some(leaf) = self.leaves.get_mut(at) else {
            self.leaves.push(Arc::new(vec![object]));
            return self.count(0);
        };
        let leaf = Arc::make_mut(leaf);
        let place = match leaf.binary_search_by(|one| one.key.cmp(&object.key)) {
            Ok(place) => {
                leaf[place] = object;
                return;
            }
            Err(place) => place,
        };
        leaf.insert(place, object);
        if leaf.len() > LEAF {
            // Names that are made in order leave full leaves behind.
            let appended = at == last && place == LEAF;
            let tail = leaf.split_off(if appended { LEAF } else { LEAF / 2 });
            self.leaves.insert(at + 1, Arc::new(tail));
        }
        self.count(at);
    }

    /// Takes an object out.
    pub(super) fn remove(&mut self, key: &Key) {
        let at = self.leaf_of(key);
        let Some(leaf) = self.leaves.get_mut(at) else {
            return;
        };
        let Ok(place) = leaf.binary_search_by(|one| one.key.cmp(key)) else {
            return;
        };
        let leaf = Arc::make_mut(leaf);
        leaf.remove(place);
        if leaf.is_empty() {
            self.leaves.remove(at);
        } else if leaf.len() < LEAF / 4 {
            self.join(at);
            self.join(at.saturating_sub(1));
        }
        self.count(at.saturating_sub(1));
    }

    /// Makes one leaf of two that are small.
    fn join(&mut self, at: usize) {
        let sizes = self.leaves.get(at).zip(self.leaves.get(at + 1));
        if sizes.is_none_or(|(one, two)| one.len() + two.len() > LEAF / 2) {
            return;
        }
        let next = self.leaves.remove(at + 1);
        Arc::make_mut(&mut self.leaves[at]).extend(next.iter().cloned());
    }

    /// Counts anew from a leaf on.
    fn count(&mut self, from: usize) {
        self.starts.truncate(from);
        let mut start = match self.starts.last() {
            Some(start) => start + self.leaves[from - 1].len(),
            None => 0,
        };
        for leaf in &self.leaves[self.starts.len()..] {
            self.starts.push(start);
            start += leaf.len();
        }
    }

    /// How many objects have keys of which this is true; it is so for the first ones only.
    pub(super) fn partition_point(&self, first: impl Fn(&Key) -> bool) -> usize {
        let whole = |leaf: &Arc<Vec<Shared>>| leaf.last().is_some_and(|last| first(&last.key));
        let at = self.leaves.partition_point(whole);
        match self.leaves.get(at) {
            Some(leaf) => self.starts[at] + leaf.partition_point(|one| first(&one.key)),
            None => self.len(),
        }
    }

    /// Where the objects of a namespace are.
    pub(super) fn namespace(&self, namespace: &str) -> Range<usize> {
        let start = self.partition_point(|key| key.namespace.as_ref() < namespace);
        let end = self.partition_point(|key| key.namespace.as_ref() <= namespace);
        start..end
    }

    /// The object at a position.
    pub(super) fn at(&self, position: usize) -> Option<&Shared> {
        let leaf = self.leaf_at(position)?;
        self.leaves[leaf].get(position - self.starts[leaf])
    }

    fn leaf_at(&self, position: usize) -> Option<usize> {
        self.starts
            .partition_point(|start| *start <= position)
            .checked_sub(1)
    }

    /// The objects from a position on.
    pub(super) fn iter_from(&self, position: usize) -> impl Iterator<Item = &Shared> {
        let first = self.leaf_at(position).unwrap_or(0);
        let passed = position - self.starts.get(first).copied().unwrap_or(0);
        let leaves = self.leaves.get(first..).unwrap_or_default();
        leaves.iter().flat_map(|leaf| leaf.iter()).skip(passed)
    }

    /// Puts something else in the place of every object; its key stays.
    pub(super) fn replace_all(&mut self, mut next: impl FnMut(&Shared) -> Shared) {
        for leaf in &mut self.leaves {
            for object in Arc::make_mut(leaf) {
                *object = next(object);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::kinds;
    use crate::store::Object;

    fn object(name: u16, revision: u64) -> Shared {
        let kind = kinds::find("", "v1", "nodes").unwrap();
        let value = json!({ "metadata": { "name": format!("{name:05}") } });
        Arc::new(Object::new(kind, value, revision))
    }

    fn shown(sheet: &Sheet) -> Vec<(Key, u64)> {
        let objects = sheet.iter_from(0);
        objects.map(|one| (one.key.clone(), one.revision)).collect()
    }

    fn check(sheet: &Sheet, model: &BTreeMap<Key, u64>) {
        let expected: Vec<_> = model.clone().into_iter().collect();
        assert_eq!(shown(sheet), expected);
        assert_eq!(sheet.len(), expected.len());
        assert!(
            sheet
                .leaves
                .iter()
                .all(|leaf| (1..=LEAF).contains(&leaf.len()))
        );
        for (position, (key, revision)) in expected.iter().enumerate() {
            assert_eq!(sheet.get(key).unwrap().revision, *revision);
            assert_eq!(sheet.at(position).unwrap().key, *key);
            assert_eq!(sheet.partition_point(|one| one < key), position);
        }
        assert!(sheet.at(expected.len()).is_none());
        for position in [0, expected.len() / 2, expected.len()] {
            assert_eq!(sheet.iter_from(position).count(), expected.len() - position);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// A sheet is what a map is, and a copy stays as it was.
        #[test]
        fn a_sheet_is_a_map_and_copies_stay(
            steps in prop::collection::vec((0..800_u16, 0..3_u8), 1..1500),
        ) {
            let (mut sheet, mut model) = (Sheet::default(), BTreeMap::new());
            let mut copies = Vec::new();
            for (revision, (name, what)) in (1..).zip(steps) {
                let object = object(name, revision);
                if what == 0 {
                    sheet.remove(&object.key);
                    model.remove(&object.key);
                } else {
                    model.insert(object.key.clone(), revision);
                    sheet.insert(object);
                }
                if revision % 250 == 0 {
                    copies.push((sheet.clone(), model.clone()));
                }
            }
            check(&sheet, &model);
            for (copy, model) in &copies {
                check(copy, model);
            }
        }
    }

    #[test]
    fn few_leaves_hold_what_is_made_in_order_or_is_left() {
        let mut sheet = Sheet::default();
        for name in 0..5000 {
            sheet.insert(object(name, 1));
        }
        assert_eq!(sheet.leaves.len(), 5000_usize.div_ceil(LEAF));
        let copy = sheet.clone();
        for name in (0..5000).filter(|name| name % 100 != 0) {
            sheet.remove(&object(name, 1).key);
        }
        assert_eq!((sheet.len(), copy.len()), (50, 5000));
        assert!(sheet.leaves.len() <= 4, "{}", sheet.leaves.len());
    }
}
