//! Writes a Pod's files and volumes below a folder of its own, which only root may enter:
//!
//! ```text
//! <state>/pods/<uid>/etc/hosts, hostname, resolv.conf
//! <state>/pods/<uid>/volumes/<volume>/          what containers see of a volume
//!                                      KEY -> ..data/KEY
//!                                      ..data -> ..N        swapped in one step
//!                                      ..N/KEY              the files themselves
//! <state>/pods/<uid>/messages/<container>.<run>  what the run leaves to say
//! ```
//!
//! A container that reads a volume while it is rewritten sees all of the old files or all of the
//! new ones.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use super::volumes::{Contents, Files};
use crate::error::{Context, LabError};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";
/// As kubelet cuts what a container leaves to say.
const MOST_MESSAGE: u64 = 4096;

/// The folder of one Pod.
#[derive(Clone, Debug)]
pub(crate) struct PodDir(PathBuf);

impl PodDir {
    /// The folder of a Pod below the lab's.
    pub(crate) fn new(state: &Path, uid: &str) -> PodDir {
        PodDir(super::pod_files(state).join(uid))
    }

    /// One of the files in `/etc`.
    pub(crate) fn etc(&self, name: &str) -> PathBuf {
        self.0.join("etc").join(name)
    }

    /// A volume.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.0.join("volumes").join(name)
    }

    /// Where a run of a container leaves its message.
    pub(crate) fn message(&self, container: &str, run: u32) -> PathBuf {
        self.0.join("messages").join(format!("{container}.{run}"))
    }

    /// Makes the folder.
    pub(crate) fn create(&self) -> Result<(), LabError> {
        for part in ["etc", "volumes", "messages"] {
            make_dir(&self.0.join(part), 0o700)?;
        }
        Ok(())
    }

    /// Removes it with all that is in it.
    pub(crate) fn remove(&self) -> Result<(), LabError> {
        match fs::remove_dir_all(&self.0) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.on("remove", &self.0),
        }
    }

    /// Writes one of the files in `/etc`, keeping its inode, which containers have mounted.
    pub(crate) fn write_etc(&self, name: &str, text: &str) -> Result<(), LabError> {
        let path = self.etc(name);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o644);
        let written = options
            .open(&path)
            .and_then(|mut f| f.write_all(text.as_bytes()));
        written.on("write", &path)
    }

    /// Makes a volume, or brings it up to date; for the group `owner`, if there is one.
    pub(crate) fn write_volume(
        &self,
        name: &str,
        contents: &Contents,
        owner: Option<u32>,
    ) -> Result<(), LabError> {
        let dir = self.volume(name);
        match contents {
            Contents::Empty => make_empty(&dir, owner),
            Contents::Files(files) => {
                make_dir(&dir, 0o755)?;
                write_files(&dir, files, owner)
            }
        }
    }

    /// Makes the file that a run of a container may leave a message in.
    pub(crate) fn create_message(&self, container: &str, run: u32) -> Result<PathBuf, LabError> {
        let path = self.message(container, run);
        File::create(&path).on("create", &path)?;
        // Whoever the container runs as may write to it.
        fs::set_permissions(&path, Permissions::from_mode(0o666)).on("open up", &path)?;
        Ok(path)
    }

    /// Takes the message that a run of a container has left; empty if there is none.
    pub(crate) fn take_message(&self, container: &str, run: u32) -> String {
        let path = self.message(container, run);
        let mut bytes = Vec::new();
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&path);
        if let Ok(file) = opened {
            // What cannot be read is as good as not left.
            let _ = file.take(MOST_MESSAGE).read_to_end(&mut bytes);
        }
        let _ = fs::remove_file(&path);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), LabError> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.on("create", path)
}

fn make_empty(dir: &Path, owner: Option<u32>) -> Result<(), LabError> {
    if dir.exists() {
        return Ok(());
    }
    make_dir(dir, 0o700)?;
    let mode = if owner.is_some() { 0o2777 } else { 0o777 };
    chown(dir, None, owner).on("give to its group", dir)?;
    // The process's mask must not count.
    fs::set_permissions(dir, Permissions::from_mode(mode)).on("open up", dir)
}

fn write_files(dir: &Path, files: &Files, owner: Option<u32>) -> Result<(), LabError> {
    let current = fs::read_link(dir.join(DATA)).ok();
    if let Some(current) = &current
        && is_same(&dir.join(current), files)
    {
        return Ok(());
    }
    let number = current.as_deref().and_then(number_of).unwrap_or(0) + 1;
    let fresh = PathBuf::from(format!("..{number}"));
    // It is there only if an earlier attempt broke off.
    let _ = fs::remove_dir_all(dir.join(&fresh));
    make_dir(&dir.join(&fresh), 0o755)?;
    for (path, file) in files {
        write_file(&dir.join(&fresh).join(path), &file.data, file.mode, owner)?;
    }
    let (new, data) = (dir.join(NEW_DATA), dir.join(DATA));
    let _ = fs::remove_file(&new);
    symlink(&fresh, &new).on("link", &new)?;
    fs::rename(&new, &data).on("replace", &data)?;
    show(dir, files)?;
    match current {
        Some(old) => fs::remove_dir_all(dir.join(&old)).on("remove", &dir.join(&old)),
        None => Ok(()),
    }
}

