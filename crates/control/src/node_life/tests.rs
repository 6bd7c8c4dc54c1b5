//! Tables of node life.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::evict::Evictions;
use super::pulse::{Pulse, Stamp};
use super::verdict;

const GRACE: Duration = Duration::from_secs(40);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn stamp(text: &str) -> Stamp {
    Stamp {
        renewed: Some(text.to_owned()),
        said: None,
    }
}

/// Two nodes that were seen at 0, with Leases confirmed whenever that is asked for.
fn two() -> Pulse {
    let mut pulse = Pulse::new(GRACE);
    pulse.sighted(s(0));
    pulse.saw("a", stamp("1"), s(0));
    pulse.saw("b", stamp("1"), s(0));
    pulse
}

#[test]
fn a_node_is_silent_after_the_grace_and_a_second_look() {
    let mut pulse = two();
    pulse.saw("b", stamp("2"), s(30));
    assert_eq!(pulse.silence(s(39)).next, Some(s(40)));
    let asked = pulse.silence(s(40));
    assert!(asked.confirm && asked.silent.is_empty());
    pulse.confirm(s(41));
    let sure = pulse.silence(s(41));
    assert_eq!(sure.silent, ["a"]);
    assert!(!sure.total && !sure.confirm);
    assert_eq!(sure.next, Some(s(70)));
}

#[test]
fn a_second_look_that_shows_life_ends_the_suspicion() {
    let mut pulse = two();
    pulse.saw("a", stamp("2"), s(40));
    pulse.saw("b", stamp("2"), s(40));
    pulse.confirm(s(40));
    assert!(pulse.silence(s(40)).silent.is_empty());
}

#[test]
fn nobody_is_silent_while_or_soon_after_we_were_blind() {
    let mut pulse = two();
    pulse.blind();
    assert_eq!(pulse.silence(s(100)), super::pulse::Silence::default());
    pulse.sighted(s(100));
    assert_eq!(pulse.silence(s(100)).next, Some(s(140)));
    pulse.sighted(s(120));
    assert!(pulse.silence(s(139)).silent.is_empty());
    pulse.confirm(s(140));
    let sure = pulse.silence(s(140));
    assert_eq!(sure.silent, ["a", "b"]);
    assert!(sure.total, "all at once: the fault may be elsewhere");
}

#[test]
fn the_same_stamp_again_is_no_sign_of_life_and_the_past_counts_as_news() {
    let mut pulse = two();
    pulse.saw("a", stamp("1"), s(20));
    pulse.saw("b", stamp("0"), s(20));
    pulse.confirm(s(45));
    assert_eq!(pulse.silence(s(45)).silent, ["a"]);
}

#[test]
fn what_a_node_says_is_a_sign_and_that_it_is_unknown_is_none() {
    let mut pulse = two();
    let says = |said: Option<&str>| Stamp {
        renewed: None,
        said: said.map(ToOwned::to_owned),
    };
    pulse.saw("a", says(Some("ready")), s(20));
    pulse.saw("a", says(None), s(30));
    pulse.saw("a", says(Some("ready")), s(30));
    pulse.saw("b", says(None), s(30));
    pulse.confirm(s(45));
    let seen = pulse.silence(s(45));
    assert_eq!(
        (seen.silent, seen.next),
        (vec!["b".to_owned()], Some(s(60)))
    );
}

#[test]
fn a_deleted_node_is_forgotten() {
    let mut pulse = two();
    pulse.keep(|node| node == "b");
    pulse.confirm(s(50));
    assert_eq!(pulse.silence(s(50)).silent, ["b"]);
}

fn node(name: &str, ready: Option<&str>, taints: Value) -> Node {
    let conditions: Vec<_> = ready
        .iter()
        .map(|status| json!({"type": "Ready", "status": status}))
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"taints": taints},
        "status": {"conditions": conditions},
    }))
    .expect("a Node")
}

fn told(node: &Node, silent: bool, spare: bool) -> Option<Vec<String>> {
    let taints = verdict::wanted_taints(node, silent, spare, Timestamp::UNIX_EPOCH)?;
    let mut told: Vec<_> = taints
        .iter()
        .map(|taint| format!("{}:{}", taint.key, taint.effect))
        .collect();
    told.sort();
    Some(told)
}

