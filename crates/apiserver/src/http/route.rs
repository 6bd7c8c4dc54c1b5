//! What a path means.

use crate::kinds::{Kind, Served};
use crate::reviews::{self, Review};

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Route {
    /// `/livez`, `/readyz`, `/healthz`
    Health,
    /// `/version`
    Version,
    /// `/api`
    Core,
    /// `/apis`
    Groups,
    /// `/apis/GROUP`
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`
    GroupVersion(String, String),
    /// `/openapi/v2`
    OpenapiV2,
    /// `/openapi/v3`
    Openapi,
    /// `/openapi/v3/api/v1`, `/openapi/v3/apis/GROUP/VERSION`
    OpenapiDocument(String, String),
    /// Objects.
    Resource(Target),
    /// A review, in a namespace or not.
    Review(&'static Review, Option<String>),
    /// Nothing.
    Unknown,
}

/// The objects, object or part of an object that a path names.
#[derive(Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.group, self.kind)
    }
}

/// Finds out what a path means.
pub(crate) fn route(served: &Served, path: &str) -> Route {
    let decoded: Option<Vec<String>> = path
        .trim_matches('/')
        .split('/')
        .map(decode_segment)
        .collect();
    let Some(segments) = decoded else {
        return Route::Unknown;
    };
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["livez" | "readyz" | "healthz", ..] => Route::Health,
        ["version"] => Route::Version,
        ["api"] => Route::Core,
        ["apis"] => Route::Groups,
        ["apis", group] => Route::Group((*group).to_owned()),
        ["api", "v1"] => Route::GroupVersion(String::new(), "v1".to_owned()),
        ["apis", group, version] => Route::GroupVersion((*group).to_owned(), (*version).to_owned()),
        ["openapi", "v2"] => Route::OpenapiV2,
        ["openapi", "v3"] => Route::Openapi,
        ["openapi", "v3", "api", "v1"] => Route::OpenapiDocument(String::new(), "v1".to_owned()),
        ["openapi", "v3", "apis", group, version] => {
            Route::OpenapiDocument((*group).to_owned(), (*version).to_owned())
        }
        ["api", "v1", rest @ ..] => resource(served, "", "v1", rest),
        ["apis", group, version, rest @ ..] => resource(served, group, version, rest),
        _ => Route::Unknown,
    }
}

/// Undoes percent-encoding of one segment; nothing in a Kubernetes name needs a slash or a NUL.
fn decode_segment(segment: &str) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let byte = u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
        if byte == 0 || byte == b'/' {
            return None;
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

fn resource(served: &Served, group: &str, version: &str, rest: &[&str]) -> Route {
    let (namespace, rest) = match rest {
        // `namespaces/NAME`, `namespaces/NAME/status` are about the Namespace itself.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
        _ => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        // A binding is posted to its own collection or to the Pod.
        ["bindings"] if group.is_empty() && namespace.is_some() => {
            ("pods", None, Some("binding".to_owned()))
        }
        [plural] => (*plural, None, None),
        [plural, name] => (*plural, Some((*name).to_owned()), None),
        [plural, name, subresource @ ..] => (
            *plural,
            Some((*name).to_owned()),
            Some(subresource.join("/")),
        ),
        [] => return Route::Unknown,
    };
    let Some(kind) = served.find(group, version, plural) else {
        return match reviews::find(group, version, plural, namespace.is_some()) {
            Some(review) if name.is_none() => Route::Review(review, namespace),
            _ => Route::Unknown,
        };
    };
    let misplaced = (namespace.is_some() && !kind.namespaced)
        || (kind.namespaced && namespace.is_none() && name.is_some());
    if misplaced || name.as_deref() == Some("") {
        return Route::Unknown;
    }
    Route::Resource(Target {
        kind,
        namespace,
        name,
        subresource,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::kinds::Registry;

    fn target(path: &str) -> Option<(String, [String; 3])> {
        let Route::Resource(target) = route(&Registry::default().served(), path) else {
            return None;
        };
        let parts = [target.namespace, target.name, target.subresource];
        Some((
            target.kind.kind.to_owned(),
            parts.map(Option::unwrap_or_default),
        ))
    }

    fn wanted(kind: &str, parts: [&str; 3]) -> Option<(String, [String; 3])> {
        Some((kind.to_owned(), parts.map(str::to_owned)))
    }

    #[test]
    fn paths_name_objects() {
        for (path, expected) in [
            ("/api/v1/pods", wanted("Pod", ["", "", ""])),
            ("/api/v1/namespaces/n/pods", wanted("Pod", ["n", "", ""])),
            ("/api/v1/namespaces/n/pods/p", wanted("Pod", ["n", "p", ""])),
            (
                "/api/v1/namespaces/n/pods/p/log",
                wanted("Pod", ["n", "p", "log"]),
            ),
            (
                "/api/v1/namespaces/n/bindings",
                wanted("Pod", ["n", "", "binding"]),
            ),
            ("/api/v1/namespaces/n", wanted("Namespace", ["", "n", ""])),
            (
                "/api/v1/namespaces/n/status",
                wanted("Namespace", ["", "n", "status"]),
            ),
            ("/api/v1/namespaces", wanted("Namespace", ["", "", ""])),
            ("/api/v1/nodes/a%2Db", wanted("Node", ["", "a-b", ""])),
            (
                "/apis/apps/v1/namespaces/n/deployments/d/scale",
                wanted("Deployment", ["n", "d", "scale"]),
            ),
            ("/api/v1/namespaces/n/nodes", None),
            ("/api/v1/pods/p", None),
            ("/api/v1/nodes/a%2fb", None),
            ("/api/v1/nodes/a%", None),
            ("/apis/apps/v2/deployments", None),
            ("/", None),
        ] {
            assert_eq!(target(path), expected, "{path}");
        }
    }
}
