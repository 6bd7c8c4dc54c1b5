//! Strangers' chains in nftables, `iptables-nft` included.

use std::collections::{BTreeMap, BTreeSet};

use super::program::{Effect, Program, Rule, Verdict, worst};
use super::{Filter, FilterSystem, OUR_TABLE, Policy, owner};
use crate::error::KernelError;
use crate::netfilter::{Netfilter, Subsystem, Writer, attributes, find, text, u32_be};

const MSG_GET_CHAIN: u8 = 4;
const MSG_GET_RULE: u8 = 7;
const MSG_GET_ELEMENT: u8 = 13;
/// Chains, rules and elements of every family.
const ALL_FAMILIES: u8 = 0;

const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;

const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;

const IMMEDIATE_DATA: u16 = 2;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const TARGET_NAME: u16 = 1;
const LOOKUP_SET: u16 = 1;
const LOOKUP_TO_REGISTER: u16 = 3;
const VERDICT_REGISTER: u32 = 0;

const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const ELEMENT_DATA: u16 = 2;

/// Expressions that let every packet go on to the next one.
const WITHOUT_CONDITION: [&str; 6] = ["counter", "log", "immediate", "reject", "notrack", "target"];

/// A table: its family and name.
type TableKey = (u8, String);

/// A chain that the kernel calls.
struct Base {
    name: String,
    hook: u32,
    priority: i32,
    policy: Policy,
}

#[derive(Default)]
struct ForeignTable {
    bases: Vec<Base>,
    chains: BTreeSet<String>,
    program: Program<String>,
}

/// A rule as it was read: the verdicts of its maps are not known yet.
struct RawRule {
    table: TableKey,
    chain: String,
    rule: Rule<String>,
    maps: Vec<String>,
}

/// The chains of strangers that drop something.
pub(super) fn filters() -> Result<Vec<Filter>, KernelError> {
    let mut nftables = Netfilter::open(Subsystem::Nftables)?;
    let mut tables = read_chains(&mut nftables)?;
    // Only rules that begin in a hook matter; without such a chain nothing more is read.
    tables.retain(|_, table| !table.bases.is_empty());
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    read_rules(&mut nftables, &mut tables)?;
    let mut filters = Vec::new();
    for ((family, name), table) in &tables {
        for base in &table.bases {
            filters.extend(judge(*family, name, table, base));
        }
    }
    Ok(filters)
}

fn read_chains(nftables: &mut Netfilter) -> Result<BTreeMap<TableKey, ForeignTable>, KernelError> {
    let all = Writer::default();
    let found = nftables.dump(MSG_GET_CHAIN, ALL_FAMILIES, &all, |reply| {
        let table = text(find(reply.attributes, CHAIN_TABLE)?);
        let name = text(find(reply.attributes, CHAIN_NAME)?);
        let base = base(&name, reply.attributes);
        (table != OUR_TABLE).then_some(((reply.family, table), name, base))
    });
    let mut tables: BTreeMap<TableKey, ForeignTable> = BTreeMap::new();
    for (key, name, base) in absent_is_empty(found)? {
        let table = tables.entry(key).or_default();
        table.bases.extend(base);
        table.chains.insert(name);
    }
    Ok(tables)
}

