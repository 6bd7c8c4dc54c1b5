//! `seaway lab shell` as a user has it: with pipes and with a terminal, in a container and nowhere
//! else, and nothing left when it is gone.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seaway_testkit::{eventually, isolate};
use seaway_tests::binary;
use seaway_tests::lab::Lab;

use super::LIMIT;

fn command(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("seaway"));
    command
        .args(["lab", "shell", "--name", lab.name])
        .args(arguments);
    command
}

/// Runs it with pipes and gives all that comes of it.
fn shell(lab: &Lab, arguments: &[&str], input: &[u8]) -> Output {
    output(&mut command(lab, arguments), input)
}

/// Runs it with pipes and gives all that comes of it.
pub(super) fn output(command: &mut Command, input: &[u8]) -> Output {
    let mut child = with_pipes(command);
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // The command may end without having read it.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("ends");
    writer.join().expect("no panic");
    output
}

pub(super) fn with_pipes(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a pid"))
}

/// Whether a program runs anywhere on this machine with that argument.
pub(super) fn runs_with(argument: &str) -> bool {
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    entries.into_iter().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.next() == Some(b"sleep") && words.any(|word| word == argument.as_bytes())
    })
}

pub(super) fn wait_for_no_sleep(argument: &str) {
    eventually("the command is gone", LIMIT, || match runs_with(argument) {
        true => Err("it runs"),
        false => Ok(()),
    });
}

#[test]
fn a_command_gets_these_pipes_and_gives_its_exit_code() {
    isolate();
    let lab = Lab::up("s-shell-pipes", &["--nodes", "1", "--pods", "1"]);
    let everything: Vec<u8> = (0..3_000_000u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    let copied = shell(&lab, &["pod-1-1", "--", "cat"], &everything);
    assert!(copied.status.success(), "{}", text(&copied.stderr));
    assert!(copied.stdout == everything, "{} bytes", copied.stdout.len());

    let script = "echo out; echo err >&2; echo more > /dev/stderr; exit 7";
    let both = shell(&lab, &["pod-1-1/sidecar", "--", "sh", "-c", script], b"");
    assert_eq!(text(&both.stdout), "out\n");
    assert_eq!(text(&both.stderr), "err\nmore\n");
    assert_eq!(both.status.code(), Some(7));

    let typed = shell(&lab, &["pod-1-1"], b"echo $((40 + 2))\nexit 3\n");
    assert_eq!(text(&typed.stdout), "42\n");
    assert_eq!(typed.status.code(), Some(3));

    let codes: [(&[&str], i32, &str); 4] = [
        (&["sh", "-c", "kill -TERM $$"], 143, ""),
        (&["sh", "-c", "kill -KILL $$"], 137, ""),
        (&["no-such-program"], 127, "no-such-program"),
        (&["/etc/passwd"], 126, "permission denied"),
    ];
    for (words, code, reason) in codes {
        let ended = shell(&lab, &[&["default/pod-1-1", "--"], words].concat(), b"");
        let said = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.contains(reason), "{said}");
    }

    // Neither what is not read nor what is left running keeps it.
    let large = vec![b'x'; 1 << 20];
    assert!(
        shell(&lab, &["pod-1-1", "--", "true"], &large)
            .status
            .success()
    );
    let background = "sleep 454541 & echo started";
    let left = shell(&lab, &["pod-1-1", "--", "sh", "-c", background], b"");
    assert_eq!(text(&left.stdout), "started\n");
    let mut open = with_pipes(&mut command(&lab, &["pod-1-1", "--", "true"]));
    let held = open.stdin.take();
    assert!(open.wait().expect("ends").success());
    drop(held);

    // A reader that has had enough ends what writes for ever.
    let mut endless = with_pipes(&mut command(&lab, &["pod-1-1", "--", "yes"]));
    let mut stdout = endless.stdout.take().expect("a pipe");
    stdout.read_exact(&mut [0; 1000]).expect("reads");
    drop(stdout);
    assert_eq!(endless.wait().expect("ends").code(), Some(141));
}

