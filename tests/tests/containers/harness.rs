//! Starts containers the way the supervisor does: the shim, with a conversation as standard input.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use seaway_tests::binary;
use serde_json::{Value, json};

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A container that runs.
pub(crate) struct Container {
    shim: Option<Child>,
    pub(crate) init: i64,
}

/// What a container did from start to end.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A spec that runs a shell script.
pub(crate) fn script(text: &str) -> Value {
    json!({ "argv": ["sh", "-c", text] })
}

/// A spec with one thing more.
pub(crate) fn with(mut spec: Value, name: &str, value: Value) -> Value {
    spec[name] = value;
    spec
}

/// One step, with `order` as its standard input; gives its answer, if it gives one.
fn step(name: &str, order: &Value) -> (Child, String) {
    let (ours, theirs) = UnixStream::pair().expect("a conversation");
    let child = Command::new(binary("seaway"))
        .args(["lab", "container", name])
        .env("SECRET_OF_THE_HOST", "do not tell")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    writeln!(&ours, "{order}").expect("is told");
    let mut answer = String::new();
    BufReader::new(&ours)
        .read_line(&mut answer)
        .expect("answers");
    (child, answer)
}

/// Starts a container; what went wrong if it does not start.
pub(crate) fn start(spec: &Value) -> Result<Container, String> {
    let order = json!({ "spec": spec, "own_ipc": true });
    let (mut shim, answer) = step("run", &order);
    let report: Value = serde_json::from_str(&answer).expect("an answer");
    match report["started"]["init"].as_i64() {
        Some(init) => Ok(Container {
            shim: Some(shim),
            init,
        }),
        None => {
            let status = shim.wait().expect("ends");
            assert_eq!(status.code(), Some(128), "{answer}");
            Err(report["failed"]["reason"]
                .as_str()
                .expect("a reason")
                .to_owned())
        }
    }
}

/// Starts a container, and waits for its end.
pub(crate) fn run(spec: &Value) -> Ran {
    start(spec).expect("starts").end()
}

/// Runs a script in a container that has to succeed; gives what it printed.
pub(crate) fn good(spec: &Value) -> String {
    let ran = run(spec);
    assert!(ran.status.success(), "{ran:?}");
    ran.stdout.trim_end().to_owned()
}

impl Container {
    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ran {
        outcome(self.shim.take().expect("runs"))
    }

    /// The shim's process.
    pub(crate) fn shim(&self) -> u32 {
        self.shim.as_ref().expect("runs").id()
    }

    /// Reads one line from its standard output.
    pub(crate) fn line(&mut self) -> String {
        let shim = self.shim.as_mut().expect("runs");
        let stdout = shim.stdout.as_mut().expect("is read here");
        let mut line = Vec::new();
        let mut byte = [0];
        while stdout.read(&mut byte).expect("reads") == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("text")
    }

    /// Runs one more command in it.
    pub(crate) fn enter(&self, spec: &Value) -> Ran {
        self.enter_as_child_of(self.shim(), spec)
    }

    pub(crate) fn enter_as_child_of(&self, shim: u32, spec: &Value) -> Ran {
        let entry = json!({ "init": self.init, "shim": shim, "spec": spec });
        outcome(step("enter", &entry).0)
    }

    /// Starts one more command in it, and does not wait.
    pub(crate) fn begin(&self, spec: &Value) -> Child {
        let entry = json!({ "init": self.init, "shim": self.shim(), "spec": spec });
        step("enter", &entry).0
    }

    /// Its processes, as this side sees them.
    pub(crate) fn processes(&self) -> Vec<i64> {
        descendants(i64::from(self.shim()))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(mut shim) = self.shim.take() {
            let _ = shim.kill();
            let _ = shim.wait();
        }
    }
}

fn outcome(child: Child) -> Ran {
    let output = child.wait_with_output().expect("ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        status: output.status,
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

pub(crate) fn descendants(of: i64) -> Vec<i64> {
    let path = format!("/proc/{of}/task/{of}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    children
        .split_whitespace()
        .map(|pid| pid.parse().expect("a number"))
        .flat_map(|pid| [vec![pid], descendants(pid)].concat())
        .collect()
}
