//! From the JSON of a schema to a [`Schema`], and what is wrong with one that is not structural.

use std::collections::HashMap;

use regex::Regex;
use serde_json::Value;

use super::schema::{Checks, ListType, Schema, Type};
use crate::cel::{Rule, pattern};
use crate::kinds::{FieldError, read};

/// The deepest nesting of a schema.
const DEEPEST: usize = 64;
/// The most regular expressions of one schema.
const MOST_PATTERNS: usize = 512;
/// The most places of one schema.
const MOST: usize = 20_000;

/// A schema that was gone through.
pub(super) struct Compiled {
    pub(super) schema: Schema,
    pub(super) errors: Vec<FieldError>,
    /// Rules that cannot be evaluated: where, which and why.
    pub(super) skipped: Vec<(String, String, String)>,
    /// How many regular expressions it keeps.
    pub(super) patterns: usize,
}

impl Compiled {
    /// Goes through the schema of a whole object.
    pub(super) fn of(path: &str, json: &Value) -> Self {
        let mut compiler = Compiler::default();
        let schema = compiler.root(path, json);
        Self {
            schema,
            errors: compiler.errors,
            skipped: compiler.skipped,
            patterns: compiler.patterns,
        }
    }
}

/// Goes through a schema and collects what is wrong with it.
#[derive(Default)]
struct Compiler {
    errors: Vec<FieldError>,
    skipped: Vec<(String, String, String)>,
    places: usize,
    /// Those of fields; the same one is kept once.
    known: HashMap<String, Regex>,
    /// How many there are, with those of rules.
    patterns: usize,
}

impl Compiler {
    /// The schema of a whole object.
    fn root(&mut self, path: &str, json: &Value) -> Schema {
        if read::text(json, "type") != "object" {
            let place = format!("{path}.type");
            let given = read::text(json, "type");
            self.errors.push(match given {
                "" => FieldError::required(place, "must not be empty at the root"),
                other => FieldError::bad_text(place, other, "must be object at the root"),
            });
        }
        self.schema(path, json, 0)
    }

    fn schema(&mut self, path: &str, json: &Value, depth: usize) -> Schema {
        self.places += 1;
        if depth > DEEPEST || self.places > MOST {
            let what = format!("is deeper than {DEEPEST} or has more than {MOST} places");
            self.errors.push(FieldError::forbidden(path, &what));
            return Schema::default();
        }
        self.refuse(path, json);
        let int_or_text = read::flag(json, "x-kubernetes-int-or-string");
        let preserve = read::flag(json, "x-kubernetes-preserve-unknown-fields");
        let kind = self.kind(path, json, int_or_text);
        if kind == Type::Any && !int_or_text && !preserve {
            let detail = "must not be empty for specified object fields";
            self.errors
                .push(FieldError::required(format!("{path}.type"), detail));
        }
        let mut schema = Schema {
            kind,
            nullable: read::flag(json, "nullable"),
            preserve,
            embedded: read::flag(json, "x-kubernetes-embedded-resource"),
            default: json
                .get("default")
                .filter(|value| !value.is_null())
                .cloned(),
            ..Schema::default()
        };
        self.below(path, json, depth, &mut schema);
        schema.list = self.list(path, json, schema.items.as_deref());
        schema.checks = self.checks(path, json, depth);
        schema.rules = self.rules(path, json);
        schema
    }

    fn kind(&mut self, path: &str, json: &Value, int_or_text: bool) -> Type {
        match read::text(json, "type") {
            "" if int_or_text => Type::IntOrText,
            "" => Type::Any,
            "object" => Type::Object,
            "array" => Type::Array,
            "string" => Type::Text,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "boolean" => Type::Flag,
            other => {
                let known = ["array", "boolean", "integer", "number", "object", "string"];
                let field = format!("{path}.type");
                self.errors
                    .push(FieldError::not_supported(field, other, &known));
                Type::Any
            }
        }
    }

