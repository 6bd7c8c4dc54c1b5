//! `seaway`, the Kubernetes network: one binary for the node agent, the lab and the tools that
//! look into both. Here is only the command line; each command's work is in its own crate.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program prints"
)]

mod agent;
mod apiserver;
mod bundle;
mod check;
mod cleanup;
mod controller;
mod environment;
mod inspect;
mod install;
mod install_host;
mod network;
mod probe;
mod reach;
mod rim;
mod services;
mod status_cluster;
mod table;
mod told;
mod trace;
mod uninstall;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Seaway, the Kubernetes network.
#[derive(Parser)]
#[command(name = "seaway", version, about, propagate_version = true)]
struct Cli {
    /// What to log: error, warn, info, debug or trace; may name modules.
    #[arg(long, global = true, env = "SEAWAY_LOG", default_value = "info")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the node agent in this network namespace.
    Agent(Box<agent::AgentArgs>),
    /// Run the embedded API server: Kubernetes' API, as far as a lab needs it.
    #[command(name = "apiserver")]
    ApiServer(apiserver::ApiServerArgs),
    /// Run the cluster's controllers: scheduler, node networks, Deployments.
    Controller(controller::ControllerArgs),
    /// A whole cluster in network namespaces on this machine; alone, it shows those that are up.
    Lab {
        #[command(subcommand)]
        command: Option<seaway_lab::cli::LabCommand>,
    },
    /// Try every path of a cluster's Pod network, from its own nodes and Pods.
    Check(check::CheckArgs),
    /// Ask the controller in this container how it is: for probes of Kubernetes.
    Probe(probe::ProbeArgs),
    /// Write an archive for those who help: status, rows, objects and logs, without secrets.
    Bundle(Box<bundle::BundleArgs>),
    /// Small servers and clients to try a network with.
    #[command(subcommand)]
    Tool(seaway_lab::tool::ToolCommand),
    /// Print what brings Seaway into a Kubernetes cluster, for `kubectl apply -f -`.
    Install(install::InstallArgs),
    /// Take Seaway off again.
    Uninstall(Box<uninstall::UninstallArgs>),
    /// Remove everything of Seaway from this node; no agent may be running.
    Cleanup(cleanup::CleanupArgs),
    /// This node's health, as its agent sees it; or the whole cluster's, as the API tells it.
    Status(status_cluster::StatusArgs),
    /// This node's rows: planned, and observed in the kernel; drift is marked.
    Tables(inspect::TablesArgs),
    /// Where a packet goes from this node, step by step, and why it dies where it does.
    Trace(trace::TraceArgs),
}

fn main() -> ExitCode {
    let cli: Cli = environment::parse();
    if let Err(error) = start_log(&cli.log) {
        eprintln!("seaway: --log {}: {error}", cli.log);
        return ExitCode::from(2);
    }
    let result = match cli.command {
        Command::Agent(args) => agent::run(*args),
        Command::ApiServer(args) => apiserver::run(args),
        Command::Controller(args) => controller::run(args),
        Command::Bundle(args) => bundle::run(&args),
        Command::Check(args) => Ok(check::run(&args)),
        Command::Probe(args) => probe::run(&args),
        Command::Lab { command } => seaway_lab::cli::run(command),
        Command::Tool(command) => seaway_lab::tool::run(command),
        Command::Install(args) => install::run(&args),
        Command::Uninstall(args) => uninstall::run(*args),
        Command::Cleanup(args) => cleanup::run(args),
        Command::Status(args) => status_cluster::run(&args),
        Command::Tables(args) => inspect::tables(&args),
        Command::Trace(args) => trace::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("seaway: {}", told::told(&error));
        ExitCode::FAILURE
    })
}

/// Never logged, whatever is asked for: this part of the client logs whole answers that it cannot read,
/// as warnings, and these may hold anything, such as the environment of Pods. What went wrong its
/// callers tell.
const UNLOGGED: &str = "kube_client::client=off";

fn start_log(filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter)?.add_directive(UNLOGGED.parse()?))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(())
}
