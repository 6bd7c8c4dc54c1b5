//! What Seaway's controller does in a cluster that has a control plane of its own.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use seaway_control::{ControlConfig, Election, Extent, Standing};
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually, from};

const TAINT: &str = "network.seaway.dev/agent-not-ready";

fn network_only() -> ControlConfig {
    ControlConfig {
        extent: Extent::Network,
        ..ControlConfig::default()
    }
}

async fn node(cluster: &Cluster, name: &str) -> Node {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    nodes.get(name).await.expect("there")
}

fn taints(node: &Node) -> Vec<String> {
    let taints = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten());
    taints.map(|t| format!("{}:{}", t.key, t.effect)).collect()
}

async fn say(cluster: &Cluster, name: &str, condition: &str, status: &str) {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let patch = json!({"status": {"conditions": [{"type": condition, "status": status}]}});
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .expect("written");
}

async fn events(cluster: &Cluster, namespace: &str, reason: &str) -> Vec<Event> {
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), namespace);
    let only = ListParams::default().fields(&format!("reason={reason}"));
    events.list(&only).await.expect("listed").items
}

#[tokio::test]
async fn the_start_up_taint_goes_when_the_network_is_up_and_no_other_taint_is_lost() {
    let cluster = Cluster::start(network_only()).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let spec = json!({"taints": [
        {"key": TAINT, "effect": "NoSchedule"},
        {"key": TAINT, "effect": "NoExecute", "value": "x"},
        {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]});
    for number in 0..20 {
        let name = format!("node{number}");
        cluster.add_node(&name, spec.clone()).await;
        say(&cluster, &name, "NetworkUnavailable", "True").await;
        assert_eq!(taints(&node(&cluster, &name).await).len(), 3);
        // Somebody else taints the node in the same moment, as everybody should: by its version.
        let others = async || {
            loop {
                let mut seen = node(&cluster, &name).await;
                let taints = seen
                    .spec
                    .get_or_insert_default()
                    .taints
                    .get_or_insert_default();
                taints.push(from(json!({"key": "theirs", "effect": "NoSchedule"})));
                if nodes
                    .replace(&name, &PostParams::default(), &seen)
                    .await
                    .is_ok()
                {
                    return;
                }
            }
        };
        tokio::join!(
            say(&cluster, &name, "NetworkUnavailable", "False"),
            others()
        );
        eventually("the taint is gone", async || {
            let seen = taints(&node(&cluster, &name).await);
            let wanted = [
                "node.kubernetes.io/not-ready:NoSchedule",
                "theirs:NoSchedule",
            ];
            if seen == wanted { Ok(()) } else { Err(seen) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_request_of_an_earlier_run_comes_too_late() {
    let one = network_only()
        .with_cluster_cidr("10.244.0.0/24".parse().expect("a range"), 24, 0)
        .and_then(|config| config.with_cluster_cidr("fd00::/64".parse().expect("a range"), 64, 0))
        .expect("ranges that can be cut");
    let mut cluster = Cluster::start(one).await;
    cluster.add_node("node1", json!({})).await;
    cluster.add_node("node2", json!({})).await;
    eventually("the second gets nothing, and that is told", async || {
        let told = events(&cluster, "default", "CIDRNotAvailable").await;
        if told
            .iter()
            .any(|e| e.involved_object.name.as_deref() == Some("node2"))
        {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    // What the first run may have had in its hands for the second node.
    let seen = node(&cluster, "node2").await;
    let late = json!({"metadata": {"uid": seen.metadata.uid,
        "resourceVersion": seen.metadata.resource_version},
        "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24", "fd00::/64"]}});
    cluster.restart_control();
    eventually("the next run has begun", async || {
        let seen = node(&cluster, "node2").await;
        let marks = seen.metadata.annotations.clone().unwrap_or_default();
        if marks.contains_key("network.seaway.dev/cidr-allocator") {
            Ok(())
        } else {
            Err(marks)
        }
    })
    .await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let answer = nodes
        .patch("node2", &PatchParams::default(), &Patch::Merge(late))
        .await;
    assert!(matches!(answer, Err(kube::Error::Api(status)) if status.code == 409));
    nodes
        .delete("node1", &DeleteParams::default())
        .await
        .expect("deleted");
    cluster.silence("node1");
    eventually("what is free again is given", async || {
        let spec = node(&cluster, "node2").await.spec.unwrap_or_default();
        if spec.pod_cidrs == Some(vec!["10.244.0.0/24".into(), "fd00::/64".into()]) {
            Ok(())
        } else {
            Err(spec)
        }
    })
    .await;
}

#[tokio::test]
async fn ranges_from_elsewhere_stay_and_doubts_are_told() {
    let config = network_only()
        .with_cluster_cidr("10.244.0.0/16".parse().expect("a range"), 24, 0)
        .expect("a range that can be cut");
    let cluster = Cluster::start(config).await;
    let given = json!({"podCIDR": "172.20.0.0/24", "podCIDRs": ["172.20.0.0/24"]});
    cluster.add_node("stranger", given.clone()).await;
    cluster.add_node("twin", given).await;
    eventually("both are told", async || {
        let told = events(&cluster, "default", "CIDRMismatch").await;
        let mut texts: Vec<_> = told.into_iter().filter_map(|event| event.message).collect();
        texts.retain(|text| text.contains("outside of the cluster CIDRs (10.244.0.0/16)"));
        if texts.len() >= 2 && texts.iter().any(|text| text.contains("of node stranger")) {
            Ok(())
        } else {
            Err(texts)
        }
    })
    .await;
    let spec = node(&cluster, "stranger").await.spec.expect("a spec");
    assert_eq!(spec.pod_cidrs, Some(vec!["172.20.0.0/24".to_owned()]));
}

#[tokio::test]
async fn nothing_is_done_that_a_cluster_does_itself() {
    let cluster = Cluster::start(network_only()).await;
    cluster
        .add_node(
            "node1",
            json!({"taints": [{"key": TAINT, "effect": "NoSchedule"}]}),
        )
        .await;
    let pod = |name: &str| {
        json!({"metadata": {"name": name, "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "main", "image": "seaway"}]}})
    };
    cluster
        .create::<k8s_openapi::api::core::v1::Pod>(pod("free"))
        .await;
    cluster
        .create::<k8s_openapi::api::core::v1::Service>(json!({"metadata": {"name": "web"},
            "spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]}}))
        .await;
    say(&cluster, "node1", "Ready", "False").await;
    say(&cluster, "node1", "NetworkUnavailable", "False").await;
    eventually("the loops work", async || {
        let seen = taints(&node(&cluster, "node1").await);
        if seen.is_empty() { Ok(()) } else { Err(seen) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let node = node(&cluster, "node1").await;
    let spec = node.spec.unwrap_or_default();
    assert_eq!(
        (spec.pod_cidr, spec.taints.unwrap_or_default().len()),
        (None, 0)
    );
    let pods = cluster.api::<k8s_openapi::api::core::v1::Pod>();
    let bound = pods
        .get("free")
        .await
        .expect("there")
        .spec
        .expect("a spec")
        .node_name;
    assert_eq!(bound, None);
    let slices = cluster
        .api::<EndpointSlice>()
        .list(&ListParams::default())
        .await;
    let ours = slices.expect("listed").items.into_iter().filter(|slice| {
        let labels = slice.metadata.labels.as_ref();
        labels.is_some_and(|l| {
            l.get("kubernetes.io/service-name")
                .is_some_and(|name| name == "web")
        })
    });
    assert_eq!(ours.count(), 0);
}

fn policy(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})
}

#[tokio::test]
async fn each_policy_is_told_once_a_version_and_restarts_tell_nothing_again() {
    let mut cluster = Cluster::start(network_only()).await;
    for name in ["deny", "allow"] {
        cluster.create::<NetworkPolicy>(policy(name)).await;
    }
    let told = async |cluster: &Cluster| {
        let mut told: Vec<_> = events(cluster, "default", "NotEnforced").await;
        told.sort_by_key(|event| event.involved_object.name.clone());
        let names = told
            .iter()
            .filter_map(|event| event.involved_object.name.clone());
        assert!(
            told.iter()
                .all(|event| event.type_.as_deref() == Some("Warning"))
        );
        names.collect::<Vec<_>>()
    };
    let wait = async |cluster: &Cluster, wanted: &[&str]| {
        eventually("they are told", async || {
            let seen = told(cluster).await;
            if seen == wanted { Ok(()) } else { Err(seen) }
        })
        .await;
    };
    wait(&cluster, &["allow", "deny"]).await;
    // Whoever has told of a new one has looked at the others.
    let mut wanted = vec!["allow", "deny"];
    for name in ["new-1", "new-2", "new-3"] {
        cluster.restart_control();
        cluster.create::<NetworkPolicy>(policy(name)).await;
        wanted.push(name);
        wait(&cluster, &wanted).await;
    }
    let policies: Api<NetworkPolicy> = cluster.api();
    let patch = |value: Value| Patch::Merge(value);
    let labelled = patch(json!({"metadata": {"labels": {"a": "b"}}}));
    let params = PatchParams::default();
    policies
        .patch("allow", &params, &labelled)
        .await
        .expect("written");
    let changed = patch(json!({"spec": {"ingress": [{}]}}));
    policies
        .patch("deny", &params, &changed)
        .await
        .expect("written");
    wanted.insert(2, "deny");
    wait(&cluster, &wanted).await;
    cluster.restart_control();
    cluster.create::<NetworkPolicy>(policy("newest")).await;
    wanted.push("newest");
    wait(&cluster, &wanted).await;
}

#[tokio::test]
async fn the_lease_tells_how_many_policies_are_not_enforced() {
    let cluster = Cluster::without_loops(network_only()).await;
    cluster.create::<NetworkPolicy>(policy("first")).await;
    let election = Election::new("default", "seaway-controller", "pod");
    let standing = std::sync::Arc::new(Standing::default());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = seaway_control::serve(
        cluster.client.clone(),
        network_only(),
        Some(election),
        standing.clone(),
        async {
            let _ended = stopped.await;
        },
    );
    let serving = tokio::spawn(serving);
    let counted = async |wanted: &str| {
        eventually("the Lease tells", async || {
            let lease = cluster.api::<Lease>().get_opt("seaway-controller").await;
            let lease = lease.expect("asked").unwrap_or_default();
            let said = lease.metadata.annotations.clone().unwrap_or_default();
            match said.get("network.seaway.dev/policies-not-enforced") {
                Some(count) if count == wanted => Ok(lease),
                _ => Err(lease),
            }
        })
        .await
    };
    counted("1").await;
    assert!(standing.leads() && standing.is_ready());
    cluster.create::<NetworkPolicy>(policy("second")).await;
    let lease = counted("2").await;
    let holder = lease.spec.expect("a spec").holder_identity.expect("held");
    assert!(holder.starts_with("pod_"), "{holder}");
    let annotations = lease.metadata.annotations.expect("some");
    let version = annotations.get("network.seaway.dev/version");
    assert_eq!(version.map(String::as_str), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(standing.unenforced(), Some(2));
    drop(stop);
    serving.await.expect("no panic").expect("a clean end");
    let lease = counted("2").await;
    assert_eq!(lease.spec.expect("a spec").holder_identity, None);
    assert!(!standing.leads());
}
