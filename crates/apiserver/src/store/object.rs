//! One revision of an object: its JSON and the little of it that the store looks at.
//!
//! Revisions never change; a new one takes the place of the old. The rest of the object stays
//! bytes until a handler has to change it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::kinds::Kind;
use crate::managed::Managers;

/// Namespace (empty for cluster-wide objects) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
}

impl Key {
    /// A key from its two parts.
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key that an object's metadata gives.
    pub(crate) fn of(kind: &Kind, value: &Value) -> Self {
        let namespace = if kind.namespaced {
            text(value, "/metadata/namespace")
        } else {
            ""
        };
        Self::new(namespace, text(value, "/metadata/name"))
    }
}

/// An owner as an object names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) api_version: Box<str>,
    pub(crate) kind: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) uid: Box<str>,
    /// The owner's deletion in the foreground waits for this object.
    pub(crate) blocks: bool,
}

/// One revision of one object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) key: Key,
    pub(crate) revision: u64,
    pub(crate) uid: Box<str>,
    pub(crate) labels: Box<[(Box<str>, Box<str>)]>,
    /// The values of the kind's selectable fields, in their order.
    pub(crate) fields: Box<[Box<str>]>,
    pub(crate) owners: Box<[Owner]>,
    pub(crate) finalizers: Box<[Box<str>]>,
    pub(crate) deleting: bool,
    /// The whole object but for its `managedFields`.
    pub(crate) json: Bytes,
    /// Who manages its fields.
    pub(crate) managers: Managers,
    /// Where in the JSON the metadata stands.
    metadata: Range<usize>,
}

impl Object {
    /// Reads what the store needs from an object and writes `revision` into it.
    pub(crate) fn new(kind: &Kind, mut value: Value, revision: u64) -> Self {
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".into(), revision.to_string().into());
        }
        let (json, metadata) = write(&value);
        let labels = value
            .pointer("/metadata/labels")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str().into(), value.as_str().unwrap_or("").into()))
            .collect();
        let owners = value
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|owner| Owner {
                api_version: text(owner, "/apiVersion").into(),
                kind: text(owner, "/kind").into(),
                name: text(owner, "/name").into(),
                uid: text(owner, "/uid").into(),
                blocks: owner.get("blockOwnerDeletion") == Some(&Value::Bool(true)),
            })
            .collect();
        let finalizers = value
            .pointer("/metadata/finalizers")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|finalizer| finalizer.as_str().map(Into::into))
            .collect();
        Self {
            key: Key::of(kind, &value),
            revision,
            uid: text(&value, "/metadata/uid").into(),
            labels,
            fields: kind.selected(&value).into_iter().map(Into::into).collect(),
            owners,
            finalizers,
            deleting: value.pointer("/metadata/deletionTimestamp").is_some(),
            json,
            managers: Managers::default(),
            metadata,
        }
    }

    /// The same object with these managers.
    pub(crate) fn managed_by(self, managers: Managers) -> Self {
        Self { managers, ..self }
    }

    /// The whole object.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.json).expect("the store holds only JSON that it wrote itself")
    }

    /// The JSON of the whole object, with its managers.
    pub(crate) fn whole(&self) -> Bytes {
        if self.managers.is_empty() || self.metadata.len() <= 2 {
            return self.json.clone();
        }
        self.with_managers(0..self.json.len()).into()
    }

    /// The JSON of the metadata, with the managers.
    pub(crate) fn metadata(&self) -> Cow<'_, [u8]> {
        match self.metadata.len() {
            0 => Cow::Borrowed(b"null"),
            length if length <= 2 || self.managers.is_empty() => {
                Cow::Borrowed(&self.json[self.metadata.clone()])
            }
            _ => Cow::Owned(self.with_managers(self.metadata.clone())),
        }
    }

    /// A part of the JSON that holds the metadata; the managers become its first field.
    fn with_managers(&self, part: Range<usize>) -> Vec<u8> {
        let at = self.metadata.start + 1;
        let mut json = Vec::with_capacity(part.len() + self.managers.size());
        json.extend_from_slice(&self.json[part.start..at]);
        json.extend_from_slice(b"\"managedFields\":");
        self.managers.write(&mut json);
        json.push(b',');
        json.extend_from_slice(&self.json[at..part.end]);
        json
    }

    /// A label's value.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.labels
            .binary_search_by(|(candidate, _)| candidate.as_ref().cmp(key))
            .ok()
            .map(|at| self.labels[at].1.as_ref())
    }

    /// Whether it is being deleted and a finalizer of this name still holds it.
    pub(crate) fn is_held_by(&self, finalizer: &str) -> bool {
        self.deleting && self.finalizers.iter().any(|one| **one == *finalizer)
    }

    /// What the object costs, roughly.
    pub(crate) fn size(&self) -> usize {
        self.json.len() + self.managers.size()
    }
}

/// A value's JSON, and where in it the value of the field `metadata` stands.
fn write(value: &Value) -> (Bytes, Range<usize>) {
    let mut json = Vec::new();
    let put = |part: &Value, json: &mut Vec<u8>| {
        serde_json::to_writer(json, part).expect("memory takes whatever is written to it");
    };
    let mut metadata = 0..0;
    let Value::Object(fields) = value else {
        put(value, &mut json);
        return (json.into(), metadata);
    };
    json.push(b'{');
    for (name, field) in fields {
        if json.len() > 1 {
            json.push(b',');
        }
        put(&name.as_str().into(), &mut json);
        json.push(b':');
        let start = json.len();
        put(field, &mut json);
        if name == "metadata" {
            metadata = start..json.len();
        }
    }
    json.push(b'}');
    (json.into(), metadata)
}

/// Objects shared between the store, its log, snapshots and watchers.
pub(crate) type Shared = Arc<Object>;

/// A string inside an object, or nothing.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}
