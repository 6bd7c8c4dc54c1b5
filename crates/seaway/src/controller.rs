//! `seaway controller`: the cluster loops, from flags to their configuration.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, anyhow};
use clap::Args;
use ipnet::IpNet;
use seaway_control::ControlConfig;

use crate::reach::ReachArgs;
use crate::rim;

/// Flags of the controllers.
#[derive(Args)]
pub(crate) struct ControllerArgs {
    #[command(flatten)]
    reach: ReachArgs,
    /// A network for all Pods and the prefix length of a node's part of it, for example
    /// 10.244.0.0/16=24; once a family. Without any, nodes get their Pod networks from elsewhere.
    #[arg(long, value_name = "CIDR=BITS")]
    cluster_cidr: Vec<CidrFlag>,
    /// The authority that signed the API server's certificate, as PEM: every namespace gets it as the
    /// ConfigMap kube-root-ca.crt.
    #[arg(long, value_name = "FILE")]
    root_ca: Option<PathBuf>,
    /// Which part of each network the first node gets.
    #[arg(long, default_value_t = 0, value_name = "INDEX")]
    first_node_cidr: u64,
    /// Leave the EndpointSlices of Services to another controller, as in a cluster that has its own.
    #[arg(long)]
    no_endpoint_slices: bool,
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
        let mut config = ControlConfig {
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
    let access = args.reach.access()?;
    rim::block_on(|shutdown| async move {
        let client = seaway_api::client(&access)?;
        tokio::select! {
            result = seaway_control::run(client, config) => result.map_err(|e| anyhow!(e)),
            () = shutdown => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flag: &str) -> anyhow::Result<ControlConfig> {
        let args = ControllerArgs {
            reach: ReachArgs::default(),
            root_ca: None,
            cluster_cidr: vec![flag.parse().map_err(|e: String| anyhow!(e))?],
            first_node_cidr: 1,
            no_endpoint_slices: false,
        };
        args.config()
    }

    #[test]
    fn a_cluster_network_and_its_parts_are_checked() {
        assert_eq!(
            config("fd00:10:244::/48=64")
                .expect("valid")
                .cluster_cidrs
                .len(),
            1
        );
        for (bad, why) in [
            ("10.244.0.0/16", "prefix length"),
            ("10.244.0.0/16=8", "--cluster-cidr 10.244.0.0/16=8"),
            ("10.244.0.0/16=33", "--cluster-cidr 10.244.0.0/16=33"),
        ] {
            let error = format!("{:#}", config(bad).expect_err(bad));
            assert!(error.contains(why), "{error}");
        }
    }
}
