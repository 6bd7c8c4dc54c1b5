//! The rules of a table of the older iptables, as the kernel's structures lay them out.

use std::collections::BTreeMap;

use seaway_model::Family;

use super::super::Policy;
use super::super::program::{Program, Rule, Verdict};
use super::HOOKS;
use super::sockopt::RawTable;

/// The verdict "return": `-NF_REPEAT - 1`.
const RETURN: i32 = -5;
/// Bytes of `struct xt_entry_target`, with the target's name at 2.
const TARGET: usize = 32;
const TARGET_NAME: std::ops::Range<usize> = 2..31;
/// The target that the name of a chain is hidden in.
const CHAIN_HEAD: &str = "ERROR";

/// A table: what its chains do, and the policy of those that the kernel calls, by hook.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) program: Program<String>,
    pub(super) policies: BTreeMap<usize, Policy>,
}

/// How the entries of a family are laid out.
struct Layout {
    /// Bytes of what packets are matched against.
    matched: usize,
    /// Where flags are in it, and the flag that makes a jump one for good.
    flags: (usize, u8),
    /// Bytes of the whole fixed part.
    fixed: usize,
}

impl Layout {
    fn of(family: Family) -> Layout {
        match family {
            Family::V4 => Layout {
                matched: 84,
                flags: (82, 0x02),
                fixed: 112,
            },
            Family::V6 => Layout {
                matched: 136,
                flags: (131, 0x04),
                fixed: 168,
            },
        }
    }
}

/// One rule.
struct Entry<'a> {
    always: bool,
    goto: bool,
    target: String,
    data: &'a [u8],
}

impl Table {
    /// Reads what it can; a rule that is cut short ends the reading.
    pub(super) fn parse(family: Family, raw: &RawTable) -> Table {
        let entries = entries(family, &raw.entries);
        let starts = chain_starts(raw, &entries);
        let mut table = Table::default();
        for hook in hooks(raw) {
            let policy = entries.get(&(raw.policy[hook] as usize));
            let dropping = policy.and_then(standard) == Some(-libc::NF_DROP - 1);
            let policy = if dropping {
                Policy::Drop
            } else {
                Policy::Accept
            };
            table.policies.insert(hook, policy);
        }
        let policies: Vec<usize> = hooks(raw).map(|hook| raw.policy[hook] as usize).collect();
        let mut chain = None;
        for (offset, entry) in &entries {
            if let Some(name) = starts.get(offset) {
                table.program.entry(name.clone()).or_default();
                chain = Some(name);
            }
            let rules = chain.and_then(|name| table.program.get_mut(name));
            if let (Some(rules), false) = (rules, policies.contains(offset)) {
                rules.extend(rule(entry, &starts));
            }
        }
        table
    }
}

fn hooks(raw: &RawTable) -> impl Iterator<Item = usize> {
    (0..HOOKS.len()).filter(|hook| raw.hooks & (1 << hook) != 0)
}

/// The entries by their offset.
fn entries(family: Family, bytes: &[u8]) -> BTreeMap<usize, Entry<'_>> {
    let layout = Layout::of(family);
    let mut entries = BTreeMap::new();
    let mut at = 0;
    while let Some((entry, length)) = bytes.get(at..).and_then(|rest| entry(&layout, rest)) {
        entries.insert(at, entry);
        at += length;
    }
    entries
}

fn entry<'a>(layout: &Layout, bytes: &'a [u8]) -> Option<(Entry<'a>, usize)> {
    let half = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let target = half(layout.matched + 4)? as usize;
    let next = half(layout.matched + 6)? as usize;
    let whole = bytes
        .get(..next)
        .filter(|_| next >= layout.fixed + TARGET)?;
    let target_bytes = whole.get(target..)?;
    let (flags_at, goto) = layout.flags;
    let matches_all = whole[..layout.matched]
        .iter()
        .enumerate()
        .all(|(at, byte)| at == flags_at || *byte == 0);
    let entry = Entry {
        always: matches_all && target == layout.fixed,
        goto: whole[flags_at] & goto != 0,
        target: crate::netfilter::text(target_bytes.get(TARGET_NAME)?),
        data: target_bytes.get(TARGET..)?,
    };
    Some((entry, next))
}

/// Where chains begin, with their names.
fn chain_starts(raw: &RawTable, entries: &BTreeMap<usize, Entry<'_>>) -> BTreeMap<usize, String> {
    let built_in = hooks(raw).map(|hook| (raw.first[hook] as usize, HOOKS[hook].to_owned()));
    let mut starts: BTreeMap<usize, String> = built_in.collect();
    for ((_, head), (first, _)) in entries.iter().zip(entries.iter().skip(1)) {
        if head.target == CHAIN_HEAD {
            starts.insert(*first, crate::netfilter::text(head.data));
        }
    }
    starts
}

/// The number of a standard target: a verdict if negative, or else an offset.
fn standard(entry: &Entry<'_>) -> Option<i32> {
    let bytes = entry.data.get(..4).filter(|_| entry.target.is_empty())?;
    Some(i32::from_ne_bytes(bytes.try_into().ok()?))
}

/// The rule, if it decides anything.
fn rule(entry: &Entry<'_>, starts: &BTreeMap<usize, String>) -> Option<Rule<String>> {
    let verdict = match (entry.target.as_str(), standard(entry)) {
        ("REJECT" | "DROP", _) => Verdict::Drop,
        (_, Some(RETURN)) => Verdict::Return,
        (_, Some(code)) if code == -libc::NF_DROP - 1 => Verdict::Drop,
        (_, Some(code)) if code == -libc::NF_ACCEPT - 1 => Verdict::Accept,
        (_, Some(offset)) => {
            // A rule without a target jumps to the next rule, where no chain begins.
            let chain = starts.get(&usize::try_from(offset).ok()?)?.clone();
            if entry.goto {
                Verdict::Goto(chain)
            } else {
                Verdict::Jump(chain)
            }
        }
        _ => return None,
    };
    Some(Rule {
        always: entry.always,
        verdicts: vec![verdict],
    })
}
