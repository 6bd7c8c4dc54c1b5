//! Trees of objects in the order in which people read them, with slots for what is chosen.

use crate::slots::{Condition, Slot};

/// A map with its order.
pub(crate) type Map = Vec<(String, Node)>;

/// One place of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A number.
    Number(serde_json::Number),
    /// A text.
    Text(String),
    /// One after the other.
    List(Vec<Node>),
    /// By name.
    Map(Vec<(String, Node)>),
    /// What people choose.
    Slot(Slot),
    /// There only under a condition.
    When(Condition, Box<Node>),
}

impl From<bool> for Node {
    fn from(value: bool) -> Node {
        Node::Bool(value)
    }
}

impl From<i64> for Node {
    fn from(value: i64) -> Node {
        Node::Number(value.into())
    }
}

impl From<&str> for Node {
    fn from(value: &str) -> Node {
        Node::Text(value.to_owned())
    }
}

impl From<String> for Node {
    fn from(value: String) -> Node {
        Node::Text(value)
    }
}

impl From<Slot> for Node {
    fn from(slot: Slot) -> Node {
        Node::Slot(slot)
    }
}

impl<T: Into<Node>> From<Vec<T>> for Node {
    fn from(items: Vec<T>) -> Node {
        Node::List(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Node> + Clone> From<&[T]> for Node {
    fn from(items: &[T]) -> Node {
        items.to_vec().into()
    }
}

impl From<&serde_json::Value> for Node {
    fn from(value: &serde_json::Value) -> Node {
        use serde_json::Value;
        match value {
            Value::Null => Node::Null,
            Value::Bool(value) => Node::Bool(*value),
            Value::Number(number) => Node::Number(number.clone()),
            Value::String(text) => Node::Text(text.clone()),
            Value::Array(items) => Node::List(items.iter().map(Node::from).collect()),
            Value::Object(fields) => Node::Map(
                fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value.into()))
                    .collect(),
            ),
        }
    }
}

impl Node {
    /// The node, there only under a condition.
    pub(crate) fn when(self, condition: Condition) -> Node {
        Node::When(condition, Box::new(self))
    }

    /// A field of a map.
    pub fn get(&self, name: &str) -> Option<&Node> {
        match self {
            Node::Map(fields) => fields.iter().find(|(n, _)| n == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// A map, written as such.
macro_rules! map {
    ($($name:literal: $value:expr),* $(,)?) => {
        $crate::node::Node::Map(vec![$(($name.to_owned(), $crate::node::Node::from($value))),*])
    };
}
pub(crate) use map;
