//! The turns for the worse: dead sandboxes, ends, hooks and probes.

use std::time::Duration;

use serde_json::json;

use super::super::*;
use super::{World, one};

#[test]
fn a_dead_sandbox_is_replaced_with_all_that_ran_in_it() {
    let mut world =
        World::up(json!({"initContainers": [{"name": "a"}], "containers": [{"name": "c"}]}));
    world.started(0);
    world.exited(0, 0);
    world.started(1);
    world.done();
    world.tell(Input::SandboxDied);
    assert_eq!(world.done(), "ask c");
    assert_eq!(world.condition("PodReadyToStartContainers"), "False");
    world.after(2);
    assert_eq!(world.done(), "kill c");
    world.exited(1, 137);
    assert_eq!(world.done(), "RemoveSandbox");
    world.tell(Input::SandboxRemoved(Ok(())));
    assert_eq!(world.done(), "CreateSandbox");
    world.tell(Input::SandboxUp(Ok(Vec::new())));
    assert_eq!(world.done(), "start a 1");
    world.started(0);
    world.exited(0, 0);
    assert_eq!(world.done(), "start c 1");
}

#[test]
fn a_pod_that_ends_is_asked_then_killed_then_removed() {
    let mut world = World::up(one());
    world.started(0);
    world.done();
    world.tell(Input::End(Duration::from_secs(5)));
    assert_eq!(world.done(), "ask c");
    world.after(4);
    assert_eq!(world.done(), "");
    world.after(1);
    assert_eq!(world.done(), "kill c");
    world.exited(0, 137);
    assert_eq!(world.done(), "RemoveSandbox");
    let failure = Failure {
        waiting: None,
        message: "no".to_owned(),
    };
    world.tell(Input::SandboxRemoved(Err(failure)));
    world.after(1);
    assert_eq!(world.done(), "! FailedKillPod, RemoveSandbox");
    world.tell(Input::SandboxRemoved(Ok(())));
    assert_eq!(
        (world.done().as_str(), world.phase().as_str()),
        ("Forget", "Failed")
    );
    world.after(100);
    assert_eq!((world.done().as_str(), world.life.deadline()), ("", None));
}

#[test]
fn who_asks_again_can_only_shorten_the_time() {
    let mut world = World::up(one());
    world.started(0);
    world.tell(Input::End(Duration::from_secs(30)));
    world.tell(Input::End(Duration::from_secs(60)));
    world.done();
    world.tell(Input::End(Duration::from_secs(1)));
    world.after(1);
    assert_eq!(world.done(), "kill c");
}

#[test]
fn a_pod_that_ends_while_it_comes_waits_for_what_is_on_its_way() {
    let mut world = World::new(one());
    world.tell(Input::End(Duration::ZERO));
    assert_eq!(world.done(), "Prepare");
    world.tell(Input::Prepared(Ok(())));
    assert_eq!(world.done(), "Forget");
    let mut world = World::new(one());
    world.tell(Input::Prepared(Ok(())));
    world.tell(Input::End(Duration::ZERO));
    world.tell(Input::SandboxUp(Ok(Vec::new())));
    assert_eq!(world.done(), "Prepare, CreateSandbox, RemoveSandbox");
}

#[test]
fn a_hook_comes_before_the_signal_and_takes_of_the_time() {
    let spec = json!({"containers": [{"name": "c", "lifecycle":
        {"preStop": {"exec": {"command": ["x"]}}, "postStart": {"exec": {"command": ["x"]}}}}]});
    let mut world = World::up(spec);
    world.started(0);
    world.tell(Input::End(Duration::from_secs(5)));
    world.after(3);
    assert_eq!(
        world.done(),
        "Prepare, CreateSandbox, start c 0, PostStart c, PreStop c"
    );
    let mut late = World {
        life: world.life.clone(),
        now: world.now,
        log: Vec::new(),
    };
    world.tell(Input::Hooked {
        member: 0,
        run: 0,
        hook: Hook::PreStop,
        result: Ok(()),
    });
    world.after(2);
    assert_eq!(world.done(), "ask c, kill c");
    late.after(2);
    late.after(1);
    assert_eq!(late.done(), "ask c");
    late.after(1);
    assert_eq!(late.done(), "kill c");
}

#[test]
fn a_failed_post_start_hook_ends_the_container() {
    let mut world = World::up(json!({"containers": [{"name": "c", "lifecycle":
        {"postStart": {"exec": {"command": ["x"]}}}}]}));
    world.started(0);
    world.done();
    let result = Err("exit code 1".to_owned());
    world.tell(Input::Hooked {
        member: 0,
        run: 0,
        hook: Hook::PostStart,
        result,
    });
    assert_eq!(world.done(), "! FailedPostStartHook, ask c");
}

#[test]
fn readiness_follows_its_probe() {
    let mut world = World::up(json!({"containers": [{"name": "c", "readinessProbe":
        {"tcpSocket": {"port": 1}, "periodSeconds": 5, "failureThreshold": 2}}]}));
    world.started(0);
    world.after(1);
    assert_eq!(
        world.done(),
        "Prepare, CreateSandbox, start c 0, Readiness c"
    );
    world.probed(ProbeKind::Readiness, false);
    assert_eq!(world.condition("Ready"), "False ContainersNotReady");
    world.after(1);
    assert_eq!(world.done(), "! Unhealthy, Readiness c");
    world.probed(ProbeKind::Readiness, true);
    assert_eq!(world.condition("Ready"), "True");
    world.after(4);
    assert_eq!(world.done(), "");
    world.after(1);
    world.probed(ProbeKind::Readiness, false);
    assert_eq!(world.condition("Ready"), "True");
    world.after(5);
    world.probed(ProbeKind::Readiness, false);
    assert_eq!(world.condition("Ready"), "False ContainersNotReady");
    assert_eq!(world.phase(), "Running");
}

#[test]
fn startup_holds_the_others_back_and_liveness_restarts() {
    let mut world = World::up(
        json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "c",
        "startupProbe": {"tcpSocket": {"port": 1}, "periodSeconds": 1, "failureThreshold": 3},
        "livenessProbe": {"tcpSocket": {"port": 1}, "periodSeconds": 1, "failureThreshold": 2}}]}),
    );
    world.started(0);
    world.done();
    world.probed(ProbeKind::Startup, false);
    world.after(1);
    assert_eq!(world.done(), "! Unhealthy, Startup c");
    assert_eq!(world.main_status().started, Some(false));
    world.probed(ProbeKind::Startup, true);
    assert_eq!(world.main_status().started, Some(true));
    assert_eq!(world.done(), "Liveness c");
    world.probed(ProbeKind::Liveness, false);
    world.after(1);
    assert_eq!(world.done(), "! Unhealthy, Liveness c");
    world.probed(ProbeKind::Liveness, false);
    assert_eq!(world.done(), "! Unhealthy, ask c");
    world.after(1);
    assert_eq!(world.done(), "kill c");
    world.exited(0, 137);
    assert_eq!(world.done(), "start c 1");
}
