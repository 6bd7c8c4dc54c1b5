//! A node as the API shows it: what kubelet says of its machine. Pure but for reading what machine
//! this is.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    ContainerImage, Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    MicroTime, ObjectMeta, OwnerReference, Time as ApiTime,
};

use super::life::Time;
use crate::topology::LabNode;

/// How many Pods a node takes, as kubelet does.
const MOST_PODS: &str = "110";
/// The Namespace of the nodes' Leases.
pub(crate) const LEASES: &str = "kube-node-lease";
/// For how long a Lease is good.
const LEASE_SECONDS: i32 = 40;
const KUBELET: &str = "v1.37.0-seaway";

/// What a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) milli_cpus: i128,
    pub(crate) memory: i128,
}

impl Capacity {
    /// All that this machine has: every node of a lab may use all of it.
    pub(crate) fn of_this_machine() -> Capacity {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Capacity {
            milli_cpus: i128::try_from(cpus).unwrap_or(1) * 1000,
            memory: total_memory(&text).unwrap_or(1 << 30),
        }
    }
}

fn total_memory(meminfo: &str) -> Option<i128> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: i128 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// What does not change about a node.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) zone: String,
    pub(crate) capacity: Capacity,
    pub(crate) info: NodeSystemInfo,
}

impl Identity {
    pub(crate) fn new(node: &LabNode, capacity: Capacity, id: String) -> Identity {
        Identity {
            name: node.name.to_string(),
            ips: node.ips(),
            zone: node.zone.clone(),
            capacity,
            info: system_info(id),
        }
    }
}

/// `id` stands for the node's machine, since all nodes of a lab run on one.
fn system_info(id: String) -> NodeSystemInfo {
    let read = |path: &str| {
        fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: format!("seaway://{}", env!("CARGO_PKG_VERSION")),
        kernel_version: read("/proc/sys/kernel/osrelease"),
        kube_proxy_version: String::new(),
        kubelet_version: KUBELET.to_owned(),
        machine_id: id.replace('-', ""),
        operating_system: "linux".to_owned(),
        os_image: os_image(&release).unwrap_or_else(|| "Linux".to_owned()),
        system_uuid: id,
        ..NodeSystemInfo::default()
    }
}

fn os_image(release: &str) -> Option<String> {
    let line = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim().trim_matches('"').to_owned())
}

/// This machine's processor as Kubernetes calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The object of a node that the API does not know. `pod_cidrs` are those that it had before, so
/// that the addresses of its Pods stay good.
pub(crate) fn object(identity: &Identity, pod_cidrs: &[String]) -> Node {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let arch = architecture();
    let labels = BTreeMap::from([
        label("kubernetes.io/hostname", &identity.name),
        label("kubernetes.io/os", "linux"),
        label("kubernetes.io/arch", arch),
        label("beta.kubernetes.io/os", "linux"),
        label("beta.kubernetes.io/arch", arch),
        label("topology.kubernetes.io/zone", &identity.zone),
    ]);
    Node {
        metadata: ObjectMeta {
            name: Some(identity.name.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            pod_cidr: pod_cidrs.first().cloned(),
            pod_cidrs: (!pod_cidrs.is_empty()).then(|| pod_cidrs.to_vec()),
            ..NodeSpec::default()
        }),
        status: None,
    }
}

/// The conditions of a node, and since when each is what it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    since: BTreeMap<&'static str, (String, Time)>,
    heartbeat: Option<Time>,
}

/// How often a node says that it is still well.
const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(300);

