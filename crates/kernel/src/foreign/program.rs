//! A packet filter as a graph of chains: what it can do to a packet, whatever language its rules
//! were written in.
//!
//! Conditions are not understood, only that there is one: a rule decides about all packets that
//! get to it, or about some.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a filter does to packets, from bad to worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// A rule drops or rejects packets of some kind.
    DropsSome,
    /// A rule drops or rejects all that come to it.
    DropsTheRest,
    /// The chain's policy is to drop.
    DropsByPolicy,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Effect::DropsSome => "drops or rejects some packets by its rules",
            Effect::DropsTheRest => "drops every packet that no rule before accepts",
            Effect::DropsByPolicy => "drops by its policy every packet that no rule accepts",
        })
    }
}

/// What a rule does with a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict<C> {
    /// Drops or rejects it.
    Drop,
    /// Lets it pass.
    Accept,
    /// Goes back to the calling chain.
    Return,
    /// Calls a chain, and comes back.
    Jump(C),
    /// Goes to a chain for good.
    Goto(C),
}

/// A rule that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule<C> {
    /// It decides about every packet that gets to it.
    pub(super) always: bool,
    /// What it may decide.
    pub(super) verdicts: Vec<Verdict<C>>,
}

/// The chains of a table. Rules without a verdict are left out.
pub(super) type Program<C> = BTreeMap<C, Vec<Rule<C>>>;

/// What the rules that begin in `start` can do at worst and in which chain, if they drop anything.
pub(super) fn worst<C: Clone + Ord>(program: &Program<C>, start: &C) -> Option<(Effect, C)> {
    let mut search = Search {
        program,
        ends: BTreeMap::new(),
        some: None,
    };
    match search.walk(start) {
        End::Dropped(chain) => Some((Effect::DropsTheRest, chain)),
        End::Back | End::Passed => search.some.map(|chain| (Effect::DropsSome, chain)),
    }
}

/// What becomes of the packets that no rule with a condition decided about.
#[derive(Clone)]
enum End<C> {
    /// They come back from the chain.
    Back,
    /// They are dropped, in this chain.
    Dropped(C),
    /// They pass for good.
    Passed,
}

struct Search<'a, C> {
    program: &'a Program<C>,
    /// How the chains that were walked end; a chain that is being walked counts as empty.
    ends: BTreeMap<C, End<C>>,
    /// Where a packet was first seen to be dropped.
    some: Option<C>,
}

impl<C: Clone + Ord> Search<'_, C> {
    fn walk(&mut self, chain: &C) -> End<C> {
        if let Some(known) = self.ends.get(chain) {
            return known.clone();
        }
        self.ends.insert(chain.clone(), End::Back);
        let end = self.walk_rules(chain);
        self.ends.insert(chain.clone(), end.clone());
        end
    }

    fn walk_rules(&mut self, chain: &C) -> End<C> {
        let program = self.program;
        for rule in program.get(chain).into_iter().flatten() {
            for verdict in &rule.verdicts {
                let end = self.decide(chain, verdict);
                // A rule with a condition leaves other packets to the next rule.
                if let (true, Some(end)) = (rule.always, end) {
                    return end;
                }
            }
        }
        End::Back
    }

    /// What becomes of the packets that a verdict is for, unless they go on in this chain.
    fn decide(&mut self, chain: &C, verdict: &Verdict<C>) -> Option<End<C>> {
        match verdict {
            Verdict::Drop => {
                self.some.get_or_insert_with(|| chain.clone());
                Some(End::Dropped(chain.clone()))
            }
            Verdict::Accept => Some(End::Passed),
            Verdict::Return => Some(End::Back),
            Verdict::Jump(target) => match self.walk(target) {
                End::Back => None,
                end => Some(end),
            },
            Verdict::Goto(target) => Some(self.walk(target)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(always: bool, verdict: Verdict<&'static str>) -> Rule<&'static str> {
        Rule {
            always,
            verdicts: vec![verdict],
        }
    }

    fn found(
        chains: Vec<(&'static str, Vec<Rule<&'static str>>)>,
    ) -> Option<(Effect, &'static str)> {
        worst(&chains.into_iter().collect(), &"base")
    }

    #[test]
    fn a_final_drop_drops_the_rest_and_one_with_a_condition_some() {
        use Verdict::{Accept, Drop};
        let rules = vec![rule(false, Accept), rule(true, Drop)];
        assert_eq!(
            found(vec![("base", rules)]),
            Some((Effect::DropsTheRest, "base"))
        );
        let rules = vec![rule(false, Drop)];
        assert_eq!(
            found(vec![("base", rules)]),
            Some((Effect::DropsSome, "base"))
        );
        assert_eq!(found(vec![("base", vec![rule(false, Accept)])]), None);
    }

    #[test]
    fn what_nothing_gets_to_does_nothing() {
        use Verdict::{Accept, Drop};
        let rules = vec![rule(true, Accept), rule(true, Drop)];
        assert_eq!(found(vec![("base", rules)]), None);
        let rules = vec![rule(false, Accept)];
        assert_eq!(
            found(vec![("base", rules), ("unused", vec![rule(true, Drop)])]),
            None
        );
    }

    #[test]
    fn drops_are_found_through_jumps() {
        use Verdict::{Drop, Goto, Jump, Return};
        let zone = || ("zone", vec![rule(true, Drop)]);
        let by = |always, verdict| found(vec![("base", vec![rule(always, verdict)]), zone()]);
        assert_eq!(by(false, Jump("zone")), Some((Effect::DropsSome, "zone")));
        assert_eq!(by(true, Goto("zone")), Some((Effect::DropsTheRest, "zone")));
        assert_eq!(by(true, Jump("zone")), Some((Effect::DropsTheRest, "zone")));
        // What comes back from a chain goes on.
        let base = vec![rule(true, Jump("empty")), rule(true, Drop)];
        let empty = vec![rule(false, Drop), rule(true, Return), rule(true, Drop)];
        assert_eq!(
            found(vec![("base", base), ("empty", empty)]),
            Some((Effect::DropsTheRest, "base"))
        );
    }

    #[test]
    fn loops_and_missing_chains_end_the_search() {
        use Verdict::{Drop, Jump};
        let base = vec![rule(false, Jump("base")), rule(false, Jump("nowhere"))];
        assert_eq!(found(vec![("base", base)]), None);
        let base = vec![rule(false, Jump("base")), rule(false, Drop)];
        assert_eq!(
            found(vec![("base", base)]),
            Some((Effect::DropsSome, "base"))
        );
    }
}
