//! From what is in the folders to the steps that make it what it is to be. Pure.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::survey::{AtHome, Content, Found, Saved};
use super::{DRAFT, SAVED, Step};

/// What is to be on the node.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The plugin; as it is, without one.
    pub plugin: Option<Vec<u8>>,
    /// The configuration; as it is, without one.
    pub conflist: Option<String>,
    /// Put other networks' configurations aside.
    pub replace_others: bool,
}

/// What takes Seaway off a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Gives other networks' configurations back and takes ours away.
    pub configuration: Vec<Step>,
    /// Takes the plugin away.
    pub plugin: Vec<Step>,
    /// What cannot be given back.
    pub kept: Vec<Kept>,
}

/// A configuration that was put aside and stays there: its place is taken by another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Where it is.
    pub saved: PathBuf,
    /// The newer file where it was.
    pub newer: PathBuf,
}

impl Found {
    /// What brings Seaway onto the node. The token makes the names of drafts this call's own.
    pub fn install(&self, wanted: &Wanted, token: &str) -> Vec<Step> {
        let mut steps = self.sweep();
        if let (Some(bytes), Some(path)) = (&wanted.plugin, self.places.plugin()) {
            steps.extend(self.write(&path, &self.plugin, bytes, 0o755, token));
        }
        if let Some(text) = &wanted.conflist {
            // Before the others go: a runtime is never without a network.
            let path = self.places.conflist();
            steps.extend(self.write(&path, &self.conflist, text.as_bytes(), 0o644, token));
        }
        if wanted.replace_others {
            steps.extend(self.others.iter().map(|other| put_aside(&other.path)));
        }
        steps
    }

    /// What takes it off again.
    pub fn uninstall(&self) -> Removal {
        let mut removal = Removal {
            configuration: self.sweep(),
            plugin: Vec::new(),
            kept: Vec::new(),
        };
        for saved in &self.saved {
            match saved.at_home {
                AtHome::Nothing => removal.configuration.push(give_back(saved)),
                AtHome::Same => removal.configuration.push(Step::Remove(saved.path.clone())),
                AtHome::Another => removal.kept.push(Kept {
                    saved: saved.path.clone(),
                    newer: saved.home.clone(),
                }),
            }
        }
        if self.conflist.is_some() {
            let path = self.places.conflist();
            removal.configuration.push(Step::Remove(path));
        }
        if self.plugin.is_some() {
            removal
                .plugin
                .extend(self.places.plugin().map(Step::Remove));
        }
        removal
    }

    fn sweep(&self) -> Vec<Step> {
        self.drafts.iter().cloned().map(Step::Sweep).collect()
    }

    /// Nothing where the file is as it is to be.
    fn write(
        &self,
        path: &Path,
        now: &Option<Content>,
        bytes: &[u8],
        mode: u32,
        token: &str,
    ) -> Vec<Step> {
        let same = |now: &Content| now.bytes == bytes && now.mode == mode;
        if now.as_ref().is_some_and(same) {
            return Vec::new();
        }
        let folders = self
            .missing
            .iter()
            .filter(|folder| path.parent() == Some(folder));
        let mut steps: Vec<Step> = folders.cloned().map(Step::MakeFolder).collect();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let draft = path.with_file_name(format!(".{name}.{token}{DRAFT}"));
        steps.push(Step::Draft {
            path: draft.clone(),
            bytes: bytes.to_vec(),
            mode,
        });
        let path = path.to_owned();
        steps.push(Step::Finish { draft, path });
        steps
    }
}

/// One that was put aside before was replaced by its owner: it would be gone without us, too.
fn put_aside(path: &Path) -> Step {
    let mut saved = path.as_os_str().to_owned();
    saved.push(SAVED);
    Step::PutAside {
        from: path.to_owned(),
        to: saved.into(),
    }
}

fn give_back(saved: &Saved) -> Step {
    Step::GiveBack {
        from: saved.path.clone(),
        to: saved.home.clone(),
    }
}
