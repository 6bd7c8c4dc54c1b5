//! What an agent tells of itself: the Lease, and that the network is up.

use std::time::{Duration, SystemTime};

use seaway_api::{AgentSummary, NodeVoice, Timing};
use seaway_model::Transport;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::cluster::{Agent, synced};
use crate::mock::{Fault, LIMIT, Mock, Verb, timing};

const LEASE: &str = "agent.a";

fn summary(ready: bool) -> AgentSummary {
    AgentSummary {
        version: "1".to_owned(),
        ready,
        ..AgentSummary::default()
    }
}

/// An agent that says how it is.
fn speaking(mock: &Mock, first: AgentSummary) -> (Agent, watch::Sender<Option<AgentSummary>>) {
    let (tell, summaries) = watch::channel(Some(first));
    let voice = NodeVoice {
        transport: Some(Transport::Auto),
        summaries,
        namespace: "seaway-system".to_owned(),
        ..NodeVoice::silent()
    };
    let path = mock.kubeconfig();
    let mut agent = Agent::start_with(&path, voice);
    agent.kubeconfig = Some(path);
    (agent, tell)
}

fn stored(mock: &Mock, resource: &str, name: &str) -> Option<Value> {
    let key = (resource.to_owned(), name.to_owned());
    mock.state().objects.get(&key).cloned()
}

fn lease(mock: &Mock) -> Value {
    stored(mock, "leases", LEASE).unwrap_or_default()
}

/// What the Lease says.
fn told(mock: &Mock) -> Option<AgentSummary> {
    let lease = lease(mock);
    let text = lease["metadata"]["annotations"]["network.seaway.dev/summary"].as_str()?;
    Some(serde_json::from_str(text).expect("a summary"))
}

async fn until(what: &str, reached: impl Fn() -> bool) {
    let waiting = async {
        while !reached() {
            sleep(timing().pause_first).await;
        }
    };
    timeout(LIMIT, waiting).await.expect(what);
}

fn lease_patches(mock: &Mock) -> Vec<Value> {
    let state = mock.state();
    let all = state.patched.iter().zip(&state.patches);
    let leases = all.filter(|(path, _)| path.starts_with("leases/"));
    leases.map(|(_, patch)| patch.clone()).collect()
}

#[tokio::test]
async fn an_agent_has_a_lease_that_it_renews_and_that_goes_with_its_node() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    let uid = stored(&mock, "nodes", "a").expect("there")["metadata"]["uid"].clone();
    let (_agent, _tell) = speaking(&mock, summary(true));
    until("a Lease", || lease(&mock).is_object()).await;
    let first = lease(&mock);
    assert_eq!(first["metadata"]["namespace"], "seaway-system");
    assert_eq!(
        first["metadata"]["labels"],
        json!({"network.seaway.dev/agent": "true"})
    );
    let owner = &first["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["name"], &owner["uid"]),
        (&json!("Node"), &json!("a"), &uid)
    );
    assert_eq!(first["spec"]["holderIdentity"], "a");
    assert_eq!(first["spec"]["leaseDurationSeconds"], 40);
    assert_eq!(told(&mock), Some(summary(true)));
    until("renewals", || lease_patches(&mock).len() >= 4).await;
    for patch in &lease_patches(&mock)[1..] {
        assert!(patch["spec"]["renewTime"].is_string(), "{patch}");
        assert_eq!(
            patch.as_object().expect("an object").len(),
            1,
            "only the time: {patch}"
        );
    }
    assert_eq!(mock.requests(Verb::Create), 1);
    mock.delete("nodes", "a");
    mock.put_node("a", "10.0.0.0/24");
    let uid = stored(&mock, "nodes", "a").expect("there")["metadata"]["uid"].clone();
    until("the new owner", || {
        lease(&mock)["metadata"]["ownerReferences"][0]["uid"] == uid
    })
    .await;
}

#[tokio::test]
async fn a_calm_agent_writes_no_more_than_its_renewals() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    let (mut agent, tell) = speaking(&mock, summary(true));
    agent.until("synced", synced).await;
    until("a Lease", || lease(&mock).is_object()).await;
    let writes = || mock.requests(Verb::Patch) + mock.requests(Verb::Create);
    sleep(timing().renewal).await;
    let (before, began) = (writes(), SystemTime::now());
    for pods in 0..200 {
        // Figures change all the time.
        tell.send_replace(Some(AgentSummary {
            pods,
            ..summary(true)
        }));
        sleep(timing().renewal / 20).await;
    }
    let renewals = began.elapsed().expect("forward").as_secs_f64() / timing().renewal.as_secs_f64();
    let written = (writes() - before) as f64;
    assert!(written >= 5.0, "{written} writes");
    assert!(
        written <= renewals / 0.9 + 2.0,
        "{written} writes in {renewals} renewals"
    );
}

