//! `lab check`: prints what the check found.

use std::collections::BTreeSet;
use std::process::ExitCode;

use comfy_table::{Cell, Color};
use seaway_model::Family;

use super::{CheckArgs, print, table};
use crate::check::{self, Exchange, Report, Row};
use crate::client::Client;
use crate::tool::{Output, ProbeKind};

/// How many failed exchanges are shown to people.
const SHOWN_FAILURES: usize = 20;

/// Checks the lab; the exit code tells whether every row is right.
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let report = check::run(&Client::of(&args.name.name)?, args.all_pairs)?;
    match args.output {
        Output::Json => print(&serde_json::to_string_pretty(&report)?)?,
        Output::Text => print(&text(&report))?,
    }
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The report for people.
pub(crate) fn text(report: &Report) -> String {
    let failures = failures(report).join("\n");
    let notes = report.notes.join("\n");
    let parts = [
        header(report),
        rows(report),
        failures,
        notes,
        summary(report),
    ];
    parts
        .iter()
        .filter(|part| !part.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// What was checked.
fn header(report: &Report) -> String {
    let mtu = report
        .pod_mtu
        .map_or(String::new(), |mtu| format!(", Pods' MTU {mtu}"));
    format!("{}{mtu}", report.network)
}

fn rows(report: &Report) -> String {
    let headers = [
        "PATH",
        "FAMILY",
        "PROTOCOL",
        "RESULT",
        "FOR EXAMPLE",
        "SERVER SAW",
        "LATENCY",
    ];
    let mut table = table::new(&headers);
    for row in &report.rows {
        table.add_row(line(row));
    }
    table::text(&mut table)
}

fn line(row: &Row) -> [Cell; 7] {
    let example = row.example();
    let way = match (example, &row.not_tried) {
        (Some(e), _) => format!("{} -> {}", e.from, e.to),
        (None, Some(why)) => why.clone(),
        (None, None) => String::new(),
    };
    let latency = row.latency_us.map_or("-".to_owned(), milliseconds);
    [
        Cell::new(row.path.label()),
        Cell::new(row.family),
        Cell::new(protocol(row)),
        result(row),
        Cell::new(way),
        Cell::new(seen(example)),
        Cell::new(latency),
    ]
}

fn result(row: &Row) -> Cell {
    let total = row.exchanges.len();
    if row.not_tried.is_some() && total == 0 {
        return Cell::new("not tried").fg(Color::Yellow);
    }
    match row.failed() {
        0 => Cell::new(format!("ok {total}/{total}")).fg(Color::Green),
        failed => Cell::new(format!("FAILED {failed}/{total}")).fg(Color::Red),
    }
}

fn seen(example: Option<&Exchange>) -> String {
    let Some((example, seen)) = example.and_then(|e| Some((e, e.seen?))) else {
        return "-".to_owned();
    };
    let own = example.own_address == Some(true);
    match (example.expected.contains(&seen), own) {
        (true, true) => format!("{seen}, its own"),
        (true, false) => format!("{seen}, the node's"),
        (false, true) => format!("{seen}, its own, NOT the node's"),
        (false, false) => format!("{seen}, NOT its own"),
    }
}

/// What went wrong, a line each, then where to look, each place once.
fn failures(report: &Report) -> Vec<String> {
    let all = report
        .rows
        .iter()
        .flat_map(|row| row.exchanges.iter().map(move |e| (row, e)));
    let failed: Vec<_> = all.filter(|(_, exchange)| !exchange.ok).collect();
    let mut lines: Vec<String> = failed
        .iter()
        .take(SHOWN_FAILURES)
        .map(|(row, exchange)| failure(row, exchange))
        .collect();
    if failed.len() > SHOWN_FAILURES {
        let rest = failed.len() - SHOWN_FAILURES;
        lines.push(format!("... and {rest} more exchanges; -o json shows all"));
    }
    let hints: BTreeSet<_> = failed
        .iter()
        .filter_map(|(_, exchange)| exchange.hint.as_deref())
        .collect();
    lines.extend(hints.into_iter().map(|hint| format!("hint: {hint}")));
    lines
}

fn failure(row: &Row, exchange: &Exchange) -> String {
    let Exchange {
        from,
        to,
        target,
        error,
        ..
    } = exchange;
    let error = error.as_deref().unwrap_or_default();
    format!(
        "FAILED {} {}: {from} -> {to} ({target}): {error}",
        row.family,
        protocol(row)
    )
}

fn summary(report: &Report) -> String {
    let failed = report.rows.iter().filter(|row| !row.ok).count();
    let is_tried = |row: &&Row| !row.exchanges.is_empty();
    let tried = report.rows.iter().filter(is_tried).count();
    let rest = match report.rows.len() - tried {
        0 => String::new(),
        rest => format!(", {rest} not tried"),
    };
    match failed {
        0 => format!("all {tried} rows ok{rest}"),
        _ => format!("{failed} of {tried} rows FAILED{rest}"),
    }
}

fn protocol(row: &Row) -> &'static str {
    let family = row.family;
    match row.protocol {
        ProbeKind::Http => "HTTP",
        ProbeKind::Tcp => "TCP",
        ProbeKind::Udp => "UDP",
        ProbeKind::TcpBulk => "TCP, 4 MiB",
        ProbeKind::UdpMtu => "UDP, full packet",
        ProbeKind::UdpFragmented => "UDP, in fragments",
        ProbeKind::Sctp => "SCTP",
        ProbeKind::TcpMany => "TCP, many",
        ProbeKind::UdpMany => "UDP, many",
        ProbeKind::Lookup => match family {
            Family::V4 => "DNS, A",
            Family::V6 => "DNS, AAAA",
        },
        ProbeKind::Srv => "DNS, SRV",
    }
}

fn milliseconds(us: u64) -> String {
    format!("{}.{:02} ms", us / 1000, us % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Path;
    use crate::check::samples::{case, empty, good, of_a_cluster};
    use crate::tool::ProbeOutcome;

    #[test]
    fn good_rows_are_one_line_each() {
        let mut report = empty();
        for family in Family::ALL {
            let case = case(Path::PodToPodOtherNode, family, ProbeKind::UdpMtu);
            report.add(&case, &good(&case));
        }
        report.add_plain(&case(Path::DeletedPod, Family::V4, ProbeKind::Tcp), Ok(()));
        let expected = "\
wiring routed, transport auto, underlay flat of MTU 1500, IPv4 and IPv6, Pods' MTU 1450

PATH                             FAMILY  PROTOCOL          RESULT  FOR EXAMPLE         SERVER SAW                 LATENCY
Pod -> Pod, other node           IPv4    UDP, full packet  ok 1/1  pod-1-1 -> pod-2-1  10.244.1.2, its own        0.12 ms
Pod -> Pod, other node           IPv6    UDP, full packet  ok 1/1  pod-1-1 -> pod-2-1  fd00:10:244:1::2, its own  0.12 ms
deleted Pod: address free again  IPv4    TCP               ok 1/1  pod-1-1 -> pod-2-1  -                          -

all 3 rows ok";
        assert_eq!(text(&report), expected);
    }

    #[test]
    fn failed_rows_say_what_and_where_to_look() {
        let mut report = empty();
        let case = case(Path::PodToPodOtherNode, Family::V4, ProbeKind::Udp);
        report.add(&case, &good(&case));
        report.add(
            &case,
            &ProbeOutcome::bad(None, "no answer within 1000 ms".into()),
        );
        let expected = "\
wiring routed, transport auto, underlay flat of MTU 1500, IPv4 and IPv6, Pods' MTU 1450

PATH                    FAMILY  PROTOCOL  RESULT      FOR EXAMPLE         SERVER SAW  LATENCY
Pod -> Pod, other node  IPv4    UDP       FAILED 1/2  pod-1-1 -> pod-2-1  -           0.12 ms

FAILED IPv4 UDP: pod-1-1 -> pod-2-1 (10.244.2.2:7777): no answer within 1000 ms
hint: look for rows that are not as planned: `seaway lab exec --name seaway node1 -- seaway tables`, and at /run/seaway-lab/seaway/logs/node1-agent.log

1 of 1 rows FAILED";
        assert_eq!(text(&report), expected);
    }

    #[test]
    fn what_cannot_be_tried_in_a_cluster_is_said() {
        let mut report = of_a_cluster();
        let good_one = case(Path::PodToPodSameNode, Family::V4, ProbeKind::Tcp);
        report.add(&good_one, &good(&good_one));
        let beyond = case(Path::PodToOutside, Family::V4, ProbeKind::Tcp);
        report.add_untried(&beyond, "no host outside of the cluster");
        let expected = "\
https://192.0.2.1:6443/, IPv4 and IPv6, nodes n1 (pod-1-1, pod-1-2), Pods' MTU 1450

PATH                   FAMILY  PROTOCOL  RESULT     FOR EXAMPLE                     SERVER SAW           LATENCY
Pod -> Pod, same node  IPv4    TCP       ok 1/1     pod-1-1 -> pod-2-1              10.244.1.2, its own  0.12 ms
Pod -> outside         IPv4    TCP       not tried  no host outside of the cluster  -                    -

all 1 rows ok, 1 not tried";
        assert_eq!(text(&report), expected);
        assert!(report.is_ok());
    }
}
