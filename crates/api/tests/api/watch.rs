//! The watch store through everything a server can do to it (scorecard rows 12 and 13).

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use seaway_api::{
    Access, Change, Changes, ObjectKey, Problem, Selector, Store, client_with, watched,
};
use tokio::time::timeout;

use crate::mock::{Fault, LIMIT, Mock, Verb, timing};

/// A store of nodes and what its changes tell.
struct Follower {
    store: Store<Node>,
    changes: Changes<Node>,
    told: Vec<String>,
    problems: Vec<Problem>,
    deletes: usize,
    synced: usize,
}

impl Follower {
    fn of(mock: &Mock) -> Follower {
        let api: Api<Node> = Api::all(mock.client());
        let (store, changes) = watched(api, Selector::default(), timing());
        Follower {
            store,
            changes,
            told: Vec::new(),
            problems: Vec::new(),
            deletes: 0,
            synced: 0,
        }
    }

    async fn until(&mut self, what: &str, mut reached: impl FnMut(&Follower) -> bool) {
        let waiting = async {
            while !reached(self) {
                for change in self.changes.next().await.expect("it goes on") {
                    self.note(change);
                }
            }
        };
        if timeout(LIMIT, waiting).await.is_err() {
            panic!("{what}: {:?}, problems {:?}", self.told, self.problems);
        }
    }

    fn note(&mut self, change: Change<Node>) {
        match change {
            Change::Upsert(key, _) => {
                self.told.retain(|name| *name != key.name);
                self.told.push(key.name);
                self.told.sort();
            }
            Change::Delete(key, _) => {
                self.deletes += 1;
                self.told.retain(|name| *name != key.name);
            }
            Change::Synced => self.synced += 1,
            Change::Problems(problems) => self.problems = problems,
        }
    }

    /// Waits until exactly these nodes are known, by changes and in the store.
    async fn until_nodes(&mut self, names: &[&str]) {
        self.until(&format!("{names:?}"), |f| f.told == names).await;
        let listed = self.store.list();
        let listed: Vec<_> = listed
            .iter()
            .filter_map(|n| n.metadata.name.as_deref())
            .collect();
        assert_eq!(listed, names);
    }

    async fn until_problem(&mut self, words: &str) {
        let says = |f: &Follower| f.problems.iter().any(|p| p.to_string().contains(words));
        self.until(words, says).await;
    }

    async fn until_well(&mut self) {
        self.until("no problem", |f| f.problems.is_empty()).await;
    }
}

async fn two_nodes() -> (Mock, Follower) {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    mock.put_node("b", "10.0.1.0/24");
    let mut follower = Follower::of(&mock);
    follower.until_nodes(&["a", "b"]).await;
    follower.until("synced", |f| f.synced == 1).await;
    (mock, follower)
}

#[tokio::test]
async fn the_first_list_is_one_batch_and_changes_follow() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    mock.put_node("b", "10.0.1.0/24");
    let mut follower = Follower::of(&mock);
    let first = follower.changes.next().await.expect("a batch");
    assert_eq!(first.len(), 3, "{first:?}");
    assert!(matches!(first[2], Change::Synced));
    first.into_iter().for_each(|change| follower.note(change));
    mock.put_node("c", "10.0.2.0/24");
    follower.until_nodes(&["a", "b", "c"]).await;
    mock.delete("nodes", "a");
    follower.until_nodes(&["b", "c"]).await;
    assert!(follower.store.get(&ObjectKey::cluster("b")).is_some());
    assert_eq!(mock.requests(Verb::List), 1);
}

#[tokio::test]
async fn a_server_that_refuses_is_waited_for() {
    let (mock, mut follower) = two_nodes().await;
    mock.stop();
    follower.until_problem("Connection refused").await;
    assert_eq!(follower.store.len(), 2);
    mock.put_node("c", "10.0.2.0/24");
    mock.resume().await;
    follower.until_nodes(&["a", "b", "c"]).await;
    follower.until_well().await;
    assert_eq!((follower.deletes, follower.synced), (0, 1));
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let mock = Mock::start().await;
    mock.stop();
    let mut follower = Follower::of(&mock);
    follower.until_problem("get namespace kube-system: ").await;
    assert!(!follower.store.is_synced());
    mock.resume().await;
    timeout(LIMIT, follower.store.synced())
        .await
        .expect("synced");
    follower.until_well().await;
}

#[tokio::test]
async fn a_black_hole_is_noticed_and_left() {
    let (mock, mut follower) = two_nodes().await;
    // What comes by the watch shows that it is open.
    mock.put_node("c", "10.0.2.0/24");
    follower.until_nodes(&["a", "b", "c"]).await;
    mock.black_hole(true);
    follower
        .until_problem("watch nodes: nothing came for")
        .await;
    follower.until_problem("no answer within").await;
    assert_eq!(follower.store.len(), 3);
    mock.delete("nodes", "a");
    mock.black_hole(false);
    follower.until_nodes(&["b", "c"]).await;
    follower.until_well().await;
    assert_eq!(follower.synced, 1);
}

