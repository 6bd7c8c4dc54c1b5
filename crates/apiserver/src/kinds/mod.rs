//! The kinds that are served: one declarative entry each.
//!
//! An entry says how a kind is called, decoded, defaulted, validated, printed and what its own
//! logic does on create and update. It holds no state and does no IO; what needs the store
//! (addresses, ports, owners) belongs to the server.

mod configs;
mod daemon_set;
mod definitions;
mod endpoint_slice;
mod endpoints;
pub(crate) mod events;
mod fault;
mod ingress;
mod leases;
mod logic;
mod metadata;
pub(crate) mod names;
mod namespaces;
mod network_policy;
mod nodes;
mod pods;
mod priorities;
pub(crate) mod quantity;
mod rbac;
pub(crate) mod read;
mod registry;
mod revisions;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod selector;
pub(crate) mod service_ranges;
mod services;
mod workloads;

use jiff::Timestamp;
use serde_json::Value;

use crate::crd::custom::Custom;
use crate::decode::{DecodeError, Decoded};

pub(crate) use fault::FieldError;
pub(crate) use metadata::validate_metadata;
pub(crate) use registry::{Registry, Served, Serving};

/// One kind of object.
pub(crate) struct Kind {
    /// The API group; empty for core.
    pub(crate) group: &'static str,
    /// The version, such as `v1`.
    pub(crate) version: &'static str,
    /// The kind, such as `Pod`.
    pub(crate) kind: &'static str,
    /// The resource's name in paths, such as `pods`.
    pub(crate) plural: &'static str,
    /// The resource's name for one, such as `pod`.
    pub(crate) singular: &'static str,
    /// Short names that kubectl expands, such as `po`.
    pub(crate) short_names: &'static [&'static str],
    /// Categories such as `all`.
    pub(crate) categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub(crate) namespaced: bool,
    /// Whether there is a `status` subresource.
    pub(crate) has_status: bool,
    /// Whether there is a `scale` subresource.
    pub(crate) has_scale: bool,
    /// Whether `metadata.generation` counts changes of what is wanted.
    pub(crate) bumps_generation: bool,
    /// The definition that stands for the functions below, of a custom kind.
    pub(crate) custom: Option<&'static Custom>,
    /// The columns of `kubectl get`.
    pub(crate) columns: &'static [Column],
    /// Reads JSON as this kind.
    decode: fn(Value) -> Result<Decoded, DecodeError>,
    /// Fills in what was left out.
    default: fn(&mut Value),
    /// Says what is wrong with an object, given the one it replaces.
    validate: fn(new: &Value, old: Option<&Value>) -> Vec<FieldError>,
    /// Fields that field selectors may ask for, besides name and namespace.
    pub(crate) selectable: &'static [Selectable],
    /// Prepares a new object: what its author may not set is reset.
    on_create: fn(&mut Value),
    /// Prepares an update: what it may not change is kept.
    on_update: fn(new: &mut Value, old: &Value),
    /// Prepares an update of the status subresource.
    on_status: fn(new: &mut Value, old: &Value),
    /// Says what is wrong with a status that is about to be written.
    validate_status: fn(&Value) -> Vec<FieldError>,
}

/// A field that field selectors may ask for.
pub(crate) struct Selectable {
    /// The path, such as `spec.nodeName`.
    pub(crate) path: &'static str,
    /// Its value in an object.
    get: fn(&Value) -> String,
}

/// A column of `kubectl get`.
pub(crate) struct Column {
    /// The heading.
    pub(crate) name: &'static str,
    /// The type: `string`, `integer` or `date`.
    pub(crate) kind: &'static str,
    /// The format; `name` marks the column with the object's name.
    pub(crate) format: &'static str,
    /// What it shows.
    pub(crate) description: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub(crate) priority: u8,
    /// The cell of an object.
    pub(crate) cell: fn(&Value, now: Timestamp) -> Value,
}

/// Every kind that is built in, in the order of discovery; see [`Served`] for all of a server.
pub(crate) fn all() -> &'static [Kind] {
    static KINDS: [Kind; 28] = [
        configs::CONFIG_MAP,
        endpoints::ENDPOINTS,
        events::CORE_EVENT,
        namespaces::NAMESPACE,
        nodes::NODE,
        pods::POD,
        configs::SECRET,
        configs::SERVICE_ACCOUNT,
        services::SERVICE,
        definitions::DEFINITION,
        revisions::CONTROLLER_REVISION,
        daemon_set::DAEMON_SET,
        workloads::DEPLOYMENT,
        workloads::REPLICA_SET,
        leases::LEASE,
        endpoint_slice::ENDPOINT_SLICE,
        events::NEW_EVENT,
        ingress::INGRESS_CLASS,
        ingress::INGRESS,
        service_ranges::IP_ADDRESS,
        network_policy::NETWORK_POLICY,
        service_ranges::SERVICE_CIDR,
        priorities::DISRUPTION_BUDGET,
        rbac::CLUSTER_ROLE_BINDING,
        rbac::CLUSTER_ROLE,
        rbac::ROLE_BINDING,
        rbac::ROLE,
        priorities::PRIORITY_CLASS,
    ];
    &KINDS
}