    /// What OpenAPI has and a structural schema may not have.
    fn refuse(&mut self, path: &str, json: &Value) {
        for field in [
            "$ref",
            "definitions",
            "dependencies",
            "patternProperties",
            "additionalItems",
        ] {
            if read::has(json, field) {
                let detail = "must be empty to be structural";
                self.errors
                    .push(FieldError::forbidden(format!("{path}.{field}"), detail));
            }
        }
        if read::flag(json, "uniqueItems") {
            let detail =
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.errors
                .push(FieldError::forbidden(format!("{path}.uniqueItems"), detail));
        }
    }

    fn below(&mut self, path: &str, json: &Value, depth: usize, schema: &mut Schema) {
        for (name, field) in json
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let place = format!("{path}.properties[{name}]");
            let root_metadata = depth == 0 && name == "metadata";
            // What the metadata is like is known; a schema may only restrict the name.
            let compiled = match root_metadata {
                true => Schema {
                    checks: self.checks(&place, field, depth + 1),
                    kind: Type::Object,
                    preserve: true,
                    ..Schema::default()
                },
                false => self.schema(&place, field, depth + 1),
            };
            schema.properties.insert(name.clone(), compiled);
        }
        match json.get("additionalProperties") {
            Some(Value::Bool(true)) => schema.preserve = true,
            Some(Value::Object(_)) if schema.properties.is_empty() => {
                let place = format!("{path}.additionalProperties");
                let inner = self.schema(&place, &json["additionalProperties"], depth + 1);
                schema.additional = Some(Box::new(inner));
            }
            Some(Value::Object(_)) => {
                let detail = "additionalProperties and properties are mutual exclusive";
                self.errors.push(FieldError::forbidden(
                    format!("{path}.additionalProperties"),
                    detail,
                ));
            }
            _ => {}
        }
        match json.get("items") {
            Some(items @ Value::Object(_)) => {
                let inner = self.schema(&format!("{path}.items"), items, depth + 1);
                schema.items = Some(Box::new(inner));
            }
            Some(Value::Array(_)) => {
                let detail = "items must be a schema object and not an array";
                self.errors
                    .push(FieldError::forbidden(format!("{path}.items"), detail));
            }
            _ if schema.kind == Type::Array => {
                let detail = "must be specified";
                self.errors
                    .push(FieldError::required(format!("{path}.items"), detail));
            }
            _ => {}
        }
    }

    fn list(&mut self, path: &str, json: &Value, items: Option<&Schema>) -> ListType {
        let place = format!("{path}.x-kubernetes-list-type");
        match read::text(json, "x-kubernetes-list-type") {
            "" | "atomic" => ListType::Atomic,
            "set" => ListType::Set,
            "map" => {
                let keys: Vec<String> = read::texts(json, "x-kubernetes-list-map-keys")
                    .into_iter()
                    .map(str::to_owned)
                    .collect();
                let keys_at = format!("{path}.x-kubernetes-list-map-keys");
                if keys.is_empty() {
                    let detail = "must not be empty if x-kubernetes-list-type is map";
                    self.errors.push(FieldError::required(keys_at, detail));
                } else if let Some(unknown) = keys
                    .iter()
                    .find(|key| !items.is_some_and(|items| items.properties.contains_key(*key)))
                {
                    let detail = "entries must all be names of item properties";
                    self.errors
                        .push(FieldError::bad_text(keys_at, unknown, detail));
                }
                ListType::Map(keys)
            }
            other => {
                let known = ["atomic", "set", "map"];
                self.errors
                    .push(FieldError::not_supported(place, other, &known));
                ListType::Atomic
            }
        }
    }

    fn checks(&mut self, path: &str, json: &Value, depth: usize) -> Checks {
        let number = |field: &str| json.get(field).and_then(Value::as_f64);
        let count = |field: &str| json.get(field).and_then(Value::as_u64);
        let texts = |field: &str| {
            read::texts(json, field)
                .into_iter()
                .map(str::to_owned)
                .collect()
        };
        let format = read::text(json, "format");
        let bound = |field, exclusive| number(field).map(|at| (at, read::flag(json, exclusive)));
        Checks {
            format: (!format.is_empty()).then(|| format.to_owned()),
            required: texts("required"),
            any_value: read::list(json, "enum").to_vec(),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: number("multipleOf").filter(|number| *number > 0.0),
            length: (count("minLength"), count("maxLength")),
            items: (count("minItems"), count("maxItems")),
            fields: (count("minProperties"), count("maxProperties")),
            unique: read::flag(json, "uniqueItems"),
            pattern: self.pattern(path, json),
            all_of: self.logical(path, json, "allOf", depth),
            any_of: self.logical(path, json, "anyOf", depth),
            one_of: self.logical(path, json, "oneOf", depth),
            not: json
                .get("not")
                .map(|not| Box::new(self.part(&format!("{path}.not"), not, depth + 1))),
        }
    }

    fn pattern(&mut self, path: &str, json: &Value) -> Option<(String, Regex)> {
        let pattern = read::text(json, "pattern");
        if pattern.is_empty() {
            return None;
        }
        if let Some(known) = self.known.get(pattern) {
            return Some((pattern.to_owned(), known.clone()));
        }
        if !self.has_room(path, 1) {
            return None;
        }
        match pattern::compile(pattern) {
            Ok(compiled) => {
                self.known.insert(pattern.to_owned(), compiled.clone());
                Some((pattern.to_owned(), compiled))
            }
            Err(error) => {
                let detail = format!("must be a valid regular expression, but isn't: {error}");
                let field = format!("{path}.pattern");
                self.errors
                    .push(FieldError::bad_text(field, pattern, &detail));
                None
            }
        }
    }

    /// Whether so many more regular expressions are not too many.
    fn has_room(&mut self, path: &str, more: usize) -> bool {
        self.patterns += more;
        if self.patterns > MOST_PATTERNS {
            let what = format!("the schema has more than {MOST_PATTERNS} regular expressions");
            self.errors.push(FieldError::forbidden(path, &what));
        }
        self.patterns <= MOST_PATTERNS
    }

    fn logical(&mut self, path: &str, json: &Value, name: &str, depth: usize) -> Vec<Schema> {
        let parts = read::list(json, name).iter().enumerate();
        parts
            .map(|(at, part)| self.part(&format!("{path}.{name}[{at}]"), part, depth + 1))
            .collect()
    }

    /// A logical part: checks of values, here and below.
    fn part(&mut self, path: &str, json: &Value, depth: usize) -> Schema {
        self.places += 1;
        if depth > DEEPEST || self.places > MOST {
            let what = format!("is deeper than {DEEPEST} or has more than {MOST} places");
            self.errors.push(FieldError::forbidden(path, &what));
            return Schema::default();
        }
        for field in ["default", "nullable", "additionalProperties", "description"] {
            if field != "description" && read::has(json, field) {
                let detail = "must be empty to be structural";
                self.errors
                    .push(FieldError::forbidden(format!("{path}.{field}"), detail));
            }
        }
        let fields = json.get("properties").and_then(Value::as_object);
        let properties = fields.into_iter().flatten().map(|(name, field)| {
            let place = format!("{path}.properties[{name}]");
            (name.clone(), self.part(&place, field, depth + 1))
        });
        let properties = properties.collect();
        let items = json.get("items").filter(|items| items.is_object());
        let items =
            items.map(|items| Box::new(self.part(&format!("{path}.items"), items, depth + 1)));
        Schema {
            // The types of an int-or-string stand in its `anyOf`.
            kind: self.kind(path, json, false),
            properties,
            items,
            checks: self.checks(path, json, depth),
            ..Schema::default()
        }
    }

    fn rules(&mut self, path: &str, json: &Value) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (at, rule) in read::list(json, "x-kubernetes-validations")
            .iter()
            .enumerate()
        {
            let place = format!("{path}.x-kubernetes-validations[{at}]");
            match Rule::parse(rule) {
                Ok(rule) => {
                    if self.has_room(&place, rule.patterns()) {
                        rules.push(rule);
                    }
                }
                Err(why) => {
                    let text = read::text(rule, "rule").to_owned();
                    self.skipped.push((place, text, why.to_string()));
                }
            }
        }
        rules
    }
}
