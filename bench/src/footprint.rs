//! `bench agent`: what the daemon takes when nothing happens, and how soon it serves after a crash.

use std::fs;

use anyhow::{Context, Result};
use clap::Args;

use crate::Options;
use crate::binaries::Binaries;
use crate::cluster::Cluster;
use crate::plugin::Pod;
use crate::report::{Label, Report};
use crate::rounds::{self, Plan, Visits};
use crate::stats::median;

/// What `bench agent` understands.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Pods of the node that has some.
    #[arg(long, default_value_t = 100)]
    pods: usize,
    /// Services that all nodes balance in the end.
    #[arg(long, default_value_t = 100)]
    services: usize,
}

/// Metrics of a visit.
const READY: usize = 0;
const MEMORY: usize = 1;

/// Two nodes, one without Pods and one with; the agent of each is killed and started in turn, then
/// with Services as well.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut report = arguments.options.report();
    let binaries = Binaries::find()?;
    sizes(&binaries, &mut report)?;
    let mut cluster = Cluster::start(2, &binaries)?;
    let pods = (0..arguments.pods)
        .map(|_| Pod::new())
        .collect::<Result<Vec<_>>>()?;
    let addresses: Vec<_> = pods
        .iter()
        .map(|pod| cluster.nodes[1].attach(pod))
        .collect::<Result<_>>()?;
    let plan = Plan {
        rounds: arguments.options.rounds(),
        visits: Visits::Sweeps(1),
    };
    let full = format!("{}-pods", pods.len());
    for services in [0, arguments.services] {
        cluster.publish(services, &addresses)?;
        let series = rounds::run(plan, 2, |i| {
            let node = &mut cluster.nodes[i];
            let ready = node.restart(&binaries)?.as_secs_f64() * 1e3;
            node.wait_until_settled(&binaries, services)?;
            Ok(vec![ready, resident(node.agent_pid()?)?])
        })?;
        let with = if services == 0 {
            String::new()
        } else {
            format!("-{services}-services")
        };
        let [idle, full] = ["idle", &full].map(|case| format!("{case}{with}"));
        report.note_noise(&format!("agent{with}"), &series);
        for (metric, name, unit) in [(READY, "ready", "ms"), (MEMORY, "rss", "MB")] {
            let [few, many] = [0, 1].map(|i| series.values(i, metric));
            report.add(label(&idle, name, unit).alone(median(&few), few.len()))?;
            report.add(label(&full, name, unit).beside(&many, &idle, &few))?;
        }
    }
    report.print_table();
    Ok(())
}

fn label(case: &str, metric: &'static str, unit: &'static str) -> Label {
    Label {
        bench: "agent",
        case: case.to_owned(),
        metric,
        unit,
    }
}

fn sizes(binaries: &Binaries, report: &mut Report) -> Result<()> {
    for name in ["seaway", "seaway-cni"] {
        let path = binaries.program(name)?;
        let bytes =
            fs::metadata(&path).with_context(|| format!("looking at {}", path.display()))?;
        let size = bytes.len() as f64 / 1e6;
        report.add(label(name, "size", "MB").alone(size, 1))?;
    }
    Ok(())
}

/// Megabytes of a process that are in memory.
pub(crate) fn resident(pid: u32) -> Result<f64> {
    memory(pid, "VmRSS:")
}

/// Megabytes of a process under a name of `/proc/PID/status`.
pub(crate) fn memory(pid: u32, name: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let kilobytes = kilobytes_of(&text, name).with_context(|| format!("{path} has no {name}"))?;
    Ok(kilobytes * 1024.0 / 1e6)
}

fn kilobytes_of(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read() {
        let read = |text| kilobytes_of(text, "VmRSS:");
        assert_eq!(read("Name:\ta\nVmRSS:\t    1234 kB\n"), Some(1234.0));
        assert_eq!(read("Name:\ta kernel thread\n"), None);
    }
}