#[tokio::test]
async fn news_does_not_wait_for_the_renewal() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    let (_agent, tell) = speaking(&mock, summary(false));
    until("a Lease", || told(&mock) == Some(summary(false))).await;
    let before = lease_patches(&mock).len();
    tell.send_replace(Some(summary(true)));
    until("the news", || told(&mock) == Some(summary(true))).await;
    assert!(lease_patches(&mock).len() <= before + 2, "at once");
}

#[tokio::test]
async fn a_missing_namespace_is_told_and_waited_for() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    for _ in 0..1000 {
        mock.fault(Verb::Create, Fault::Status(404, "NotFound"));
    }
    let (mut agent, _tell) = speaking(&mock, summary(true));
    agent.until("synced", synced).await;
    let says = |a: &Agent| {
        let problem = a.unwritten.as_deref().unwrap_or_default();
        problem.contains("write lease seaway-system/agent.a: the server answers 404")
            && problem.contains("create namespace seaway-system")
    };
    agent.until("the problem", says).await;
    assert_eq!(agent.problem, None, "the cluster is seen");
    mock.state().clear_faults();
    agent.until("no problem", |a| a.unwritten.is_none()).await;
    assert_eq!(told(&mock), Some(summary(true)));
}

#[tokio::test]
async fn a_lease_that_somebody_deleted_comes_back_whole() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    let (_agent, _tell) = speaking(&mock, summary(true));
    until("a Lease", || lease(&mock).is_object()).await;
    until("a renewal", || lease_patches(&mock).len() >= 2).await;
    mock.delete("leases", LEASE);
    until("another", || told(&mock) == Some(summary(true))).await;
    assert_eq!(lease(&mock)["spec"]["leaseDurationSeconds"], 40);
}

#[tokio::test]
async fn the_time_of_a_lease_is_the_servers() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    mock.state().date = Some("Wed, 01 Jan 2020 00:00:30 GMT");
    let (_agent, _tell) = speaking(&mock, summary(true));
    let in_time = || {
        let renewed = lease(&mock)["spec"]["renewTime"].clone();
        let renewed = renewed.as_str().unwrap_or_default().to_owned();
        renewed.starts_with("2020-01-01T00:00:")
    };
    until("the server's time", in_time).await;
    until("what is wrong", || {
        told(&mock).is_some_and(|s| s.clock_ahead_seconds > Some(1_000_000))
    })
    .await;
    mock.state().date = None;
    until("the time", || !in_time()).await;
    until("nothing wrong", || {
        told(&mock).is_some_and(|s| s.clock_ahead_seconds.is_none())
    })
    .await;
}

#[tokio::test]
async fn the_network_of_a_node_is_called_up_once_the_agent_is_ready() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    let up = || {
        let node = stored(&mock, "nodes", "a").unwrap_or_default();
        node["status"]["conditions"][0]["status"] == "False"
    };
    let (mut agent, tell) = speaking(&mock, summary(false));
    agent.until("synced", synced).await;
    until("told", || told(&mock).is_some()).await;
    assert!(!up(), "it is not ready");
    tell.send_replace(Some(summary(true)));
    until("up", up).await;
    tell.send_replace(Some(summary(false)));
    until("told", || told(&mock) == Some(summary(false))).await;
    assert!(up(), "what is in force goes on");
    tell.send_replace(Some(summary(true)));
    let mut node = stored(&mock, "nodes", "a").expect("there");
    node["status"]["conditions"][0]["status"] = json!("True");
    mock.put("nodes", node);
    until("up again", up).await;
    let of_nodes = mock
        .state()
        .patched
        .iter()
        .filter(|p| p.starts_with("nodes/"))
        .cloned()
        .collect::<Vec<_>>();
    assert!(!of_nodes.is_empty());
    assert!(
        of_nodes.iter().all(|path| path == "nodes/a/status"),
        "{of_nodes:?}"
    );
}

#[test]
fn renewals_are_those_of_kubelets_unless_a_test_is_in_a_hurry() {
    assert_eq!(Timing::default().renewal, Duration::from_secs(10));
}
