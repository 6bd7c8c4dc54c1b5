//! Debian's containerd on a [`Machine`]: a process that can be killed and started again.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seaway_testkit::eventually;

use super::Cri;
use super::image::IMAGE;
use super::machine::{Machine, only_child};
use crate::agent::LIMIT;

/// A containerd, running or not.
#[derive(Debug)]
pub struct Containerd {
    folder: PathBuf,
    process: Option<Child>,
}

impl Containerd {
    /// Of this machine; not started yet. The pause image is that of the tests, so that nothing is
    /// fetched. Neither kernel modules nor AppArmor profiles are loaded: they would be the host's.
    pub(super) fn of(machine: &Machine) -> Containerd {
        let folder = machine.folder.clone();
        let place = folder.display();
        let config = format!(
            r#"version = 2
root = "/var/lib/containerd"
state = "{place}/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{place}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
"#
        );
        fs::write(folder.join("containerd.toml"), config).expect("written");
        Containerd {
            folder,
            process: None,
        }
    }

    /// Where it listens, on both sides.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("containerd.sock")
    }

    /// Starts it and waits until it serves.
    pub fn start(&mut self, machine: &Machine, cri: &Cri) {
        assert!(self.process.is_none(), "containerd runs");
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("containerd.log"))
            .expect("log");
        let mut command = machine.command("containerd");
        command
            .arg("--config")
            .arg(self.folder.join("containerd.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log);
        self.process = Some(command.spawn().expect("started"));
        eventually("containerd serves", LIMIT, || {
            cri.version().map_err(|refusal| (refusal, self.log()))
        });
    }

    /// Ends it by a signal and waits for its end; what it runs is not touched.
    pub fn end(&mut self, signal: Signal) {
        let mut process = self.process.take().expect("containerd runs");
        let pid = only_child(process.id()).expect("containerd runs");
        let pid = Pid::from_raw(i32::try_from(pid).expect("a pid"));
        kill(pid, signal).expect("signalled");
        process.wait().expect("ended");
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("containerd.log")).unwrap_or_default()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It ends with its machine; this is only the one who waits for it.
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "artefacts of a failed test")]
            {
                let log = self.log();
                let told = log.lines().filter(|line| !line.contains("level=info"));
                let told: Vec<&str> = told.collect();
                eprintln!(
                    "--- containerd in {} ---\n{}",
                    self.folder.display(),
                    told.join("\n")
                );
            }
        }
    }
}
