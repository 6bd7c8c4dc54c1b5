//! Sources: who keeps its own when a Service leads it to a backend; and who is remembered for the
//! backend that it got.

use ipnet::IpNet;
use seaway_model::{Family, FirewallRow, ServiceRules, View};

use super::super::rules::inner;
use super::super::sets::services::Class;
use super::super::words::{Drawn, When};
use super::{Sent, by_word, name};
use crate::nft::{ChainSpec, Rule, Verdict, VerdictMap};

/// Remembers which backend a client got.
pub(in crate::realise::firewall) const REMEMBER: &str = "remember";

/// The chains that remember.
pub(in crate::realise::firewall) fn chains(rules: &ServiceRules) -> Vec<ChainSpec> {
    if rules.affinities.is_empty() {
        return Vec::new();
    }
    let lead = |family| {
        began_at_frontend(View::Everyone, family)
            .by_class(Class::AFFINITY, name(REMEMBER, View::Everyone, family))
            .end()
    };
    let mut chains = Vec::new();
    for family in Family::ALL {
        for seconds in &rules.affinities {
            let chain = remember_chain(family, *seconds);
            chains.push(inner(&chain, vec![remember(family, *seconds)]));
        }
    }
    chains.push(inner(REMEMBER, Family::ALL.map(lead).to_vec()));
    chains
}

/// The maps from a frontend's word to the chains that remember.
pub(in crate::realise::firewall) fn maps(rules: &ServiceRules) -> Vec<VerdictMap> {
    if rules.affinities.is_empty() {
        return Vec::new();
    }
    let of = |family| {
        let element = |seconds: &u32| {
            let chain = remember_chain(family, *seconds);
            (Class::of_affinity(*seconds), Verdict::Goto(chain))
        };
        let elements = rules.affinities.iter().map(element).collect();
        by_word(name(REMEMBER, View::Everyone, family), elements)
    };
    Family::ALL.map(of).to_vec()
}

fn remember_chain(family: Family, seconds: u32) -> String {
    name(&format!("remember-{seconds}"), View::Everyone, family)
}

fn began_at_frontend(view: View, family: Family) -> When {
    When::of_family(family)
        .translated()
        .frontend(Sent::First, view, family)
}

fn remember(family: Family, seconds: u32) -> Rule {
    When::always()
        .frontend(Sent::First, View::Everyone, family)
        .remember(seconds, family)
}

/// What is looked at before all else that is led to another destination.
pub(in crate::realise::firewall) fn first(rules: &ServiceRules) -> Vec<Rule> {
    match rules.affinities.is_empty() {
        true => Vec::new(),
        false => vec![When::always().translated().jump(REMEMBER)],
    }
}

/// The source of what Pods of this node send, when not even they keep theirs.
pub(in crate::realise::firewall) fn of_pods(row: &FirewallRow, rules: &ServiceRules) -> Vec<Rule> {
    let hidden = |net: &IpNet| {
        let family = Family::of_net(net);
        let began = began_at_frontend(View::Everyone, family).source_in(net);
        appear(began, row, rules, family)
    };
    match rules.masquerade_all {
        true => row.own_nets.iter().map(hidden).collect(),
        false => Vec::new(),
    }
}

/// The source of all others.
pub(in crate::realise::firewall) fn of_others(
    row: &FirewallRow,
    rules: &ServiceRules,
) -> Vec<Rule> {
    let mut all = Vec::new();
    for family in Family::ALL {
        let from_outside = began_at_frontend(View::Outside, family).came_in();
        all.push(from_outside.accept());
        let to_itself = When::of_family(family).of_this_node().by_loopback();
        all.push(to_itself.accept());
        let began = began_at_frontend(View::Everyone, family);
        all.push(appear(began, row, rules, family));
    }
    all
}

/// Then its source is this node's address towards others, whatever device it goes out by.
pub(in crate::realise::firewall) fn appear(
    when: When,
    row: &FirewallRow,
    rules: &ServiceRules,
    family: Family,
) -> Rule {
    let mut sources = rules.sources.iter();
    match sources.find(|source| Family::of(**source) == family) {
        Some(source) => when.appear_as(*source, Drawn::of(row)),
        None => when.masquerade(Drawn::of(row)),
    }
}
