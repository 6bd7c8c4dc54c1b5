//! Request bodies in Kubernetes' protobuf encoding, read as JSON.
//!
//! `kubectl create NAME`, drain and other typed Go clients send nothing else. Answers are always
//! JSON, which these clients take as well. What a message holds stands in `schema.txt`, a digest of
//! the published API definitions: a line with a message's name, then a line a field: number, JSON
//! name (`*` for fields that JSON shows in the parent), `list` or `map`, type. A type that ends in
//! `?` may be absent, so that its zero means something; other zeros are what Go writes for nothing.
//! `bodies` holds bodies that kubectl 1.37 sent, each with the JSON of the same command.

pub(crate) mod schema;
mod wire;

use serde_json::{Map, Value, json};

use schema::{Field, Message, Shape, Type};
use wire::{Item, Reader};

/// What opens a body.
const MAGIC: &[u8] = b"k8s\0";
/// Deeper messages than any kind has.
const DEEPEST: usize = 40;

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ProtobufError {
    /// It does not begin as Kubernetes' encoding does.
    #[error("it does not begin with the magic number of Kubernetes' protobuf encoding")]
    Magic,
    /// It ends too early or is otherwise not protobuf.
    #[error("it is cut short or malformed")]
    Malformed,
    /// It is deeper than any object.
    #[error("it is nested too deeply")]
    Deep,
    /// It holds a kind that is not served.
    #[error("it holds a {0}, which this server does not know")]
    Unknown(String),
}

/// Reads a body.
pub(crate) fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for item in Reader::new(envelope) {
        match item? {
            (1, Item::Bytes(types)) => {
                for item in Reader::new(types) {
                    match item? {
                        (1, Item::Bytes(text)) => api_version = wire::text(text)?,
                        (2, Item::Bytes(text)) => kind = wire::text(text)?,
                        _ => {}
                    }
                }
            }
            (2, Item::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let message = schema::message_of(&api_version, &kind)
        .ok_or_else(|| ProtobufError::Unknown(format!("{api_version}, Kind={kind}")))?;
    let mut object = Map::new();
    read_message(message, raw, &mut object, 0)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

fn read_message(
    message: &Message,
    bytes: &[u8],
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > DEEPEST {
        return Err(ProtobufError::Deep);
    }
    for item in Reader::new(bytes) {
        let (number, item) = item?;
        let Some(field) = message.fields.get(&number) else {
            continue; // of a newer version
        };
        read_field(field, item, object, depth)?;
    }
    Ok(())
}

fn read_field(
    field: &Field,
    item: Item<'_>,
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if field.name == "*" {
        if let (Type::Message(inner), Item::Bytes(bytes)) = (&field.kind, item)
            && let Some(inner) = schema::message(inner)
        {
            return read_message(inner, bytes, object, depth + 1);
        }
        return Err(ProtobufError::Malformed);
    }
    match field.shape {
        Shape::One => {
            if let Some(value) = read_value(field, item, depth)?
                && (field.optional || !is_zero(&value))
            {
                object.insert(field.name.clone(), value);
            }
        }
        Shape::List => {
            let list = object.entry(&*field.name).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.extend(read_value(field, item, depth)?);
            }
        }
        Shape::Map => {
            let Item::Bytes(entry) = item else {
                return Err(ProtobufError::Malformed);
            };
            let (mut key, mut value) = (String::new(), None);
            for item in Reader::new(entry) {
                match item? {
                    (1, Item::Bytes(text)) => key = wire::text(text)?,
                    (2, item) => value = read_value(field, item, depth)?,
                    _ => {}
                }
            }
            let map = object.entry(&*field.name).or_insert_with(|| json!({}));
            map[key] = value.unwrap_or_else(|| "".into());
        }
    }
    Ok(())
}

/// What Go writes for a field that cannot be absent and was not given; JSON leaves it out.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    }
}

fn read_value(field: &Field, item: Item<'_>, depth: usize) -> Result<Option<Value>, ProtobufError> {
    Ok(Some(match (&field.kind, item) {
        (Type::Flag, Item::Number(number)) => (number != 0).into(),
        (Type::Number, Item::Number(number)) => number.cast_signed().into(),
        (Type::Text, Item::Bytes(bytes)) => wire::text(bytes)?.into(),
        (Type::Bytes, Item::Bytes(bytes)) => wire::base64(bytes).into(),
        (Type::Quantity, Item::Bytes(bytes)) => wire::quantity(bytes)?.into(),
        (Type::Json, Item::Bytes(bytes)) => wire::json(bytes)?,
        (Type::Texts, Item::Bytes(bytes)) => texts(bytes)?,
        (Type::NumberOrText, Item::Bytes(bytes)) => wire::number_or_text(bytes)?,
        (Type::Time { micros }, Item::Bytes(bytes)) => return wire::time(bytes, *micros),
        (Type::Message(name), Item::Bytes(bytes)) => {
            let message = schema::message(name).ok_or(ProtobufError::Malformed)?;
            let mut object = Map::new();
            read_message(message, bytes, &mut object, depth + 1)?;
            Value::Object(object)
        }
        _ => return Err(ProtobufError::Malformed),
    }))
}

/// The texts of a message that has nothing else.
fn texts(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let mut found = Vec::new();
    for item in Reader::new(bytes) {
        if let (1, Item::Bytes(text)) = item? {
            found.push(Value::from(wire::text(text)?));
        }
    }
    Ok(found.into())
}

#[cfg(test)]
mod tests;
