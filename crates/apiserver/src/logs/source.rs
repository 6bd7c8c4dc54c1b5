//! Reading the files of one run in order, and the last of them as it grows and is rotated.
//!
//! Synchronous: to be called off the async threads.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::files;
use super::lines::Format;

const CHUNK: usize = 64 << 10;
/// Longer lines are not in CRI format, whose parts have at most 16 KiB.
const LONGEST_LINE: usize = 1 << 20;

/// What came of a read.
#[derive(Debug)]
pub(super) enum Step {
    Data(Bytes),
    /// Nothing more for now.
    CaughtUp,
    /// Nothing more will be shown.
    Finished,
}

/// The files of a run.
#[derive(Debug)]
pub(super) struct Source {
    current: PathBuf,
    waiting: VecDeque<PathBuf>,
    open: Option<File>,
    /// The beginning of a line whose end is not written yet.
    partial: Vec<u8>,
    format: Format,
}

impl Source {
    /// Opens the files of a run, from their start or at the last `tail` lines.
    pub(super) fn open(
        directory: &Path,
        run: u64,
        tail: Option<u64>,
        format: Format,
    ) -> io::Result<Self> {
        let mut source = Self {
            current: files::current(directory, run),
            waiting: files::of_run(directory, run)?.into(),
            open: None,
            partial: Vec::new(),
            format,
        };
        if let Some(lines) = tail {
            source.skip_to_tail(lines)?;
        }
        Ok(source)
    }

    fn skip_to_tail(&mut self, lines: u64) -> io::Result<()> {
        let mut left = lines;
        let mut kept = VecDeque::new();
        while let Some(path) = self.waiting.pop_back() {
            let mut file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let (offset, found) = tail_offset(&mut file, left)?;
            left -= found;
            if left == 0 {
                file.seek(SeekFrom::Start(offset))?;
                self.open = Some(file);
                break;
            }
            kept.push_front(path);
        }
        self.waiting = kept;
        Ok(())
    }

    /// Reads on.
    pub(super) fn read(&mut self) -> Step {
        let mut out = Vec::new();
        while out.len() < CHUNK && !self.format.is_full() {
            let mut buffer = vec![0; CHUNK];
            match self.fill(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(length) => self.show(&buffer[..length], &mut out),
            }
        }
        if !out.is_empty() {
            Step::Data(out.into())
        } else if self.format.is_full() {
            Step::Finished
        } else {
            Step::CaughtUp
        }
    }

    fn show(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    self.partial.extend_from_slice(end);
                    let line = std::mem::take(&mut self.partial);
                    self.format.show(&line, out);
                }
                None if self.partial.len() + piece.len() <= LONGEST_LINE => {
                    self.partial.extend_from_slice(piece);
                }
                None => self.partial.clear(),
            }
        }
    }

    /// The next bytes; 0 if there are none now.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.open {
                let length = file.read(buffer)?;
                if length > 0 {
                    return Ok(length);
                }
            }
            if let Some(next) = self.waiting.pop_front() {
                // Rotation may have moved it on meanwhile; then its bytes are older than asked.
                self.open = File::open(next).ok();
            } else if !self.reopen()? {
                return Ok(0);
            }
        }
    }

    /// Turns to the file that is written now, if that is another one than the open one.
    fn reopen(&mut self) -> io::Result<bool> {
        let file = match File::open(&self.current) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let identity = |file: &File| file.metadata().map(|data| (data.dev(), data.ino()));
        if let Some(open) = &self.open
            && identity(open)? == identity(&file)?
        {
            return Ok(false);
        }
        self.open = Some(file);
        Ok(true)
    }
}

/// Where the last `lines` lines of a file begin, and how many there are (at most `lines`).
fn tail_offset(file: &mut File, lines: u64) -> io::Result<(u64, u64)> {
    let mut end = file.metadata()?.len();
    let mut found = 0;
    let mut newest = true;
    let mut buffer = vec![0; CHUNK];
    if lines == 0 {
        return Ok((end, 0));
    }
    while end > 0 {
        let length = end.min(CHUNK as u64);
        let start = end - length;
        let block = &mut buffer[..usize::try_from(length).unwrap_or(CHUNK)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(block)?;
        for (at, byte) in block.iter().enumerate().rev() {
            if *byte != b'\n' {
                newest = false;
                continue;
            }
            // The newline at the very end closes the last line, the others open the next.
            if std::mem::take(&mut newest) {
                continue;
            }
            found += 1;
            if found == lines {
                return Ok((start + at as u64 + 1, found));
            }
        }
        end = start;
    }
    Ok((0, if newest { 0 } else { found + 1 }))
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
