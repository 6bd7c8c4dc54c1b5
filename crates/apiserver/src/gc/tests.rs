//! What is said of a Namespace that goes.

use serde_json::json;

use super::namespaces::set_conditions;
use crate::store::Remains;

#[test]
fn conditions_tell_what_is_left_and_since_when() {
    let mut namespace = json!({ "status": { "phase": "Terminating" } });
    let mut remains = Remains::default();
    remains.resources.insert("pods.".into(), 2);
    remains.resources.insert("deployments.apps".into(), 1);
    remains.finalizers.insert("example.org/x".into(), 1);
    set_conditions(&mut namespace, &remains, &["no".into()], "then");
    let find = |namespace: &serde_json::Value, name: &str| {
        let list = namespace["status"]["conditions"].as_array().unwrap();
        list.iter().find(|one| one["type"] == name).unwrap().clone()
    };
    assert_eq!(
        find(&namespace, "NamespaceContentRemaining"),
        json!({
            "type": "NamespaceContentRemaining", "status": "True", "lastTransitionTime": "then",
            "reason": "SomeResourcesRemain",
            "message": "Some resources are remaining: deployments.apps has 1 resource instances, \
                        pods. has 2 resource instances",
        })
    );
    assert_eq!(
        find(&namespace, "NamespaceFinalizersRemaining")["message"],
        "Some content in the namespace has finalizers remaining: example.org/x in 1 resource instances"
    );
    assert_eq!(
        find(&namespace, "NamespaceDeletionContentFailure")["reason"],
        "ContentDeletionFailed"
    );
    set_conditions(&mut namespace, &Remains::default(), &[], "now");
    let list = namespace["status"]["conditions"].as_array().unwrap();
    assert_eq!(list.len(), 5);
    assert!(list.iter().all(|one| one["status"] == "False"));
    let since = |name: &str| find(&namespace, name)["lastTransitionTime"].clone();
    assert_eq!(since("NamespaceContentRemaining"), "now");
    assert_eq!(since("NamespaceDeletionDiscoveryFailure"), "then");
}
