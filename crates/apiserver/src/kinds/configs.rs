//! ConfigMaps, Secrets and ServiceAccounts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use serde_json::Value;

use super::fault::{FieldError, immutable};
use super::{Kind, Selectable, any_status, keep_nothing, names, nothing, read};
use crate::decode::typed;
use crate::table;

/// The most that the values of one object may take together, in bytes.
const MAX_SIZE: usize = 1024 * 1024;

/// core/v1 ConfigMap.
pub(super) const CONFIG_MAP: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    namespaced: true,
    has_status: false,
    has_scale: false,
    bumps_generation: false,
    custom: None,
    columns: table::simple::CONFIG_MAP,
    decode: typed::<ConfigMap>,
    default: nothing,
    validate: config_map,
    selectable: &[],
    on_create: nothing,
    on_update: keep_nothing,
    on_status: keep_nothing,
    validate_status: any_status,
};

/// core/v1 Secret.
pub(super) const SECRET: Kind = Kind {
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    short_names: &[],
    columns: table::simple::SECRET,
    decode: typed::<Secret>,
    default: default_secret,
    validate: secret,
    selectable: &[Selectable {
        path: "type",
        get: |secret| read::text(secret, "type").to_owned(),
    }],
    ..CONFIG_MAP
};

/// core/v1 ServiceAccount.
pub(super) const SERVICE_ACCOUNT: Kind = Kind {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    columns: table::simple::SERVICE_ACCOUNT,
    decode: typed::<ServiceAccount>,
    validate: |_, _| Vec::new(),
    ..CONFIG_MAP
};

/// `stringData` is written only: it becomes `data`.
fn default_secret(secret: &mut Value) {
    read::default(secret, "type", "Opaque");
    let Some(fields) = secret.as_object_mut() else {
        return;
    };
    let Some(Value::Object(texts)) = fields.remove("stringData") else {
        return;
    };
    if let Some(data) = read::child(secret, "data") {
        for (key, value) in texts {
            let encoded = STANDARD.encode(value.as_str().unwrap_or_default());
            data.insert(key, encoded.into());
        }
    }
}

fn keys(errors: &mut Vec<FieldError>, object: &Value, field: &str) {
    for (key, _) in read::pairs(object, field) {
        names::push_all(
            errors,
            &format!("{field}[{key}]"),
            key,
            names::config_key(key),
        );
    }
}

/// The bytes that base64 stands for.
fn decoded_size(object: &Value, field: &str) -> usize {
    let size = |value: &str| value.trim_end_matches('=').len() * 3 / 4;
    read::pairs(object, field)
        .iter()
        .map(|(_, value)| size(value))
        .sum()
}

fn config_map(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    keys(&mut errors, new, "data");
    keys(&mut errors, new, "binaryData");
    for (key, _) in read::pairs(new, "data") {
        if new["binaryData"].get(key).is_some() {
            let detail = "duplicate of key present in binaryData";
            errors.push(FieldError::bad_text(format!("data[{key}]"), key, detail));
        }
    }
    let texts: usize = read::pairs(new, "data")
        .iter()
        .map(|(_, value)| value.len())
        .sum();
    if texts + decoded_size(new, "binaryData") > MAX_SIZE {
        errors.push(FieldError::too_long("data", MAX_SIZE));
    }
    sealed(&mut errors, new, old, &["data", "binaryData"]);
    errors
}

fn secret(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    keys(&mut errors, new, "data");
    if decoded_size(new, "data") > MAX_SIZE {
        errors.push(FieldError::too_long("data", MAX_SIZE));
    }
    let needed: &[&str] = match read::text(new, "type") {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        _ => &[],
    };
    for key in needed {
        if new["data"].get(key).is_none() {
            errors.push(FieldError::required(format!("data[{key}]"), ""));
        }
    }
    if let Some(old) = old {
        immutable(&mut errors, "type", &new["type"], &old["type"]);
    }
    sealed(&mut errors, new, old, &["data"]);
    errors
}

/// Once immutable, always immutable.
fn sealed(errors: &mut Vec<FieldError>, new: &Value, old: Option<&Value>, fields: &[&str]) {
    let Some(old) = old.filter(|old| read::flag(old, "immutable")) else {
        return;
    };
    let detail = "field is immutable when `immutable` is set";
    if !read::flag(new, "immutable") {
        errors.push(FieldError::forbidden("immutable", detail));
    }
    for field in fields {
        if new.get(field) != old.get(field) {
            errors.push(FieldError::forbidden(*field, detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::fields;

    #[test]
    fn string_data_becomes_data_and_is_gone() {
        let mut secret =
            json!({"data": {"a": "eA==", "b": "eA=="}, "stringData": {"b": "y", "c": ""}});
        default_secret(&mut secret);
        assert_eq!(
            secret,
            json!({"type": "Opaque", "data": {"a": "eA==", "b": "eQ==", "c": ""}})
        );
    }

    #[test]
    fn keys_and_sizes_are_checked() {
        let large = "x".repeat(MAX_SIZE + 1);
        let cases = [
            (json!({"data": {"a": "b"}}), vec![]),
            (json!({"data": {"a/b": ""}}), vec!["data[a/b]"]),
            (
                json!({"data": {"a": ""}, "binaryData": {"a": ""}}),
                vec!["data[a]"],
            ),
            (json!({"data": {"a": large}}), vec!["data"]),
            (json!({"binaryData": {"a": "A".repeat(MAX_SIZE)}}), vec![]),
        ];
        for (map, expected) in cases {
            assert_eq!(fields(&config_map(&map, None)), expected);
        }
        assert_eq!(
            fields(&secret(
                &json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
                None
            )),
            ["data[tls.key]"]
        );
    }

    #[test]
    fn what_is_immutable_stays() {
        let old = json!({"immutable": true, "type": "Opaque", "data": {"a": "Yg=="}});
        assert_eq!(secret(&old, Some(&old)), []);
        let new = json!({"type": "x", "data": {}});
        assert_eq!(
            fields(&secret(&new, Some(&old))),
            ["type", "immutable", "data"]
        );
        assert_eq!(fields(&config_map(&new, Some(&old))), ["immutable", "data"]);
    }
}
