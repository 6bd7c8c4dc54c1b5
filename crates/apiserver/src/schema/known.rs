//! The types of the built-in kinds: what the published API definitions say (`lists.txt`), along the
//! messages that a kind is made of.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::Value;

use super::{Field, ListKey, Shape, Type};
use crate::handlers::wrap::api_version;
use crate::kinds::Kind;
use crate::protobuf::schema::{self as messages, Message};

/// What is said of a field.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Fact {
    /// How it is merged, if that is special.
    pub(crate) shape: Option<Shape>,
    always: bool,
    /// Whether a patch keeps of it only what the patch names.
    pub(crate) retain: bool,
}

/// Facts by the name of the field; those about a message itself are under `-`.
pub(crate) type Facts = BTreeMap<&'static str, Fact>;

static FACTS: LazyLock<HashMap<&'static str, Facts>> =
    LazyLock::new(|| parse(include_str!("lists.txt")));

/// The types that have been asked for, by apiVersion and kind. There are as many as kinds.
static TYPES: Mutex<BTreeMap<(String, &'static str), Arc<Type>>> = Mutex::new(BTreeMap::new());

fn parse(text: &'static str) -> HashMap<&'static str, Facts> {
    let mut facts: HashMap<&str, Facts> = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let [message, field, what, rest @ ..] = words.as_slice() else {
            continue;
        };
        let fact = facts.entry(message).or_default().entry(field).or_default();
        match *what {
            "map" => fact.shape = Some(map(rest)),
            "set" => fact.shape = Some(Shape::Set),
            "atomic" => fact.shape = Some(Shape::Atomic),
            "always" => fact.always = true,
            _ => {}
        }
        fact.retain |= *what == "retain" || rest.contains(&"retain");
    }
    facts
}

fn map(words: &[&str]) -> Shape {
    let keys = words
        .iter()
        .filter(|word| !matches!(**word, "unpatched" | "retain"))
        .map(|word| {
            let (name, default) = match word.split_once('=') {
                Some((name, default)) => (name, Some(Value::from(default))),
                None => (*word, None),
            };
            ListKey {
                name: name.into(),
                default,
            }
        });
    Shape::Map {
        keys: keys.collect(),
        patched: !words.contains(&"unpatched"),
    }
}

/// What is said of a message.
pub(crate) fn of_message(name: &str) -> Option<&'static Facts> {
    FACTS.get(name)
}

/// The type of a built-in kind.
pub(super) fn of_kind(kind: &Kind) -> Arc<Type> {
    let key = (api_version(kind), kind.kind);
    let mut types = TYPES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(of) = types.get(&key) {
        return Arc::clone(of);
    }
    let of = Arc::new(make(kind));
    types.insert(key, Arc::clone(&of));
    of
}

/// The metadata of every object.
pub(super) fn metadata() -> Field {
    let mut of = Type::default();
    if let Some((name, message)) = messages::entry("meta.ObjectMeta") {
        fill(&mut of, name, message, &mut vec![name]);
    }
    Field {
        shape: Shape::Object,
        of: Arc::new(of),
        always: true,
    }
}

fn make(kind: &Kind) -> Type {
    let mut of = Type::default();
    if let Some((name, message)) = messages::entry_of(&api_version(kind), kind.kind) {
        fill(&mut of, name, message, &mut vec![name]);
    }
    of.fields.insert("metadata".into(), metadata());
    for name in ["spec", "status"] {
        let field = of.fields.entry(name.into()).or_insert_with(|| Field {
            shape: Shape::Object,
            of: Arc::clone(Type::nothing()),
            always: true,
        });
        field.always = true;
    }
    of
}

/// Adds what is told of a message's fields. A message within itself is not followed: the types that
/// do so (schemas of custom resources) have no keyed lists that deep.
fn fill(of: &mut Type, name: &str, message: &Message, within: &mut Vec<&'static str>) {
    let facts = of_message(name);
    for field in message.fields.values() {
        let inner = match &field.kind {
            messages::Type::Message(name) => messages::entry(name),
            _ => None,
        };
        if field.name == "*" {
            if let Some((name, message)) = inner {
                fill(of, name, message, within);
            }
            continue;
        }
        let fact = facts.and_then(|facts| facts.get(field.name.as_str()));
        let told = told(fact, field.shape, inner, within);
        if !told.tells_nothing() {
            of.fields.insert(field.name.as_str().into(), told);
        }
    }
}

fn told(
    fact: Option<&Fact>,
    occurs: messages::Shape,
    inner: Option<(&'static str, &'static Message)>,
    within: &mut Vec<&'static str>,
) -> Field {
    let atomic = |name: &str| of_message(name).is_some_and(|facts| facts.contains_key("-"));
    let shape = match (fact.and_then(|fact| fact.shape.clone()), occurs, inner) {
        (Some(shape), _, _) => shape,
        (None, messages::Shape::One, Some((name, _))) if atomic(name) => Shape::Atomic,
        // A list that is not told of: strategic patches replace it, and so does everything.
        _ => Shape::Object,
    };
    let merged = occurs == messages::Shape::One || matches!(shape, Shape::Map { .. });
    let of = match inner {
        Some((name, _)) if merged && atomic(name) => Arc::clone(Type::whole()),
        Some((name, message)) if merged && shape != Shape::Atomic && !within.contains(&name) => {
            let mut of = Type::default();
            within.push(name);
            fill(&mut of, name, message, within);
            within.pop();
            Arc::new(of)
        }
        _ => Arc::clone(Type::nothing()),
    };
    Field {
        shape,
        of,
        always: fact.is_some_and(|fact| fact.always),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_about_messages_and_fields_that_there_are() {
        for (name, facts) in FACTS.iter() {
            let message = messages::message(name).unwrap_or_else(|| panic!("{name}"));
            for field in facts.keys().filter(|field| **field != "-") {
                let known = message.fields.values().any(|one| one.name == *field);
                assert!(known, "{name} {field}");
            }
        }
    }

    #[test]
    fn items_of_an_atomic_type_are_told_apart_and_change_as_a_whole() {
        let pod = of_kind(crate::kinds::find("", "v1", "pods").unwrap());
        let owners = pod.field("metadata").unwrap().of.field("ownerReferences");
        let owners = owners.unwrap();
        assert!(matches!(owners.shape, Shape::Map { .. }) && owners.of.is_whole());
    }
}
