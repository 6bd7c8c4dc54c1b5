//! OpenAPI, as little as clients need: v3 says which paths there are, of which kind, that PATCH
//! takes `fieldValidation` and `dryRun`, and what fields the kinds have; v2 is there and empty.
//!
//! Nobody can validate an object by it: that is the server's part.

mod descriptions;
mod schemas;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::kinds::{Kind, Served};

/// How clients ask for [`document_v2`] in protobuf.
pub(crate) const PROTOBUF_V2: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// What it is called in the answer: an `@` is no letter of a media type.
pub(crate) const PROTOBUF_V2_ANSWER: &str =
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const TITLE: &str = "Seaway's lab API";

/// The parameters that writing verbs take.
const WRITE_PARAMETERS: [&str; 4] = ["dryRun", "fieldManager", "fieldValidation", "pretty"];

fn prefix(kind: &Kind) -> String {
    if kind.group.is_empty() {
        format!("api/{}", kind.version)
    } else {
        format!("apis/{}/{}", kind.group, kind.version)
    }
}

/// `/openapi/v3`
pub(crate) fn index(served: &Served) -> Value {
    let mut paths = json!({});
    for kind in served.all() {
        let prefix = prefix(kind);
        let url = format!("/openapi/v3/{prefix}?hash={}", env!("CARGO_PKG_VERSION"));
        paths[prefix] = json!({ "serverRelativeURL": url });
    }
    json!({ "paths": paths })
}

fn operation(kind: &Kind, action: &str, parameters: &[&str]) -> Value {
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|name| json!({ "name": name, "in": "query", "schema": { "type": "string" } }))
        .collect();
    json!({
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {
            "group": kind.group, "version": kind.version, "kind": kind.kind,
        },
        "parameters": parameters,
        "responses": { "200": { "description": "OK" } },
    })
}

fn collection(kind: &Kind) -> Value {
    json!({
        "get": operation(kind, "list", &["labelSelector", "fieldSelector", "limit", "continue"]),
        "post": operation(kind, "post", &WRITE_PARAMETERS),
        "delete": operation(kind, "deletecollection", &["labelSelector", "fieldSelector"]),
    })
}

fn item(kind: &Kind) -> Value {
    json!({
        "get": operation(kind, "get", &["pretty"]),
        "put": operation(kind, "put", &WRITE_PARAMETERS),
        "patch": operation(kind, "patch", &WRITE_PARAMETERS),
        "delete": operation(kind, "delete", &["dryRun", "gracePeriodSeconds"]),
    })
}

/// `/openapi/v2`: a valid document without paths.
///
/// `kubectl` asks for it when an object's kind is in no v3 document, and then says that there is no
/// such kind; without it, it would complain of the missing document.
pub(crate) fn document_v2() -> Value {
    json!({
        "swagger": "2.0",
        "info": { "title": TITLE, "version": env!("CARGO_PKG_VERSION") },
        "paths": {},
    })
}

/// The same as a gnostic `openapi.v2.Document`: swagger is field 1, info 2 (title 1, version 2),
/// paths 8.
pub(crate) fn protobuf_v2() -> Bytes {
    let field = |number: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).expect("these texts are shorter than 128 bytes");
        [&[number << 3 | 2, length], content].concat()
    };
    let info = [
        field(1, TITLE.as_bytes()),
        field(2, env!("CARGO_PKG_VERSION").as_bytes()),
    ];
    let document = [field(1, b"2.0"), field(2, &info.concat()), field(8, b"")];
    Bytes::from(document.concat())
}

/// `/openapi/v3/api/v1`, `/openapi/v3/apis/GROUP/VERSION`
pub(crate) fn document(served: &Served, group: &str, version: &str) -> Option<Value> {
    let (mut paths, mut described) = (json!({}), Vec::new());
    for kind in served.all() {
        if kind.group != group || kind.version != version {
            continue;
        }
        let base = if kind.namespaced {
            format!("/{}/namespaces/{{namespace}}/{}", prefix(kind), kind.plural)
        } else {
            format!("/{}/{}", prefix(kind), kind.plural)
        };
        paths[format!("{base}/{{name}}")] = item(kind);
        if kind.has_status {
            paths[format!("{base}/{{name}}/status")] = json!({
                "get": operation(kind, "get", &["pretty"]),
                "put": operation(kind, "put", &WRITE_PARAMETERS),
                "patch": operation(kind, "patch", &WRITE_PARAMETERS),
            });
        }
        paths[base] = collection(kind);
        described.push(kind);
    }
    (paths != json!({})).then(|| {
        json!({
            "openapi": "3.0.0",
            "info": { "title": TITLE, "version": env!("CARGO_PKG_VERSION") },
            "paths": paths,
            "components": { "schemas": schemas::of(served, &described) },
        })
    })
}