#[test]
fn taints_follow_the_state_and_leave_foreign_ones_alone() {
    let mine = json!([{"key": "mine", "effect": "NoSchedule"}]);
    let unreachable = json!([
        {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"},
        {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]);
    let words = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(
        told(&node("n", Some("True"), mine.clone()), false, false),
        None
    );
    assert_eq!(
        told(&node("n", Some("False"), mine), false, false),
        words(&[
            "mine:NoSchedule",
            "node.kubernetes.io/not-ready:NoExecute",
            "node.kubernetes.io/not-ready:NoSchedule"
        ])
    );
    assert_eq!(
        told(
            &node("n", Some("Unknown"), unreachable.clone()),
            false,
            false
        ),
        None
    );
    assert_eq!(
        told(&node("n", Some("True"), unreachable.clone()), true, false),
        None
    );
    assert_eq!(
        told(&node("n", Some("True"), unreachable.clone()), false, false),
        words(&[])
    );
    assert_eq!(
        told(&node("n", Some("Unknown"), unreachable), true, true),
        words(&["node.kubernetes.io/unreachable:NoSchedule"])
    );
    let mut cordoned = node("n", Some("True"), json!([]));
    cordoned.spec.get_or_insert_default().unschedulable = Some(true);
    assert_eq!(
        told(&cordoned, false, false),
        words(&["node.kubernetes.io/unschedulable:NoSchedule"])
    );
}

#[test]
fn a_node_without_network_takes_no_new_pods() {
    let network = |status: &str, taints| {
        let mut node = node("n", Some("True"), taints);
        let condition = json!({"type": "NetworkUnavailable", "status": status});
        let condition = serde_json::from_value(condition).expect("a condition");
        let conditions = &mut node.status.get_or_insert_default().conditions;
        conditions.get_or_insert_default().push(condition);
        told(&node, false, false)
    };
    let taint = "node.kubernetes.io/network-unavailable";
    let tainted = json!([{"key": taint, "effect": "NoSchedule"}]);
    assert_eq!(
        network("True", json!([])),
        Some(vec![format!("{taint}:NoSchedule")])
    );
    assert_eq!(network("True", tainted.clone()), None);
    assert_eq!(network("False", tainted), Some(Vec::new()));
    assert_eq!(network("False", json!([])), None);
}

#[test]
fn a_silent_node_vouches_for_nothing() {
    let conditions =
        verdict::conditions(&node("n", Some("True"), json!([])), Timestamp::UNIX_EPOCH);
    let told: Vec<_> = conditions
        .iter()
        .map(|c| {
            (
                c.type_.as_str(),
                c.status.as_str(),
                c.reason.as_deref().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(told[0], ("Ready", "Unknown", "NodeStatusUnknown"));
    assert_eq!(
        told[1],
        ("MemoryPressure", "Unknown", "NodeStatusNeverUpdated")
    );
    assert_eq!(told.len(), 4);
    let again = verdict::conditions(
        &node("n", Some("Unknown"), json!([])),
        Timestamp::UNIX_EPOCH,
    );
    assert_eq!(again.len(), 3, "Ready is said already");
}

fn pod(name: &str, node: &str, tolerations: Value) -> Arc<Pod> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"nodeName": node, "tolerations": tolerations, "containers": []},
        }))
        .expect("a Pod"),
    )
}

#[test]
fn pods_leave_when_their_toleration_ends() {
    let lost = Arc::new(node(
        "lost",
        None,
        json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]),
    ));
    let fine = Arc::new(node("fine", Some("True"), json!([])));
    let tolerates = |seconds: Value| {
        json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists",
                "effect": "NoExecute", "tolerationSeconds": seconds}])
    };
    let pods = [
        pod("default", "lost", json!([])),
        pod("forever", "lost", tolerates(Value::Null)),
        pod("short", "lost", tolerates(json!(30))),
        pod("never", "lost", tolerates(json!(0))),
        pod("elsewhere", "fine", json!([])),
    ];
    let nodes = [lost, fine.clone()];
    let mut evictions = Evictions::default();
    let mut at = |nodes: &[Arc<Node>], now: u64| {
        let leaving = evictions.decide(nodes, &pods, s(300), s(now));
        let names: Vec<_> = leaving
            .now
            .iter()
            .filter_map(|pod| pod.metadata.name.clone())
            .collect();
        (names.join(" "), leaving.next)
    };
    assert_eq!(at(&nodes, 1000), ("never".into(), Some(s(1030))));
    assert_eq!(at(&nodes, 1030), ("short never".into(), Some(s(1300))));
    assert_eq!(at(&nodes, 1300), ("default short never".into(), None));
    assert_eq!(
        at(&[fine], 1301),
        (String::new(), None),
        "the taint is gone"
    );
    assert_eq!(
        at(&nodes, 1400),
        ("never".into(), Some(s(1430))),
        "and counts anew"
    );
}

#[test]
fn a_foreign_taint_drives_out_at_once_who_does_not_tolerate_it() {
    let drained = Arc::new(node(
        "n",
        Some("True"),
        json!([{"key": "drain", "effect": "NoExecute"}]),
    ));
    let pods = [
        pod("p", "n", json!([])),
        pod("q", "n", json!([{"operator": "Exists"}])),
    ];
    let leaving = Evictions::default().decide(&[drained], &pods, s(300), s(5));
    assert_eq!(leaving.now.len(), 1);
    assert_eq!(leaving.now[0].metadata.name.as_deref(), Some("p"));
}
