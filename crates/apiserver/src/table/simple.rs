//! The columns of kinds with little to show.

use serde_json::Value;

use super::cells::{AGE, NAME, number, text};
use crate::kinds::{Column, read};

/// The columns of Namespaces.
pub(crate) const NAMESPACE: &[Column] = &[
    NAME,
    text("Status", "The status of the namespace", |namespace, _| {
        read::text(&namespace["status"], "phase").into()
    }),
    AGE,
];

/// The columns of CustomResourceDefinitions.
pub(crate) const DEFINITION: &[Column] = &[
    NAME,
    text(
        "Created At",
        "When the definition was made.",
        |object, _| read::text(&object["metadata"], "creationTimestamp").into(),
    ),
];

/// The columns of ConfigMaps.
pub(crate) const CONFIG_MAP: &[Column] = &[
    NAME,
    number("Data", "How many entries there are.", |map, _| {
        (entries(map, "data") + entries(map, "binaryData")).into()
    }),
    AGE,
];

/// The columns of Secrets.
pub(crate) const SECRET: &[Column] = &[
    NAME,
    text(
        "Type",
        "Used to facilitate programmatic handling of secret data.",
        |secret, _| read::text(secret, "type").into(),
    ),
    number("Data", "How many entries there are.", |secret, _| {
        entries(secret, "data").into()
    }),
    AGE,
];

/// The columns of ServiceAccounts.
pub(crate) const SERVICE_ACCOUNT: &[Column] = &[
    NAME,
    number(
        "Secrets",
        "How many secrets pods with this account may use.",
        |account, _| read::list(account, "secrets").len().into(),
    ),
    AGE,
];

/// The columns of Leases.
pub(crate) const LEASE: &[Column] = &[
    NAME,
    text(
        "Holder",
        "The identity of the holder of a current lease.",
        |lease, _| read::text(&lease["spec"], "holderIdentity").into(),
    ),
    AGE,
];

fn entries(object: &Value, field: &str) -> usize {
    object
        .get(field)
        .and_then(Value::as_object)
        .map_or(0, serde_json::Map::len)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn small_kinds_are_shown() {
        let cells = |columns: &[Column], object: &Value| -> Value {
            columns[..columns.len() - 1]
                .iter()
                .map(|column| (column.cell)(object, Timestamp::UNIX_EPOCH))
                .collect()
        };
        let map = json!({"metadata": {"name": "a"}, "data": {"x": ""}, "binaryData": {"y": ""}, "type": "Opaque"});
        assert_eq!(cells(CONFIG_MAP, &map), json!(["a", 2]));
        assert_eq!(cells(SECRET, &map), json!(["a", "Opaque", 1]));
        assert_eq!(cells(SERVICE_ACCOUNT, &map), json!(["a", 0]));
        let lease = json!({"metadata": {"name": "a"}, "spec": {"holderIdentity": "n"}, "status": {"phase": "Active"}});
        assert_eq!(cells(LEASE, &lease), json!(["a", "n"]));
        assert_eq!(cells(NAMESPACE, &lease), json!(["a", "Active"]));
    }
}
