//! Destinations: a frontend's becomes a backend's, drawn at random, or the one that the client had
//! before.

use seaway_model::{DENSE_SLOTS, FALLBACK_SLOT, Family, MAX_SLOTS, ServiceRules, View};

use super::super::parts::{Part, address_field};
use super::super::rules::inner;
use super::super::sets::services::{Class, backends, members, memory, port_mask};
use super::super::words::When;
use super::{CLASS, GROUP, Sent, VIEWS, by_word, name};
use crate::nft::{ChainSpec, Expr, Reg, Rule, SetOp, Verdict, VerdictMap};

/// How often a slot is drawn before one is taken that is filled for sure: of a dense group more
/// than half are, of a sparse one at least three eighths.
const DENSE_DRAWS: usize = 8;
const SPARSE_DRAWS: usize = 12;
/// The chain of those for whom there is but one view.
const INSIDE: &str = "balance-inside";

/// The chains that are entered from others. Where there is no frontend, `next` decides.
pub(in crate::realise::firewall) fn chains(rules: &ServiceRules, next: &str) -> Vec<ChainSpec> {
    let mut chains = Vec::new();
    for family in Family::ALL {
        for view in VIEWS {
            for slots in 0..=MAX_SLOTS {
                chains.extend(drawing(view, family, slots));
            }
            chains.push(inner(&sure_chain(view, family), sure(view, family)));
            for seconds in &rules.affinities {
                let chain = keep_chain(view, family, *seconds);
                chains.push(inner(&chain, keep(view, family, *seconds)));
            }
        }
    }
    let mut inside = lead(rules, View::Everyone);
    inside.push(When::always().go(next));
    chains.push(inner(INSIDE, inside));
    chains
}

/// The rules for what comes in; `pods` is the group of devices that Pods' packets come from.
pub(in crate::realise::firewall) fn arriving(rules: &ServiceRules, pods: u32) -> Vec<Rule> {
    let mut all = vec![When::from_group(pods).go(INSIDE)];
    all.extend(lead(rules, View::Outside));
    all.push(When::always().go(INSIDE));
    all
}

/// The rule for what the node itself sends.
pub(in crate::realise::firewall) fn made_here() -> Vec<Rule> {
    vec![When::always().go(INSIDE)]
}

/// The maps that lead from a frontend's word to chains.
pub(in crate::realise::firewall) fn maps(rules: &ServiceRules) -> Vec<VerdictMap> {
    let mut maps = Vec::new();
    for family in Family::ALL {
        for view in VIEWS {
            let draw = |slots| {
                let chain = draw_chain(view, family, slots);
                (u32::from(slots), Verdict::Goto(chain))
            };
            let draws = (0..=MAX_SLOTS).map(draw).collect();
            maps.push(by_word(name("draws", view, family), draws));
            if rules.affinities.is_empty() {
                continue;
            }
            let kept = |seconds: &u32| {
                let chain = keep_chain(view, family, *seconds);
                (Class::of_affinity(*seconds), Verdict::Jump(chain))
            };
            let kept = rules.affinities.iter().map(kept).collect();
            maps.push(by_word(name("kept", view, family), kept));
        }
    }
    maps
}

fn draw_chain(view: View, family: Family, slots: u8) -> String {
    name(&format!("draw-{}", 1u32 << slots), view, family)
}

fn keep_chain(view: View, family: Family, seconds: u32) -> String {
    name(&format!("keep-{seconds}"), view, family)
}

/// Leads to the chains of the frontend's word.
fn lead(rules: &ServiceRules, view: View) -> Vec<Rule> {
    let mut all = Vec::new();
    for family in Family::ALL {
        let frontend = || When::of_family(family).frontend(Sent::Now, view, family);
        if !rules.affinities.is_empty() {
            let kept = frontend().by_class(Class::AFFINITY, name("kept", view, family));
            all.push(kept.end());
        }
        let draw = frontend().by_class(Class::SLOTS, name("draws", view, family));
        all.push(draw.end());
    }
    all
}

/// Which slot.
enum Slot {
    /// Any below a number.
    Below(u32),
    This(u32),
}

fn try_chain(view: View, family: Family, slots: u8) -> String {
    name(&format!("try-{}", 1u32 << slots), view, family)
}

