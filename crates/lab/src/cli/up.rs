//! `lab up`: starts the supervisor, shows what it does, and leaves nothing behind if it fails.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sched::{CloneFlags, unshare};

use super::progress::Progress;
use super::{preflight, table};
use crate::client::Client;
use crate::error::{Context, LabError};
use crate::namespaces::on_new_thread;
use crate::protocol::{Event, LabStatus};
use crate::state::{LabRecord, StateDir};
use crate::topology::{LabName, Topology};

/// Brings the lab up and shows it.
pub(super) fn run(name: &LabName, topology: &Topology) -> anyhow::Result<()> {
    preflight::check()?;
    let state = StateDir::of(name);
    let lock = state.create()?;
    start(&state, lock, topology).inspect_err(|_| {
        // The supervisor may have removed it already, or may not have been there at all.
        if let Err(e) = state.remove() {
            tracing::warn!("{e}");
        }
    })?;
    let status = Client::of(name)?.status()?;
    writeln!(
        io::stdout().lock(),
        "{}\n\n{}",
        table::lab(&status),
        next_steps(&status, name)
    )?;
    Ok(())
}

fn start(state: &StateDir, lock: File, topology: &Topology) -> Result<(), LabError> {
    let mut supervisor = launch(state, lock, topology)?;
    let result =
        record(state, &supervisor, topology).and_then(|()| follow(state, supervisor.stdout.take()));
    if result.is_err() {
        // A pipe that nobody reads tells it to end, if it has not ended by itself.
        drop(supervisor.stdout.take());
        supervisor
            .wait()
            .during("wait for", || "the supervisor".to_owned())?;
    }
    result
}

/// Starts the supervisor as the first process of a new process namespace. The lock goes with it.
fn launch(state: &StateDir, lock: File, topology: &Topology) -> Result<Child, LabError> {
    let exe = std::env::current_exe().during("find", || "this executable".to_owned())?;
    let path = state.log("supervisor");
    let log = File::create(&path).on("create", &path)?;
    let name = state.name().as_str();
    let [nodes, pods] = [
        topology.nodes.len().to_string(),
        topology.pods_per_node.to_string(),
    ];
    let network = topology.network.flags();
    let mut command = Command::new(&exe);
    command.arg0("seaway").args([
        "lab",
        "supervise",
        "--name",
        name,
        "--nodes",
        &nodes,
        "--pods",
        &pods,
        // Whoever asked has been told already what does not go together.
        "--force",
    ]);
    command.args(network);
    command.stdin(lock).stdout(Stdio::piped()).stderr(log);
    on_new_thread(|| {
        unshare(CloneFlags::CLONE_NEWPID).during("make", || "a process namespace".to_owned())?;
        command.spawn().on("start", &exe)
    })
}

fn record(state: &StateDir, supervisor: &Child, topology: &Topology) -> Result<(), LabError> {
    state.write_record(&LabRecord::of(state.name(), topology, supervisor.id())?)
}

/// Shows what the supervisor tells until it is ready.
fn follow(state: &StateDir, output: Option<ChildStdout>) -> Result<(), LabError> {
    let mut progress = Progress::new();
    let result = output.map_or(Err(died(state)), |output| {
        listen(state, output, &mut progress)
    });
    progress.finish();
    result
}

fn listen(state: &StateDir, output: ChildStdout, progress: &mut Progress) -> Result<(), LabError> {
    for line in BufReader::new(output).lines() {
        let line = line.during("read from", || "the supervisor".to_owned())?;
        match serde_json::from_str(&line) {
            Ok(Event::Steps { total }) => progress.steps(total),
            Ok(Event::Done { text }) => progress.step(&text),
            Ok(Event::Ready) => return Ok(()),
            Ok(Event::Failed { reason }) => return Err(LabError::Supervisor(reason)),
            Err(e) => tracing::warn!("the supervisor said \"{line}\": {e}"),
        }
    }
    Err(died(state))
}

fn died(state: &StateDir) -> LabError {
    let log = crate::supervisor::tail(&state.log("supervisor"), 10);
    let log = if log.is_empty() {
        String::new()
    } else {
        format!("; the end of its log:\n{log}")
    };
    LabError::Supervisor(format!("the supervisor died while it started{log}"))
}

/// A few commands to try, on what there is.
fn next_steps(status: &LabStatus, name: &LabName) -> String {
    let name = if name.as_str() == "seaway" {
        String::new()
    } else {
        format!(" --name {name}")
    };
    let mut steps = vec![
        (format!("seaway lab check{name}"), "every path, tried"),
        (
            format!("seaway lab kubectl{name} get pods -o wide"),
            "Kubernetes, as you know it",
        ),
        (
            format!("seaway lab kubectl{name} apply -f FILE"),
            "image: seaway, or a command of this machine",
        ),
    ];
    if let Some(pod) = status.pods.first() {
        let target = pod.target();
        steps.push((
            format!("seaway lab exec{name} {target} -- ip addr"),
            "inside a Pod's network",
        ));
        steps.push((
            format!("seaway lab shell{name} {target} -c main"),
            "inside a container",
        ));
        steps.push((
            format!("seaway lab logs{name} {target} -c main"),
            "what a container wrote",
        ));
    }
    steps.push((
        format!("seaway lab exec{name} node1 -- seaway tables"),
        "what a node's kernel holds",
    ));
    steps.push(("seaway lab".to_owned(), "labs, nodes, Pods and addresses"));
    steps.push((format!("seaway lab down{name}"), "nothing is left"));
    let width = steps.iter().map(|(step, _)| step.len()).max().unwrap_or(0);
    let lines = steps
        .iter()
        .map(|(step, why)| format!("  {step:width$}  # {why}"));
    format!("Try:\n{}", lines.collect::<Vec<_>>().join("\n"))
}
