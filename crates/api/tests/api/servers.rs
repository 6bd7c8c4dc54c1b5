//! Several API servers: whichever fails in whichever way, another is asked, and nothing is lost.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use seaway_api::{
    Access, Credentials, ObjectKey, ServerUrl, StatusWriter, Timing, client_with, convert,
};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::cluster::{Agent, deletes, synced};
use crate::front::{Authority, Front, Mode};
use crate::mock::{Fault, LIMIT, Mock, Verb, timing};

fn quick() -> Timing {
    Timing {
        connect: Duration::from_millis(400),
        ..timing()
    }
}

/// A kubeconfig whose own server nobody ever reaches, with these servers in its place.
fn access(mock: &Mock, fronts: &[&Front]) -> (Access, PathBuf) {
    let path = mock.kubeconfig();
    let text = std::fs::read_to_string(&path).expect("written");
    let text = text.replace(&mock.address.to_string(), "192.0.2.1:1");
    std::fs::write(&path, text).expect("written");
    (Access::file(&path).with_servers(urls(fronts)), path)
}

fn urls(fronts: &[&Front]) -> Vec<ServerUrl> {
    let parse = |front: &&Front| front.url().parse().expect("a URL");
    fronts.iter().map(parse).collect()
}

fn client(mock: &Mock, fronts: &[&Front]) -> Client {
    let (access, path) = access(mock, fronts);
    let client = client_with(&access, &quick()).expect("good");
    std::fs::remove_file(path).expect("removed");
    client
}

fn agent(mock: &Mock, fronts: &[&Front]) -> Agent {
    let (access, path) = access(mock, fronts);
    Agent::reach(access, quick()).with_kubeconfig(path)
}

async fn at(agent: &mut Agent, front: &Front) {
    let url = front.url();
    let uses = |agent: &Agent| agent.server.as_deref() == Some(&url);
    agent.until(&format!("{url} is in use"), uses).await;
}

async fn hears(agent: &mut Agent, mock: &Mock, node: &str) {
    mock.put_node(node, "10.0.9.0/24");
    let about = |agent: &Agent| format!("{:?}", agent.events).contains(&format!("\"{node}\""));
    agent.until(node, about).await;
}

/// One cluster behind two servers, the first of which an agent uses.
async fn two() -> (Mock, Front, Front, Agent) {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    let (first, second) = (
        Front::of(&mock, "127.0.0.1:0").await,
        Front::of(&mock, "[::1]:0").await,
    );
    let mut agent = agent(&mock, &[&first, &second]);
    agent.until("synced", synced).await;
    assert_eq!(agent.server, Some(first.url()));
    (mock, first, second, agent)
}

#[tokio::test]
async fn r12_a_server_that_fails_in_any_way_is_replaced_and_replaces() {
    for mode in [Mode::Refuses, Mode::Silent, Mode::Unavailable] {
        let (mock, first, second, mut agent) = two().await;
        assert_eq!(second.accepted(), 0, "nobody asks the second for nothing");
        let start = Instant::now();
        first.set(mode);
        hears(&mut agent, &mock, "b").await;
        eprintln!("{mode:?}: heard after {:?}", start.elapsed());
        at(&mut agent, &second).await;
        // Back, and the other is away.
        first.set(Mode::Works);
        second.set(mode);
        hears(&mut agent, &mock, "c").await;
        at(&mut agent, &first).await;
        // Both are away, and both come back.
        first.set(mode);
        let lost = |agent: &Agent| agent.problem.is_some();
        agent.until("a problem is told", lost).await;
        let told = agent.problem.clone().unwrap_or_default();
        first.set(Mode::Works);
        second.set(Mode::Works);
        hears(&mut agent, &mock, "d").await;
        let well = |agent: &Agent| agent.problem.is_none();
        agent.until("no problem is left", well).await;
        assert_eq!(deletes(&agent), 0, "{mode:?}");
        assert!(told.contains("nodes") || told.contains("pods") || told.contains("kube-system"));
    }
}

#[tokio::test]
async fn a_server_that_is_away_from_the_start_is_passed_over() {
    for mode in [Mode::Refuses, Mode::Silent, Mode::Unavailable] {
        let mock = Mock::start().await;
        let first = Front::of(&mock, "[::1]:0").await;
        let second = Front::of(&mock, "127.0.0.1:0").await;
        first.set(mode);
        // A command that asks only once gets its answer.
        let nodes: Api<Node> = Api::all(client(&mock, &[&first, &second]));
        let answer = timeout(LIMIT, nodes.list(&Default::default())).await;
        answer.expect("in time").expect("answered");
    }
}

