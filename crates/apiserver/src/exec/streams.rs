//! The standard streams of a command, read and written without blocking.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;

/// As much as is read at once.
pub(super) const PART: usize = 16 << 10;

/// One side of a pipe or a terminal.
#[derive(Debug)]
pub(super) struct Stream(AsyncFd<OwnedFd>);

impl Stream {
    /// Takes a descriptor whose open file nobody else uses.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Stream> {
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        watch_fd(fd).map(Stream)
    }

    /// Reads what there is; 0 at the end.
    pub(super) async fn read(&self, part: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut guard = self.0.readable().await?;
            match guard.try_io(|fd| read(fd.get_ref(), part)) {
                Ok(done) => return done,
                Err(_would_block) => {}
            }
        }
    }

    /// Reads what is there already; `None` if there is nothing, and at the end.
    pub(super) fn read_now(&self, part: &mut [u8]) -> Option<usize> {
        read(self.0.get_ref(), part).ok().filter(|&read| read > 0)
    }

    /// Writes everything.
    pub(super) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut guard = self.0.writable().await?;
            match guard.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                Ok(written) => bytes = &bytes[written?..],
                Err(_would_block) => {}
            }
        }
        Ok(())
    }

    /// Tells the programs on a terminal how large it is.
    pub(super) fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(tcsetwinsize(self.0.get_ref(), size)?)
    }
}

/// Watches a descriptor that is owned by what watches it.
#[expect(
    deprecated,
    reason = "unsound for types that give up their descriptor early; an OwnedFd does not"
)]
pub(super) fn watch_fd(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

/// A terminal that nobody inside holds any more says so by an error: that is its end.
fn read(fd: &OwnedFd, part: &mut [u8]) -> io::Result<usize> {
    match rustix::io::read(fd, part) {
        Err(rustix::io::Errno::IO) => Ok(0),
        other => Ok(other?),
    }
}
