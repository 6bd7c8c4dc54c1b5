//! Roles and their bindings; `crate::rbac` holds users to them.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde_json::Value;

use super::fault::{FieldError, immutable, one_of};
use super::{Kind, any_status, keep_nothing, names, nothing, read};
use crate::decode::typed;
use crate::table;

const GROUP: &str = "rbac.authorization.k8s.io";

/// rbac.authorization.k8s.io/v1 Role.
pub(super) const ROLE: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "Role",
    plural: "roles",
    singular: "role",
    short_names: &[],
    categories: &[],
    namespaced: true,
    has_status: false,
    has_scale: false,
    bumps_generation: false,
    custom: None,
    columns: table::rights::ROLE,
    decode: typed::<Role>,
    default: nothing,
    validate: |new, _| rules(new, true),
    selectable: &[],
    on_create: nothing,
    on_update: keep_nothing,
    on_status: keep_nothing,
    validate_status: any_status,
};

/// rbac.authorization.k8s.io/v1 ClusterRole.
pub(super) const CLUSTER_ROLE: Kind = Kind {
    kind: "ClusterRole",
    plural: "clusterroles",
    singular: "clusterrole",
    namespaced: false,
    decode: typed::<ClusterRole>,
    validate: |new, _| rules(new, false),
    ..ROLE
};

/// rbac.authorization.k8s.io/v1 RoleBinding.
pub(super) const ROLE_BINDING: Kind = Kind {
    kind: "RoleBinding",
    plural: "rolebindings",
    singular: "rolebinding",
    columns: table::rights::BINDING,
    decode: typed::<RoleBinding>,
    default: default_binding,
    validate: |new, old| binding(new, old, &["ClusterRole", "Role"]),
    ..ROLE
};

/// rbac.authorization.k8s.io/v1 ClusterRoleBinding.
pub(super) const CLUSTER_ROLE_BINDING: Kind = Kind {
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    namespaced: false,
    columns: table::rights::BINDING,
    decode: typed::<ClusterRoleBinding>,
    default: default_binding,
    validate: |new, old| binding(new, old, &["ClusterRole"]),
    ..ROLE
};

fn default_binding(binding: &mut Value) {
    if let Some(role) = binding.get_mut("roleRef").filter(|role| role.is_object()) {
        group_or(role, GROUP);
    }
    for subject in read::list_mut(binding, "subjects") {
        if matches!(read::text(subject, "kind"), "User" | "Group") {
            group_or(subject, GROUP);
        }
    }
}

/// An empty group counts as none given.
fn group_or(value: &mut Value, group: &str) {
    if read::text(value, "apiGroup").is_empty() {
        read::put(value, "apiGroup", group);
    }
}

fn rules(role: &Value, namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, rule) in read::list(role, "rules").iter().enumerate() {
        let field = |name: &str| format!("rules[{index}].{name}");
        let mut needs = |name: &str, detail: &str| {
            if read::list(rule, name).is_empty() {
                errors.push(FieldError::required(field(name), detail));
            }
        };
        needs("verbs", "verbs must contain at least one value");
        let urls = !read::list(rule, "nonResourceURLs").is_empty();
        if urls && namespaced {
            let detail = "namespaced rules cannot apply to non-resource URLs";
            errors.push(FieldError::forbidden(field("nonResourceURLs"), detail));
        } else if !urls {
            needs(
                "apiGroups",
                "resource rules must supply at least one api group",
            );
            needs(
                "resources",
                "resource rules must supply at least one resource",
            );
        }
    }
    errors
}

fn binding(new: &Value, old: Option<&Value>, roles: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let role = &new["roleRef"];
    let group = read::text(role, "apiGroup");
    one_of(&mut errors, "roleRef.apiGroup".to_owned(), group, &[GROUP]);
    let kind = read::text(role, "kind");
    one_of(&mut errors, "roleRef.kind".to_owned(), kind, roles);
    named(&mut errors, "roleRef", role);
    for (index, subject) in read::list(new, "subjects").iter().enumerate() {
        let field = format!("subjects[{index}]");
        named(&mut errors, &field, subject);
        let kind = read::text(subject, "kind");
        const KINDS: [&str; 3] = ["ServiceAccount", "User", "Group"];
        one_of(&mut errors, format!("{field}.kind"), kind, &KINDS);
        if kind == "ServiceAccount" && read::text(subject, "namespace").is_empty() {
            errors.push(FieldError::required(format!("{field}.namespace"), ""));
        }
    }
    if let Some(old) = old {
        immutable(&mut errors, "roleRef", role, &old["roleRef"]);
    }
    errors
}

fn named(errors: &mut Vec<FieldError>, field: &str, value: &Value) {
    let name = read::text(value, "name");
    if name.is_empty() {
        errors.push(FieldError::required(format!("{field}.name"), ""));
    } else {
        let faults = names::path_segment(name);
        names::push_all(errors, &format!("{field}.name"), name, faults);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::{fields, merged};

    #[test]
    fn rules_say_what_may_be_done_to_what() {
        let good = json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
        assert_eq!(rules(&good, true), []);
        let urls = json!({"rules": [{"nonResourceURLs": ["/livez"], "verbs": ["get"]}]});
        assert_eq!(rules(&urls, false), []);
        assert_eq!(fields(&rules(&urls, true)), ["rules[0].nonResourceURLs"]);
        let nothing = json!({"rules": [{}]});
        let expected = ["rules[0].verbs", "rules[0].apiGroups", "rules[0].resources"];
        assert_eq!(fields(&rules(&nothing, true)), expected);
    }

    #[test]
    fn a_binding_names_a_role_for_good_and_those_who_have_it() {
        let mut good = json!({
            "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [
                {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
                {"kind": "User", "name": "system:u"},
            ],
        });
        default_binding(&mut good);
        assert_eq!(good["roleRef"]["apiGroup"], GROUP);
        assert_eq!(good["subjects"][1]["apiGroup"], GROUP);
        assert_eq!(good["subjects"][0].get("apiGroup"), None);
        for (change, expected) in [
            (json!({}), vec![]),
            (json!({"roleRef": {"name": "other"}}), vec!["roleRef"]),
            (json!({"roleRef": {"kind": "ClusterRole"}}), vec!["roleRef"]),
            (
                json!({"subjects": [{"kind": "ServiceAccount", "name": "s"}]}),
                vec!["subjects[0].namespace"],
            ),
            (
                json!({"subjects": [{"kind": "Robot", "name": "a/b"}]}),
                vec!["subjects[0].name", "subjects[0].kind"],
            ),
        ] {
            let errors = binding(
                &merged(&good, &change),
                Some(&good),
                &["ClusterRole", "Role"],
            );
            assert_eq!(fields(&errors), expected, "{change}");
        }
        let errors = binding(&good, None, &["ClusterRole"]);
        assert_eq!(fields(&errors), ["roleRef.kind"]);
    }
}
