//! Tables: what `kubectl get` prints, computed by the server as upstream does.
//!
//! A kind's columns are data beside the functions that fill its cells. Cells are pure functions of
//! the object and the time.

pub(crate) mod addresses;
pub(crate) mod age;
pub(crate) mod cache;
mod cells;
pub(crate) mod events;
pub(crate) mod network;
pub(crate) mod nodes;
mod pod_status;
pub(crate) mod pods;
pub(crate) mod rights;
mod seen;
pub(crate) mod services;
pub(crate) mod simple;
pub(crate) mod workloads;

use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::{self, Kind, read};

/// How much of the object a row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

/// The `columnDefinitions` of a kind's tables, as JSON.
pub(crate) fn definitions(kind: &'static Kind) -> &'static str {
    if let Some(custom) = kind.custom {
        return custom.headings();
    }
    static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let all = kinds::all().iter();
        all.map(|kind| columns(kind).to_string()).collect()
    });
    let at = kinds::all()
        .iter()
        .position(|candidate| std::ptr::eq(candidate, kind))
        .expect("a kind is an entry of the table or has a definition");
    &TEXTS[at]
}

fn columns(kind: &Kind) -> Value {
    let columns = kind.columns.iter().map(|column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    });
    columns.collect()
}

/// What of an object its row is made from.
pub(crate) fn read(kind: &Kind, json: &[u8]) -> serde_json::Result<Value> {
    let seen = if is_pod(kind) {
        &pods::SEEN
    } else {
        &seen::Seen::All
    };
    seen.read(json)
}

fn is_pod(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.kind == "Pod"
}

/// An object's row, as JSON; `carried` is the JSON of what it shows of the object.
pub(crate) fn row(kind: &Kind, object: &Value, carried: &[u8], now: Timestamp) -> Vec<u8> {
    let cells = kind.cells(object, now);
    let mut row = format!(r#"{{"cells":{cells},"#).into_bytes();
    if let Some(condition) = condition(kind, object) {
        row.extend_from_slice(format!(r#""conditions":[{condition}],"#).as_bytes());
    }
    row.extend_from_slice(br#""object":"#);
    row.extend_from_slice(carried);
    row.push(b'}');
    row
}

/// Pods that have ended are marked, so that a client may leave them out.
fn condition(kind: &Kind, object: &Value) -> Option<Value> {
    if !is_pod(kind) {
        return None;
    }
    let phase = read::text(&object["status"], "phase");
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": phase, "message": message}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: &Kind, object: &Value, carried: &str) -> Value {
        let row = super::row(kind, object, carried.as_bytes(), Timestamp::UNIX_EPOCH);
        serde_json::from_slice(&row).unwrap()
    }

    #[test]
    fn rows_have_cells_and_carry_the_object() {
        let kind = kinds::find("", "v1", "configmaps").unwrap();
        let object = json!({"metadata": {"name": "a"}, "data": {"x": "y"}});
        assert_eq!(
            row(kind, &object, "{\"a\":1}"),
            json!({"cells": ["a", 1, "<unknown>"], "object": {"a": 1}})
        );
    }

    #[test]
    fn headings_and_priorities_are_those_kubectl_users_know() {
        let expected = [
            (
                "",
                "pods",
                "Name Ready Status Restarts Age +IP +Node +Nominated Node +Readiness Gates",
            ),
            (
                "",
                "nodes",
                "Name Status Roles Age Version +Internal-IP +External-IP +OS-Image +Kernel-Version +Container-Runtime",
            ),
            (
                "",
                "services",
                "Name Type Cluster-IP External-IP Port(s) Age +Selector",
            ),
            ("", "namespaces", "Name Status Age"),
            (
                "",
                "events",
                "Last Seen Type Reason Object +Subobject +Source Message +First Seen +Count +Name",
            ),
            ("", "configmaps", "Name Data Age"),
            ("", "secrets", "Name Type Data Age"),
            (
                "apps",
                "deployments",
                "Name Ready Up-to-date Available Age +Containers +Images +Selector",
            ),
            (
                "apps",
                "replicasets",
                "Name Desired Current Ready Age +Containers +Images +Selector",
            ),
            (
                "discovery.k8s.io",
                "endpointslices",
                "Name AddressType Ports Endpoints Age",
            ),
            ("coordination.k8s.io", "leases", "Name Holder Age"),
            (
                "networking.k8s.io",
                "networkpolicies",
                "Name Pod-Selector Age",
            ),
            (
                "networking.k8s.io",
                "ingresses",
                "Name Class Hosts Address Ports Age",
            ),
            (
                "networking.k8s.io",
                "ingressclasses",
                "Name Controller Parameters Age",
            ),
        ];
        for (group, plural, expected) in expected {
            let definitions = definitions(kinds::find(group, "v1", plural).unwrap());
            let definitions: Value = serde_json::from_str(definitions).unwrap();
            let names: Vec<String> = definitions
                .as_array()
                .unwrap()
                .iter()
                .map(|column| {
                    let mark = if column["priority"] == 1 { "+" } else { "" };
                    format!("{mark}{}", column["name"].as_str().unwrap())
                })
                .collect();
            assert_eq!(names.join(" "), expected);
        }
    }

    #[test]
    fn an_ended_pod_is_marked() {
        let kind = kinds::find("", "v1", "pods").unwrap();
        let pod = json!({"status": {"phase": "Failed"}});
        let row = row(kind, &pod, "null");
        assert_eq!(row["conditions"][0]["reason"], "Failed");
    }
}
