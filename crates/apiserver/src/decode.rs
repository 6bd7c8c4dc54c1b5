//! Typed decoding: JSON in, the canonical JSON of a Kubernetes type out.
//!
//! An object is read into its k8s-openapi type and written again. The reader follows the path it is
//! at, so that a wrong type is named by its place and every field that the type does not know is
//! reported. It accepts what Kubernetes accepts: numbers for quantities, null for anything.
//! It is not validation: a value of the right type may still be refused by its kind.

use std::cell::RefCell;
use std::fmt::{self, Display};

use serde::de::value::StringDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

use crate::kinds::quantity;

/// How many unknown fields of one object are told.
const MAX_UNKNOWN: usize = 64;

/// How many objects the lists of one object may hold together: an empty object is two bytes of JSON,
/// but a thousand of memory as a container.
const MAX_ITEMS: usize = 20_000;

/// A decoded object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decoded {
    /// The canonical JSON.
    pub(crate) value: Value,
    /// Paths of fields that the type does not know, such as `spec.containers[0].foo`.
    pub(crate) unknown: Vec<String>,
}

/// Why an object is not of its type; the message names the field.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DecodeError(pub(crate) String);

/// Reads `value` as a `T` and writes it again.
pub(crate) fn typed<T: Serialize + DeserializeOwned>(value: Value) -> Result<Decoded, DecodeError> {
    let (mut value, notes) = pass::<T>(value)?;
    if !notes.empty.is_empty() {
        for path in &notes.empty {
            remove(&mut value, path);
        }
        // Lists that the type cannot do without come back.
        value = pass::<T>(value)?.0;
    }
    Ok(Decoded {
        value,
        unknown: notes.unknown,
    })
}

fn pass<T: Serialize + DeserializeOwned>(value: Value) -> Result<(Value, Notes), DecodeError> {
    let notes = RefCell::new(Notes::default());
    let object = T::deserialize(Reader {
        value,
        path: &Path::Root,
        notes: &notes,
    })?;
    let value = serde_json::to_value(&object).map_err(|error| DecodeError(error.to_string()))?;
    Ok((value, notes.into_inner()))
}

/// What the reader noticed on its way.
#[derive(Default)]
struct Notes {
    unknown: Vec<String>,
    /// How many objects were in lists so far.
    items: usize,
    /// Maps and lists that are empty: Kubernetes leaves them out.
    empty: Vec<Vec<Step>>,
}

/// One step of a path that outlives the reader.
enum Step {
    Field(String),
    Index(usize),
}

/// The place that is being read, as a list towards the root.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn steps(&self) -> Vec<Step> {
        let (mut steps, last) = match self {
            Path::Root => return Vec::new(),
            Path::Field(parent, name) => (parent.steps(), Step::Field((*name).to_owned())),
            Path::Index(parent, index) => (parent.steps(), Step::Index(*index)),
        };
        steps.push(last);
        steps
    }
}

impl Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Removes what is at `path`, which ends in a field.
fn remove(value: &mut Value, path: &[Step]) {
    let Some((Step::Field(last), way)) = path.split_last() else {
        return;
    };
    let parent = way.iter().try_fold(value, |at, step| match step {
        Step::Field(name) => at.get_mut(name),
        Step::Index(index) => at.get_mut(index),
    });
    if let Some(Value::Object(map)) = parent {
        map.remove(last);
    }
}

/// An error on its way up; the innermost reader adds the place.
#[derive(Debug)]
struct Fault {
    placed: bool,
    message: String,
}

impl Fault {
    fn at(self, path: &Path<'_>) -> Self {
        if self.placed {
            return self;
        }
        let place = path.to_string();
        let message = if place.is_empty() {
            self.message
        } else {
            format!("{place}: {}", self.message)
        };
        Self {
            placed: true,
            message,
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: Display>(message: T) -> Self {
        Self {
            placed: false,
            message: message.to_string(),
        }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            de::Unexpected::Bool(_) => "bool",
            de::Unexpected::Unsigned(_) | de::Unexpected::Signed(_) => "number",
            de::Unexpected::Float(_) => "fractional number",
            de::Unexpected::Str(_) => "string",
            de::Unexpected::Seq => "array",
            de::Unexpected::Map => "object",
            de::Unexpected::Unit => "null",
            _ => "value",
        };
        Self::custom(format_args!(
            "cannot unmarshal {found} into a field of type {expected}"
        ))
    }
}

impl From<Fault> for DecodeError {
    fn from(fault: Fault) -> Self {
        Self(fault.message)
    }
}

/// Reads one value at its place.
struct Reader<'a> {
    value: Value,
    path: &'a Path<'a>,
    notes: &'a RefCell<Notes>,
}

