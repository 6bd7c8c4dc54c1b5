//! The control plane: namespaces of its own on the underlay, the API server and the controllers in
//! them, and where the API server is reached. What these programs do is their own business.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use seaway_api::heartbeat::NAMESPACE;
use seaway_kernel::netns::Netns;

use super::node::furnish;
use super::node::{Binaries, daemon_name};
use super::port::ReservedPort;
use super::process::Program;
use super::underlay::Underlay;
use crate::credentials::{Caller, Credentials, Endpoints};
use crate::error::{Context, LabError};
use crate::namespaces::{Namespaces, on_new_thread};
use crate::node_files::program;
use crate::state::StateDir;
use crate::topology::{API_PORT, CONTROL_PLANE, FIRST_NODE_CIDR, Network};

/// The namespace of the supervisor, which is the machine's own, as the control plane sees it.
const MACHINE_NETNS: &str = "/proc/1/ns/net";

/// The control plane of a lab.
pub(crate) struct ControlPlane {
    pub(crate) namespaces: Arc<Namespaces>,
    pub(crate) credentials: Credentials,
    network: Network,
    loopback: ReservedPort,
}

impl ControlPlane {
    /// Makes its namespaces and credentials and connects it.
    pub(crate) fn create(
        network: &Network,
        underlay: &Underlay,
        state: &StateDir,
        binaries: &Binaries,
    ) -> Result<ControlPlane, LabError> {
        let net = Netns::create()?;
        let namespaces = on_new_thread(|| furnish(net, CONTROL_PLANE, state, binaries))?;
        let addresses = network.control_plane_addresses();
        underlay.attach(CONTROL_PLANE, &addresses, &namespaces.net)?;
        let loopback = ReservedPort::any()?;
        let credentials = Credentials::below(&state.path());
        credentials.create(state.name().as_str(), &endpoints(network, loopback.at)?)?;
        Ok(ControlPlane {
            namespaces: Arc::new(namespaces),
            credentials,
            network: *network,
            loopback,
        })
    }

    /// The API server.
    pub(crate) fn api_server(&self, state: &StateDir) -> Program {
        let mut args = vec!["apiserver".to_owned()];
        let mut flag = |name: &str, value: String| args.extend([format!("--{name}"), value]);
        for address in self.network.control_plane_addresses() {
            let at = SocketAddr::new(address.addr(), API_PORT);
            flag("listen", at.to_string());
            flag("advertise", at.to_string());
        }
        flag("listen", format!("{MACHINE_NETNS}={}", self.loopback.at));
        let files = [
            ("tls-cert", self.credentials.certificate()),
            ("tls-key", self.credentials.key()),
            ("tokens", self.credentials.tokens()),
            ("objects", self.credentials.rights()),
            ("pod-logs", state.pod_logs()),
            ("containers", state.containers_socket()),
        ];
        for (name, path) in files {
            flag(name, path.display().to_string());
        }
        for cidr in self.network.service_cidrs() {
            flag("service-cidr", cidr.to_string());
        }
        flag("namespace", NAMESPACE.to_owned());
        self.seaway(args, state, API_SERVER)
    }

    /// The controllers.
    pub(crate) fn controller(&self, state: &StateDir) -> Program {
        let kubeconfig = self.credentials.kubeconfig(Caller::Controller);
        let mut args = vec!["controller".to_owned()];
        let mut flag = |name: &str, value: String| args.extend([format!("--{name}"), value]);
        flag("kubeconfig", kubeconfig.display().to_string());
        flag(
            "root-ca",
            self.credentials.authority().display().to_string(),
        );
        for (cidr, bits) in self.network.cluster_cidrs() {
            flag("cluster-cidr", format!("{cidr}={bits}"));
        }
        flag("first-node-cidr", FIRST_NODE_CIDR.to_string());
        self.seaway(args, state, CONTROLLER)
    }

    fn seaway(&self, args: Vec<String>, state: &StateDir, name: &str) -> Program {
        Program {
            path: program("seaway"),
            args,
            env: Vec::new(),
            log: state.log(&daemon_name(CONTROL_PLANE, name)),
            namespaces: self.namespaces.clone(),
        }
    }
}

/// The API server among the daemons of the control plane.
pub(crate) const API_SERVER: &str = "apiserver";
/// The controllers among them.
pub(crate) const CONTROLLER: &str = "controller";

fn endpoints(network: &Network, loopback: SocketAddr) -> Result<Endpoints, LabError> {
    let own = network.control_plane_addresses();
    let first = own.first().ok_or_else(|| {
        LabError::Request("the control plane has no address on the underlay".to_owned())
    })?;
    let mut all: Vec<IpAddr> = own.iter().map(IpNet::addr).collect();
    all.extend([
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
    ]);
    for cidr in network.service_cidrs() {
        all.extend(cidr.hosts().next());
    }
    Ok(Endpoints {
        loopback,
        underlay: SocketAddr::new(first.addr(), API_PORT),
        all,
    })
}

/// Makes the folder that Pods' logs go to.
pub(crate) fn make_pod_logs(path: &Path) -> Result<(), LabError> {
    std::fs::create_dir_all(path).on("create", path)
}
