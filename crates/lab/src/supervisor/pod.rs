//! A Pod: what containerd and kubelet do for one, step by step, and the same steps back.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use seaway_kernel::netlink::Netlink;
use seaway_kernel::netns::{Netns, unpin};
use serde_json::Value;

use super::Lab;
use super::cni::{self, Added, Attachment, Cni};
use super::ids;
use super::keeper::Farewell;
use super::node::Node;
use super::process::{Background, Program};
use super::underlay::up;
use crate::error::{Context, Errors, LabError};
use crate::namespaces::{Namespaces, on_new_thread, own};
use crate::node_files::{NETNS_DIR, program};
use crate::protocol::{PodStatus, ProcessStatus};

/// A container of every lab Pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Container {
    pub(crate) name: &'static str,
    pub(crate) http: u16,
    pub(crate) echo: u16,
}

/// The containers of every lab Pod.
pub(crate) const CONTAINERS: [Container; 2] = [
    Container {
        name: "main",
        http: 8080,
        echo: 7777,
    },
    Container {
        name: "sidecar",
        http: 8081,
        echo: 7778,
    },
];

/// How long a container may take to serve.
const START: Duration = Duration::from_secs(10);

const MAX_HOST_NAME: usize = 63;

/// A Pod, or as much of it as stands.
pub(crate) struct Pod {
    pub(crate) node: Arc<Node>,
    pub(crate) attachment: Attachment,
    pub(crate) namespaces: Arc<Namespaces>,
    pause: Option<Background>,
    added: Option<Added>,
}

impl Pod {
    /// Makes a Pod; takes down what there is of it when a step fails.
    pub(crate) fn create(lab: &Lab, node: &Arc<Node>, name: &str) -> Result<Pod, LabError> {
        let mut pod = Pod::sandbox(node, name)?;
        match pod.bring_up(lab) {
            Ok(()) => Ok(pod),
            Err(error) => {
                if let Err(e) = pod.take_down(lab) {
                    tracing::warn!("take down what there is of {name}: {e}");
                }
                Err(error)
            }
        }
    }

    /// The Pod's namespaces; the network one gets a name on the node.
    fn sandbox(node: &Arc<Node>, name: &str) -> Result<Pod, LabError> {
        let attachment = Attachment {
            pod: name.to_owned(),
            pod_uid: ids::uuid()?,
            container_id: ids::container_id()?,
            netns: format!("{NETNS_DIR}/cni-{}", ids::uuid()?),
        };
        let net = Netns::create()?;
        let mount = node
            .namespaces
            .mount
            .try_clone()
            .during("keep", || "a mount namespace".to_owned())?;
        let uts = host_name(name)?;
        node.namespaces
            .run(|| net.pin(Path::new(&attachment.netns)))??;
        let namespaces = Arc::new(Namespaces {
            net,
            mount,
            uts,
            pid: None,
        });
        Ok(Pod {
            node: node.clone(),
            attachment,
            namespaces,
            pause: None,
            added: None,
        })
    }

    fn bring_up(&mut self, lab: &Lab) -> Result<(), LabError> {
        self.pause = Some(Background::start(
            &self.program(lab, "pause", &["tool", "pause"]),
            &lab.reaper,
        )?);
        Netlink::open_in(&self.namespaces.net)?.send_all(&[up("lo")])?;
        let added = self.added.insert(self.cni(lab).add(&self.attachment)?);
        lab.cluster
            .put_pod(&self.attachment.pod, self.node.name(), &added.addresses)?;
        for container in CONTAINERS {
            self.start(lab, container)?;
        }
        CONTAINERS
            .iter()
            .try_for_each(|container| self.await_ready(lab, container))
    }

    fn start(&self, lab: &Lab, container: Container) -> Result<(), LabError> {
        let [http, echo] = [container.http, container.echo].map(|port| port.to_string());
        let args = ["tool", "serve", "--http", &http, "--echo", &echo];
        let program = self.program(lab, container.name, &args);
        lab.keeper
            .keep(self.process(container.name), program, Farewell::Kill)
    }

