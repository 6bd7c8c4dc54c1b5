//! `seaway controller`: the cluster loops, from flags to their configuration.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use clap::builder::FalseyValueParser;
use ipnet::IpNet;
use seaway_control::{ControlConfig, Election, Extent, Standing};

use crate::probe;
use crate::reach::ReachArgs;
use crate::rim;
use crate::services::Bind;

/// The Lease that the controllers of a cluster contend for.
const LEASE: &str = "seaway-controller";
/// How often an address that another has is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Flags of the controllers.
#[derive(Args)]
pub(crate) struct ControllerArgs {
    #[command(flatten)]
    reach: ReachArgs,
    /// Run only what a Kubernetes cluster does not do itself: node networks if --cluster-cidr is
    /// given, the taint network.seaway.dev/agent-not-ready, and word of NetworkPolicies that are not
    /// enforced. Scheduler, Deployments, EndpointSlices and node life are the cluster's own.
    #[arg(long, env = "SEAWAY_NETWORK_ONLY", value_parser = FalseyValueParser::new())]
    network_only: bool,
    #[command(flatten)]
    election: ElectionArgs,
    /// Where to answer /livez, /readyz and /metrics by HTTP, such as 127.0.0.1:10267, or off
    /// [default: off].
    #[arg(
        long,
        env = "SEAWAY_CONTROLLER_HEALTHZ_BIND",
        value_name = "ADDRESS:PORT|off"
    )]
    healthz_bind: Option<Bind>,
    /// The same at a socket that is this controller's alone, for `seaway probe`.
    #[arg(long, env = probe::SOCKET_VARIABLE, value_name = "FILE")]
    health_socket: Option<PathBuf>,
    /// A network for all Pods and the prefix length of a node's part of it, for example
    /// 10.244.0.0/16=24; once a family. Without any, nodes get their Pod networks from elsewhere.
    #[arg(
        long,
        env = "SEAWAY_CLUSTER_CIDR",
        value_name = "CIDR=BITS",
        value_delimiter = ','
    )]
    cluster_cidr: Vec<CidrFlag>,
    /// The authority that signed the API server's certificate, as PEM: every namespace gets it as the
    /// ConfigMap kube-root-ca.crt. Not with --network-only.
    #[arg(long, env = "SEAWAY_ROOT_CA", value_name = "FILE")]
    root_ca: Option<PathBuf>,
    /// Which part of each network the first node gets.
    #[arg(
        long,
        env = "SEAWAY_FIRST_NODE_CIDR",
        default_value_t = 0,
        value_name = "INDEX"
    )]
    first_node_cidr: u64,
    /// Leave the EndpointSlices of Services to another controller, as in a cluster that has its own.
    #[arg(long, env = "SEAWAY_NO_ENDPOINT_SLICES", value_parser = FalseyValueParser::new())]
    no_endpoint_slices: bool,
}

/// Which of several controllers acts.
#[derive(Args)]
struct ElectionArgs {
    /// Whether to act only while holding the Lease seaway-controller, so that several controllers
    /// can run [default: with --network-only].
    #[arg(
        long,
        env = "SEAWAY_LEADER_ELECT",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    leader_elect: Option<bool>,
    /// The namespace of that Lease.
    #[arg(
        long,
        env = "SEAWAY_NAMESPACE",
        default_value = "seaway-system",
        value_name = "NAME"
    )]
    namespace: String,
    /// This controller's name in the Lease; what makes it unique is added [default: the host's name].
    #[arg(long, env = "SEAWAY_POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,
}

impl ElectionArgs {
    /// What to contend for, if at all.
    fn election(&self, network_only: bool) -> anyhow::Result<Option<Election>> {
        if !self.leader_elect.unwrap_or(network_only) {
            return Ok(None);
        }
        let name = match &self.pod_name {
            Some(name) => name.clone(),
            None => host_name()?,
        };
        Ok(Some(Election::new(&self.namespace, LEASE, &name)))
    }
}

fn host_name() -> anyhow::Result<String> {
    let path = "/proc/sys/kernel/hostname";
    let name = std::fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    Ok(name.trim().to_owned())
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct CidrFlag {
    network: IpNet,
    node_bits: u8,
}

impl FromStr for CidrFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<CidrFlag, String> {
        let form = || {
            format!(
                "\"{text}\": want a network and the prefix length of a node's part, such as \
                 10.244.0.0/16=24"
            )
        };
        let (network, bits) = text.split_once('=').ok_or_else(form)?;
        Ok(CidrFlag {
            network: network.parse().map_err(|_| form())?,
            node_bits: bits.parse().map_err(|_| form())?,
        })
    }
}

impl ControllerArgs {
    fn config(&self) -> anyhow::Result<ControlConfig> {
        let root_ca = self.root_ca.as_deref().map(|path| {
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
        });
        let extent = match self.network_only {
            true => Extent::Network,
            false => Extent::Everything,
        };
        let mut config = ControlConfig {
            extent,
            root_ca: root_ca.transpose()?,
            endpoint_slices: !self.no_endpoint_slices,
            ..ControlConfig::default()
        };
        for CidrFlag { network, node_bits } in &self.cluster_cidr {
            config = config
                .with_cluster_cidr(*network, *node_bits, self.first_node_cidr)
                .with_context(|| format!("--cluster-cidr {network}={node_bits}"))?;
        }
        Ok(config)
    }
}

