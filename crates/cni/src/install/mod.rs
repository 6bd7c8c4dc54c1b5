//! Getting onto a node and off it again: the plugin, and the configuration that names it.
//!
//! Planned from what is in the folders (`look`, `Found::install`, `Found::uninstall`), then done
//! step by step without a decision (`perform`). The plugin binary uses nothing of this.
//!
//! State outside the process, in the runtime's two folders:
//! - `seaway-cni`, the plugin, and `05-seaway.conflist`. Each appears whole: written aside, synced,
//!   renamed; a plugin that is running goes on with the file that it started from.
//! - `<name>.seaway-saved`: another network's configuration that was put aside on request. Runtimes
//!   do not look at files of that name.
//! - `.<name>.<token>.seaway-draft`: not finished. Whoever writes it holds a lock on it; the next
//!   one to install or uninstall removes those that nobody holds.

mod conflist;
mod error;
mod plan;
mod steps;
mod survey;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

pub use conflist::Conflist;
pub use error::InstallError;
pub use plan::{Kept, Removal, Wanted};
pub use steps::{Change, Step, perform};
pub use survey::{Found, Other, look};

/// The plugin's name, which configurations call it by.
pub const PLUGIN: &str = "seaway-cni";
/// The name of Seaway's configuration: before those that other networks use.
pub const CONFLIST: &str = "05-seaway.conflist";

const SAVED: &str = ".seaway-saved";
const DRAFT: &str = ".seaway-draft";

/// The folders of a node's container runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Where it looks for plugins; without it, only configurations are looked at.
    pub bin_dir: Option<PathBuf>,
    /// Where it looks for configurations.
    pub conf_dir: PathBuf,
}

impl Places {
    /// Where the plugin is.
    pub fn plugin(&self) -> Option<PathBuf> {
        Some(self.bin_dir.as_ref()?.join(PLUGIN))
    }

    /// Where the configuration is.
    pub fn conflist(&self) -> PathBuf {
        self.conf_dir.join(CONFLIST)
    }
}

/// How often somebody else may take a file away that was just seen.
const TRIES: usize = 5;

/// Makes the folders what they are to be, and says what has changed.
///
/// # Errors
///
/// A file or folder cannot be read or written. What was there before is in place, or what is to be.
pub fn install(places: &Places, wanted: &Wanted) -> Result<Vec<Change>, InstallError> {
    let mut changes = Vec::new();
    for _ in 1..TRIES {
        match perform(&look(places)?.install(wanted, &token()), &mut changes) {
            // Another one who installs at this moment.
            Err(error) if error.is_vanished() => {}
            result => return result.map(|()| changes),
        }
    }
    perform(&look(places)?.install(wanted, &token()), &mut changes)?;
    Ok(changes)
}

/// Process ids alone repeat: in containers all are 1.
fn token() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanoseconds = now.unwrap_or_default().as_nanos();
    format!("{}-{nanoseconds}", std::process::id())
}
