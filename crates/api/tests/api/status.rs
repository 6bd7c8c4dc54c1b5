//! The status writer and the event recorder against the scripted server.

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use seaway_api::{EventNote, EventRecorder, EventType, ObjectKey, StatusWriter};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::mock::{Fault, LIMIT, Mock, Verb, timing};

async fn flushed<K>(writer: &StatusWriter<K>) {
    timeout(LIMIT, writer.flush()).await.expect("written");
}

fn pod(mock: &Mock) -> (ObjectKey, String) {
    mock.put_pod("p", "n");
    (
        ObjectKey::namespaced("default", "p"),
        uid(mock, "pods", "p"),
    )
}

fn uid(mock: &Mock, resource: &str, name: &str) -> String {
    let object = stored(mock, resource, name);
    object["metadata"]["uid"].as_str().expect("set").to_owned()
}

fn stored(mock: &Mock, resource: &str, name: &str) -> Value {
    mock.state().objects[&(resource.to_owned(), name.to_owned())].clone()
}

#[tokio::test]
async fn a_status_is_written_once_and_then_only_what_changed() {
    let mock = Mock::start().await;
    let (key, uid) = pod(&mock);
    let writer: StatusWriter<Pod> = StatusWriter::namespaced(mock.client(), &timing());
    let status = json!({"phase": "Running", "podIP": "10.0.0.2"});
    writer.set(&key, &uid, &status).expect("JSON");
    flushed(&writer).await;
    writer.set(&key, &uid, &status).expect("JSON");
    flushed(&writer).await;
    writer
        .set(&key, &uid, &json!({"phase": "Failed"}))
        .expect("JSON");
    flushed(&writer).await;
    let patches = mock.state().patches.clone();
    assert_eq!(patches.len(), 2, "{patches:?}");
    assert_eq!(
        patches[1]["status"],
        json!({"phase": "Failed", "podIP": null})
    );
    assert_eq!(
        stored(&mock, "pods", "p")["status"],
        json!({"phase": "Failed"})
    );
}

#[tokio::test]
async fn the_last_wish_wins_through_failures() {
    let mock = Mock::start().await;
    mock.put_node("n", "10.0.0.0/24");
    let key = ObjectKey::cluster("n");
    let uid = uid(&mock, "nodes", "n");
    for (code, reason) in [(500, "InternalError"), (429, "TooManyRequests"), (503, "x")] {
        mock.fault(Verb::Patch, Fault::Status(code, reason));
    }
    mock.fault(Verb::Patch, Fault::Hang);
    let writer: StatusWriter<Node> = StatusWriter::cluster(mock.client(), &timing());
    for number in 0..20 {
        let status = json!({"phase": number.to_string()});
        writer.set(&key, &uid, &status).expect("JSON");
        tokio::task::yield_now().await;
    }
    flushed(&writer).await;
    assert_eq!(stored(&mock, "nodes", "n")["status"]["phase"], "19");
    assert_eq!(writer.problem(), None);
}

#[tokio::test]
async fn what_others_changed_is_written_again_when_observed() {
    let mock = Mock::start().await;
    let (key, uid) = pod(&mock);
    let writer: StatusWriter<Pod> = StatusWriter::namespaced(mock.client(), &timing());
    let wish = json!({"phase": "Running"});
    writer.set(&key, &uid, &wish).expect("JSON");
    flushed(&writer).await;
    writer
        .observe(&key, &uid, &json!({"phase": "Unknown"}))
        .expect("JSON");
    writer.set(&key, &uid, &wish).expect("JSON");
    flushed(&writer).await;
    assert_eq!(mock.state().patches.len(), 2);
}

#[tokio::test]
async fn an_object_that_is_gone_or_another_is_left_alone() {
    let mock = Mock::start().await;
    let (key, old) = pod(&mock);
    let writer: StatusWriter<Pod> = StatusWriter::namespaced(mock.client(), &timing());
    mock.delete("pods", "p");
    writer
        .set(&key, &old, &json!({"phase": "Failed"}))
        .expect("JSON");
    flushed(&writer).await;
    let (key, new) = pod(&mock);
    writer
        .set(&key, &old, &json!({"phase": "Failed"}))
        .expect("JSON");
    flushed(&writer).await;
    assert_eq!(stored(&mock, "pods", "p")["status"], Value::Null);
    writer
        .set(&key, &new, &json!({"phase": "Running"}))
        .expect("JSON");
    flushed(&writer).await;
    assert_eq!(stored(&mock, "pods", "p")["status"]["phase"], "Running");
}

#[tokio::test]
async fn events_are_written_and_counted() {
    let mock = Mock::start().await;
    let recorder = EventRecorder::start(mock.client(), "test", Some("n"));
    let note = |message: &str| EventNote {
        object: ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some("default".to_owned()),
            name: Some("p".to_owned()),
            ..ObjectReference::default()
        },
        event_type: EventType::Normal,
        reason: "Tested".to_owned(),
        message: message.to_owned(),
    };
    mock.fault(Verb::Create, Fault::Status(500, "InternalError"));
    recorder.record(note("same"));
    recorder.record(note("same"));
    recorder.record(note("last"));
    let all = || -> Vec<Value> {
        let state = mock.state();
        let events = state.objects.iter().filter(|((r, _), _)| r == "events");
        events.map(|(_, event)| event.clone()).collect()
    };
    let waiting = async {
        while !all().iter().any(|event| event["message"] == "last") {
            tokio::time::sleep(timing().pause_first).await;
        }
    };
    timeout(LIMIT, waiting).await.expect("written");
    let same = all().into_iter().find(|event| event["message"] == "same");
    let same = same.expect("written");
    assert_eq!(
        (&same["count"], &same["reason"]),
        (&json!(2), &json!("Tested"))
    );
    assert_eq!(same["source"], json!({"component": "test", "host": "n"}));
    assert_eq!((all().len(), recorder.dropped()), (2, 0));
}
