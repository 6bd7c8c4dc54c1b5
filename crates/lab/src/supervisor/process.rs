//! Starting processes inside namespaces: what a process of the lab is made of, and the two ways of
//! running one, kept in the background or awaited.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::reaper::{Exit, Reaper};
use crate::error::{Context, LabError};
use crate::namespaces::Namespaces;
use crate::node_files::BIN_DIR;

/// A process to start.
#[derive(Clone)]
pub(crate) struct Program {
    /// Its executable, a path inside the namespaces.
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
    /// What it sees beside the lab's own environment.
    pub(crate) env: Vec<(&'static str, String)>,
    /// Where its standard error (and standard output, unless that is read) is appended to.
    pub(crate) log: PathBuf,
    pub(crate) namespaces: Arc<Namespaces>,
}

impl Program {
    fn command(&self) -> Result<Command, LabError> {
        let log = open_log(&self.log)?;
        let copy = log.try_clone().on("duplicate", &self.log)?;
        let mut command = Command::new(&self.path);
        command
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(copy)
            .stderr(log);
        command
            .env("PATH", search_path())
            .envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(name) = self.path.file_name() {
            command.arg0(name);
        }
        Ok(command)
    }

    /// Starts it in the background.
    pub(crate) fn start(
        &self,
        reaper: &Reaper,
        on_exit: impl FnOnce(Pid, Exit) + Send + 'static,
    ) -> Result<Pid, LabError> {
        let mut command = self.command()?;
        let started = self
            .namespaces
            .run(|| reaper.spawn(&mut command, Box::new(on_exit)))?;
        started.map(|(pid, _)| pid).on("start", &self.path)
    }

    /// Runs it with `input` as its standard input, and gives how it ended and what it wrote to its
    /// standard output.
    pub(crate) fn run(
        &self,
        reaper: &Reaper,
        input: &[u8],
        timeout: Duration,
    ) -> Result<(Exit, Vec<u8>), LabError> {
        let mut command = self.command()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let (tell, ended) = mpsc::channel();
        let on_exit = Box::new(move |_, exit| {
            let _ = tell.send(exit);
        });
        let started = self
            .namespaces
            .run(|| reaper.spawn(&mut command, on_exit))?;
        let (pid, child) = started.on("start", &self.path)?;
        thread::scope(|scope| {
            let output = scope.spawn(|| exchange(child.stdin, child.stdout, input));
            let exit = ended.recv_timeout(timeout);
            if exit.is_err() {
                reaper.signal(pid, Signal::SIGKILL);
            }
            let output = output.join().unwrap_or_default();
            exit.map(|exit| (exit, output))
                .map_err(|_| too_slow(&self.path, timeout))
        })
    }
}

fn too_slow(path: &Path, timeout: Duration) -> LabError {
    LabError::Late {
        what: format!("the end of {}", path.display()),
        seconds: timeout.as_secs(),
        hint: "; it was killed".to_owned(),
    }
}

/// Writes all input, then reads all output. A process that does not want its input may end before.
fn exchange(stdin: Option<ChildStdin>, stdout: Option<ChildStdout>, input: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(input);
    }
    if let Some(mut stdout) = stdout {
        let _ = stdout.read_to_end(&mut output);
    }
    output
}

fn open_log(path: &Path) -> Result<File, LabError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .on("open", path)
}

/// The lab's own programs before all others.
pub(crate) fn search_path() -> String {
    let outer =
        std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    format!("{BIN_DIR}:{outer}")
}
