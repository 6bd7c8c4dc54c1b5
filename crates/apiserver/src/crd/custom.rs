//! The kind of one version of a definition.
//!
//! Such kinds are interned for the whole process and never freed, which is what lets `&'static Kind`
//! name them everywhere. What is interned never changes: another schema is another kind on the same
//! shelf. How many there may be is bounded, so nobody can use up the memory by changing definitions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::check;
use super::columns::{Column, Path};
use super::definition::{Definition, Version};
use super::prune;
use super::schema::Schema;
use crate::decode::{self, DecodeError, Decoded};
use crate::kinds::{FieldError, Kind, Selectable, all, read};
use crate::schema::{Type, of_structural};

/// The most resources of all definitions of a process.
const MOST_SHELVES: usize = 1024;
/// The most kinds that are interned, and the bytes of their definitions.
const MOST_KINDS: usize = 8192;
const MOST_BYTES: usize = 256 << 20;
/// What a regular expression is reckoned to take.
const PATTERN_BYTES: usize = 128 << 10;

/// Where the parts of a Scale stand.
#[derive(Debug)]
pub(crate) struct Scale {
    pub(crate) wanted: Path,
    pub(crate) actual: Path,
    pub(crate) selector: Option<Path>,
}

/// What a definition says of one version.
#[derive(Debug)]
pub(crate) struct Custom {
    shelf: usize,
    stored: bool,
    /// The `apiVersion` as which objects are stored.
    stored_version: String,
    /// How the JSON of an object of this version begins.
    beginning: String,
    list_kind: String,
    schema: Schema,
    /// How the fields of its objects are merged.
    merging: Arc<Type>,
    has_status: bool,
    scale: Option<Scale>,
    columns: Vec<Column>,
    headings: String,
    selectable: Vec<Path>,
}

impl Custom {
    /// See [`Kind::shelf`].
    pub(crate) fn shelf(&self) -> usize {
        self.shelf
    }

    /// Whether this is the version that is stored.
    pub(crate) fn is_stored(&self) -> bool {
        self.stored
    }

    /// The `apiVersion` as which objects are stored.
    pub(crate) fn stored_version(&self) -> &str {
        &self.stored_version
    }

    /// Whether this is the JSON of an object of this version.
    pub(crate) fn is_own(&self, json: &[u8]) -> bool {
        json.starts_with(self.beginning.as_bytes())
    }

    /// The kind of a list.
    pub(crate) fn list_kind(&self) -> &str {
        &self.list_kind
    }

    /// Where the parts of a Scale stand.
    pub(crate) fn scale(&self) -> Option<&Scale> {
        self.scale.as_ref()
    }

    /// How the fields of its objects are merged.
    pub(crate) fn merging(&self) -> Arc<Type> {
        Arc::clone(&self.merging)
    }

    /// See [`Kind::decode`].
    pub(crate) fn decode(&self, mut value: Value) -> Result<Decoded, DecodeError> {
        let mut unknown = Vec::new();
        self.read_metadata(&mut value, &mut unknown)?;
        prune::prune(&self.schema, &mut value, "", &mut unknown);
        unknown.sort();
        Ok(Decoded { value, unknown })
    }

    /// The metadata is the same for all kinds.
    fn read_metadata(
        &self,
        value: &mut Value,
        unknown: &mut Vec<String>,
    ) -> Result<(), DecodeError> {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Head {
            #[serde(default)]
            metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
        }
        let Some(fields) = value.as_object_mut() else {
            return Err(DecodeError("it is not an object".to_owned()));
        };
        let metadata = fields.remove("metadata").unwrap_or(Value::Null);
        let metadata = if metadata.is_null() {
            json!({})
        } else {
            metadata
        };
        let mut head = decode::typed::<Head>(json!({ "metadata": metadata }))?;
        unknown.append(&mut head.unknown);
        fields.insert("metadata".to_owned(), head.value["metadata"].take());
        Ok(())
    }

