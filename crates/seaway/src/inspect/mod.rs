//! `seaway status` and `seaway tables`: asking the agent of this node, and showing its answer.

mod network;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use seaway_cni::request::{Reply, Request, RowsRequest};
use seaway_cni::wire::{Connection, Deadline};
use serde_json::Value;

use crate::table::{self, Tone};

const LIMIT: Duration = Duration::from_secs(10);

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    Table,
    /// One JSON object.
    Json,
}

/// Which agent, and how to print.
#[derive(Args)]
pub(crate) struct InspectArgs {
    /// The agent's socket.
    #[arg(long, default_value = seaway_cni::DEFAULT_SOCKET)]
    socket: PathBuf,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,
}

/// Which rows.
#[derive(Args)]
pub(crate) struct TablesArgs {
    #[command(flatten)]
    inspect: InspectArgs,
    /// Only this table, for example routes, frontends or host-ports.
    table: Option<String>,
    /// Only rows in which this is written, for example an address.
    #[arg(short, long, value_name = "TEXT")]
    containing: Option<String>,
    /// No more rows than this.
    #[arg(short = 'n', long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Only rows that are not as planned.
    #[arg(long)]
    drift: bool,
}

impl InspectArgs {
    /// Whether an agent has been here.
    pub(crate) fn has_socket(&self) -> bool {
        self.socket.exists()
    }
}

pub(crate) fn ask(args: &InspectArgs, request: &Request) -> anyhow::Result<Value> {
    let reply: Reply = Connection::open(&args.socket, Deadline::after(LIMIT))
        .and_then(|mut connection| connection.exchange(request, None))
        .with_context(|| {
            format!(
                "ask the agent at {}; is `seaway agent` running on this node \
                 (in a lab: `seaway lab exec NODE -- seaway status`)?",
                args.socket.display()
            )
        })?;
    match reply {
        Reply::Ok(value) => Ok(value),
        Reply::Error(error) => bail!("the agent answered: {}", error.msg),
    }
}

