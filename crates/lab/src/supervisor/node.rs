//! A node: its namespaces, its own `/run`, its cable to the underlay, and its daemons.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use seaway_kernel::container::Restriction;
use seaway_kernel::netns::Netns;

use super::process::Program;
use super::underlay::Underlay;
use crate::error::{Context, LabError};
use crate::namespaces::{Namespaces, on_new_thread, own};
use crate::node_files::{AGENT_SOCKET, BIN_DIR, CNI_CONFIG, NETNS_DIR, program};
use crate::state::StateDir;
use crate::topology::{LabNode, Network, UPLINK};

/// The ports of the server on each node's own network.
pub(crate) const NODE_PORTS: (u16, u16) = (8080, 7777);

/// A node that stands.
pub(crate) struct Node {
    pub(crate) plan: LabNode,
    network: Network,
    pub(crate) namespaces: Arc<Namespaces>,
}

/// The executables that nodes run, as the machine sees them.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    pub(crate) seaway: PathBuf,
    pub(crate) plugin: PathBuf,
}

impl Binaries {
    /// This executable and the plugin beside it.
    pub(crate) fn beside_this() -> Result<Binaries, LabError> {
        let seaway = std::env::current_exe().during("find", || "this executable".to_owned())?;
        let plugin = seaway.with_file_name("seaway-cni");
        Ok(Binaries { seaway, plugin })
    }
}

impl Node {
    /// Makes the node's namespaces and files and connects it.
    pub(crate) fn create(
        plan: &LabNode,
        network: &Network,
        underlay: &Underlay,
        state: &StateDir,
        binaries: &Binaries,
    ) -> Result<Node, LabError> {
        let net = Netns::create()?;
        let namespaces = on_new_thread(|| furnish(net, plan.name.as_str(), state, binaries))?;
        underlay.attach(plan.name.as_str(), &plan.addresses, &namespaces.net)?;
        Ok(Node {
            plan: plan.clone(),
            network: *network,
            namespaces: Arc::new(namespaces),
        })
    }

    /// The node's name.
    pub(crate) fn name(&self) -> &str {
        self.plan.name.as_str()
    }

    /// The name of one of its daemons, for example `node1/agent`.
    pub(crate) fn daemon(&self, name: &str) -> String {
        daemon_name(self.name(), name)
    }

    /// The agent.
    pub(crate) fn agent(&self, state: &StateDir, kubeconfig: &Path) -> Program {
        let kubeconfig = kubeconfig.display().to_string();
        let fixed = [
            "agent",
            "--node-name",
            self.name(),
            "--kubeconfig",
            &kubeconfig,
            "--uplink",
            UPLINK,
        ];
        let mut args: Vec<String> = fixed.map(str::to_owned).into();
        args.extend(self.network.agent_flags());
        seaway(&self.namespaces, args, state.log(&self.daemon("agent")))
    }

    /// The echo server on the node's own network.
    pub(crate) fn server(&self, state: &StateDir) -> Program {
        server_of(self.name(), &self.namespaces, state)
    }
}

/// The echo server of a machine that is no Pod.
pub(crate) fn server_of(machine: &str, namespaces: &Arc<Namespaces>, state: &StateDir) -> Program {
    let [http, echo] = [NODE_PORTS.0, NODE_PORTS.1].map(|port| port.to_string());
    let args = ["tool", "serve", "--http", &http, "--echo", &echo].map(str::to_owned);
    let log = state.log(&daemon_name(machine, SERVER));
    seaway(namespaces, args.into(), log)
}

fn seaway(namespaces: &Arc<Namespaces>, args: Vec<String>, log: PathBuf) -> Program {
    Program {
        path: program("seaway"),
        args,
        env: Vec::new(),
        log,
        namespaces: namespaces.clone(),
    }
}

/// The echo server among the daemons of a machine.
pub(crate) const SERVER: &str = "serve";

/// The name of a daemon of a machine.
pub(crate) fn daemon_name(machine: &str, name: &str) -> String {
    format!("{machine}/{name}")
}

/// Makes the calling thread's mounts and host name those of a node.
pub(crate) fn furnish(
    net: Netns,
    name: &str,
    state: &StateDir,
    binaries: &Binaries,
) -> Result<Namespaces, LabError> {
    net.switch_here()?;
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
        .during("make namespaces for", || name.to_owned())?;
    nix::unistd::sethostname(name).during("set the host name of", || name.to_owned())?;
    let state_dir = Source::open(&state.path())?;
    let programs = [
        Source::open(&binaries.seaway)?,
        Source::open(&binaries.plugin)?,
    ];
    mount_new("tmpfs", "/run", Some("mode=755"))?;
    state_dir.bind_dir(&state.path())?;
    for (source, name) in programs.iter().zip(["seaway", "seaway-cni"]) {
        source.bind_file(&program(name))?;
    }
    for dir in [Path::new(NETNS_DIR), parent(AGENT_SOCKET)] {
        fs::create_dir_all(dir).on("create", dir)?;
    }
    write_cni_config()?;
    show_own_devices();
    Ok(Namespaces {
        net,
        mount: own("mnt")?,
        uts: own("uts")?,
        ipc: None,
        pid: None,
    })
}

/// `/sys/class/net` shows the namespace that sysfs was mounted in. Not needed by anything of ours,
/// and refused in some containers.
fn show_own_devices() {
    if let Err(e) = mount_new("sysfs", "/sys", None) {
        tracing::debug!("{e}");
    }
}

fn write_cni_config() -> Result<(), LabError> {
    let path = Path::new(CNI_CONFIG);
    fs::create_dir_all(parent(CNI_CONFIG)).on("create", parent(CNI_CONFIG))?;
    fs::write(path, super::cni::conflist()).on("write", path)
}

fn parent(path: &str) -> &Path {
    Path::new(path).parent().unwrap_or(Path::new("/"))
}

pub(crate) fn mount_new(
    kind: &'static str,
    target: &str,
    data: Option<&str>,
) -> Result<(), LabError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some(kind), target, Some(kind), flags, data)
        .during("mount", || format!("{kind} on {target}"))
}

/// A file or folder that is about to be hidden by another mount.
struct Source(File);

impl Source {
    fn open(path: &Path) -> Result<Source, LabError> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_PATH);
        options.open(path).map(Source).on("open", path)
    }

    fn bind_dir(&self, target: &Path) -> Result<(), LabError> {
        fs::create_dir_all(target).on("create", target)?;
        self.bind(target)
    }

    fn bind_file(&self, target: &Path) -> Result<(), LabError> {
        fs::create_dir_all(BIN_DIR).on("create", Path::new(BIN_DIR))?;
        File::create(target).on("create", target)?;
        self.bind(target)?;
        // Containers come to hold what leads into them: they must not be able to write to it.
        let read_only = Restriction {
            read_only: true,
            ..Restriction::default()
        };
        Ok(read_only.apply(target, false)?)
    }

    fn bind(&self, target: &Path) -> Result<(), LabError> {
        let source = PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()));
        mount(
            Some(&source),
            target,
            None::<&str>,
            // With what is mounted in it: the files of Pods are.
            MsFlags::MS_BIND | MsFlags::MS_REC,
            None::<&str>,
        )
        .on("bind a file to", target)
    }
}
