//! The commands of `seaway lab`, as the binary offers them. Everything that they do is done by the
//! modules beside this one; here is what is asked for and what is printed.

mod check;
mod down;
mod exec;
mod kubectl;
mod list;
mod logs;
mod preflight;
mod progress;
mod raw;
mod relay;
mod shell;
mod table;
mod terminal;
mod tree;
mod up;

pub(crate) use check::text as check_text;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use seaway_model::{Family, Transport, Wiring};

use crate::client::Client;
use crate::cluster::Cluster;
use crate::container::{self, Stage};
use crate::error::LabError;
use crate::supervisor::supervise;
use crate::tool::Output;
use crate::topology::{
    DEFAULT_MTU, Families, LabName, Network, Topology, UnderlayKind, parse_family,
};

/// How long a Pod may take to be ready, or to be gone.
const POD_LIMIT: Duration = Duration::from_secs(60);

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
    /// Run a command on a node or in a Pod's network of a lab.
    Exec(ExecArgs),
    /// Open a shell inside a container, as confined as the container is, or on a node.
    Shell(ShellArgs),
    /// Run kubectl on a lab.
    Kubectl(KubectlArgs),
    /// Show what a daemon or a container wrote.
    Logs(LogsArgs),
    /// Make and delete Pods.
    #[command(subcommand)]
    Pod(PodCommand),
    /// Send a signal to a daemon or a container, to see it come back.
    Kill(KillArgs),
    /// End a daemon and keep it down, to see how the rest fares without it.
    Stop(DaemonArgs),
    /// Start a daemon that was stopped.
    Start(DaemonArgs),
    /// What `lab up` starts in the background.
    #[command(hide = true)]
    Supervise(UpArgs),
    /// A step on the way to a container's program; the supervisor starts the first one.
    #[command(hide = true)]
    Container {
        /// Which step.
        #[arg(value_enum)]
        stage: Stage,
    },
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
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

