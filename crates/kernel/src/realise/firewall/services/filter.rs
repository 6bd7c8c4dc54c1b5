//! What may pass, behind conntrack and before anything is translated: packets of flows that are
//! known may; of the first ones those that no backend takes are refused or dropped.

use ipnet::IpNet;
use seaway_model::{DropReason, Family, ServiceRules, View};

use super::super::parts::Part;
use super::super::rules::{filter, inner, is_family};
use super::super::sets::services::{Class, cluster_ips, frontends, source_ranges};
use super::super::words::When;
use super::{CLASS, Sent, VIEWS, by_word, name};
use crate::nft::{ChainSpec, CmpOp, Expr, Rule, Told, Verdict, VerdictMap};

/// Between conntrack and the translation of destinations.
const PRIORITY: i32 = -110;
/// For whom there is but one view: what the node and its own Pods send.
const INSIDE: &str = "service-inside";
/// What no backend takes, and whose sender is told so.
const REFUSE: &str = "service-refuse";
const NOT_LOCAL: &str = "service-not-local";
/// The map of those that may use a frontend.
const ADMITTED: &str = "admitted";
const INVALID: &str = "service-invalid";
const TCP: u8 = 6;

/// The chains; `pods` is the group of devices that Pods' packets come from.
pub(in crate::realise::firewall) fn chains(rules: &ServiceRules, pods: u32) -> Vec<ChainSpec> {
    let mut chains = vec![
        inner(REFUSE, refuse()),
        inner(
            NOT_LOCAL,
            vec![When::always().drop(DropReason::ServiceNotLocal)],
        ),
        inner(INVALID, invalid(rules)),
        inner(INSIDE, inside(rules)),
    ];
    for family in Family::ALL {
        for view in VIEWS {
            let chain = name("service-admitted", view, family);
            let guarded = guarded(rules, family, &chain);
            chains.push(inner(&chain, vec![admitted(view, family)]));
            chains.push(inner(&name("service-guarded", view, family), guarded));
        }
    }
    chains.extend([
        filter("services", PREROUTING, PRIORITY, arriving(pods)),
        filter("services-output", OUTPUT, PRIORITY, made_here()),
    ]);
    chains
}

const PREROUTING: u32 = 0;
const OUTPUT: u32 = 3;

/// The maps from what is said of a frontend to what becomes of a packet.
pub(in crate::realise::firewall) fn maps() -> Vec<VerdictMap> {
    let ends = || {
        vec![
            (0, Verdict::Accept),
            (Class::REFUSE, Verdict::Goto(REFUSE.to_owned())),
            (Class::DROP, Verdict::Goto(NOT_LOCAL.to_owned())),
        ]
    };
    // One of its own for those that may use it: with the other the chains would be a ring.
    let mut maps = vec![by_word(ADMITTED.to_owned(), ends())];
    for family in Family::ALL {
        for view in VIEWS {
            let guarded = || Verdict::Goto(name("service-guarded", view, family));
            let bits = [0, Class::REFUSE, Class::DROP];
            let mut elements = ends();
            elements.extend(bits.map(|bits| (Class::GUARDED | bits, guarded())));
            maps.push(by_word(name("fates", view, family), elements));
        }
    }
    maps
}

/// Decides by what is said of the frontend.
fn fate(view: View, family: Family) -> Rule {
    When::of_family(family)
        .frontend(Sent::Now, view, family)
        .by_class(Class::FATE, name("fates", view, family))
        .end()
}

/// The same for those that may use it.
fn admitted(view: View, family: Family) -> Rule {
    let unguarded = Class::FATE & !Class::GUARDED;
    When::of_family(family)
        .frontend(Sent::Now, view, family)
        .by_class(unguarded, ADMITTED.to_owned())
        .end()
}

fn arriving(pods: u32) -> Vec<Rule> {
    let mut rules = vec![
        When::always().going_on().accept(),
        // What the node sends to itself was judged when it was sent.
        When::from_loopback().accept(),
        When::always().invalid().go(INVALID),
        When::from_group(pods).go(INSIDE),
    ];
    rules.extend(Family::ALL.map(|family| fate(View::Outside, family)));
    rules.push(When::always().go(INSIDE));
    rules
}

fn made_here() -> Vec<Rule> {
    vec![
        When::always().going_on().accept(),
        When::always().invalid().go(INVALID),
        When::always().go(INSIDE),
    ]
}

fn inside(rules: &ServiceRules) -> Vec<Rule> {
    let mut all = Family::ALL
        .map(|family| fate(View::Everyone, family))
        .to_vec();
    all.extend(Family::ALL.map(|family| {
        When::of_family(family)
            .known_in(cluster_ips(family), &[Part::Destination(family)])
            .go(REFUSE)
    }));
    all.extend(in_range(rules, DropReason::ServiceUnknown));
    all
}

/// Drops what is for an address of Services.
fn in_range(rules: &ServiceRules, reason: DropReason) -> Vec<Rule> {
    let to = |net: &IpNet| {
        When::of_family(Family::of_net(net))
            .destination_in(net)
            .drop(reason)
    };
    rules.service_cidrs.iter().map(to).collect()
}

/// What fits no flow is not translated: it would go to the frontend itself, and be answered there.
fn invalid(rules: &ServiceRules) -> Vec<Rule> {
    let mut all: Vec<Rule> = Family::ALL
        .into_iter()
        .flat_map(|family| VIEWS.map(|view| (view, family)))
        .map(|(view, family)| {
            let at = [Part::Destination(family), Part::Protocol, Part::Port];
            When::of_family(family)
                .leads(frontends(view, family), &at)
                .drop(DropReason::Invalid)
        })
        .collect();
    all.extend(in_range(rules, DropReason::Invalid));
    all
}

/// Tells the sender that there is nobody.
fn refuse() -> Vec<Rule> {
    let reason = DropReason::ServiceRefused;
    vec![
        When::always().protocol(TCP).refuse(reason, Told::Reset),
        When::always().refuse(reason, Told::PortUnreachable),
    ]
}

/// A port of the loopback address that no backend takes: its sender is told so while it can be told
/// by that address.
pub(in crate::realise::firewall) fn refused_loopback(looped: When, family: Family) -> Rule {
    looped
        .frontend(Sent::Looped, View::Everyone, family)
        .push(Expr::Mask {
            from: CLASS,
            to: CLASS,
            mask: Class::REFUSE.to_ne_bytes().to_vec(),
        })
        .push(Expr::Cmp {
            from: CLASS,
            op: CmpOp::Neq,
            value: vec![0; 4],
        })
        .go(REFUSE)
}

/// Who may use a guarded frontend?
fn guarded(rules: &ServiceRules, family: Family, admitted: &str) -> Vec<Rule> {
    let lengths = rules.range_lengths.iter().filter(is_family(family));
    let mut all: Vec<Rule> = lengths
        .map(|(_, length)| {
            let key = [
                Part::Destination(family),
                Part::Protocol,
                Part::Port,
                Part::Length(*length),
                Part::SourceNet(family, *length),
            ];
            When::always()
                .known_in(source_ranges(family), &key)
                .go(admitted)
        })
        .collect();
    all.push(When::always().drop(DropReason::ServiceSource));
    all
}
