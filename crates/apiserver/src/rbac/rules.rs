//! Rules of roles: what they allow, and whether some rules allow all that others do.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Ask, On};

/// More grants of one verb on one resource than this are not looked at one by one.
const MAX_SPLIT: usize = 10_000;
const ALL: &str = "*";

/// One rule of a Role or ClusterRole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<Box<str>>,
    pub(crate) api_groups: Vec<Box<str>>,
    pub(crate) resources: Vec<Box<str>>,
    pub(crate) resource_names: Vec<Box<str>>,
    #[serde(rename = "nonResourceURLs")]
    pub(crate) urls: Vec<Box<str>>,
}

fn holds(list: &[Box<str>], wanted: &str) -> bool {
    list.iter().any(|one| **one == *ALL || **one == *wanted)
}

/// Whether `resource` of a rule stands for a resource or its part.
fn is_resource(pattern: &str, resource: &str, part: &str) -> bool {
    match pattern.split_once('/') {
        None => pattern == ALL || (part.is_empty() && pattern == resource),
        Some((of, named)) => !part.is_empty() && named == part && (of == ALL || of == resource),
    }
}

fn is_url(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => pattern == path,
    }
}

impl Rule {
    /// The rules of a Role or ClusterRole; what is none is left out.
    pub(crate) fn of(role: &Value) -> Vec<Rule> {
        let rules = role.get("rules").and_then(Value::as_array);
        let rules = rules.into_iter().flatten();
        rules
            .filter_map(|rule| Rule::deserialize(rule).ok())
            .collect()
    }

    /// Whether the rule allows what is asked for.
    pub(crate) fn allows(&self, ask: &Ask<'_>) -> bool {
        if !holds(&self.verbs, ask.verb) {
            return false;
        }
        match ask.on {
            On::Path(path) => self.urls.iter().any(|url| is_url(url, path)),
            On::Object(object) => {
                let names = &self.resource_names;
                holds(&self.api_groups, object.group)
                    && (self.resources.iter())
                        .any(|one| is_resource(one, object.resource, object.part))
                    && (names.is_empty() || names.iter().any(|name| **name == *object.name))
            }
        }
    }

    /// As people see it in reviews.
    pub(crate) fn shown(&self) -> Value {
        let mut rule = json!({ "verbs": self.verbs });
        for (field, list) in [
            ("apiGroups", &self.api_groups),
            ("resources", &self.resources),
            ("resourceNames", &self.resource_names),
            ("nonResourceURLs", &self.urls),
        ] {
            if !list.is_empty() {
                rule[field] = json!(list);
            }
        }
        rule
    }

    /// As Go prints it, which is how people know refusals.
    fn told(&self) -> String {
        let mut parts = Vec::new();
        for (name, list) in [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.resource_names),
            ("NonResourceURLs", &self.urls),
            ("Verbs", &self.verbs),
        ] {
            if !list.is_empty() {
                let items: Vec<String> = list.iter().map(|item| format!("{item:?}")).collect();
                parts.push(format!("{name}:[{}]", items.join(" ")));
            }
        }
        format!("{{{}}}", parts.join(", "))
    }

    /// How many grants of one verb on one thing it makes.
    fn grants(&self) -> usize {
        let names = self.resource_names.len().max(1);
        let objects = self.api_groups.len().saturating_mul(self.resources.len());
        let things = objects
            .saturating_mul(names)
            .saturating_add(self.urls.len());
        things.saturating_mul(self.verbs.len())
    }

    /// The grants, each as a rule of its own.
    fn split(&self) -> Vec<Rule> {
        let mut found = Vec::new();
        for verb in &self.verbs {
            for group in &self.api_groups {
                for resource in &self.resources {
                    let grant = Rule {
                        verbs: vec![verb.clone()],
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        ..Rule::default()
                    };
                    let named = self.resource_names.iter().map(|name| Rule {
                        resource_names: vec![name.clone()],
                        ..grant.clone()
                    });
                    found.extend(named);
                    if self.resource_names.is_empty() {
                        found.push(grant);
                    }
                }
            }
            found.extend(self.urls.iter().map(|url| Rule {
                verbs: vec![verb.clone()],
                urls: vec![url.clone()],
                ..Rule::default()
            }));
        }
        found
    }

    /// Whether it allows all that a single grant does.
    fn covers(&self, grant: &Rule) -> bool {
        let one = |list: &[Box<str>]| list.first().map_or(String::new(), ToString::to_string);
        let (verb, url) = (one(&grant.verbs), one(&grant.urls));
        if !holds(&self.verbs, &verb) {
            return false;
        }
        if !grant.urls.is_empty() {
            // A pattern is covered by one that is as wide: the text of both is compared.
            return self.urls.iter().any(|own| is_url(own, &url));
        }
        let resource = one(&grant.resources);
        let (of, part) = resource.split_once('/').unwrap_or((&resource, ""));
        let names = &self.resource_names;
        holds(&self.api_groups, &one(&grant.api_groups))
            && self.resources.iter().any(|own| is_resource(own, of, part))
            && (names.is_empty() || grant.resource_names.iter().any(|name| names.contains(name)))
    }
}

