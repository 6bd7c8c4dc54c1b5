//! What the figures were measured on, in a few lines: they mean little without.

use std::fs;

use crate::pressure;

/// The machine, for people.
pub(crate) fn describe() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mut lines = vec![format!(
        "Linux {}, {cpus} x {}, load {}",
        kernel.trim(),
        cpu_model(&read("/proc/cpuinfo")),
        load.split_whitespace()
            .take(3)
            .collect::<Vec<_>>()
            .join(" ")
    )];
    if !pressure::is_known() {
        lines.push(
            "no /proc/pressure/cpu here: noisy rounds cannot be told and are kept".to_owned(),
        );
    }
    lines
}

fn cpu_model(cpuinfo: &str) -> &str {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map_or("CPU of unknown model", |(_, name)| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_model_is_found_where_it_is_told() {
        assert_eq!(
            cpu_model("processor : 0\nmodel name\t: Fast One\n"),
            "Fast One"
        );
        assert_eq!(cpu_model(""), "CPU of unknown model");
    }
}
