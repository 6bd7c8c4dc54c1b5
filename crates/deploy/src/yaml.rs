//! From trees to YAML, and to YAML templates: slots that are still there become expressions.

use std::fmt::Write as _;

use crate::node::Node;
use crate::settings::{self, Kind};
use crate::slots::Slot;
use crate::values::Values;

/// The tree with every slot filled; nothing if its condition does not hold.
pub(crate) fn filled(node: &Node, values: &Values) -> Option<Node> {
    Some(match node {
        Node::Slot(slot) => slot.fill(values),
        Node::When(condition, inner) => {
            return condition
                .holds(values)
                .then(|| filled(inner, values))
                .flatten();
        }
        Node::List(items) => Node::List(items.iter().filter_map(|i| filled(i, values)).collect()),
        Node::Map(fields) => Node::Map(
            fields
                .iter()
                .filter_map(|(name, node)| Some((name.clone(), filled(node, values)?)))
                .collect(),
        ),
        literal => literal.clone(),
    })
}

/// A document's text; with slots left it is a template.
pub(crate) fn document(node: &Node) -> String {
    let mut text = String::new();
    match node {
        Node::When(condition, inner) => {
            let _always = writeln!(text, "{{{{- if {} }}}}", condition.expression());
            text.push_str(&document(inner));
            text.push_str("{{- end }}\n");
        }
        Node::Map(fields) => write_map(&mut text, fields, 0),
        other => {
            let _always = writeln!(text, "{}", inline(other));
        }
    }
    text
}

fn write_map(text: &mut String, fields: &[(String, Node)], indent: usize) {
    for (name, node) in fields {
        guarded(text, node, &mut |text, node| {
            let _always = write!(text, "{:indent$}{}:", "", scalar(name));
            write_value(text, node, indent);
        });
    }
}

/// Writes what is there under a condition between the lines that say so.
fn guarded(text: &mut String, node: &Node, write: &mut dyn FnMut(&mut String, &Node)) {
    match node {
        Node::When(condition, inner) => {
            let _always = writeln!(text, "{{{{- if {} }}}}", condition.expression());
            write(text, inner);
            text.push_str("{{- end }}\n");
        }
        node => write(text, node),
    }
}

/// What comes after `name:`, with the end of its line.
fn write_value(text: &mut String, node: &Node, indent: usize) {
    match node {
        Node::Map(fields) if !fields.is_empty() => {
            text.push('\n');
            write_map(text, fields, indent + 2);
        }
        Node::List(items) if !items.is_empty() => {
            text.push('\n');
            write_list(text, items, indent);
        }
        Node::Slot(Slot::Value(path)) if is_tree(path) => {
            let depth = indent + 2;
            let _always = writeln!(
                text,
                "\n{:depth$}{{{{- .Values.{path} | toYaml | nindent {depth} }}}}",
                ""
            );
        }
        other => {
            let _always = writeln!(text, " {}", inline(other));
        }
    }
}

fn write_list(text: &mut String, items: &[Node], indent: usize) {
    for item in items {
        guarded(text, item, &mut |text, item| {
            let _always = write!(text, "{:indent$}-", "");
            match item {
                Node::Map(fields) if !fields.is_empty() => {
                    let mut inner = String::new();
                    write_map(&mut inner, fields, indent + 2);
                    let _always = write!(text, " {}", inner.trim_start_matches(' '));
                }
                other => {
                    let _always = writeln!(text, " {}", inline(other));
                }
            }
        });
    }
}

fn is_tree(path: &str) -> bool {
    let kind = settings::find(path).map(|setting| setting.kind);
    matches!(kind, Some(Kind::Map | Kind::Maps))
}

/// What fits on a line.
fn inline(node: &Node) -> String {
    match node {
        Node::Null => "null".to_owned(),
        Node::Bool(value) => value.to_string(),
        Node::Number(number) => number.to_string(),
        Node::Text(text) => scalar(text),
        Node::Slot(slot) => format!("{{{{ {} }}}}", slot.expression()),
        Node::When(_, inner) => inline(inner),
        Node::List(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Node::Map(fields) => {
            let fields = fields.iter();
            let fields: Vec<String> = fields
                .map(|(name, node)| format!("{}: {}", scalar(name), inline(node)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

/// A text as it is, or in quotes where YAML would take it for something else.
fn scalar(text: &str) -> String {
    let first = text.bytes().next();
    let starts_well = first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'/');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    const WORDS: [&str; 10] = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan",
    ];
    let is_word = WORDS.contains(&text.to_ascii_lowercase().as_str());
    match starts_well && text.bytes().all(plain) && !is_word {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::map;

    #[test]
    fn texts_that_mean_something_else_are_quoted() {
        for (text, expected) in [
            ("routed", "routed"),
            ("/run/seaway", "/run/seaway"),
            ("10%", "\"10%\""),
            ("5", "\"5\""),
            ("true", "\"true\""),
            ("No", "\"No\""),
            ("", "\"\""),
            ("a: b", "\"a: b\""),
            ("[::]:10256", "\"[::]:10256\""),
            ("*", "\"*\""),
        ] {
            assert_eq!(scalar(text), expected);
        }
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let tree = map! {
            "a": map! {"b": vec![map! {"c": 1, "d": vec!["x", "1", ""]}, map! {"e": true}]},
            "empty": Node::Map(vec![]), "none": Node::List(vec![]), "null": Node::Null,
            "app/x y": "{{ no template }}\n\"quoted\"",
        };
        let read: serde_json::Value = serde_saphyr::from_str(&document(&tree)).expect("YAML");
        let expected = serde_json::json!({
            "a": {"b": [{"c": 1, "d": ["x", "1", ""]}, {"e": true}]},
            "empty": {}, "none": [], "null": null, "app/x y": "{{ no template }}\n\"quoted\"",
        });
        assert_eq!(read, expected);
    }
}
