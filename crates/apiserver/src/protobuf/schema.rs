//! What each message holds, from `schema.txt`.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

/// A message by its name.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) fields: BTreeMap<u64, Field>,
}

/// One field.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) kind: Type,
    /// Whether its zero differs from nothing.
    pub(crate) optional: bool,
}

/// How often a field occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    One,
    List,
    Map,
}

/// What a field is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Flag,
    Number,
    Text,
    Bytes,
    Quantity,
    NumberOrText,
    /// A message that wraps texts, which JSON shows as a list.
    Texts,
    /// A message that wraps JSON.
    Json,
    Time {
        micros: bool,
    },
    Message(String),
}

static MESSAGES: LazyLock<HashMap<String, Message>> =
    LazyLock::new(|| parse(include_str!("schema.txt")));

fn parse(text: &str) -> HashMap<String, Message> {
    let mut messages: HashMap<String, Message> = HashMap::new();
    let mut current = "";
    for line in text.lines() {
        let Some(field) = line.strip_prefix(' ') else {
            current = line;
            let fields = BTreeMap::new();
            messages.insert(current.to_owned(), Message { fields });
            continue;
        };
        let parts: Vec<&str> = field.split(' ').collect();
        let (shape, kind) = match parts[2..] {
            ["list", kind] => (Shape::List, kind),
            ["map", kind] => (Shape::Map, kind),
            [kind] => (Shape::One, kind),
            _ => continue,
        };
        let field = Field {
            name: parts[1].to_owned(),
            shape,
            kind: kind_of(kind.trim_end_matches('?')),
            optional: kind.ends_with('?'),
        };
        if let (Some(message), Ok(number)) = (messages.get_mut(current), parts[0].parse()) {
            message.fields.insert(number, field);
        }
    }
    messages
}

fn kind_of(text: &str) -> Type {
    match text {
        "bool" => Type::Flag,
        "int32" | "int64" | "uint32" | "uint64" => Type::Number,
        "string" => Type::Text,
        "bytes" => Type::Bytes,
        "quantity" => Type::Quantity,
        "intstr" => Type::NumberOrText,
        "time" => Type::Time { micros: false },
        "json" => Type::Json,
        "texts" => Type::Texts,
        "microtime" => Type::Time { micros: true },
        other => Type::Message(other.to_owned()),
    }
}

/// A message by its name.
pub(crate) fn message(name: &str) -> Option<&'static Message> {
    MESSAGES.get(name)
}

/// A message and its name.
pub(crate) fn entry(name: &str) -> Option<(&'static str, &'static Message)> {
    MESSAGES
        .get_key_value(name)
        .map(|(name, message)| (name.as_str(), message))
}

/// The message of a kind and its name; only the first part of a group's name counts.
pub(crate) fn entry_of(api_version: &str, kind: &str) -> Option<(&'static str, &'static Message)> {
    if kind == "DeleteOptions" {
        return entry("meta.DeleteOptions");
    }
    let group = match api_version.split_once('/') {
        None => "core",
        Some((group, _)) => group.split('.').next().unwrap_or(group),
    };
    entry(&format!("{group}.{kind}"))
}

/// The message of a kind.
pub(crate) fn message_of(api_version: &str, kind: &str) -> Option<&'static Message> {
    entry_of(api_version, kind).map(|(_, message)| message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_that_is_named_is_there() {
        for (name, message) in MESSAGES.iter() {
            for field in message.fields.values() {
                if let Type::Message(inner) = &field.kind {
                    assert!(
                        MESSAGES.contains_key(inner),
                        "{name}.{}: {inner}",
                        field.name
                    );
                }
            }
        }
    }

    #[test]
    fn every_kind_has_its_message() {
        // Definitions are written as JSON by all clients: their schemas have no other form.
        let all = crate::kinds::all().iter();
        for kind in all.filter(|kind| kind.plural != "customresourcedefinitions") {
            let api_version = crate::handlers::wrap::api_version(kind);
            assert!(message_of(&api_version, kind.kind).is_some(), "{kind:?}");
        }
    }
}
