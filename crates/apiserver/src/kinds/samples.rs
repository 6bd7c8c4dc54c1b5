//! Random JSON and random Pods for property tests, and small helpers of table-driven ones.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::fault::FieldError;

/// The fields of the errors, in order.
pub(crate) fn fields(errors: &[FieldError]) -> Vec<&str> {
    errors.iter().map(|error| error.field.as_str()).collect()
}

/// `base` with a merge patch applied.
pub(crate) fn merged(base: &Value, change: &Value) -> Value {
    let mut value = base.clone();
    json_patch::merge(&mut value, change);
    value
}

/// Field names that mean something to Kubernetes or to patches.
fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "metadata",
        "name",
        "labels",
        "spec",
        "containers",
        "ports",
        "env",
        "status",
        "conditions",
        "type",
        "containerPort",
        "port",
        "protocol",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "finalizers",
        "selector",
        "template",
        "rules",
        "http",
        "paths",
        "resources",
        "limits",
        "cpu",
        "data",
        "ingress",
        "from",
        "ipBlock",
        "cidr",
        "endpoints",
        "addresses",
        "volumes",
        "livenessProbe",
        "httpGet",
        "op",
        "path",
        "value",
        "a",
        "",
    ])
    .prop_map(str::to_owned)
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_i64..100).prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        key().prop_map(Value::from),
        "[ -~]{0,8}".prop_map(Value::from),
        prop::sample::select(vec![
            "delete",
            "replace",
            "merge",
            "add",
            "/spec/containers/-",
            "10.0.0.0/8",
            "100m",
            "ä"
        ])
        .prop_map(Value::from),
    ]
}

/// Any JSON, in the vocabulary of Kubernetes.
pub(crate) fn json() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn named(
    names: &'static [&'static str],
    of: BoxedStrategy<Value>,
    by: &'static str,
) -> BoxedStrategy<Value> {
    let entries = prop::sample::subsequence(names.to_vec(), 0..=names.len()).prop_shuffle();
    (entries, prop::collection::vec(of, names.len()))
        .prop_map(move |(names, items)| {
            let items = names.into_iter().zip(items).map(|(name, mut item)| {
                item[by] = match name.parse::<i64>() {
                    Ok(number) => number.into(),
                    Err(_) => name.into(),
                };
                item
            });
            items.collect::<Vec<_>>().into()
        })
        .boxed()
}

fn texts(names: &'static [&'static str]) -> BoxedStrategy<Value> {
    prop::collection::btree_map(prop::sample::select(names), "[a-z]{1,2}", 0..3)
        .prop_map(|pairs| json!(pairs))
        .boxed()
}

fn container() -> BoxedStrategy<Value> {
    let env = named(
        &["A", "B", "C"],
        "[a-z]{1,2}"
            .prop_map(|value| json!({"value": value}))
            .boxed(),
        "name",
    );
    let ports = named(
        &["80", "81", "82"],
        Just(json!({"protocol": "TCP"})).boxed(),
        "containerPort",
    );
    let args = prop::collection::vec("[a-z]{1,2}", 0..3);
    ("[a-z]{1,3}", env, ports, args)
        .prop_map(|(image, env, ports, args)| json!({"image": image, "env": env, "ports": ports, "args": args}))
        .boxed()
}

/// A Pod in canonical form: few names, so that two of them have much in common.
pub(crate) fn pod() -> impl Strategy<Value = Value> {
    let containers = named(&["a", "b", "c", "d"], container(), "name");
    let volume = prop_oneof![
        Just(json!({"emptyDir": {}})),
        Just(json!({"hostPath": {"path": "/x"}}))
    ]
    .boxed();
    let volumes = named(&["v", "w"], volume, "name");
    let finalizers = prop::sample::subsequence(vec!["x/a", "x/b", "x/c"], 0..=3);
    (
        containers,
        volumes,
        texts(&["k", "l", "m"]),
        texts(&["s", "t"]),
        finalizers,
    )
        .prop_map(|(containers, volumes, labels, selector, finalizers)| {
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "labels": labels, "finalizers": finalizers},
                "spec": {"containers": containers, "volumes": volumes, "nodeSelector": selector},
            });
            crate::decode::typed::<k8s_openapi::api::core::v1::Pod>(pod)
                .unwrap()
                .value
        })
}
