//! How containers start and end.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seaway_testkit::{eventually, isolate};
use serde_json::json;

use crate::harness::{Container, LIMIT, descendants, run, script, start};

fn send(pid: i64, signal: Signal) {
    let pid = i32::try_from(pid).expect("a process number");
    kill(Pid::from_raw(pid), signal).expect("is sent");
}

fn is_gone(pid: i64) -> Result<(), String> {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) if !stat.contains(") Z ") => Err(stat),
        _ => Ok(()),
    }
}

/// A container with three processes, all of which have started.
fn family() -> Container {
    let text = "trap 'echo told; exit 5' TERM; setsid sleep 1000 & setsid sh -c 'echo up; sleep 1000' & wait";
    let mut container = start(&script(text)).expect("starts");
    assert_eq!(container.line(), "up");
    container
}

#[test]
fn the_shim_ends_as_the_program_ends() {
    isolate();
    assert_eq!(run(&script("exit 0")).status.code(), Some(0));
    assert_eq!(run(&script("exit 7")).status.code(), Some(7));
    let container = start(&json!({ "argv": ["sleep", "1000"] })).expect("starts");
    send(container.init, Signal::SIGKILL);
    assert_eq!(container.end().status.signal(), Some(9));
    // The first process of a namespace is not told what it does not ask for.
    let container = start(&json!({ "argv": ["sleep", "1000"] })).expect("starts");
    send(container.init, Signal::SIGTERM);
    send(container.init, Signal::SIGKILL);
    assert_eq!(container.end().status.signal(), Some(9));
}

#[test]
fn signals_to_the_shim_reach_the_program() {
    isolate();
    let container = family();
    send(i64::from(container.shim()), Signal::SIGTERM);
    let ran = container.end();
    assert_eq!(
        (ran.status.code(), ran.stdout.as_str()),
        (Some(5), "told\n")
    );
}

#[test]
fn the_end_of_the_program_is_the_end_of_all_its_processes() {
    isolate();
    let container = family();
    let all = container.processes();
    assert!(all.len() >= 3, "{all:?}");
    send(container.init, Signal::SIGKILL);
    drop(container.end());
    for pid in all {
        is_gone(pid).expect("it went before the shim did");
    }
}

#[test]
fn the_death_of_the_shim_is_the_death_of_the_container() {
    isolate();
    let container = family();
    let all = container.processes();
    send(i64::from(container.shim()), Signal::SIGKILL);
    assert_eq!(container.end().status.signal(), Some(9));
    for pid in all {
        eventually("the container's end", LIMIT, || is_gone(pid));
    }
}

#[test]
fn a_command_that_is_given_up_is_gone() {
    isolate();
    let container = start(&json!({ "argv": ["sleep", "1000"] })).expect("starts");
    let mut entering = container.begin(&json!({ "argv": ["sleep", "1000"] }));
    let command = eventually("the command's start", LIMIT, || {
        let own = descendants(i64::from(entering.id()));
        let name = |pid: &i64| std::fs::read_to_string(format!("/proc/{pid}/comm"));
        own.into_iter()
            .find(|pid| name(pid).is_ok_and(|name| name == "sleep\n"))
            .ok_or("it does not run yet")
    });
    entering.kill().expect("is killed");
    entering.wait().expect("ends");
    eventually("the command's end", LIMIT, || is_gone(command));
    is_gone(container.init).expect_err("the container goes on");
}

#[test]
fn a_start_that_fails_says_why() {
    isolate();
    let missing = start(&json!({ "argv": ["no-such-program"] })).err();
    let missing = missing.expect("fails");
    assert!(
        missing.starts_with("exec: \"no-such-program\": executable file not found in $PATH"),
        "{missing}"
    );
    let denied = start(&json!({ "argv": ["/etc/passwd"] })).err();
    assert_eq!(
        denied.expect("fails"),
        "exec: \"/etc/passwd\": permission denied"
    );
    let nothing = start(&json!({ "argv": [] })).err().expect("fails");
    assert!(nothing.contains("no command"), "{nothing}");
    let volume = json!({ "argv": ["true"], "mounts": [{ "source": "/nowhere", "target": "/x" }] });
    let volume = start(&volume).err().expect("fails");
    assert!(volume.contains("/nowhere"), "{volume}");
}
