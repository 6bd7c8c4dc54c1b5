//! Messages of a transaction.

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};

use super::encode::write_verdict_data;
use super::expr::Verdict;
use super::spec::{
    ChainSpec, Element, Field, Hook, Rule, SetSpec, VerdictElement, VerdictMap, bytes_of, type_of,
};
use super::{OBJECT_COUNTER, SET_MAP, TYPE_VERDICT, TableFamily, attr, kind};
use crate::netfilter::Writer;

/// Bytes of the elements of one message: an attribute's length has 16 bits.
const ELEMENTS_LIMIT: usize = 60_000;

/// A message of a transaction, about one object.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(super) kind: u8,
    pub(super) family: TableFamily,
    pub(super) flags: u16,
    pub(super) body: Writer,
    /// What it does in words.
    pub(crate) what: String,
}

/// One thing to do in a transaction.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// About tables, chains, rules, sets and counters.
    Make(Message),
    /// Put an element in; an equal one may be there.
    Add(Element),
    /// Put an element in a map in place of any that has its key.
    Replace(Element),
    /// Take an element out.
    Remove(Element),
}

fn put_u32(w: &mut Writer, kind: u16, value: u32) {
    w.put(kind, &value.to_be_bytes());
}

impl Message {
    fn new(
        kind: u8,
        family: TableFamily,
        flags: u16,
        table: &str,
        what: String,
        fill: impl FnOnce(&mut Writer),
    ) -> Message {
        let mut body = Writer::default();
        body.put_text(attr::TABLE, table);
        fill(&mut body);
        Message {
            kind,
            family,
            flags,
            body,
            what,
        }
    }

    /// Makes a table, or wakes it if it is asleep.
    pub(crate) fn new_table(family: TableFamily, table: &str) -> Message {
        let what = format!("make table {table}");
        Message::new(kind::NEW_TABLE, family, NLM_F_CREATE, table, what, |w| {
            put_u32(w, attr::TABLE_FLAGS, 0);
        })
    }

    /// Deletes a table with all that is in it.
    pub(crate) fn delete_table(family: TableFamily, table: &str) -> Message {
        let what = format!("delete table {table}");
        Message::new(kind::DEL_TABLE, family, 0, table, what, |_| {})
    }

    /// Makes a chain.
    pub(crate) fn new_chain(family: TableFamily, table: &str, chain: &ChainSpec) -> Message {
        let what = format!("make chain {}", chain.name);
        Message::new(kind::NEW_CHAIN, family, NLM_F_CREATE, table, what, |w| {
            w.put_text(attr::CHAIN_NAME, &chain.name);
            if let Some(hook) = &chain.hook {
                write_hook(w, hook);
            }
        })
    }

    /// Deletes a chain.
    pub(crate) fn delete_chain(family: TableFamily, table: &str, chain: &str) -> Message {
        let what = format!("delete chain {chain}");
        Message::new(kind::DEL_CHAIN, family, 0, table, what, |w| {
            w.put_text(attr::CHAIN_NAME, chain);
        })
    }

    /// Puts a rule behind those of its chain, with a note that the kernel keeps beside it.
    pub(crate) fn new_rule(
        family: TableFamily,
        table: &str,
        chain: &str,
        rule: &Rule,
        note: &[u8],
    ) -> Message {
        let flags = NLM_F_CREATE | NLM_F_APPEND;
        let what = format!("make a rule in chain {chain}");
        Message::new(kind::NEW_RULE, family, flags, table, what, |w| {
            w.put_text(attr::RULE_CHAIN, chain);
            w.nest(attr::RULE_EXPRESSIONS, |w| {
                for expr in rule {
                    w.nest(attr::LIST_ELEM, |w| expr.write(w));
                }
            });
            if !note.is_empty() {
                w.put(attr::RULE_USERDATA, note);
            }
        })
    }

    /// Deletes all rules of a chain.
    pub(crate) fn delete_rules(family: TableFamily, table: &str, chain: &str) -> Message {
        let what = format!("delete the rules of chain {chain}");
        Message::new(kind::DEL_RULE, family, 0, table, what, |w| {
            w.put_text(attr::RULE_CHAIN, chain);
        })
    }

    /// Makes a set or map. `id` is unique in the transaction.
    pub(crate) fn new_set(family: TableFamily, table: &str, set: &SetSpec, id: u32) -> Message {
        let what = format!("make set {}", set.name);
        Message::new(kind::NEW_SET, family, NLM_F_CREATE, table, what, |w| {
            w.put_text(attr::SET_NAME, &set.name);
            put_u32(w, attr::SET_FLAGS, set.flags());
            put_u32(w, attr::SET_KEY_TYPE, type_of(&set.key));
            put_u32(w, attr::SET_KEY_LEN, bytes_of(&set.key));
            if !set.value.is_empty() {
                put_u32(w, attr::SET_DATA_TYPE, type_of(&set.value));
                put_u32(w, attr::SET_DATA_LEN, bytes_of(&set.value));
            }
            put_u32(w, attr::SET_ID, id);
            if let Some(timeout) = set.timeout() {
                w.put(attr::SET_TIMEOUT, &timeout.to_be_bytes());
            }
            if let Some(remembers) = set.remembers {
                w.nest(attr::SET_DESCRIPTION, |w| {
                    put_u32(w, attr::DESCRIPTION_SIZE, remembers.size);
                });
            }
        })
    }