pub(crate) fn status(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let status = ask(args, &Request::Status)?;
    let ready = status["ready"] == true;
    if args.output == Format::Json {
        println!("{status}");
    } else {
        print_status(&status, ready);
    }
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print_status(status: &Value, ready: bool) {
    let tone = if ready { Tone::Good } else { Tone::Bad };
    let state = if ready {
        "ready".to_owned()
    } else {
        format!("not ready: {}", text(&status["reason"]))
    };
    let mut facts = vec![
        ("Node", text(&status["node"]), Tone::Plain),
        (
            "Agent",
            format!("seaway {}", text(&status["version"])),
            Tone::Plain,
        ),
        ("State", state, tone),
        uplink(status),
    ];
    for pool in list(&status["pod_cidrs"]) {
        let use_ = format!(
            "{}  {} of {} held",
            text(&pool["cidr"]),
            pool["held"],
            pool["usable"]
        );
        facts.push(("Pod CIDR", use_, Tone::Plain));
    }
    facts.push(("Peers", status["peers"].to_string(), Tone::Plain));
    facts.extend(network::facts(&status["network"]));
    facts.push(network::services(&status["services"]));
    facts.push(rows(status));
    facts.push(("Source", text(&status["source"]), Tone::Plain));
    if let Some(problem) = status["source_problem"].as_str() {
        let seconds = status["source_problem_seconds"].as_u64();
        let line = format!("{problem} (for {})", period(seconds.unwrap_or_default()));
        facts.push(("Problem", line, Tone::Bad));
    }
    if let Some(problem) = status["node_problem"].as_str() {
        facts.push(("Problem", problem.to_owned(), Tone::Warn));
    }
    facts.extend(complaints(status));
    facts.extend(network::events(&status["events"]));
    println!("{}", table::facts(&facts));
    let attachments = list(&status["attachments"]);
    if attachments.is_empty() {
        println!("No Pods are attached.");
        return;
    }
    let line = |a: &Value| {
        let addresses: Vec<String> = list(&a["addresses"]).iter().map(text).collect();
        let container = text(&a["container_id"]).chars().take(12).collect();
        vec![
            text(&a["pod"]),
            text(&a["interface"]),
            addresses.join(" "),
            extras(&a["extras"]),
            text(&a["host_link"]),
            container,
        ]
    };
    let header = [
        "POD",
        "INTERFACE",
        "ADDRESSES",
        "EXTRAS",
        "HOST LINK",
        "CONTAINER",
    ];
    let lines = attachments.iter().map(|a| (line(a), Tone::Plain));
    println!("{}", table::rows(&header, lines));
}

/// Rows that are not in force, and what is wrong with the cluster's objects.
fn complaints(status: &Value) -> Vec<(&'static str, String, Tone)> {
    let mut facts = Vec::new();
    for failure in list(&status["failures"]) {
        let line = format!(
            "{} {}: {}",
            text(&failure["table"]),
            text(&failure["key"]),
            text(&failure["error"])
        );
        facts.push(("Not in force", line, Tone::Bad));
    }
    for finding in list(&status["findings"]) {
        let line = format!(
            "{} {}: {}",
            text(&finding["object"]),
            text(&finding["field"]),
            text(&finding["message"])
        );
        facts.push(("Finding", line, Tone::Warn));
    }
    facts
}

/// Ports of the node that lead to a Pod, and limits of its rate.
fn extras(extras: &Value) -> String {
    let port = |port: &Value| {
        let (host, pod) = (&port["host_port"], &port["container_port"]);
        format!("{host}->{pod}/{}", text(&port["protocol"]))
    };
    let mut words: Vec<String> = list(&extras["ports"]).iter().map(port).collect();
    for (name, key) in [("in", "ingress"), ("out", "egress")] {
        if let Some(rate) = extras[key]["rate"].as_u64() {
            words.push(format!("{name} {rate} bit/s"));
        }
    }
    match words.is_empty() {
        true => "-".to_owned(),
        false => words.join(" "),
    }
}

/// A number of seconds as people say it.
fn period(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

fn uplink(status: &Value) -> (&'static str, String, Tone) {
    let uplink = &status["uplink"];
    if uplink.is_null() {
        return ("Uplink", text(&status["uplink_problem"]), Tone::Bad);
    }
    let addresses: Vec<String> = list(&uplink["addresses"]).iter().map(text).collect();
    let line = format!(
        "{}  {}  mtu {} bytes  (by {})",
        text(&uplink["name"]),
        addresses.join(" "),
        uplink["mtu"],
        text(&uplink["rule"])
    );
    ("Uplink", line, Tone::Plain)
}

fn rows(status: &Value) -> (&'static str, String, Tone) {
    let drifted = status["drifted"].as_u64().unwrap_or_default();
    let tone = if drifted == 0 { Tone::Good } else { Tone::Bad };
    let seen = match status["drift_seconds_ago"].as_u64() {
        None | Some(0) => String::new(),
        Some(ago) => format!(" {} ago", period(ago)),
    };
    let line = format!(
        "{} planned, {drifted} drifted{seen}, {} repaired since the start, {} links dying",
        status["rows"], status["repairs"], status["dying"]
    );
    ("Rows", line, tone)
}

pub(crate) fn tables(args: &TablesArgs) -> anyhow::Result<ExitCode> {
    if let Some(table) = &args.table {
        let known = seaway_plan::Tables::NAMES;
        anyhow::ensure!(
            known.contains(&table.as_str()),
            "there is no table {table}; there are {}",
            known.join(", ")
        );
    }
    let request = RowsRequest {
        table: args.table.clone(),
        drift: args.drift,
        containing: args.containing.clone(),
        limit: args.limit,
    };
    let report = ask(&args.inspect, &Request::Rows(request))?;
    if args.inspect.output == Format::Json {
        println!("{report}");
        return Ok(ExitCode::SUCCESS);
    }
    let rows = list(&report["rows"]);
    let line = |row: &Value| {
        let (planned, observed) = (text(&row["planned"]), text(&row["observed"]));
        let (state, tone) = match row["state"].as_str() {
            Some("in-force") => ("in force", Tone::Good),
            Some("missing") => ("MISSING", Tone::Bad),
            Some("differs") => ("DIFFERS", Tone::Bad),
            _ => ("UNPLANNED", Tone::Warn),
        };
        let observed = if planned == observed {
            "=".to_owned()
        } else {
            observed
        };
        (
            vec![text(&row["table"]), planned, observed, state.to_owned()],
            tone,
        )
    };
    println!(
        "{}",
        table::rows(
            &["TABLE", "PLANNED", "OBSERVED", "STATE"],
            rows.iter().map(line)
        )
    );
    let left_out = report["left_out"].as_u64().unwrap_or_default();
    if left_out > 0 {
        println!("and {left_out} more: name a table, or what is written in it (--containing)");
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