    /// Waits until a container's servers accept connections.
    fn await_ready(&self, lab: &Lab, container: &Container) -> Result<(), LabError> {
        let hint = || {
            format!(
                "; see {}",
                lab.state.log(&self.process(container.name)).display()
            )
        };
        for port in [container.http, container.echo] {
            let accepts = || TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_ok();
            let ready = self.namespaces.run(|| eventually(START, accepts))?;
            if !ready {
                return Err(LabError::Late {
                    what: format!("port {port} of {}", self.process(container.name)),
                    seconds: START.as_secs(),
                    hint: hint(),
                });
            }
        }
        Ok(())
    }

    /// Takes down all of the Pod, step by step; a step that fails keeps no other from being tried.
    pub(crate) fn take_down(&mut self, lab: &Lab) -> Result<(), LabError> {
        let mut errors = Errors::default();
        for container in CONTAINERS {
            lab.keeper.stop(&self.process(container.name));
        }
        if let Some(pause) = self.pause.take() {
            errors.note(pause.kill(&lab.reaper));
        }
        let result = self.added.take().map(|added| added.result);
        errors.note(self.cni(lab).del(&self.attachment, result.as_ref()));
        let netns = Path::new(&self.attachment.netns);
        let unpinned = self
            .node
            .namespaces
            .run(|| unpin(netns).map_err(LabError::from));
        errors.note(unpinned.flatten());
        errors.note(lab.cluster.remove_pod(&self.attachment.pod));
        errors.result()
    }

    /// The name of one of the Pod's processes, for example `pod-1-1/main`.
    pub(crate) fn process(&self, container: &str) -> String {
        format!("{}/{container}", self.attachment.pod)
    }

    fn program(&self, lab: &Lab, container: &str, args: &[&str]) -> Program {
        Program {
            path: program("seaway"),
            args: args.iter().map(ToString::to_string).collect(),
            env: Vec::new(),
            log: lab.state.log(&self.process(container)),
            namespaces: self.namespaces.clone(),
        }
    }

    fn cni<'a>(&'a self, lab: &'a Lab) -> Cni<'a> {
        let ending = lab.ending.load(Ordering::Relaxed);
        Cni {
            reaper: &lab.reaper,
            namespaces: &self.node.namespaces,
            log: lab.state.log(&self.node.daemon("cni")),
            patience: if ending { cni::HURRIED } else { cni::NORMAL },
        }
    }

    /// The Pod's state, given that of all processes.
    pub(crate) fn status(&self, processes: &[ProcessStatus]) -> PodStatus {
        let (addresses, result) = match &self.added {
            Some(added) => (added.addresses.clone(), added.result.clone()),
            None => (Vec::new(), Value::Null),
        };
        let own = CONTAINERS.map(|container| self.process(container.name));
        PodStatus {
            name: self.attachment.pod.clone(),
            node: self.node.name().to_owned(),
            addresses,
            container_id: self.attachment.container_id.clone(),
            netns: self.attachment.netns.clone(),
            result,
            processes: processes
                .iter()
                .filter(|p| own.contains(&p.name))
                .cloned()
                .collect(),
        }
    }
}

/// A host-name namespace with that name, cut as kubelet cuts it.
fn host_name(name: &str) -> Result<std::os::fd::OwnedFd, LabError> {
    on_new_thread(|| {
        unshare(CloneFlags::CLONE_NEWUTS).during("make a host name for", || name.to_owned())?;
        let short = &name[..name.len().min(MAX_HOST_NAME)];
        nix::unistd::sethostname(short).during("set the host name of", || name.to_owned())?;
        own("uts")
    })
}

/// Waits for something to become true; tells whether it did.
pub(crate) fn eventually(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + timeout;
    let mut wait = Duration::from_millis(1);
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(Duration::from_millis(50));
    }
    true
}
