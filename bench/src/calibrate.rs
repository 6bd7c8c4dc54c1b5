//! `bench calibrate`: what the primitives cost on this machine now, and how noisy it is.
//!
//! Every other benchmark runs it first. Its figures have no baseline but one: loopback against
//! loopback, whose interval is the smallest difference that any figure here can show.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::getppid;
use seaway_kernel::netlink::{LinkTarget, Netlink, Request, VethPeer, VethSpec};
use seaway_kernel::netns::Netns;

use crate::Options;
use crate::binaries::Binaries;
use crate::cpu::Cpus;
use crate::report::{Label, Report};
use crate::rounds::{self, Plan, Visits};
use crate::stats::{median, min};
use crate::tcp::Link;
use crate::wire::{self, End};

/// Measures all primitives.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    report.note("calibrating");
    let before = Cpus::current()?;
    Cpus::one(options.cpu)?.keep_this_thread()?;
    processor(options, report)?;
    processes(options, report)?;
    namespaces(options, report)?;
    links(options, report)?;
    sockets(options, report)?;
    before.keep_this_thread()?;
    report.print_table();
    Ok(())
}

fn label(case: &str, metric: &'static str, unit: &'static str) -> Label {
    Label {
        bench: "calibrate",
        case: case.to_owned(),
        metric,
        unit,
    }
}

/// Seconds of each of `count` runs.
fn seconds(count: usize, mut work: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let mut once = || {
        let start = Instant::now();
        work().map(|()| start.elapsed().as_secs_f64())
    };
    (0..count).map(|_| once()).collect()
}

fn processor(options: &Options, report: &mut Report) -> Result<()> {
    const CALLS: usize = 1000;
    let count = options.amount(200);
    let calls = seconds(count, || {
        for _ in 0..CALLS {
            std::hint::black_box(getppid());
        }
        Ok(())
    })?;
    let nanos = min(&calls) * 1e9 / CALLS as f64;
    report.add(label("syscall", "min", "ns").alone(nanos, count))?;

    const BYTES: usize = 256 << 20;
    let (source, mut target) = (vec![1u8; BYTES], vec![0u8; BYTES]);
    let copies = seconds(6, || {
        target.copy_from_slice(std::hint::black_box(&source));
        std::hint::black_box(&target);
        Ok(())
    })?;
    let rate = BYTES as f64 / 1e9 / min(&copies);
    report.add(label("memcpy", "max", "GB/s").alone(rate, copies.len()))
}

fn processes(options: &Options, report: &mut Report) -> Result<()> {
    let mut programs = vec![("exec-dynamic", "/bin/true".into())];
    for (case, name) in [("exec-static", "seaway-true"), ("exec-bare", "seaway-bare")] {
        let own = Binaries::find().and_then(|binaries| binaries.program(name));
        programs.extend(own.ok().map(|program| (case, program)));
    }
    let count = options.amount(200);
    for (case, program) in programs {
        let runs = seconds(count, || {
            let mut command = Command::new(&program);
            command.stdin(Stdio::null());
            command
                .status()
                .map(drop)
                .with_context(|| format!("running {}", program.display()))
        })?;
        report.add(label(case, "min", "ms").alone(min(&runs) * 1e3, count))?;
        report.add(label(case, "p50", "ms").alone(median(&runs) * 1e3, count))?;
    }
    Ok(())
}

fn namespaces(options: &Options, report: &mut Report) -> Result<()> {
    let count = options.amount(200);
    let [a, b] = [Netns::create()?, Netns::create()?];
    // On a thread of its own, whose namespaces may change.
    let (made, entered) = a.run(|| -> Result<_> {
        let mut there = false;
        let entered = seconds(count, || {
            there = !there;
            Ok(if there { &b } else { &a }.switch_here()?)
        })?;
        let unshare = || unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace");
        Ok((seconds(count, unshare)?, entered))
    })??;
    report.add(label("unshare-net", "min", "ms").alone(min(&made) * 1e3, count))?;
    report.add(label("setns", "min", "us").alone(min(&entered) * 1e6, count))
}

