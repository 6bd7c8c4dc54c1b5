//! `seaway agent`: from flags to the agent's configuration.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use clap::builder::FalseyValueParser;
use ipnet::IpNet;
use seaway_agent::{AgentConfig, ApiSource, ClusterSource};
use seaway_kernel::uplink::UplinkRule;
use seaway_model::{Family, IfName, NodeName, Settings};

use crate::network::NetworkArgs;
use crate::reach::ReachArgs;
use crate::services::ServiceArgs;

/// Flags of the agent.
#[derive(Args)]
pub(crate) struct AgentArgs {
    /// This node's name in the cluster.
    #[arg(long, env = "SEAWAY_NODE_NAME")]
    node_name: NodeName,
    #[command(flatten)]
    source: SourceArgs,
    /// The namespace in the cluster of the agent's own Lease.
    #[arg(long, env = "SEAWAY_NAMESPACE", default_value = seaway_api::heartbeat::NAMESPACE)]
    namespace: String,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    uplink: UplinkArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    services: ServiceArgs,
    /// Keep the container runtime's CNI configuration in this folder, from when Pods can be attached.
    #[arg(long, value_name = "DIR", env = "SEAWAY_CNI_CONF_DIR")]
    cni_conf_dir: Option<PathBuf>,
    /// With --cni-conf-dir: put the configurations of other networks aside, once Seaway's is there;
    /// `seaway uninstall` gives them back.
    #[arg(long, env = "SEAWAY_REPLACE_OTHERS", value_parser = FalseyValueParser::new())]
    replace_others: bool,
}

/// Where an agent is found on its node.
#[derive(Args)]
pub(crate) struct PlaceArgs {
    /// The agent's caches, notes and lock; on tmpfs, so that a reboot clears them.
    #[arg(long, env = "SEAWAY_STATE_DIR", default_value = "/run/seaway")]
    pub(crate) state_dir: PathBuf,
    /// Where the CNI plugin finds the agent [default: agent.sock in the state directory].
    #[arg(long, env = "SEAWAY_SOCKET")]
    socket: Option<PathBuf>,
    /// Where the kernel's settings can be written: a container's own /proc/sys is read-only.
    #[arg(
        long,
        env = "SEAWAY_PROC_SYS",
        value_name = "DIR",
        default_value = "/proc/sys"
    )]
    proc_sys: PathBuf,
}

impl PlaceArgs {
    pub(crate) fn socket(&self) -> PathBuf {
        let beside = || self.state_dir.join("agent.sock");
        self.socket.clone().unwrap_or_else(beside)
    }

    /// Lets the kernel's settings be written where they can be.
    pub(crate) fn open_settings(&self) -> anyhow::Result<()> {
        let opened = seaway_kernel::sysctl::set_root(&self.proc_sys);
        opened.with_context(|| format!("--proc-sys {}", self.proc_sys.display()))
    }
}

/// How to find the device towards the other nodes.
#[derive(Args)]
pub(crate) struct UplinkArgs {
    /// The device towards the other nodes [default: the one with this node's address in the
    /// cluster, or else that of the default route].
    #[arg(long, env = "SEAWAY_UPLINK", conflicts_with = "uplink_match")]
    uplink: Option<IfName>,
    /// The device towards the other nodes is the one with an address in this network.
    #[arg(long, env = "SEAWAY_UPLINK_MATCH", value_name = "CIDR")]
    uplink_match: Option<IpNet>,
    /// This node's own address; once a family.
    #[arg(
        long,
        env = "SEAWAY_NODE_IP",
        value_name = "ADDRESS",
        value_delimiter = ','
    )]
    node_ip: Vec<IpAddr>,
}

impl UplinkArgs {
    /// The rule, checked.
    pub(crate) fn rule(self) -> anyhow::Result<UplinkRule> {
        for family in Family::ALL {
            let ours = self.node_ip.iter().filter(|a| Family::of(**a) == family);
            let count = ours.count();
            anyhow::ensure!(
                count <= 1,
                "--node-ip names {count} {family} addresses; give one a family"
            );
        }
        Ok(UplinkRule {
            name: self.uplink,
            matching: self.uplink_match,
            node_ips: self.node_ip,
        })
    }
}

/// Where the cluster's state comes from: exactly one.
#[derive(Args)]
struct SourceArgs {
    /// The cluster's nodes, Pods and Services, as YAML; watched for changes.
    #[arg(long, value_name = "FILE")]
    cluster_file: Option<PathBuf>,
    #[command(flatten)]
    reach: ReachArgs,
}

impl SourceArgs {
    fn source(self, state_dir: &Path) -> anyhow::Result<ClusterSource> {
        match (self.cluster_file, self.reach.given()?) {
            (Some(file), None) => Ok(ClusterSource::File(file)),
            (None, Some(access)) => Ok(ClusterSource::Api(Box::new(ApiSource::new(
                access, state_dir,
            )))),
            (None, None) => anyhow::bail!(
                "where the cluster's state comes from is not said: give --kubeconfig FILE, \
                 --in-cluster or --cluster-file FILE"
            ),
            (Some(_), Some(_)) => anyhow::bail!(
                "--cluster-file and the Kubernetes API (--kubeconfig, --in-cluster) exclude each other"
            ),
        }
    }
}

pub(crate) fn run(args: AgentArgs) -> anyhow::Result<ExitCode> {
    args.place.open_settings()?;
    let config = AgentConfig {
        node: args.node_name,
        socket: args.place.socket(),
        cluster: args.source.source(&args.place.state_dir)?,
        state_dir: args.place.state_dir,
        uplink: args.uplink.rule()?,
        settings: Settings {
            services: args.services.settings()?,
            ..args.network.settings()?
        },
        web: args.services.web()?,
        namespace: args.namespace,
        name_servers: args.services.name_servers()?,
        cni_conf_dir: args.cni_conf_dir,
        replace_others: args.replace_others,
    };
    seaway_agent::run(&config).context("agent")?;
    Ok(ExitCode::SUCCESS)
}
