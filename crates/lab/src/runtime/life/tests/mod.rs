//! Lives of Pods as tables: what happens, and what is done about it.

mod turns;

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use serde_json::{Value, json};

use super::*;
use crate::runtime::plan::Plan;

/// A Pod's life and the clock that it is told.
struct World {
    life: Life,
    now: Time,
    /// What was done, in short words.
    log: Vec<String>,
}

fn plan(spec: Value) -> Plan {
    let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 3}, "spec": spec});
    Plan::of(&serde_json::from_value::<Pod>(pod).expect("a Pod"))
}

impl World {
    fn new(spec: Value) -> World {
        let now = Time::from_second(1_000_000).expect("a time");
        let life = Life::new(plan(spec), BackOff::LAB, false, now);
        let mut world = World {
            life,
            now,
            log: Vec::new(),
        };
        world.after(0);
        world
    }

    /// One whose sandbox stands.
    fn up(spec: Value) -> World {
        let mut world = World::new(spec);
        world.tell(Input::Prepared(Ok(())));
        world.tell(Input::SandboxUp(Ok(vec![
            "10.0.0.9".parse().expect("an address"),
        ])));
        world
    }

    fn note(&mut self, actions: Vec<Action>) {
        let name = |at: usize| self.life.plan().members[at].name.clone();
        let words = |action: Action| match action {
            Action::Start { member, run } => Some(format!("start {} {run}", name(member))),
            Action::Ask { member, .. } => Some(format!("ask {}", name(member))),
            Action::Kill { member, .. } => Some(format!("kill {}", name(member))),
            Action::Hook { member, hook, .. } => Some(format!("{hook:?} {}", name(member))),
            Action::Probe { member, kind, .. } => Some(format!("{kind:?} {}", name(member))),
            Action::Note(note) => note.warning.then(|| format!("! {}", note.reason)),
            other => Some(format!("{other:?}")),
        };
        let words: Vec<_> = actions.into_iter().filter_map(words).collect();
        self.log.extend(words);
    }

    fn tell(&mut self, input: Input) {
        let actions = self.life.step(input, self.now);
        self.note(actions);
    }

    fn after(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        let actions = self.life.advance(self.now);
        self.note(actions);
    }

    fn run_of(&self, member: usize) -> u32 {
        self.life.restarts(member)
    }

    fn started(&mut self, member: usize) {
        let run = self.run_of(member);
        let result = Ok(format!("seaway://{member}-{run}"));
        self.tell(Input::Started {
            member,
            run,
            result,
        });
    }

    fn exited(&mut self, member: usize, code: i32) {
        let run = self.run_of(member);
        let outcome = Outcome {
            code,
            message: None,
        };
        self.tell(Input::Exited {
            member,
            run,
            outcome,
        });
    }

    fn probed(&mut self, kind: ProbeKind, ok: bool) {
        let result = if ok { Ok(()) } else { Err("no".to_owned()) };
        self.tell(Input::Probed {
            member: 0,
            run: self.run_of(0),
            kind,
            result,
        });
    }

    fn done(&mut self) -> String {
        std::mem::take(&mut self.log).join(", ")
    }

    fn status(&self) -> PodStatus {
        self.life.status(&Surroundings::default())
    }

    fn main_status(&self) -> ContainerStatus {
        self.status()
            .container_statuses
            .expect("statuses")
            .remove(0)
    }

    fn waits(&self) -> String {
        let waiting = self.main_status().state.and_then(|s| s.waiting);
        waiting.and_then(|w| w.reason).unwrap_or_default()
    }

    fn phase(&self) -> String {
        self.life.phase_name()
    }

    fn condition(&self, kind: &str) -> String {
        let conditions = self.status().conditions.unwrap_or_default();
        let found = conditions
            .into_iter()
            .find(|c| c.type_ == kind)
            .expect("there");
        format!("{} {}", found.status, found.reason.unwrap_or_default())
            .trim()
            .to_owned()
    }
}

fn one() -> Value {
    json!({"containers": [{"name": "c", "image": "i"}]})
}