fn number_of(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("..")?.parse().ok()
}

fn write_file(path: &Path, data: &[u8], mode: u32, owner: Option<u32>) -> Result<(), LabError> {
    if let Some(parent) = path.parent() {
        make_dir(parent, 0o755)?;
    }
    fs::write(path, data).on("write", path)?;
    let mode = if owner.is_some() { mode | 0o440 } else { mode };
    chown(path, None, owner).on("give to its group", path)?;
    fs::set_permissions(path, Permissions::from_mode(mode)).on("set the mode of", path)
}

/// Whether a folder holds exactly these files.
fn is_same(dir: &Path, files: &Files) -> bool {
    let mut found = BTreeSet::new();
    list(dir, Path::new(""), &mut found).is_ok()
        && found.len() == files.len()
        && files.iter().all(|(path, file)| {
            found.contains(Path::new(path))
                && fs::read(dir.join(path)).is_ok_and(|data| data == file.data)
        })
}

fn list(root: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => list(root, &path, found)?,
            false => drop(found.insert(path)),
        }
    }
    Ok(())
}

/// Links the first part of each file's path, and unlinks those that lead nowhere now.
fn show(dir: &Path, files: &Files) -> Result<(), LabError> {
    let first = |path: &str| path.split('/').next().unwrap_or(path).to_owned();
    let wanted: BTreeSet<String> = files.keys().map(|path| first(path)).collect();
    for name in &wanted {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link).on("link", &link)?;
        }
    }
    for entry in fs::read_dir(dir).on("list", dir)? {
        let name = entry
            .on("list", dir)?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if !name.starts_with("..") && !wanted.contains(&name) {
            fs::remove_file(dir.join(&name)).on("remove", &dir.join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::volumes::VolumeFile;
    use super::*;

    struct Scratch(PodDir);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let base = std::env::temp_dir().join(format!("seaway-{}-{name}", std::process::id()));
            let dir = PodDir::new(&base, "uid");
            dir.create().expect("made");
            Scratch(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let base = self
                .0
                .0
                .parent()
                .and_then(Path::parent)
                .expect("below the base");
            drop(fs::remove_dir_all(base));
        }
    }

    fn files(all: &[(&str, &str)]) -> Contents {
        let file = |text: &str| VolumeFile {
            data: text.into(),
            mode: 0o640,
        };
        Contents::Files(
            all.iter()
                .map(|(path, text)| ((*path).to_owned(), file(text)))
                .collect(),
        )
    }

    #[test]
    fn volumes_are_written_whole_and_followed() {
        let scratch = Scratch::new("volumes");
        let dir = &scratch.0;
        let read = |path: &str| fs::read_to_string(dir.volume("v").join(path)).ok();
        dir.write_volume("v", &files(&[("a", "1"), ("sub/b", "2")]), None)
            .expect("written");
        assert_eq!(
            (read("a").as_deref(), read("sub/b").as_deref()),
            (Some("1"), Some("2"))
        );
        let mode = fs::metadata(dir.volume("v").join("a"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o640);
        let before = fs::read_link(dir.volume("v").join(DATA)).expect("a link");
        dir.write_volume("v", &files(&[("a", "1"), ("sub/b", "2")]), None)
            .expect("same");
        assert_eq!(
            fs::read_link(dir.volume("v").join(DATA)).expect("a link"),
            before
        );
        dir.write_volume("v", &files(&[("a", "3"), ("c", "4")]), None)
            .expect("rewritten");
        assert_eq!(
            (read("a").as_deref(), read("c").as_deref()),
            (Some("3"), Some("4"))
        );
        assert_eq!(read("sub/b"), None);
        let left: Vec<_> = fs::read_dir(dir.volume("v")).expect("listed").collect();
        assert_eq!(left.len(), 4, "a, c, ..data and one folder");
    }

    #[test]
    fn empty_volumes_keep_what_is_put_into_them() {
        let scratch = Scratch::new("empty");
        let dir = &scratch.0;
        dir.write_volume("v", &Contents::Empty, None).expect("made");
        fs::write(dir.volume("v").join("x"), "y").expect("written");
        dir.write_volume("v", &Contents::Empty, None)
            .expect("again");
        assert!(dir.volume("v").join("x").exists());
        let mode = fs::metadata(dir.volume("v"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o777);
        dir.remove().expect("removed");
        dir.remove().expect("twice does no harm");
    }

    #[test]
    fn messages_are_cut_and_taken_once() {
        let scratch = Scratch::new("messages");
        let path = scratch.0.create_message("c", 2).expect("made");
        fs::write(path, "x".repeat(5000)).expect("written");
        assert_eq!(scratch.0.take_message("c", 2).len(), 4096);
        assert_eq!(scratch.0.take_message("c", 2), "");
    }

    #[test]
    fn files_in_etc_keep_their_inode() {
        use std::os::unix::fs::MetadataExt;
        let scratch = Scratch::new("etc");
        let inode = || fs::metadata(scratch.0.etc("hosts")).expect("there").ino();
        scratch
            .0
            .write_etc("hosts", "a long first text")
            .expect("written");
        let before = inode();
        scratch.0.write_etc("hosts", "b").expect("written");
        assert_eq!(
            fs::read_to_string(scratch.0.etc("hosts")).expect("read"),
            "b"
        );
        assert_eq!(inode(), before);
    }
}
