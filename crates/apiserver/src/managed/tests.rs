//! The rules of the module, each by name.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::kinds::{find, samples};
use crate::schema;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn who(name: &str, applies: bool) -> Identity {
    Identity {
        applies,
        manager: name.into(),
        api_version: "v1".into(),
        subresource: "".into(),
    }
}

/// An object and its managers, as the server would keep both.
struct Kept {
    plural: &'static str,
    object: Value,
    managers: Managers,
    now: i64,
}

impl Kept {
    fn of(plural: &'static str) -> Arc<Type> {
        let group = if plural == "deployments" { "apps" } else { "" };
        schema::of(find(group, "v1", plural).unwrap())
    }

    fn created(plural: &'static str, author: &str, object: Value) -> Self {
        let managers = created(
            &object,
            &Self::of(plural),
            Part::Main,
            &who(author, false),
            at(0),
        );
        Self {
            plural,
            object,
            managers,
            now: 0,
        }
    }

    fn applied(plural: &'static str, author: &str, config: Value) -> Self {
        let mut kept = Self {
            plural,
            object: json!({}),
            managers: Managers::default(),
            now: 0,
        };
        let wish = (who(author, true), Self::of(plural));
        let wish = Apply {
            config: &config,
            of: &wish.1,
            part: Part::Main,
            author: &wish.0,
            force: false,
            now: at(0),
        };
        (kept.object, kept.managers) = apply(&wish, None).unwrap();
        kept
    }

    fn update(&mut self, author: &str, part: Part, object: Value) {
        self.now += 1;
        let (of, author) = (Self::of(self.plural), who(author, false));
        let both = (&self.object, &object);
        self.managers = updated(&self.managers, both, &of, part, &author, at(self.now));
        self.object = object;
    }

    fn apply(&mut self, author: &str, force: bool, config: Value) -> Result<(), ApplyError> {
        self.now += 1;
        let wish = Apply {
            config: &config,
            of: &Self::of(self.plural),
            part: Part::Main,
            author: &who(author, true),
            force,
            now: at(self.now),
        };
        (self.object, self.managers) = apply(&wish, Some((&self.object, &self.managers)))?;
        Ok(())
    }

    fn entry(&self, author: &str) -> Option<Value> {
        let managers = self.managers.value();
        let managers = managers.as_array().cloned().unwrap_or_default();
        managers
            .into_iter()
            .find(|entry| entry["manager"] == author)
    }

    fn fields(&self, author: &str) -> Value {
        self.entry(author)
            .map_or(Value::Null, |entry| entry["fieldsV1"].clone())
    }
}

fn conflicts(outcome: Result<(), ApplyError>) -> Vec<(String, String)> {
    match outcome {
        Err(ApplyError::Conflicts(conflicts)) => conflicts
            .into_iter()
            .map(|one| (one.manager, one.field))
            .collect(),
        other => panic!("no conflict: {other:?}"),
    }
}

#[test]
fn who_creates_owns_what_is_there_and_embedded_structs_are_no_news() {
    let kept = Kept::created(
        "deployments",
        "kubectl-create",
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "namespace": "b", "labels": {"app": "a"}},
            "spec": {
                "replicas": 1, "selector": {"matchLabels": {"app": "a"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
                "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [
                    {"name": "c", "image": "i", "resources": {}, "ports": [{"containerPort": 80}]}]}},
            },
            "status": {"replicas": 1},
        }),
    );
    // As kube-apiserver writes it for `kubectl create deployment`.
    assert_eq!(
        kept.fields("kubectl-create"),
        json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {
                "f:replicas": {}, "f:selector": {},
                "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
                "f:template": {
                    "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                    "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                        ".": {}, "f:name": {}, "f:image": {}, "f:resources": {},
                        "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {
                            ".": {}, "f:containerPort": {}}},
                    }}},
                },
            },
        })
    );
}

#[test]
fn an_update_takes_what_it_changes_and_drops_what_it_removes() {
    let object = |data: Value| json!({"metadata": {"name": "a"}, "data": data});
    let mut kept = Kept::created(
        "configmaps",
        "a",
        object(json!({"x": "1", "y": "1", "z": "1"})),
    );
    kept.update(
        "b",
        Part::All,
        object(json!({"x": "2", "y": "1", "w": "1"})),
    );
    assert_eq!(kept.fields("a"), json!({"f:data": {".": {}, "f:y": {}}}));
    assert_eq!(kept.fields("b"), json!({"f:data": {"f:w": {}, "f:x": {}}}));
    let before = kept.managers.clone();
    kept.update("c", Part::All, kept.object.clone());
    assert_eq!(
        kept.managers, before,
        "nothing changed, so nothing is written down"
    );
    kept.update("b", Part::All, object(json!({"y": "1"})));
    assert!(kept.entry("b").is_none());
}