#[test]
fn a_pod_is_built_step_by_step() {
    let mut world = World::new(one());
    assert_eq!(world.done(), "Prepare");
    assert_eq!(
        (world.phase().as_str(), world.waits().as_str()),
        ("Pending", "ContainerCreating")
    );
    world.tell(Input::Prepared(Ok(())));
    assert_eq!(world.done(), "CreateSandbox");
    world.tell(Input::SandboxUp(Ok(vec![
        "fd00::9".parse().expect("an address"),
    ])));
    assert_eq!(world.done(), "start c 0");
    assert_eq!(world.condition("PodReadyToStartContainers"), "True");
    world.started(0);
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.condition("Ready"), "True");
    let status = world.status();
    assert_eq!(status.pod_ip.as_deref(), Some("fd00::9"));
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(
        world.main_status().container_id.as_deref(),
        Some("seaway://0-0")
    );
}

#[test]
fn what_cannot_be_made_yet_is_tried_again_later_and_later() {
    let failure = || Failure {
        waiting: None,
        message: "no such volume".to_owned(),
    };
    let mut world = World::new(one());
    world.tell(Input::Prepared(Err(failure())));
    world.after(1);
    assert_eq!(world.done(), "Prepare, ! FailedMount, Prepare");
    world.tell(Input::Prepared(Err(failure())));
    world.after(1);
    assert_eq!(world.done(), "! FailedMount");
    world.after(1);
    world.tell(Input::Prepared(Ok(())));
    world.tell(Input::SandboxUp(Err(failure())));
    assert_eq!(
        world.done(),
        "Prepare, CreateSandbox, ! FailedCreatePodSandBox"
    );
    world.after(1);
    assert_eq!(world.done(), "CreateSandbox");
}

#[test]
fn init_containers_run_one_after_the_other() {
    let mut world = World::up(json!({
        "initContainers": [{"name": "a"}, {"name": "side", "restartPolicy": "Always"}, {"name": "b"}],
        "containers": [{"name": "c"}, {"name": "d"}]}));
    assert_eq!(world.waits(), "PodInitializing");
    world.started(0);
    assert_eq!(
        world.condition("Initialized"),
        "False ContainersNotInitialized"
    );
    world.exited(0, 0);
    world.started(1);
    world.started(2);
    world.exited(2, 1);
    world.started(2);
    world.exited(2, 0);
    let done = world.done();
    let expected = "Prepare, CreateSandbox, start a 0, start side 0, start b 0, start b 1, start c 0, start d 0";
    assert_eq!(done, expected);
    assert_eq!(world.condition("Initialized"), "True");
    world.exited(1, 0);
    assert_eq!(world.done(), "start side 1");
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let mut world = World::up(json!({"restartPolicy": "Never",
        "initContainers": [{"name": "a"}], "containers": [{"name": "c"}]}));
    world.started(0);
    world.exited(0, 7);
    assert_eq!(
        world.done(),
        "Prepare, CreateSandbox, start a 0, RemoveSandbox"
    );
    assert_eq!(world.phase(), "Failed");
}

#[test]
fn crashes_are_made_good_ever_later() {
    let mut world = World::up(one());
    world.started(0);
    world.done();
    let mut waits = Vec::new();
    for _ in 0..9 {
        world.exited(0, 1);
        let from = world.now;
        while world.done() != format!("start c {}", world.run_of(0)) {
            if waits.len() > 1 && world.waits() != "CrashLoopBackOff" {
                panic!("waits for {}", world.waits());
            }
            world.after(1);
        }
        waits.push(world.now.duration_since(from).as_secs());
        world.started(0);
        world.done();
    }
    assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
    let last = world
        .main_status()
        .last_state
        .and_then(|s| s.terminated)
        .expect("ended");
    assert_eq!((last.exit_code, last.reason.as_deref()), (1, Some("Error")));
    assert_eq!(world.main_status().restart_count, 9);
    world.after(600);
    world.exited(0, 1);
    assert_eq!(world.done(), "start c 10");
}

#[test]
fn restart_policies_decide_what_an_exit_means() {
    for (policy, code, phase, restarts) in [
        ("Always", 0, "Running", true),
        ("OnFailure", 0, "Succeeded", false),
        ("OnFailure", 1, "Running", true),
        ("Never", 0, "Succeeded", false),
        ("Never", 1, "Failed", false),
    ] {
        let mut world = World::up(json!({"restartPolicy": policy, "containers": [{"name": "c"}]}));
        world.started(0);
        world.done();
        world.exited(0, code);
        assert_eq!(world.phase(), phase, "{policy} {code}");
        let expected = if restarts {
            "start c 1"
        } else {
            "RemoveSandbox"
        };
        assert_eq!(world.done(), expected, "{policy} {code}");
    }
}