pub(crate) fn run(args: ControllerArgs) -> anyhow::Result<ExitCode> {
    let config = args.config()?;
    let election = args.election.election(args.network_only)?;
    let access = args.reach.access()?;
    rim::block_on(|shutdown| async move {
        let client = seaway_api::client(&access)?;
        let standing = Arc::new(Standing::default());
        tokio::select! {
            result = seaway_control::serve(client, config, election, standing.clone(), shutdown) => {
                Ok(result?)
            }
            () = answer(args.healthz_bind, standing.clone()) => Ok(()),
            () = answer_probes(args.health_socket, standing) => Ok(()),
        }
    })
}

/// Answers at an address for ever. A port that another process has, such as the controller that this
/// one replaces, is waited for: the loops do not depend on it.
async fn answer(bind: Option<Bind>, standing: Arc<Standing>) {
    let Some(Bind::At(address)) = bind else {
        return std::future::pending().await;
    };
    again_and_again("--healthz-bind", async || {
        let listener = TcpListener::bind(address)?;
        seaway_control::serve_health(listener, standing.clone()).await
    })
    .await;
}

/// Answers at a socket for ever.
async fn answer_probes(socket: Option<PathBuf>, standing: Arc<Standing>) {
    let Some(path) = socket else {
        return std::future::pending().await;
    };
    again_and_again("--health-socket", async || {
        let listener = probe::listen(&path)?;
        seaway_control::serve_health_at_socket(listener, standing.clone()).await
    })
    .await;
}

async fn again_and_again(flag: &str, serve: impl AsyncFn() -> std::io::Result<()>) {
    let mut told = false;
    loop {
        if let (Err(error), false) = (serve().await, told) {
            tracing::warn!(%error, "{flag}: this controller does not answer there yet; trying on");
            told = true;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use clap::Parser;
    use tokio::task::spawn_local;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: ControllerArgs,
    }

    fn args(flags: &[&str]) -> ControllerArgs {
        let base = ["seaway", "--kubeconfig", "k"];
        Cli::parse_from(base.iter().chain(flags)).args
    }

    fn config(flag: &str) -> anyhow::Result<ControlConfig> {
        let flag = format!("--cluster-cidr={flag}");
        let args = ["seaway", "--kubeconfig", "k", "--first-node-cidr=1", &flag];
        Cli::try_parse_from(args)
            .map_err(|error| anyhow!(error.to_string()))?
            .args
            .config()
    }

    #[test]
    fn a_cluster_network_and_its_parts_are_checked() {
        let both = config("10.244.0.0/16=24,fd00:10:244::/48=64").expect("valid");
        assert_eq!(both.cluster_cidrs.len(), 2);
        for (bad, why) in [
            ("10.244.0.0/16", "prefix length"),
            ("10.244.0.0/16=8", "--cluster-cidr 10.244.0.0/16=8"),
            ("10.244.0.0/16=33", "--cluster-cidr 10.244.0.0/16=33"),
        ] {
            let error = format!("{:#}", config(bad).expect_err(bad));
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_real_clusters_controllers_elect_one_and_the_labs_does_not() {
        let elects = |flags: &[&str]| {
            let args = args(flags);
            let election = args.election.election(args.network_only);
            election.expect("a name").map(|election| election.namespace)
        };
        let namespace = Some("seaway-system".to_owned());
        assert_eq!(elects(&[]), None);
        assert_eq!(elects(&["--network-only"]), namespace);
        assert_eq!(elects(&["--network-only", "--leader-elect=false"]), None);
        assert_eq!(elects(&["--leader-elect"]), namespace);
        let elsewhere = elects(&["--leader-elect=true", "--namespace", "x"]);
        assert_eq!(elsewhere.as_deref(), Some("x"));
    }

    /// Two of one node: each is asked at its own socket, whoever has the port.
    #[test]
    fn controllers_that_share_a_port_answer_for_themselves() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = |name: &str| Some(folder.path().join(name));
        let port = TcpListener::bind("127.0.0.1:0").expect("a port");
        let shared = Some(Bind::At(port.local_addr().expect("bound")));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let unready = Arc::new(Standing::default());
            let _answering = ["a.sock", "b.sock"].map(|name| {
                (
                    spawn_local(answer(shared, unready.clone())),
                    spawn_local(answer_probes(socket(name), unready.clone())),
                )
            });
            let code = async |name: &str, page: &str| {
                let args = probe::ProbeArgs {
                    socket: socket(name).expect("a path"),
                    page: page.to_owned(),
                };
                let asked = tokio::task::spawn_blocking(move || probe::run(&args));
                asked.await.expect("no panic")
            };
            for name in ["a.sock", "b.sock"] {
                let mut lives = code(name, "/livez").await;
                while lives.is_err() {
                    tokio::task::yield_now().await;
                    lives = code(name, "/livez").await;
                }
                assert_eq!(lives.expect("an answer"), ExitCode::SUCCESS);
                let ready = code(name, "/readyz").await.expect("an answer");
                assert_eq!(ready, ExitCode::FAILURE, "the API has not answered");
            }
        });
    }

    #[test]
    fn two_controllers_are_never_one() {
        let identity = || {
            let args = args(&["--network-only", "--pod-name=p"]);
            let election = args.election.election(args.network_only).expect("a name");
            election.expect("elects").identity
        };
        let (one, other) = (identity(), identity());
        assert!(one.starts_with("p_") && one != other, "{one} {other}");
    }
}
