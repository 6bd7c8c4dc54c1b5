//! `seaway uninstall --host`: everything of Seaway taken off this node, and what was there before
//! given back. One step that fails does not keep the others from being done.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use seaway_agent::{Cleaner, CleanupConfig, CleanupReport};
use seaway_cni::install::{Change, Kept, Step, look, perform};
use serde_json::json;

use crate::agent::{PlaceArgs, UplinkArgs};
use crate::cleanup;
use crate::inspect::Format;
use crate::install_host::{FolderArgs, print_changes};

/// What to take off this node.
#[derive(Args)]
pub(super) struct UninstallHostArgs {
    /// Uninstall from this node, not from the cluster; no agent may be running.
    #[arg(long)]
    pub(super) host: bool,
    #[command(flatten)]
    folders: FolderArgs,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    uplink: UplinkArgs,
    /// Cut live Pods off, too.
    #[arg(long, requires = "host")]
    force: bool,
}

/// What was done.
#[derive(Default)]
struct Outcome {
    changes: Vec<Change>,
    cleanup: CleanupReport,
    kept: Vec<Kept>,
    problems: Vec<String>,
}

pub(super) fn run(args: UninstallHostArgs, output: Format) -> anyhow::Result<ExitCode> {
    args.place.open_settings()?;
    let places = args.folders.places();
    let config = CleanupConfig {
        socket: args.place.socket(),
        state_dir: args.place.state_dir,
        uplink: args.uplink.rule()?,
        force: args.force,
    };
    // Both before anything is changed: there may be a reason not to.
    let cleaner = Cleaner::open(&config).context("uninstall")?;
    let removal = look(&places)?.uninstall();
    let mut outcome = Outcome {
        kept: removal.kept,
        ..Outcome::default()
    };
    // The runtime stops calling first; Pods that it still knows can be deleted to the end.
    outcome.perform(&removal.configuration);
    match cleaner.clean() {
        Ok(report) => outcome.cleanup = report,
        Err(error) => outcome.problems.push(error.to_string()),
    }
    outcome.perform(&removal.plugin);
    outcome.print(output);
    Ok(outcome.code())
}

impl Outcome {
    fn perform(&mut self, steps: &[Step]) {
        for step in steps {
            let done = perform(std::slice::from_ref(step), &mut self.changes);
            self.problems
                .extend(done.err().map(|error| error.to_string()));
        }
    }

    fn print(&self, output: Format) {
        let Outcome {
            changes,
            cleanup,
            kept,
            problems,
        } = self;
        if output == Format::Json {
            let report =
                json!({"changes": changes, "cleanup": cleanup, "kept": kept, "problems": problems});
            return println!("{report}");
        }
        if !changes.is_empty() {
            print_changes(changes);
        }
        cleanup::print(cleanup);
        for kept in kept {
            let (saved, newer) = (kept.saved.display(), kept.newer.display());
            println!("KEPT  {saved}: there is a newer {newer}; remove one of the two");
        }
        for problem in problems {
            println!("NOT REMOVED  {problem}");
        }
    }

    fn code(&self) -> ExitCode {
        match self.problems.is_empty() && self.cleanup.failures.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}