#[test]
fn a_pod_that_is_through_stops_its_sidecars_and_stays_so() {
    let mut world = World::up(json!({"restartPolicy": "Never",
        "initContainers": [{"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "c"}]}));
    world.started(0);
    world.started(1);
    world.done();
    world.exited(1, 0);
    assert_eq!(world.done(), "ask s");
    assert_eq!(world.phase(), "Running");
    world.exited(0, 143);
    assert_eq!(world.done(), "RemoveSandbox");
    world.tell(Input::SandboxRemoved(Ok(())));
    world.after(5000);
    assert_eq!(
        (world.done().as_str(), world.phase().as_str()),
        ("", "Succeeded")
    );
    assert_eq!(world.condition("Ready"), "False PodCompleted");
    world.tell(Input::End(Duration::from_secs(30)));
    assert_eq!(world.done(), "Forget");
}

#[test]
fn what_a_container_lacks_is_why_it_waits() {
    let mut world = World::up(one());
    let result = Err(StartFailure::Waits {
        reason: "CreateContainerConfigError".to_owned(),
        message: "configmap \"x\" not found".to_owned(),
    });
    world.tell(Input::Started {
        member: 0,
        run: 0,
        result,
    });
    assert_eq!(world.waits(), "CreateContainerConfigError");
    world.done();
    world.tell(Input::Nudged);
    assert_eq!(world.done(), "start c 0");
    assert_eq!(world.main_status().restart_count, 0);
    let result = Err(StartFailure::Broken {
        message: "no such file".to_owned(),
    });
    world.tell(Input::Started {
        member: 0,
        run: 0,
        result: result.clone(),
    });
    world.tell(Input::Started {
        member: 0,
        run: 1,
        result,
    });
    assert_eq!(world.waits(), "CrashLoopBackOff");
}

#[test]
fn a_process_may_end_before_its_start_is_told() {
    let mut world = World::up(one());
    world.done();
    world.exited(0, 3);
    assert_eq!(world.done(), "");
    world.started(0);
    assert_eq!(world.done(), "start c 1");
    let last = world
        .main_status()
        .last_state
        .and_then(|s| s.terminated)
        .expect("ended");
    assert_eq!(last.exit_code, 3);
}

#[test]
fn a_pod_may_run_only_so_long() {
    let mut world = World::up(json!({"activeDeadlineSeconds": 10, "containers": [{"name": "c"}]}));
    world.started(0);
    world.done();
    world.after(10);
    assert_eq!(world.done(), "ask c");
    world.exited(0, 0);
    world.tell(Input::SandboxRemoved(Ok(())));
    assert_eq!(
        (world.done().as_str(), world.phase().as_str()),
        ("RemoveSandbox", "Failed")
    );
    assert_eq!(world.status().reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn a_new_image_restarts_its_container_only() {
    let spec =
        |image| json!({"containers": [{"name": "c", "image": image}, {"name": "d", "image": "x"}]});
    let mut world = World::up(spec("i"));
    world.started(0);
    world.started(1);
    world.done();
    world.tell(Input::Changed(Box::new(plan(spec("j")))));
    assert_eq!(world.done(), "ask c");
    world.exited(0, 143);
    assert_eq!(world.done(), "start c 1");
    assert_eq!(world.main_status().image, "j");
}

#[test]
fn a_pod_that_had_ended_before_is_left_alone_and_can_be_deleted() {
    let now = Time::from_second(5).expect("a time");
    let mut life = Life::new(plan(one()), BackOff::LAB, true, now);
    assert_eq!(life.advance(now), []);
    assert_eq!(
        life.step(Input::End(Duration::from_secs(30)), now),
        [Action::Forget]
    );
}

#[test]
fn transition_times_are_those_of_changes() {
    let mut world = World::up(one());
    world.after(7);
    world.started(0);
    let changed = world.now;
    world.after(7);
    let conditions = world.status().conditions.expect("some");
    let since = |kind: &str| {
        conditions
            .iter()
            .find(|c| c.type_ == kind)
            .and_then(|c| c.last_transition_time.clone())
    };
    assert_eq!(since("Ready").expect("set").0, changed);
    assert_eq!(
        since("PodScheduled").expect("set").0,
        changed - Duration::from_secs(7)
    );
}