#[tokio::test]
async fn what_is_written_reaches_the_other_server() {
    let mock = Mock::start().await;
    mock.put_node("n", "10.0.0.0/24");
    let uid =
        mock.state().objects[&("nodes".to_owned(), "n".to_owned())]["metadata"]["uid"].clone();
    let first = Front::of(&mock, "127.0.0.1:0").await;
    let second = Front::of(&mock, "127.0.0.1:0").await;
    let writer: StatusWriter<Node> =
        StatusWriter::cluster(client(&mock, &[&first, &second]), &quick());
    let fronts = [&first, &second];
    for (number, mode) in [Mode::Refuses, Mode::Silent, Mode::Unavailable, Mode::Works]
        .into_iter()
        .enumerate()
    {
        fronts[number % 2].set(mode);
        fronts[(number + 1) % 2].set(Mode::Works);
        let uid = uid.as_str().expect("set");
        let status = json!({"phase": number.to_string()});
        writer
            .set(&ObjectKey::cluster("n"), uid, &status)
            .expect("JSON");
        timeout(LIMIT, writer.flush()).await.expect("written");
        let stored = mock.state().objects[&("nodes".to_owned(), "n".to_owned())].clone();
        assert_eq!(stored["status"], status);
    }
}

#[tokio::test]
async fn a_slow_server_is_left_for_another() {
    let mock = Mock::start().await;
    let first = Front::of(&mock, "127.0.0.1:0").await;
    let second = Front::of(&mock, "127.0.0.1:0").await;
    let nodes: Api<Node> = Api::all(client(&mock, &[&first, &second]));
    mock.fault(Verb::List, Fault::Hang);
    nodes
        .list(&Default::default())
        .await
        .expect("the second answers");
    assert_eq!((first.accepted(), second.accepted()), (1, 1));
    // It stays there: no flapping.
    for _ in 0..5 {
        nodes.list(&Default::default()).await.expect("answered");
    }
    assert_eq!((first.accepted(), second.accepted()), (1, 1));
}