/// What is tried one after the other for a group of 2^`slots`. All tries are one rule that is jumped
/// to again: the kernel compares each new element of a map with every rule that looks into the map.
fn drawing(view: View, family: Family, slots: u8) -> Vec<ChainSpec> {
    let all = 1u32 << slots;
    let (tries, last) = match slots {
        0 => (0, Slot::This(0)),
        // Both are filled.
        1 => (0, Slot::Below(all)),
        _ if slots <= DENSE_SLOTS => (DENSE_DRAWS, Slot::Below(all / 2)),
        _ => (SPARSE_DRAWS, Slot::This(FALLBACK_SLOT.into())),
    };
    // Then one that is filled, also in a group that has become another kind meanwhile.
    let again = try_chain(view, family, slots);
    let mut rules: Vec<Rule> = (0..tries).map(|_| When::always().jump(&again)).collect();
    rules.push(draw(view, family, &last));
    rules.push(When::always().go(&sure_chain(view, family)));
    let mut chains = Vec::new();
    if tries > 0 {
        chains.push(inner(&again, vec![draw(view, family, &Slot::Below(all))]));
    }
    chains.push(inner(&draw_chain(view, family, slots), rules));
    chains
}

fn sure_chain(view: View, family: Family) -> String {
    name("draw-sure", view, family)
}

/// One of these slots is filled in every group.
fn sure(view: View, family: Family) -> Vec<Rule> {
    let slots = [Slot::This(0), Slot::This(FALLBACK_SLOT.into())];
    slots.map(|slot| draw(view, family, &slot)).to_vec()
}

fn draw(view: View, family: Family, slot: &Slot) -> Rule {
    let slot = match slot {
        Slot::Below(below) => Expr::Random {
            to: CLASS,
            below: *below,
        },
        Slot::This(slot) => Expr::Value {
            to: CLASS,
            value: slot.to_ne_bytes().to_vec(),
        },
    };
    When::always()
        .frontend(Sent::Now, view, family)
        .push(slot)
        .push(Expr::Lookup {
            set: backends(family).to_owned(),
            from: GROUP,
            to: Some(Reg(0)),
            invert: false,
        })
        .translate(family)
}

/// Where the key of a memory is.
const CLIENT: Reg = Reg(10);

/// Where a backend that is remembered is: nothing first, then address and port, right before the
/// group.
#[derive(Clone, Copy)]
struct Remembered {
    first: Reg,
    address: Reg,
    port: Reg,
}

impl Remembered {
    fn of(family: Family) -> Remembered {
        let port = GROUP.0 - 1;
        let address = port - address_field(family).words();
        Remembered {
            first: Reg(address - 1),
            address: Reg(address),
            port: Reg(port),
        }
    }
}

impl When {
    /// The key by which the client of the frontend at hand is remembered.
    fn client(self, family: Family) -> When {
        let (when, behind) = self.key_at(CLIENT, &[Part::Source(family)]);
        when.push(Expr::Mask {
            from: GROUP,
            to: behind,
            mask: port_mask(),
        })
    }

    /// And the client is remembered, with a backend.
    fn remembered(self, seconds: u32, family: Family) -> When {
        let at = Remembered::of(family);
        self.client(family)
            .blank(at.address, address_field(family).words().into())
            .blank(at.port, 1)
            .push(Expr::Lookup {
                set: memory(seconds, family),
                from: CLIENT,
                to: Some(at.first),
                invert: false,
            })
    }

    fn memory(self, op: SetOp, seconds: u32, family: Family) -> Rule {
        self.push(Expr::Remember {
            op,
            set: memory(seconds, family),
            key: CLIENT,
            value: Remembered::of(family).first,
        })
        .end()
    }

    /// Then the client of the frontend at hand is remembered with the backend to which the packet
    /// goes now.
    pub(super) fn remember(self, seconds: u32, family: Family) -> Rule {
        let at = Remembered::of(family);
        let backend = [Part::Destination(family), Part::Port];
        let (when, _) = self
            .client(family)
            .blank(at.first, 1)
            .key_at(at.address, &backend);
        when.memory(SetOp::Update, seconds, family)
    }
}

/// A client that is known gets the backend that it had if that is there still, and is forgotten if
/// not: then another is drawn.
fn keep(view: View, family: Family, seconds: u32) -> Vec<Rule> {
    let known = || {
        When::always()
            .frontend(Sent::Now, view, family)
            .remembered(seconds, family)
    };
    let at = Remembered::of(family);
    let there = known().push(Expr::Lookup {
        set: members(family).to_owned(),
        from: at.address,
        to: None,
        invert: false,
    });
    let again = there
        .push(Expr::Dnat {
            family,
            address: at.address,
            port: at.port,
        })
        .end();
    let gone = known()
        .blank(at.first, 1)
        .memory(SetOp::Delete, seconds, family);
    vec![again, gone]
}
