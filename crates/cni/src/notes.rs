//! Notes of deletions that the agent did not hear of.
//!
//! State outside the process: the folder `deleted` beside the agent's socket (in tmpfs, mode 0700,
//! made by whoever comes first). The plugin writes one file for each DEL that met no agent, named
//! as the host side of the attachment's link, content `{"containerID", "ifname", "network"}`. The
//! agent reads them when it starts, frees what they name and removes them; an ADD of the same
//! attachment removes its note. A note appears whole or not at all (written aside, then renamed);
//! files whose name begins with a dot are unfinished. Notes are optional: what they name would be
//! freed by GC all the same, and a reboot loses them together with the links.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use seaway_model::{AttachmentId, ContainerId, IfName, NetworkName, host_link_name};
use serde::{Deserialize, Serialize};
use thiserror::Error;

const FOLDER: &str = "deleted";

/// An attachment that the runtime deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which attachment.
    pub id: AttachmentId,
    /// Of which network.
    pub network: NetworkName,
}

/// The content of a note's file.
#[derive(Serialize, Deserialize)]
struct Content {
    #[serde(rename = "containerID")]
    container: ContainerId,
    #[serde(rename = "ifname")]
    interface: IfName,
    network: NetworkName,
}

/// A failure with a note or with the folder.
#[derive(Debug, Error)]
pub enum NoteError {
    /// A system call failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is not a note, or not the one that its name says; it can only be removed.
    #[error("{} is not a note of a deletion: {problem}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// The folder of notes.
#[derive(Clone, Debug)]
pub struct Notes {
    folder: PathBuf,
}

impl Notes {
    /// The folder that belongs to the agent at `socket`.
    pub fn beside(socket: &Path) -> Notes {
        let folder = socket.parent().unwrap_or(Path::new("/")).join(FOLDER);
        Notes { folder }
    }

    /// The folder of the notes.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Leaves a note. It is there, whole, when this returns.
    pub fn write(&self, note: &Note) -> Result<(), NoteError> {
        let make = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder);
        during("make folder", &self.folder, make)?;
        let path = self.path_of(&note.id);
        let aside = self.aside(&note.id);
        let written = write_file(&aside, &note.content()).and_then(|()| fs::rename(&aside, &path));
        during("write", &path, written).inspect_err(|_| {
            let _ = fs::remove_file(&aside);
        })
    }

    /// Takes the note of an attachment back; there need not be one.
    pub fn remove(&self, id: &AttachmentId) -> Result<(), NoteError> {
        let path = self.path_of(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => during("remove", &path, result),
        }
    }

    /// All notes. One that cannot be read does not hide the others.
    pub fn pending(&self) -> Result<Vec<Result<Note, NoteError>>, NoteError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => during("list", &self.folder, entries)?,
        };
        let mut notes = Vec::new();
        for entry in entries {
            let path = during("list", &self.folder, entry)?.path();
            if !is_unfinished(&path) {
                notes.extend(self.read(&path).transpose());
            }
        }
        Ok(notes)
    }

    fn path_of(&self, id: &AttachmentId) -> PathBuf {
        self.folder.join(host_link_name(id).as_str())
    }

    fn aside(&self, id: &AttachmentId) -> PathBuf {
        let name = format!(".{}.{}", host_link_name(id), std::process::id());
        self.folder.join(name)
    }

    /// A note that was taken back meanwhile is none.
    fn read(&self, path: &Path) -> Result<Option<Note>, NoteError> {
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => during("read", path, text)?,
        };
        let damaged = |problem: String| NoteError::Damaged {
            path: path.to_owned(),
            problem,
        };
        let content: Content = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        let note = Note::from(content);
        match self.path_of(&note.id) == path {
            true => Ok(Some(note)),
            false => Err(damaged(format!("it names {}", note.id))),
        }
    }
}