    /// See [`Kind::default`].
    pub(crate) fn default(&self, value: &mut Value) {
        prune::default(&self.schema, value);
    }

    /// See [`Kind::validate`].
    pub(crate) fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        check(&self.schema, new, old)
    }

    /// See [`Kind::on_create`].
    pub(crate) fn on_create(&self, new: &mut Value) {
        if let (true, Some(fields)) = (self.has_status, new.as_object_mut()) {
            fields.remove("status");
        }
    }

    /// See [`Kind::on_update`].
    pub(crate) fn on_update(&self, new: &mut Value, old: &Value) {
        if self.has_status {
            read::copy(new, old, "status");
        }
    }

    /// See [`Kind::on_status`].
    pub(crate) fn on_status(&self, new: &mut Value, old: &Value) {
        let mut kept = old.clone();
        read::copy(&mut kept, new, "status");
        // Who wrote what is told of this write, the rest of the metadata stays.
        match new.pointer("/metadata/managedFields") {
            Some(managed) => read::set(&mut kept, "metadata", "managedFields", managed.clone()),
            None => {
                if let Some(metadata) = kept.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.remove("managedFields");
                }
            }
        }
        *new = kept;
    }

    /// See [`Kind::selected`].
    pub(crate) fn selected(&self, object: &Value) -> Vec<String> {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let paths = self.selectable.iter();
        paths
            .map(|path| path.get(object).map(text).unwrap_or_default())
            .collect()
    }

    /// See [`Kind::cells`].
    pub(crate) fn cells(&self, object: &Value, now: Timestamp) -> Value {
        let name: Value = read::text(&object["metadata"], "name").into();
        let others = self.columns.iter().map(|column| column.cell(object, now));
        std::iter::once(name).chain(others).collect()
    }

    /// The `columnDefinitions` of tables, as JSON.
    pub(crate) fn headings(&self) -> &str {
        &self.headings
    }
}

/// The kinds of a process.
#[derive(Default)]
struct Interned {
    shelves: HashMap<(String, String), usize>,
    kinds: HashMap<String, &'static Kind>,
    texts: HashMap<String, &'static str>,
    bytes: usize,
}

static INTERNED: Mutex<Option<Interned>> = Mutex::new(None);

/// There are too many kinds.
#[derive(Debug, thiserror::Error)]
#[error(
    "this process has had {MOST_KINDS} versions of definitions or {MOST_BYTES} bytes of them, and keeps no more"
)]
pub(crate) struct Full;

/// The kind of one version of a definition.
pub(crate) fn kind(definition: &Definition, version: &Version) -> Result<&'static Kind, Full> {
    let key = definition.key(version);
    let mut guard = INTERNED.lock().unwrap_or_else(PoisonError::into_inner);
    let interned = guard.get_or_insert_default();
    if let Some(kind) = interned.kinds.get(&key) {
        return Ok(kind);
    }
    let compiled = version.compile();
    let bytes = key.len() + compiled.patterns * PATTERN_BYTES;
    if interned.kinds.len() >= MOST_KINDS || interned.bytes + bytes > MOST_BYTES {
        return Err(Full);
    }
    let shelf = interned.shelf(definition).ok_or(Full)?;
    let custom: &'static Custom = Box::leak(Box::new(custom(
        definition,
        version,
        shelf,
        compiled.schema,
    )));
    let kind: &'static Kind = Box::leak(Box::new(interned.head(definition, version, custom)));
    interned.bytes += bytes;
    interned.kinds.insert(key, kind);
    Ok(kind)
}

/// A kind as which objects were stored under the name of a definition, if ever any was.
pub(crate) fn stored(definition: &Definition) -> Option<&'static Kind> {
    let guard = INTERNED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut kinds = guard.as_ref()?.kinds.values().copied();
    kinds.find(|kind| {
        let same = kind.group == definition.group && kind.plural == definition.plural;
        same && kind.custom.is_some_and(Custom::is_stored)
    })
}