/// Requests for bare veth pairs into one namespace, all in one group.
fn veths(count: usize, group: u32, peer: &Netns) -> Vec<Request> {
    let veth = |n: usize| {
        Request::veth(VethSpec {
            name: &format!("v{n}"),
            index: None,
            mac: None,
            mtu: None,
            group: Some(group),
            up: true,
            peer: VethPeer {
                name: &format!("p{n}"),
                index: None,
                mac: None,
                mtu: None,
                netns: peer.as_fd(),
            },
        })
    };
    (0..count).map(veth).collect()
}

fn links(options: &Options, report: &mut Report) -> Result<()> {
    const GROUP: u32 = 77;
    let (host, pod) = (Netns::create()?, Netns::create()?);
    let mut netlink = Netlink::open_in(&host)?;
    let count = options.amount(100);
    let mut requests = veths(count, GROUP, &pod).into_iter();
    let made = seconds(count, || {
        let one: Vec<Request> = requests.by_ref().take(1).collect();
        Ok(netlink.send_all(&one)?)
    })?;
    let mut names = (0..count.min(10)).map(|n| format!("v{n}"));
    let deleted = seconds(names.len(), || {
        let name = names.next().unwrap_or_default();
        Ok(netlink.send_all(&[Request::delete_link(LinkTarget::Name(&name))])?)
    })?;
    let rest = count - deleted.len();
    let group = match rest {
        0 => Vec::new(),
        _ => seconds(1, || Ok(netlink.send_all(&[Request::delete_group(GROUP)])?))?,
    };
    report.add(label("veth-create", "p50", "ms").alone(median(&made) * 1e3, count))?;
    let one = median(&deleted) * 1e3;
    report.add(label("veth-delete-one", "p50", "ms").alone(one, deleted.len()))?;
    if let Some(all) = group.first() {
        let each = all * 1e3 / rest as f64;
        report.add(label("veth-delete-group", "mean", "ms").alone(each, rest))?;
    }
    Ok(())
}

fn sockets(options: &Options, report: &mut Report) -> Result<()> {
    let [a, b] = [Netns::create()?, Netns::create()?];
    wire::loopback_up(&a)?;
    let nets = ["192.168.76.1/24", "192.168.76.2/24"].map(|n| n.parse().expect("valid"));
    let end = |netns, addresses| End {
        netns,
        name: "veth0",
        addresses,
    };
    wire::pair(&end(&a, &nets[..1]), &end(&b, &nets[1..]))?;
    let cpu = options.cpu;
    let loopback = Link::new("loopback", &a, Ipv4Addr::LOCALHOST.into(), &a, cpu)?;
    let veth = Link::new("veth", &b, nets[1].addr(), &a, cpu)?;
    for link in [&loopback, &veth] {
        one_link(link, options, report)?;
    }
    noise(&loopback, options, report)
}

fn one_link(link: &Link<'_>, options: &Options, report: &mut Report) -> Result<()> {
    let trips = link.round_trips(options.amount(20_000))?;
    let name = &link.name;
    report.add(label(&format!("{name}-rtt"), "min", "us").alone(min(&trips), trips.len()))?;
    report.add(label(&format!("{name}-rtt"), "p50", "us").alone(median(&trips), trips.len()))?;
    let connections = link.connections(options.amount(2000))?;
    let value = median(&connections);
    report.add(label(&format!("{name}-connect"), "p50", "us").alone(value, connections.len()))?;
    let time = Duration::from_millis(700) / if options.quick { 10 } else { 1 };
    let rates: Vec<_> = (0..3).map(|_| link.stream(time)).collect::<Result<_>>()?;
    let best = rates.iter().map(|rate| rate.per_second).fold(0.0, f64::max);
    report.add(label(&format!("{name}-stream"), "max", "Gbit/s").alone(best, rates.len()))
}

/// Loopback against itself.
fn noise(loopback: &Link<'_>, options: &Options, report: &mut Report) -> Result<()> {
    let plan = Plan {
        rounds: options.rounds(),
        visits: Visits::Sweeps(1),
    };
    let trips = options.amount(5000);
    let series = rounds::run(plan, 2, |_| Ok(vec![median(&loopback.round_trips(trips)?)]))?;
    report.note_noise("noise", &series);
    let [a, b] = [0, 1].map(|subject| series.values(subject, 0));
    report.add(label("noise", "rtt", "us").beside(&b, "loopback", &a))
}
