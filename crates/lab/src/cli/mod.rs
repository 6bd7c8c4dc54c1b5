//! The commands of `seaway lab`, as the binary offers them. Everything that they do is done by the
//! modules beside this one; here is what is asked for and what is printed.

mod check;
mod down;
mod exec;
mod list;
mod preflight;
mod progress;
mod table;
mod terminal;
mod up;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::client::Client;
use crate::error::LabError;
use crate::supervisor::supervise;
use crate::tool::Output;
use crate::topology::{LabName, Topology};

/// A whole cluster in network namespaces on this machine.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Bring a lab up: nodes, agents, and a few Pods.
    Up(UpArgs),
    /// Take a lab down, with everything that belongs to it.
    Down(NameArgs),
    /// Show the labs of this machine.
    List(ListArgs),
    /// Show the nodes and Pods of a lab.
    Status(StatusArgs),
    /// Try every path of the Pod network and show what came of it.
    Check(CheckArgs),
    /// Run a command on a node or in a Pod of a lab.
    Exec(ExecArgs),
    /// Make and delete Pods.
    #[command(subcommand)]
    Pod(PodCommand),
    /// Send a signal to a daemon or a container, to see it come back.
    Kill(KillArgs),
    /// What `lab up` starts in the background.
    #[command(hide = true)]
    Supervise(UpArgs),
}

/// Which lab.
#[derive(Clone, Debug, Args)]
pub struct NameArgs {
    /// The lab's name.
    #[arg(long, default_value = "seaway", env = "SEAWAY_LAB")]
    pub name: LabName,
}

/// A lab to bring up.
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub(crate) name: NameArgs,
    /// How many nodes.
    #[arg(long, default_value_t = 2)]
    pub nodes: u16,
    /// How many Pods on each node.
    #[arg(long, default_value_t = 2)]
    pub pods: u16,
}

/// How to list labs.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// A lab to show.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub(crate) name: NameArgs,
    /// Format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// How to check a lab.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub(crate) name: NameArgs,
    /// Try each node and Pod with every other one, not only with the next one.
    #[arg(long)]
    pub all_pairs: bool,
    /// Format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// A command to run inside.
#[derive(Clone, Debug, Args)]
pub struct ExecArgs {
    #[command(flatten)]
    pub(crate) name: NameArgs,
    /// Where: node1, node1/pod-1-1 or pod-1-1.
    pub target: String,
    /// The command and its arguments; a shell if there is none.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// What to do with a Pod.
#[derive(Debug, Subcommand)]
pub enum PodCommand {
    /// Make a Pod.
    Create {
        #[command(flatten)]
        #[expect(
            missing_docs,
            reason = "a flattened field's comment would become help text"
        )]
        name: NameArgs,
        /// On which node, and its name: node1/my-pod.
        pod: String,
    },
    /// Delete a Pod.
    Delete {
        #[command(flatten)]
        #[expect(
            missing_docs,
            reason = "a flattened field's comment would become help text"
        )]
        name: NameArgs,
        /// Its name.
        pod: String,
    },
}

/// A process to send a signal to.
#[derive(Clone, Debug, Args)]
pub struct KillArgs {
    #[command(flatten)]
    pub(crate) name: NameArgs,
    /// The process: node1/agent, node1/serve, pod-1-1/main or pod-1-1/sidecar.
    pub process: String,
    /// The signal's number.
    #[arg(short, long, default_value_t = 9)]
    pub signal: i32,
}

/// Runs a command.
pub fn run(command: LabCommand) -> anyhow::Result<ExitCode> {
    match command {
        LabCommand::Up(args) => up::run(&args.name.name, &args.topology()?)?,
        LabCommand::Down(args) => print(&down::run(&args.name)?)?,
        LabCommand::List(args) => print(&list::run(args.output)?)?,
        LabCommand::Status(args) => print(&status(&args)?)?,
        LabCommand::Check(args) => return check::run(&args),
        LabCommand::Exec(args) => return Ok(exec::run(&args)?),
        LabCommand::Pod(command) => print(&pod(command)?)?,
        LabCommand::Kill(args) => Client::of(&args.name.name)?.kill(&args.process, args.signal)?,
        LabCommand::Supervise(args) => supervise(&args.name.name, &args.topology()?)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl UpArgs {
    fn topology(&self) -> Result<Topology, LabError> {
        Ok(Topology::flat(self.nodes, self.pods)?)
    }
}

fn status(args: &StatusArgs) -> anyhow::Result<String> {
    let status = Client::of(&args.name.name)?.status()?;
    match args.output {
        Output::Json => Ok(serde_json::to_string_pretty(&status)?),
        Output::Text => Ok(table::lab(&status)),
    }
}

fn pod(command: PodCommand) -> Result<String, LabError> {
    match command {
        PodCommand::Create { name, pod } => {
            let (node, pod) = pod.split_once('/').ok_or_else(|| {
                LabError::Request(format!("\"{pod}\" names no node: write it as node1/{pod}"))
            })?;
            let made = Client::of(&name.name)?.create_pod(node, pod)?;
            let addresses: Vec<_> = made.addresses.iter().map(ToString::to_string).collect();
            Ok(format!(
                "{}/{}: {}",
                made.node,
                made.name,
                addresses.join(", ")
            ))
        }
        PodCommand::Delete { name, pod } => {
            Client::of(&name.name)?.delete_pod(&pod)?;
            Ok(format!("{pod} deleted"))
        }
    }
}

fn print(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}
