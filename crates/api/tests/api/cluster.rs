//! The cluster as an agent follows it.

use seaway_api::{ClusterNews, KubeconfigSource, follow_cluster};
use seaway_model::{ClusterEvent, NodeName};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::mock::{LIMIT, Mock, timing};

struct Agent {
    news: mpsc::UnboundedReceiver<ClusterNews>,
    events: Vec<ClusterEvent>,
    problem: Option<String>,
    server: Option<String>,
    following: tokio::task::JoinHandle<()>,
}

impl Agent {
    fn start(kubeconfig: impl Into<std::path::PathBuf>) -> Agent {
        let source = KubeconfigSource::file(kubeconfig);
        let (sender, news) = mpsc::unbounded_channel();
        let following = tokio::spawn(async move {
            let node = NodeName::new("a").expect("valid");
            // The test may be over.
            let tell = |one| drop(sender.send(one));
            follow_cluster(&source, &node, &timing(), tell).await;
        });
        Agent {
            news,
            events: Vec::new(),
            problem: None,
            server: None,
            following,
        }
    }

    async fn until(&mut self, what: &str, reached: impl Fn(&Agent) -> bool) {
        let waiting = async {
            while !reached(self) {
                match self.news.recv().await.expect("it goes on") {
                    ClusterNews::Server(url) => self.server = Some(url),
                    ClusterNews::Events(events) => self.events.extend(events),
                    ClusterNews::Problem(problem) => self.problem = problem,
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
    }
}

fn synced(agent: &Agent) -> bool {
    agent.events.contains(&ClusterEvent::Synced)
}

fn deletes(agent: &Agent) -> usize {
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
    assert_eq!(agent.server, Some(format!("http://{}/", mock.address)));
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