#[test]
fn an_update_of_the_status_owns_no_more_than_that() {
    let pod = |phase: &str| json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n"}, "status": {"phase": phase}});
    let mut kept = Kept::created("pods", "a", pod(""));
    kept.update("kubelet", Part::Status, pod("Running"));
    assert_eq!(kept.fields("kubelet"), json!({"f:status": {"f:phase": {}}}));
    assert_eq!(kept.fields("a"), json!({"f:spec": {"f:nodeName": {}}}));
}

#[test]
fn appliers_share_what_they_agree_on_and_conflict_in_what_they_do_not() {
    let config = |data: Value| json!({"apiVersion": "v1", "metadata": {"name": "a"}, "data": data});
    let mut kept = Kept::applied("configmaps", "one", config(json!({"x": "1", "y": "1"})));
    kept.apply("two", false, config(json!({"x": "1", "z": "1"})))
        .unwrap();
    assert_eq!(kept.object["data"], json!({"x": "1", "y": "1", "z": "1"}));
    let fight = kept.apply("two", false, config(json!({"x": "2", "y": "2"})));
    assert_eq!(
        conflicts(fight),
        [
            ("\"one\"".to_owned(), ".data.x".to_owned()),
            ("\"one\"".to_owned(), ".data.y".to_owned()),
        ]
    );
    kept.apply("two", true, config(json!({"x": "2"}))).unwrap();
    // `z` belonged to nobody else, so it is gone; `x` has changed hands.
    assert_eq!(kept.object["data"], json!({"x": "2", "y": "1"}));
    assert_eq!(kept.fields("one"), json!({"f:data": {"f:y": {}}}));
    assert_eq!(kept.fields("two"), json!({"f:data": {"f:x": {}}}));
    // Updaters are told of with their version.
    kept.update("ed", Part::All, config(json!({"x": "3", "y": "1"})));
    let fight = kept.apply("two", false, config(json!({"x": "2"})));
    assert_eq!(conflicts(fight)[0].0, "\"ed\" using v1");
}

#[test]
fn what_an_applier_gives_up_goes_unless_others_own_it() {
    let config = |containers: Value| json!({"metadata": {"name": "a"}, "spec": {"template": {"spec": {"containers": containers}}}});
    let two = json!([{"name": "a", "image": "i", "env": [{"name": "X", "value": "1"}]},
                     {"name": "b", "image": "i"}]);
    let mut kept = Kept::applied("deployments", "one", config(two));
    let mut scaled = kept.object.clone();
    scaled["spec"]["replicas"] = 3.into();
    kept.update("scaler", Part::Main, scaled);
    kept.apply("one", false, config(json!([{"name": "b", "image": "j"}])))
        .unwrap();
    assert_eq!(
        kept.object["spec"],
        json!({"replicas": 3, "template": {"spec": {"containers": [{"name": "b", "image": "j"}]}}})
    );
    kept.apply("one", false, json!({"metadata": {"name": "a"}}))
        .unwrap();
    assert_eq!(kept.object["spec"], json!({"replicas": 3}));
    assert!(kept.entry("one").is_none());
}

#[test]
fn times_move_with_a_managers_own_fields_alone() {
    let config = |value: &str| json!({"metadata": {"name": "a"}, "data": {"x": value}});
    let mut kept = Kept::applied("configmaps", "one", config("1"));
    let time = |kept: &Kept| kept.entry("one").unwrap()["time"].clone();
    let first = time(&kept);
    kept.apply("one", false, config("1")).unwrap();
    kept.apply(
        "two",
        false,
        json!({"metadata": {"name": "a"}, "data": {"y": "1"}}),
    )
    .unwrap();
    assert_eq!(time(&kept), first);
    kept.apply("one", false, config("2")).unwrap();
    assert_ne!(time(&kept), first);
}

#[test]
fn lists_of_a_configuration_must_be_clear() {
    let of = Kept::of("services");
    let tell = |ports: Value| merge::check(&json!({"spec": {"ports": ports}}), &of).unwrap_err();
    assert_eq!(
        tell(json!([{"name": "a"}])),
        ".spec.ports: element 0: associative list with keys has an element that omits key field \
         \"port\" (and doesn't have default value)"
    );
    assert_eq!(
        tell(json!([{"port": 1}, {"port": 1, "protocol": "TCP"}])),
        ".spec.ports: duplicate entries for key {\"port\":1,\"protocol\":\"TCP\"}"
    );
    assert!(
        merge::check(
            &json!({"spec": {"ports": [{"port": 1}, {"port": 1, "protocol": "UDP"}]}}),
            &of
        )
        .is_ok()
    );
}

