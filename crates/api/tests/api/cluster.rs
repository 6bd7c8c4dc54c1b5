//! The cluster as an agent follows it.

use seaway_api::{
    Access, ClusterNews, EventType, Following, NodeNote, NodeVoice, Timing, convert, follow_cluster,
};
use seaway_model::{ClusterEvent, NodeName, Transport};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::mock::{Fault, LIMIT, Mock, Verb, timing};

/// An agent's ears.
pub(crate) struct Agent {
    news: mpsc::UnboundedReceiver<ClusterNews>,
    pub(crate) events: Vec<ClusterEvent>,
    pub(crate) problem: Option<String>,
    pub(crate) unwritten: Option<String>,
    refused: Option<String>,
    triggers: usize,
    pub(crate) server: Option<String>,
    following: tokio::task::JoinHandle<()>,
    /// A kubeconfig to remove in the end.
    pub(crate) kubeconfig: Option<std::path::PathBuf>,
}

impl Agent {
    fn start(kubeconfig: impl Into<std::path::PathBuf>) -> Agent {
        Agent::start_with(kubeconfig, NodeVoice::silent())
    }

    pub(crate) fn start_with(kubeconfig: impl Into<std::path::PathBuf>, voice: NodeVoice) -> Agent {
        Agent::follow(kubeconfig, voice, false)
    }

    pub(crate) fn follow(
        kubeconfig: impl Into<std::path::PathBuf>,
        voice: NodeVoice,
        services: bool,
    ) -> Agent {
        Agent::begin(Access::file(kubeconfig), voice, services, timing())
    }

    /// At these servers, with these deadlines.
    pub(crate) fn reach(access: Access, timing: Timing) -> Agent {
        Agent::begin(access, NodeVoice::silent(), false, timing)
    }

    pub(crate) fn reach_with_services(access: Access, timing: Timing) -> Agent {
        Agent::begin(access, NodeVoice::silent(), true, timing)
    }

    pub(crate) fn with_kubeconfig(mut self, path: std::path::PathBuf) -> Agent {
        self.kubeconfig = Some(path);
        self
    }

    fn begin(source: Access, voice: NodeVoice, services: bool, timing: Timing) -> Agent {
        let (sender, news) = mpsc::unbounded_channel();
        let following = tokio::spawn(async move {
            let following = Following {
                node: NodeName::new("a").expect("valid"),
                services,
                timing,
            };
            // The test may be over.
            let tell = |one| drop(sender.send(one));
            follow_cluster(&source, &following, voice, tell).await;
        });
        Agent {
            news,
            events: Vec::new(),
            problem: None,
            unwritten: None,
            refused: None,
            triggers: 0,
            server: None,
            following,
            kubeconfig: None,
        }
    }

    pub(crate) async fn until(&mut self, what: &str, reached: impl Fn(&Agent) -> bool) {
        let waiting = async {
            while !reached(self) {
                match self.news.recv().await.expect("it goes on") {
                    ClusterNews::Server(url) => self.server = Some(url),
                    ClusterNews::Events(events) => self.events.extend(events),
                    ClusterNews::Problem(problem) => self.problem = problem,
                    ClusterNews::Unwritten(problem) => self.unwritten = problem,
                    ClusterNews::Refused(refused) => self.refused = refused,
                    ClusterNews::Triggers(times) => self.triggers += times.len(),
                }
            }
        };
        let waited = timeout(LIMIT, waiting).await;
        assert!(
            waited.is_ok(),
            "{what}: {:?}, {:?}",
            self.events,
            self.problem
        );
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.following.abort();
        if let Some(path) = &self.kubeconfig {
            std::fs::remove_file(path).expect("removed");
        }
    }
}

pub(crate) fn synced(agent: &Agent) -> bool {
    agent.events.contains(&ClusterEvent::Synced)
}

pub(crate) fn deletes(agent: &Agent) -> usize {
    let is_delete =
        |e: &&ClusterEvent| matches!(e, ClusterEvent::NodeDelete(_) | ClusterEvent::PodDelete(_));
    agent.events.iter().filter(is_delete).count()
}

