//! Copies what goes in and out of a command, each way on a thread of its own, so that none waits for
//! another. It knows neither what is copied nor who is at the ends.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};

use crate::error::{Context, LabError};

const PART: usize = 64 * 1024;
/// A pipe holds no more, whoever has made it larger. What a command has left running may go on
/// writing: that is not followed for ever.
const MOST_HELD: usize = 1 << 20;

/// Copies from `from` to `to` until there is no more, or until nobody takes it; writes `last` then.
/// This is not waited for: a command need not read all that there is.
pub(super) fn feed(
    from: impl AsFd + Send + 'static,
    to: OwnedFd,
    last: Option<u8>,
) -> Result<(), LabError> {
    let work = move || {
        let mut part = vec![0; PART];
        loop {
            match read(&from, &mut part) {
                Ok(0) => break,
                Ok(length) if write_all(&to, &part[..length]).is_ok() => {}
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => wait_for(from.as_fd(), PollFlags::POLLIN),
                Ok(_) | Err(_) => break,
            }
        }
        if let Some(last) = last {
            let _ = write_all(&to, &[last]);
        }
    };
    spawn(work)
}

/// The outputs of a command.
pub(super) struct Outputs {
    /// Its other end tells the threads that the command has ended.
    runs: Option<PipeWriter>,
    over: PipeReader,
    /// Held by each thread; the other end tells when the last one is done.
    working: Option<PipeWriter>,
    done: PipeReader,
}

impl Outputs {
    /// None so far.
    pub(super) fn new() -> Result<Outputs, LabError> {
        let pipe = || std::io::pipe().during("make", || "a pipe".to_owned());
        let ((over, runs), (done, working)) = (pipe()?, pipe()?);
        Ok(Outputs {
            runs: Some(runs),
            over,
            working: Some(working),
            done,
        })
    }

    /// Copies one of them to where it is wanted, as long as it is.
    pub(super) fn copy(
        &self,
        from: OwnedFd,
        to: impl AsFd + Send + 'static,
    ) -> Result<(), LabError> {
        let object = || "a pipe".to_owned();
        let over = self.over.try_clone().during("duplicate", object)?;
        let working = self.working.as_ref().map(PipeWriter::try_clone);
        let working = working.transpose().during("duplicate", object)?;
        spawn(move || {
            copy_until_over(&from, &to, &over);
            drop((from, working));
        })
    }

    /// The command has ended: what it has written is copied, and nothing more.
    pub(super) fn no_more(&mut self) {
        self.runs = None;
        self.working = None;
    }
}

impl AsFd for Outputs {
    /// Ready when [`Outputs::no_more`] has been called and all has been copied.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }
}

fn copy_until_over(from: &OwnedFd, to: &impl AsFd, over: &PipeReader) {
    let mut part = vec![0; PART];
    let mut left = MOST_HELD;
    while left > 0 {
        // In this order: what was written before the end is looked for after it.
        let mut fds = [over.as_fd(), from.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
        let [ended, more] = fds.map(|fd| fd.any() == Some(true));
        match more {
            false if ended => return,
            false => continue,
            true => {}
        }
        match read(from, &mut part) {
            Ok(0) => return,
            Ok(length) => {
                if write_all(to, &part[..length]).is_err() {
                    return;
                }
                if ended {
                    left = left.saturating_sub(length);
                }
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // A terminal that nobody inside holds any more says so by an error.
            Err(_) => return,
        }
    }
}

fn write_all(to: &impl AsFd, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::EINTR) => {}
            // Others may have set a terminal or a pipe that they share with this process so.
            Err(Errno::EAGAIN) => wait_for(to.as_fd(), PollFlags::POLLOUT),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn wait_for(fd: BorrowedFd<'_>, what: PollFlags) {
    // Whatever comes of it shows in the next try.
    let _ = poll(&mut [PollFd::new(fd, what)], PollTimeout::NONE);
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), LabError> {
    let started = thread::Builder::new().spawn(work);
    started
        .map(drop)
        .during("start", || "a thread that copies".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write, pipe};

    use super::*;

    fn wait_until_done(outputs: &Outputs) {
        wait_for(outputs.as_fd(), PollFlags::POLLIN);
    }

    #[test]
    fn all_that_was_written_arrives_though_somebody_holds_the_pipe() {
        let (from, mut held) = pipe().expect("a pipe");
        let (mut result, to) = pipe().expect("a pipe");
        let mut outputs = Outputs::new().expect("pipes");
        outputs.copy(from.into(), to).expect("starts");
        held.write_all(&[0, 255, b'\n']).expect("fits");
        outputs.no_more();
        wait_until_done(&outputs);
        let mut bytes = Vec::new();
        result.read_to_end(&mut bytes).expect("reads");
        assert_eq!(bytes, [0, 255, b'\n']);
        drop(held);
    }

    #[test]
    fn what_never_ends_is_given_up_when_the_command_has_ended() {
        let (from, mut endless) = pipe().expect("a pipe");
        let to = std::fs::File::options()
            .write(true)
            .open("/dev/null")
            .expect("opens");
        let mut outputs = Outputs::new().expect("pipes");
        outputs.copy(from.into(), to).expect("starts");
        outputs.no_more();
        let writer = thread::spawn(move || while endless.write_all(&[b'y'; PART]).is_ok() {});
        wait_until_done(&outputs);
        writer.join().expect("no panic");
    }

    #[test]
    fn when_nobody_takes_it_the_source_is_closed() {
        let (from, mut source) = pipe().expect("a pipe");
        let (result, to) = pipe().expect("a pipe");
        let outputs = Outputs::new().expect("pipes");
        outputs.copy(from.into(), to).expect("starts");
        drop(result);
        while source.write_all(b"y").is_ok() {}
    }

    #[test]
    fn input_is_fed_to_its_end_and_a_last_byte_may_follow() {
        for (last, expected) in [(None, &b"abc"[..]), (Some(4), b"abc\x04")] {
            let (from, mut source) = pipe().expect("a pipe");
            let (mut result, to) = pipe().expect("a pipe");
            feed(from, to.into(), last).expect("starts");
            source.write_all(b"abc").expect("fits");
            drop(source);
            let mut bytes = Vec::new();
            result.read_to_end(&mut bytes).expect("reads");
            assert_eq!(bytes, expected);
        }
    }
}