#[test]
fn an_object_of_which_nothing_is_known_was_somebodys() {
    let object = json!({"metadata": {"name": "a"}, "data": {"x": "1"}});
    let mut kept = Kept::created("configmaps", "a", object);
    kept.managers = given(&kept.managers, Some(&json!([{}])));
    assert!(kept.managers.is_empty());
    kept.update(
        "b",
        Part::All,
        json!({"metadata": {"name": "a"}, "data": {"x": "2"}}),
    );
    assert!(
        kept.managers.is_empty(),
        "it is not written down until somebody applies"
    );
    let fight = kept.apply(
        "one",
        false,
        json!({"metadata": {"name": "a"}, "data": {"x": "3"}}),
    );
    assert_eq!(conflicts(fight)[0].0, "\"before-first-apply\" using v1");
}

#[test]
fn kubectl_takes_over_from_its_client_side() {
    let last = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}});
    let annotation = last.to_string();
    let object = json!({"metadata": {"name": "a", "annotations": {apply::LAST_APPLIED: annotation}},
                        "data": {"x": "1", "y": "1"}});
    let mut kept = Kept::created("configmaps", "kubectl-client-side-apply", object);
    let wanted = |value: &str| json!({"metadata": {"name": "a"}, "data": {"x": value}});
    assert_eq!(conflicts(kept.apply("other", false, wanted("2"))).len(), 1);
    kept.apply("kubectl", false, wanted("2")).unwrap();
    assert_eq!(kept.object["data"], json!({"x": "2", "y": "1"}));
    let annotation = &kept.object["metadata"]["annotations"][apply::LAST_APPLIED];
    let kept_config: Value = serde_json::from_str(annotation.as_str().unwrap()).unwrap();
    assert_eq!(kept_config, wanted("2"));
    // What the client side did not want is not its to give.
    let fight = kept.apply(
        "kubectl",
        false,
        json!({"metadata": {"name": "a"}, "data": {"y": "2"}}),
    );
    assert_eq!(
        conflicts(fight),
        [(
            "\"kubectl-client-side-apply\" using v1".to_owned(),
            ".data.y".to_owned()
        )]
    );
}

#[test]
fn many_updaters_become_one() {
    let object =
        |value: usize| json!({"metadata": {"name": "a"}, "data": {format!("k{value}"): "1"}});
    let mut kept = Kept::created("configmaps", "m0", object(0));
    for number in 1..40 {
        let mut next = kept.object.clone();
        next["data"][format!("k{number}")] = "1".into();
        kept.update(&format!("m{number}"), Part::All, next);
    }
    let managers = kept.managers.value();
    assert_eq!(managers.as_array().unwrap().len(), MAX_UPDATERS);
    assert_eq!(kept.fields("m39"), json!({"f:data": {"f:k39": {}}}));
    assert!(kept.fields(ANCIENT)["f:data"].get("f:k0").is_some());
}

proptest! {
    #[test]
    fn applying_is_idempotent_and_says_what_it_wrote(live in samples::json(), config in samples::json()) {
        let (config, object) = (json!({"metadata": {"name": "a"}, "spec": config, "data": config}),
                                json!({"metadata": {"name": "a"}, "spec": live, "data": live}));
        for plural in ["pods", "services", "configmaps", "deployments"] {
            let mut kept = Kept::created(plural, "a", object.clone());
            if kept.apply("one", true, config.clone()).is_err() {
                continue;
            }
            let (value, managers) = (kept.object.clone(), kept.managers.clone());
            kept.apply("one", false, config.clone()).unwrap();
            prop_assert_eq!(&kept.object, &value);
            prop_assert_eq!(&kept.managers, &managers);
        }
    }

    #[test]
    fn changes_are_told_whatever_the_objects(old in samples::json(), new in samples::json()) {
        let of = Kept::of("pods");
        let (old, new) = (json!({"spec": old}), json!({"spec": new}));
        prop_assert!(compare(&old, &old, &of).is_empty());
        let (there, back) = (compare(&old, &new, &of), compare(&new, &old, &of));
        prop_assert_eq!(there.added, back.removed);
        prop_assert_eq!(there.modified, back.modified);
    }
}
