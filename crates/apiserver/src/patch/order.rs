//! The order of a merged list: items that the patch speaks of are in the patch's order, the others in
//! the order they had, and where both orders know two items, the order they had decides.

use std::collections::BTreeMap;

/// Where each item is, by its identity; of equal ones the first.
pub(super) fn positions<'a>(ids: impl IntoIterator<Item = &'a String>) -> BTreeMap<&'a str, usize> {
    let mut positions = BTreeMap::new();
    for (index, id) in ids.into_iter().enumerate() {
        positions.entry(id.as_str()).or_insert(index);
    }
    positions
}

/// Puts items (with their identities) in order.
pub(crate) fn arrange<T>(items: Vec<(String, T)>, wanted: &[String], before: &[String]) -> Vec<T> {
    let (wanted, before) = (positions(wanted), positions(before));
    let place = |of: &BTreeMap<&str, usize>, id: &str| of.get(id).copied();
    let (mut named, mut others): (Vec<_>, Vec<_>) = items
        .into_iter()
        .partition(|(id, _)| wanted.contains_key(id.as_str()));
    named.sort_by_key(|(id, _)| place(&wanted, id));
    others.sort_by_key(|(id, _)| place(&before, id).unwrap_or(usize::MAX));
    let mut arranged = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some((left, _)), Some((right, _))) = (named.peek(), others.peek()) {
        let right_first = match (place(&before, left), place(&before, right)) {
            (Some(left), Some(right)) => right < left,
            _ => false,
        };
        arranged.extend(if right_first {
            others.next()
        } else {
            named.next()
        });
    }
    arranged.extend(named);
    arranged.extend(others);
    arranged.into_iter().map(|(_, item)| item).collect()
}

/// Whether `part` comes in `whole` in the same order.
pub(super) fn is_in_order<'a>(
    part: impl IntoIterator<Item = &'a String>,
    whole: &[String],
) -> bool {
    let mut whole = whole.iter();
    part.into_iter().all(|id| whole.any(|other| other == id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_patchs_order_wins_among_its_own() {
        let cases = [
            // all items, wanted order, order before, result
            ("a b c", "c a", "a b c", "b c a"),
            ("a b c d", "d", "a b c", "d a b c"),
            ("a b c", "", "a b c", "a b c"),
            ("a b x", "x a", "a b", "x a b"),
            ("a b c", "c b a", "a b c", "c b a"),
        ];
        for (items, wanted, before, expected) in cases {
            let items = words(items)
                .into_iter()
                .map(|id| (id.clone(), id))
                .collect();
            assert_eq!(
                arrange(items, &words(wanted), &words(before)),
                words(expected),
                "{wanted}"
            );
        }
    }

    #[test]
    fn a_part_may_leave_out_but_not_swap() {
        assert!(is_in_order(&words("a c"), &words("a b c")));
        assert!(!is_in_order(&words("c a"), &words("a b c")));
        assert!(!is_in_order(&words("x"), &words("a")));
    }
}
