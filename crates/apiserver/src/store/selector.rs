//! Label and field selectors: their text form and what they match.

use crate::kinds::Kind;

use super::object::Object;

/// How many conditions a selector may have: each is looked at for each object and each change.
const MAX_CONDITIONS: usize = 256;

/// One condition on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
    Greater(String, i64),
    Less(String, i64),
}

/// Which field a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Name,
    Namespace,
    /// The place in the kind's list of selectable fields.
    Of(usize),
}

/// One condition on a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldRequirement {
    field: Field,
    equal: bool,
    value: String,
}

/// What a list or watch is restricted to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) labels: Vec<Requirement>,
    pub(crate) fields: Vec<FieldRequirement>,
}

impl Requirement {
    fn matches(&self, object: &Object) -> bool {
        match self {
            Self::In(key, values) => object
                .label(key)
                .is_some_and(|label| values.iter().any(|value| value == label)),
            Self::NotIn(key, values) => object
                .label(key)
                .is_none_or(|label| values.iter().all(|value| value != label)),
            Self::Exists(key) => object.label(key).is_some(),
            Self::Missing(key) => object.label(key).is_none(),
            Self::Greater(key, bound) => number(object, key).is_some_and(|label| label > *bound),
            Self::Less(key, bound) => number(object, key).is_some_and(|label| label < *bound),
        }
    }
}

fn number(object: &Object, key: &str) -> Option<i64> {
    object.label(key)?.parse().ok()
}

impl FieldRequirement {
    fn matches(&self, object: &Object) -> bool {
        let actual = match self.field {
            Field::Name => object.key.name.as_ref(),
            Field::Namespace => object.key.namespace.as_ref(),
            Field::Of(at) => object.fields.get(at).map_or("", AsRef::as_ref),
        };
        (actual == self.value) == self.equal
    }
}

impl Filter {
    /// Whether the object passes.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == *object.key.namespace)
            && self
                .name
                .as_ref()
                .is_none_or(|name| *name == *object.key.name)
            && self.labels.iter().all(|one| one.matches(object))
            && self.fields.iter().all(|one| one.matches(object))
    }

    /// Whether objects of the namespace can fail to pass.
    pub(crate) fn selects(&self) -> bool {
        self.name.is_some() || !self.labels.is_empty() || !self.fields.is_empty()
    }
}

/// Reads a field selector: `metadata.name=x,spec.nodeName!=y`.
pub(crate) fn parse_fields(kind: &Kind, text: &str) -> Result<Vec<FieldRequirement>, String> {
    let mut found = Vec::new();
    for part in split_unescaped(text, ',') {
        if part.is_empty() {
            continue;
        }
        let (path, equal, value) = split_operator(&part)
            .ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{part}'"))?;
        let field = match path {
            "metadata.name" => Field::Name,
            "metadata.namespace" => Field::Namespace,
            other => kind
                .selectable
                .iter()
                .position(|selectable| selectable.path == other)
                .map(Field::Of)
                .ok_or_else(|| unknown_field(kind, other))?,
        };
        found.push(FieldRequirement {
            field,
            equal,
            value: unescape(value),
        });
    }
    bounded(found)
}

fn unknown_field(kind: &Kind, path: &str) -> String {
    let mut known = vec!["metadata.name", "metadata.namespace"];
    known.extend(kind.selectable.iter().map(|field| field.path));
    format!(
        "field label not supported: {path} (supported for {}: {})",
        kind.plural,
        known.join(", ")
    )
}

fn split_operator(part: &str) -> Option<(&str, bool, &str)> {
    let at = part.find(['=', '!'])?;
    let (path, rest) = part.split_at(at);
    for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some(value) = rest.strip_prefix(operator) {
            return Some((path.trim(), equal, value));
        }
    }
    None
}

fn split_unescaped(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for character in text.chars() {
        if character == separator && !escaped {
            parts.push(String::new());
            continue;
        }
        escaped = character == '\\' && !escaped;
        if let Some(last) = parts.last_mut() {
            last.push(character);
        }
    }
    parts
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => characters.next().unwrap_or('\\'),
            other => other,
        });
    }
    plain
}

/// Reads a label selector: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
pub(crate) fn parse_labels(text: &str) -> Result<Vec<Requirement>, String> {
    let mut found = Vec::new();
    for part in split_outside_parentheses(text) {
        let part = part.trim();
        if part.is_empty() && text.trim().is_empty() {
            continue;
        }
        let requirement = requirement(part)
            .ok_or_else(|| format!("unable to parse requirement: {part:?} of selector {text:?}"))?;
        found.push(requirement);
    }
    bounded(found)
}

fn bounded<T>(conditions: Vec<T>) -> Result<Vec<T>, String> {
    match conditions.len() {
        0..=MAX_CONDITIONS => Ok(conditions),
        many => Err(format!(
            "a selector of {many} conditions; at most {MAX_CONDITIONS} are supported"
        )),
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(part: &str) -> Option<Requirement> {
    if let Some(key) = part.strip_prefix('!') {
        return Some(Requirement::Missing(label_key(key)?));
    }
    if let Some((head, values)) = part.split_once('(') {
        let values = values.trim_end().strip_suffix(')')?;
        let values: Vec<String> = values.split(',').map(|v| v.trim().to_owned()).collect();
        if !values.iter().all(|value| is_value(value)) {
            return None;
        }
        let (key, operator) = head.trim_end().rsplit_once(char::is_whitespace)?;
        return match operator {
            "in" => Some(Requirement::In(label_key(key)?, values)),
            "notin" => Some(Requirement::NotIn(label_key(key)?, values)),
            _ => None,
        };
    }
    let Some(at) = part.find(['=', '!', '<', '>']) else {
        return Some(Requirement::Exists(label_key(part)?));
    };
    let key = label_key(&part[..at])?;
    let rest = &part[at..];
    if let Some(bound) = rest.strip_prefix('>') {
        return Some(Requirement::Greater(key, bound.trim().parse().ok()?));
    }
    if let Some(bound) = rest.strip_prefix('<') {
        return Some(Requirement::Less(key, bound.trim().parse().ok()?));
    }
    for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some(value) = rest.strip_prefix(operator) {
            let value = value.trim();
            return is_value(value).then(|| match equal {
                true => Requirement::In(key, vec![value.to_owned()]),
                false => Requirement::NotIn(key, vec![value.to_owned()]),
            });
        }
    }
    None
}

fn label_key(text: &str) -> Option<String> {
    let key = text.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (!key.is_empty() && key.len() <= 317 && key.chars().all(legal)).then(|| key.to_owned())
}

fn is_value(value: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    value.len() <= 63 && value.chars().all(legal)
}