    /// Makes a map of verdicts without elements. `id` is unique in the transaction.
    pub(crate) fn new_verdict_map(
        family: TableFamily,
        table: &str,
        map: &VerdictMap,
        id: u32,
    ) -> Message {
        let what = format!("make map {}", map.name);
        Message::new(kind::NEW_SET, family, NLM_F_CREATE, table, what, |w| {
            w.put_text(attr::SET_NAME, &map.name);
            put_u32(w, attr::SET_FLAGS, SET_MAP);
            put_u32(w, attr::SET_KEY_TYPE, type_of(&[Field::Number]));
            put_u32(w, attr::SET_KEY_LEN, bytes_of(&[Field::Number]));
            put_u32(w, attr::SET_DATA_TYPE, TYPE_VERDICT);
            put_u32(w, attr::SET_ID, id);
        })
    }

    /// Adds elements to a map of verdicts.
    pub(crate) fn add_verdicts<'a>(
        family: TableFamily,
        table: &str,
        map: &str,
        elements: impl Iterator<Item = &'a VerdictElement>,
    ) -> Message {
        let what = format!("add to map {map}");
        Message::new(kind::NEW_ELEMENT, family, NLM_F_CREATE, table, what, |w| {
            write_verdicts(w, map, elements.map(|(key, verdict)| (key, Some(verdict))));
        })
    }

    /// Removes elements from a map of verdicts.
    pub(crate) fn remove_verdicts<'a>(
        family: TableFamily,
        table: &str,
        map: &str,
        elements: impl Iterator<Item = &'a VerdictElement>,
    ) -> Message {
        let what = format!("remove from map {map}");
        Message::new(kind::DEL_ELEMENT, family, 0, table, what, |w| {
            write_verdicts(w, map, elements.map(|(key, _)| (key, None)));
        })
    }

    /// Takes all elements out of a set.
    pub(crate) fn empty_set(family: TableFamily, table: &str, set: &str) -> Message {
        let what = format!("empty set {set}");
        Message::new(kind::DEL_ELEMENT, family, 0, table, what, |w| {
            w.put_text(attr::ELEMENTS_SET, set);
        })
    }

    /// Deletes a set with its elements.
    pub(crate) fn delete_set(family: TableFamily, table: &str, set: &str) -> Message {
        let what = format!("delete set {set}");
        Message::new(kind::DEL_SET, family, 0, table, what, |w| {
            w.put_text(attr::SET_NAME, set);
        })
    }

    /// Makes a counter.
    pub(crate) fn new_counter(family: TableFamily, table: &str, name: &str) -> Message {
        let what = format!("make counter {name}");
        Message::new(kind::NEW_OBJECT, family, NLM_F_CREATE, table, what, |w| {
            w.put_text(attr::OBJ_NAME, name);
            put_u32(w, attr::OBJ_TYPE, OBJECT_COUNTER);
            w.nest(attr::OBJ_DATA, |_| {});
        })
    }

    /// Adds or removes elements of one set.
    fn elements(table: &str, of: &Element, step: Step, list: &Writer) -> Message {
        let (kind, flags, verb) = match step {
            Step::Add => (kind::NEW_ELEMENT, NLM_F_CREATE, "add to"),
            Step::Remove => (kind::DEL_ELEMENT, 0, "remove from"),
            Step::Destroy => (kind::DESTROY_ELEMENT, 0, "clear in"),
        };
        let what = format!("{verb} set {}", of.set);
        Message::new(kind, of.family, flags, table, what, |w| {
            w.put_text(attr::ELEMENTS_SET, of.set);
            w.put_nest(attr::ELEMENTS, list.bytes());
        })
    }
}

/// One message's worth of what is to be done to elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Add,
    Remove,
    /// Remove if it is there.
    Destroy,
}

fn write_verdicts<'a>(
    w: &mut Writer,
    map: &str,
    elements: impl Iterator<Item = (&'a Vec<u8>, Option<&'a Verdict>)>,
) {
    w.put_text(attr::ELEMENTS_SET, map);
    w.nest(attr::ELEMENTS, |w| {
        for (key, verdict) in elements {
            w.nest(attr::LIST_ELEM, |w| {
                w.nest(attr::ELEM_KEY, |w| {
                    w.put(attr::DATA_VALUE, key);
                });
                if let Some(verdict) = verdict {
                    w.nest(attr::ELEM_DATA, |w| write_verdict_data(w, verdict));
                }
            });
        }
    });
}

