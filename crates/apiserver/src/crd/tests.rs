//! Definitions, schemas and what they make of objects.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::compile::Compiled;
use super::definition::{validate, warnings};
use super::schema::Schema;
use super::{check, prune};
use crate::kinds::samples;

/// A definition with this schema of its spec.
pub(crate) fn definition(spec: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList", "shortNames": ["wd"] },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": spec } } },
            }],
        },
    })
}

fn schema(json: &Value) -> Schema {
    let whole = json!({ "type": "object", "properties": { "spec": json } });
    let compiled = Compiled::of("s", &whole);
    assert_eq!(compiled.errors, []);
    assert_eq!(compiled.skipped, []);
    compiled.schema
}

fn faults(schema: &Schema, new: &Value, old: Option<&Value>) -> Vec<String> {
    let whole = |spec: &Value| json!({ "spec": spec });
    let errors = check::check(schema, &whole(new), old.map(whole).as_ref());
    errors
        .iter()
        .map(|error| format!("{}: {}", error.field, error.message))
        .collect()
}

#[test]
fn values_are_checked_in_the_words_of_kubernetes() {
    let cases = [
        (
            json!({"type": "integer"}),
            json!("x"),
            "spec: Invalid value: \"string\": spec in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "spec: Invalid value: 0: spec in body should be greater than or equal to 1",
        ),
        (
            json!({"type": "integer", "maximum": 5}),
            json!(6),
            "spec: Invalid value: 6: spec in body should be less than or equal to 5",
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(3_000_000_000_u64),
            "spec: Invalid value: 3000000000: spec in body must be of type int32: 3000000000",
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            "spec: Unsupported value: \"c\": supported values: \"a\", \"b\"",
        ),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            "spec: Invalid value: \"b\": spec in body should match '^a+$'",
        ),
        (
            json!({"type": "string", "maxLength": 1}),
            json!("bb"),
            "spec: Too long: may not be more than 1 bytes",
        ),
        (
            json!({"type": "string", "minLength": 1}),
            json!(""),
            "spec: Invalid value: \"\": spec in body should be at least 1 chars long",
        ),
        (
            json!({"type": "string", "format": "ipv4"}),
            json!("x"),
            "spec: Invalid value: \"x\": spec in body must be of type ipv4: \"x\"",
        ),
        (
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}),
            json!({}),
            "spec.a: Required value",
        ),
    ];
    for (json, value, expected) in cases {
        assert_eq!(faults(&schema(&json), &value, None), [expected], "{json}");
    }
}

#[test]
fn lists_objects_and_logic_are_checked_in_the_words_of_kubernetes() {
    let cases = [
        (
            json!({"type": "array", "maxItems": 1, "items": {"type": "integer"}}),
            json!([1, 2]),
            "spec: Too many: 2: must have at most 1 items",
        ),
        (
            json!({"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}}),
            json!({}),
            "spec: Invalid value: 0: spec in body should have at least 1 properties",
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
            json!(["a", "a"]),
            "spec[1]: Duplicate value: \"a\"",
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "properties": {"name": {"type": "string"}}}}),
            json!([{"name": "a"}, {"name": "a"}]),
            "spec[1]: Duplicate value: {\"name\":\"a\"}",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({"a": "", "b": ""}),
            "spec: Invalid value: \"object\": \"spec\" must validate one and only one schema (oneOf). Found more than one valid",
        ),
        (
            json!({"type": "string", "not": {"enum": ["a"]}}),
            json!("a"),
            "spec: Invalid value: \"a\": \"spec\" must not validate the schema (not)",
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            "spec: Invalid value: \"boolean\": spec in body must be of type integer or string: \"boolean\"",
        ),
        (
            json!({"type": "string"}),
            Value::Null,
            "spec: Invalid value: \"null\": spec in body must be of type string: \"null\"",
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
            json!({"kind": "A"}),
            "spec.apiVersion: Required value: must not be empty",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "integer"}}, "x-kubernetes-validations": [{"rule": "self.a > 1", "message": "more"}]}),
            json!({"a": 1}),
            "spec: Invalid value: \"object\": more",
        ),
    ];
    for (json, value, expected) in cases {
        assert_eq!(faults(&schema(&json), &value, None), [expected], "{json}");
    }
    for (json, value) in [
        (
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
            json!("50%"),
        ),
        (json!({"type": "string", "nullable": true}), Value::Null),
        (json!({"type": "number"}), json!(1)),
        (json!({"type": "integer"}), json!(1.0)),
        (
            json!({"x-kubernetes-preserve-unknown-fields": true}),
            json!([{"a": 1}]),
        ),
    ] {
        assert!(faults(&schema(&json), &value, None).is_empty(), "{json}");
    }
}

