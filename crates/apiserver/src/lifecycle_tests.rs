//! The rules of an object's life, one test a rule.

use super::*;
use crate::kinds;

fn pod() -> &'static Kind {
    kinds::find("", "v1", "pods").unwrap()
}

fn now() -> Timestamp {
    "2026-11-27T14:00:00Z".parse().unwrap()
}

fn grace(grace: Option<i64>) -> Asked {
    Asked {
        grace,
        policy: None,
    }
}

fn dependents(policy: Policy) -> Asked {
    Asked {
        grace: None,
        policy: Some(policy),
    }
}

#[test]
fn an_unbound_pod_goes_at_once() {
    let object = json!({ "metadata": { "name": "a" }, "spec": {} });
    assert_eq!(delete(pod(), &object, grace(None), now()), Deletion::Now);
}

#[test]
fn a_terminal_pod_goes_at_once() {
    let object = json!({
        "metadata": { "name": "a" }, "spec": { "nodeName": "n" }, "status": { "phase": "Failed" },
    });
    assert_eq!(delete(pod(), &object, grace(None), now()), Deletion::Now);
}

#[test]
fn a_bound_pod_is_marked_and_goes_with_grace_zero() {
    let object = json!({
        "metadata": { "name": "a", "generation": 1 },
        "spec": { "nodeName": "n", "terminationGracePeriodSeconds": 7 },
    });
    let Deletion::Mark(marked) = delete(pod(), &object, grace(None), now()) else {
        panic!("a bound Pod must be marked first");
    };
    assert_eq!(meta(&marked, "deletionTimestamp"), "2026-11-27T14:00:07Z");
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 7);
    assert_eq!(marked["metadata"]["generation"], 2);
    assert_eq!(
        delete(pod(), &marked, grace(None), now()),
        Deletion::Pending
    );
    assert_eq!(
        delete(pod(), &marked, grace(Some(9)), now()),
        Deletion::Pending
    );
    assert!(matches!(
        delete(pod(), &marked, grace(Some(3)), now()),
        Deletion::Mark(_)
    ));
    assert_eq!(delete(pod(), &marked, grace(Some(0)), now()), Deletion::Now);
    assert!(!is_finished(pod(), &marked));
}

#[test]
fn finalizers_hold_an_object_until_the_last_is_gone() {
    let kind = kinds::find("", "v1", "configmaps").unwrap();
    let object = json!({ "metadata": { "name": "a", "finalizers": ["x/y"] } });
    let Deletion::Mark(marked) = delete(kind, &object, grace(None), now()) else {
        panic!("a finalizer must hold the object");
    };
    assert!(!is_finished(kind, &marked));
    let mut more = (*marked).clone();
    more["metadata"]["finalizers"] = json!(["x/y", "z/z"]);
    assert!(
        check_finalizers(&more, &marked)
            .unwrap()
            .message
            .contains("z/z")
    );
    let mut free = (*marked).clone();
    free["metadata"]["finalizers"] = json!([]);
    assert!(check_finalizers(&free, &marked).is_none());
    assert!(is_finished(kind, &free));
}

#[test]
fn generation_counts_the_spec_alone() {
    let kind = kinds::find("apps", "v1", "deployments").unwrap();
    let old = json!({ "metadata": { "generation": 4 }, "spec": { "replicas": 1 } });
    let mut labelled = old.clone();
    labelled["metadata"]["labels"] = json!({ "a": "b" });
    labelled["status"] = json!({ "replicas": 1 });
    bump_generation(kind, &mut labelled, &old);
    assert_eq!(labelled["metadata"]["generation"], 4);
    let mut scaled = old.clone();
    scaled["spec"]["replicas"] = 2.into();
    bump_generation(kind, &mut scaled, &old);
    assert_eq!(scaled["metadata"]["generation"], 5);
}

#[test]
fn identity_cannot_be_changed() {
    let old = json!({ "metadata": { "name": "a", "uid": "1", "resourceVersion": "5" } });
    let mut new = json!({
        "metadata": { "name": "a", "uid": "2", "deletionTimestamp": "x", "managedFields": [] },
    });
    keep_identity(&mut new, &old);
    assert_eq!(new, old);
}

#[test]
fn dropping_owners_leaves_the_others() {
    let mut object = json!({
        "metadata": { "ownerReferences": [{ "uid": "1" }, { "uid": "2" }] },
    });
    assert!(drop_owners(&mut object, &["1".into()]));
    assert!(!drop_owners(&mut object, &["1".into()]));
    assert_eq!(
        object["metadata"]["ownerReferences"],
        json!([{ "uid": "2" }])
    );
    assert!(drop_owners(&mut object, &["2".into()]));
    assert!(object["metadata"].get("ownerReferences").is_none());
}

#[test]
fn a_policy_is_a_finalizer_and_a_later_one_takes_its_place() {
    let kind = kinds::find("", "v1", "configmaps").unwrap();
    let object = json!({ "metadata": { "name": "a", "finalizers": ["x/y", "orphan"] } });
    let mark = |object: &Value, asked| match delete(kind, object, asked, now()) {
        Deletion::Mark(marked) => *marked,
        other => panic!("{other:?} instead of a mark"),
    };
    let own = mark(&object, Asked::default());
    assert_eq!(own["metadata"]["finalizers"], json!(["x/y", "orphan"]));
    let first = mark(&object, dependents(Policy::Foreground));
    assert_eq!(
        first["metadata"]["finalizers"],
        json!(["x/y", "foregroundDeletion"])
    );
    assert_eq!(
        delete(kind, &first, Asked::default(), now()),
        Deletion::Pending
    );
    assert_eq!(
        delete(kind, &first, dependents(Policy::Foreground), now()),
        Deletion::Pending
    );
    let then = mark(&first, dependents(Policy::Background));
    assert_eq!(then["metadata"]["finalizers"], json!(["x/y"]));
    let free = json!({ "metadata": { "name": "a", "finalizers": ["foregroundDeletion"] } });
    let waiting = mark(&free, Asked::default());
    assert_eq!(
        delete(kind, &waiting, dependents(Policy::Background), now()),
        Deletion::Now
    );
    let event = kinds::find("", "v1", "events").unwrap();
    assert_eq!(
        delete(event, &free, dependents(Policy::Foreground), now()),
        Deletion::Now
    );
}

#[test]
fn a_grace_period_and_a_policy_go_together() {
    let object = json!({
        "metadata": { "name": "a" },
        "spec": { "nodeName": "n", "terminationGracePeriodSeconds": 7 },
    });
    let Deletion::Mark(marked) = delete(pod(), &object, dependents(Policy::Foreground), now())
    else {
        panic!("a bound Pod must be marked first");
    };
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 7);
    // While it takes its time, nothing changes but the time.
    assert_eq!(
        delete(pod(), &marked, dependents(Policy::Background), now()),
        Deletion::Pending
    );
    let Deletion::Mark(over) = delete(pod(), &marked, grace(Some(0)), now()) else {
        panic!("the finalizer must hold it");
    };
    assert_eq!(over["metadata"]["deletionGracePeriodSeconds"], 0);
    let mut free = (*over).clone();
    drop_finalizer(&mut free, FOREGROUND);
    assert!(!is_finished(pod(), &over) && is_finished(pod(), &free));
}
