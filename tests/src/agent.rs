//! A node: isolated namespaces, an uplink, a cluster file, and an agent that can be killed and
//! started again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seaway_cni::request::{Reply, Request};
use seaway_cni::wire::{Connection, Deadline};
use seaway_kernel::netlink::{LinkSet, LinkTarget, Netlink, Request as Link, VethPeer, VethSpec};
use seaway_kernel::netns::Netns;
use seaway_testkit::{eventually, isolate};
use serde_json::Value;

use crate::binary;

/// How long anything may take that is not measured.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// What the cluster file of a [`Node`] says at first.
const CLUSTER: &str = "
nodes:
- name: node1
  addresses: [192.168.7.1, 'fd00:7::1']
  podCIDRs: [10.244.1.0/24, 'fd00:10:244:1::/64']
- name: node2
  addresses: [192.168.7.2, 'fd00:7::2']
  podCIDRs: [10.244.2.0/24, 'fd00:10:244:2::/64']
";

/// A node under test, in the namespaces of the calling thread.
pub struct Node {
    agent: Option<Child>,
    log: PathBuf,
}

impl Node {
    /// Isolates the calling thread and makes a node with a running agent.
    pub fn start() -> Node {
        let mut node = Node::without_agent();
        node.start_agent();
        node
    }

    /// Isolates the calling thread and makes a node whose agent is not started yet.
    pub fn without_agent() -> Node {
        isolate();
        make_uplink();
        fs::create_dir_all("/run/netns").expect("folder");
        let node = Node {
            agent: None,
            log: PathBuf::from("/run/agent.log"),
        };
        node.write_cluster(CLUSTER);
        node
    }

    /// Replaces the cluster file, as its writers do.
    pub fn write_cluster(&self, text: &str) {
        fs::write("/run/cluster.yaml.new", text).expect("written");
        fs::rename("/run/cluster.yaml.new", "/run/cluster.yaml").expect("renamed");
    }

    /// Starts the agent and waits until it serves and is ready.
    pub fn start_agent(&mut self) {
        self.spawn_agent(&[]);
        self.wait_ready();
    }

    /// Starts the agent with more variables, and waits for its socket only.
    pub fn spawn_agent(&mut self, variables: &[(&str, &str)]) {
        assert!(self.agent.is_none(), "the agent runs");
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("log");
        let child = Command::new(binary("seaway"))
            .args([
                "agent",
                "--node-name",
                "node1",
                "--cluster-file",
                "/run/cluster.yaml",
            ])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("agent started");
        self.agent = Some(child);
    }

    /// Waits until the agent says that it is ready.
    pub fn wait_ready(&self) {
        eventually("the agent is ready", LIMIT, || match self.try_status() {
            Some(status) if status["ready"] == true => Ok(()),
            other => Err(other),
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

    /// The rows that are not as planned.
    pub fn drift(&self) -> Vec<Value> {
        let report = self.ask(&Request::Tables).expect("the agent answers");
        let rows = report["rows"].as_array().expect("rows").clone();
        rows.into_iter()
            .filter(|row| row["state"] != "in-force")
            .collect()
    }

    fn ask(&self, request: &Request) -> Option<Value> {
        let socket = Path::new(seaway_cni::DEFAULT_SOCKET);
        let mut connection = Connection::open(socket, Deadline::after(LIMIT)).ok()?;
        match connection.exchange(request, None).ok()? {
            Reply::Ok(value) => Some(value),
            Reply::Error(error) => panic!("the agent refuses: {error}"),
        }
    }

    /// The agent's process.
    pub fn agent_pid(&self) -> u32 {
        self.agent.as_ref().expect("the agent runs").id()
    }

    /// Kills the agent as a crash would, and waits for its end.
    pub fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("the agent runs");
        agent.kill().expect("killed");
        agent.wait().expect("ended");
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
        let agent = self.agent.as_mut().expect("the agent runs");
        let status = eventually("the agent ends", LIMIT, || match agent.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(other),
        });
        self.agent = None;
        status.signal().is_some()
    }

    /// Whether the agent still runs.
    pub fn agent_is_alive(&mut self) -> bool {
        self.agent
            .as_mut()
            .is_some_and(|agent| agent.try_wait().is_ok_and(|s| s.is_none()))
    }

    /// What the agent logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "artefacts of a failed test")]
            {
                eprintln!("--- the agent's log ---\n{}", self.log());
            }
        }
    }
}

/// `eth0`, with the node's addresses, up; its other end is the wire.
fn make_uplink() {
    let here = Netns::current().expect("namespace");
    let mut netlink = Netlink::open().expect("rtnetlink");
    let peer = VethPeer {
        name: "wire",
        index: None,
        mac: None,
        mtu: None,
        netns: std::os::fd::AsFd::as_fd(&here),
    };
    let spec = VethSpec {
        name: "eth0",
        index: None,
        mac: None,
        mtu: None,
        group: None,
        up: false,
        peer,
    };
    netlink.send_all(&[Link::veth(spec)]).expect("uplink");
    let index = netlink.link_index("eth0").expect("dump").expect("there");
    let up = LinkSet {
        up: Some(true),
        ..LinkSet::default()
    };
    let requests = [
        Link::add_address(index, "192.168.7.1/24".parse().expect("valid")),
        Link::add_address(index, "fd00:7::1/64".parse().expect("valid")),
        Link::set_link(LinkTarget::Index(index), up.clone()),
        Link::set_link(LinkTarget::Name("wire"), up),
    ];
    netlink.send_all(&requests).expect("uplink up");
}
