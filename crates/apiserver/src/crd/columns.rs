//! Paths into objects, as printer columns, selectable fields and scales name them.

use jiff::Timestamp;
use serde_json::Value;

use crate::table::age;

/// The most steps of a path.
const MOST: usize = 64;

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    /// From the end if negative.
    Index(i64),
    /// All items or fields.
    All,
    /// The items of which a field is this text.
    Equal(Vec<String>, Value),
}

/// A path such as `.status.conditions[?(@.type=="Ready")].status`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path(Vec<Step>);

impl Path {
    /// Reads a path; the error says what is not understood.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        if !rest.starts_with(['.', '[']) {
            return Err(format!("{text:?} must begin with a dot"));
        }
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = step(rest).ok_or_else(|| format!("cannot understand {rest:?}"))?;
            steps.push(step);
            rest = after;
            if steps.len() > MOST {
                return Err(format!("more than {MOST} steps"));
            }
        }
        Ok(Self(steps))
    }

    /// Whether it is a chain of fields, which can be written to.
    pub(crate) fn fields(&self) -> Option<Vec<&str>> {
        let fields = self.0.iter().map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            _ => None,
        });
        fields.collect()
    }

    /// The first value at the path.
    pub(crate) fn get<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        find(&self.0, object)
    }
}

fn find<'a>(steps: &[Step], value: &'a Value) -> Option<&'a Value> {
    let Some((step, rest)) = steps.split_first() else {
        return Some(value);
    };
    match (step, value) {
        (Step::Field(name), _) => find(rest, value.get(name)?),
        (Step::Index(at), Value::Array(items)) => {
            let at = match *at < 0 {
                true => items
                    .len()
                    .checked_sub(usize::try_from(at.unsigned_abs()).ok()?)?,
                false => usize::try_from(*at).ok()?,
            };
            find(rest, items.get(at)?)
        }
        (Step::All, Value::Array(items)) => items.iter().find_map(|item| find(rest, item)),
        (Step::All, Value::Object(fields)) => fields.values().find_map(|item| find(rest, item)),
        (Step::Equal(path, wanted), Value::Array(items)) => items
            .iter()
            .filter(|item| {
                let field = path.iter().try_fold(*item, |at, name| at.get(name));
                field == Some(wanted)
            })
            .find_map(|item| find(rest, item)),
        _ => None,
    }
}

fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix("[?(") {
        let (inner, rest) = rest.split_once(")]")?;
        let (path, wanted) = inner.split_once("==")?;
        let path = path.trim().strip_prefix("@.")?;
        let path = path.split('.').map(str::to_owned).collect();
        return Some((Step::Equal(path, literal(wanted.trim())?), rest));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, rest) = rest.split_once(']')?;
        let inner = inner.trim();
        let step = match inner {
            "*" => Step::All,
            _ if inner.starts_with(['\'', '"']) => {
                Step::Field(literal(inner)?.as_str()?.to_owned())
            }
            _ => Step::Index(inner.parse().ok()?),
        };
        return Some((step, rest));
    }
    let text = text.strip_prefix('.')?;
    if let Some(rest) = text.strip_prefix('*') {
        return Some((Step::All, rest));
    }
    let (mut name, mut characters) = (String::new(), text.char_indices());
    let mut end = text.len();
    while let Some((at, character)) = characters.next() {
        match character {
            // Dots in names are written with a backslash.
            '\\' => name.push(characters.next()?.1),
            '.' | '[' => {
                end = at;
                break;
            }
            _ => name.push(character),
        }
    }
    (!name.is_empty()).then(|| (Step::Field(name), &text[end..]))
}

fn literal(text: &str) -> Option<Value> {
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote) {
            return Some(inner.strip_suffix(quote)?.into());
        }
    }
    serde_json::from_str(text).ok()
}

/// A column of `kubectl get`.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) kind: String,
    pub(crate) path: Path,
}

impl Column {
    /// The cell of an object: null where the value is missing or of another type.
    pub(crate) fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let Some(value) = self.path.get(object).filter(|value| !value.is_null()) else {
            return Value::Null;
        };
        match (self.kind.as_str(), value) {
            ("string", Value::String(text)) => text.as_str().into(),
            ("string", other) => other.to_string().into(),
            ("date", Value::String(time)) => age::since(time, now).into(),
            ("integer", Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => number.into(),
                (None, Some(number)) => (number as i64).into(),
                _ => Value::Null,
            },
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
            _ => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find_what_kubectl_users_expect() {
        let object = json!({
            "metadata": {"annotations": {"a.b/c": "x"}},
            "spec": {"hosts": ["a", "b"], "n": 3},
            "status": {"conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        for (path, expected) in [
            (".spec.n", Some(json!(3))),
            (".spec.hosts", Some(json!(["a", "b"]))),
            (".spec.hosts[1]", Some(json!("b"))),
            (".spec.hosts[-1]", Some(json!("b"))),
            (".spec.hosts[-3]", None),
            (".spec.hosts[*]", Some(json!("a"))),
            (
                ".status.conditions[?(@.type==\"Ready\")].status",
                Some(json!("True")),
            ),
            (".status.conditions[?(@.type=='No')].status", None),
            (".metadata.annotations['a.b/c']", Some(json!("x"))),
            (".metadata.annotations.a\\.b/c", Some(json!("x"))),
            (".no.such", None),
        ] {
            assert_eq!(
                Path::parse(path).unwrap().get(&object).cloned(),
                expected,
                "{path}"
            );
        }
        for bad in ["spec", "", ".", ".a[", ".a[?(x)]", ".a..b", ".a[x]"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cells_have_the_type_of_their_column() {
        let object = json!({"s": "x", "i": 2, "f": 1.5, "l": ["a"], "t": "1970-01-01T00:00:00Z"});
        let now = Timestamp::from_second(300).unwrap();
        for (kind, path, expected) in [
            ("string", ".s", json!("x")),
            ("string", ".i", json!("2")),
            ("string", ".l", json!("[\"a\"]")),
            ("integer", ".i", json!(2)),
            ("integer", ".f", json!(1)),
            ("integer", ".s", Value::Null),
            ("number", ".f", json!(1.5)),
            ("boolean", ".s", Value::Null),
            ("date", ".t", json!("5m")),
            ("string", ".none", Value::Null),
        ] {
            let column = Column {
                kind: kind.into(),
                path: Path::parse(path).unwrap(),
            };
            assert_eq!(column.cell(&object, now), expected, "{kind} {path}");
        }
    }
}
