//! The archive: a `tar.gz` that only its owner can read, and that is whole or not there; or a stream,
//! for whoever runs this where nothing can be written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use tar::{Builder, Header};

/// The folder that everything in the archive is in.
const FOLDER: &str = "seaway-bundle";

/// What stands for standard output.
const STREAM: &str = "-";

/// Where it is written to.
enum Sink {
    File { file: File, partial: Partial },
    Stream(io::Stdout),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::File { file, .. } => file.write(bytes),
            Sink::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::File { file, .. } => file.flush(),
            Sink::Stream(stream) => stream.flush(),
        }
    }
}

/// A file with the name of one that is not finished, which goes when nobody needs it.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // It has another name when it was finished.
        let _absent = fs::remove_file(&self.0);
    }
}

impl Sink {
    fn open(target: &Path) -> anyhow::Result<Sink> {
        if target == Path::new(STREAM) {
            return Ok(Sink::Stream(io::stdout()));
        }
        let mut name = target
            .file_name()
            .context("--out names no file")?
            .to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = target.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .with_context(|| format!("create {}", partial.display()))?;
        let partial = Partial(partial);
        Ok(Sink::File { file, partial })
    }

    /// Makes it appear where it belongs.
    fn place(self, target: &Path) -> io::Result<()> {
        match self {
            Sink::File { file, partial } => {
                file.sync_all()?;
                fs::rename(&partial.0, target)
            }
            Sink::Stream(_) => Ok(()),
        }
    }
}

/// Counts what is written.
struct Counted {
    sink: BufWriter<Sink>,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.sink.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// A file in the archive.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    pub(super) file: String,
    /// What is in it.
    pub(super) about: String,
    /// How many objects or lines.
    pub(super) items: usize,
    /// How large it is before it is compressed.
    pub(super) bytes: u64,
}

/// An archive that is being written. Dropped before it is finished, it leaves no file.
pub(super) struct Archive {
    tar: Builder<GzEncoder<Counted>>,
    target: PathBuf,
    /// How much may still be put in.
    room: u64,
    now: u64,
    pub(super) entries: Vec<Entry>,
}

impl Archive {
    /// Begins one that holds no more than so much before it is compressed. `now` is in seconds.
    pub(super) fn create(target: &Path, room: u64, now: u64) -> anyhow::Result<Archive> {
        let counted = Counted {
            sink: BufWriter::new(Sink::open(target)?),
            bytes: 0,
        };
        Ok(Archive {
            tar: Builder::new(GzEncoder::new(counted, Compression::default())),
            target: target.to_owned(),
            room,
            now,
            entries: Vec::new(),
        })
    }

    /// Whether it goes to standard output, where nothing else may go then.
    pub(super) fn is_stream(&self) -> bool {
        self.target == Path::new(STREAM)
    }

    /// How many bytes more it takes.
    pub(super) fn room(&self) -> u64 {
        self.room
    }

    /// Adds a file; it must fit.
    pub(super) fn add(
        &mut self,
        file: &str,
        about: &str,
        items: usize,
        content: &[u8],
    ) -> anyhow::Result<()> {
        let bytes = content.len() as u64;
        self.append(file, content)
            .with_context(|| format!("write {file} into {}", self.target.display()))?;
        self.room = self.room.saturating_sub(bytes);
        self.entries.push(Entry {
            file: file.to_owned(),
            about: about.to_owned(),
            items,
            bytes,
        });
        Ok(())
    }

    fn append(&mut self, file: &str, content: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.now);
        self.tar
            .append_data(&mut header, format!("{FOLDER}/{file}"), content)
    }

    /// Puts it where it belongs; gives its size.
    pub(super) fn finish(self) -> anyhow::Result<u64> {
        let Archive { tar, target, .. } = self;
        let finish = || -> io::Result<u64> {
            let Counted { sink, bytes } = tar.into_inner()?.finish()?;
            let mut sink = sink.into_inner().map_err(io::IntoInnerError::into_error)?;
            sink.flush()?;
            sink.place(&target)?;
            Ok(bytes)
        };
        finish().with_context(|| format!("write {}", target.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let all = fs::read_dir(folder).expect("a folder").flatten();
        all.map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn it_is_whole_or_not_there_and_its_owners_alone() {
        let folder = std::env::temp_dir().join(format!("seaway-archive-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("made");
        let target = folder.join("a.tar.gz");
        let mut archive = Archive::create(&target, 10, 0).expect("begun");
        archive.add("x", "words", 1, b"abc").expect("added");
        assert_eq!(archive.room(), 7);
        drop(archive);
        assert_eq!(names(&folder), Vec::<String>::new());
        let mut archive = Archive::create(&target, 10, 0).expect("begun");
        archive.add("x/y", "words", 1, b"abc").expect("added");
        let size = archive.finish().expect("finished");
        assert_eq!(names(&folder), ["a.tar.gz"]);
        let meta = fs::metadata(&target).expect("there");
        assert_eq!(
            (meta.len(), meta.permissions().mode() & 0o777),
            (size, 0o600)
        );
        let packed = flate2::read::GzDecoder::new(File::open(&target).expect("opened"));
        let mut read = tar::Archive::new(packed);
        let entries = read.entries().expect("an archive");
        let paths: Vec<PathBuf> = entries
            .map(|entry| entry.expect("whole").path().expect("a path").into_owned())
            .collect();
        assert_eq!(paths, [Path::new("seaway-bundle/x/y")]);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
