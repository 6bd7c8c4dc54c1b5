//! The flags that say how a node balances Services, and where its agent answers by HTTP. They are
//! checked here against each other.

use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::ensure;
use clap::Args;
use clap::builder::BoolishValueParser;
use ipnet::IpNet;
use seaway_agent::WebConfig;
use seaway_model::{NodePortAddresses, ServiceSettings};

use crate::network::network;

/// How Services are balanced.
#[derive(Args)]
#[command(next_help_heading = "Services")]
pub(crate) struct ServiceArgs {
    /// Leave Services to somebody else, such as kube-proxy.
    #[arg(long, env = "SEAWAY_NO_SERVICES", value_parser = BoolishValueParser::new())]
    no_services: bool,
    /// A network that cluster addresses of Services come from. May be given more than once.
    #[arg(long, env = "SEAWAY_SERVICE_CIDR", value_name = "CIDR", value_delimiter = ',',
        value_parser = network)]
    service_cidr: Vec<IpNet>,
    /// On which addresses of the node its ports are open: primary, or all in these networks. They
    /// are open on the loopback address in any case.
    #[arg(long, env = "SEAWAY_NODE_PORT_ADDRESSES", value_name = "primary|CIDR,...",
        value_delimiter = ',', value_parser = node_port_address, default_value = "primary")]
    node_port_addresses: Vec<NodePortAddress>,
    /// Honour spec.externalIPs: whoever may write Services may take any address (KEP-5707).
    #[arg(long, env = "SEAWAY_EXTERNAL_IPS", value_parser = BoolishValueParser::new())]
    external_ips: bool,
    /// Pods do not keep their address towards Services.
    #[arg(long, env = "SEAWAY_MASQUERADE_ALL", value_parser = BoolishValueParser::new())]
    masquerade_all: bool,
    /// Hand-written EndpointSlices may name addresses of nodes.
    #[arg(long, env = "SEAWAY_NODE_ENDPOINTS", value_parser = BoolishValueParser::new())]
    node_endpoints: bool,
    /// Answer names of the cluster on this node.
    #[arg(long, env = "SEAWAY_DNS", value_parser = BoolishValueParser::new())]
    dns: bool,
    /// Whom to ask for names that are not the cluster's, or none [default: the servers of the
    /// node's /etc/resolv.conf].
    #[arg(
        long,
        env = "SEAWAY_DNS_UPSTREAM",
        value_name = "ADDRESS[:PORT]|none",
        value_delimiter = ','
    )]
    dns_upstream: Vec<Upstream>,
    /// Where /healthz, /livez and /readyz are, or off [default: [::]:10256, off with --no-services].
    #[arg(long, env = "SEAWAY_HEALTHZ_BIND", value_name = "ADDRESS:PORT|off")]
    healthz_bind: Option<Bind>,
    /// Where /metrics is, or off [default: 127.0.0.1:10249, off with --no-services].
    #[arg(long, env = "SEAWAY_METRICS_BIND", value_name = "ADDRESS:PORT|off")]
    metrics_bind: Option<Bind>,
}

/// One of the addresses at which the node's ports are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodePortAddress {
    Primary,
    Within(IpNet),
}

fn node_port_address(text: &str) -> Result<NodePortAddress, String> {
    match text {
        "primary" => Ok(NodePortAddress::Primary),
        _ => network(text)
            .map(NodePortAddress::Within)
            .map_err(|error| format!("give primary, or networks: {error}")),
    }
}

/// Whom to ask for names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upstream {
    Nobody,
    At(SocketAddr),
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Upstream, String> {
        if text == "none" {
            return Ok(Upstream::Nobody);
        }
        let alone = text.parse().map(|address| SocketAddr::new(address, 53));
        let at = alone.or_else(|_| text.parse()).ok();
        let at = at.filter(|at| at.port() != 0 && !at.ip().is_unspecified());
        at.map(Upstream::At).ok_or_else(|| {
            "give an address, such as 192.0.2.53 or [2001:db8::53]:5353, or none".to_owned()
        })
    }
}