impl Conditions {
    /// What a node says of itself; `network` says why it cannot take Pods yet.
    pub(crate) fn of(&mut self, network: Result<(), &str>, now: Time) -> Vec<NodeCondition> {
        let ready = match network {
            Ok(()) => (
                "True",
                "KubeletReady",
                "kubelet is posting ready status".to_owned(),
            ),
            Err(reason) => (
                "False",
                "KubeletNotReady",
                format!(
                    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not ready: {reason}"
                ),
            ),
        };
        let well = |reason: &'static str, message: &str| ("False", reason, message.to_owned());
        let all = [
            (
                "MemoryPressure",
                well(
                    "KubeletHasSufficientMemory",
                    "kubelet has sufficient memory available",
                ),
            ),
            (
                "DiskPressure",
                well("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ),
            (
                "PIDPressure",
                well(
                    "KubeletHasSufficientPID",
                    "kubelet has sufficient PID available",
                ),
            ),
            ("Ready", ready),
        ];
        let changed = all.iter().any(|(kind, (status, ..))| {
            self.since
                .get(kind)
                .is_none_or(|(before, _)| before != status)
        });
        if changed || self.heartbeat.is_none_or(|at| at + HEARTBEAT <= now) {
            self.heartbeat = Some(now);
        }
        all.into_iter()
            .map(|(kind, said)| self.condition(kind, said, now))
            .collect()
    }

    fn condition(
        &mut self,
        kind: &'static str,
        (status, reason, message): (&str, &str, String),
        now: Time,
    ) -> NodeCondition {
        let entry = self
            .since
            .entry(kind)
            .or_insert_with(|| (status.to_owned(), now));
        if entry.0 != status {
            *entry = (status.to_owned(), now);
        }
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_heartbeat_time: self.heartbeat.map(ApiTime),
            last_transition_time: Some(ApiTime(entry.1)),
        }
    }
}

/// A node's status: its own conditions, and those of others as `known`.
pub(crate) fn status(
    identity: &Identity,
    own: Vec<NodeCondition>,
    known: Option<&NodeStatus>,
) -> NodeStatus {
    let quantity = |key: &str, text: String| (key.to_owned(), Quantity(text));
    let capacity = BTreeMap::from([
        quantity("cpu", cpus(identity.capacity.milli_cpus)),
        quantity("memory", format!("{}Ki", identity.capacity.memory / 1024)),
        quantity("pods", MOST_PODS.to_owned()),
    ]);
    let address = |kind: &str, address: String| NodeAddress {
        type_: kind.to_owned(),
        address,
    };
    let mut addresses: Vec<_> = identity
        .ips
        .iter()
        .map(|ip| address("InternalIP", ip.to_string()))
        .collect();
    addresses.push(address("Hostname", identity.name.clone()));
    let is_foreign = |c: &&NodeCondition| own.iter().all(|o| o.type_ != c.type_);
    let known_conditions = known.and_then(|known| known.conditions.as_ref());
    let foreign: Vec<_> = known_conditions
        .into_iter()
        .flatten()
        .filter(is_foreign)
        .cloned()
        .collect();
    NodeStatus {
        addresses: Some(addresses),
        allocatable: Some(capacity.clone()),
        capacity: Some(capacity),
        conditions: Some(foreign.into_iter().chain(own).collect()),
        images: Some(vec![ContainerImage {
            names: Some(vec!["seaway".to_owned()]),
            size_bytes: None,
        }]),
        node_info: Some(identity.info.clone()),
        ..NodeStatus::default()
    }
}

fn cpus(milli: i128) -> String {
    match milli % 1000 {
        0 => (milli / 1000).to_string(),
        _ => format!("{milli}m"),
    }
}

/// A node's Lease, renewed `now`.
pub(crate) fn lease(name: &str, uid: &str, now: Time) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(LEASES.to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: name.to_owned(),
                uid: uid.to_owned(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Network, Topology};

    fn identity() -> Identity {
        let lab = Topology::new(1, 0, Network::default()).expect("valid");
        let capacity = Capacity {
            milli_cpus: 2000,
            memory: 4 << 30,
        };
        Identity::new(&lab.nodes[0], capacity, "a-b".to_owned())
    }

    fn at(seconds: i64) -> Time {
        Time::from_second(seconds).expect("a time")
    }

    #[test]
    fn a_node_has_both_families_and_its_name() {
        let status = status(&identity(), Vec::new(), None);
        let addresses: Vec<_> = status
            .addresses
            .expect("some")
            .into_iter()
            .map(|a| format!("{}={}", a.type_, a.address))
            .collect();
        assert_eq!(
            addresses,
            [
                "InternalIP=172.18.0.1",
                "InternalIP=fd00:5ea::1",
                "Hostname=node1"
            ]
        );
        let capacity = status.capacity.expect("some");
        assert_eq!(
            (capacity["cpu"].0.as_str(), capacity["memory"].0.as_str()),
            ("2", "4194304Ki")
        );
        assert_eq!(status.node_info.expect("some").machine_id, "ab");
    }

    #[test]
    fn a_known_network_stays_with_a_node_that_is_made_anew() {
        let node = object(
            &identity(),
            &["10.244.1.0/24".to_owned(), "fd00::/64".to_owned()],
        );
        let spec = node.spec.expect("some");
        assert_eq!(spec.pod_cidr.as_deref(), Some("10.244.1.0/24"));
        assert_eq!(spec.pod_cidrs.expect("some").len(), 2);
        assert_eq!(object(&identity(), &[]).spec.expect("some").pod_cidrs, None);
        assert_eq!(
            node.metadata.labels.expect("some")["kubernetes.io/hostname"],
            "node1"
        );
    }

    #[test]
    fn a_node_is_in_a_zone() {
        let labels = object(&identity(), &[]).metadata.labels.expect("some");
        assert_eq!(labels["topology.kubernetes.io/zone"], "zone-a");
    }

    #[test]
    fn conditions_change_when_they_change_and_beat_now_and_then() {
        let mut conditions = Conditions::default();
        let waiting = conditions.of(Err("no agent"), at(100));
        assert_eq!(
            (waiting[3].status.as_str(), waiting[3].type_.as_str()),
            ("False", "Ready")
        );
        assert!(
            waiting[3]
                .message
                .as_ref()
                .expect("some")
                .ends_with("no agent")
        );
        let ready = conditions.of(Ok(()), at(110));
        assert_eq!(ready[3].last_transition_time, Some(ApiTime(at(110))));
        assert_eq!(ready[0].last_transition_time, Some(ApiTime(at(100))));
        assert_eq!(conditions.of(Ok(()), at(120)), ready, "nothing new");
        assert_eq!(
            conditions.of(Ok(()), at(410))[0].last_heartbeat_time,
            Some(ApiTime(at(410)))
        );
    }

    #[test]
    fn conditions_of_others_are_kept() {
        let foreign = NodeCondition {
            type_: "NetworkUnavailable".to_owned(),
            ..NodeCondition::default()
        };
        let known = NodeStatus {
            conditions: Some(vec![
                foreign,
                NodeCondition {
                    type_: "Ready".to_owned(),
                    ..NodeCondition::default()
                },
            ]),
            ..NodeStatus::default()
        };
        let own = Conditions::default().of(Ok(()), at(1));
        let kinds: Vec<_> = status(&identity(), own, Some(&known))
            .conditions
            .expect("some")
            .into_iter()
            .map(|c| c.type_)
            .collect();
        assert_eq!(
            kinds,
            [
                "NetworkUnavailable",
                "MemoryPressure",
                "DiskPressure",
                "PIDPressure",
                "Ready"
            ]
        );
    }

    #[test]
    fn machines_tell_what_they_are() {
        assert_eq!(
            total_memory("MemTotal:   2048 kB\nMemFree: 1 kB"),
            Some(2 << 20)
        );
        assert_eq!(total_memory("x"), None);
        assert_eq!(
            os_image("A=b\nPRETTY_NAME=\"Debian 13\"\n").as_deref(),
            Some("Debian 13")
        );
        assert_eq!(cpus(1500), "1500m");
    }
}
