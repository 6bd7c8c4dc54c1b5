//! The audit trail of an API server, held against the rules of the manifest.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

const MANIFEST: &str = include_str!("../../../deploy/seaway.yaml");
const NAMESPACE: &str = "seaway-system";

/// One thing that a rule allows: a verb on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    own_namespace: bool,
    group: String,
    resource: String,
    verb: String,
    names: Vec<String>,
}

/// A request that was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) verb: String,
    pub(crate) group: String,
    /// With its subresource.
    pub(crate) resource: String,
    namespace: String,
    name: String,
}

/// What the manifest allows to a service account, each verb of each rule for itself.
pub(crate) fn granted(account: &str) -> BTreeSet<Right> {
    let documents = MANIFEST.split("\n---\n").map(|document| {
        let value: Value = serde_saphyr::from_str(document).expect("YAML");
        value
    });
    let roles = documents.filter(|object| {
        let kind = object["kind"].as_str().unwrap_or_default();
        object["metadata"]["name"] == account && ["Role", "ClusterRole"].contains(&kind)
    });
    let mut rights = BTreeSet::new();
    for role in roles {
        let own_namespace = role["kind"] == "Role";
        for rule in role["rules"].as_array().expect("rules") {
            for [group, resource, verb] in product(rule) {
                let names = texts(&rule["resourceNames"]);
                rights.insert(Right {
                    own_namespace,
                    group,
                    resource,
                    verb,
                    names,
                });
            }
        }
    }
    rights
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let texts = items
        .iter()
        .map(|item| item.as_str().expect("a text").to_owned());
    texts.collect()
}

fn product(rule: &Value) -> Vec<[String; 3]> {
    let [groups, resources, verbs] =
        ["apiGroups", "resources", "verbs"].map(|name| texts(&rule[name]));
    let mut all = Vec::new();
    for group in &groups {
        for resource in &resources {
            all.extend(
                verbs
                    .iter()
                    .map(|verb| [group, resource, verb].map(Clone::clone)),
            );
        }
    }
    all
}

/// What a service account asked for.
pub(crate) fn asked(trail: &Path, account: &str) -> BTreeSet<Request> {
    let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
    let text = std::fs::read_to_string(trail).expect("the audit trail");
    // The last line may be half written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let entries = whole.lines().map(|line| {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        entry
    });
    let ours = entries.filter(|entry| entry["user"] == user.as_str());
    ours.map(|entry| {
        let text = |name: &str| entry[name].as_str().expect("a text").to_owned();
        let resource = match text("subresource") {
            part if part.is_empty() => text("resource"),
            part => format!("{}/{part}", text("resource")),
        };
        Request {
            verb: text("verb"),
            group: text("group"),
            resource,
            namespace: text("namespace"),
            name: text("name"),
        }
    })
    .collect()
}

impl Right {
    /// Whether it allows a request. A watch of one object is a list with a field selector, whose name
    /// the trail does not tell.
    pub(crate) fn allows(&self, request: &Request) -> bool {
        let named = request.name.is_empty() && request.verb == "watch";
        (&self.group, &self.resource, &self.verb)
            == (&request.group, &request.resource, &request.verb)
            && (!self.own_namespace || request.namespace == NAMESPACE)
            && (self.names.is_empty() || named || self.names.contains(&request.name))
    }
}

#[test]
fn a_right_allows_what_it_names_and_no_more() {
    let right = |own_namespace, names: &[&str]| Right {
        own_namespace,
        group: String::new(),
        resource: "nodes/status".to_owned(),
        verb: "patch".to_owned(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    let request = Request {
        verb: "patch".to_owned(),
        group: String::new(),
        resource: "nodes/status".to_owned(),
        namespace: String::new(),
        name: "node1".to_owned(),
    };
    assert!(right(false, &[]).allows(&request));
    assert!(right(false, &["node1"]).allows(&request));
    assert!(!right(false, &["node2"]).allows(&request));
    assert!(!right(true, &[]).allows(&request));
    for other in [
        Request {
            verb: "update".to_owned(),
            ..request.clone()
        },
        Request {
            resource: "nodes".to_owned(),
            ..request.clone()
        },
        Request {
            group: "apps".to_owned(),
            ..request.clone()
        },
    ] {
        assert!(!right(false, &[]).allows(&other), "{other:?}");
    }
}
