//! What a Pod takes from a node: cpu, memory, ports of the host.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::quantity::milli;

type Amounts = BTreeMap<String, Quantity>;

/// Cpu and memory, in thousandths of a core and of a byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) cpu: i128,
    pub(crate) memory: i128,
}

impl Resources {
    /// Reads a list of amounts; what is not in it is zero.
    pub(crate) fn of(amounts: Option<&Amounts>) -> Self {
        let amount = |name: &str| {
            let quantity = amounts.and_then(|amounts| amounts.get(name));
            quantity
                .and_then(|quantity| milli(&quantity.0))
                .unwrap_or(0)
        };
        Self {
            cpu: amount("cpu"),
            memory: amount("memory"),
        }
    }

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_add(other.cpu),
            memory: self.memory.saturating_add(other.memory),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
        }
    }
}

/// A port of the node that a Pod occupies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    protocol: String,
    /// Empty: all addresses.
    address: String,
    port: i32,
}

impl HostPort {
    /// Whether both cannot be on one node.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address.is_empty()
                || other.address.is_empty()
                || self.address == other.address)
    }
}

/// What a Pod takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    pub(crate) resources: Resources,
    pub(crate) ports: Vec<HostPort>,
}

impl Needs {
    /// Reads a Pod.
    pub(crate) fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else {
            return Self::default();
        };
        Self {
            resources: requests(spec),
            ports: host_ports(spec),
        }
    }
}

/// Containers run together; init containers one after the other before them, except for those that
/// go on running.
fn requests(spec: &PodSpec) -> Resources {
    let of = |container: &Container| {
        let resources = container.resources.as_ref();
        Resources::of(resources.and_then(|resources| resources.requests.as_ref()))
    };
    let mut running = Resources::default();
    let mut peak = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        if container.restart_policy.as_deref() == Some("Always") {
            running = running.plus(of(container));
            peak = peak.max(running);
        } else {
            peak = peak.max(running.plus(of(container)));
        }
    }
    for container in &spec.containers {
        running = running.plus(of(container));
    }
    let whole = spec
        .resources
        .as_ref()
        .and_then(|all| all.requests.as_ref());
    let wanted = match whole {
        Some(whole) => Resources::of(Some(whole)),
        None => peak.max(running),
    };
    wanted.plus(Resources::of(spec.overhead.as_ref()))
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let on_host = spec.host_network == Some(true);
    let ports = spec
        .containers
        .iter()
        .flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0);
            let address = port.host_ip.clone().unwrap_or_default();
            let any = matches!(address.as_str(), "0.0.0.0" | "::");
            Some(HostPort {
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                address: if any { String::new() } else { address },
                port: number.or(on_host.then_some(port.container_port))?,
            })
        })
        .collect()
}
