//! Whether a request may be made, before anything of it is done.

use hyper::Method;

use super::Call;
use crate::audit;
use crate::auth::User;
use crate::http::{Query, Target};
use crate::rbac::{Ask, On, Thing};
use crate::reviews::Review;
use crate::server::Server;
use crate::status::ApiError;

/// Parts of Pods that are reached by GET from WebSocket clients and that nobody may reach who may only
/// read.
const STREAMS: [&str; 3] = ["exec", "attach", "portforward"];

/// Passes a request for objects.
pub(crate) fn to_objects(
    server: &Server,
    user: &User,
    method: &Method,
    target: &Target,
    query: &Query,
) -> Result<(), ApiError> {
    let verb = audit::verb(method, target, query);
    let kind = target.kind;
    let named = target.name.as_deref();
    let part = target.subresource.as_deref().unwrap_or("");
    let thing = Thing {
        group: kind.group,
        resource: kind.plural,
        part,
        namespace: match (&target.namespace, kind.plural) {
            (Some(namespace), _) => namespace,
            // A Namespace is in itself, so that its own roles can be about it.
            (None, "namespaces") if kind.group.is_empty() => named.unwrap_or(""),
            (None, _) => "",
        },
        name: named.or_else(|| selected(verb, query)).unwrap_or(""),
    };
    let ask = |verb| {
        server
            .rbac
            .authorise(&server.store, user, &Ask::on(verb, thing))
    };
    ask(verb)?;
    if method == Method::GET && kind.kind == "Pod" && STREAMS.contains(&part) {
        ask("create")?;
    }
    Ok(())
}

/// Passes the creation of what an apply does not find.
pub(super) fn to_create(call: &Call) -> Result<(), ApiError> {
    let thing = Thing {
        group: call.kind.group,
        resource: call.kind.plural,
        part: "",
        namespace: call.namespace.as_deref().unwrap_or(""),
        name: call.name.as_deref().unwrap_or(""),
    };
    let (server, ask) = (&call.server, Ask::on("create", thing));
    server.rbac.authorise(&server.store, &call.user, &ask)
}

/// The one name that a list or watch asks for.
fn selected<'a>(verb: &str, query: &'a Query) -> Option<&'a str> {
    if !matches!(verb, "list" | "watch" | "deletecollection") {
        return None;
    }
    let mut parts = query.get("fieldSelector")?.split(',');
    parts.find_map(|part| {
        let value = part.trim().strip_prefix("metadata.name=")?;
        Some(value.strip_prefix('=').unwrap_or(value))
    })
}

/// Passes a request for a path that leads to no objects.
pub(crate) fn to_path(
    server: &Server,
    user: &User,
    method: &Method,
    path: &str,
) -> Result<(), ApiError> {
    let verb = method.as_str().to_ascii_lowercase();
    let on = On::Path(path);
    let ask = Ask { verb: &verb, on };
    server.rbac.authorise(&server.store, user, &ask)
}

/// Passes a review.
pub(crate) fn to_review(
    server: &Server,
    user: &User,
    review: &Review,
    namespace: &str,
) -> Result<(), ApiError> {
    let thing = Thing {
        group: review.group,
        resource: review.plural,
        namespace,
        ..Thing::default()
    };
    let ask = Ask::on("create", thing);
    server.rbac.authorise(&server.store, user, &ask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selected_name_counts_as_named() {
        for (selector, expected) in [
            ("metadata.name=a", Some("a")),
            ("spec.x=1,metadata.name==a", Some("a")),
            ("metadata.name!=a", None),
            ("", None),
        ] {
            let query = format!("fieldSelector={}", selector.replace('=', "%3D"));
            let query = Query::parse(&query);
            assert_eq!(selected("watch", &query), expected, "{selector}");
            assert_eq!(selected("create", &query), None);
        }
    }
}