#[tokio::test]
async fn a_mute_watch_is_begun_again() {
    let mock = Mock::start().await;
    mock.fault(Verb::Watch, Fault::Mute);
    let mut follower = Follower::of(&mock);
    follower.until("synced", |f| f.synced == 1).await;
    mock.put_node("a", "10.0.0.0/24");
    follower.until_nodes(&["a"]).await;
    assert_eq!(mock.requests(Verb::List), 1, "the version was still good");
}

#[tokio::test]
async fn errors_of_the_server_change_nothing() {
    let (mock, mut follower) = two_nodes().await;
    for (code, reason) in [
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (403, "Forbidden"),
        (401, "Unauthorized"),
    ] {
        let before = mock.requests(Verb::Watch);
        mock.fault(Verb::Watch, Fault::Status(code, reason));
        mock.cut();
        follower.until_problem(reason).await;
        follower.until_well().await;
        assert!(mock.requests(Verb::Watch) > before);
        assert_eq!(follower.store.len(), 2, "{code}");
    }
    assert_eq!((follower.deletes, mock.requests(Verb::List)), (0, 1));
}

#[tokio::test]
async fn gone_as_a_status_leads_to_a_list() {
    let (mock, mut follower) = two_nodes().await;
    mock.fault(Verb::Watch, Fault::Status(410, "Expired"));
    mock.cut();
    mock.delete("nodes", "a");
    mock.put_node("c", "10.0.2.0/24");
    follower.until_nodes(&["b", "c"]).await;
    assert!(mock.requests(Verb::List) >= 2);
}

#[tokio::test]
async fn gone_in_the_stream_leads_to_a_list() {
    let (mock, mut follower) = two_nodes().await;
    mock.fault(Verb::Watch, Fault::InStream(410, "Expired"));
    mock.cut();
    mock.delete("nodes", "b");
    follower.until_nodes(&["a"]).await;
    assert!(mock.requests(Verb::List) >= 2);
}

#[tokio::test]
async fn another_error_in_the_stream_leads_to_a_watch() {
    let (mock, mut follower) = two_nodes().await;
    mock.fault(Verb::Watch, Fault::InStream(500, "InternalError"));
    mock.cut();
    follower.until_problem("InternalError").await;
    mock.delete("nodes", "b");
    follower.until_nodes(&["a"]).await;
    assert_eq!(mock.requests(Verb::List), 1);
}

#[tokio::test]
async fn a_lost_delete_is_made_up_for_by_the_next_list() {
    let (mock, mut follower) = two_nodes().await;
    // The watch that comes next does not tell what happened before it began.
    mock.stop();
    follower.until_problem("refused").await;
    mock.delete("nodes", "a");
    mock.fault(Verb::Watch, Fault::SkipToNow);
    mock.resume().await;
    follower.until_well().await;
    assert_eq!(follower.store.len(), 2, "the delete was lost");
    mock.fault(Verb::Watch, Fault::Status(410, "Gone"));
    mock.cut();
    follower.until_nodes(&["b"]).await;
}

#[tokio::test]
async fn repeated_events_are_told_once() {
    let mock = Mock::start().await;
    mock.fault(Verb::Watch, Fault::Stutter);
    let mut follower = Follower::of(&mock);
    follower.until("synced", |f| f.synced == 1).await;
    mock.put_node("a", "10.0.0.0/24");
    follower.until_nodes(&["a"]).await;
    mock.delete("nodes", "a");
    mock.put_node("a", "10.0.0.0/24");
    mock.put_node("z", "10.0.9.0/24");
    follower
        .until("z and the second a", |f| f.told == ["a", "z"])
        .await;
    assert!(follower.deletes <= 1, "{}", follower.deletes);
}

#[tokio::test]
async fn an_empty_server_of_another_identity_deletes_nothing() {
    let (mock, mut follower) = two_nodes().await;
    mock.replace("second");
    follower
        .until_problem("another cluster (kube-system uid second): 2 nodes")
        .await;
    assert_eq!((follower.store.len(), follower.deletes), (2, 0));
    // One of them registers again, and a list of the new cluster then counts for it.
    mock.put_node("a", "10.0.0.0/24");
    follower.until_problem("1 nodes").await;
    mock.fault(Verb::Watch, Fault::Status(410, "Expired"));
    mock.cut();
    mock.delete("nodes", "a");
    follower.until_nodes(&["b"]).await;
    follower.until_problem("1 nodes").await;
    // The other one registers and is then deleted explicitly.
    mock.put_node("b", "10.0.1.0/24");
    follower.until_well().await;
    mock.delete("nodes", "b");
    follower.until_nodes(&[]).await;
}

