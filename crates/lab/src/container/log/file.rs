//! A log file and the older ones beside it: `<n>.log`, `<n>.log.1` (the one before), `<n>.log.2`, …

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, LabError};

/// Where a container's log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogTarget {
    /// The file; the folder is made if it is not there.
    pub(crate) path: PathBuf,
    /// How large a file may get.
    pub(crate) max_bytes: u64,
    /// How many older files to keep.
    pub(crate) keep: u32,
}

/// The file that is written now.
#[derive(Debug)]
pub(super) struct LogFile {
    target: LogTarget,
    file: File,
    size: u64,
}

impl LogFile {
    pub(super) fn open(target: LogTarget) -> Result<LogFile, LabError> {
        if let Some(folder) = target.path.parent() {
            fs::create_dir_all(folder).on("create", folder)?;
        }
        let file = open(&target.path, false).on("open", &target.path)?;
        let size = file.metadata().on("look at", &target.path)?.len();
        Ok(LogFile { target, file, size })
    }

    /// Writes whole lines. When that fails, the file is as it was before.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let more = lines.len() as u64;
        if self.size > 0 && self.size + more > self.target.max_bytes {
            self.rotate()?;
        }
        match self.file.write_all(lines) {
            Ok(()) => self.size += more,
            Err(e) => {
                self.file.set_len(self.size)?;
                return Err(e);
            }
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let older = |n: u32| older(&self.target.path, n);
        for n in (1..self.target.keep).rev() {
            ignore_absent(fs::rename(older(n), older(n + 1)))?;
        }
        if self.target.keep > 0 {
            ignore_absent(fs::rename(&self.target.path, older(1)))?;
        }
        self.file = open(&self.target.path, true)?;
        self.size = 0;
        Ok(())
    }
}

fn older(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

fn open(path: &Path, empty: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o640);
    let file = options.append(true).open(path)?;
    if empty {
        file.set_len(0)?;
    }
    Ok(file)
}

fn ignore_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let name = format!("seaway-log-{name}-{}", std::process::id());
            Folder(std::env::temp_dir().join(name))
        }

        fn target(&self, keep: u32) -> LogTarget {
            LogTarget {
                path: self.0.join("main/0.log"),
                max_bytes: 10,
                keep,
            }
        }

        fn files(&self) -> Vec<(String, String)> {
            let mut files: Vec<_> = fs::read_dir(self.0.join("main"))
                .expect("a folder")
                .map(|entry| entry.expect("readable"))
                .map(|entry| {
                    let text = fs::read_to_string(entry.path()).expect("text");
                    (entry.file_name().to_string_lossy().into_owned(), text)
                })
                .collect();
            files.sort();
            files
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn file(name: &str, text: &str) -> (String, String) {
        (name.to_owned(), text.to_owned())
    }

    #[test]
    fn a_full_file_makes_room_and_only_so_many_are_kept() {
        let folder = Folder::new("rotate");
        let mut log = LogFile::open(folder.target(2)).expect("opens");
        for line in [
            "11111\n",
            "222\n",
            "33333\n",
            "44444\n",
            "55555\n",
            "a very long line\n",
        ] {
            log.write(line.as_bytes()).expect("writes");
        }
        let kept = [
            file("0.log", "a very long line\n"),
            file("0.log.1", "55555\n"),
            file("0.log.2", "44444\n"),
        ];
        assert_eq!(folder.files(), kept);
    }

    #[test]
    fn with_nothing_to_keep_the_file_starts_again() {
        let folder = Folder::new("none");
        let mut log = LogFile::open(folder.target(0)).expect("opens");
        for line in ["11111\n", "22222\n"] {
            log.write(line.as_bytes()).expect("writes");
        }
        assert_eq!(folder.files(), [file("0.log", "22222\n")]);
    }

    #[test]
    fn a_file_that_is_there_is_gone_on_with() {
        let folder = Folder::new("again");
        for line in ["1\n", "2\n"] {
            let mut log = LogFile::open(folder.target(1)).expect("opens");
            log.write(line.as_bytes()).expect("writes");
        }
        assert_eq!(folder.files(), [file("0.log", "1\n2\n")]);
    }

    #[test]
    fn a_full_disk_is_an_error_that_leaves_the_file_whole() {
        let target = LogTarget {
            path: "/dev/full".into(),
            max_bytes: 1000,
            keep: 0,
        };
        let mut log = LogFile::open(target).expect("opens");
        assert!(log.write(b"x\n").is_err());
    }
}
