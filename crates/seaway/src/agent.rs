//! `seaway agent`: from flags to the agent's configuration.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use ipnet::IpNet;
use seaway_agent::AgentConfig;
use seaway_kernel::uplink::UplinkRule;
use seaway_model::{Family, IfName, NodeName};

/// Flags of the agent.
#[derive(Args)]
pub(crate) struct AgentArgs {
    /// This node's name in the cluster.
    #[arg(long, env = "SEAWAY_NODE_NAME")]
    node_name: NodeName,
    /// The cluster's nodes and Pods, as YAML; watched for changes.
    #[arg(long)]
    cluster_file: PathBuf,
    /// Caches, notes and the lock; on tmpfs, so that a reboot clears it.
    #[arg(long, default_value = "/run/seaway")]
    state_dir: PathBuf,
    /// Where the CNI plugin finds the agent [default: agent.sock in the state directory].
    #[arg(long)]
    socket: Option<PathBuf>,
    /// The device towards the other nodes [default: the one with this node's address in the
    /// cluster, or else that of the default route].
    #[arg(long, conflicts_with = "uplink_match")]
    uplink: Option<IfName>,
    /// The device towards the other nodes is the one with an address in this network.
    #[arg(long, value_name = "CIDR")]
    uplink_match: Option<IpNet>,
    /// This node's own address; once a family.
    #[arg(long, value_name = "ADDRESS")]
    node_ip: Vec<IpAddr>,
}

pub(crate) fn run(args: AgentArgs) -> anyhow::Result<ExitCode> {
    for family in Family::ALL {
        let count = args
            .node_ip
            .iter()
            .filter(|a| Family::of(**a) == family)
            .count();
        anyhow::ensure!(
            count <= 1,
            "--node-ip names {count} {family} addresses; give one a family"
        );
    }
    let socket = args
        .socket
        .unwrap_or_else(|| args.state_dir.join("agent.sock"));
    let config = AgentConfig {
        node: args.node_name,
        socket,
        state_dir: args.state_dir,
        cluster_file: args.cluster_file,
        uplink: UplinkRule {
            name: args.uplink,
            matching: args.uplink_match,
            node_ips: args.node_ip,
        },
    };
    seaway_agent::run(&config).context("agent")?;
    Ok(ExitCode::SUCCESS)
}