/// How a lab's network is to be.
#[derive(Clone, Debug, Args)]
pub struct NetworkArgs {
    /// What lies between the nodes: one Layer 2 network, or a subnet for each and a router.
    #[arg(long, value_enum, default_value_t)]
    pub underlay: UnderlayKind,
    /// How Pods are joined to their node: routed or bridge.
    #[arg(long, default_value_t)]
    pub wiring: Wiring,
    /// How packets get to other nodes: auto, direct, vxlan or l2.
    #[arg(long, default_value_t)]
    pub transport: Transport,
    /// Which address families nodes, Pods and Services have.
    #[arg(long, value_enum, default_value_t)]
    pub family: Families,
    /// The family of VXLAN's outer packets, ipv4 or ipv6; the agents choose by themselves without.
    #[arg(long, value_parser = parse_family)]
    pub vxlan_underlay: Option<Family>,
    /// The MTU of the links between the nodes, in bytes.
    #[arg(long, default_value_t = DEFAULT_MTU)]
    pub mtu: u32,
    /// Go on with a transport that cannot work on this underlay, to see what the agents say.
    #[arg(long)]
    pub force: bool,
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
    /// Where: node1, control, outside, router, pod-1-1, node1/pod-1-1, or kube-system/dns in another Kubernetes
    /// namespace.
    pub target: String,
    /// The command and its arguments; a shell if there is none.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// A container to open a shell in.
#[derive(Clone, Debug, Args)]
pub struct ShellArgs {
    #[command(flatten)]
    pub(crate) name: NameArgs,
    /// Where: pod, pod/container, namespace/pod or namespace/pod/container; or node1, or control.
    pub target: String,
    /// The container of the Pod; the first that runs if none is named.
    #[arg(short, long)]
    pub container: Option<String>,
    /// A command and its arguments instead of a shell.
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// What to hand to kubectl.
#[derive(Clone, Debug, Args)]
pub struct KubectlArgs {
    #[command(flatten)]
    pub(crate) name: NameArgs,
    /// kubectl's own arguments, for example: get pods -A -o wide.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

/// Whose log to show.
#[derive(Clone, Debug, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    pub(crate) name: NameArgs,
    /// node1/agent, control/apiserver, supervisor, pod-1-1/main, kube-system/dns/main; without one,
    /// all that there are.
    pub target: Option<String>,
    /// The container of a Pod.
    #[arg(short, long)]
    pub container: Option<String>,
    /// Go on as it grows.
    #[arg(short, long)]
    pub follow: bool,
    /// Only so many of the last lines.
    #[arg(long)]
    pub tail: Option<i64>,
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
    /// The process: node1/agent, control/apiserver, pod-1-1/main, or kube-system/dns/main in
    /// another Kubernetes namespace.
    pub process: String,
    /// The signal's number.
    #[arg(short, long, default_value_t = 9)]
    pub signal: i32,
}

/// A daemon to stop or start.
#[derive(Clone, Debug, Args)]
pub struct DaemonArgs {
    #[command(flatten)]
    pub(crate) name: NameArgs,
    /// control/apiserver, control/controller, node1/agent or node1/serve.
    pub daemon: String,
}

/// Runs a command; without one, shows what there is.
pub fn run(command: Option<LabCommand>) -> anyhow::Result<ExitCode> {
    let Some(command) = command else {
        print(&tree::run()?)?;
        return Ok(ExitCode::SUCCESS);
    };
    match command {
        LabCommand::Up(args) => up::run(&args.name.name, &args.topology()?)?,
        LabCommand::Down(args) => print(&down::run(&args.name)?)?,
        LabCommand::List(args) => print(&list::run(args.output)?)?,
        LabCommand::Status(args) => print(&status(&args)?)?,
        LabCommand::Check(args) => return check::run(&args),
        LabCommand::Exec(args) => return Ok(exec::run(&args)?),
        LabCommand::Shell(args) => return Ok(shell::run(&args)?),
        LabCommand::Kubectl(args) => kubectl::run(&args)?,
        LabCommand::Logs(args) => logs::run(&args)?,
        LabCommand::Pod(command) => print(&pod(command)?)?,
        LabCommand::Kill(args) => Client::of(&args.name.name)?.kill(&args.process, args.signal)?,
        LabCommand::Stop(args) => Client::of(&args.name.name)?.stop(&args.daemon)?,
        LabCommand::Start(args) => Client::of(&args.name.name)?.start(&args.daemon)?,
        LabCommand::Container { stage } => return Ok(container::stage(stage)?),
        LabCommand::Supervise(args) => supervise(&args.name.name, &args.topology()?)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl UpArgs {
    fn topology(&self) -> Result<Topology, LabError> {
        let NetworkArgs {
            underlay,
            wiring,
            transport,
            family,
            vxlan_underlay,
            mtu,
            force,
        } = self.network.clone();
        let network = Network {
            underlay,
            wiring,
            transport,
            families: family,
            vxlan_underlay,
            mtu,
        };
        network.check(force)?;
        Ok(Topology::new(self.nodes, self.pods, network)?)
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
    let cluster = |name: &NameArgs| Cluster::open(&Client::of(&name.name)?.state().kubeconfig());
    match command {
        PodCommand::Create { name, pod } => {
            let (node, pod) = pod.split_once('/').ok_or_else(|| {
                LabError::Request(format!("\"{pod}\" names no node: write it as node1/{pod}"))
            })?;
            let cluster = cluster(&name)?;
            cluster.create_pod(node, pod, None)?;
            let made = cluster.await_pod(pod, POD_LIMIT)?;
            let addresses: Vec<_> = made.addresses.iter().map(ToString::to_string).collect();
            Ok(format!(
                "{}/{}: {}",
                made.node,
                made.name,
                addresses.join(", ")
            ))
        }
        PodCommand::Delete { name, pod } => {
            cluster(&name)?.delete_pod(&pod, POD_LIMIT)?;
            Ok(format!("{pod} deleted"))
        }
    }
}

fn print(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

fn complain(text: &str) {
    // Nobody may be listening: then there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "seaway: {text}");
}
