//! `bench path`: TCP from Pod to Pod, beside what the same packets cost without Pods.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use ipnet::IpNet;
use seaway_kernel::netns::Netns;
use seaway_kernel::sysctl;
use seaway_model::Family;

use crate::binaries::Binaries;
use crate::cluster::Cluster;
use crate::plugin::Pod;
use crate::report::{Label, Report};
use crate::rounds::{self, Plan, Series, Visit, Visits};
use crate::stats::median;
use crate::tcp::{Effort, Link};
use crate::wire::{self, End};
use crate::{Options, calibrate};

/// What `bench path` understands.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Only the baselines that need no agent: loopback and a bare veth pair.
    #[arg(long)]
    floors_only: bool,
}

/// What a visit measures: name, unit.
const METRICS: [(&str, &str); 4] = [
    ("rtt", "us"),
    ("connect", "us"),
    ("stream", "Gbit/s"),
    ("stream-cpu", "Gbit/CPU-s"),
];

/// What is compared with which baselines.
const COMPARISONS: [(&str, &[&str]); 6] = [
    ("veth", &["loopback"]),
    ("node-to-node", &["loopback", "veth"]),
    ("pod-same-node", &["loopback", "veth", "node-to-node"]),
    ("pod-other-node", &["loopback", "veth", "node-to-node"]),
    ("loopback-again", &["loopback"]),
    ("pod-same-node-again", &["pod-same-node"]),
];

/// Measures both families.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let options = &arguments.options;
    let mut report = options.report();
    calibrate::run(options, &mut report)?;
    let floors = Floors::new()?;
    let pods = match arguments.floors_only {
        true => None,
        false => Some(Pods::new()?),
    };
    for family in Family::ALL {
        one_family(family, &floors, pods.as_ref(), options, &mut report)?;
    }
    Ok(())
}

fn one_family(
    family: Family,
    floors: &Floors,
    pods: Option<&Pods>,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let mut links = floors.links(family, options.cpu)?;
    if let Some(pods) = pods {
        links.extend(pods.links(family, options.cpu)?);
    }
    let congestion = links[0].congestion_control()?;
    report.note(&format!("{family}, congestion control {congestion}"));
    let plan = Plan {
        rounds: options.rounds(),
        visits: Visits::Sweeps(1),
    };
    let effort = effort(options);
    let series = rounds::run(plan, links.len(), |i| visit(&links[i], effort))?;
    report.note_noise("path", &series);
    let names: Vec<&str> = links.iter().map(|link| link.name).collect();
    add_rows(family, &names, &series, report)?;
    report.print_table();
    Ok(())
}

fn effort(options: &Options) -> Effort {
    Effort {
        round_trips: options.amount(10_000),
        connections: options.amount(1_000),
        stream: Duration::from_millis(options.amount(300) as u64),
    }
}

fn visit(link: &Link<'_>, effort: Effort) -> Result<Visit> {
    let rtt = median(&link.round_trips(effort.round_trips)?);
    let connect = median(&link.connections(effort.connections)?);
    let rate = link.stream(effort.stream)?;
    Ok(vec![rtt, connect, rate.per_second, rate.per_cpu_second])
}

fn add_rows(family: Family, names: &[&str], series: &Series, report: &mut Report) -> Result<()> {
    let subject = |wanted: &str| names.iter().position(|name| *name == wanted);
    for (metric, (name, unit)) in METRICS.into_iter().enumerate() {
        let label = |case: &str| Label {
            bench: "path",
            case: format!("{case}-{}", short(family)),
            metric: name,
            unit,
        };
        if let Some(i) = subject("loopback") {
            let values = series.values(i, metric);
            report.add(label("loopback").alone(median(&values), values.len()))?;
        }
        for (case, baselines) in COMPARISONS {
            let pairs = baselines
                .iter()
                .filter_map(|b| Some((subject(case)?, *b, subject(b)?)));
            for (i, baseline, b) in pairs {
                let [values, base] = [i, b].map(|subject| series.values(subject, metric));
                report.add(label(case).beside(&values, baseline, &base))?;
            }
        }
    }
    Ok(())
}