#[test]
fn what_has_not_changed_is_not_held_against_an_update() {
    let schema = schema(&json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 1},
        "b": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "b stays"}]},
    }}));
    let old = json!({"a": "long", "b": "x"});
    assert!(faults(&schema, &json!({"a": "long", "b": "x", "c": 1}), Some(&old)).is_empty());
    assert_eq!(
        faults(&schema, &json!({"a": "longer", "b": "x"}), Some(&old)),
        ["spec.a: Too long: may not be more than 1 bytes"]
    );
    assert_eq!(
        faults(&schema, &json!({"a": "long", "b": "y"}), Some(&old)),
        ["spec.b: Invalid value: \"y\": b stays"]
    );
}

#[test]
fn unknown_fields_go_and_defaults_come() {
    let schema = schema(&json!({"type": "object", "properties": {
        "a": {"type": "string", "default": "x"},
        "deep": {"type": "object", "default": {}, "properties": {"n": {"type": "integer", "default": 3}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"n": {"type": "object", "properties": {}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"k": {"type": "string"}}}},
        "inner": {"type": "object", "x-kubernetes-embedded-resource": true},
        "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "integer", "default": 80}}}},
        "none": {"type": "string", "nullable": true, "default": "d"},
    }}));
    let mut value = json!({
        "apiVersion": "a", "kind": "b", "metadata": {"x": 1}, "top": 1,
        "spec": {
            "a": null, "bad": 1, "free": {"any": {"x": 1}, "n": {"y": 1}},
            "map": {"one": {"k": "v", "z": 1}}, "inner": {"apiVersion": "v", "kind": "K", "metadata": {}, "spec": 1},
            "list": [{"q": 1}], "none": null,
        },
    });
    let mut told = Vec::new();
    prune::prune(&schema, &mut value, "", &mut told);
    told.sort();
    assert_eq!(
        told,
        [
            "spec.bad",
            "spec.free.n.y",
            "spec.inner.spec",
            "spec.list[0].q",
            "spec.map.one.z",
            "top"
        ]
    );
    prune::default(&schema, &mut value);
    assert_eq!(
        value["spec"],
        json!({
            "a": "x", "deep": {"n": 3}, "free": {"any": {"x": 1}, "n": {}}, "map": {"one": {"k": "v"}},
            "inner": {"apiVersion": "v", "kind": "K", "metadata": {}}, "list": [{"p": 80}], "none": null,
        })
    );
}

#[test]
fn definitions_say_what_is_wrong_with_them() {
    let good = definition(&json!({"type": "object"}));
    assert_eq!(validate(&good, None), []);
    let wrong = |change: Value| {
        let errors = validate(&samples::merged(&good, &change), None);
        samples::fields(&errors).join(" ")
    };
    let spec = |spec: Value| json!({ "spec": spec });
    let version = |spec: Value| definition(&spec)["spec"]["versions"].clone();
    let at = "spec.versions[0].schema.openAPIV3Schema.properties[spec]";
    for (change, expected) in [
        (
            json!({"metadata": {"name": "x"}}),
            "metadata.name".to_owned(),
        ),
        (spec(json!({"scope": "x"})), "spec.scope".to_owned()),
        (spec(json!({"versions": []})), "spec.versions".to_owned()),
        (
            spec(json!({"conversion": {"strategy": "Webhook"}})),
            "spec.conversion.strategy".to_owned(),
        ),
        (
            spec(json!({"preserveUnknownFields": true})),
            "spec.preserveUnknownFields".to_owned(),
        ),
        (
            spec(json!({"group": "x.k8s.io"})),
            "metadata.name metadata.annotations[api-approved.kubernetes.io]".to_owned(),
        ),
        (
            spec(json!({"versions": [{"name": "v1", "served": true, "storage": true}]})),
            "spec.versions[0].schema.openAPIV3Schema".to_owned(),
        ),
        (
            spec(json!({"versions": version(json!({}))})),
            format!("{at}.type"),
        ),
        (
            spec(json!({"versions": version(json!({"type": "array"}))})),
            format!("{at}.items"),
        ),
        (
            spec(json!({"versions": version(json!({"type": "string", "pattern": "("}))})),
            format!("{at}.pattern"),
        ),
        (
            spec(json!({"versions": version(json!({"type": "object", "$ref": "x"}))})),
            format!("{at}.$ref"),
        ),
        (
            spec(
                json!({"versions": version(json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}))}),
            ),
            format!("{at}.x-kubernetes-list-map-keys"),
        ),
    ] {
        assert_eq!(wrong(change.clone()), expected, "{change}");
    }
    let moved = samples::merged(&good, &spec(json!({"scope": "Cluster"})));
    assert_eq!(
        samples::fields(&validate(&moved, Some(&good))),
        ["spec.scope"]
    );
}