/// The grants among `wanted` that `held` does not cover, as people are told of them; or nothing
/// when everything is covered.
pub(crate) fn not_covered(wanted: &[Rule], held: &[Rule]) -> Option<String> {
    let total = wanted
        .iter()
        .fold(0_usize, |sum, rule| sum.saturating_add(rule.grants()));
    let everything = |rule: &Rule| {
        let all = |list: &[Box<str>]| list.iter().any(|one| **one == *ALL);
        all(&rule.verbs) && all(&rule.api_groups) && all(&rule.resources)
    };
    let no_urls = wanted.iter().all(|rule| rule.urls.is_empty());
    if no_urls
        && held
            .iter()
            .any(|rule| everything(rule) && rule.resource_names.is_empty())
    {
        return None;
    }
    if total > MAX_SPLIT {
        return Some(format!(
            "{total} grants, of which only {MAX_SPLIT} can be compared with those held"
        ));
    }
    let grants = wanted.iter().flat_map(Rule::split);
    let missing: Vec<String> = grants
        .filter(|grant| !held.iter().any(|rule| rule.covers(grant)))
        .map(|grant| grant.told())
        .take(32)
        .collect();
    (!missing.is_empty()).then(|| missing.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rbac::Thing;

    fn rule(value: Value) -> Rule {
        Rule::deserialize(&value).unwrap()
    }

    fn on<'a>(verb: &'a str, resource: &'a str, part: &'a str, name: &'a str) -> Ask<'a> {
        let thing = Thing {
            group: "",
            resource,
            part,
            namespace: "n",
            name,
        };
        Ask {
            verb,
            on: On::Object(thing),
        }
    }

    #[test]
    fn a_rule_allows_what_it_names_and_no_part_of_it() {
        let pods = rule(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}));
        assert!(pods.allows(&on("get", "pods", "", "p")));
        assert!(!pods.allows(&on("get", "pods", "log", "p")));
        assert!(!pods.allows(&on("list", "pods", "", "")));
        assert!(!pods.allows(&on("get", "services", "", "p")));
        let logs = rule(json!({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["*"]}));
        assert!(logs.allows(&on("get", "pods", "log", "p")));
        assert!(!logs.allows(&on("get", "pods", "", "p")));
        let scales = rule(json!({"apiGroups": ["*"], "resources": ["*/scale"], "verbs": ["get"]}));
        assert!(scales.allows(&on("get", "deployments", "scale", "d")));
        assert!(!scales.allows(&on("get", "deployments", "status", "d")));
        let all = rule(json!({"apiGroups": [""], "resources": ["*"], "verbs": ["get"]}));
        assert!(all.allows(&on("get", "pods", "log", "p")));
    }

    #[test]
    fn names_hold_for_named_objects_only() {
        let named = rule(json!({
            "apiGroups": [""], "resources": ["pods"], "verbs": ["*"], "resourceNames": ["p"],
        }));
        assert!(named.allows(&on("get", "pods", "", "p")));
        assert!(!named.allows(&on("get", "pods", "", "q")));
        assert!(!named.allows(&on("create", "pods", "", "")));
    }

    #[test]
    fn urls_may_end_in_anything() {
        let urls = rule(json!({"nonResourceURLs": ["/api/*", "/livez"], "verbs": ["get"]}));
        let ask = |path| Ask {
            verb: "get",
            on: On::Path(path),
        };
        assert!(urls.allows(&ask("/api/v1")) && urls.allows(&ask("/livez")));
        assert!(!urls.allows(&ask("/livez/x")) && !urls.allows(&ask("/apis")));
        assert!(!urls.allows(&on("get", "pods", "", "p")));
    }

    #[test]
    fn nobody_covers_more_than_they_hold() {
        let held = [rule(json!({
            "apiGroups": ["", "apps"], "resources": ["pods", "pods/log", "*/scale"],
            "verbs": ["get", "list"],
        }))];
        let check = |value: Value| not_covered(&[rule(value)], &held);
        let good =
            json!({"apiGroups": ["apps"], "resources": ["pods", "x/scale"], "verbs": ["get"]});
        assert_eq!(check(good), None);
        let named = json!({
            "apiGroups": [""], "resources": ["pods"], "verbs": ["list"], "resourceNames": ["p"],
        });
        assert_eq!(check(named), None);
        let more =
            json!({"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get", "*"]});
        let missing = check(more).unwrap();
        let expected = "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}\n\
                        {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"*\"]}\n\
                        {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"*\"]}";
        assert_eq!(missing, expected);
        let many: Vec<String> = (0..200).map(|number| format!("r{number}")).collect();
        let bomb = json!({"apiGroups": many, "resources": many, "verbs": many});
        assert!(check(bomb).unwrap().contains("8000000 grants"));
    }
}
