//! `bench path`: TCP from Pod to Pod, beside what the same packets cost on the bare path over the
//! same underlay.
//!
//! Each wiring and transport is a group of its own, so that what is compared is measured side by
//! side. This file says what is compared with what; how the networks are made is in the modules
//! below.

mod bare;
mod floors;
mod pods;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use seaway_kernel::netns::Netns;
use seaway_kernel::sysctl;
use seaway_model::{Family, Transport, Wiring};

use self::bare::Bare;
use self::floors::Floors;
use self::pods::{Pods, Variant};
use crate::report::{Aim, Label, Report};
use crate::rounds::{self, Plan, Series, Visit, Visits};
use crate::stats::median;
use crate::tcp::{Effort, Link};
use crate::underlay::Underlay;
use crate::{Options, calibrate};

/// What `bench path` understands.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Only the baselines that need no agent.
    #[arg(long)]
    floors_only: bool,
    /// Only groups whose name holds one of these: floors, same-node, routed-direct, bridge-vxlan,
    /// vxlan-over-routed, ...
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Also without masquerading, and without any filter: what these cost.
    #[arg(long)]
    attribute: bool,
    /// Also with what is in force changed by a shell script on each node; may be given several
    /// times.
    #[arg(long, value_name = "FILE")]
    changed_by: Vec<PathBuf>,
    /// Only this family.
    #[arg(long, value_parser = ["v4", "v6"])]
    family: Option<String>,
    /// The machine's primitives are known already.
    #[arg(long)]
    no_calibration: bool,
}

impl Arguments {
    /// What of Seaway is to be measured.
    fn variants(&self) -> Vec<Variant> {
        let mut variants = vec![Variant::Whole];
        if self.attribute {
            variants.extend([Variant::NoMasquerade, Variant::NoFilters]);
        }
        variants.extend(self.changed_by.iter().cloned().map(Variant::Changed));
        variants
    }
}

/// How the nodes and Pods of a group are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    underlay: Underlay,
    wiring: Wiring,
    transport: Transport,
}

/// What is measured side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// Loopback, a veth pair, and the nodes of an underlay.
    Floors(Underlay),
    /// Pods of one node.
    Near(Wiring),
    /// Pods of two.
    Far(Shape),
}

/// What a visit measures: name, unit.
const METRICS: [(&str, &str); 4] = [
    ("rtt", "us"),
    ("connect", "us"),
    ("stream", "Gbit/s"),
    ("stream-cpu", "Gbit/CPU-s"),
];

/// What is aimed at beside a bare path.
const AIMS: [(&str, Aim); 2] = [
    ("rtt", Aim::AtMost(1.05)),
    ("stream-cpu", Aim::AtLeast(0.97)),
];

/// A case, and a baseline with which it is compared.
struct Comparison {
    case: String,
    baseline: String,
    /// Whether the case is to be as good as the baseline.
    aimed: bool,
}

impl Group {
    fn all() -> Vec<Group> {
        let far = |underlay, transport| {
            Wiring::ALL.map(|wiring| {
                Group::Far(Shape {
                    underlay,
                    wiring,
                    transport,
                })
            })
        };
        let flat = [Transport::Direct, Transport::Vxlan, Transport::L2];
        let mut groups = vec![Group::Floors(Underlay::Flat)];
        groups.extend(Wiring::ALL.map(Group::Near));
        groups.extend(flat.into_iter().flat_map(|t| far(Underlay::Flat, t)));
        groups.push(Group::Floors(Underlay::Routed));
        groups.extend(far(Underlay::Routed, Transport::Vxlan));
        groups
    }

    fn underlay(self) -> Underlay {
        match self {
            Group::Floors(underlay) => underlay,
            Group::Near(_) => Underlay::Flat,
            Group::Far(shape) => shape.underlay,
        }
    }

    /// Its name, which is that of the case under test too.
    fn name(self) -> String {
        let over = match self.underlay() {
            Underlay::Flat => "",
            Underlay::Routed => "-over-routed",
        };
        match self {
            Group::Floors(_) => format!("floors{over}"),
            Group::Near(wiring) => format!("{wiring}-same-node"),
            Group::Far(shape) => format!("{}-{}{over}", shape.wiring, shape.transport),
        }
    }