/// Where something is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bind {
    Off,
    At(SocketAddr),
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Bind, String> {
        match text {
            "off" => Ok(Bind::Off),
            _ => {
                let at: Option<SocketAddr> = text.parse().ok();
                let at = at.filter(|at| at.port() != 0).map(Bind::At);
                at.ok_or_else(|| {
                    "give an address with its port, such as 127.0.0.1:10249, or off".to_owned()
                })
            }
        }
    }
}

impl ServiceArgs {
    /// The settings, checked against each other.
    pub(crate) fn settings(&self) -> anyhow::Result<Option<ServiceSettings>> {
        if self.no_services {
            let given = [
                ("--service-cidr", !self.service_cidr.is_empty()),
                ("--external-ips", self.external_ips),
                ("--masquerade-all", self.masquerade_all),
                ("--node-endpoints", self.node_endpoints),
                ("--dns", self.dns),
                ("--dns-upstream", !self.dns_upstream.is_empty()),
            ];
            if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
                anyhow::bail!("{flag} and --no-services exclude each other; leave one of them out");
            }
            return Ok(None);
        }
        Ok(Some(ServiceSettings {
            service_cidrs: self.service_cidr.clone(),
            node_ports: self.node_ports()?,
            external_ips: self.external_ips,
            masquerade_all: self.masquerade_all,
            node_endpoints: self.node_endpoints,
            dns: self.dns,
        }))
    }

    fn node_ports(&self) -> anyhow::Result<NodePortAddresses> {
        let nets = self.node_port_addresses.iter().filter_map(|one| match one {
            NodePortAddress::Primary => None,
            NodePortAddress::Within(net) => Some(*net),
        });
        let nets: Vec<IpNet> = nets.collect();
        ensure!(
            nets.is_empty() || nets.len() == self.node_port_addresses.len(),
            "--node-port-addresses is either primary or networks; leave one of them out"
        );
        Ok(match nets.is_empty() {
            true => NodePortAddresses::Primary,
            false => NodePortAddresses::Within(nets),
        })
    }

    /// Whom to ask for names that are not the cluster's; those whom the node asks when `None`.
    pub(crate) fn name_servers(&self) -> anyhow::Result<Option<Vec<SocketAddr>>> {
        if self.dns_upstream.is_empty() {
            return Ok(None);
        }
        ensure!(
            self.dns,
            "--dns-upstream says whom the node's own name server asks; give --dns as well"
        );
        let servers = self.dns_upstream.iter().filter_map(|one| match one {
            Upstream::Nobody => None,
            Upstream::At(at) => Some(*at),
        });
        let servers: Vec<SocketAddr> = servers.collect();
        ensure!(
            servers.is_empty() || servers.len() == self.dns_upstream.len(),
            "--dns-upstream is either none or addresses; leave one of them out"
        );
        Ok(Some(servers))
    }

    /// Where the agent answers. Whoever else balances Services has the usual places.
    pub(crate) fn web(&self) -> anyhow::Result<WebConfig> {
        let default = match self.no_services {
            true => WebConfig::NOWHERE,
            false => WebConfig::default(),
        };
        let chosen = |flag: Option<Bind>, default| match flag {
            None => default,
            Some(Bind::Off) => None,
            Some(Bind::At(at)) => Some(at),
        };
        let web = WebConfig {
            health: chosen(self.healthz_bind, default.health),
            metrics: chosen(self.metrics_bind, default.metrics),
        };
        ensure!(
            web.health.is_none() || web.health != web.metrics,
            "--healthz-bind and --metrics-bind name one place; give them two"
        );
        Ok(web)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        services: ServiceArgs,
    }

    fn both(flags: &[&str]) -> anyhow::Result<(Option<ServiceSettings>, WebConfig)> {
        let cli = Cli::try_parse_from(std::iter::once("agent").chain(flags.iter().copied()))?;
        Ok((cli.services.settings()?, cli.services.web()?))
    }

    #[test]
    fn without_flags_it_is_the_default() {
        let (settings, web) = both(&[]).expect("valid");
        assert_eq!(settings, Some(ServiceSettings::default()));
        assert_eq!(web, WebConfig::default());
    }

    #[test]
    fn every_flag_is_taken() {
        let (settings, web) = both(&[
            "--service-cidr=10.96.0.0/16,fd00:96::/112",
            "--node-port-addresses=192.0.2.0/24,::/0",
            "--external-ips",
            "--masquerade-all",
            "--node-endpoints",
            "--dns",
            "--healthz-bind=127.0.0.1:1",
            "--metrics-bind=off",
        ])
        .expect("valid");
        let settings = settings.expect("on");
        assert_eq!(settings.service_cidrs.len(), 2);
        assert!(matches!(&settings.node_ports, NodePortAddresses::Within(nets) if nets.len() == 2));
        assert!(settings.external_ips && settings.masquerade_all);
        assert!(settings.node_endpoints && settings.dns);
        assert_eq!(web.health, Some("127.0.0.1:1".parse().expect("valid")));
        assert_eq!(web.metrics, None);
        let off = both(&["--no-services"]).expect("valid");
        assert_eq!(off, (None, WebConfig::NOWHERE));
    }

    #[test]
    fn servers_to_ask_are_given_or_the_nodes_own() {
        let servers = |flags: &[&str]| {
            let cli = Cli::try_parse_from(std::iter::once("agent").chain(flags.iter().copied()));
            cli.map_err(|e| e.to_string())
                .and_then(|cli| cli.services.name_servers().map_err(|e| e.to_string()))
        };
        assert_eq!(servers(&["--dns"]), Ok(None));
        let given = [
            "--dns",
            "--dns-upstream=192.0.2.53,[2001:db8::53]:5353,2001:db8::1",
        ];
        let texts = ["192.0.2.53:53", "[2001:db8::53]:5353", "[2001:db8::1]:53"];
        let expected = texts.map(|text| text.parse().expect("valid"));
        assert_eq!(servers(&given), Ok(Some(expected.into())));
        assert_eq!(servers(&["--dns", "--dns-upstream=none"]), Ok(Some(vec![])));
        for (flags, words) in [
            (&["--dns-upstream=none"][..], "give --dns"),
            (&["--dns", "--dns-upstream=none,192.0.2.1"], "leave one"),
            (&["--dns", "--dns-upstream=0.0.0.0"], "192.0.2.53"),
            (&["--dns", "--dns-upstream=ns.example"], "none"),
        ] {
            let error = servers(flags).expect_err("refused");
            assert!(
                error.contains("--dns-upstream") && error.contains(words),
                "{error}"
            );
        }
    }

    #[test]
    fn refusals_name_the_flag_and_the_way_out() {
        for (flags, words) in [
            (
                &["--service-cidr=10.96.0.1/16"][..],
                &["--service-cidr", "10.96.0.0/16"][..],
            ),
            (
                &["--node-port-addresses=all"],
                &["--node-port-addresses", "give primary"],
            ),
            (
                &["--node-port-addresses=primary,::/0"],
                &["--node-port-addresses", "leave one"],
            ),
            (
                &["--no-services", "--dns"],
                &["--dns", "--no-services", "leave one"],
            ),
            (
                &["--healthz-bind=10256"],
                &["--healthz-bind", "127.0.0.1:10249, or off"],
            ),
            (&["--metrics-bind=[::1]:0"], &["--metrics-bind", "its port"]),
            (
                &["--metrics-bind=[::1]:1", "--healthz-bind=[::1]:1"],
                &["--healthz-bind", "give them two"],
            ),
        ] {
            let error = both(flags).expect_err("refused").to_string();
            for word in words {
                assert!(error.contains(word), "{flags:?}: {error}");
            }
        }
    }
}