#[tokio::test]
async fn an_agent_hears_of_all_nodes_and_its_own_pods() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    mock.put_node("b", "10.0.1.0/24");
    mock.put_pod("mine", "a");
    mock.put_pod("others", "b");
    let path = mock.kubeconfig();
    let mut agent = Agent::start(&path);
    agent.until("synced", synced).await;
    std::fs::remove_file(path).expect("removed");
    assert_eq!(
        agent.events.len(),
        4,
        "two nodes, one Pod, synced: {:?}",
        agent.events
    );
    assert_eq!(agent.events.last(), Some(&ClusterEvent::Synced));
    assert_eq!(agent.server, Some(format!("http://{}", mock.address)));
    mock.delete("pods", "mine");
    let pod = ClusterEvent::PodDelete("default/mine".parse().expect("valid"));
    agent
        .until("the Pod is gone", |a| a.events.contains(&pod))
        .await;
}

#[tokio::test]
async fn garbage_leaves_the_last_good_version() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    let path = mock.kubeconfig();
    let mut agent = Agent::start(&path);
    agent.until("synced", synced).await;
    std::fs::remove_file(path).expect("removed");
    let before = agent.events.len();
    mock.put_node("a", "10.0.0.1/24");
    let says = |a: &Agent| {
        a.problem
            .as_deref()
            .is_some_and(|p| p.contains("node a: spec.podCIDRs"))
    };
    agent.until("the problem", says).await;
    assert_eq!(agent.events.len(), before);
    mock.put_node("a", "10.0.7.0/24");
    agent.until("mended", |a| a.problem.is_none()).await;
    assert_eq!(agent.events.len(), before + 1);
}

fn slice(address: &str, time: &str) -> Value {
    let meta = json!({"name": "web-x", "namespace": "default",
        "labels": {convert::SERVICE_NAME_LABEL: "web"},
        "annotations": {convert::TRIGGER_TIME_ANNOTATION: time}});
    json!({"metadata": meta, "addressType": "IPv4", "ports": [{"port": 8080}],
        "endpoints": [{"addresses": [address]}]})
}

fn upserts(agent: &Agent) -> usize {
    let slice = |event: &&ClusterEvent| matches!(event, ClusterEvent::SliceUpsert(_));
    agent.events.iter().filter(slice).count()
}

#[tokio::test]
async fn services_and_their_endpoints_are_followed() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    let meta = json!({"name": "web", "namespace": "default"});
    let spec = json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80}]});
    mock.put("services", json!({"metadata": meta, "spec": spec}));
    mock.put("endpointslices", slice("10.0.0.2", "2025-01-01T00:00:00Z"));
    let path = mock.kubeconfig();
    let mut agent = Agent::follow(&path, NodeVoice::silent(), true);
    agent.until("synced", synced).await;
    assert_eq!(agent.events.len(), 4, "{:?}", agent.events);
    assert_eq!(
        agent.triggers, 0,
        "what was before the start took no time of ours"
    );
    mock.put("endpointslices", slice("10.0.0.3", "2025-01-01T00:00:01Z"));
    agent.until("changed", |a| upserts(a) == 2).await;
    assert_eq!(agent.triggers, 1);
    // A list that repeats what is known repeats nothing.
    mock.expire_all();
    mock.cut();
    mock.put("endpointslices", slice("010.0.0.3", "2025-01-01T00:00:02Z"));
    let told = |a: &Agent| {
        a.refused
            .as_deref()
            .is_some_and(|text| text.contains("endpoint 0"))
    };
    agent.until("the bad endpoint", told).await;
    assert_eq!((upserts(&agent), agent.events.len()), (3, 6));
    mock.delete("services", "web");
    mock.delete("endpointslices", "web-x");
    agent
        .until("gone", |a| a.events.len() == 8 && a.refused.is_none())
        .await;
    std::fs::remove_file(path).expect("removed");
}

#[tokio::test]
async fn a_server_with_an_empty_store_takes_nothing_away() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    mock.put_pod("p", "a");
    let path = mock.kubeconfig();
    let mut agent = Agent::start(&path);
    agent.until("synced", synced).await;
    std::fs::remove_file(path).expect("removed");
    mock.replace("second");
    let says = |a: &Agent| {
        let problem = a.problem.as_deref().unwrap_or_default();
        problem.contains("1 nodes") && problem.contains("1 pods")
    };
    agent.until("both are kept", says).await;
    assert_eq!(deletes(&agent), 0);
    mock.put_node("a", "10.0.0.0/24");
    mock.put_pod("p", "a");
    agent
        .until("all is well again", |a| a.problem.is_none())
        .await;
    assert_eq!(deletes(&agent), 0);
}