    /// How the nodes of the group are joined.
    fn shape(self) -> Shape {
        match self {
            Group::Far(shape) => shape,
            Group::Near(wiring) => Shape {
                underlay: Underlay::Flat,
                wiring,
                transport: Transport::Direct,
            },
            Group::Floors(underlay) => Shape {
                underlay,
                wiring: Wiring::Routed,
                // The path from node to node needs none, and a route by the router has no gateway
                // on the link.
                transport: Transport::Vxlan,
            },
        }
    }

    /// What is compared with what, for each case under test.
    fn comparisons(self, tested: &[String]) -> Vec<Comparison> {
        let pair = |case: &str, baseline: &str, aimed| Comparison {
            case: case.to_owned(),
            baseline: baseline.to_owned(),
            aimed,
        };
        let name = self.name();
        let bare = format!("bare-{name}");
        let (between, ceilings): (Vec<Comparison>, &[(&str, bool)]) = match self {
            Group::Floors(_) => {
                return vec![
                    pair("veth", "loopback", false),
                    pair("node-to-node", "loopback", false),
                    pair("node-to-node", "veth", false),
                    pair("loopback-again", "loopback", false),
                ];
            }
            Group::Near(_) => (vec![pair(&bare, "veth", false)], &[("veth", false)]),
            Group::Far(shape) if shape.transport == Transport::Vxlan => (
                vec![
                    pair("bare-vxlan", "node-to-node", false),
                    pair(&bare, "bare-vxlan", false),
                ],
                &[("node-to-node", false), ("bare-vxlan", true)],
            ),
            Group::Far(_) => (
                vec![pair(&bare, "node-to-node", false)],
                &[("node-to-node", true)],
            ),
        };
        let tested = tested.iter().flat_map(|case| {
            let ceilings = ceilings.iter().map(|(b, aimed)| pair(case, b, *aimed));
            ceilings
                .chain([pair(case, &bare, true)])
                .collect::<Vec<_>>()
        });
        between.into_iter().chain(tested).collect()
    }
}

/// Measures both families of every group that is wanted.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let options = &arguments.options;
    let mut report = options.report();
    let wanted = |group: &Group| {
        let name = group.name();
        arguments.only.is_empty() || arguments.only.iter().any(|part| name.contains(part))
    };
    let groups: Vec<Group> = Group::all().into_iter().filter(wanted).collect();
    let names: Vec<String> = Group::all().into_iter().map(Group::name).collect();
    let only = arguments.only.join(",");
    ensure!(
        !groups.is_empty(),
        "--only {only}: no group is called so; they are {}",
        names.join(", ")
    );
    if !arguments.no_calibration {
        calibrate::run(options, &mut report)?;
    }
    for group in groups {
        one_group(group, arguments, &mut report)
            .with_context(|| format!("measuring {}", group.name()))?;
    }
    Ok(())
}

fn one_group(group: Group, arguments: &Arguments, report: &mut Report) -> Result<()> {
    let floors = Floors::new()?;
    let bare = Bare::new(group.shape())?;
    let variants = match (group, arguments.floors_only) {
        (Group::Floors(_), _) | (_, true) => vec![],
        _ => arguments.variants(),
    };
    let pods = variants
        .iter()
        .map(|variant| Pods::new(group.shape(), variant));
    let pods: Vec<Pods> = pods.collect::<Result<_>>()?;
    let tested = variants
        .iter()
        .map(|variant| group.name() + &variant.suffix());
    let tested: Vec<String> = tested.collect();
    let families = Family::ALL.into_iter().filter(|family| {
        let only = arguments.family.as_deref();
        only.is_none_or(|only| only == short(*family))
    });
    for family in families {
        let cpu = arguments.options.cpu;
        let mut links = baselines(group, &floors, &bare, family, cpu)?;
        for (name, pods) in tested.iter().zip(&pods) {
            links.push(match group {
                Group::Near(_) => pods.near(name, family, cpu)?,
                _ => pods.far(name, family, cpu)?,
            });
        }
        one_family(group, family, &tested, &links, &arguments.options, report)?;
    }
    Ok(())
}