impl<'a> Reader<'a> {
    fn quantity(&mut self) -> Result<(), Fault> {
        let given = match &self.value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            Value::Null => "0".to_owned(),
            _ => return Ok(()),
        };
        let canonical = quantity::canonical(&given)
            .ok_or_else(|| <Fault as de::Error>::custom(quantity::SYNTAX).at(self.path))?;
        self.value = Value::String(canonical);
        Ok(())
    }
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Reader { value, path, notes } = self;
        let read = match value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(truth),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(n), _, _) => visitor.visit_u64(n),
                (_, Some(n), _) => visitor.visit_i64(n),
                (_, _, Some(n)) => visitor.visit_f64(n),
                _ => Err(de::Error::custom("not a number")),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(Items {
                items: items.into_iter(),
                next: 0,
                path,
                notes,
            }),
            Value::Object(fields) => visitor.visit_map(Fields {
                fields: fields.into_iter(),
                pending: None,
                path,
                notes,
            }),
        };
        read.map_err(|fault| fault.at(path))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == "Quantity" {
            self.quantity()?;
        }
        let path = self.path;
        visitor
            .visit_newtype_struct(self)
            .map_err(|fault| fault.at(path))
    }

    fn deserialize_string<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Fault> {
        if self.value.is_null() {
            self.value = Value::String(String::new());
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_string(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.value.as_object().is_some_and(Map::is_empty) {
            self.notes.borrow_mut().empty.push(self.path.steps());
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.value.as_array().is_some_and(Vec::is_empty) {
            self.notes.borrow_mut().empty.push(self.path.steps());
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let unknown = &mut self.notes.borrow_mut().unknown;
        if unknown.len() < MAX_UNKNOWN {
            unknown.push(self.path.to_string());
        }
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        tuple tuple_struct struct enum identifier
    }
}

/// The items of a list.
struct Items<'a> {
    items: std::vec::IntoIter<Value>,
    next: usize,
    path: &'a Path<'a>,
    notes: &'a RefCell<Notes>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(value) = self.items.next() else {
            return Ok(None);
        };
        let path = Path::Index(self.path, self.next);
        self.next += 1;
        if value.is_object() {
            let items = &mut self.notes.borrow_mut().items;
            *items += 1;
            if *items > MAX_ITEMS {
                let fault: Fault = de::Error::custom("more than 20000 objects in lists");
                return Err(fault.at(&path));
            }
        }
        seed.deserialize(Reader {
            value,
            path: &path,
            notes: self.notes,
        })
        .map(Some)
    }
}