#[tokio::test]
async fn a_kubeconfig_may_come_late() {
    let mock = Mock::start().await;
    let path = mock.kubeconfig();
    let late = path.with_extension("late");
    let mut agent = Agent::start(&late);
    let says = |a: &Agent| {
        a.problem
            .as_deref()
            .is_some_and(|p| p.contains("read kubeconfig"))
    };
    agent.until("it is missing", says).await;
    std::fs::rename(&path, &late).expect("renamed");
    agent.until("synced", synced).await;
    agent.until("no problem", |a| a.problem.is_none()).await;
    std::fs::remove_file(late).expect("removed");
}

/// An agent that uses `l2`, and what it says.
fn speaking(mock: &Mock) -> (Agent, mpsc::Sender<NodeNote>) {
    let (notes, queue) = mpsc::channel(8);
    let voice = NodeVoice {
        transport: Some(Transport::L2),
        notes: queue,
        ..NodeVoice::silent()
    };
    let path = mock.kubeconfig();
    let mut agent = Agent::start_with(&path, voice);
    agent.kubeconfig = Some(path);
    (agent, notes)
}

fn knows(transport: Option<Transport>) -> impl Fn(&Agent) -> bool {
    move |agent| {
        let nodes = agent.events.iter().rev().find_map(|event| match event {
            ClusterEvent::NodeUpsert(node) if node.name.as_str() == "a" => Some(node.transport),
            _ => None,
        });
        nodes == Some(transport)
    }
}

#[tokio::test]
async fn an_agent_names_its_transport_on_its_node_and_on_the_next_of_that_name() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    mock.put_node("b", "10.0.1.0/24");
    mock.fault(Verb::Patch, Fault::Status(503, "Unavailable"));
    mock.fault(Verb::Patch, Fault::Status(403, "Forbidden"));
    let (mut agent, _notes) = speaking(&mock);
    agent.until("named", knows(Some(Transport::L2))).await;
    agent.until("no problem", |a| a.problem.is_none()).await;
    mock.delete("nodes", "a");
    mock.put_node("a", "10.0.0.0/24");
    agent.until("the new one is seen", knows(None)).await;
    agent.until("named again", knows(Some(Transport::L2))).await;
    let patches = mock.state().patches.clone();
    assert_eq!(patches.len(), 2, "{patches:?}");
    assert_ne!(patches[0]["metadata"]["uid"], patches[1]["metadata"]["uid"]);
}

#[tokio::test]
async fn a_node_that_names_the_transport_already_is_left_alone() {
    let mock = Mock::start().await;
    let meta = serde_json::json!({"name": "a",
        "annotations": {"network.seaway.dev/transport": "l2"}});
    mock.put("nodes", serde_json::json!({"metadata": meta}));
    let (mut agent, _notes) = speaking(&mock);
    agent.until("synced", synced).await;
    mock.put_node("b", "10.0.1.0/24");
    let b = |a: &Agent| a.events.len() >= 3;
    agent.until("another node", b).await;
    assert_eq!(mock.requests(Verb::Patch), 0);
}

#[tokio::test]
async fn what_an_agent_may_not_write_is_a_problem_and_keeps_nothing_up() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    for _ in 0..1000 {
        mock.fault(Verb::Patch, Fault::Status(403, "Forbidden"));
    }
    let (mut agent, _notes) = speaking(&mock);
    agent.until("synced", synced).await;
    let says = |a: &Agent| {
        let problem = a.unwritten.as_deref().unwrap_or_default();
        problem.contains("patch status of node a: the server answers 403")
            && problem.ends_with("; give the agent patch on nodes/status")
    };
    agent.until("the problem", says).await;
    assert_eq!(agent.problem, None, "the cluster is seen");
}

#[tokio::test]
async fn what_an_agent_notes_becomes_an_event_of_its_node() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    let (_agent, notes) = speaking(&mock);
    let note = NodeNote {
        event_type: EventType::Warning,
        reason: "PathMtuLowered".to_owned(),
        message: "words".to_owned(),
    };
    notes.send(note).await.expect("heard");
    let event = timeout(LIMIT, async {
        loop {
            let found = {
                let state = mock.state();
                let mut objects = state.objects.iter();
                objects.find_map(|((kind, _), o)| (kind == "events").then(|| o.clone()))
            };
            match found {
                Some(event) => break event,
                None => tokio::task::yield_now().await,
            }
        }
    });
    let event = event.await.expect("it comes");
    assert_eq!(event["reason"], "PathMtuLowered");
    assert_eq!(event["involvedObject"]["kind"], "Node");
    assert_eq!(event["involvedObject"]["name"], "a");
}
