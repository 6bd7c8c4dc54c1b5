//! A client that keeps asking while something happens, in a process of its own inside a source's
//! namespaces; and whether all that it asked was answered.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use super::super::cases::Case;
use crate::client::Client;
use crate::error::{Context, LabError};
use crate::node_files::program;
use crate::tool::{LoadReport, ProbeKind};

/// Time from one request to the next.
const INTERVAL_MS: &str = "20";

/// A client that asks.
pub(super) struct Load(Child);

impl Load {
    /// Begins to ask as a case says.
    pub(super) fn begin(client: &Client, case: &Case) -> Result<Load, LabError> {
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
        let child = namespaces.run(|| command.spawn())?.on("start", &path)?;
        Ok(Load(child))
    }

    /// Ends it, and gives what came of it.
    pub(super) fn end(mut self) -> Result<LoadReport, String> {
        // The end of its input tells it.
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().map_err(|e| e.to_string())?;
        serde_json::from_slice(&output.stdout)
            .map_err(|e| format!("the load's report is not understood: {e}"))
    }
}

/// Everything must have been answered, by old servers and by new ones.
pub(super) fn judge(report: &LoadReport, old: &BTreeSet<String>) -> Result<(), String> {
    if report.failed > 0 {
        let errors: Vec<_> = report
            .errors
            .iter()
            .map(|(error, count)| format!("{count} times {error}"))
            .collect();
        let errors = errors.join("; ");
        let LoadReport { asked, failed, .. } = report;
        return Err(format!("{failed} of {asked} requests failed: {errors}"));
    }
    let is_old = |server: &&String| old.contains(*server);
    let by_old = report.servers.keys().filter(is_old).count();
    match (by_old, report.servers.len() - by_old) {
        (0, _) => Err("no request was answered before the Pods were replaced".to_owned()),
        (_, 0) => Err("no request was answered by a new Pod".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_change_is_good_if_nobody_noticed_it_and_it_happened() {
        let old = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let by = |servers: &[&str]| LoadReport {
            asked: 9,
            answered: 9,
            servers: servers.iter().map(|s| ((*s).to_owned(), 3)).collect(),
            ..LoadReport::default()
        };
        assert_eq!(judge(&by(&["a", "c"]), &old), Ok(()));
        assert!(judge(&by(&["a", "b"]), &old).is_err());
        assert!(judge(&by(&["c"]), &old).is_err());
        assert!(judge(&by(&[]), &old).is_err());
        let bad = LoadReport {
            failed: 1,
            errors: BTreeMap::from([("connect: refused".to_owned(), 1)]),
            ..by(&["a", "c"])
        };
        assert_eq!(
            judge(&bad, &old),
            Err("1 of 9 requests failed: 1 times connect: refused".into())
        );
    }
}