/// The fields of an object.
struct Fields<'a> {
    fields: serde_json::map::IntoIter,
    pending: Option<(String, Value)>,
    path: &'a Path<'a>,
    notes: &'a RefCell<Notes>,
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.fields.next() else {
            return Ok(None);
        };
        let reader: StringDeserializer<Fault> = key.clone().into_deserializer();
        self.pending = Some((key, value));
        seed.deserialize(reader).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let Some((name, value)) = self.pending.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let path = Path::Field(self.path, &name);
        seed.deserialize(Reader {
            value,
            path: &path,
            notes: self.notes,
        })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Node, Pod, Secret, Service};
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::kinds::samples;

    #[test]
    fn unknown_fields_are_told_by_path() {
        let decoded = typed::<Pod>(json!({
            "apiVersion": "v1", "kind": "Pod", "top": 1,
            "metadata": {"name": "a", "labels": {}, "creationTimestamp": null},
            "spec": {"containers": [{"name": "c", "foo": {"bar": 1}}], "hostnetwork": true},
        }))
        .unwrap();
        assert_eq!(
            decoded.unknown,
            ["spec.containers[0].foo", "spec.hostnetwork", "top"]
        );
        assert_eq!(decoded.value["metadata"], json!({"name": "a"}));
    }

    #[test]
    fn numbers_are_quantities_and_become_canonical() {
        let decoded = typed::<Node>(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
            "status": {"capacity": {"cpu": 4, "memory": "2048Mi", "pods": "110", "x/y": 0.5}},
        }))
        .unwrap();
        assert_eq!(
            decoded.value["status"]["capacity"],
            json!({"cpu": "4", "memory": "2Gi", "pods": "110", "x/y": "500m"})
        );
        assert!(decoded.unknown.is_empty());
    }

    #[test]
    fn wrong_types_name_their_place() {
        let cases = [
            (
                json!({"spec": {"containers": [{"name": 7}]}}),
                "spec.containers[0].name: cannot unmarshal number into",
            ),
            (
                json!({"spec": {"hostNetwork": "yes"}}),
                "spec.hostNetwork: cannot unmarshal string into",
            ),
            (json!({"spec": []}), "spec: cannot unmarshal array into"),
            (
                json!({"metadata": {"labels": {"a": true}}}),
                "metadata.labels.a: cannot unmarshal bool into",
            ),
            (
                json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "1x"}}}]}}),
                "spec.containers[0].resources.limits.cpu: quantities must match",
            ),
            (
                json!({"metadata": {"creationTimestamp": "now"}}),
                "metadata.creationTimestamp: ",
            ),
        ];
        for (value, expected) in cases {
            let message = typed::<Pod>(value).unwrap_err().0;
            assert!(message.starts_with(expected), "{message}");
        }
        let secret = json!({"data": {"a": "###"}});
        assert!(
            typed::<Secret>(secret)
                .unwrap_err()
                .0
                .starts_with("data.a: ")
        );
    }

    #[test]
    fn ports_may_be_numbers_or_names() {
        let decoded = typed::<Service>(json!({
            "spec": {"ports": [{"port": 80, "targetPort": 8080}, {"port": 81, "targetPort": "web"}]},
        }))
        .unwrap();
        assert_eq!(decoded.value["spec"]["ports"][0]["targetPort"], 8080);
        assert_eq!(decoded.value["spec"]["ports"][1]["targetPort"], "web");
    }

    #[test]
    fn times_are_normalised_and_known() {
        let decoded = typed::<Pod>(json!({
            "metadata": {"creationTimestamp": "2026-11-27T14:00:00.123+01:00"}, "spec": null,
        }))
        .unwrap();
        assert_eq!(
            decoded.value["metadata"]["creationTimestamp"],
            "2026-11-27T13:00:00Z"
        );
        assert!(decoded.unknown.is_empty());
    }

    #[test]
    fn empty_lists_are_left_out_but_for_those_that_a_type_requires() {
        let spec =
            json!({"containers": [], "volumes": [], "nodeSelector": {}, "securityContext": {}});
        let decoded = typed::<Pod>(json!({"spec": spec})).unwrap();
        assert_eq!(
            decoded.value["spec"],
            json!({"containers": [], "securityContext": {}})
        );
        let slice = typed::<EndpointSlice>(json!({"addressType": "IPv4", "ports": []})).unwrap();
        assert_eq!(slice.value.get("ports"), None);
    }

    #[test]
    fn lists_of_objects_are_bounded() {
        let many: Value = (0..=MAX_ITEMS).map(|_| json!({})).collect();
        let message = typed::<Pod>(json!({"spec": {"containers": many}}))
            .unwrap_err()
            .0;
        assert_eq!(
            message,
            "spec.containers[20000]: more than 20000 objects in lists"
        );
    }

    proptest! {
        #[test]
        fn decoding_is_idempotent(pod in samples::pod()) {
            let once = typed::<Pod>(pod).unwrap();
            prop_assert!(once.unknown.is_empty());
            let twice = typed::<Pod>(once.value.clone()).unwrap();
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn decoding_anything_never_panics(value in samples::json()) {
            let _ = typed::<Pod>(value.clone());
            let _ = typed::<Pod>(json!({"metadata": value.clone(), "spec": value.clone()}));
            let _ = typed::<Service>(json!({"spec": {"ports": [value]}}));
        }
    }
}
