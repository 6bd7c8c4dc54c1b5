//! `seaway apiserver`: the embedded API server, from flags to its configuration and listeners.

mod containers;

use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, anyhow};
use clap::Args;
use ipnet::IpNet;
use seaway_apiserver::{Config, Limits, TlsFiles};
use seaway_kernel::netns::Netns;

use crate::rim;

/// Flags of the API server.
#[derive(Args)]
pub(crate) struct ApiServerArgs {
    /// Where to listen; a network namespace may be named before the address, for example
    /// /proc/1/ns/net=127.0.0.1:6443. May be given more than once.
    #[arg(long, required = true, value_name = "[NETNS=]ADDRESS:PORT")]
    listen: Vec<Listen>,
    /// Where others reach it, for the Service default/kubernetes. May be given more than once.
    #[arg(long, value_name = "ADDRESS:PORT")]
    advertise: Vec<SocketAddr>,
    /// Its certificate and those that it was signed with, as PEM.
    #[arg(long)]
    tls_cert: PathBuf,
    /// The certificate's private key, as PEM.
    #[arg(long)]
    tls_key: PathBuf,
    /// Who may come in: lines of token,user,uid,"group,group".
    #[arg(long)]
    tokens: PathBuf,
    /// Networks that Services get their addresses from; the first one's family is preferred.
    #[arg(long, required = true, value_name = "CIDR")]
    service_cidr: Vec<IpNet>,
    /// Ports that Services may have on nodes.
    #[arg(long, default_value = "30000-32767", value_name = "FIRST-LAST")]
    node_ports: PortRange,
    /// Where the containers of Pods write: NAMESPACE_POD_UID/CONTAINER/RESTARTS.log below it.
    #[arg(long)]
    pod_logs: Option<PathBuf>,
    /// The socket of whoever runs the containers, for `pods/exec`.
    #[arg(long, value_name = "SOCKET")]
    containers: Option<PathBuf>,
    /// A Namespace that is there from the start, besides Kubernetes' own. May be given more than once.
    #[arg(long, value_name = "NAME")]
    namespace: Vec<String>,
    /// Objects that are there from the start: a List as JSON or YAML, for example of roles and bindings.
    #[arg(long, value_name = "FILE")]
    objects: Option<PathBuf>,
    /// Where to tell who asked for what, a line of JSON for each request for objects.
    #[arg(long, env = "SEAWAY_AUDIT_LOG", value_name = "FILE")]
    audit_log: Option<PathBuf>,
}

/// An address, in a namespace or here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listen {
    netns: Option<PathBuf>,
    address: SocketAddr,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        let (netns, address) = match text.rsplit_once('=') {
            Some((netns, address)) => (Some(PathBuf::from(netns)), address),
            None => (None, text),
        };
        let address = address
            .parse()
            .map_err(|_| format!("\"{address}\" is not ADDRESS:PORT, such as 127.0.0.1:6443"))?;
        Ok(Listen { netns, address })
    }
}

impl Listen {
    fn open(&self) -> anyhow::Result<TcpListener> {
        let bind = || TcpListener::bind(self.address);
        let listener = match &self.netns {
            Some(path) => Netns::open(path)?.run(bind)?,
            None => bind(),
        };
        let place = self.netns.as_deref().map_or(Path::new("here"), |path| path);
        listener.with_context(|| format!("listen on {} ({})", self.address, place.display()))
    }
}

/// `30000-32767`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PortRange(RangeInclusive<u16>);

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<PortRange, String> {
        let wrong = || format!("\"{text}\" is not a range of ports, such as 30000-32767");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let [first, last] = [first, last].map(str::parse::<u16>);
        match (first, last) {
            (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(PortRange(first..=last)),
            _ => Err(wrong()),
        }
    }
}

pub(crate) fn run(args: ApiServerArgs) -> anyhow::Result<ExitCode> {
    seaway_kernel::limits::raise_descriptors();
    let listeners = args.listen.iter().map(Listen::open);
    let config = Config {
        listeners: listeners.collect::<anyhow::Result<_>>()?,
        tls: TlsFiles {
            cert: args.tls_cert,
            key: args.tls_key,
        },
        tokens: args.tokens,
        service_cidrs: args.service_cidr,
        node_ports: args.node_ports.0,
        advertise: args.advertise,
        pod_logs: args.pod_logs,
        containers: args.containers.map(containers::at),
        namespaces: args.namespace,
        objects: args.objects,
        audit_log: args.audit_log,
        limits: Limits::default(),
    };
    rim::block_on(|shutdown| async move {
        seaway_apiserver::serve(config, shutdown)
            .await
            .map_err(|e| anyhow!(e).context("API server"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_may_be_born_in_another_namespace() {
        let here: Listen = "127.0.0.1:6443".parse().expect("valid");
        assert_eq!(here.netns, None);
        let there: Listen = "/proc/1/ns/net=[::1]:7".parse().expect("valid");
        assert_eq!(there.netns, Some("/proc/1/ns/net".into()));
        assert_eq!(there.address, "[::1]:7".parse().expect("valid"));
        assert!("127.0.0.1".parse::<Listen>().is_err());
    }

    #[test]
    fn a_range_of_ports_goes_upwards() {
        let good: PortRange = "30000-32767".parse().expect("valid");
        assert_eq!(good.0, 30000..=32767);
        for bad in ["", "1", "2-1", "0-5", "1-70000", "a-b"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }
}