/// The kernel may have been built without nftables.
fn absent_is_empty<T>(found: Result<Vec<T>, KernelError>) -> Result<Vec<T>, KernelError> {
    match found {
        Err(error) if matches!(error.errno(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
            tracing::debug!(%error, "no nftables here");
            Ok(Vec::new())
        }
        other => other,
    }
}

fn base(name: &str, attributes: &[u8]) -> Option<Base> {
    let hook = find(attributes, CHAIN_HOOK)?;
    let dropping = find(attributes, CHAIN_POLICY).and_then(u32_be) == Some(0);
    Some(Base {
        name: name.to_owned(),
        hook: find(hook, HOOK_NUMBER).and_then(u32_be)?,
        priority: find(hook, HOOK_PRIORITY)
            .and_then(u32_be)
            .unwrap_or_default()
            .cast_signed(),
        policy: if dropping {
            Policy::Drop
        } else {
            Policy::Accept
        },
    })
}

fn read_rules(
    nftables: &mut Netfilter,
    tables: &mut BTreeMap<TableKey, ForeignTable>,
) -> Result<(), KernelError> {
    let all = Writer::default();
    let rules = nftables.dump(MSG_GET_RULE, ALL_FAMILIES, &all, |reply| {
        let table = (reply.family, text(find(reply.attributes, RULE_TABLE)?));
        let known = tables.contains_key(&table);
        known.then(|| raw_rule(table, reply.attributes)).flatten()
    })?;
    let mut maps: BTreeMap<(TableKey, String), Vec<Verdict<String>>> = BTreeMap::new();
    for mut raw in rules {
        for map in raw.maps {
            let key = (raw.table.clone(), map);
            if !maps.contains_key(&key) {
                let verdicts = read_map(nftables, &key.0, &key.1)?;
                maps.insert(key.clone(), verdicts);
            }
            raw.rule.verdicts.extend(maps[&key].iter().cloned());
        }
        if let (false, Some(table)) = (raw.rule.verdicts.is_empty(), tables.get_mut(&raw.table)) {
            table.program.entry(raw.chain).or_default().push(raw.rule);
        }
    }
    Ok(())
}

fn raw_rule(table: TableKey, read: &[u8]) -> Option<RawRule> {
    let chain = text(find(read, RULE_CHAIN)?);
    let mut raw = RawRule {
        table,
        chain,
        rule: Rule {
            always: true,
            verdicts: Vec::new(),
        },
        maps: Vec::new(),
    };
    let expressions = find(read, RULE_EXPRESSIONS).unwrap_or_default();
    for expression in attributes(expressions) {
        let name = text(find(expression.value, EXPRESSION_NAME)?);
        let data = find(expression.value, EXPRESSION_DATA).unwrap_or_default();
        raw.rule.always &= WITHOUT_CONDITION.contains(&name.as_str());
        match name.as_str() {
            "immediate" => raw
                .rule
                .verdicts
                .extend(find(data, IMMEDIATE_DATA).and_then(verdict)),
            "reject" => raw.rule.verdicts.push(Verdict::Drop),
            "target" => raw.rule.verdicts.extend(target(data)),
            "lookup" if decides(data) => raw.maps.extend(find(data, LOOKUP_SET).map(text)),
            _ => {}
        }
    }
    Some(raw)
}

/// A look-up whose result is the verdict.
fn decides(lookup: &[u8]) -> bool {
    find(lookup, LOOKUP_TO_REGISTER).and_then(u32_be) == Some(VERDICT_REGISTER)
}

/// A verdict in nftables' data; `None` for other data, and for those that only go on.
fn verdict(data: &[u8]) -> Option<Verdict<String>> {
    let verdict = find(data, DATA_VERDICT)?;
    let chain = || find(verdict, VERDICT_CHAIN).map(text);
    match u32_be(find(verdict, VERDICT_CODE)?)?.cast_signed() {
        libc::NF_DROP => Some(Verdict::Drop),
        libc::NF_ACCEPT => Some(Verdict::Accept),
        // NFT_JUMP, NFT_GOTO, NFT_RETURN.
        -3 => chain().map(Verdict::Jump),
        -4 => chain().map(Verdict::Goto),
        -5 => Some(Verdict::Return),
        _ => None,
    }
}

/// A target of iptables that `iptables-nft` uses as it is.
fn target(data: &[u8]) -> Option<Verdict<String>> {
    let name = text(find(data, TARGET_NAME)?);
    matches!(name.as_str(), "REJECT" | "DROP").then_some(Verdict::Drop)
}

/// The verdicts that a map holds, each once.
fn read_map(
    nftables: &mut Netfilter,
    (family, table): &TableKey,
    map: &str,
) -> Result<Vec<Verdict<String>>, KernelError> {
    let mut filter = Writer::default();
    filter
        .put_text(ELEMENTS_TABLE, table)
        .put_text(ELEMENTS_SET, map);
    let found = nftables.dump(MSG_GET_ELEMENT, *family, &filter, |reply| {
        let elements = find(reply.attributes, ELEMENTS)?;
        let verdicts = attributes(elements)
            .filter_map(|element| find(element.value, ELEMENT_DATA).and_then(verdict));
        Some(verdicts.collect::<BTreeSet<_>>())
    });
    match found {
        // It was deleted after the rules were read.
        Err(error) if error.is_absent() => Ok(Vec::new()),
        other => {
            let distinct: BTreeSet<_> = other?.into_iter().flatten().collect();
            Ok(distinct.into_iter().collect())
        }
    }
}

fn judge(family: u8, name: &str, table: &ForeignTable, base: &Base) -> Option<Filter> {
    let hook = hook_name(family, base.hook)?;
    let by_rule = worst(&table.program, &base.name);
    let effect = match (base.policy, &by_rule) {
        (Policy::Drop, _) => Effect::DropsByPolicy,
        (Policy::Accept, Some((effect, _))) => *effect,
        (Policy::Accept, None) => return None,
    };
    let family = family_name(family);
    let iptables = matches!(family, "ip" | "ip6")
        && ["filter", "mangle", "raw", "nat", "security"].contains(&name)
        && base.name == hook.to_uppercase();
    Some(Filter {
        system: if iptables {
            FilterSystem::IptablesNft
        } else {
            FilterSystem::Nftables
        },
        family: family.to_owned(),
        table: name.to_owned(),
        chain: base.name.clone(),
        hook: hook.to_owned(),
        priority: Some(base.priority),
        policy: base.policy,
        effect,
        dropped_in: by_rule.map(|(_, chain)| chain),
        owner: owner::of_table(name, table.chains.iter().map(String::as_str)),
    })
}

fn family_name(number: u8) -> &'static str {
    match i32::from(number) {
        libc::NFPROTO_INET => "inet",
        libc::NFPROTO_IPV4 => "ip",
        libc::NFPROTO_ARP => "arp",
        libc::NFPROTO_NETDEV => "netdev",
        libc::NFPROTO_BRIDGE => "bridge",
        libc::NFPROTO_IPV6 => "ip6",
        _ => "other",
    }
}

/// The name of a hook; `None` for those that this version does not know.
fn hook_name(family: u8, hook: u32) -> Option<&'static str> {
    let names: &[&str] = match i32::from(family) {
        libc::NFPROTO_ARP => &["input", "output", "forward"],
        libc::NFPROTO_NETDEV => &["ingress", "egress"],
        _ => &[
            "prerouting",
            "input",
            "forward",
            "output",
            "postrouting",
            "ingress",
        ],
    };
    names.get(hook as usize).copied()
}
