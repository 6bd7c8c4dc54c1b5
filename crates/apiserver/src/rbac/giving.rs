//! Nobody gives away what they do not have: who writes roles and bindings must hold all rights in
//! them, or have the verb `escalate` on the role, or `bind` on the role that is bound.

use serde_json::Value;

use super::rules::not_covered;
use super::{Ask, GROUP, Rule, Thing};
use crate::auth::User;
use crate::handlers::Call;
use crate::kinds::read;
use crate::lifecycle::meta;
use crate::status::ApiError;
use crate::store::Key;

/// Passes a role or binding (or anything else) that the caller may write, given what it replaces.
pub(crate) fn may_give(call: &Call, new: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    if call.kind.group != GROUP || call.user.is_master() {
        return Ok(());
    }
    let same = |fields: &[&str]| {
        let is_same = |field: &&str| old.is_some_and(|old| old.get(*field) == new.get(*field));
        fields.iter().all(is_same)
    };
    match call.kind.kind {
        "Role" | "ClusterRole" if !same(&["rules", "aggregationRule"]) => role(call, new),
        "RoleBinding" | "ClusterRoleBinding" if !same(&["subjects", "roleRef"]) => {
            binding(call, new)
        }
        _ => Ok(()),
    }
}

fn may(call: &Call, verb: &str, resource: &str, name: &str) -> bool {
    let thing = Thing {
        group: GROUP,
        resource,
        part: "",
        namespace: call.namespace.as_deref().unwrap_or(""),
        name,
    };
    let server = &call.server;
    let ask = Ask::on(verb, thing);
    server
        .rbac
        .authorise(&server.store, &call.user, &ask)
        .is_ok()
}

fn role(call: &Call, new: &Value) -> Result<(), ApiError> {
    let name = meta(new, "name");
    if may(call, "escalate", call.kind.plural, name) {
        return Ok(());
    }
    let mut wanted = Rule::of(new);
    if read::has(new, "aggregationRule") {
        // Its rules may become any.
        let all = || vec!["*".into()];
        wanted.push(Rule {
            verbs: all(),
            api_groups: all(),
            resources: all(),
            ..Rule::default()
        });
        wanted.push(Rule {
            verbs: all(),
            urls: all(),
            ..Rule::default()
        });
    }
    held(call, name, &wanted)
}

fn binding(call: &Call, new: &Value) -> Result<(), ApiError> {
    let name = meta(new, "name");
    let role = &new["roleRef"];
    let role_name = read::text(role, "name");
    let (plural, namespace) = match read::text(role, "kind") {
        "Role" => ("roles", call.namespace.as_deref().unwrap_or("")),
        _ => ("clusterroles", ""),
    };
    if may(call, "bind", plural, role_name) {
        return Ok(());
    }
    let server = &call.server;
    let key = Key::new(namespace, role_name);
    let rules = server.rbac.index(&server.store, |index| {
        index.rules(&key).map(<[Rule]>::to_vec)
    });
    let rules = rules.ok_or_else(|| {
        let message = format!("{plural}.{GROUP} {role_name:?} not found");
        ApiError::new(404, "NotFound", message)
    })?;
    held(call, name, &rules)
}

/// Passes rules that the caller holds.
fn held(call: &Call, name: &str, wanted: &[Rule]) -> Result<(), ApiError> {
    let server = &call.server;
    let namespace = call.namespace.as_deref().unwrap_or("");
    let own = server.rbac.rules_of(&server.store, &call.user, namespace);
    match not_covered(wanted, &own) {
        None => Ok(()),
        Some(missing) => {
            let why = format!(
                "{} is attempting to grant RBAC permissions not currently held:\n{missing}",
                described(&call.user)
            );
            Err(ApiError::forbidden(call.kind, name, &why))
        }
    }
}

fn described(user: &User) -> String {
    let groups: Vec<String> = user.groups.iter().map(|one| format!("{one:?}")).collect();
    format!("user {:?} (groups=[{}])", user.name, groups.join(" "))
}
