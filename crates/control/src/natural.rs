//! Names in the order that people expect: `node2` before `node10`.

use std::cmp::Ordering;

/// Compares texts, with numbers in them by value; equal only if they are the same.
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    let (mut a, mut b) = (left, right);
    while let (Some(x), Some(y)) = (a.chars().next(), b.chars().next()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (m, rest_a) = number(a);
            let (n, rest_b) = number(b);
            (a, b) = (rest_a, rest_b);
            m.len().cmp(&n.len()).then_with(|| m.cmp(n))
        } else {
            (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]);
            x.cmp(&y)
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len()).then_with(|| left.cmp(right))
}

/// The digits at the front without leading zeros, and the rest.
fn number(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (text[..end].trim_start_matches('0'), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::compare;
    use std::cmp::Ordering;

    #[test]
    fn numbers_count_by_value() {
        let mut names = ["node10", "node2", "node1", "nodes", "node02", "a", ""];
        names.sort_by(|left, right| compare(left, right));
        assert_eq!(
            names,
            ["", "a", "node1", "node02", "node2", "node10", "nodes"]
        );
        assert_eq!(compare("é1", "é1"), Ordering::Equal);
    }
}
