//! Which roles somebody has: bindings by subject and namespace, kept up with the store by its logs.
//!
//! To answer a request nothing is searched: the bindings of the user and of each group are looked up,
//! those in the whole cluster and those in the one namespace. A change of a role or binding costs
//! what that object costs.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::rules::Rule;
use crate::kinds::read;
use crate::store::Key;

/// A binding that gives rules to somebody.
#[derive(Debug)]
pub(crate) struct Grant<'a> {
    /// Without a namespace for a ClusterRoleBinding.
    pub(crate) binding: &'a Key,
    /// Without a namespace for a ClusterRole.
    pub(crate) role: &'a Key,
    /// Whom it names: `User "u"`.
    pub(crate) subject: Subject<'a>,
}

/// Somebody whom bindings name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject<'a> {
    User(&'a str),
    Group(&'a str),
}

/// The bindings of each subject: by namespace, empty for the whole cluster, then by name.
type Bound = HashMap<Box<str>, HashMap<Box<str>, BTreeMap<Key, Key>>>;

/// Roles by their name, and bindings by whom they name.
#[derive(Debug, Default)]
pub(crate) struct Index {
    roles: HashMap<Key, Vec<Rule>>,
    users: Bound,
    groups: Bound,
    /// Whom each binding names: (is a group, name).
    named: HashMap<Key, Vec<(bool, Box<str>)>>,
}

impl Index {
    /// Forgets the roles or the bindings of the cluster or of all namespaces.
    pub(super) fn forget(&mut self, roles: bool, namespaced: bool) {
        let of = |key: &&Key| key.namespace.is_empty() != namespaced;
        if roles {
            self.roles
                .retain(|key, _| key.namespace.is_empty() == namespaced);
        } else {
            let gone: Vec<Key> = self.named.keys().filter(of).cloned().collect();
            for key in gone {
                self.unbind(&key);
            }
        }
    }

    /// Takes a role as it is now.
    pub(super) fn put_role(&mut self, key: &Key, role: &Value) {
        self.roles.insert(key.clone(), Rule::of(role));
    }

    /// Takes a role away.
    pub(super) fn drop_role(&mut self, key: &Key) {
        self.roles.remove(key);
    }

    /// Takes a binding as it is now.
    pub(super) fn bind(&mut self, key: &Key, binding: &Value) {
        self.unbind(key);
        let role = &binding["roleRef"];
        let namespace = match read::text(role, "kind") {
            "Role" => key.namespace.as_ref(),
            _ => "",
        };
        let role = Key::new(namespace, read::text(role, "name"));
        let named: Vec<(bool, Box<str>)> = read::list(binding, "subjects")
            .iter()
            .filter_map(subject)
            .collect();
        for (is_group, name) in &named {
            let bound = self.bound(*is_group).entry(name.clone()).or_default();
            let here = bound.entry(key.namespace.clone()).or_default();
            here.insert(key.clone(), role.clone());
        }
        self.named.insert(key.clone(), named);
    }

    /// Takes a binding away.
    pub(super) fn unbind(&mut self, key: &Key) {
        for (is_group, name) in self.named.remove(key).unwrap_or_default() {
            let bound = self.bound(is_group);
            let Some(places) = bound.get_mut(&name) else {
                continue;
            };
            if let Some(here) = places.get_mut(&key.namespace) {
                here.remove(key);
                if here.is_empty() {
                    places.remove(&key.namespace);
                }
            }
            if places.is_empty() {
                bound.remove(&name);
            }
        }
    }

    fn bound(&mut self, is_group: bool) -> &mut Bound {
        match is_group {
            true => &mut self.groups,
            false => &mut self.users,
        }
    }

    /// The rules of a role.
    pub(crate) fn rules(&self, role: &Key) -> Option<&[Rule]> {
        self.roles.get(role).map(Vec::as_slice)
    }

    /// Shows the rules that somebody has in a namespace (empty: in the whole cluster) until `show`
    /// says that it has seen enough; gives the roles that bindings name and that do not exist.
    pub(crate) fn visit<'a>(
        &'a self,
        user: &'a str,
        groups: &'a [String],
        namespace: &str,
        mut show: impl FnMut(&Grant<'a>, &'a Rule) -> bool,
    ) -> Vec<&'a Key> {
        let subjects = || {
            let groups = groups.iter().map(|group| Subject::Group(group));
            std::iter::once(Subject::User(user)).chain(groups)
        };
        let mut missing = Vec::new();
        let places = std::iter::once("").chain((!namespace.is_empty()).then_some(namespace));
        for place in places {
            for subject in subjects() {
                let bound = match subject {
                    Subject::User(name) => self.users.get(name),
                    Subject::Group(name) => self.groups.get(name),
                };
                let here = bound.and_then(|places| places.get(place));
                for (binding, role) in here.into_iter().flatten() {
                    let Some(rules) = self.roles.get(role) else {
                        missing.push(role);
                        continue;
                    };
                    let grant = Grant {
                        binding,
                        role,
                        subject,
                    };
                    if rules.iter().any(|rule| show(&grant, rule)) {
                        return missing;
                    }
                }
            }
        }
        missing
    }
}

