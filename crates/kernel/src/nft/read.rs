//! Tables as the kernel holds them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::decode::{read_all, read_verdict};
use super::spec::{ChainKind, ChainSpec, Hook, Rule, SetShape, SetSpec, TableSpec, VerdictElement};
use super::{SET_MAP, TYPE_VERDICT, TableFamily, attr, kind};
use crate::error::KernelError;
use crate::netfilter::{Netfilter, Reply, Subsystem, Writer, attributes, find, text, u32_be};

/// A table as it is, without elements.
#[derive(Clone, Debug)]
pub(crate) struct TableState {
    /// `NFT_TABLE_F_*`: asleep, owned by a process.
    flags: u32,
    chains: Vec<ChainSpec>,
    /// Chains that are not as any of ours can be: another type or policy.
    odd: BTreeSet<String>,
    sets: BTreeMap<String, SetShape>,
    /// The maps of verdicts with their elements.
    verdicts: BTreeMap<String, Vec<VerdictElement>>,
    /// Maps of verdicts of another shape than any of ours.
    odd_maps: BTreeSet<String>,
    counters: BTreeMap<String, u64>,
    /// The note beside the first rule of each chain that has one.
    notes: BTreeMap<String, Vec<u8>>,
}

impl TableState {
    /// Whether somebody put the table to sleep.
    pub(crate) fn dormant(&self) -> bool {
        self.flags & 1 != 0
    }

    /// The chains, each with whether any of ours can be like that.
    pub(crate) fn chains(&self) -> impl Iterator<Item = (&ChainSpec, bool)> {
        let ordinary = |chain: &ChainSpec| !self.odd.contains(&chain.name);
        self.chains
            .iter()
            .map(move |chain| (chain, ordinary(chain)))
    }

    /// The sets that `spec` does not have, or has otherwise.
    pub(crate) fn wrong_sets<'a>(&'a self, spec: &'a TableSpec) -> impl Iterator<Item = &'a str> {
        self.sets
            .iter()
            .filter(|(name, shape)| {
                let wanted = spec.sets.iter().find(|set| set.name == name.as_str());
                wanted.is_none_or(|set| set.shape() != **shape)
            })
            .map(|(name, _)| name.as_str())
    }

    /// Whether a set is there as it is to be.
    pub(crate) fn has_set(&self, set: &SetSpec) -> bool {
        self.sets.get(set.name.as_ref()) == Some(&set.shape())
    }

    /// The maps of verdicts with their elements, each with whether any of ours can be like that.
    pub(crate) fn verdict_maps(&self) -> impl Iterator<Item = (&str, &[VerdictElement], bool)> {
        self.verdicts.iter().map(|(name, elements)| {
            let ordinary = !self.odd_maps.contains(name);
            (name.as_str(), elements.as_slice(), ordinary)
        })
    }

    /// Whether a counter is there.
    pub(crate) fn has_counter(&self, name: &str) -> bool {
        self.counters.contains_key(name)
    }

    /// The note beside the first rule of a chain.
    pub(crate) fn note(&self, chain: &str) -> Option<&[u8]> {
        self.notes.get(chain).map(Vec::as_slice)
    }

    /// What differs from `spec`, in words; nothing if the table is as it is to be.
    pub(crate) fn difference(&self, spec: &TableSpec) -> Option<String> {
        if self.flags != 0 {
            return Some("the table is asleep or owned".to_owned());
        }
        if !self.odd.is_empty() || self.chains.len() != spec.chains.len() {
            return Some("there are other chains".to_owned());
        }
        for wanted in &spec.chains {
            let found = self.chains.iter().find(|chain| chain.name == wanted.name);
            if found != Some(wanted) {
                return Some(format!("chain {} differs", wanted.name));
            }
        }
        if let Some(set) = self.wrong_sets(spec).next() {
            return Some(format!("set {set} differs"));
        }
        if !self.odd_maps.is_empty() || self.verdicts.len() != spec.verdicts.len() {
            return Some("there are other maps of verdicts".to_owned());
        }
        for wanted in &spec.verdicts {
            let mut elements: Vec<VerdictElement> = wanted.elements.clone();
            elements.sort_by(|(a, _), (b, _)| a.cmp(b));
            if self.verdicts.get(&wanted.name) != Some(&elements) {
                return Some(format!("map {} differs", wanted.name));
            }
        }
        let set = spec.sets.iter().find(|set| !self.has_set(set));
        let counter = spec.counters.iter().find(|name| !self.has_counter(name));
        set.map(|set| format!("set {} is missing", set.name))
            .or(counter.map(|name| format!("counter {name} is missing")))
    }
}

