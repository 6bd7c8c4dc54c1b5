//! What is in the folders of a runtime.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::error::{InstallError, during};
use super::{CONFLIST, DRAFT, Places, SAVED};

/// What runtimes take for a configuration.
const EXTENSIONS: [&str; 3] = ["conf", "conflist", "json"];

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub(super) places: Places,
    /// The plugin.
    pub(super) plugin: Option<Content>,
    /// Our configuration.
    pub(super) conflist: Option<Content>,
    /// Other networks' configurations, in the order in which runtimes look at them.
    pub others: Vec<Other>,
    /// Configurations that were put aside.
    pub(super) saved: Vec<Saved>,
    /// Files that somebody did not finish.
    pub(super) drafts: Vec<PathBuf>,
    /// Folders that are not there.
    pub(super) missing: Vec<PathBuf>,
}

/// A file as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
}

/// Another network's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Where it is.
    pub path: PathBuf,
    /// The network that it names.
    pub network: Option<String>,
    /// The plugins that it calls.
    pub types: Vec<String>,
    /// Why it cannot be read, if so; runtimes may stop there.
    pub problem: Option<String>,
    /// Runtimes look at it before they look at Seaway's.
    pub first: bool,
}

/// A configuration that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Saved {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Where it was.
    pub(super) home: PathBuf,
    /// What is there now.
    pub(super) at_home: AtHome,
}

/// What is where a configuration was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtHome {
    Nothing,
    Same,
    Another,
}

/// Looks into the folders.
pub fn look(places: &Places) -> Result<Found, InstallError> {
    let mut found = Found {
        places: places.clone(),
        plugin: match places.plugin() {
            Some(plugin) => content(&plugin)?,
            None => None,
        },
        conflist: content(&places.conflist())?,
        others: Vec::new(),
        saved: Vec::new(),
        drafts: Vec::new(),
        missing: Vec::new(),
    };
    for folder in places.bin_dir.iter().chain([&places.conf_dir]) {
        match names(folder)? {
            Some(names) => found.sort_in(folder, &names)?,
            None => found.missing.push(folder.clone()),
        }
    }
    found.missing.dedup();
    found.drafts.dedup();
    Ok(found)
}

impl Found {
    fn sort_in(&mut self, folder: &Path, names: &[PathBuf]) -> Result<(), InstallError> {
        let configurations = *folder == self.places.conf_dir;
        for name in names {
            let path = folder.join(name);
            let bytes = name.as_os_str().as_encoded_bytes();
            if bytes.starts_with(b".") && bytes.ends_with(DRAFT.as_bytes()) {
                self.drafts.push(path);
            } else if configurations && bytes.ends_with(SAVED.as_bytes()) {
                self.saved.push(saved(path)?);
            } else if configurations && is_configuration(name) && name != Path::new(CONFLIST) {
                self.others.push(other(path));
            }
        }
        Ok(())
    }

    /// The configuration that a runtime would take now.
    pub fn taken(&self) -> Option<PathBuf> {
        let first = self.others.iter().find(|other| other.first);
        let ours = || self.conflist.as_ref().map(|_| self.places.conflist());
        let next = || self.others.first().map(|other| other.path.clone());
        first
            .map(|other| other.path.clone())
            .or_else(ours)
            .or_else(next)
    }
}

impl Other {
    /// The file, and what is in it, as people read it.
    pub fn describe(&self) -> String {
        let file = self.path.display();
        match (&self.problem, &self.network) {
            (Some(problem), _) => format!("{file} ({problem})"),
            (None, Some(network)) => {
                format!("{file} (network {network}, {})", self.types.join(", "))
            }
            (None, None) => format!("{file} ({})", self.types.join(", ")),
        }
    }
}

/// The names in a folder in the order of their bytes, in which runtimes go; `None` without it.
fn names(folder: &Path) -> Result<Option<Vec<PathBuf>>, InstallError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        entries => during("list", folder, entries)?,
    };
    let names: io::Result<Vec<PathBuf>> = entries
        .map(|entry| Ok(PathBuf::from(entry?.file_name())))
        .collect();
    let mut names = during("list", folder, names)?;
    names.sort_by(|one, other| one.as_os_str().cmp(other.as_os_str()));
    Ok(Some(names))
}

fn content(path: &Path) -> Result<Option<Content>, InstallError> {
    let read = || -> io::Result<Content> {
        Ok(Content {
            mode: fs::metadata(path)?.permissions().mode() & 0o7777,
            bytes: fs::read(path)?,
        })
    };
    match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        content => during("read", path, content).map(Some),
    }
}

fn saved(path: PathBuf) -> Result<Saved, InstallError> {
    // The name ends with the mark, or it would not be here.
    let home = path.with_extension("");
    let at_home = match (content(&home)?, content(&path)?) {
        (None, _) => AtHome::Nothing,
        (at_home, saved) if at_home == saved => AtHome::Same,
        _ => AtHome::Another,
    };
    Ok(Saved {
        path,
        home,
        at_home,
    })
}

fn is_configuration(name: &Path) -> bool {
    let extension = name.extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}

/// What a configuration says; one that cannot be read is named all the same.
fn other(path: PathBuf) -> Other {
    let first = path.file_name() < Some(OsStr::new(CONFLIST));
    let read = fs::read(&path).map_err(|error| format!("not readable: {error}"));
    let parsed = read.and_then(|bytes| {
        serde_json::from_slice::<Value>(&bytes).map_err(|error| format!("no JSON: {error}"))
    });
    let (value, problem) = match parsed {
        Ok(value) => (value, None),
        Err(problem) => (Value::Null, Some(problem)),
    };
    let plugins = value["plugins"].as_array().map_or(&[][..], Vec::as_slice);
    let types = plugins
        .iter()
        .chain([&value])
        .filter_map(|plugin| plugin["type"].as_str());
    Other {
        network: value["name"].as_str().map(str::to_owned),
        types: types.map(str::to_owned).collect(),
        path,
        problem,
        first,
    }
}