/// Whom a subject of a binding means.
fn subject(subject: &Value) -> Option<(bool, Box<str>)> {
    let name = read::text(subject, "name");
    match read::text(subject, "kind") {
        "User" => Some((false, name.into())),
        "Group" => Some((true, name.into())),
        "ServiceAccount" => {
            let namespace = read::text(subject, "namespace");
            let user = format!("system:serviceaccount:{namespace}:{name}");
            Some((false, user.into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(index: &Index, user: &str, groups: &[&str], namespace: &str) -> Vec<String> {
        let groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
        let mut found = Vec::new();
        let missing = index.visit(user, &groups, namespace, |grant, rule| {
            found.push(format!("{}:{}", grant.binding.name, rule.verbs[0]));
            false
        });
        let missing: Vec<String> = missing
            .iter()
            .map(|key| format!("no {}", key.name))
            .collect();
        found.extend(missing);
        found
    }

    fn binding(kind: &str, role: &str, subjects: Value) -> Value {
        json!({"roleRef": {"kind": kind, "name": role}, "subjects": subjects})
    }

    #[test]
    fn bindings_hold_where_they_stand_for_whom_they_name() {
        let mut index = Index::default();
        let role = |verb: &str| json!({"rules": [{"verbs": [verb]}]});
        index.put_role(&Key::new("", "wide"), &role("get"));
        index.put_role(&Key::new("n", "local"), &role("list"));
        let user = json!([{"kind": "User", "name": "u"}]);
        let group = json!([{"kind": "Group", "name": "g"}, {"kind": "User", "name": "other"}]);
        let account = json!([{"kind": "ServiceAccount", "name": "s", "namespace": "m"}]);
        index.bind(
            &Key::new("", "a"),
            &binding("ClusterRole", "wide", user.clone()),
        );
        index.bind(&Key::new("n", "b"), &binding("Role", "local", group));
        index.bind(
            &Key::new("n", "c"),
            &binding("ClusterRole", "wide", account),
        );
        index.bind(&Key::new("m", "d"), &binding("Role", "local", user));
        assert_eq!(seen(&index, "u", &["g"], "n"), ["a:get", "b:list"]);
        assert_eq!(seen(&index, "u", &["g"], ""), ["a:get"]);
        assert_eq!(seen(&index, "g", &["u"], "n"), [""; 0]);
        assert_eq!(
            seen(&index, "system:serviceaccount:m:s", &[], "n"),
            ["c:get"]
        );
        // A Role is one of the binding's own namespace.
        assert_eq!(seen(&index, "u", &[], "m"), ["a:get", "no local"]);
    }

    #[test]
    fn what_is_gone_or_changed_holds_no_more() {
        let mut index = Index::default();
        index.put_role(&Key::new("", "r"), &json!({"rules": [{"verbs": ["get"]}]}));
        let of = |name: &str| binding("ClusterRole", "r", json!([{"kind": "User", "name": name}]));
        let key = Key::new("n", "b");
        index.bind(&key, &of("u"));
        index.bind(&key, &of("v"));
        assert_eq!(seen(&index, "u", &[], "n"), [""; 0]);
        assert_eq!(seen(&index, "v", &[], "n"), ["b:get"]);
        index.drop_role(&Key::new("", "r"));
        assert_eq!(seen(&index, "v", &[], "n"), ["no r"]);
        index.forget(false, false);
        assert_eq!(index.named.len(), 1);
        index.forget(false, true);
        assert!(index.named.is_empty() && index.users.is_empty() && index.groups.is_empty());
    }
}