fn write_hook(w: &mut Writer, hook: &Hook) {
    w.nest(attr::CHAIN_HOOK, |w| {
        put_u32(w, attr::HOOK_NUMBER, hook.number);
        w.put(attr::HOOK_PRIORITY, &hook.priority.to_be_bytes());
    });
    // Accept.
    put_u32(w, attr::CHAIN_POLICY, 1);
    w.put_text(attr::CHAIN_TYPE, hook.kind.name());
}

fn write_element(w: &mut Writer, element: &Element, step: Step) {
    w.nest(attr::LIST_ELEM, |w| {
        w.nest(attr::ELEM_KEY, |w| {
            w.put(attr::DATA_VALUE, &element.key);
        });
        if step == Step::Add && !element.value.is_empty() {
            w.nest(attr::ELEM_DATA, |w| {
                w.put(attr::DATA_VALUE, &element.value);
            });
        }
    });
}

/// The messages of a transaction, each with the range of the items that it carries out. Elements
/// of one set that follow each other share messages, unless each is to have its own. Without
/// `can_destroy` an element in place of another is sent as if there were none.
pub(super) fn messages(
    table: &str,
    items: &[Item],
    one_each: bool,
    can_destroy: bool,
) -> Vec<(Message, std::ops::Range<usize>)> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(item) = items.get(at) {
        let (first, steps): (_, &[Step]) = match item {
            Item::Make(message) => {
                all.push((message.clone(), at..at + 1));
                at += 1;
                continue;
            }
            Item::Add(element) => (element, &[Step::Add]),
            Item::Replace(element) if can_destroy => (element, &[Step::Destroy, Step::Add]),
            Item::Replace(element) => (element, &[Step::Add]),
            Item::Remove(element) => (element, &[Step::Remove]),
        };
        let (start, mut lists) = (at, vec![Writer::default(); steps.len()]);
        while let Some(element) = items.get(at).and_then(|next| same_set(next, item)) {
            let full = lists.iter().any(|list| list.bytes().len() > ELEMENTS_LIMIT);
            if at > start && (one_each || full) {
                break;
            }
            for (list, step) in lists.iter_mut().zip(steps) {
                write_element(list, element, *step);
            }
            at += 1;
        }
        for (list, step) in lists.iter().zip(steps) {
            all.push((Message::elements(table, first, *step, list), start..at));
        }
    }
    all
}

/// The element of an item that does the same to the same set as another.
fn same_set<'a>(item: &'a Item, other: &Item) -> Option<&'a Element> {
    let (element, first) = match (item, other) {
        (Item::Add(element), Item::Add(first))
        | (Item::Replace(element), Item::Replace(first))
        | (Item::Remove(element), Item::Remove(first)) => (element, first),
        _ => return None,
    };
    (element.set == first.set && element.family == first.family).then_some(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(i: u32) -> Element {
        Element {
            family: TableFamily::Inet,
            set: "vteps-v4",
            key: i.to_be_bytes().to_vec(),
            value: vec![],
        }
    }

    #[test]
    fn elements_share_messages_that_stay_below_the_limit_of_an_attribute() {
        let items: Vec<Item> = (0..5_000).map(|i| Item::Add(element(i))).collect();
        let sent = messages("t", &items, false, true);
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[0].1.end, sent[1].1.start);
        assert_eq!(sent[1].1.end, 5_000);
        let bytes: usize = sent.iter().map(|(m, _)| m.body.bytes().len()).sum();
        assert!(bytes < 5_000 * 20, "{bytes}: constant per element");
        assert_eq!(messages("t", &items[..7], true, true).len(), 7);
    }

    #[test]
    fn removing_and_adding_are_messages_of_their_own() {
        let items = [
            Item::Remove(element(1)),
            Item::Add(element(1)),
            Item::Add(element(2)),
        ];
        let ranges: Vec<_> = messages("t", &items, false, true)
            .into_iter()
            .map(|(_, r)| r)
            .collect();
        assert_eq!(ranges, [0..1, 1..3]);
    }

    #[test]
    fn what_is_replaced_is_cleared_and_added_together() {
        let items: Vec<Item> = (0..3).map(|i| Item::Replace(element(i))).collect();
        let kinds = |can_destroy| -> Vec<(u8, std::ops::Range<usize>)> {
            let sent = messages("t", &items, false, can_destroy);
            sent.into_iter().map(|(m, range)| (m.kind, range)).collect()
        };
        let both = [(kind::DESTROY_ELEMENT, 0..3), (kind::NEW_ELEMENT, 0..3)];
        assert_eq!(kinds(true), both);
        assert_eq!(kinds(false), [(kind::NEW_ELEMENT, 0..3)]);
    }
}