#[test]
fn regular_expressions_are_bounded_in_number_and_kept_once() {
    let field = |at: usize| {
        (
            format!("f{at}"),
            json!({"type": "string", "pattern": format!("^a{{{at}}}$")}),
        )
    };
    let schema = |count: usize| {
        let properties: serde_json::Map<String, Value> = (0..count).map(field).collect();
        json!({"type": "object", "properties": properties})
    };
    assert_eq!(Compiled::of("s", &schema(512)).errors, []);
    assert!(
        Compiled::of("s", &schema(513)).errors[0]
            .message
            .contains("more than 512")
    );
    let same: serde_json::Map<String, Value> =
        (0..2000).map(|at| (format!("f{at}"), field(1).1)).collect();
    let same = json!({"type": "object", "properties": same});
    assert_eq!(Compiled::of("s", &same).patterns, 1);
}

#[test]
fn rules_that_nobody_evaluates_are_told() {
    let rule = json!([{"rule": "quantity(self) > 1"}]);
    let told = warnings(&definition(
        &json!({"type": "string", "x-kubernetes-validations": rule}),
    ));
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains(
            "is not evaluated by this server: at character 0: the function quantity() is not known"
        ) || told[0].contains("the function quantity()"),
        "{}",
        told[0]
    );
}

#[test]
fn versions_come_in_the_order_of_kubernetes() {
    let mut versions = [
        "v1beta1",
        "foo",
        "v2",
        "v1",
        "v11alpha2",
        "v1beta2",
        "v10",
        "bar",
    ];
    versions.sort_by_key(|version| std::cmp::Reverse(super::establish::priority(version)));
    assert_eq!(
        versions,
        [
            "v10",
            "v2",
            "v1",
            "v1beta2",
            "v1beta1",
            "v11alpha2",
            "bar",
            "foo"
        ]
    );
}

proptest! {
    #[test]
    fn no_schema_and_no_object_panics(schema in samples::json(), object in samples::json(), old in samples::json()) {
        let object_of = |spec: &Value| json!({ "spec": spec, "metadata": spec });
        let _ = validate(&definition(&schema), None);
        let _ = validate(&object, Some(&old));
        let _ = warnings(&definition(&schema));
        let whole = json!({ "type": "object", "properties": { "spec": schema } });
        let compiled = Compiled::of("s", &whole).schema;
        let mut value = object_of(&object);
        prune::prune(&compiled, &mut value, "", &mut Vec::new());
        prune::default(&compiled, &mut value);
        let _ = check::check(&compiled, &value, Some(&object_of(&old)));
    }
}

#[test]
fn a_long_list_is_compared_with_the_one_before_by_its_keys() {
    let schema = schema(&json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
        "items": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"},
            "c": {"type": "integer", "maximum": 0}},
            "x-kubernetes-validations": [{"rule": "self.c == oldSelf.c", "message": "c stays"}]},
    }));
    let old: Vec<Value> = (0..60_000).map(|at| json!({"a": at, "c": 1})).collect();
    let mut new: Vec<Value> = old.iter().rev().cloned().collect();
    let start = std::time::Instant::now();
    let (old, unchanged) = (json!(old), json!(new));
    assert_eq!(faults(&schema, &unchanged, Some(&old)), [""; 0]);
    // The same key with another value, and one that was not there.
    new[7] = json!({"a": 59_992, "c": 0});
    new[8] = json!({"a": 59_991, "b": "x", "c": 0});
    let told = faults(&schema, &json!(new), Some(&old));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("spec[7]: Invalid value"), "{told:?}");
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn numbers_of_rules_have_the_type_of_the_schema() {
    let value = json!({"ratio": 1, "other": 2, "count": 3.0, "list": [1, 2.5], "map": {"a": 1}, "any": 4.0});
    for (rule, good) in [
        ("self.ratio * 2.0 <= 3.0", true),
        ("self.ratio / self.other == 0.5", true),
        ("self['ratio'] + 0.5 == 1.5", true),
        (
            "self.list.all(one, one * 2.0 > 1.0) && self.list[0] + 0.5 == 1.5",
            true,
        ),
        ("self.list.sum() == 3.5", true),
        (
            "self.map.a + 0.5 == 1.5 && self.map.all(key, self.map[key] / 2.0 == 0.5)",
            true,
        ),
        ("self.count % 2 == 1 && self.count / 2 == 1", true),
        ("self.any + 1 == 5", true),
        (
            "self.ratio == 1 && self.ratio in [1] && self.count == 3",
            true,
        ),
        ("self.ratio + 1 == 2", false),
        ("self.ratio * 2.0 <= 1.0", false),
    ] {
        let number = json!({"type": "number"});
        let schema = schema(&json!({"type": "object", "properties": {
            "ratio": number, "other": number, "count": {"type": "integer"},
            "list": {"type": "array", "items": number},
            "map": {"type": "object", "additionalProperties": number},
            "any": {"x-kubernetes-int-or-string": true},
        }, "x-kubernetes-validations": [{ "rule": rule }]}));
        let told = faults(&schema, &value, None);
        assert_eq!(told.is_empty(), good, "{rule}: {told:?}");
    }
}
