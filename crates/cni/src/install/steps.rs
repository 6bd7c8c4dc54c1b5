//! Steps, and doing them. After each one, every name is what it was or what it is to be, also when
//! the process or the machine dies there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::{InstallError, during};

/// One change of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Remove what somebody did not finish, unless somebody is at it.
    Sweep(PathBuf),
    /// Make a folder, and those that it is in.
    MakeFolder(PathBuf),
    /// Write a file aside.
    Draft {
        /// Where.
        path: PathBuf,
        /// Its content.
        bytes: Vec<u8>,
        /// Its permissions.
        mode: u32,
    },
    /// Give a draft its name.
    Finish {
        /// Where it was written.
        draft: PathBuf,
        /// Its name.
        path: PathBuf,
    },
    /// Put another network's configuration aside.
    PutAside {
        /// Where it is.
        from: PathBuf,
        /// Where to.
        to: PathBuf,
    },
    /// Give it back, if nobody has taken its place.
    GiveBack {
        /// Where it is.
        from: PathBuf,
        /// Where to.
        to: PathBuf,
    },
    /// Remove a file.
    Remove(PathBuf),
}

/// What has changed on the node, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What was done: `made`, `wrote`, `put aside`, `gave back`, `removed`.
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Where it is now, if elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<PathBuf>,
}

/// Does the steps, and adds what has changed. It stops at the first that fails.
pub fn perform(steps: &[Step], changes: &mut Vec<Change>) -> Result<(), InstallError> {
    let mut hands = Hands::default();
    for step in steps {
        changes.extend(hands.perform(step)?);
    }
    Ok(())
}

/// Drafts that are being worked on; nobody else sweeps them.
#[derive(Default)]
struct Hands(Vec<File>);

impl Hands {
    fn perform(&mut self, step: &Step) -> Result<Option<Change>, InstallError> {
        match step {
            Step::Sweep(path) => sweep(path),
            Step::MakeFolder(path) => make_folder(path).map(|()| change("made", path)),
            Step::Draft { path, bytes, mode } => {
                let draft = draft(path, bytes, *mode).inspect_err(|_| {
                    // The room that it takes may be what is missing.
                    let _ = fs::remove_file(path);
                });
                self.0.push(draft?);
                Ok(None)
            }
            Step::Finish { draft, path } => {
                during("replace", path, fs::rename(draft, path))?;
                sync_folder_of(path).map(|()| change("wrote", path))
            }
            Step::PutAside { from, to } => {
                during("put aside", from, fs::rename(from, to))?;
                sync_folder_of(to).map(|()| moved("put aside", from, to))
            }
            Step::GiveBack { from, to } => give_back(from, to),
            Step::Remove(path) => {
                remove(path)?;
                sync_folder_of(path).map(|()| change("removed", path))
            }
        }
    }
}

fn change(what: &'static str, path: &Path) -> Option<Change> {
    Some(Change {
        what,
        path: path.to_owned(),
        to: None,
    })
}

fn moved(what: &'static str, from: &Path, to: &Path) -> Option<Change> {
    Some(Change {
        what,
        path: from.to_owned(),
        to: Some(to.to_owned()),
    })
}

fn sweep(path: &Path) -> Result<Option<Change>, InstallError> {
    match File::open(path).map(|file| file.try_lock()) {
        Ok(Err(_)) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        _ => {
            remove(path)?;
            Ok(change("removed", path))
        }
    }
}

fn make_folder(path: &Path) -> Result<(), InstallError> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o755).create(path);
    during("make folder", path, made)?;
    sync_folder_of(path)
}

/// Writes a file that is not there and gives a lock on it. Nobody can start a program that is open
/// for writing, so it no longer is.
fn draft(path: &Path, bytes: &[u8], mode: u32) -> Result<File, InstallError> {
    let write = || -> io::Result<File> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
        let lock = File::open(path)?;
        // Nobody else knows it, or has just swept it: then giving it its name fails.
        let _ = lock.try_lock();
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        Ok(lock)
    };
    during("write", path, write())
}

/// A link fails where a renaming would overwrite. Dying in between leaves the file under both
/// names, which the next one recognises.
fn give_back(from: &Path, to: &Path) -> Result<Option<Change>, InstallError> {
    during("give back", to, fs::hard_link(from, to))?;
    sync_folder_of(to)?;
    remove(from)?;
    sync_folder_of(from)?;
    Ok(moved("gave back", from, to))
}

fn remove(path: &Path) -> Result<(), InstallError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => during("remove", path, removed),
    }
}

fn sync_folder_of(path: &Path) -> Result<(), InstallError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    during("sync", folder, synced)
}