#[test]
fn a_shell_is_as_confined_as_its_container() {
    isolate();
    let lab = Lab::up("s-shell-confined", &["--nodes", "1", "--pods", "1"]);
    let inside = |script: &str| shell(&lab, &["pod-1-1", "--", "sh", "-c", script], b"");
    let said = |script: &str| text(&inside(script).stdout);

    assert!(!inside("cat /etc/shadow").status.success());
    assert_eq!(said("cat /proc/1/comm"), "seaway\n");
    assert_eq!(said("hostname"), "pod-1-1\n");
    assert_eq!(
        said("tr '\\0' ' ' < /proc/1/cmdline").trim(),
        "seaway tool serve --http 8080 --echo 7777"
    );
    let numbers = said("ls /proc | grep -c '^[0-9]*$'");
    let numbers: u32 = numbers.trim().parse().expect("a number");
    assert!(numbers < 8, "{numbers} processes");
    let open = said("ls /proc/self/fd");
    assert_eq!(open.split_whitespace().count(), 4, "{open}");
    for field in [
        "Uid",
        "Gid",
        "Groups",
        "CapEff",
        "CapPrm",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
    ] {
        let lines = said(&format!(
            "grep -h ^{field}: /proc/1/status /proc/self/status"
        ));
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0], lines[1]);
    }
    assert_eq!(
        said("grep NoNewPrivs /proc/self/status"),
        "NoNewPrivs:\t1\n"
    );

    let node = shell(&lab, &["node1", "--", "hostname"], b"");
    assert_eq!(text(&node.stdout), "node1\n", "{}", text(&node.stderr));
    let typed = shell(&lab, &["control"], b"exit 5\n");
    assert_eq!(typed.status.code(), Some(5));
}

#[test]
fn names_that_mean_nothing_and_containers_that_do_not_run_are_told() {
    isolate();
    let lab = Lab::up("s-shell-names", &["--nodes", "1", "--pods", "1"]);
    lab.kubectl(&["run", "idle", "--image=nothing"]);
    lab.kubectl(&[
        "run",
        "plain",
        "--image=any",
        "--restart=Never",
        r#"--overrides={"spec":{"securityContext":{"runAsUser":1000,"runAsGroup":1000}}}"#,
        "--command",
        "--",
        "sleep",
        "464641",
    ]);
    let error = |arguments: &[&str]| {
        let output = shell(&lab, arguments, b"");
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{output:?}"
        );
        text(&output.stderr)
    };
    for (arguments, expected) in [
        (&["nobody"][..], "no Pod nobody"),
        (&["kube-system/pod-1-1"], "no Pod kube-system/pod-1-1"),
        (&["pod-1-1/none"], "no container none; it has main, sidecar"),
        (&["pod-1-1", "-c", "none"], "no container none"),
        (&["node1", "-c", "main"], "is no Pod"),
    ] {
        let said = error(arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    eventually("the Pod waits for an image", LIMIT, || {
        let said = error(&["idle"]);
        match said.contains("runs: the Pod is Pending") && said.contains("describe pod") {
            true => Ok(()),
            false => Err(said),
        }
    });
    let user = eventually("the other Pod runs", LIMIT, || {
        let said = shell(
            &lab,
            &["plain", "--", "sh", "-c", "id -u; echo x > /dev/stdout"],
            b"",
        );
        match said.status.success() {
            true => Ok(text(&said.stdout)),
            false => Err(said),
        }
    });
    assert_eq!(user, "1000\nx\n", "its user can open its pipes");
}

#[test]
fn when_either_side_is_gone_the_other_ends() {
    isolate();
    let lab = Lab::up("s-shell-gone", &["--nodes", "1", "--pods", "1"]);
    let begin = |script: &str| {
        let mut child = with_pipes(&mut command(&lab, &["pod-1-1", "--", "sh", "-c", script]));
        let stdout = child.stdout.as_mut().expect("a pipe");
        stdout.read_exact(&mut [0; 3]).expect("it runs");
        child
    };
    // It does not want to hear of it, and has children.
    let mut deaf = begin("trap '' HUP; sleep 474741 & echo up; sleep 474742; sleep 474743");
    kill(pid(&deaf), Signal::SIGKILL).expect("killed");
    deaf.wait().expect("ends");
    for argument in ["474741", "474742", "474743"] {
        wait_for_no_sleep(argument);
    }

    let mut asked = begin("echo up; sleep 484841; sleep 484842");
    kill(pid(&asked), Signal::SIGTERM).expect("asked");
    let status: ExitStatus = asked.wait().expect("ends");
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(15)
    );
    for argument in ["484841", "484842"] {
        wait_for_no_sleep(argument);
    }

    let mut inside = begin("echo up; sleep 494941");
    seaway_tests::lab::good(&["kill", "--name", lab.name, "pod-1-1/main"]);
    let mut said = String::new();
    let stderr = inside.stderr.as_mut().expect("a pipe");
    stderr.read_to_string(&mut said).expect("text");
    assert!(said.contains("the container has ended"), "{said}");
    assert_eq!(inside.wait().expect("ends").code(), Some(137));
    wait_for_no_sleep("494941");
}

/// A terminal with a shell on it.
pub(super) struct Session {
    pub(super) child: Child,
    keys: File,
    pub(super) slave: OwnedFd,
    shown: Receiver<Vec<u8>>,
    seen: String,
    /// How the terminal was.
    before: String,
}

impl Session {
    fn open(lab: &Lab, arguments: &[&str]) -> Session {
        let name = ["lab", "shell", "--name", lab.name];
        Session::of(&binary("seaway"), &[&name, arguments].concat())
    }