/// Key and value of an element; the value is empty in a set.
pub(crate) type KeyValue = (Vec<u8>, Vec<u8>);

/// Bytes of the keys of maps of verdicts.
const WORD: u32 = 4;

/// Reads tables.
pub(crate) struct Reader {
    netlink: Netfilter,
}

impl Reader {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open() -> Result<Reader, KernelError> {
        Ok(Reader {
            netlink: Netfilter::open(Subsystem::Nftables)?,
        })
    }

    /// A table without its elements; `None` if there is none.
    pub(crate) fn table(
        &mut self,
        family: TableFamily,
        table: &str,
    ) -> Result<Option<TableState>, KernelError> {
        let all = Writer::default();
        let flags = self.of_table(kind::GET_TABLE, family, &all, table, |reply| {
            u32_be(find(reply.attributes, attr::TABLE_FLAGS)?)
        })?;
        let Some(flags) = flags.first() else {
            return Ok(None);
        };
        let filter = named(attr::TABLE, table);
        let rules = self.of_table(kind::GET_RULE, family, &filter, table, read_rule)?;
        let mut of_chain: HashMap<String, Vec<Rule>> = HashMap::new();
        let mut notes = BTreeMap::new();
        for (chain, rule, note) in rules {
            let rules = of_chain.entry(chain.clone()).or_default();
            if rules.is_empty() && !note.is_empty() {
                notes.insert(chain, note);
            }
            rules.push(rule);
        }
        let chains = self.of_table(kind::GET_CHAIN, family, &all, table, read_chain)?;
        let odd = chains.iter().filter(|(_, ordinary)| !ordinary);
        let odd = odd.map(|(chain, _)| chain.name.clone()).collect();
        let chains = chains.into_iter().map(|(mut chain, _)| {
            chain.rules = of_chain.remove(&chain.name).unwrap_or_default();
            chain
        });
        let chains = chains.collect();
        let (mut sets, mut verdicts) = (BTreeMap::new(), BTreeMap::new());
        let mut odd_maps = BTreeSet::new();
        for (name, shape, leads) in
            self.of_table(kind::GET_SET, family, &filter, table, read_set)?
        {
            if !leads {
                sets.insert(name, shape);
                continue;
            }
            verdicts.insert(name.clone(), self.verdicts(family, table, &name)?);
            if (shape.flags, shape.timeout) != (SET_MAP, None) || shape.key != WORD {
                odd_maps.insert(name);
            }
        }
        Ok(Some(TableState {
            flags: *flags,
            chains,
            odd,
            sets,
            verdicts,
            odd_maps,
            counters: self.counters(family, table)?,
            notes,
        }))
    }

    /// The packets that each counter of a table has counted; nothing if there is no such table.
    pub(crate) fn counters(
        &mut self,
        family: TableFamily,
        table: &str,
    ) -> Result<BTreeMap<String, u64>, KernelError> {
        let filter = named(attr::TABLE, table);
        let found = self.of_table(kind::GET_OBJECT, family, &filter, table, read_counter)?;
        Ok(found.into_iter().collect())
    }

    /// Key and value of each element of a set.
    pub(crate) fn elements(
        &mut self,
        family: TableFamily,
        table: &str,
        set: &str,
    ) -> Result<Vec<KeyValue>, KernelError> {
        self.each_element(family, table, set, read_element)
    }

    /// Key and verdict of each element of a map of verdicts, in the order of the keys.
    fn verdicts(
        &mut self,
        family: TableFamily,
        table: &str,
        map: &str,
    ) -> Result<Vec<VerdictElement>, KernelError> {
        let mut found = self.each_element(family, table, map, |bytes| {
            let (key, _) = read_element(bytes)?;
            let data = find(find(bytes, attr::ELEM_DATA)?, attr::DATA_VERDICT)?;
            Some((key, read_verdict(data)?))
        })?;
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }

