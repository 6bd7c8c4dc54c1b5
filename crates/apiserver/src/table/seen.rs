//! Reading of an object only what its cells look at: the rest would cost more than the cells.

use std::fmt;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What is looked at; of a list, in each of its items.
#[derive(Debug)]
pub(crate) enum Seen {
    /// Everything.
    All,
    /// These fields of an object.
    Fields(&'static [(&'static str, Seen)]),
}

impl Seen {
    /// Reads what is looked at.
    pub(super) fn read(&'static self, json: &[u8]) -> serde_json::Result<Value> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        Reader(self).deserialize(&mut reader)
    }
}

struct Reader(&'static Seen);

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match self.0 {
            Seen::All => Value::deserialize(from),
            Seen::Fields(_) => from.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Reader(self.0))? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let wanted = match self.0 {
            Seen::Fields(wanted) => *wanted,
            Seen::All => &[],
        };
        let mut object = Map::new();
        while let Some(found) = fields.next_key_seed(Name(wanted))? {
            match found {
                Some((name, seen)) => {
                    let value = fields.next_value_seed(Reader(seen))?;
                    object.insert((*name).to_owned(), value);
                }
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(object.into())
    }
}

/// Finds a field by its name.
struct Name(&'static [(&'static str, Seen)]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static (&'static str, Seen)>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static (&'static str, Seen)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|(wanted, _)| *wanted == name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_looked_at_is_read() {
        static SEEN: Seen = Seen::Fields(&[
            ("a", Seen::All),
            ("l", Seen::Fields(&[("x", Seen::All)])),
            ("n", Seen::Fields(&[])),
        ]);
        let json = json!({"a": {"b": [1, -1, 0.5]}, "c": {"d": 1}, "l": [{"x": 1, "y": 2}, "z", true, null],
            "n": {"m": 1}, "\u{e9}\"": 1});
        assert_eq!(
            SEEN.read(json.to_string().as_bytes()).unwrap(),
            json!({"a": {"b": [1, -1, 0.5]}, "l": [{"x": 1}, "z", true, null], "n": {}})
        );
    }
}
