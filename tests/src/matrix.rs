//! The ways between Pods as a matrix of choices, all valid combinations of it, and the smallest part
//! that a greedy search finds in which every two choices that go together meet. Pure data.

use std::collections::BTreeSet;

/// A choice that `seaway lab up` offers: its flag and its values.
struct Choice {
    flag: &'static str,
    values: &'static [&'static str],
}

const CHOICES: [Choice; 5] = [
    Choice {
        flag: "transport",
        values: &["auto", "direct", "vxlan", "l2"],
    },
    Choice {
        flag: "wiring",
        values: &["routed", "bridge"],
    },
    Choice {
        flag: "underlay",
        values: &["flat", "routed"],
    },
    Choice {
        flag: "family",
        values: &["dual", "ipv4", "ipv6"],
    },
    Choice {
        flag: "vxlan-underlay",
        values: &["ipv4", "ipv6"],
    },
];

/// A value for each choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Combination([&'static str; CHOICES.len()]);

/// Two values of two choices: their numbers, and the values.
type Pair = ((usize, &'static str), (usize, &'static str));

impl Combination {
    /// A name for people and for the command line.
    pub fn name(&self) -> String {
        let [transport, wiring, underlay, family, outer] = self.0;
        format!("{transport}_{wiring}_wiring_{underlay}_underlay_{family}_vxlan_over_{outer}")
    }

    /// The flags of `seaway lab up` that ask for it.
    pub fn flags(&self) -> Vec<String> {
        let choices = CHOICES.iter().zip(self.0);
        choices
            .map(|(choice, value)| format!("--{}={value}", choice.flag))
            .collect()
    }

    /// Direct and Layer 2 transports need one link; VXLAN needs addresses of its underlay's family.
    fn is_valid(&self) -> bool {
        let [transport, _, underlay, family, outer] = self.0;
        let on_link = underlay == "flat" || matches!(transport, "auto" | "vxlan");
        on_link && (family == "dual" || family == outer)
    }

    fn pairs(&self) -> BTreeSet<Pair> {
        let values: Vec<_> = self.0.into_iter().enumerate().collect();
        let pairs = values.iter().enumerate().flat_map(|(at, first)| {
            let later = &values[at + 1..];
            later.iter().map(|second| (*first, *second))
        });
        pairs.collect()
    }
}

/// All combinations that are valid.
pub fn all() -> Vec<Combination> {
    let mut all = vec![Combination([""; CHOICES.len()])];
    for (at, choice) in CHOICES.iter().enumerate() {
        let with_each = |begun: &Combination| {
            let begun = *begun;
            choice.values.iter().map(move |value| {
                let mut longer = begun;
                longer.0[at] = value;
                longer
            })
        };
        all = all.iter().flat_map(with_each).collect();
    }
    all.retain(Combination::is_valid);
    all
}

/// Valid combinations in which every two values that go together do so at least once.
pub fn pairwise() -> Vec<Combination> {
    let all = all();
    let mut missing: BTreeSet<Pair> = all.iter().flat_map(Combination::pairs).collect();
    let mut chosen = Vec::new();
    while !missing.is_empty() {
        let gain = |c: &Combination| c.pairs().intersection(&missing).count();
        // The first of the best, so that the choice is always the same.
        let best = all.iter().rev().max_by_key(|c| gain(c));
        let Some(best) = best.filter(|best| gain(best) > 0) else {
            break;
        };
        missing = &missing - &best.pairs();
        chosen.push(*best);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_valid_pair_of_values_occurs() {
        let of = |all: Vec<Combination>| -> BTreeSet<Pair> {
            all.iter().flat_map(Combination::pairs).collect()
        };
        assert_eq!(of(pairwise()), of(all()));
    }

    #[test]
    fn the_pairs_need_a_fraction_of_all() {
        assert_eq!(all().len(), 48);
        // Four transports times three families need twelve.
        assert!((12..=14).contains(&pairwise().len()), "{:?}", pairwise());
    }

    #[test]
    fn nothing_invalid_is_tried_and_nothing_twice() {
        for set in [all(), pairwise()] {
            assert!(set.iter().all(Combination::is_valid));
            let names: BTreeSet<String> = set.iter().map(Combination::name).collect();
            assert_eq!(names.len(), set.len());
        }
        let names: Vec<String> = all().iter().map(Combination::name).collect();
        assert!(
            !names
                .iter()
                .any(|name| name.starts_with("l2_routed_wiring_routed"))
        );
        assert!(
            !names
                .iter()
                .any(|name| name.ends_with("ipv6_vxlan_over_ipv4"))
        );
    }

    #[test]
    fn a_combination_is_asked_for_by_flags() {
        let first = all()[0];
        assert_eq!(
            first.flags(),
            [
                "--transport=auto",
                "--wiring=routed",
                "--underlay=flat",
                "--family=dual",
                "--vxlan-underlay=ipv4"
            ]
        );
    }
}
