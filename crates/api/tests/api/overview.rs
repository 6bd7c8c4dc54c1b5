//! The whole cluster at one moment, read from the scripted server.

use seaway_api::overview::overview;
use serde_json::json;

use crate::mock::{Fault, Mock, Verb};

fn mock_lease(mock: &Mock, name: &str, renewed: &str) {
    let meta = json!({"name": name, "namespace": "seaway-system",
        "labels": {"network.seaway.dev/agent": "true"},
        "annotations": {"network.seaway.dev/summary": r#"{"ready": true, "pods": 3}"#}});
    let spec = json!({"renewTime": renewed, "leaseDurationSeconds": 40});
    mock.put("leases", json!({"metadata": meta, "spec": spec}));
}

#[tokio::test]
async fn everything_is_read_page_by_page_and_by_the_servers_time() {
    let mock = Mock::start().await;
    mock.state().page = 2;
    mock.state().date = Some("Wed, 01 Jan 2020 00:01:00 GMT");
    for number in 1..=5 {
        mock.put_node(&format!("n{number}"), &format!("10.0.{number}.0/24"));
        mock.put(
            "services",
            json!({"metadata": {"name": format!("s{number}")}}),
        );
        let name = format!("agent.n{number}");
        mock_lease(&mock, &name, "2020-01-01T00:00:30.000000Z");
    }
    mock.put("networkpolicies", json!({"metadata": {"name": "p"}}));
    let seen = overview(&mock.client(), "seaway-system")
        .await
        .expect("read");
    let names: Vec<&str> = seen.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["n1", "n2", "n3", "n4", "n5"]);
    assert_eq!(seen.agents.len(), 5);
    for agent in &seen.agents {
        assert_eq!((agent.renewed, agent.good_for), (Some(30), 40));
        assert_eq!(agent.summary.as_ref().map(|summary| summary.pods), Ok(3));
    }
    assert_eq!(
        (seen.policies, seen.services, seen.slices),
        (Ok(1), Ok(5), Ok(0))
    );
    assert_eq!((seen.controller, seen.waiting), (None, Ok(Vec::new())));
}

#[tokio::test]
async fn without_an_answer_there_is_nothing_to_tell_but_why() {
    let mock = Mock::start().await;
    mock.fault(Verb::List, Fault::Status(503, "Unavailable"));
    let error = overview(&mock.client(), "seaway-system")
        .await
        .expect_err("refused");
    assert!(error.contains("the server answers 503"), "{error}");
}