/// The built-in kind that is served under a path.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    all()
        .iter()
        .find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
}

/// For kinds without logic of their own at this point.
fn nothing(_: &mut Value) {}

/// For kinds whose updates keep nothing of the old object.
fn keep_nothing(_: &mut Value, _: &Value) {}

/// For kinds whose status is taken as it comes.
fn any_status(_: &Value) -> Vec<FieldError> {
    Vec::new()
}

/// A new object has no status yet.
fn drop_status(new: &mut Value) {
    if let Some(fields) = new.as_object_mut() {
        fields.remove("status");
    }
}

/// An update of the object leaves its status alone.
fn keep_status(new: &mut Value, old: &Value) {
    read::copy(new, old, "status");
}

/// An update of the status leaves what is wanted alone; as upstream, it may bring labels,
/// annotations and the like.
fn only_status(new: &mut Value, old: &Value) {
    let mut given = |name| new.get_mut(name).map(Value::take);
    let parts = [("metadata", given("metadata")), ("status", given("status"))];
    *new = old.clone();
    let Some(fields) = new.as_object_mut() else {
        return;
    };
    for (name, part) in parts {
        match part {
            Some(part) if !part.is_null() => fields.insert(name.to_owned(), part),
            _ => fields.remove(name),
        };
    }
}

/// Keeps a part of the metadata.
fn keep_metadata(new: &mut Value, old: &Value, name: &str) {
    let kept = old.get("metadata").and_then(|metadata| metadata.get(name));
    match (kept, new.get_mut("metadata").and_then(Value::as_object_mut)) {
        (Some(kept), Some(metadata)) => metadata.insert(name.to_owned(), kept.clone()),
        (None, Some(metadata)) => metadata.remove(name),
        (_, None) => None,
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_is_found_by_its_path_and_named_once() {
        let mut seen = BTreeSet::new();
        for kind in all() {
            let found = find(kind.group, kind.version, kind.plural).unwrap();
            assert_eq!(found.kind, kind.kind);
            assert!(seen.insert((kind.group, kind.plural)), "{}", kind.plural);
            assert_eq!(
                kind.columns
                    .iter()
                    .filter(|column| column.format == "name")
                    .count(),
                1
            );
        }
        assert!(find("", "v1", "podtemplates").is_none());
    }

    #[test]
    fn a_status_update_changes_nothing_that_is_wanted() {
        let old = json!({"metadata": {"name": "a", "labels": {"a": "b"}}, "spec": {"x": 1}, "status": {"a": 1}});
        let mut new = json!({"metadata": {"name": "a", "labels": {"c": "d"}}, "spec": {"x": 2}, "status": {"a": 2}});
        only_status(&mut new, &old);
        assert_eq!(
            new,
            json!({"metadata": {"name": "a", "labels": {"c": "d"}}, "spec": {"x": 1}, "status": {"a": 2}})
        );
        keep_metadata(&mut new, &old, "labels");
        assert_eq!(new["metadata"], old["metadata"]);
        let mut without = json!({"metadata": {"name": "a"}, "spec": {"x": 2}});
        only_status(&mut without, &old);
        assert_eq!(
            without,
            json!({"metadata": {"name": "a"}, "spec": {"x": 1}})
        );
    }

    #[test]
    fn nothing_panics_on_any_json() {
        use proptest::test_runner::{Config, TestRunner};
        let mut runner = TestRunner::new(Config::with_cases(200));
        runner
            .run(&(samples::json(), samples::json()), |(new, old)| {
                for kind in all() {
                    for object in [
                        new.clone(),
                        json!({"metadata": new, "spec": new, "status": new, "data": new}),
                    ] {
                        let mut changed = object.clone();
                        let _ = kind.decode(object.clone());
                        kind.default(&mut changed);
                        kind.on_create(&mut changed);
                        let _ = kind.validate(&changed, Some(&old));
                        let _ = kind.validate(&object, None);
                        let _ = validate_metadata(kind, &object);
                        kind.on_update(&mut changed, &old);
                        kind.on_status(&mut changed, &object);
                        let _ = kind.validate_status(&changed, &object);
                        let _ = kind.selected(&object);
                        let _ = crate::table::row(kind, &object, b"null", Timestamp::UNIX_EPOCH);
                    }
                }
                Ok(())
            })
            .unwrap();
    }
}
