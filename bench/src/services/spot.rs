//! Where an agent lives among many Services: a room with an uplink to nowhere, and a stage that
//! tells it of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use seaway_kernel::netns::Netns;
use serde_json::Value;

use super::objects::{self, Scale};
use super::stage::Stage;
use crate::binaries::Binaries;
use crate::cluster::CONFIG;
use crate::cpu::Cpus;
use crate::hand;
use crate::launch::Daemon;
use crate::plugin::Plugin;
use crate::room::Room;
use crate::underlay::UPLINK;
use crate::wire::{self, End};

/// How often it is asked whether an agent is ready.
const RETRY: Duration = Duration::from_millis(2);
const KUBECONFIG: &str = "/run/kubeconfig";
const STATE: &str = "/run/seaway";
const LOG: &str = "/run/agent.log";
/// The link group of the devices that an agent makes for its node.
const NODE_GROUP: u32 = 0x5ea3;

/// A room, its stage, and what an agent needs.
#[derive(Debug)]
pub(super) struct Spot {
    room: Room,
    pub(super) scale: Scale,
    pub(super) stage: Stage,
    pub(super) plugin: Plugin,
    program: PathBuf,
    /// The other end of the uplink.
    nowhere: Netns,
}

impl Spot {
    /// A spot with so many Services.
    pub(super) fn new(scale: Scale, binaries: &Binaries) -> Result<Spot> {
        let room = Room::new()?;
        let stage = Stage::open(&room, scale)?;
        room.run(|| fs::write(KUBECONFIG, Stage::kubeconfig()).context("writing a kubeconfig"))?;
        let mut spot = Spot {
            room,
            scale,
            stage,
            plugin: Plugin {
                program: binaries.program("seaway-cni")?,
                search: binaries.dir().to_owned(),
                config: CONFIG.to_owned(),
            },
            program: binaries.program("seaway")?,
            nowhere: Netns::create()?,
        };
        spot.wipe()?;
        Ok(spot)
    }

    /// The room of the agent.
    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// Takes away all that an agent has made, and gives it a new uplink.
    pub(super) fn wipe(&mut self) -> Result<()> {
        let netns = self.room.netns();
        // None of these need be there.
        for command in [
            format!("link del {UPLINK}\n"),
            format!("link del group {NODE_GROUP}\n"),
            "route flush proto 83\n".to_owned(),
            "-6 route flush proto 83\n".to_owned(),
            format!("rule del from {}\n", objects::pod_net(objects::OWN)),
        ] {
            let _ = hand::ip(netns, &command);
        }
        hand::flush_filters(netns)?;
        self.room.run(|| match fs::remove_dir_all(STATE) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("removing the agent's state")
            }
            _ => Ok(()),
        })?;
        let addresses = [objects::node_net(objects::OWN)];
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
        args.push(objects::node_name(objects::OWN));
        for text in ["--uplink", UPLINK, "--kubeconfig", KUBECONFIG] {
            args.push(text.to_owned());
        }
        for text in ["--service-cidr", objects::SERVICE_CIDR] {
            args.push(text.to_owned());
        }
        let before = Cpus::current()?;
        Cpus::one(cpu)?.keep_this_thread()?;
        let daemon = Daemon::start(&self.room, &self.program, &args, Path::new(LOG));
        before.keep_this_thread()?;
        Ok(Agent(daemon?))
    }
}

/// An agent that runs; killed when dropped.
#[derive(Debug)]
pub(super) struct Agent(Daemon);

impl Agent {
    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// What it last said, for errors.
    pub(super) fn said(&self, spot: &Spot) -> String {
        self.0.said(&spot.room)
    }

    /// How many rows are planned; fails unless all are in force.
    pub(super) fn rows(&self, spot: &Spot) -> Result<f64> {
        let ask = || {
            let mut command = Command::new(&spot.program);
            command.args(["status", "--output", "json"]);
            command.output().context("asking the agent")
        };
        let output = spot.room.run(ask)?;
        let status: Value = serde_json::from_slice(&output.stdout).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            format!("status is no JSON: {said}")
        })?;
        let wrong = [&status["drifted"], &status["failures"], &status["findings"]];
        ensure!(
            status["drifted"] == 0,
            "not all rows are in force: {wrong:?}\n{}",
            self.said(spot)
        );
        status["rows"].as_f64().context("status tells no rows")
    }

    /// Waits until it says that a Pod could come, which is when everything that it was told is in
    /// force; gives when it was asked the question that it answered so.
    pub(super) fn wait_until_ready(&mut self, spot: &Spot, patience: Duration) -> Result<Instant> {
        let deadline = Instant::now() + patience;
        loop {
            self.0.check(&spot.room)?;
            let asked = Instant::now();
            let status = spot
                .room
                .run(|| spot.plugin.call_with("STATUS", CONFIG).map(|_| ()));
            match status {
                Ok(()) => return Ok(asked),
                Err(error) if asked > deadline => {
                    let said = self.said(spot);
                    bail!("the agent is not ready after {patience:?}: {error:#}\n{said}");
                }
                Err(_) => std::thread::sleep(RETRY),
            }
        }
    }
}
