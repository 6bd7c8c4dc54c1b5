//! The agent of a node: a process that can be killed and started again, and asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seaway_cni::request::{Reply, Request};
use seaway_cni::wire::{Connection, Deadline};
use seaway_kernel::netns::Netns;
use seaway_testkit::eventually;
use serde_json::Value;

use crate::{Build, privileges};

/// How long anything may take that is not measured.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The agent of a node, running or not.
pub struct Agent {
    /// The node's name.
    pub name: String,
    /// Flags beyond those that say who and where; they hold from the next start on.
    pub flags: Vec<String>,
    /// What it may do beyond what everybody may; by default what `deploy/` gives an agent.
    pub capabilities: Vec<String>,
    /// Which build it is from the next start on.
    pub build: Build,
    netns: Netns,
    folder: PathBuf,
    cluster_file: PathBuf,
    process: Option<Child>,
    log: PathBuf,
}

impl Agent {
    /// An agent that is not started: of the node `name` in `netns`, with its state in `folder`.
    pub fn new(name: &str, netns: Netns, folder: &Path, cluster_file: &Path) -> Agent {
        Agent {
            name: name.to_owned(),
            flags: Vec::new(),
            capabilities: privileges::declared(),
            build: Build::default(),
            netns,
            folder: folder.to_owned(),
            cluster_file: cluster_file.to_owned(),
            process: None,
            log: PathBuf::from(format!("/run/agent-{name}.log")),
        }
    }

    /// The node's network namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Where it has its state.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the agent listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    /// Starts the agent and waits until it serves and is ready.
    pub fn start_agent(&mut self) {
        self.spawn_agent(&[]);
        self.wait_ready();
    }

    /// Starts the agent with more variables, and waits for nothing.
    pub fn spawn_agent(&mut self, variables: &[(&str, &str)]) {
        assert!(self.process.is_none(), "the agent runs");
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("log");
        let mut command = privileges::confined(&self.capabilities, &self.flags);
        command
            .arg(self.build.binary("seaway"))
            .args(["agent", "--node-name", &self.name])
            .arg("--cluster-file")
            .arg(&self.cluster_file)
            .arg("--state-dir")
            .arg(&self.folder)
            .args(&self.flags)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log);
        let child = self.netns.run(|| command.spawn()).expect("namespace");
        self.process = Some(child.expect("agent started"));
    }

    /// Waits until the agent says that it is ready.
    pub fn wait_ready(&self) {
        eventually("the agent is ready", LIMIT, || match self.try_status() {
            Some(status) if status["ready"] == true => Ok(()),
            other => Err((other, self.log())),
        });
    }

    /// Waits until the agent is ready and every row is in force, with nothing unplanned beside.
    pub fn wait_settled(&self) {
        self.wait_ready();
        eventually("every row is in force", LIMIT, || {
            let (drift, status) = (self.drift(), self.status());
            if drift.is_empty() && status["failures"] == serde_json::json!([]) {
                Ok(())
            } else {
                Err((drift, status["failures"].clone()))
            }
        });
    }

    /// The agent's status.
    pub fn status(&self) -> Value {
        self.try_status().expect("the agent answers")
    }

    /// The agent's status, if it answers.
    pub fn try_status(&self) -> Option<Value> {
        self.ask(&Request::Status)
    }

    /// All rows, planned and observed.
    pub fn rows(&self) -> Vec<Value> {
        let report = self.ask(&Request::Tables).expect("the agent answers");
        report["rows"].as_array().expect("rows").clone()
    }

    /// The rows that are not as planned.
    pub fn drift(&self) -> Vec<Value> {
        let mut rows = self.rows();
        rows.retain(|row| row["state"] != "in-force");
        rows
    }

    /// How many packets the node's filters have dropped for this reason.
    pub fn drops(&self, reason: &str) -> u64 {
        let count = self.all_drops()[reason].as_u64();
        count.unwrap_or_default()
    }

    /// What the node's filters have dropped, by reason.
    pub fn all_drops(&self) -> Value {
        self.status()["network"]["drops"].clone()
    }

    fn ask(&self, request: &Request) -> Option<Value> {
        let mut connection = Connection::open(&self.socket(), Deadline::after(LIMIT)).ok()?;
        match connection.exchange(request, None).ok()? {
            Reply::Ok(value) => Some(value),
            Reply::Error(error) => panic!("the agent refuses: {error}"),
        }
    }

    /// The agent's process.
    pub fn agent_pid(&self) -> u32 {
        self.process.as_ref().expect("the agent runs").id()
    }

    /// Kills the agent as a crash would, and waits for its end.
    pub fn kill_agent(&mut self) {
        let mut agent = self.process.take().expect("the agent runs");
        agent.kill().expect("killed");
        agent.wait().expect("ended");
    }

    /// Starts it anew, with what flags it has by now.
    pub fn restart_agent(&mut self) {
        self.kill_agent();
        self.start_agent();
    }

    /// Sends the agent a signal.
    pub fn signal_agent(&self, signal: Signal) {
        let pid = i32::try_from(self.agent_pid()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("signalled");
    }

    /// Waits for the agent to end by itself, as it does at an armed fault point; gives whether it
    /// was killed by a signal.
    pub fn wait_for_death(&mut self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        let agent = self.process.as_mut().expect("the agent runs");
        let status = eventually("the agent ends", LIMIT, || match agent.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(other),
        });
        self.process = None;
        status.signal().is_some()
    }

    /// Whether the agent still runs.
    pub fn agent_is_alive(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|agent| agent.try_wait().is_ok_and(|s| s.is_none()))
    }

    /// What the agent logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut agent) = self.process.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "artefacts of a failed test")]
            {
                eprintln!("--- the log of {}'s agent ---\n{}", self.name, self.log());
            }
        }
    }
}
