//! What becomes of dependents: deletions in the foreground, orphans, circles; and Namespaces that
//! tell what is left of them.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Server, eventually, status};
use crate::objects::from;

const HOLD: &str = "example.org/hold";

struct Family {
    server: Server,
    maps: Api<ConfigMap>,
}

impl Family {
    async fn new() -> Family {
        let server = Server::start().await;
        let maps = Api::default_namespaced(server.client().await);
        Family { server, maps }
    }

    /// Makes an object that these own, with whether they wait for it.
    async fn make(&self, name: &str, owners: &[(&str, bool)], finalizers: &[&str]) {
        let mut references = Vec::new();
        for (owner, blocks) in owners {
            references.push(self.reference(owner, *blocks).await);
        }
        let map: ConfigMap = from(json!({ "metadata": {
            "name": name, "ownerReferences": references, "finalizers": finalizers,
        } }));
        self.maps
            .create(&PostParams::default(), &map)
            .await
            .unwrap();
    }

    async fn reference(&self, owner: &str, blocks: bool) -> Value {
        let uid = self.maps.get(owner).await.unwrap().metadata.uid;
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid,
            "blockOwnerDeletion": blocks,
        })
    }

    async fn patch(&self, name: &str, metadata: Value) {
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let params = PatchParams::default();
        self.maps.patch(name, &params, &patch).await.unwrap();
    }

    async fn is_gone(&self, name: &str) {
        eventually(name, || async {
            let found = self.maps.get_opt(name).await.unwrap();
            found.is_none().then_some(())
        })
        .await;
    }

    async fn is_going(&self, name: &str) {
        eventually(name, || async {
            let found = self.maps.get(name).await.unwrap();
            found.metadata.deletion_timestamp.map(|_| ())
        })
        .await;
    }

    async fn finalizers(&self, name: &str) -> Vec<String> {
        let found = self.maps.get(name).await.unwrap();
        found.metadata.finalizers.unwrap_or_default()
    }
}

#[tokio::test]
async fn in_the_foreground_an_owner_goes_last() {
    let family = Family::new().await;
    family.make("top", &[], &[]).await;
    family.make("middle", &[("top", true)], &[]).await;
    family.make("leaf", &[("middle", true)], &[HOLD]).await;
    family.make("aside", &[("top", false)], &[HOLD]).await;
    family.make("other", &[], &[]).await;
    family
        .make("shared", &[("top", true), ("other", true)], &[])
        .await;
    let answer = family
        .maps
        .delete("top", &DeleteParams::foreground())
        .await
        .unwrap();
    let marked = answer.left().unwrap().metadata;
    assert!(marked.deletion_timestamp.is_some());
    assert_eq!(marked.finalizers.unwrap(), ["foregroundDeletion"]);
    // What is owned goes before its owner, those that others own too stay with those.
    family.is_going("leaf").await;
    family.is_going("aside").await;
    eventually("shared has forgotten top", || async {
        let shared = family.maps.get("shared").await.unwrap().metadata;
        let left = shared.owner_references.unwrap();
        (left.len() == 1 && left[0].name == "other").then_some(())
    })
    .await;
    assert_eq!(family.finalizers("middle").await, ["foregroundDeletion"]);
    assert_eq!(family.finalizers("top").await, ["foregroundDeletion"]);
    family.patch("leaf", json!({ "finalizers": null })).await;
    for gone in ["leaf", "middle", "top"] {
        family.is_gone(gone).await;
    }
    // Nobody waited for this one.
    assert_eq!(family.finalizers("aside").await, [HOLD]);
    assert!(
        family
            .maps
            .get("shared")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_none()
    );
}

#[tokio::test]
async fn who_waits_for_each_other_goes_all_the_same() {
    let family = Family::new().await;
    family.make("a", &[], &[]).await;
    family.make("b", &[("a", true)], &[]).await;
    family.make("c", &[("b", true)], &[]).await;
    let back = family.reference("c", true).await;
    family
        .patch("a", json!({ "ownerReferences": [back] }))
        .await;
    family.make("self", &[], &[]).await;
    let itself = family.reference("self", true).await;
    family
        .patch("self", json!({ "ownerReferences": [itself] }))
        .await;
    for name in ["a", "b", "self"] {
        let params = DeleteParams::foreground();
        // The second may have gone with the first by now.
        match family.maps.delete(name, &params).await {
            Err(kube::Error::Api(status)) if name == "b" && status.code == 404 => {}
            asked => drop(asked.unwrap()),
        }
    }
    for name in ["a", "b", "c", "self"] {
        family.is_gone(name).await;
    }
}

