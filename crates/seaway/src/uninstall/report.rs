//! What became of each node and of the objects, for people and for machines.

use std::process::ExitCode;

use serde::Serialize;

use crate::inspect::Format;
use crate::table::{self, Tone};

/// What became of a node.
#[derive(Clone, Debug, Serialize)]
pub(super) struct NodeReport {
    pub(super) node: String,
    pub(super) clean: bool,
    /// What is wrong, or that nothing is.
    pub(super) message: String,
}

/// What became of all.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) dry_run: bool,
    pub(super) nodes: Vec<NodeReport>,
    /// Objects that were deleted, or would be.
    pub(super) deleted: Vec<String>,
    /// What is still there, and why if that is known.
    pub(super) left: Vec<String>,
}

impl Report {
    pub(super) fn dirty(&self) -> impl Iterator<Item = &NodeReport> {
        self.nodes.iter().filter(|node| !node.clean)
    }

    pub(super) fn code(&self) -> ExitCode {
        match self.dry_run || (self.left.is_empty() && self.dirty().next().is_none()) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }

    pub(super) fn print(&self, output: Format) -> anyhow::Result<()> {
        if output == Format::Json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        let rows = self.nodes.iter().map(|node| {
            let state = if node.clean { "clean" } else { "NOT CLEAN" };
            let tone = match node.clean || self.dry_run {
                true => Tone::Plain,
                false => Tone::Bad,
            };
            let state = if self.dry_run { "to clean" } else { state };
            (
                vec![node.node.clone(), state.to_owned(), node.message.clone()],
                tone,
            )
        });
        println!("{}", table::rows(&["NODE", "STATE", ""], rows));
        let what = if self.dry_run {
            "would delete"
        } else {
            "deleted"
        };
        for object in &self.deleted {
            println!("{what}  {object}");
        }
        for object in &self.left {
            println!("{}", table::paint(&format!("LEFT  {object}"), Tone::Bad));
        }
        if self.dirty().next().is_some() && !self.dry_run {
            println!(
                "On nodes that are not clean, as root and with no agent running: seaway uninstall --host --force"
            );
        }
        Ok(())
    }
}
