//! Starting a daemon in a room so that it cannot outlive this program.
//!
//! This program starts itself once more as a launcher. That one is a single thread: it moves into
//! the room, asks to be killed with its parent, and becomes the daemon.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getppid;
use seaway_kernel::netns::Netns;

use crate::room::{self, Room};

/// The launcher's own command line.
#[derive(Args, Debug)]
pub(crate) struct Launch {
    /// The process that starts it.
    #[arg(long)]
    parent: i32,
    /// The network namespace.
    #[arg(long)]
    net: PathBuf,
    /// The mount namespace.
    #[arg(long)]
    mounts: PathBuf,
    /// What to become.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Launch {
    /// Becomes the command; returns only if that fails.
    pub(crate) fn run(&self) -> Result<()> {
        set_pdeathsig(Signal::SIGKILL).context("asking to be killed with the parent")?;
        if getppid().as_raw() != self.parent {
            bail!("the parent is gone already");
        }
        SigSet::empty()
            .thread_set_mask()
            .context("unblocking signals")?;
        let mounts = File::open(&self.mounts).context("opening the mount namespace")?;
        Netns::open(&self.net)?.switch_here()?;
        room::enter_mounts(&mounts)?;
        let [program, arguments @ ..] = &self.command[..] else {
            bail!("there is no command to become");
        };
        let error = Command::new(program).args(arguments).exec();
        Err(error).with_context(|| format!("starting {}", program.display()))
    }
}

/// A daemon in a room; killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a program in a room; what it says goes to the file `log` in there. The calling
    /// thread must live as long as the daemon is to.
    pub(crate) fn start(
        room: &Room,
        program: &Path,
        args: &[String],
        log: &Path,
    ) -> Result<Daemon> {
        let [net, mounts] = room.paths();
        let own = std::env::current_exe().context("finding this program")?;
        let out = room.run(|| File::create(log).context("making the log file"))?;
        let error = out.try_clone().context("sharing the log file")?;
        let mut launcher = Command::new(own);
        launcher
            .arg("launch")
            .arg("--parent")
            .arg(std::process::id().to_string());
        launcher.arg("--net").arg(net).arg("--mounts").arg(mounts);
        launcher.arg("--").arg(program).args(args);
        launcher.stdin(Stdio::null()).stdout(out).stderr(error);
        let child = launcher
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let log = log.to_owned();
        Ok(Daemon { child, log })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it has ended, with what it said.
    pub(crate) fn check(&mut self, room: &Room) -> Result<()> {
        match self.child.try_wait().context("looking after a daemon")? {
            None => Ok(()),
            Some(status) => bail!("the daemon ended ({status}); it said:\n{}", self.said(room)),
        }
    }

    /// Waits until it ends by itself, well.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let status = self.child.wait().context("waiting for a program")?;
        ensure!(status.success(), "a program ended ({status})");
        Ok(())
    }

    /// The end of its log.
    pub(crate) fn said(&self, room: &Room) -> String {
        let text = room
            .run(|| Ok(std::fs::read_to_string(&self.log)?))
            .unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left after the wait.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
