//! What a node is to a container runtime: processes, mounts and folders of its own, on top of the
//! node's network namespace.
//!
//! Everything that runs in it dies with it, and it dies with the thread that booted it, however that
//! ends: its first process is the root of a PID namespace, and the kernel ends the others with it.

use std::fs;
use std::iter::successors;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;

use nix::mount::{MsFlags, mount};
use seaway_testkit::eventually;

use crate::agent::LIMIT;
use crate::shell;

/// The usual folders as this machine's own: `/etc` over the host's, the others empty. The plugin and
/// its configuration are where runtimes look by default, and the agent's socket where the plugin does.
const BOOT: &str = "set -e
mkdir -p etc/upper etc/work tmp net.d bin
mount -t overlay overlay -o lowerdir=/etc,upperdir=etc/upper,workdir=etc/work /etc
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /opt
mkdir -p /opt/cni/bin /etc/cni/net.d /run/seaway
mount --bind net.d /etc/cni/net.d
mount --bind bin /opt/cni/bin
mount --bind \"$1\" /run/seaway
touch up
exec env --ignore-signal=CHLD sleep infinity
";

/// A machine that runs.
#[derive(Debug)]
pub struct Machine {
    /// What it has on the test's side: `net.d` is its `/etc/cni/net.d`, `bin` its `/opt/cni/bin`.
    pub folder: PathBuf,
    name: String,
    keeper: Child,
    /// The first process, as the test's PID namespace has it.
    init: u32,
}

impl Machine {
    /// Boots the machine of the node whose namespace has this name; its agent has its state in `state`.
    pub(super) fn boot(name: &str, state: &Path) -> Machine {
        share_names();
        let folder = PathBuf::from(format!("/run/machine-{name}"));
        fs::create_dir_all(&folder).expect("folder");
        fs::create_dir_all(state).expect("folder");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net=/run/netns/{name}"))
            .args(["unshare", "--pid", "--mount", "--fork", "--kill-child"])
            .args(["--propagation", "unchanged", "--mount-proc"])
            .args(["sh", "-c", BOOT, "boot"])
            .arg(state)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .process_group(0);
        let keeper = command.spawn().expect("started");
        eventually("the machine is up", LIMIT, || {
            fs::metadata(folder.join("up"))
        });
        let init = only_child(keeper.id()).expect("its first process");
        Machine {
            folder,
            name: name.to_owned(),
            keeper,
            init,
        }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs in the machine.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.init))
            .args(["--pid", "--mount", "--net", "--wd=/", "--", program])
            .env("TMPDIR", self.folder.join("tmp"));
        command
    }

    /// Runs a command line in the machine, and wants success; gives what it printed.
    ///
    /// # Panics
    ///
    /// If it fails, with what it said.
    pub fn run(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().expect("a program"));
        shell::checked(line, &command.args(words).output().expect("started"))
    }

    /// The processes that are in the machine and in its containers, as the test's PID namespace
    /// has them.
    pub fn processes(&self) -> Vec<u32> {
        let Some(own) = pid_namespace(self.init) else {
            return Vec::new();
        };
        // Containers have PID namespaces of their own, below the machine's.
        let is_inside = |pid: u32| {
            let mut line = successors(Some(pid), |pid| parent(*pid)).take(8);
            line.any(|pid| pid_namespace(pid).as_ref() == Some(&own))
        };
        let entries = fs::read_dir("/proc").expect("procfs").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| is_inside(*pid)).collect()
    }

    /// A process of the machine or its containers by the PID that it has in the machine.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn outer_pid(&self, inner: u32) -> u32 {
        let depth = pids_of(self.init).len() - 1;
        let mut processes = self.processes().into_iter();
        let found = processes.find(|pid| pids_of(*pid).get(depth) == Some(&inner));
        found.expect("a process of this PID")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        // The kernel is done with the namespace when its first process is gone.
        let gone = || match fs::metadata(format!("/proc/{}/ns/pid", self.init)) {
            Ok(_) => Err("its first process is there"),
            Err(_) => Ok(()),
        };
        if !std::thread::panicking() {
            eventually("the machine is gone", LIMIT, gone);
        }
    }
}

/// The only child of a process.
pub(super) fn only_child(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// The PIDs of a process, from those of the test's namespace to those of its own.
fn pids_of(pid: u32) -> Vec<u32> {
    let pids = of_status(pid, "NSpid:").unwrap_or_default();
    let pids = pids.split_whitespace().map(str::parse);
    pids.collect::<Result<_, _>>().expect("PIDs")
}

fn parent(pid: u32) -> Option<u32> {
    let pid = of_status(pid, "PPid:")?.trim().parse().ok()?;
    (pid > 0).then_some(pid)
}

fn of_status(pid: u32, key: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut lines = status.lines();
    lines.find_map(|line| Some(line.strip_prefix(key)?.to_owned()))
}

fn pid_namespace(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// Names of network namespaces that a runtime makes are to be seen by the agent too, which runs
/// outside, as in a cluster they are on the host.
fn share_names() {
    thread_local! {
        static SHARED: Once = const { Once::new() };
    }
    let names = Path::new("/run/netns");
    let share = || {
        let (itself, bind) = (Some(names), MsFlags::MS_BIND | MsFlags::MS_REC);
        mount(itself, names, None::<&str>, bind, None::<&str>).expect("bound");
        mount(
            None::<&str>,
            names,
            None::<&str>,
            MsFlags::MS_SHARED,
            None::<&str>,
        )
        .expect("shared");
    };
    SHARED.with(|once| once.call_once(share));
}