fn short(family: Family) -> &'static str {
    match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    }
}

fn of_family(addresses: &[IpAddr], family: Family) -> Result<IpAddr> {
    let found = addresses
        .iter()
        .find(|address| Family::of(**address) == family);
    found
        .copied()
        .with_context(|| format!("a Pod has no {family} address"))
}

/// Many short connections need many ports.
fn widen_ports(netns: &Netns) -> Result<()> {
    Ok(netns.run(|| sysctl::write("net/ipv4/ip_local_port_range", "1024 65535"))??)
}

/// The baselines that need nothing of ours.
struct Floors {
    left: Netns,
    right: Netns,
}

impl Floors {
    const LEFT: [&str; 2] = ["192.168.76.1/24", "fd76::1/64"];
    const RIGHT: [&str; 2] = ["192.168.76.2/24", "fd76::2/64"];

    fn new() -> Result<Floors> {
        let floors = Floors {
            left: Netns::create()?,
            right: Netns::create()?,
        };
        for netns in [&floors.left, &floors.right] {
            wire::loopback_up(netns)?;
            widen_ports(netns)?;
        }
        let [left, right] = [Floors::LEFT, Floors::RIGHT].map(parsed);
        let end = |netns, addresses| End {
            netns,
            name: "veth0",
            addresses,
        };
        wire::pair(&end(&floors.left, &left), &end(&floors.right, &right))?;
        Ok(floors)
    }

    fn links(&self, family: Family, cpu: usize) -> Result<Vec<Link<'_>>> {
        let loopback: IpAddr = match family {
            Family::V4 => std::net::Ipv4Addr::LOCALHOST.into(),
            Family::V6 => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        let right = of_family(&parsed(Floors::RIGHT).map(|net| net.addr()), family)?;
        Ok(vec![
            Link::new("loopback", &self.left, loopback, &self.left, cpu)?,
            Link::new("veth", &self.right, right, &self.left, cpu)?,
            Link::new("loopback-again", &self.left, loopback, &self.left, cpu)?,
        ])
    }
}

fn parsed(texts: [&str; 2]) -> [IpNet; 2] {
    texts.map(|text| text.parse().expect("these constants are networks"))
}

/// Two nodes, two Pods on the first, one on the second.
struct Pods {
    cluster: Cluster,
    client: Pod,
    near: (Pod, Vec<IpAddr>),
    far: (Pod, Vec<IpAddr>),
}

impl Pods {
    fn new() -> Result<Pods> {
        let cluster = Cluster::start(2, &Binaries::find()?)?;
        let [first, second] = &cluster.nodes[..] else {
            anyhow::bail!("two nodes were asked for");
        };
        let attached = |node: &crate::cluster::Node| -> Result<(Pod, Vec<IpAddr>)> {
            let pod = Pod::new()?;
            let addresses = node.attach(&pod)?;
            Ok((pod, addresses))
        };
        let (client, _) = attached(first)?;
        let (near, far) = (attached(first)?, attached(second)?);
        for netns in [client.netns(), first.room.netns()] {
            widen_ports(netns)?;
        }
        Ok(Pods {
            cluster,
            client,
            near,
            far,
        })
    }

    fn links(&self, family: Family, cpu: usize) -> Result<Vec<Link<'_>>> {
        let [first, second] = [0, 1].map(|i| &self.cluster.nodes[i]);
        let node = second.address(family)?;
        let pod = |name, (server, addresses): &(Pod, Vec<IpAddr>)| {
            let address = of_family(addresses, family)?;
            Link::new(name, server.netns(), address, self.client.netns(), cpu)
        };
        Ok(vec![
            Link::new(
                "node-to-node",
                second.room.netns(),
                node,
                first.room.netns(),
                cpu,
            )?,
            pod("pod-same-node", &self.near)?,
            pod("pod-other-node", &self.far)?,
            pod("pod-same-node-again", &self.near)?,
        ])
    }
}