impl Note {
    fn content(&self) -> Content {
        Content {
            container: self.id.container.clone(),
            interface: self.id.interface.clone(),
            network: self.network.clone(),
        }
    }
}

impl From<Content> for Note {
    fn from(content: Content) -> Note {
        Note {
            id: AttachmentId {
                container: content.container,
                interface: content.interface,
            },
            network: content.network,
        }
    }
}

fn write_file(path: &Path, content: &Content) -> io::Result<()> {
    let text = serde_json::to_vec(content)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(&text)
}

fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().map(OsStr::as_encoded_bytes);
    name.is_some_and(|name| name.starts_with(b"."))
}

fn during<T>(doing: &'static str, path: &Path, result: io::Result<T>) -> Result<T, NoteError> {
    result.map_err(|source| NoteError::Io {
        doing,
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let name = format!("seaway-notes-{}-{name}", std::process::id());
            Folder(std::env::temp_dir().join(name))
        }

        fn notes(&self) -> Notes {
            Notes::beside(&self.0.join("agent.sock"))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn note(container: &str) -> Note {
        Note {
            id: AttachmentId {
                container: ContainerId::new(container).expect("valid"),
                interface: IfName::new("eth0").expect("valid"),
            },
            network: NetworkName::new("pods").expect("valid"),
        }
    }

    #[test]
    fn k5_notes_are_written_read_and_taken_back() {
        let folder = Folder::new("round");
        let notes = folder.notes();
        assert!(notes.pending().expect("no folder is fine").is_empty());
        for n in [note("c1"), note("c2"), note("c1")] {
            notes.write(&n).expect("written");
        }
        let mut pending: Vec<Note> = notes
            .pending()
            .expect("listed")
            .into_iter()
            .map(|n| n.expect("sound"))
            .collect();
        pending.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(pending, [note("c1"), note("c2")]);
        for _ in 0..2 {
            notes.remove(&note("c1").id).expect("removed, or not there");
        }
        assert_eq!(notes.pending().expect("listed").len(), 1);
    }

    #[test]
    fn k5_name_content_and_modes_are_the_contract() {
        let folder = Folder::new("form");
        folder.notes().write(&note("c1")).expect("written");
        let path = folder.0.join("deleted/sea3mxxdt527zxi");
        let text = fs::read_to_string(&path).expect("named as the link");
        assert_eq!(
            text,
            r#"{"containerID":"c1","ifname":"eth0","network":"pods"}"#
        );
        let mode = |p: &Path| fs::metadata(p).expect("there").permissions().mode() & 0o777;
        assert_eq!(
            (mode(&path), mode(&folder.0.join("deleted"))),
            (0o600, 0o700)
        );
    }

    #[test]
    fn unfinished_and_damaged_files_hide_no_note() {
        let folder = Folder::new("damaged");
        let notes = folder.notes();
        notes.write(&note("c1")).expect("written");
        let inside = |name: &str| folder.0.join("deleted").join(name);
        fs::write(inside(".sea3mxxdt527zxi.77"), "{\"cont").expect("written");
        fs::write(inside("seaaaaaaaaaaaaa"), "").expect("written");
        fs::copy(inside("sea3mxxdt527zxi"), inside("seabbbbbbbbbbbb")).expect("copied");
        let (sound, bad): (Vec<_>, Vec<_>) = notes
            .pending()
            .expect("listed")
            .into_iter()
            .partition(Result::is_ok);
        assert_eq!((sound.len(), bad.len()), (1, 2));
        for error in bad {
            assert!(matches!(error, Err(NoteError::Damaged { .. })));
        }
    }

    #[test]
    fn failures_name_the_file() {
        let folder = Folder::new("failure");
        fs::create_dir_all(&folder.0).expect("made");
        fs::write(folder.0.join("deleted"), "a file in the way").expect("written");
        let error = folder.notes().write(&note("c1")).expect_err("in the way");
        assert!(error.to_string().ends_with("/deleted"), "{error}");
    }
}
