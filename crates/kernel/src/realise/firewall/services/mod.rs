//! The rules that balance Services, made from one row.
//!
//! A frontend leads to a group of backends in numbered slots, and a word that says how many slots
//! there are. A map of verdicts leads from that word to a chain that draws a slot of so many: all
//! rules are static, and what changes are elements. No packet is marked: each rule looks up again
//! what it needs.
//!
//! [`filter`] decides what may pass before anything is translated, [`balance`] translates
//! destinations, [`source`] sources; [`invalid`] keeps others from answering. Data are in [`super::sets::services`].

pub(super) mod balance;
pub(super) mod filter;
pub(super) mod invalid;
pub(super) mod source;

use seaway_model::{Family, View};

use super::parts::Part;
use super::sets::services::frontends;
use super::words::When;
use crate::nft::{Expr, Reg, VerdictMap};

/// Where what a frontend leads to is found, behind the longest key: nothing first, then the group,
/// then the word, whose place a slot takes.
const LED: Reg = Reg(7);
const GROUP: Reg = Reg(8);
const CLASS: Reg = Reg(10);
/// Both views: what only the traffic from elsewhere is led by comes first.
const VIEWS: [View; 2] = [View::Outside, View::Everyone];

/// Which destination of a packet.
#[derive(Clone, Copy, Debug)]
enum Sent {
    /// The one it has now.
    Now,
    /// The one that its flow began with.
    First,
    /// The one that will stand for the loopback address.
    Looped,
}

/// The name of something that is there for each view and family.
fn name(what: &str, view: View, family: Family) -> String {
    let family = match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    };
    match view {
        View::Everyone => format!("{what}-{family}"),
        View::Outside => format!("{what}-outside-{family}"),
    }
}

impl When {
    /// And its destination is a frontend, whose group and word are at hand then.
    fn frontend(self, sent: Sent, view: View, family: Family) -> When {
        let parts = match sent {
            Sent::Now => [Part::Destination(family), Part::Protocol, Part::Port],
            Sent::Looped => [Part::Alias(family), Part::Protocol, Part::Port],
            Sent::First => [
                Part::OriginalDestination(family),
                Part::Protocol,
                Part::OriginalPort,
            ],
        };
        let (when, _) = self.key_at(Reg(0), &parts);
        when.blank(GROUP, 2).blank(CLASS, 1).push(Expr::Lookup {
            set: frontends(view, family).to_owned(),
            from: Reg(0),
            to: Some(LED),
            invert: false,
        })
    }

    /// Puts zeros in some words before a look-up fills them.
    ///
    /// The kernel does not need it. Tools that print rules need to know how long a register is that
    /// is read, and do not where only a look-up has filled it: nft 1.0 aborts then. They know of the
    /// first word that a look-up fills only, so nothing is ever kept there that is read.
    fn blank(self, to: Reg, words: usize) -> When {
        let value = vec![0; 4 * words];
        self.push(Expr::Value { to, value })
    }

    /// Then some bits of the frontend's word decide.
    fn by_class(self, bits: u32, map: String) -> When {
        self.push(Expr::Mask {
            from: CLASS,
            to: CLASS,
            mask: bits.to_ne_bytes().to_vec(),
        })
        .push(Expr::Dispatch { map, from: CLASS })
    }
}

/// A map from words to verdicts.
fn by_word(name: String, elements: Vec<(u32, crate::nft::Verdict)>) -> VerdictMap {
    let elements = elements
        .into_iter()
        .map(|(word, verdict)| (word.to_ne_bytes().to_vec(), verdict));
    VerdictMap {
        name,
        elements: elements.collect(),
    }
}
