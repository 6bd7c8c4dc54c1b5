//! This terminal, as long as what is typed on it goes to another one: it passes every key on and
//! shows what comes as it is. It is put back whatever happens to this process, unless it is killed.

use std::io::{self, Stdin};
use std::os::fd::OwnedFd;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::error::{Context, LabError};
use crate::protocol::Screen;

/// The terminal on standard input, in raw mode.
pub(super) struct Raw {
    stdin: Stdin,
    before: Termios,
}

impl Raw {
    /// What it is like.
    pub(super) fn screen() -> Result<Screen, LabError> {
        let size = tcgetwinsize(io::stdin()).during("ask for the size of", this)?;
        let kind = std::env::var("TERM").ok();
        Ok(Screen {
            kind: kind.filter(|kind| !kind.is_empty()),
            rows: size.ws_row,
            columns: size.ws_col,
        })
    }

    /// Puts it into raw mode, and back when the value goes or this process panics.
    pub(super) fn enter() -> Result<Raw, LabError> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).during("look at", this)?;
        let raw = Raw { stdin, before };
        raw.put_back_on_panic();
        raw.again()?;
        Ok(raw)
    }

    /// Puts it into raw mode again, after somebody else has had it.
    pub(super) fn again(&self) -> Result<(), LabError> {
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(&self.stdin, OptionalActions::Now, &raw).during("change", this)
    }

    /// Gives another terminal this one's size; whoever uses that hears of a change.
    pub(super) fn show_size_to(&self, other: &OwnedFd) -> Result<(), LabError> {
        let size = tcgetwinsize(&self.stdin).during("ask for the size of", this)?;
        // It may have gone with its container; that is told elsewhere.
        let _ = tcsetwinsize(other, size);
        Ok(())
    }

    /// A panic on any thread, even where it ends the process at once.
    fn put_back_on_panic(&self) {
        let before = self.before.clone();
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            put_back(&before);
            next(panic);
        }));
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        put_back(&self.before);
    }
}

fn put_back(before: &Termios) {
    // If it is gone, there is nothing to put back.
    let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
}

fn this() -> String {
    "this terminal".to_owned()
}
