//! Whether the tests that `docs/guarantees.md` names are there: a promise whose test is gone is none.

use std::collections::BTreeSet;

/// The tests that a page names: in the rows of its tables, everything in backticks that looks like
/// a function of a test.
fn named(page: &str) -> BTreeSet<&str> {
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let quoted = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    quoted.filter(|word| looks_like_a_test(word)).collect()
}

/// Three words at least: `like_this_one`.
fn looks_like_a_test(word: &str) -> bool {
    let of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    word.chars().all(of_a_name) && word.matches('_').count() >= 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources;

    const PAGE: &str = include_str!("../../docs/guarantees.md");

    #[test]
    fn every_promise_has_its_test() {
        std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).expect("the root");
        let code = sources::with_extension("rs").expect("readable");
        let is_there = |name: &str| {
            let function = format!("fn {name}(");
            code.iter().any(|source| source.text.contains(&function))
        };
        let named = named(PAGE);
        assert!(named.len() > 30, "{named:?}");
        let missing: Vec<_> = named.into_iter().filter(|name| !is_there(name)).collect();
        assert!(missing.is_empty(), "docs/guarantees.md names {missing:?}");
    }

    #[test]
    fn every_row_names_a_test() {
        let is_promise = |line: &&str| line.starts_with("| ") && !line.starts_with("| no.");
        for row in PAGE.lines().filter(is_promise) {
            assert!(!named(row).is_empty(), "no test is named in: {row}");
        }
    }

    #[test]
    fn only_names_of_tests_count() {
        let page = "`not_in_a_row`\n| 1 | `a_test_here`, `seaway status` | `a_flag` | 3 |";
        assert_eq!(named(page), BTreeSet::from(["a_test_here"]));
    }
}
