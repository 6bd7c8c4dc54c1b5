//! What is served: the discovery documents, plain and aggregated, made from the table of kinds.
//!
//! Only verbs that really work are named.

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};

use crate::http::{self, Body};
use crate::kinds::{Kind, Served};
use crate::reviews::{self, Review};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// What can be done with every kind.
pub(crate) const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// A part of a kind's objects that has a path of its own.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    pub(crate) verbs: &'static [&'static str],
}

/// The parts of a kind's objects.
pub(crate) fn parts(kind: &'static Kind) -> Vec<Part> {
    let part = |name, group, version, kind, verbs| Part {
        name,
        group,
        version,
        kind,
        verbs,
    };
    let own = |name, verbs| part(name, kind.group, kind.version, kind.kind, verbs);
    let mut parts = Vec::new();
    match kind.kind {
        _ if kind.custom.is_some() => {}
        "Pod" => {
            parts.push(part("binding", "", "v1", "Binding", &["create"]));
            parts.push(part("eviction", "policy", "v1", "Eviction", &["create"]));
            let verbs = &["create", "get"];
            parts.push(part("attach", "", "v1", "PodAttachOptions", verbs));
            parts.push(part("exec", "", "v1", "PodExecOptions", verbs));
            parts.push(own("log", &["get"]));
        }
        "Namespace" => parts.push(own("finalize", &["update"])),
        "ServiceAccount" => {
            let group = "authentication.k8s.io";
            parts.push(part("token", group, "v1", "TokenRequest", &["create"]));
        }
        _ => {}
    }
    if kind.has_scale {
        let verbs = &["get", "patch", "update"];
        parts.push(part("scale", "autoscaling", "v1", "Scale", verbs));
    }
    if kind.has_status {
        parts.push(own("status", &["get", "patch", "update"]));
    }
    parts
}

/// Groups and versions, in the order of the kinds, the core group first.
fn group_versions(served: &Served) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    for kind in served.all() {
        if !found.contains(&(kind.group, kind.version)) {
            found.push((kind.group, kind.version));
        }
    }
    for review in &reviews::ALL {
        if !found.contains(&(review.group, reviews::VERSION)) {
            found.push((review.group, reviews::VERSION));
        }
    }
    found
}

fn of(served: &Served, group: &str, version: &str) -> impl Iterator<Item = &'static Kind> {
    served
        .all()
        .filter(move |kind| kind.group == group && kind.version == version)
}

/// `/version`
pub(crate) fn version() -> Value {
    json!({
        "major": "1",
        "minor": "37",
        "gitVersion": format!("v1.37.0-seaway.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// `/api`
pub(crate) fn versions() -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    })
}

/// Groups with their versions, the preferred one first.
fn by_group(served: &Served) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for (group, version) in group_versions(served) {
        match groups.iter_mut().find(|(own, _)| *own == group) {
            Some((_, versions)) => versions.push(version),
            None => groups.push((group, vec![version])),
        }
    }
    groups
}

fn group_entry(group: &str, versions: &[&str]) -> Value {
    let entry = |version: &&str| json!({ "groupVersion": format!("{group}/{version}"), "version": version });
    let versions: Vec<Value> = versions.iter().map(entry).collect();
    json!({ "name": group, "preferredVersion": versions.first(), "versions": versions })
}

/// `/apis`
pub(crate) fn groups(served: &Served) -> Value {
    let groups: Vec<Value> = by_group(served)
        .into_iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| group_entry(group, &versions))
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/apis/GROUP`
pub(crate) fn group(served: &Served, name: &str) -> Option<Value> {
    let (group, versions) = by_group(served)
        .into_iter()
        .find(|(group, _)| *group == name && !group.is_empty())?;
    let mut entry = group_entry(group, &versions);
    entry["kind"] = "APIGroup".into();
    entry["apiVersion"] = "v1".into();
    Some(entry)
}

/// `/api/v1`, `/apis/GROUP/VERSION`
pub(crate) fn resources(served: &Served, group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    for kind in of(served, group, version) {
        let mut entry = json!({
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": VERBS,
        });
        if !kind.short_names.is_empty() {
            entry["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            entry["categories"] = json!(kind.categories);
        }
        resources.push(entry);
        for part in parts(kind) {
            let mut entry = json!({
                "name": format!("{}/{}", kind.plural, part.name),
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": part.kind,
                "verbs": part.verbs,
            });
            if part.group != group {
                entry["group"] = part.group.into();
                entry["version"] = part.version.into();
            }
            resources.push(entry);
        }
    }
    for review in reviews::of(group, version) {
        resources.push(json!({
            "name": review.plural,
            "singularName": review.singular,
            "namespaced": review.namespaced,
            "kind": review.kind,
            "verbs": ["create"],
        }));
    }
    if resources.is_empty() {
        return None;
    }
    let group_version = match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    }))
}

fn aggregated_resource(kind: &'static Kind) -> Value {
    let subresources: Vec<Value> = parts(kind)
        .into_iter()
        .map(|part| {
            json!({
                "subresource": part.name,
                "responseKind": {
                    "group": part.group, "version": part.version, "kind": part.kind,
                },
                "verbs": part.verbs,
            })
        })
        .collect();
    let mut entry = json!({
        "resource": kind.plural,
        "responseKind": { "group": kind.group, "version": kind.version, "kind": kind.kind },
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": VERBS,
    });
    for (field, list) in [
        ("shortNames", kind.short_names),
        ("categories", kind.categories),
    ] {
        if !list.is_empty() {
            entry[field] = json!(list);
        }
    }
    if !subresources.is_empty() {
        entry["subresources"] = json!(subresources);
    }
    entry
}

fn aggregated_review(review: &'static Review) -> Value {
    json!({
        "resource": review.plural,
        "responseKind": {
            "group": review.group, "version": reviews::VERSION, "kind": review.kind,
        },
        "scope": if review.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": review.singular,
        "verbs": ["create"],
    })
}

/// `/api` (the core group) and `/apis` (the others) in one document.
pub(crate) fn aggregated(served: &Served, core: bool) -> Response<Body> {
    let items: Vec<Value> = by_group(served)
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let version = |version: &&str| {
                let kinds = of(served, group, version).map(aggregated_resource);
                let reviews = reviews::of(group, version).map(aggregated_review);
                let resources = kinds.chain(reviews);
                json!({
                    "version": version,
                    "freshness": "Current",
                    "resources": resources.collect::<Vec<_>>(),
                })
            };
            let versions: Vec<Value> = versions.iter().map(version).collect();
            let mut metadata = json!({ "creationTimestamp": null });
            if !core {
                metadata["name"] = group.into();
            }
            json!({ "metadata": metadata, "versions": versions })
        })
        .collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    });
    let mut response = http::json_bytes(200, Bytes::from(document.to_string()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
    response
}
