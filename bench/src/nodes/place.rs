//! Where an agent lives among many nodes: a room with an uplink to nowhere, and what tells the
//! agent of the others: the real API server in the same room, or a cluster file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use seaway_kernel::netns::Netns;
use seaway_model::Transport;
use serde_json::Value;

use super::objects;
use crate::api::client::{Connection, Request, spread};
use crate::api::server::{Server, Site};
use crate::binaries::Binaries;
use crate::cpu::Cpus;
use crate::hand;
use crate::launch::Daemon;
use crate::room::Room;
use crate::underlay::UPLINK;
use crate::wire::{self, End};

/// Connections that make Nodes at once.
const WORKERS: usize = 4;
const CLUSTER_FILE: &str = "/run/cluster.yaml";
const KUBECONFIG: &str = "/run/kubeconfig";
const STATE: &str = "/run/seaway";
const LOG: &str = "/run/agent.log";
/// The link group of the devices that an agent makes for its node.
const NODE_GROUP: u32 = 0x5ea3;

/// What tells the agent of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Source {
    /// The API server.
    Api,
    /// A cluster file, which holds all nodes and is replaced at each change.
    File,
}

/// Nodes, and room for an agent that is one of them.
pub(super) struct Place<'a> {
    site: &'a Site,
    server: Option<(Server<'a>, Connection)>,
    transport: Transport,
    peers: usize,
    program: PathBuf,
    /// The other end of the uplink.
    nowhere: Netns,
}

impl<'a> Place<'a> {
    /// A place with so many peers, none of which exists.
    pub(super) fn new(
        site: &'a Site,
        source: Source,
        transport: Transport,
        peers: usize,
        binaries: &Binaries,
    ) -> Result<Place<'a>> {
        let mut place = Place {
            site,
            server: None,
            transport,
            peers,
            program: binaries.program("seaway")?,
            nowhere: Netns::create()?,
        };
        match source {
            Source::File => place.write_file(peers)?,
            Source::Api => {
                let (server, _) = site.start()?;
                let mut connections = server.several(WORKERS)?;
                spread(&mut connections, peers + 1, |connection, i| {
                    let body = objects::manifest(i);
                    let request = Request::post(objects::COLLECTION, &body);
                    connection.ask(request).map(|_| ())
                })?;
                place.write(KUBECONFIG, &site.kubeconfig())?;
                let connection = server.connect()?;
                place.server = Some((server, connection));
            }
        }
        Ok(place)
    }

    /// How many peers the agent knows.
    pub(super) fn peers(&self) -> usize {
        self.peers
    }

    /// The room of the agent.
    pub(super) fn room(&self) -> &Room {
        self.site.room()
    }

    /// A connection to the API server, if there is one.
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        self.server.as_mut().map(|(_, connection)| connection)
    }

    /// Takes away all that an agent has made, and gives it a new uplink.
    pub(super) fn wipe(&mut self) -> Result<()> {
        // The server ends what has been idle for long.
        if let Some((server, connection)) = &mut self.server {
            *connection = server.connect()?;
        }
        let netns = self.room().netns();
        // Neither need be there.
        let _ = hand::ip(netns, &format!("link del {UPLINK}\n"));
        let _ = hand::ip(netns, &format!("link del group {NODE_GROUP}\n"));
        let own = objects::pod_nets(objects::OWN);
        for net in own {
            let _ = hand::ip(netns, &format!("route del unreachable {net} proto 83\n"));
            let _ = hand::ip(netns, &format!("rule del from {net}\n"));
        }
        hand::flush_filters(netns)?;
        self.room().run(|| match fs::remove_dir_all(STATE) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("removing the agent's state")
            }
            _ => Ok(()),
        })?;
        let addresses = objects::addresses(objects::OWN);
        let uplink = End {
            netns,
            name: UPLINK,
            addresses: &addresses,
        };
        let other = End {
            netns: &self.nowhere,
            name: "nowhere",
            addresses: &[],
        };
        wire::pair(&uplink, &other)
    }

    /// Starts the agent, kept to one CPU from its first instruction on.
    pub(super) fn start_agent(&self, cpu: usize) -> Result<Agent> {
        let mut args = vec!["agent".to_owned(), "--node-name".to_owned()];
        args.push(objects::name(objects::OWN));
        let transport = self.transport.to_string();
        let (flag, file) = match self.server {
            Some(_) => ("--kubeconfig", KUBECONFIG),
            None => ("--cluster-file", CLUSTER_FILE),
        };
        for text in ["--uplink", UPLINK, "--transport", &transport, flag, file] {
            args.push(text.to_owned());
        }
        let before = Cpus::current()?;
        Cpus::one(cpu)?.keep_this_thread()?;
        let daemon = Daemon::start(self.room(), &self.program, &args, Path::new(LOG));
        before.keep_this_thread()?;
        Ok(Agent(daemon?))
    }

    /// A node appears: the one after the last.
    pub(super) fn join(&mut self) -> Result<()> {
        let new = self.peers + 1;
        match &mut self.server {
            Some((_, connection)) => {
                let body = objects::manifest(new);
                let request = Request::post(objects::COLLECTION, &body);
                connection.ask(request).map(|_| ())
            }
            None => self.write_file(new),
        }
    }

    /// It goes again.
    pub(super) fn leave(&mut self) -> Result<()> {
        match &mut self.server {
            Some((_, connection)) => {
                let path = objects::path(self.peers + 1);
                connection.ask(Request::delete(&path)).map(|_| ())
            }
            None => self.write_file(self.peers),
        }
    }

    /// What the agent says of its health.
    fn status(&self) -> Result<Value> {
        let ask = || {
            let mut command = Command::new(&self.program);
            command.args(["status", "--output", "json"]);
            command.output().context("asking the agent")
        };
        let output = self.room().run(ask)?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            format!("status is no JSON: {said}")
        })
    }

    fn write_file(&self, peers: usize) -> Result<()> {
        let new = format!("{CLUSTER_FILE}.new");
        self.write(&new, &objects::file(peers))?;
        self.room()
            .run(|| fs::rename(&new, CLUSTER_FILE).context("replacing the cluster file"))
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        self.room()
            .run(|| fs::write(path, text).with_context(|| format!("writing {path}")))
    }
}

/// An agent that runs; killed when dropped.
pub(super) struct Agent(Daemon);

impl Agent {
    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// What it last said, for errors.
    pub(super) fn said(&self, place: &Place<'_>) -> String {
        self.0.said(place.room())
    }

    /// Waits until it says that every row of all peers is in force; gives how many rows that are,
    /// and when it was asked the question that it answered so.
    pub(super) fn settle(
        &mut self,
        place: &Place<'_>,
        patience: Duration,
    ) -> Result<(f64, Instant)> {
        let deadline = Instant::now() + patience;
        loop {
            self.0.check(place.room())?;
            let asked = Instant::now();
            let status = place.status();
            if let Ok(status) = &status
                && status["peers"] == place.peers
                && status["drifted"] == 0
                && status["ready"] == true
            {
                let failures = status["failures"].as_array();
                ensure!(
                    failures.is_none_or(Vec::is_empty),
                    "rows are not in force: {failures:?}"
                );
                let rows = status["rows"].as_f64().context("status tells no rows")?;
                return Ok((rows, asked));
            }
            if asked > deadline {
                bail!(
                    "the agent has not settled within {patience:?}: {status:?}\n{}",
                    self.said(place)
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