    fn each_element<T>(
        &mut self,
        family: TableFamily,
        table: &str,
        set: &str,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, KernelError> {
        let mut filter = named(attr::TABLE, table);
        filter.put_text(attr::ELEMENTS_SET, set);
        let found = self.of_table(kind::GET_ELEMENT, family, &filter, table, |reply| {
            let list = find(reply.attributes, attr::ELEMENTS)?;
            let elements = attributes(list).filter_map(|e| read(e.value));
            Some(elements.collect::<Vec<T>>())
        })?;
        Ok(found.into_iter().flatten().collect())
    }

    /// A dump of which only what is in one table counts. Nothing if there is no such table.
    fn of_table<T>(
        &mut self,
        message: u8,
        family: TableFamily,
        filter: &Writer,
        table: &str,
        mut pick: impl FnMut(&Reply<'_>) -> Option<T>,
    ) -> Result<Vec<T>, KernelError> {
        let number = family.number();
        let found = self.netlink.dump(message, number, filter, |reply| {
            let of = find(reply.attributes, attr::TABLE).map(text);
            (reply.family == number && of.as_deref() == Some(table)).then_some(())?;
            pick(reply)
        });
        match found {
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(Vec::new()),
            other => other,
        }
    }
}

fn named(kind: u16, name: &str) -> Writer {
    let mut w = Writer::default();
    w.put_text(kind, name);
    w
}

fn read_rule(reply: &Reply<'_>) -> Option<(String, Rule, Vec<u8>)> {
    let chain = text(find(reply.attributes, attr::RULE_CHAIN)?);
    let exprs = find(reply.attributes, attr::RULE_EXPRESSIONS).unwrap_or_default();
    let note = find(reply.attributes, attr::RULE_USERDATA).unwrap_or_default();
    Some((chain, read_all(exprs), note.to_vec()))
}

/// A chain without rules, and whether it is one that we could have made.
fn read_chain(reply: &Reply<'_>) -> Option<(ChainSpec, bool)> {
    let a = reply.attributes;
    let name = text(find(a, attr::CHAIN_NAME)?);
    let chain = |hook| ChainSpec {
        name,
        hook,
        rules: Vec::new(),
    };
    let Some(hook) = find(a, attr::CHAIN_HOOK) else {
        return Some((chain(None), true));
    };
    let kind = match find(a, attr::CHAIN_TYPE).map(text).as_deref() {
        Some("filter") => Some(ChainKind::Filter),
        Some("nat") => Some(ChainKind::Nat),
        _ => None,
    };
    let accepts = find(a, attr::CHAIN_POLICY).and_then(u32_be) == Some(1);
    let place = Hook {
        kind: kind.unwrap_or(ChainKind::Filter),
        number: find(hook, attr::HOOK_NUMBER).and_then(u32_be)?,
        priority: find(hook, attr::HOOK_PRIORITY)
            .and_then(u32_be)?
            .cast_signed(),
    };
    Some((chain(Some(place)), accepts && kind.is_some()))
}

/// A set with its shape, and whether it leads to verdicts.
fn read_set(reply: &Reply<'_>) -> Option<(String, SetShape, bool)> {
    let a = reply.attributes;
    let number = |kind| find(a, kind).and_then(u32_be);
    let milliseconds = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?));
    let description = find(a, attr::SET_DESCRIPTION).unwrap_or_default();
    let shape = SetShape {
        flags: number(attr::SET_FLAGS).unwrap_or(0),
        key: number(attr::SET_KEY_LEN)?,
        value: number(attr::SET_DATA_LEN).unwrap_or(0),
        timeout: find(a, attr::SET_TIMEOUT).and_then(milliseconds),
        size: find(description, attr::DESCRIPTION_SIZE).and_then(u32_be),
    };
    let leads = number(attr::SET_DATA_TYPE) == Some(TYPE_VERDICT);
    Some((text(find(a, attr::SET_NAME)?), shape, leads))
}

fn read_counter(reply: &Reply<'_>) -> Option<(String, u64)> {
    let a = reply.attributes;
    (find(a, attr::OBJ_TYPE).and_then(u32_be)? == super::OBJECT_COUNTER).then_some(())?;
    let packets = find(find(a, attr::OBJ_DATA)?, attr::COUNTER_PACKETS)?;
    let packets = u64::from_be_bytes(packets.get(..8)?.try_into().ok()?);
    Some((text(find(a, attr::OBJ_NAME)?), packets))
}

fn read_element(bytes: &[u8]) -> Option<KeyValue> {
    let value = |kind| find(find(bytes, kind)?, attr::DATA_VALUE).map(<[u8]>::to_vec);
    Some((
        value(attr::ELEM_KEY)?,
        value(attr::ELEM_DATA).unwrap_or_default(),
    ))
}