#[tokio::test]
async fn orphans_stay_and_forget_their_owner() {
    let family = Family::new().await;
    family.make("top", &[], &[]).await;
    // More than are done in one go.
    for i in 0..150 {
        let owner = [("top", true)];
        family.make(&format!("child-{i}"), &owner, &[]).await;
    }
    family
        .maps
        .delete("top", &DeleteParams::orphan())
        .await
        .unwrap();
    family.is_gone("top").await;
    let left = family.maps.list(&ListParams::default()).await.unwrap();
    let children = left
        .items
        .iter()
        .filter(|map| map.metadata.name.as_ref().unwrap().starts_with("child"));
    let children: Vec<_> = children.collect();
    assert_eq!(children.len(), 150);
    for child in children {
        assert_eq!(child.metadata.owner_references, None);
        assert_eq!(child.metadata.deletion_timestamp, None);
    }
    // An object's own finalizer says the same when the request says nothing.
    family.make("wise", &[], &["orphan"]).await;
    family.make("heir", &[("wise", true)], &[]).await;
    family
        .maps
        .delete("wise", &DeleteParams::default())
        .await
        .unwrap();
    family.is_gone("wise").await;
    let heir = family.maps.get("heir").await.unwrap();
    assert_eq!(heir.metadata.owner_references, None);
}

#[tokio::test]
async fn what_a_request_says_of_dependents_is_checked() {
    let family = Family::new().await;
    family.make("a", &[], &[]).await;
    let path = "/api/v1/namespaces/default/configmaps/a";
    let ask = |query: &'static str, body: &'static str| {
        let (server, path) = (&family.server, format!("{path}{query}"));
        async move { server.ask("DELETE", &path, "", body.as_bytes()).await }
    };
    let (code, _, answer) = ask("?propagationPolicy=Later", "").await;
    assert_eq!(code, 422, "{answer}");
    assert!(
        answer.contains(r#"supported values: \"Background\", \"Foreground\", \"Orphan\""#),
        "{answer}"
    );
    let both = r#"{"propagationPolicy":"Orphan","orphanDependents":true}"#;
    let (code, _, answer) = ask("", both).await;
    assert_eq!(code, 422, "{answer}");
    assert!(answer.contains("cannot be both set"), "{answer}");
    let (code, _, answer) = ask("?orphanDependents=true&dryRun=All", "").await;
    assert_eq!(code, 200, "{answer}");
    assert!(answer.contains(r#""finalizers":["orphan"]"#), "{answer}");
    assert_eq!(family.finalizers("a").await, [""; 0]);
    let two =
        Patch::Merge(json!({ "metadata": { "finalizers": ["orphan", "foregroundDeletion"] } }));
    let refused = family.maps.patch("a", &PatchParams::default(), &two).await;
    assert_eq!(status(refused).code, 422);
}

fn condition(namespace: &Namespace, name: &str) -> Option<String> {
    let status = namespace.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    let found = conditions.find(|one| one.type_ == name)?;
    Some(format!(
        "{} {}",
        found.status,
        found.message.as_deref().unwrap_or("")
    ))
}

#[tokio::test]
async fn a_namespace_tells_what_is_left_and_its_pods_go_first() {
    let server = Server::start().await;
    let client = server.client().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let (params, all) = (PostParams::default(), DeleteParams::default());
    let made = from(json!({ "metadata": { "name": "n" } }));
    namespaces.create(&params, &made).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "n");
    let held = json!({ "metadata": { "name": "held", "finalizers": [HOLD] } });
    maps.create(&params, &from(held)).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client, "n");
    let pod = json!({
        "metadata": { "name": "p" },
        "spec": { "nodeName": "x", "containers": [{ "name": "main", "image": "seaway" }] },
    });
    pods.create(&params, &from(pod)).await.unwrap();
    namespaces.delete("n", &all).await.unwrap();
    let told = |name: &'static str, wanted: &'static str| {
        let namespaces = namespaces.clone();
        async move {
            eventually(wanted, || async {
                let namespace = namespaces.get("n").await.unwrap();
                (condition(&namespace, name).as_deref() == Some(wanted)).then_some(())
            })
            .await;
        }
    };
    told(
        "NamespaceContentRemaining",
        "True Some resources are remaining: configmaps. has 1 resource instances, pods. has 1 \
         resource instances",
    )
    .await;
    let map = maps.get("held").await.unwrap();
    assert_eq!(map.metadata.deletion_timestamp, None, "the Pod is there");
    pods.delete("p", &all.clone().grace_period(0))
        .await
        .unwrap();
    told(
        "NamespaceContentRemaining",
        "True Some resources are remaining: configmaps. has 1 resource instances",
    )
    .await;
    told(
        "NamespaceFinalizersRemaining",
        "True Some content in the namespace has finalizers remaining: example.org/hold in 1 \
         resource instances",
    )
    .await;
    let map = maps.get("held").await.unwrap();
    assert!(map.metadata.deletion_timestamp.is_some());
    let none = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    let params = PatchParams::default();
    maps.patch("held", &params, &none).await.unwrap();
    eventually("the namespace is gone", || async {
        let found = namespaces.get_opt("n").await.unwrap();
        found.is_none().then_some(())
    })
    .await;
}
