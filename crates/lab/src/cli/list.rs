//! `lab list`: the labs of this machine, live and dead.

use std::time::Duration;

use serde::Serialize;

use super::table;
use crate::client::Client;
use crate::state::{self, StateDir};
use crate::tool::Output;
use crate::topology::Network;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    name: String,
    state: State,
    nodes: usize,
    pods: Option<usize>,
    network: Option<Network>,
    age_seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Up,
    /// The supervisor lives but does not answer: it is starting, ending, or hung.
    Busy,
    /// Only files are left.
    Dead,
}

/// The list as text.
pub(super) fn run(output: Output) -> anyhow::Result<String> {
    let rows: Vec<Row> = state::all()?.iter().map(row).collect();
    match output {
        Output::Json => Ok(serde_json::to_string_pretty(&rows)?),
        Output::Text if rows.is_empty() => Ok("no labs; `seaway lab up` makes one".to_owned()),
        Output::Text => Ok(text(&rows)),
    }
}

fn row(lab: &StateDir) -> Row {
    let record = lab.record();
    let status = Client::of(lab.name()).and_then(|client| client.status());
    let state = match &status {
        Ok(_) => State::Up,
        Err(_) if lab.is_alive() => State::Busy,
        Err(_) => State::Dead,
    };
    let recorded = record
        .as_ref()
        .map_or(0, |record| usize::from(record.nodes));
    Row {
        name: lab.name().to_string(),
        state,
        nodes: status
            .as_ref()
            .map_or(recorded, |status| status.nodes.len()),
        pods: status.as_ref().ok().map(|status| status.pods.len()),
        network: record.as_ref().map(|record| record.network),
        age_seconds: record.map(|record| record.age().as_secs()),
    }
}

fn text(rows: &[Row]) -> String {
    let mut table = table::new(&["NAME", "STATE", "NODES", "PODS", "AGE", "NETWORK"]);
    for row in rows {
        let state = match row.state {
            State::Up => "up",
            State::Busy => "busy (starting or ending, or hung)",
            State::Dead => "dead (remove it with `seaway lab down`)",
        };
        let pods = row.pods.map_or("-".to_owned(), |pods| pods.to_string());
        let age = row
            .age_seconds
            .map_or("-".to_owned(), |s| short(Duration::from_secs(s)));
        table.add_row([
            row.name.clone(),
            state.to_owned(),
            row.nodes.to_string(),
            pods,
            age,
            row.network.map_or("-".to_owned(), |n| n.to_string()),
        ]);
    }
    table::text(&mut table)
}

/// An age as kubectl writes it.
fn short(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labs_are_listed_live_and_dead() {
        let row = |name: &str, state, pods, age| Row {
            name: name.to_owned(),
            state,
            nodes: 2,
            pods,
            network: pods.map(|_| Network::default()),
            age_seconds: age,
        };
        let rows = [
            row("one", State::Up, Some(4), Some(200)),
            row("two", State::Dead, None, None),
        ];
        assert_eq!(
            text(&rows),
            "NAME  STATE                                    NODES  PODS  AGE  NETWORK\n\
             one   up                                       2      4     3m   wiring routed, \
             transport auto, underlay flat of MTU 1500, IPv4 and IPv6\n\
             two   dead (remove it with `seaway lab down`)  2      -     -    -"
        );
    }

    #[test]
    fn ages_are_short() {
        let ages = [5, 119, 120, 7199, 7200, 172_800].map(|s| short(Duration::from_secs(s)));
        assert_eq!(ages, ["5s", "119s", "2m", "119m", "2h", "2d"]);
    }
}
