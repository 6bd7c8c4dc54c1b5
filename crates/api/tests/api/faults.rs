//! Row 13 of the reliability scorecard for Services and their endpoints: whatever a watch loses,
//! repeats, cuts or reorders, an agent ends with what one knows that starts now; and what is not to
//! be seen is not taken for deleted.

use std::collections::BTreeMap;

use seaway_api::{NodeVoice, convert};
use seaway_model::{ClusterEvent, EndpointSlice, Service};
use serde_json::{Value, json};

use crate::cluster::{Agent, synced};
use crate::mock::{Fault, Mock, Verb};

/// How many histories are tried.
const SEEDS: u64 = 12;
/// How many steps one has.
const STEPS: usize = 60;
/// How many Services there can be.
const SERVICES: usize = 6;

/// What an agent knows by what it was told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    services: BTreeMap<String, Service>,
    slices: BTreeMap<String, EndpointSlice>,
}

impl Known {
    fn by(agent: &Agent) -> Known {
        let mut known = Known::default();
        for event in &agent.events {
            match event.clone() {
                ClusterEvent::ServiceUpsert(service) => {
                    known.services.insert(service.name.to_string(), service);
                }
                ClusterEvent::ServiceDelete(name) => {
                    known.services.remove(&name.to_string());
                }
                ClusterEvent::SliceUpsert(slice) => {
                    known.slices.insert(slice.name.to_string(), slice);
                }
                ClusterEvent::SliceDelete(name) => {
                    known.slices.remove(&name.to_string());
                }
                _ => {}
            }
        }
        known
    }
}

fn deleted(agent: &Agent) -> usize {
    let is = |event: &&ClusterEvent| {
        matches!(
            event,
            ClusterEvent::ServiceDelete(_) | ClusterEvent::SliceDelete(_)
        )
    };
    agent.events.iter().filter(is).count()
}

fn service(number: usize, port: usize) -> Value {
    let meta = json!({"name": format!("s{number}"), "namespace": "default"});
    let spec = json!({"clusterIP": format!("10.96.0.{}", number + 1), "ports": [{"port": port}]});
    json!({"metadata": meta, "spec": spec})
}

fn slice(number: usize, last: usize) -> Value {
    let meta = json!({"name": format!("s{number}-x"), "namespace": "default",
        "labels": {convert::SERVICE_NAME_LABEL: format!("s{number}")}});
    json!({"metadata": meta, "addressType": "IPv4", "ports": [{"port": 8080}],
        "endpoints": [{"addresses": [format!("10.244.0.{last}")]}]})
}

/// A small generator, so that a failure can be repeated by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % end
    }
}

fn has(mock: &Mock, resource: &str, name: &str) -> bool {
    let key = (resource.to_owned(), name.to_owned());
    mock.state().objects.contains_key(&key)
}

/// One step of a history: a change, or something that goes wrong.
fn step(mock: &Mock, dice: &mut Dice) {
    let number = dice.below(SERVICES);
    let (own, its) = (format!("s{number}"), format!("s{number}-x"));
    match dice.below(12) {
        0..3 => mock.put("services", service(number, 80 + dice.below(3))),
        // Slices come before their Services as often as after.
        3..6 => mock.put("endpointslices", slice(number, 2 + dice.below(200))),
        6 if has(mock, "services", &own) => mock.delete("services", &own),
        7 if has(mock, "endpointslices", &its) => mock.delete("endpointslices", &its),
        8 => mock.expire_all(),
        9 => mock.cut(),
        _ => {
            let faults = [
                Fault::Status(410, "Expired"),
                Fault::InStream(410, "Expired"),
                Fault::InStream(500, "InternalError"),
                Fault::Status(503, "ServiceUnavailable"),
                Fault::EndAtOnce,
                Fault::Stutter,
                Fault::SkipToNow,
            ];
            mock.fault(Verb::Watch, faults[dice.below(faults.len())]);
        }
    }
}

async fn history(seed: u64) {
    let mock = Mock::start().await;
    mock.put_node("a", "10.244.0.0/24");
    let path = mock.kubeconfig();
    let mut agent = Agent::follow(&path, NodeVoice::silent(), true);
    agent.until("synced", synced).await;
    let mut dice = Dice(seed);
    for _ in 0..STEPS {
        step(&mock, &mut dice);
        if dice.below(3) == 0 {
            tokio::task::yield_now().await;
        }
    }
    // What was lost is made up for by a list, which comes when the past is gone.
    mock.state().clear_faults();
    mock.put("services", service(SERVICES, 80));
    mock.put("endpointslices", slice(SERVICES, 9));
    mock.expire_all();
    for _ in 0..3 {
        mock.fault(Verb::Watch, Fault::Status(410, "Expired"));
    }
    mock.cut();
    let mut cold = Agent::follow(&path, NodeVoice::silent(), true);
    cold.until("synced", synced).await;
    let wanted = Known::by(&cold);
    assert!(wanted.services.contains_key("default/s6"), "{wanted:?}");
    let what = format!("seed {seed}: as a cold start");
    agent.until(&what, |agent| Known::by(agent) == wanted).await;
    std::fs::remove_file(path).expect("removed");
}

#[tokio::test]
async fn r13_services_end_as_a_cold_start_has_them() {
    for seed in 0..SEEDS {
        history(seed).await;
    }
}

#[tokio::test]
async fn r13_an_empty_server_takes_no_service_away() {
    let mock = Mock::start().await;
    mock.put_node("a", "10.244.0.0/24");
    for number in 0..SERVICES {
        mock.put("services", service(number, 80));
        mock.put("endpointslices", slice(number, 2 + number));
    }
    let path = mock.kubeconfig();
    let mut agent = Agent::follow(&path, NodeVoice::silent(), true);
    agent.until("synced", synced).await;
    let before = Known::by(&agent);
    assert_eq!(
        (before.services.len(), before.slices.len()),
        (SERVICES, SERVICES)
    );
    mock.replace("second");
    let says = |agent: &Agent| {
        let problem = agent.problem.as_deref().unwrap_or_default();
        problem.contains("services") && problem.contains("endpointslices")
    };
    agent.until("it says what it keeps", says).await;
    assert_eq!((deleted(&agent), Known::by(&agent)), (0, before));
    // One list that is empty for once is no reason either, once the others are as before.
    for number in 0..SERVICES {
        mock.put("services", service(number, 81));
    }
    let changed = |agent: &Agent| {
        let known = Known::by(agent).services;
        known.values().all(|s| s.ports[0].port == 81)
    };
    agent.until("what is new is heard", changed).await;
    assert_eq!(Known::by(&agent).slices.len(), SERVICES);
    std::fs::remove_file(path).expect("removed");
}
