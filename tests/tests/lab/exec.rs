//! `kubectl exec` and `kubectl attach` as a user has them: through the API server into a container,
//! with pipes and with a terminal, and nothing left when they are gone.

use std::io::{Read, Write};
use std::process::{Child, Command, Output};
use std::thread;

use nix::sys::signal::{Signal, kill};
use seaway_testkit::{eventually, isolate};
use seaway_tests::kubectl;
use seaway_tests::lab::Lab;

use super::LIMIT;
use super::shell::{Session, output, pid, runs_with, stty, text, wait_for_no_sleep, with_pipes};

fn command(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = Command::new(kubectl());
    command
        .arg("--kubeconfig")
        .arg(lab.kubeconfig())
        .args(arguments);
    command
}

/// Runs it with pipes and gives all that comes of it.
fn run(lab: &Lab, arguments: &[&str], input: &[u8]) -> Output {
    output(&mut command(lab, arguments), input)
}

fn begin(lab: &Lab, arguments: &[&str], greeting: &str) -> Child {
    let mut child = with_pipes(&mut command(lab, arguments));
    let mut said = vec![0; greeting.len()];
    let stdout = child.stdout.as_mut().expect("a pipe");
    stdout.read_exact(&mut said).expect("it runs");
    assert_eq!(text(&said), greeting);
    child
}

#[test]
fn a_command_runs_by_kubectl_exec_and_ends_with_its_connection() {
    isolate();
    let lab = Lab::up("s-exec-pipes", &["--nodes", "1", "--pods", "1"]);
    let everything: Vec<u8> = (0..3_000_000u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    let copied = run(&lab, &["exec", "-i", "pod-1-1", "--", "cat"], &everything);
    assert!(copied.status.success(), "{}", text(&copied.stderr));
    assert!(copied.stdout == everything, "{} bytes", copied.stdout.len());

    let script = "echo out; echo err >&2; hostname; exit 7";
    let words = ["exec", "pod-1-1", "-c", "sidecar", "--", "sh", "-c", script];
    let both = run(&lab, &words, b"");
    assert_eq!(text(&both.stdout), "out\npod-1-1\n");
    assert_eq!(
        text(&both.stderr),
        "err\ncommand terminated with exit code 7\n"
    );
    assert_eq!(both.status.code(), Some(7));

    // It is in the container: its processes, its network, its user's rights and no others.
    let place = "cat /proc/1/comm; cat /etc/shadow || echo none; \
        grep -h ^CapEff: /proc/1/status /proc/self/status | sort -u | wc -l";
    let words = ["exec", "pod-1-1", "--", "sh", "-c", place];
    assert_eq!(text(&run(&lab, &words, b"").stdout), "seaway\nnone\n1\n");
    let missing = run(&lab, &["exec", "pod-1-1", "--", "no-such-program"], b"");
    assert!(
        text(&missing.stderr).contains("no-such-program") && !missing.status.success(),
        "{}",
        text(&missing.stderr)
    );

    // It reads nothing of what it is sent, has children, and does not want to hear of a hangup.
    let deaf = "trap '' HUP; sleep 535351 & echo up; sleep 535352; sleep 535353";
    let words = ["exec", "-i", "pod-1-1", "--", "sh", "-c", deaf];
    let mut child = begin(&lab, &words, "up\n");
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = thread::spawn(move || while stdin.write_all(&[b'x'; 65536]).is_ok() {});
    kill(pid(&child), Signal::SIGKILL).expect("killed");
    child.wait().expect("ends");
    writer.join().expect("no panic");
    for argument in ["535351", "535352", "535353"] {
        wait_for_no_sleep(argument);
    }

    // The API server's end is the end of every session.
    let words = ["exec", "pod-1-1", "--", "sh", "-c", "echo up; sleep 545451"];
    let mut child = begin(&lab, &words, "up\n");
    seaway_tests::lab::good(&["kill", "--name", lab.name, "control/apiserver"]);
    assert!(!child.wait().expect("ends").success());
    wait_for_no_sleep("545451");
}

#[test]
fn what_a_container_writes_is_shown_to_whoever_is_attached() {
    isolate();
    let lab = Lab::up("s-exec-attach", &["--nodes", "1", "--pods", "0"]);
    let script = "until test -e /tmp/end; do echo tick; echo tock >&2; sleep 0.05; done; echo last";
    let image = ["run", "talks", "--image=any", "--restart=Never"];
    lab.kubectl(&[&image[..], &["--command", "--", "sh", "-c", script]].concat());
    lab.kubectl(&[
        "wait",
        "--for=condition=Ready",
        "pod/talks",
        "--timeout=60s",
    ]);
    let mut child = begin(&lab, &["attach", "talks"], "tick\n");
    lab.kubectl(&["exec", "talks", "--", "touch", "/tmp/end"]);
    let mut said = String::new();
    let stdout = child.stdout.as_mut().expect("a pipe");
    stdout.read_to_string(&mut said).expect("text");
    assert!(
        said.ends_with("tick\nlast\n") && !said.contains("tock"),
        "{said}"
    );
    said.clear();
    let stderr = child.stderr.as_mut().expect("a pipe");
    stderr.read_to_string(&mut said).expect("text");
    assert!(said.ends_with("tock\n"), "{said}");
    assert!(child.wait().expect("ends").success());
}

#[test]
fn kubectl_exec_gives_a_terminal_that_is_one() {
    isolate();
    let lab = Lab::up("s-exec-terminal", &["--nodes", "1", "--pods", "1"]);
    let config = lab.kubeconfig().display().to_string();
    let exec = [
        "--kubeconfig",
        &config,
        "exec",
        "-it",
        "pod-1-1",
        "--",
        "sh",
    ];
    let mut session = Session::of(&kubectl(), &exec);
    session.see("# ");
    session.type_in("echo shown-$((40 + 2))\r");
    session.see("shown-42\r\n");
    session.type_in("tty; echo $TERM\r");
    session.see("/dev/pts/0\r\nxterm\r\n");
    session.type_in("until stty size | grep '^33 101'; do :; done\r");
    session.see("33 101\r\n");
    stty(&session.slave, &["rows", "44", "cols", "77"]);
    session.type_in("until stty size | grep '^44 77'; do :; done\r");
    session.see("44 77\r\n");
    session.type_in("sh -c 'echo up-$((1 + 1)); exec sleep 555551'\r");
    session.see("up-2\r\n");
    eventually("it sleeps", LIMIT, || match runs_with("555551") {
        true => Ok(()),
        false => Err("not yet"),
    });
    session.type_in("\x03");
    session.see("^C");
    session.type_in("echo code-$?\r");
    session.see("code-130\r\n");
    wait_for_no_sleep("555551");
    session.type_in("(exit 9)\r");
    session.see("(exit 9)\r\n");
    session.type_in("\x04");
    assert_eq!(
        session.end(true),
        Some(9),
        "the end of input ends the shell"
    );

    let script = "echo up-$((1 + 1)); sleep 565651; sleep 565652";
    let exec = [&exec[..6], &["sh", "-c", script]].concat();
    let mut session = Session::of(&kubectl(), &exec);
    session.see("up-2");
    kill(pid(&session.child), Signal::SIGKILL).expect("killed");
    assert_eq!(session.end(false), None);
    for argument in ["565651", "565652"] {
        wait_for_no_sleep(argument);
    }
}