    /// A program on a terminal of its own.
    pub(super) fn of(program: &Path, arguments: &[&str]) -> Session {
        let size = Winsize {
            ws_row: 33,
            ws_col: 101,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(Some(&size), None).expect("a terminal");
        let slave = || pair.slave.try_clone().expect("duplicated");
        let before = stty(&pair.slave, &["-g"]);
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(program)
            .args(arguments)
            .env("TERM", "vt220")
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .expect("starts");
        let mut screen = File::from(pair.master.try_clone().expect("duplicated"));
        let (tell, shown) = mpsc::channel();
        thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut part) {
                if tell.send(part[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Session {
            child,
            keys: pair.master.into(),
            slave: pair.slave,
            shown,
            seen: String::new(),
            before,
        }
    }

    pub(super) fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("typed");
    }

    /// Waits until something is shown, and forgets all up to there.
    pub(super) fn see(&mut self, wanted: &str) {
        loop {
            if let Some(at) = self.seen.find(wanted) {
                self.seen.drain(..at + wanted.len());
                return;
            }
            match self.shown.recv_timeout(LIMIT) {
                Ok(more) => self.seen.push_str(&text(&more)),
                Err(e) => panic!("no {wanted:?} ({e}) in {:?}", self.seen),
            }
        }
    }

    /// Waits for its end and gives its exit code; the terminal has to be as it was, if that `is_so`.
    pub(super) fn end(mut self, is_so: bool) -> Option<i32> {
        let status = self.child.wait().expect("ends");
        assert_eq!(stty(&self.slave, &["-g"]) == self.before, is_so);
        status.code()
    }
}

/// What `stty` says about a terminal, or does to it.
pub(super) fn stty(terminal: &OwnedFd, arguments: &[&str]) -> String {
    let output = Command::new("stty")
        .args(arguments)
        .stdin(terminal.try_clone().expect("duplicated"))
        .output()
        .expect("starts");
    text(&output.stdout)
}

#[test]
fn a_terminal_is_one_of_the_containers_own_and_behaves_as_one() {
    isolate();
    let lab = Lab::up("s-shell-terminal", &["--nodes", "1", "--pods", "1"]);
    let mut session = Session::open(&lab, &["pod-1-1"]);
    session.see("# ");
    session.type_in("echo shown-$((40 + 2))\r");
    session.see("echo shown-$((40 + 2))\r\n");
    session.see("shown-42\r\n");
    assert!(
        stty(&session.slave, &["-a"]).contains("-icanon"),
        "keys are passed on at once"
    );
    session.type_in("tty\r");
    session.see("/dev/pts/0\r\n");
    session.type_in("stty size; echo $TERM\r");
    session.see("33 101\r\nvt220\r\n");
    stty(&session.slave, &["rows", "44", "cols", "77"]);
    session.type_in("until stty size | grep '^44 77'; do :; done\r");
    session.see("44 77\r\n");
    session.type_in("sh -c 'echo up-$((1 + 1)); exec sleep 505051'\r");
    session.see("up-2\r\n");
    eventually("it sleeps", LIMIT, || match runs_with("505051") {
        true => Ok(()),
        false => Err("not yet"),
    });
    session.type_in("\x03");
    session.see("^C");
    session.type_in("echo code-$?\r");
    session.see("code-130\r\n");
    wait_for_no_sleep("505051");
    session.type_in("cat\rline\r");
    session.see("line\r\n");
    session.see("line\r\n");
    session.type_in("\x04");
    session.type_in("(exit 9)\r");
    session.see("(exit 9)\r\n");
    session.type_in("\x04");
    let code = session.end(true);
    assert_eq!(code, Some(9), "the end of input ends the shell");
}

#[test]
fn a_terminal_that_goes_takes_the_command_along() {
    isolate();
    let lab = Lab::up("s-shell-hangup", &["--nodes", "1", "--pods", "1"]);
    let arguments = [
        "pod-1-1",
        "--",
        "sh",
        "-c",
        "echo up-$((1 + 1)); sleep 515151; sleep 515152",
    ];
    let mut session = Session::open(&lab, &arguments);
    session.see("up-2");
    assert!(stty(&session.slave, &["-a"]).contains("-icanon"));
    kill(pid(&session.child), Signal::SIGTERM).expect("asked");
    assert_eq!(session.end(true), None, "it ends by the signal");
    for argument in ["515151", "515152"] {
        wait_for_no_sleep(argument);
    }

    let mut session = Session::open(
        &lab,
        &[
            "pod-1-1/sidecar",
            "--",
            "sh",
            "-c",
            "trap '' HUP; echo up-$((1 + 1)); sleep 525251; sleep 525252",
        ],
    );
    session.see("up-2");
    kill(pid(&session.child), Signal::SIGKILL).expect("killed");
    assert_eq!(session.end(false), None);
    for argument in ["525251", "525252"] {
        wait_for_no_sleep(argument);
    }
}
