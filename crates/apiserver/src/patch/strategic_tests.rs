//! The rules of strategic merge patches, one by one, and as a whole on random Pods.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kinds::{find, samples};
use crate::schema;

fn patched(group: &str, plural: &str, original: &Value, patch: Value) -> Result<Value, PatchError> {
    apply(
        &schema::of(find(group, "v1", plural).unwrap()),
        original,
        patch,
    )
}

fn pod(original: &Value, patch: &Value) -> Value {
    patched("", "pods", original, patch.clone()).unwrap()
}

fn containers(items: Value) -> Value {
    json!({"spec": {"containers": items}})
}

#[test]
fn keyed_lists_are_merged_item_by_item() {
    let original = containers(
        json!([{"name": "a", "image": "x", "args": ["1"]}, {"name": "b", "image": "y"}]),
    );
    let patch = containers(json!([{"name": "b", "image": "z"}, {"name": "c"}]));
    let expected = json!([{"name": "a", "image": "x", "args": ["1"]}, {"name": "b", "image": "z"}, {"name": "c"}]);
    assert_eq!(pod(&original, &patch), containers(expected));
}

#[test]
fn each_keyed_list_goes_by_its_own_key() {
    let cases = [
        ("", "pods", "spec.hostAliases", "ip"),
        ("", "pods", "spec.volumes", "name"),
        ("", "pods", "spec.imagePullSecrets", "name"),
        ("", "pods", "spec.topologySpreadConstraints", "topologyKey"),
        ("", "pods", "status.conditions", "type"),
        ("", "pods", "status.podIPs", "ip"),
        ("", "nodes", "status.addresses", "type"),
        ("", "services", "spec.ports", "port"),
        ("", "serviceaccounts", "secrets", "name"),
        ("", "configmaps", "metadata.ownerReferences", "uid"),
        (
            "apps",
            "deployments",
            "spec.template.spec.containers",
            "name",
        ),
        ("apps", "replicasets", "status.conditions", "type"),
    ];
    for (group, plural, path, key) in cases {
        let at = |items: Value| {
            path.rsplit('.')
                .fold(items, |inner, name| json!({name: inner}))
        };
        let original = at(json!([{key: "a", "x": 1}, {key: "b", "x": 1}]));
        let result = patched(group, plural, &original, at(json!([{key: "b", "x": 2}]))).unwrap();
        assert_eq!(
            result,
            at(json!([{key: "a", "x": 1}, {key: "b", "x": 2}])),
            "{plural} {path}"
        );
    }
}

#[test]
fn lists_within_containers_are_keyed_too() {
    for (list, key) in [
        ("ports", "containerPort"),
        ("env", "name"),
        ("volumeMounts", "mountPath"),
        ("volumeDevices", "devicePath"),
    ] {
        let with = |items: Value| containers(json!([{"name": "a", list: items}]));
        let result = pod(
            &with(json!([{key: "1", "x": 1}])),
            &with(json!([{key: "2"}, {key: "1", "y": 2}])),
        );
        assert_eq!(
            result,
            with(json!([{key: "2"}, {key: "1", "x": 1, "y": 2}])),
            "{list}"
        );
    }
}

#[test]
fn other_lists_are_replaced() {
    let spec = |items: Value| json!({"spec": {"tolerations": items}});
    assert_eq!(
        pod(&spec(json!([{"key": "a"}])), &spec(json!([{"key": "b"}]))),
        spec(json!([{"key": "b"}]))
    );
    let args = |items: Value| containers(json!([{"name": "a", "args": items}]));
    assert_eq!(
        pod(&args(json!(["1", "2"])), &args(json!(["3"]))),
        args(json!(["3"]))
    );
}

#[test]
fn null_removes_a_field() {
    let original = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"nodeName": "n"}});
    let patch = json!({"metadata": {"labels": {"a": null, "c": "3", "d": null}}, "spec": {"nodeName": null}});
    assert_eq!(
        pod(&original, &patch),
        json!({"metadata": {"labels": {"b": "2", "c": "3"}}, "spec": {}})
    );
}

