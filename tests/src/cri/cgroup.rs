//! The control group that everything of a test's containers is in, so that nothing of it stays.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use seaway_testkit::eventually;

use crate::agent::LIMIT;

const ROOT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "seaway-test-";

/// A group of its own, in every hierarchy that the runtimes use.
#[derive(Debug)]
pub(super) struct Cgroup {
    name: String,
}

impl Cgroup {
    /// A name that nobody has; what tests left that were killed is removed.
    pub(super) fn new() -> Cgroup {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        for stale in groups(|name| owner(name).is_some_and(is_dead)) {
            let _ = remove(&stale);
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Cgroup {
            name: format!("{PREFIX}{}-{count}", std::process::id()),
        }
    }

    /// As runtimes are told it.
    pub(super) fn path(&self) -> String {
        format!("/{}", self.name)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let clear = || {
            let mut own = groups(|name| name == self.name).into_iter();
            own.try_for_each(|group| remove(&group))
        };
        match std::thread::panicking() {
            true => drop(clear()),
            false => eventually("the control groups are empty", LIMIT, clear),
        }
    }
}

/// Groups right below the root of a hierarchy: of the only one, or of each.
fn groups(wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let roots = folders(Path::new(ROOT)).into_iter();
    let roots = roots.chain([PathBuf::from(ROOT)]);
    let mut found: Vec<PathBuf> = roots.flat_map(|root| folders(&root)).collect();
    found.retain(|group| {
        group
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(&wanted)
    });
    found
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

/// A group goes when those in it are gone.
fn remove(group: &Path) -> io::Result<()> {
    folders(group).iter().try_for_each(|inner| remove(inner))?;
    match fs::remove_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

fn is_dead(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}