impl Interned {
    fn shelf(&mut self, definition: &Definition) -> Option<usize> {
        let next = all().len() + self.shelves.len();
        let name = (definition.group.clone(), definition.plural.clone());
        if let Some(shelf) = self.shelves.get(&name) {
            return Some(*shelf);
        }
        (self.shelves.len() < MOST_SHELVES).then(|| *self.shelves.entry(name).or_insert(next))
    }

    fn text(&mut self, text: &str) -> &'static str {
        if let Some(known) = self.texts.get(text) {
            return known;
        }
        let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
        self.texts.insert(text.to_owned(), kept);
        kept
    }

    fn list(&mut self, texts: &[String]) -> &'static [&'static str] {
        let texts: Vec<&'static str> = texts.iter().map(|text| self.text(text)).collect();
        Box::leak(texts.into_boxed_slice())
    }

    fn head(&mut self, of: &Definition, version: &Version, custom: &'static Custom) -> Kind {
        let selectable: Vec<Selectable> = of
            .selectable()
            .into_iter()
            .map(|path| Selectable::custom(self.text(path.trim_start_matches('.'))))
            .collect();
        let mut kind = Kind::of_definition(custom);
        kind.group = self.text(&of.group);
        kind.version = self.text(&version.name);
        kind.kind = self.text(&of.kind);
        kind.plural = self.text(&of.plural);
        kind.singular = self.text(&of.singular);
        kind.short_names = self.list(&of.short_names);
        kind.categories = self.list(&of.categories);
        kind.namespaced = of.namespaced;
        kind.has_status = version.has_status();
        kind.has_scale = custom.scale.is_some();
        kind.selectable = Box::leak(selectable.into_boxed_slice());
        kind
    }
}

fn custom(definition: &Definition, version: &Version, shelf: usize, schema: Schema) -> Custom {
    let api_version = |name: &str| format!("{}/{name}", definition.group);
    let path = |text: &str| Path::parse(text).ok();
    let scale = version.scale().and_then(|scale| {
        Some(Scale {
            wanted: path(read::text(scale, "specReplicasPath"))?,
            actual: path(read::text(scale, "statusReplicasPath"))?,
            selector: path(read::text(scale, "labelSelectorPath")),
        })
    });
    let columns = version.columns();
    let parsed = columns.iter().filter_map(|column| {
        Some(Column {
            kind: read::text(column, "type").to_owned(),
            path: path(read::text(column, "jsonPath"))?,
        })
    });
    Custom {
        shelf,
        stored: version.storage,
        stored_version: api_version(definition.storage().map_or("", |stored| &stored.name)),
        beginning: format!("{{\"apiVersion\":\"{}\",", api_version(&version.name)),
        list_kind: definition.list_kind.clone(),
        merging: of_structural(version.schema()),
        schema,
        has_status: version.has_status(),
        scale,
        columns: parsed.collect(),
        headings: headings(&columns).to_string(),
        selectable: definition
            .selectable()
            .into_iter()
            .filter_map(path)
            .collect(),
    }
}

fn headings(columns: &[Value]) -> Value {
    let name = json!({
        "name": "Name", "type": "string", "format": "name", "priority": 0,
        "description": "Name must be unique within a namespace. Cannot be updated.",
    });
    let others = columns.iter().map(|column| {
        json!({
            "name": column["name"],
            "type": column["type"],
            "format": read::text(column, "format"),
            "description": match read::text(column, "description") {
                "" => format!(
                    "Custom resource definition column (in JSONPath format): {}",
                    read::text(column, "jsonPath")
                ),
                given => given.to_owned(),
            },
            "priority": column.get("priority").and_then(Value::as_i64).unwrap_or(0),
        })
    });
    std::iter::once(name).chain(others).collect()
}
