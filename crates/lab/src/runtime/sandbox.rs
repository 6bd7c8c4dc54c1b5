//! The sandbox of a Pod: its namespaces, the process that holds them, and its attachment to the
//! network, which is what the CNI plugin made of it. A Pod on its node's own network has the node's
//! namespaces and no attachment.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use seaway_kernel::netlink::Netlink;
use seaway_kernel::netns::{Netns, unpin};
use serde_json::{Map, Value};

use crate::error::{Context, Errors, LabError};
use crate::namespaces::{Namespaces, on_new_thread, own};
use crate::node_files::{NETNS_DIR, program};
use crate::state::StateDir;
use crate::supervisor::cni::{self, Added, Attachment, Cni};
use crate::supervisor::ids;
use crate::supervisor::node::Node;
use crate::supervisor::process::Program;
use crate::supervisor::reaper::Reaper;
use crate::supervisor::underlay::up;

/// What a sandbox is made of.
pub(crate) struct Workshop<'a> {
    pub(crate) reaper: &'a Reaper,
    pub(crate) state: &'a StateDir,
    pub(crate) node: &'a Arc<Node>,
}

/// Whose sandbox it is.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) host_name: String,
    pub(crate) host_network: bool,
    /// What CNI is to be told beside names, as `runtimeConfig`.
    pub(crate) runtime_config: Map<String, Value>,
}

/// A sandbox, or as much of it as stands.
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) namespaces: Arc<Namespaces>,
    pub(crate) addresses: Vec<IpAddr>,
    pause: Option<Pid>,
    network: Option<Network>,
}

/// The part that CNI knows of.
struct Network {
    attachment: Attachment,
    attached: bool,
    pinned: bool,
    added: Option<Added>,
}

impl Sandbox {
    /// Makes a sandbox; takes down what there is of it when a step fails. `on_death` is told when
    /// the process that holds it ends, whyever.
    pub(crate) fn create(
        workshop: &Workshop<'_>,
        owner: &Owner,
        id: String,
        on_death: impl FnOnce() + Send + 'static,
    ) -> Result<Sandbox, LabError> {
        let mut sandbox = if owner.host_network {
            Sandbox::on_host(workshop.node, id)
        } else {
            Sandbox::apart(workshop.node, owner, id)?
        };
        match sandbox.bring_up(workshop, on_death) {
            Ok(()) => Ok(sandbox),
            Err(error) => {
                if let Err(e) = sandbox.remove(workshop, false) {
                    tracing::warn!("take down what there is of {}: {e}", owner.name);
                }
                Err(error)
            }
        }
    }

    fn on_host(node: &Arc<Node>, id: String) -> Sandbox {
        Sandbox {
            id,
            namespaces: node.namespaces.clone(),
            addresses: node.plan.ips(),
            pause: None,
            network: None,
        }
    }

    fn apart(node: &Arc<Node>, owner: &Owner, id: String) -> Result<Sandbox, LabError> {
        let attachment = Attachment {
            namespace: owner.namespace.clone(),
            pod: owner.name.clone(),
            pod_uid: owner.uid.clone(),
            container_id: id.clone(),
            netns: format!("{NETNS_DIR}/cni-{}", ids::uuid()?),
            runtime_config: owner.runtime_config.clone(),
        };
        let mount = node.namespaces.mount.try_clone();
        let mount = mount.during("keep", || "a mount namespace".to_owned())?;
        let net = Netns::create()?;
        let (uts, ipc) = own_names(&owner.host_name)?;
        let namespaces = Namespaces {
            net,
            mount,
            uts,
            ipc: Some(ipc),
            pid: None,
        };
        Ok(Sandbox {
            id,
            namespaces: Arc::new(namespaces),
            addresses: Vec::new(),
            pause: None,
            network: Some(Network {
                attachment,
                attached: false,
                pinned: false,
                added: None,
            }),
        })
    }

    fn bring_up(
        &mut self,
        workshop: &Workshop<'_>,
        on_death: impl FnOnce() + Send + 'static,
    ) -> Result<(), LabError> {
        let program = Program {
            path: program("seaway"),
            args: ["tool", "pause"].map(str::to_owned).into(),
            env: Vec::new(),
            log: workshop.state.log(&workshop.node.daemon("pause")),
            namespaces: self.namespaces.clone(),
        };
        self.pause = Some(program.start(workshop.reaper, move |_, _| on_death())?);
        let Some(network) = &mut self.network else {
            return Ok(());
        };
        let net = &self.namespaces.net;
        let path = Path::new(&network.attachment.netns);
        let pinned = workshop.node.namespaces.run(|| net.pin(path));
        pinned??;
        network.pinned = true;
        Netlink::open_in(net)?.send_all(&[up("lo")])?;
        network.attached = true;
        let added = workshop.cni(cni::PROMPT).add(&network.attachment)?;
        self.addresses.clone_from(&added.addresses);
        network.added = Some(added);
        Ok(())
    }

    /// Takes down what is left, step by step; can be called again if a step fails. The containers
    /// must be gone. In a hurry, an agent that does not answer is not waited for.
    pub(crate) fn remove(&mut self, workshop: &Workshop<'_>, hurry: bool) -> Result<(), LabError> {
        if let Some(pause) = self.pause.take() {
            workshop.reaper.signal(pause, Signal::SIGKILL);
        }
        let Some(network) = &mut self.network else {
            return Ok(());
        };
        let mut errors = Errors::default();
        if network.attached {
            let result = network.added.as_ref().map(|added| &added.result);
            let patience = if hurry { cni::HURRIED } else { cni::PROMPT };
            let gone = workshop.cni(patience).del(&network.attachment, result);
            network.attached = gone.is_err();
            errors.note(gone);
        }
        if network.pinned && !network.attached {
            let path = Path::new(&network.attachment.netns);
            let unpinned = workshop
                .node
                .namespaces
                .run(|| unpin(path).map_err(LabError::from))
                .flatten();
            network.pinned = unpinned.is_err();
            errors.note(unpinned);
        }
        errors.result()
    }

    /// The process that holds it.
    pub(crate) fn pause(&self) -> Option<Pid> {
        self.pause
    }

    /// The path of its network namespace on the node, if it has one of its own.
    pub(crate) fn netns(&self) -> Option<&str> {
        Some(&self.network.as_ref()?.attachment.netns)
    }

    /// What the CNI plugin has answered.
    pub(crate) fn result(&self) -> Option<&Value> {
        Some(&self.network.as_ref()?.added.as_ref()?.result)
    }
}

impl<'a> Workshop<'a> {
    fn cni(&self, patience: cni::Patience) -> Cni<'a> {
        Cni {
            reaper: self.reaper,
            namespaces: &self.node.namespaces,
            log: self.state.log(&self.node.daemon("cni")),
            patience,
        }
    }
}

type Fd = std::os::fd::OwnedFd;

/// A host-name namespace with that name, and a fresh one for shared memory and the like.
fn own_names(host_name: &str) -> Result<(Fd, Fd), LabError> {
    on_new_thread(|| {
        unshare(CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC)
            .during("make namespaces for", || host_name.to_owned())?;
        let named = nix::unistd::sethostname(host_name);
        named.during("set the host name of", || host_name.to_owned())?;
        Ok((own("uts")?, own("ipc")?))
    })
}