#[tokio::test]
async fn a_refusal_of_the_request_is_no_failure_of_the_server() {
    let mock = Mock::start().await;
    let first = Front::of(&mock, "127.0.0.1:0").await;
    let second = Front::of(&mock, "127.0.0.1:0").await;
    let nodes: Api<Node> = Api::all(client(&mock, &[&first, &second]));
    for (code, reason) in [
        (403, "Forbidden"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
    ] {
        mock.fault(Verb::List, Fault::Status(code, reason));
        nodes.list(&Default::default()).await.expect_err("refused");
    }
    assert_eq!(second.accepted(), 0);
}

#[tokio::test]
async fn the_first_server_is_gone_back_to_when_it_is_well() {
    let mock = Mock::start().await;
    let first = Front::of(&mock, "127.0.0.1:0").await;
    let second = Front::of(&mock, "127.0.0.1:0").await;
    let (access, path) = access(&mock, &[&first, &second]);
    let timing = Timing {
        home_after: Duration::from_millis(200),
        ..quick()
    };
    let client = client_with(&access, &timing).expect("good");
    std::fs::remove_file(path).expect("removed");
    let nodes: Api<Node> = Api::all(client);
    first.set(Mode::Refuses);
    let asks = async {
        let (mut before, mut rounds) = (second.accepted(), 0);
        while rounds < 3 {
            nodes
                .list(&Default::default())
                .await
                .expect("always answered");
            if first.accepted() > 0 {
                // It is home for good, though the second one would answer, too.
                second.set(Mode::Refuses);
                rounds += 1;
            } else if second.accepted() > before {
                before = second.accepted();
                first.set(Mode::Works);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, asks).await.expect("it goes home");
}

#[tokio::test]
async fn servers_of_two_clusters_in_one_list_lead_to_no_delete() {
    let (ours, other) = (Mock::start().await, Mock::start().await);
    other.replace("second");
    for name in ["a", "b", "c"] {
        ours.put_node(name, "10.0.0.0/24");
    }
    let first = Front::of(&ours, "127.0.0.1:0").await;
    let second = Front::of(&other, "127.0.0.1:0").await;
    let mut agent = agent(&ours, &[&first, &second]);
    agent.until("synced", synced).await;
    for round in 0..20 {
        first.set([Mode::Refuses, Mode::Silent, Mode::Unavailable][round % 3]);
        tokio::time::sleep(Duration::from_millis(37 * (round as u64 % 5))).await;
        ours.expire_all();
        first.set(Mode::Works);
        second.set([Mode::Unavailable, Mode::Refuses][round % 2]);
        tokio::time::sleep(Duration::from_millis(11 * (round as u64 % 7))).await;
        second.set(Mode::Works);
    }
    first.set(Mode::Refuses);
    let says = |agent: &Agent| {
        let problem = agent.problem.as_deref().unwrap_or_default();
        problem.contains("kube-system") && problem.contains("nodes")
    };
    agent
        .until("it says that this is another cluster", says)
        .await;
    second.set(Mode::Refuses);
    first.set(Mode::Works);
    hears(&mut agent, &ours, "d").await;
    assert_eq!(deletes(&agent), 0);
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    let authority = Authority::new();
    let folder = authority.service_account("names");
    let wrong = Front::secured(
        &mock,
        "127.0.0.1:0",
        &authority,
        &["127.0.0.2", "localhost"],
    )
    .await;
    let stranger = Front::secured(&mock, "127.0.0.1:0", &Authority::new(), &["127.0.0.1"]).await;
    let right = Front::secured(&mock, "[::1]:0", &authority, &["::1"]).await;
    let credentials = || Access::new(Credentials::ServiceAccount(folder.clone()));
    for (bad, words) in [
        (&wrong, "not valid for name"),
        (&stranger, "invalid peer certificate"),
    ] {
        let access = credentials().with_servers(urls(&[bad]));
        let mut agent = Agent::reach(access, quick());
        let told = |agent: &Agent| agent.problem.is_some();
        agent.until("a problem is told", told).await;
        let problem = agent.problem.clone().unwrap_or_default();
        assert!(problem.contains(words), "{problem}");
        assert_eq!(mock.requests(Verb::Identity), 0, "no token is sent");
    }
    let access = credentials().with_servers(urls(&[&wrong, &stranger, &right]));
    let mut agent = Agent::reach(access, quick());
    agent.until("synced", synced).await;
    at(&mut agent, &right).await;
    std::fs::remove_dir_all(folder).expect("removed");
}

#[tokio::test]
async fn the_servers_that_the_cluster_names_are_asked_when_those_given_fail() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.0.0.0/24");
    let authority = Authority::new();
    let folder = authority.service_account("learned");
    let given = Front::secured(&mock, "127.0.0.1:0", &authority, &["127.0.0.1"]).await;
    // A kubelet has a certificate for its node's address, and is no API server.
    let kubelet = Front::secured(&mock, "127.0.0.1:0", &authority, &["127.0.0.1"]).await;
    let names = ["kubernetes.default.svc", "10.96.0.1"];
    let learned = Front::secured(&mock, "[::1]:0", &authority, &names).await;
    for (name, kind, front) in [("kubernetes", "IPv6", &learned), ("more", "IPv4", &kubelet)] {
        let meta = json!({"name": name, "namespace": "default",
            "labels": {convert::SERVICE_NAME_LABEL: "kubernetes"}});
        let ports = json!([{"name": "https", "port": front.address.port()}]);
        let endpoints = json!([{"addresses": [front.address.ip()]}]);
        let slice = json!({"metadata": meta, "addressType": kind, "ports": ports,
            "endpoints": endpoints});
        mock.put("endpointslices", slice);
    }
    let memory = folder.join("api-servers.json");
    let access = || {
        Access::new(Credentials::ServiceAccount(folder.clone()))
            .with_servers(urls(&[&given]))
            .remembering(&memory)
    };
    let mut agent = Agent::reach_with_services(access(), quick());
    agent.until("synced", synced).await;
    assert_eq!(agent.server, Some(given.url()));
    given.set(Mode::Refuses);
    at(&mut agent, &learned).await;
    hears(&mut agent, &mock, "b").await;
    drop(agent);
    // Another one starts while those given are away.
    let mut agent = Agent::reach_with_services(access(), quick());
    agent.until("synced", synced).await;
    at(&mut agent, &learned).await;
    drop(agent);
    // Without the memory nobody can know.
    std::fs::write(&memory, "{\"servers\": [\"http://[::1]:1\"]}").expect("written");
    let mut agent = Agent::reach_with_services(access(), quick());
    let told = |agent: &Agent| agent.problem.is_some();
    agent.until("a problem is told", told).await;
    assert!(!synced(&agent));
    given.set(Mode::Works);
    agent.until("synced", synced).await;
    std::fs::remove_dir_all(folder).expect("removed");
}

#[tokio::test]
async fn a_token_that_is_replaced_counts_from_the_next_request_on() {
    let mock = Mock::start().await;
    let authority = Authority::new();
    let folder = authority.service_account("token");
    let front = Front::secured(&mock, "127.0.0.1:0", &authority, &["127.0.0.1"]).await;
    let access = Access::new(Credentials::ServiceAccount(folder.clone()));
    let client = client_with(&access.with_servers(urls(&[&front])), &quick()).expect("good");
    let nodes: Api<Node> = Api::all(client);
    let ask = || async { nodes.list(&Default::default()).await.is_ok() };
    assert!(ask().await);
    for (token, good) in [("expired", false), ("secret", true)] {
        std::fs::write(folder.join("token.new"), token).expect("written");
        std::fs::rename(folder.join("token.new"), folder.join("token")).expect("renamed");
        assert_eq!(ask().await, good, "{token}");
    }
    std::fs::remove_dir_all(folder).expect("removed");
}