fn baselines<'a>(
    group: Group,
    floors: &'a Floors,
    bare: &'a Bare,
    family: Family,
    cpu: usize,
) -> Result<Vec<Link<'a>>> {
    let name = format!("bare-{}", group.name());
    Ok(match group {
        Group::Floors(_) => vec![
            floors.loopback("loopback", family, cpu)?,
            floors.veth(family, cpu)?,
            bare.nodes(family, cpu)?,
            floors.loopback("loopback-again", family, cpu)?,
        ],
        Group::Near(_) => vec![floors.veth(family, cpu)?, bare.near(&name, family, cpu)?],
        Group::Far(shape) => {
            let mut links = vec![bare.nodes(family, cpu)?];
            if shape.transport == Transport::Vxlan {
                links.push(bare.devices(family, cpu)?);
            }
            links.push(bare.far(&name, family, cpu)?);
            links
        }
    })
}

fn one_family(
    group: Group,
    family: Family,
    tested: &[String],
    links: &[Link<'_>],
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let congestion = links[0].congestion_control()?;
    let name = group.name();
    report.note(&format!(
        "{name}, {family}, congestion control {congestion}"
    ));
    let plan = Plan {
        rounds: options.rounds(),
        visits: Visits::Sweeps(1),
    };
    let effort = effort(options);
    let series = rounds::run(plan, links.len(), |i| visit(&links[i], effort))?;
    report.note_noise(&name, &series);
    let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    add_rows(family, &names, &group.comparisons(tested), &series, report)?;
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

fn add_rows(
    family: Family,
    names: &[&str],
    comparisons: &[Comparison],
    series: &Series,
    report: &mut Report,
) -> Result<()> {
    let subject = |wanted: &str| names.iter().position(|name| *name == wanted);
    for (metric, (name, unit)) in METRICS.into_iter().enumerate() {
        let label = |case: &str| Label {
            bench: "path",
            case: format!("{case}-{}", short(family)),
            metric: name,
            unit,
        };
        let first = series.values(0, metric);
        report.add(label(names[0]).alone(median(&first), first.len()))?;
        let aim = AIMS.iter().find(|(of, _)| *of == name).map(|(_, aim)| *aim);
        for comparison in comparisons {
            let Comparison {
                case,
                baseline,
                aimed,
            } = comparison;
            let (Some(i), Some(b)) = (subject(case), subject(baseline)) else {
                continue;
            };
            let [values, base] = [i, b].map(|subject| series.values(subject, metric));
            let row = label(case).beside(&values, baseline, &base);
            report.add(match aim.filter(|_| *aimed) {
                Some(aim) => row.judged(aim),
                None => row,
            })?;
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
pub(crate) fn widen_ports(netns: &Netns) -> Result<()> {
    Ok(netns.run(|| sysctl::write("net/ipv4/ip_local_port_range", "1024 65535"))??)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn groups_have_names_of_their_own_and_every_combination_is_one() {
        let names: BTreeSet<String> = Group::all().into_iter().map(Group::name).collect();
        assert_eq!(names.len(), Group::all().len());
        for name in [
            "routed-direct",
            "bridge-l2",
            "bridge-vxlan",
            "routed-vxlan-over-routed",
            "bridge-same-node",
            "floors-over-routed",
        ] {
            assert!(names.contains(name), "{name} in {names:?}");
        }
    }

    #[test]
    fn vxlan_is_to_be_as_good_as_the_bare_device_and_direct_as_the_nodes() {
        let aims = |transport| {
            let shape = Shape {
                underlay: Underlay::Flat,
                wiring: Wiring::Routed,
                transport,
            };
            let group = Group::Far(shape);
            let aimed = group.comparisons(&[group.name()]).into_iter();
            let aimed = aimed.filter(|c| c.aimed && c.case == group.name());
            aimed.map(|c| c.baseline).collect::<Vec<_>>()
        };
        assert_eq!(
            aims(Transport::Direct),
            ["node-to-node", "bare-routed-direct"]
        );
        assert_eq!(aims(Transport::Vxlan), ["bare-vxlan", "bare-routed-vxlan"]);
    }
}
