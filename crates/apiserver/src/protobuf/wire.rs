//! Protobuf's wire format, and the few types that JSON shows in a way of its own.

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::Value;

use super::ProtobufError;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Reads the fields of a message one by one.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Item<'a>)> {
        let head = self.varint()?;
        let item = match head & 7 {
            0 => Item::Number(self.varint()?),
            1 => Item::Bytes(self.take(8)?),
            2 => {
                let length = self.varint()?;
                Item::Bytes(self.take(length)?)
            }
            5 => Item::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((head >> 3, item))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u64, Item<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or(ProtobufError::Malformed))
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError::Malformed)
}

pub(super) fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A message whose only field is its text.
pub(super) fn quantity(bytes: &[u8]) -> Result<String, ProtobufError> {
    for item in Reader::new(bytes) {
        if let (1, Item::Bytes(bytes)) = item? {
            return text(bytes);
        }
    }
    Ok("0".to_owned())
}

/// A message whose only field is a JSON document.
pub(super) fn json(bytes: &[u8]) -> Result<Value, ProtobufError> {
    for item in Reader::new(bytes) {
        if let (1, Item::Bytes(bytes)) = item? {
            return serde_json::from_slice(bytes).map_err(|_| ProtobufError::Malformed);
        }
    }
    Ok(Value::Null)
}

pub(super) fn number_or_text(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut words) = (false, 0, String::new());
    for item in Reader::new(bytes) {
        match item? {
            (1, Item::Number(kind)) => is_text = kind != 0,
            (2, Item::Number(value)) => number = value.cast_signed(),
            (3, Item::Bytes(bytes)) => words = text(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { words.into() } else { number.into() })
}

/// A point in time; nothing if it is not set.
pub(super) fn time(bytes: &[u8], micros: bool) -> Result<Option<Value>, ProtobufError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for item in Reader::new(bytes) {
        match item? {
            (1, Item::Number(number)) => seconds = number.cast_signed(),
            (2, Item::Number(number)) => nanos = i32::try_from(number.cast_signed()).unwrap_or(0),
            _ => {}
        }
    }
    let time = Timestamp::new(seconds, nanos).map_err(|_| ProtobufError::Malformed)?;
    let format = if micros {
        "%Y-%m-%dT%H:%M:%S.%6fZ"
    } else {
        "%Y-%m-%dT%H:%M:%SZ"
    };
    Ok(Some(time.strftime(format).to_string().into()))
}
