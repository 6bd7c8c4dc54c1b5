//! Slots: places that people fill. Each is filled from [`Values`], or written as a template expression
//! that gives the same.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::node::Node;
use crate::objects::VERSION;
use crate::settings::{self, Kind};
use crate::values::Values;

/// A place that is filled by values; paths are those of [`settings`].
#[derive(Clone, Debug, PartialEq)]
pub enum Slot {
    /// A value as it is.
    Value(&'static str),
    /// A value in the form of an environment variable; empty when it is not given.
    Variable(&'static str),
    /// The opposite of a switch, as an environment variable.
    Opposite(&'static str),
    /// The image's name.
    Image,
    /// One text or another, by a switch.
    Choice(&'static str, &'static str, &'static str),
    /// One number or another, by a switch.
    Number(&'static str, i64, i64),
    /// A digest of texts: it changes with any of them.
    Digest(Vec<Node>),
}

/// When something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A switch is on.
    On(&'static str),
    /// A list or map is not empty.
    Given(&'static str),
    /// Helm does not make the namespace itself.
    OwnNamespace,
}

impl Condition {
    pub(crate) fn holds(self, values: &Values) -> bool {
        match self {
            Condition::On(path) => values.switch(path),
            Condition::Given(path) => match values.get(path) {
                Value::Array(items) => !items.is_empty(),
                Value::Object(fields) => !fields.is_empty(),
                _ => false,
            },
            Condition::OwnNamespace => true,
        }
    }

    pub(crate) fn expression(self) -> String {
        match self {
            Condition::On(path) | Condition::Given(path) => format!(".Values.{path}"),
            Condition::OwnNamespace => {
                format!("ne .Release.Namespace {:?}", crate::NAMESPACE)
            }
        }
    }
}

impl Slot {
    /// What the slot holds with these values.
    pub(crate) fn fill(&self, values: &Values) -> Node {
        match self {
            Slot::Value(path) => Node::from(values.get(path)),
            Slot::Number(path, on, off) => Node::from(if values.switch(path) { *on } else { *off }),
            text => Node::Text(text.filled_text(values)),
        }
    }

    fn filled_text(&self, values: &Values) -> String {
        match self {
            Slot::Variable(path) => variable(values.get(path)),
            Slot::Opposite(path) => (!values.switch(path)).to_string(),
            Slot::Image => {
                let tag = match variable(values.get("image.tag")) {
                    tag if tag.is_empty() => VERSION.to_owned(),
                    tag => tag,
                };
                format!("{}:{tag}", variable(values.get("image.repository")))
            }
            Slot::Choice(path, on, off) => (if values.switch(path) { on } else { off }).to_string(),
            Slot::Digest(parts) => {
                let texts: Vec<String> = parts.iter().map(|part| text_of(part, values)).collect();
                hex(&Sha256::digest(texts.join("\n")))
            }
            Slot::Value(_) | Slot::Number(..) => String::new(),
        }
    }

    /// The template expression, without braces; it gives YAML that fits on a line, or a text if the
    /// slot is one.
    pub(crate) fn expression(&self) -> String {
        match self {
            Slot::Value(path) => format!(".Values.{path} | toJson"),
            Slot::Number(path, on, off) => format!("ternary {on} {off} .Values.{path}"),
            text => format!("{} | toJson", text.text_expression()),
        }
    }

    fn text_expression(&self) -> String {
        match self {
            Slot::Variable(path) => match settings::find(path).map(|setting| setting.kind) {
                Some(Kind::Texts(_)) => format!("join \",\" .Values.{path}"),
                Some(Kind::Number { .. }) => {
                    format!("ternary \"\" (toJson .Values.{path}) (empty .Values.{path})")
                }
                Some(Kind::Switch) => format!("toString .Values.{path}"),
                _ => format!("toString (default \"\" .Values.{path})"),
            },
            Slot::Opposite(path) => format!("toString (not .Values.{path})"),
            Slot::Image => "printf \"%s:%s\" .Values.image.repository \
                            (default .Chart.AppVersion .Values.image.tag)"
                .to_owned(),
            Slot::Choice(path, on, off) => format!("ternary {on:?} {off:?} .Values.{path}"),
            Slot::Digest(parts) => {
                let parts: Vec<String> = parts.iter().map(part_expression).collect();
                format!("join \"\\n\" (list {}) | sha256sum", parts.join(" "))
            }
            Slot::Value(_) | Slot::Number(..) => String::new(),
        }
    }
}

fn text_of(part: &Node, values: &Values) -> String {
    match part {
        Node::Slot(slot) => slot.filled_text(values),
        Node::Text(text) => text.clone(),
        _ => String::new(),
    }
}

fn part_expression(part: &Node) -> String {
    match part {
        Node::Slot(slot) => format!("({})", slot.text_expression()),
        Node::Text(text) => format!("{text:?}"),
        _ => "\"\"".to_owned(),
    }
}

/// A value in the form of an environment variable.
fn variable(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(variable).collect();
            items.join(",")
        }
        other => other.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _always = write!(text, "{byte:02x}");
        text
    })
}
