//! Clients that keep asking while something happens, each in a process of its own inside a source's
//! namespaces.

use std::process::{Child, Command, Stdio};

use super::super::cases::Case;
use super::super::hands::Loads;
use crate::client::Client;
use crate::error::{Context, LabError};
use crate::node_files::program;
use crate::tool::{LoadReport, ProbeKind};

/// Time from one request to the next.
const INTERVAL_MS: &str = "20";

/// The clients, as far as they could be started.
pub(super) struct Processes(Vec<Result<Child, LabError>>);

impl Processes {
    /// Begins to ask as the cases say.
    pub(super) fn begin(client: &Client, cases: &[Case]) -> Processes {
        Processes(cases.iter().map(|case| begin(client, case)).collect())
    }
}

fn begin(client: &Client, case: &Case) -> Result<Child, LabError> {
    let path = program("seaway");
    let mut command = Command::new(&path);
    let kind = match case.kind {
        ProbeKind::Udp => "udp",
        _ => "tcp",
    };
    command
        .args(["tool", "load", &case.target.to_string(), "--kind", kind])
        .args(["--interval-ms", INTERVAL_MS, "--until-stdin-closes"])
        .args(["--output", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let namespaces = client.enter(&case.from)?;
    namespaces.run(|| command.spawn())?.on("start", &path)
}

impl Loads for Processes {
    fn end(self: Box<Self>) -> Vec<Result<LoadReport, String>> {
        let processes = self.0.into_iter();
        processes
            .map(|process| end(process.map_err(|e| e.to_string())?))
            .collect()
    }
}

fn end(mut process: Child) -> Result<LoadReport, String> {
    // The end of its input tells it.
    drop(process.stdin.take());
    let output = process.wait_with_output().map_err(|e| e.to_string())?;
    serde_json::from_slice(&output.stdout)
        .map_err(|e| format!("the load's report is not understood: {e}"))
}
