//! From a table as it is to the table as it is to be, by as few messages as that takes.
//!
//! Chains and maps of verdicts that are right stay, and so do their rules and elements: a packet that
//! is on its way through the old rules when the new ones come into force still finds all that those
//! ask for. Elements of other sets are not looked at.

use std::collections::BTreeSet;

use super::NOTED;
use super::sets::TABLE;
use crate::nft::{ChainSpec, Message, TableSpec, TableState, VerdictElement, VerdictMap};

/// What brings a table to what `spec` says; `note` goes beside the first rule.
pub(super) fn messages(spec: &TableSpec, state: Option<&TableState>, note: &[u8]) -> Vec<Message> {
    let family = spec.family;
    let mut difference = Difference {
        spec,
        state,
        note,
        messages: vec![Message::new_table(family, TABLE)],
    };
    let (right, empty) = difference.clear();
    difference.make_sets();
    for chain in spec
        .chains
        .iter()
        .filter(|chain| !empty.contains(chain.name.as_str()))
    {
        if !right.contains(chain.name.as_str()) {
            let message = Message::new_chain(family, TABLE, chain);
            difference.messages.push(message);
        }
    }
    difference.fill_verdicts();
    for chain in spec
        .chains
        .iter()
        .filter(|chain| !right.contains(chain.name.as_str()))
    {
        difference.make_rules(chain);
    }
    difference.messages
}

struct Difference<'a> {
    spec: &'a TableSpec,
    state: Option<&'a TableState>,
    note: &'a [u8],
    messages: Vec<Message>,
}

type Names<'a> = BTreeSet<&'a str>;

impl<'a> Difference<'a> {
    fn is_noted(&self, chain: &ChainSpec) -> bool {
        (self.spec.family, chain.name.as_str()) == NOTED
    }

    fn wanted_map(&self, name: &str) -> Option<&'a VerdictMap> {
        self.spec.verdicts.iter().find(|map| map.name == name)
    }

    /// Takes away what is wrong. Gives the chains that are right, and those that are there without
    /// any rules now.
    fn clear(&mut self) -> (Names<'a>, Names<'a>) {
        let (mut right, mut empty) = (Names::new(), Names::new());
        let (family, Some(state)) = (self.spec.family, self.state) else {
            return (right, empty);
        };
        let wrong_sets: Names<'a> = state.wrong_sets(self.spec).collect();
        let wrong_maps: Names<'a> = state
            .verdict_maps()
            .filter(|(name, _, ordinary)| !ordinary || self.wanted_map(name).is_none())
            .map(|(name, ..)| name)
            .collect();
        let goes = |set: &str| wrong_sets.contains(set) || wrong_maps.contains(set);
        let mut gone = Names::new();
        for (chain, ordinary) in state.chains() {
            let name = chain.name.as_str();
            let wanted = self.spec.chains.iter().find(|wanted| wanted.name == name);
            let stays = ordinary && wanted.is_some_and(|wanted| wanted.hook == chain.hook);
            let depends = chain
                .rules
                .iter()
                .flatten()
                .any(|e| e.set().is_some_and(goes));
            let noted = !self.is_noted(chain) || state.note(name) == Some(self.note);
            if stays && !depends && noted && wanted == Some(chain) {
                right.insert(name);
                continue;
            }
            self.messages
                .push(Message::delete_rules(family, TABLE, name));
            match stays {
                true => empty.insert(name),
                false => gone.insert(name),
            };
        }
        self.clear_verdicts(state);
        for name in gone {
            self.messages
                .push(Message::delete_chain(family, TABLE, name));
        }
        for name in wrong_sets {
            self.messages.push(Message::delete_set(family, TABLE, name));
        }
        (right, empty)
    }

    /// Takes away elements of maps of verdicts that are wrong, and whole maps.
    fn clear_verdicts(&mut self, state: &TableState) {
        let family = self.spec.family;
        for (name, elements, ordinary) in state.verdict_maps() {
            let Some(map) = self.wanted_map(name).filter(|_| ordinary) else {
                self.messages.push(Message::empty_set(family, TABLE, name));
                self.messages.push(Message::delete_set(family, TABLE, name));
                continue;
            };
            let wrong = missing(elements, &map.elements);
            if !wrong.is_empty() {
                let message = Message::remove_verdicts(family, TABLE, name, wrong.iter().copied());
                self.messages.push(message);
            }
        }
    }

    /// Makes the sets, maps and counters that are not there.
    fn make_sets(&mut self) {
        let (family, spec, state) = (self.spec.family, self.spec, self.state);
        for (id, set) in (1..).zip(&spec.sets) {
            if !state.is_some_and(|state| state.has_set(set)) {
                self.messages.push(Message::new_set(family, TABLE, set, id));
            }
        }
        let first = u32::try_from(spec.sets.len()).expect("few sets") + 1;
        for (id, map) in (first..).zip(&spec.verdicts) {
            if self.found_map(&map.name).is_none() {
                let message = Message::new_verdict_map(family, TABLE, map, id);
                self.messages.push(message);
            }
        }
        for name in &spec.counters {
            if !state.is_some_and(|state| state.has_counter(name)) {
                self.messages
                    .push(Message::new_counter(family, TABLE, name));
            }
        }
    }

    fn found_map(&self, name: &str) -> Option<&'a [VerdictElement]> {
        let mut maps = self.state?.verdict_maps();
        maps.find(|(found, _, ordinary)| *ordinary && *found == name)
            .map(|(_, elements, _)| elements)
    }

    /// Adds the elements of maps of verdicts that are not there.
    fn fill_verdicts(&mut self) {
        for map in &self.spec.verdicts {
            let found = self.found_map(&map.name).unwrap_or_default();
            let new = missing(&map.elements, found);
            if !new.is_empty() {
                let (family, new) = (self.spec.family, new.iter().copied());
                let message = Message::add_verdicts(family, TABLE, &map.name, new);
                self.messages.push(message);
            }
        }
    }

    fn make_rules(&mut self, chain: &ChainSpec) {
        let noted = self.is_noted(chain);
        for (i, rule) in chain.rules.iter().enumerate() {
            let note = if noted && i == 0 { self.note } else { &[] };
            let message = Message::new_rule(self.spec.family, TABLE, &chain.name, rule, note);
            self.messages.push(message);
        }
    }
}

/// Of some elements, those that others are without.
fn missing<'e>(some: &'e [VerdictElement], others: &[VerdictElement]) -> Vec<&'e VerdictElement> {
    some.iter()
        .filter(|element| !others.contains(element))
        .collect()
}