#[test]
fn an_object_is_deleted_or_replaced() {
    let original = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"nodeName": "n"}});
    let labels = |labels: Value| json!({"metadata": {"labels": labels}});
    let result = pod(
        &original,
        &labels(json!({"$patch": "replace", "b": "2", "c": null})),
    );
    assert_eq!(result["metadata"]["labels"], json!({"b": "2"}));
    assert_eq!(
        pod(&original, &labels(json!({"$patch": "delete"})))["metadata"]["labels"],
        json!({})
    );
    assert_eq!(
        pod(&original, &labels(json!({"$patch": "merge", "b": "2"})))["metadata"]["labels"],
        json!({"a": "1", "b": "2"})
    );
    assert!(patched("", "pods", &original, labels(json!({"$patch": "explode"}))).is_err());
}

#[test]
fn an_item_is_deleted_by_its_key() {
    let original = containers(json!([{"name": "a"}, {"name": "b"}]));
    let patch =
        containers(json!([{"$patch": "delete", "name": "a"}, {"$patch": "delete", "name": "x"}]));
    assert_eq!(pod(&original, &patch), containers(json!([{"name": "b"}])));
}

#[test]
fn a_list_is_replaced_as_a_whole() {
    let original = containers(json!([{"name": "a"}, {"name": "b"}]));
    let patch = containers(json!([{"name": "c"}, {"$patch": "replace"}]));
    assert_eq!(pod(&original, &patch), containers(json!([{"name": "c"}])));
}

#[test]
fn a_missing_merge_key_is_an_error_that_names_the_list() {
    for item in [
        json!({"image": "x"}),
        json!({"$patch": "delete"}),
        json!("a"),
    ] {
        let error = patched(
            "",
            "pods",
            &containers(json!([{"name": "a"}])),
            containers(json!([item])),
        )
        .unwrap_err();
        assert!(error.to_string().contains("\"spec.containers\""), "{error}");
    }
    let error = patched(
        "",
        "pods",
        &containers(json!([])),
        containers(json!([{"image": "x"}])),
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("map: {\"image\":\"x\"} does not contain declared merge key: name"),
        "{error}"
    );
}

#[test]
fn values_leave_a_set_and_join_it() {
    let original = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    let delete = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"]}});
    assert_eq!(
        pod(&original, &delete)["metadata"]["finalizers"],
        json!(["a", "c"])
    );
    let join = json!({"metadata": {"finalizers": ["d", "a"]}});
    assert_eq!(
        pod(&original, &join)["metadata"]["finalizers"],
        json!(["d", "a", "b", "c"])
    );
    let both = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["x"],
        "$setElementOrder/finalizers": ["c", "x", "b"]}});
    assert_eq!(
        pod(&original, &both)["metadata"]["finalizers"],
        json!(["c", "x", "b"])
    );
}

#[test]
fn the_order_is_set_with_or_without_a_change() {
    let original = containers(json!([{"name": "a"}, {"name": "b"}, {"name": "s"}]));
    let order = json!([{"name": "b"}, {"name": "n"}, {"name": "a"}]);
    let only = json!({"spec": {"$setElementOrder/containers": order}});
    assert_eq!(
        pod(&original, &only),
        containers(json!([{"name": "b"}, {"name": "a"}, {"name": "s"}]))
    );
    let with =
        json!({"spec": {"$setElementOrder/containers": order, "containers": [{"name": "n"}]}});
    assert_eq!(
        pod(&original, &with),
        containers(json!([{"name": "b"}, {"name": "n"}, {"name": "a"}, {"name": "s"}]))
    );
    let wrong = json!({"spec": {"$setElementOrder/containers": order, "containers": [{"name": "a"}, {"name": "b"}]}});
    assert!(patched("", "pods", &original, wrong).is_err());
}