/// The versions of the new server have passed those of the old: a watch would go on as if nothing
/// had happened, were the identity not asked for.
#[tokio::test]
async fn another_cluster_is_noticed_whatever_its_versions_say() {
    let (mock, mut follower) = two_nodes().await;
    mock.replace("second");
    {
        let mut state = mock.state();
        state.oldest = 0;
        state.version = 1000;
    }
    mock.put_node("x", "10.0.5.0/24");
    mock.cut();
    follower.until_nodes(&["a", "b", "x"]).await;
    follower
        .until_problem("2 nodes that it does not know")
        .await;
}

/// The server is replaced after it listed and before it tells who it is: what the old one listed
/// is not the new one's to omit.
#[tokio::test]
async fn a_server_replaced_between_list_and_identity_deletes_nothing() {
    let (mock, mut follower) = two_nodes().await;
    mock.fault(Verb::List, Fault::ReplacedAfter);
    for _ in 0..2 {
        mock.fault(Verb::Watch, Fault::Status(410, "Expired"));
    }
    mock.cut();
    follower
        .until_problem("another cluster (kube-system uid second): 2 nodes")
        .await;
    assert_eq!((follower.store.len(), follower.deletes), (2, 0));
}

#[tokio::test]
async fn an_identity_that_is_refused_deletes_nothing() {
    let (mock, mut follower) = two_nodes().await;
    mock.stop();
    follower.until_problem("refused").await;
    mock.delete("nodes", "a");
    mock.expire_all();
    mock.fault(Verb::Identity, Fault::Status(403, "Forbidden"));
    mock.resume().await;
    follower
        .until("kept or listed again", |f| {
            f.problems.iter().any(|p| matches!(p, Problem::Kept { .. })) || f.told == ["b"]
        })
        .await;
    // Once it is told and the same, the omission counts.
    follower.until_nodes(&["b"]).await;
    follower.until_well().await;
}

#[tokio::test]
async fn an_identity_that_cannot_be_read_now_is_asked_for_again() {
    let (mock, mut follower) = two_nodes().await;
    mock.stop();
    follower.until_problem("refused").await;
    mock.delete("nodes", "a");
    mock.expire_all();
    for _ in 0..3 {
        mock.fault(Verb::Identity, Fault::Status(500, "InternalError"));
    }
    mock.resume().await;
    follower.until_problem("get namespace kube-system").await;
    follower.until_nodes(&["b"]).await;
    follower.until_well().await;
}

#[tokio::test]
async fn a_list_that_fails_midway_does_not_count() {
    let mock = Mock::start().await;
    mock.state().page = 2;
    for number in 0..7 {
        mock.put_node(&format!("n{number}"), "10.0.0.0/24");
    }
    let mut follower = Follower::of(&mock);
    follower.until("synced", |f| f.synced == 1).await;
    assert_eq!(follower.store.len(), 7);
    assert_eq!(mock.requests(Verb::List), 4);
    mock.stop();
    follower.until_problem("refused").await;
    mock.state().oldest = 1000;
    mock.state().version = 1000;
    mock.delete("nodes", "n3");
    mock.resume().await;
    mock.fault(Verb::List, Fault::Status(500, "InternalError"));
    follower
        .until_problem("list nodes: the server answers 500")
        .await;
    mock.fault(Verb::List, Fault::Status(410, "Expired"));
    follower.until("n3 gone", |f| f.deletes == 1).await;
    follower.until_well().await;
    assert_eq!(follower.store.len(), 6);
}

#[tokio::test]
async fn a_server_that_ends_every_watch_is_not_asked_all_the_time() {
    let mock = Mock::start().await;
    for _ in 0..8 {
        mock.fault(Verb::Watch, Fault::EndAtOnce);
    }
    let mut follower = Follower::of(&mock);
    mock.put_node("a", "10.0.0.0/24");
    follower.until_nodes(&["a"]).await;
    assert_eq!(mock.requests(Verb::List), 1);
}

#[tokio::test]
async fn a_wrong_token_is_told() {
    let mock = Mock::start().await;
    let path = mock.kubeconfig();
    let text = std::fs::read_to_string(&path)
        .expect("written")
        .replace("secret", "wrong");
    std::fs::write(&path, text).expect("written");
    let client = client_with(&Access::file(&path), &timing()).expect("good");
    std::fs::remove_file(&path).expect("removed");
    let api: Api<Node> = Api::all(client);
    let (_store, mut changes) = watched(api, Selector::default(), timing());
    let first = timeout(LIMIT, changes.next())
        .await
        .expect("told")
        .expect("told");
    let text = format!("{first:?}");
    assert!(text.contains("401 Unauthorized"), "{text}");
}

#[tokio::test]
async fn the_watch_ends_with_its_last_handle() {
    let (mock, follower) = two_nodes().await;
    drop(follower);
    // A watcher that still lived would list again and again.
    let before = mock.requests(Verb::List);
    mock.state().oldest = 1000;
    mock.cut();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(mock.requests(Verb::List), before);
}
