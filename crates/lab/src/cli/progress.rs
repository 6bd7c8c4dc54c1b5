//! What `lab up` shows while it works: a bar on a terminal, a line a step otherwise.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

/// The progress of a lab that is coming up, on standard error.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    done: u64,
    total: u64,
}

impl Progress {
    pub(super) fn new() -> Progress {
        let bar = io::stderr().is_terminal().then(bar);
        Progress {
            bar,
            done: 0,
            total: 0,
        }
    }

    pub(super) fn steps(&mut self, total: u64) {
        self.total = total;
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }

    pub(super) fn step(&mut self, text: &str) {
        self.done += 1;
        match &self.bar {
            Some(bar) => {
                bar.set_message(text.to_owned());
                bar.inc(1);
            }
            // Nobody may be reading: then there is nobody to tell.
            None => drop(writeln!(
                io::stderr(),
                "[{}/{}] {text}",
                self.done,
                self.total
            )),
        }
    }

    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}");
    let bar = ProgressBar::new(0);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