#[test]
fn retained_keys_are_all_that_stays() {
    let original =
        json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let strategy = |strategy: Value| json!({"spec": {"strategy": strategy}});
    let recreate = strategy(json!({"$retainKeys": ["type"], "type": "Recreate"}));
    let result = patched("apps", "deployments", &original, recreate).unwrap();
    assert_eq!(result, strategy(json!({"type": "Recreate"})));
    let stray = strategy(json!({"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": {}}));
    assert!(patched("apps", "deployments", &original, stray).is_err());
    let volumes = |volume: Value| json!({"spec": {"volumes": [volume]}});
    let change = volumes(
        json!({"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}),
    );
    let result = pod(&volumes(json!({"name": "v", "emptyDir": {}})), &change);
    assert_eq!(
        result,
        volumes(json!({"name": "v", "hostPath": {"path": "/x"}}))
    );
}

#[test]
fn what_was_not_there_takes_the_patchs_value_without_directives() {
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "a"}],
        "containers": [{"name": "a", "env": [{"name": "X", "$patch": "delete"}, {"name": "Y", "value": null}]}],
        "volumes": [{"$retainKeys": ["name", "emptyDir"], "name": "v", "emptyDir": {}}],
        "nodeSelector": {"a": null},
    }});
    assert_eq!(
        pod(&json!({}), &patch),
        json!({"spec": {
            "containers": [{"name": "a", "env": [{"name": "Y"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "nodeSelector": {},
        }})
    );
}

/// The patch that `kubectl apply` would make, without leaving out what is equal in items.
fn diff(from: &Object, to: &Object, schema: &Type) -> Object {
    let mut patch = Object::new();
    for (name, old) in from {
        if !to.contains_key(name) {
            patch.insert(name.clone(), Value::Null);
        } else if let (Value::Array(old), Some(Value::Array(new)), Some(told)) =
            (old, to.get(name), schema.field(name))
        {
            diff_list(&mut patch, name, (old, new), told);
        }
    }
    for (name, new) in to {
        match (from.get(name), new) {
            (Some(old), new) if old == new => {}
            (Some(Value::Object(old)), Value::Object(new)) => {
                let of = schema.field(name).map_or(Type::nothing(), |told| &told.of);
                patch.insert(name.clone(), Value::Object(diff(old, new, of)));
            }
            (Some(Value::Array(_)), Value::Array(_)) if schema.field(name).is_some() => {}
            (_, new) => {
                patch.insert(name.clone(), new.clone());
            }
        }
    }
    patch
}

fn diff_list(patch: &mut Object, name: &str, (old, new): (&[Value], &[Value]), told: &Field) {
    if old == new {
        return;
    }
    let order = format!("{ORDER}{name}");
    let Merged::By(key) = merged(told) else {
        let gone = old
            .iter()
            .filter(|item| !new.contains(item))
            .cloned()
            .collect::<Vec<_>>();
        patch.insert(format!("{DELETE_FROM}{name}"), gone.into());
        patch.insert(order, new.into());
        patch.insert(
            name.to_owned(),
            new.iter()
                .filter(|item| !old.contains(item))
                .cloned()
                .collect(),
        );
        return;
    };
    let same = |a: &Value, b: &Value| a[key] == b[key];
    let mut items: Vec<Value> = new
        .iter()
        .map(|item| {
            let old = old
                .iter()
                .find(|old| same(old, item))
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default();
            let new = item.as_object().unwrap();
            let mut changed = diff(&old, new, &told.of);
            changed.insert(key.to_owned(), item[key].clone());
            if name == "volumes" {
                changed.insert(RETAIN.to_owned(), new.keys().cloned().collect());
            }
            Value::Object(changed)
        })
        .collect();
    let gone = old
        .iter()
        .filter(|old| !new.iter().any(|item| same(old, item)));
    items.extend(gone.map(|old| json!({PATCH: "delete", key: old[key]})));
    patch.insert(
        order,
        new.iter().map(|item| json!({key: item[key]})).collect(),
    );
    patch.insert(name.to_owned(), items.into());
}

proptest! {
    #[test]
    fn the_difference_of_two_pods_leads_from_one_to_the_other(from in samples::pod(), to in samples::pod()) {
        let schema = schema::of(find("", "v1", "pods").unwrap());
        let patch = diff(from.as_object().unwrap(), to.as_object().unwrap(), &schema);
        let result = apply(&schema, &from, Value::Object(patch)).unwrap();
        // An emptied list is left out by the typed decoding that follows every patch.
        let decode = crate::decode::typed::<k8s_openapi::api::core::v1::Pod>;
        prop_assert_eq!(decode(result).unwrap().value, to);
    }

    #[test]
    fn a_patch_is_idempotent(original in samples::pod(), patch in samples::pod()) {
        let once = pod(&original, &patch);
        prop_assert_eq!(pod(&once, &patch), once);
    }
}
