//! The cluster from a file: YAML with nodes, Pods, Services and their endpoints, watched for changes.
//!
//! ```yaml
//! nodes:
//! - name: node1
//!   addresses: [172.18.0.1, "fd00:5ea::1"]
//!   podCIDRs: [10.244.1.0/24, "fd00:10:244:1::/64"]
//!   transport: l2
//! pods:
//! - {namespace: default, name: web, node: node1, addresses: [10.244.1.2], phase: Running}
//! services:
//! - name: default/web
//!   kind: NodePort
//!   cluster_ips: [10.96.0.7]
//!   ports: [{protocol: tcp, port: 80, node_port: 30080}]
//! endpointSlices:
//! - name: default/web-1
//!   service: default/web
//!   family: v4
//!   ports: [{protocol: tcp, port: 8080}]
//!   endpoints: [{address: 10.244.1.2, node: node1, pod: default/web}]
//! ```
//!
//! Services and slices have the fields of [`Service`] and [`EndpointSlice`]; what is left out is as
//! there.
//!
//! Writers replace it by rename. A file that is missing or wrong changes nothing: the last good
//! one holds, and status says what is wrong.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use seaway_model::{
    ClusterEvent, EndpointSlice, Family, Node, NodeName, Pod, PodName, PodPhase, Service,
    ServiceName, SliceName, host_address, pod_network,
};
use serde::Deserialize;
use thiserror::Error;

use super::Sink;

/// Why a cluster file is refused.
#[derive(Debug, Error)]
pub enum ClusterFileError {
    /// It cannot be read.
    #[error("read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// It is not YAML of the right form.
    #[error("{0}")]
    Form(String),
    /// A field has a value that it cannot have.
    #[error("{object}: {field}: {problem}")]
    Field {
        /// Which object, for example `nodes[1] (worker)`.
        object: String,
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterFile {
    nodes: Vec<NodeEntry>,
    #[serde(default)]
    pods: Vec<PodEntry>,
    #[serde(default)]
    services: Vec<Service>,
    #[serde(default, rename = "endpointSlices")]
    slices: Vec<EndpointSlice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeEntry {
    name: String,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default, rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
    transport: Option<String>,
    zone: Option<String>,
    #[serde(default)]
    leaving: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PodEntry {
    namespace: String,
    name: String,
    node: Option<String>,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    phase: PodPhase,
    #[serde(default)]
    host_network: bool,
}

/// What a cluster file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Snapshot {
    nodes: BTreeMap<NodeName, Node>,
    pods: BTreeMap<PodName, Pod>,
    services: BTreeMap<ServiceName, Service>,
    slices: BTreeMap<SliceName, EndpointSlice>,
}

/// Reads the text of a cluster file: its nodes and Pods.
///
/// # Errors
///
/// Names the object, the field and what is wrong with it.
pub fn parse(text: &str) -> Result<(Vec<Node>, Vec<Pod>), ClusterFileError> {
    let snapshot = Snapshot::parse(text)?;
    Ok((
        snapshot.nodes.into_values().collect(),
        snapshot.pods.into_values().collect(),
    ))
}

/// Where in the file something is.
struct Place(String);

impl Place {
    fn wrong(&self, field: &'static str, problem: impl ToString) -> ClusterFileError {
        ClusterFileError::Field {
            object: self.0.clone(),
            field,
            problem: problem.to_string(),
        }
    }

    fn addresses(&self, texts: &[String]) -> Result<Vec<IpAddr>, ClusterFileError> {
        let read = |text: &String| host_address(text).map_err(|e| self.wrong("addresses", e));
        texts.iter().map(read).collect()
    }

    /// All of a slice is of one family, and of one namespace.
    fn check_slice(&self, slice: &EndpointSlice) -> Result<(), ClusterFileError> {
        let mut all = slice.endpoints.iter().map(|endpoint| endpoint.address);
        if let Some(other) = all.find(|address| Family::of(*address) != slice.family) {
            let problem = format!("{other} in a slice of {}", slice.family);
            return Err(self.wrong("endpoints", problem));
        }
        match slice.service.namespace() == slice.name.namespace() {
            true => Ok(()),
            false => Err(self.wrong("service", "it is in another namespace")),
        }
    }

    fn cidrs(&self, texts: &[String]) -> Result<Vec<IpNet>, ClusterFileError> {
        let read = |text: &String| pod_network(text).map_err(|e| self.wrong("podCIDRs", e));
        texts.iter().map(read).collect()
    }
}

impl Snapshot {
    fn parse(text: &str) -> Result<Snapshot, ClusterFileError> {
        if text.trim().is_empty() {
            let problem = "it is empty; even a cluster without nodes says `nodes: []`";
            return Err(ClusterFileError::Form(problem.to_owned()));
        }
        let file: ClusterFile =
            serde_saphyr::from_str(text).map_err(|e| ClusterFileError::Form(e.to_string()))?;
        let mut snapshot = Snapshot::default();
        for (index, entry) in file.nodes.iter().enumerate() {
            let place = Place(format!("nodes[{index}] ({})", entry.name));
            let node = node(&place, entry)?;
            if snapshot.nodes.insert(node.name.clone(), node).is_some() {
                return Err(place.wrong("name", "another node has this name"));
            }
        }
        for (index, entry) in file.pods.iter().enumerate() {
            let place = Place(format!(
                "pods[{index}] ({}/{})",
                entry.namespace, entry.name
            ));
            let pod = pod(&place, entry)?;
            if snapshot.pods.insert(pod.name.clone(), pod).is_some() {
                return Err(place.wrong("name", "another Pod has this name"));
            }
        }
        for (index, service) in file.services.into_iter().enumerate() {
            let place = Place(format!("services[{index}] ({})", service.name));
            let before = snapshot.services.insert(service.name.clone(), service);
            if before.is_some() {
                return Err(place.wrong("name", "another Service has this name"));
            }
        }
        for (index, slice) in file.slices.into_iter().enumerate() {
            let place = Place(format!("endpointSlices[{index}] ({})", slice.name));
            place.check_slice(&slice)?;
            let before = snapshot.slices.insert(slice.name.clone(), slice);
            if before.is_some() {
                return Err(place.wrong("name", "another slice has this name"));
            }
        }
        Ok(snapshot)
    }

    fn read(path: &Path) -> Result<Snapshot, ClusterFileError> {
        let text = fs::read_to_string(path).map_err(|source| ClusterFileError::Read {
            path: path.to_owned(),
            source,
        })?;
        Snapshot::parse(&text)
    }

    /// The events that lead from `before` to this.
    fn events_since(&self, before: &Snapshot) -> Vec<ClusterEvent> {
        let mut events = Vec::new();
        let gone = [
            gone(&before.nodes, &self.nodes, ClusterEvent::NodeDelete),
            gone(&before.pods, &self.pods, ClusterEvent::PodDelete),
            gone(
                &before.services,
                &self.services,
                ClusterEvent::ServiceDelete,
            ),
            gone(&before.slices, &self.slices, ClusterEvent::SliceDelete),
        ];
        let new = [
            new(&before.nodes, &self.nodes, ClusterEvent::NodeUpsert),
            new(&before.pods, &self.pods, ClusterEvent::PodUpsert),
            new(
                &before.services,
                &self.services,
                ClusterEvent::ServiceUpsert,
            ),
            new(&before.slices, &self.slices, ClusterEvent::SliceUpsert),
        ];
        events.extend(gone.into_iter().chain(new).flatten());
        events
    }
}

fn gone<K: Ord + Clone, V>(
    before: &BTreeMap<K, V>,
    now: &BTreeMap<K, V>,
    event: fn(K) -> ClusterEvent,
) -> Vec<ClusterEvent> {
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    gone.cloned().map(event).collect()
}

fn new<K: Ord, V: PartialEq + Clone>(
    before: &BTreeMap<K, V>,
    now: &BTreeMap<K, V>,
    event: fn(V) -> ClusterEvent,
) -> Vec<ClusterEvent> {
    let new = now
        .iter()
        .filter(|(name, object)| before.get(*name) != Some(*object));
    new.map(|(_, object)| event(object.clone())).collect()
}

fn node(place: &Place, entry: &NodeEntry) -> Result<Node, ClusterFileError> {
    let transport = entry.transport.as_deref().map(str::parse).transpose();
    Ok(Node {
        name: NodeName::new(&entry.name).map_err(|e| place.wrong("name", e))?,
        addresses: place.addresses(&entry.addresses)?,
        pod_cidrs: place.cidrs(&entry.pod_cidrs)?,
        transport: transport.map_err(|e: seaway_model::ChoiceError| place.wrong("transport", e))?,
        zone: entry.zone.clone(),
        leaving: entry.leaving,
    })
}

fn pod(place: &Place, entry: &PodEntry) -> Result<Pod, ClusterFileError> {
    let node = entry.node.as_deref().map(NodeName::new).transpose();
    Ok(Pod {
        name: PodName::new(&entry.namespace, &entry.name).map_err(|e| place.wrong("name", e))?,
        node: node.map_err(|e| place.wrong("node", e))?,
        addresses: place.addresses(&entry.addresses)?,
        phase: entry.phase,
        host_network: entry.host_network,
    })
}

/// Watches a cluster file and tells `sink`, for ever.
pub(crate) struct FileSource {
    path: PathBuf,
    inotify: Inotify,
    last: Snapshot,
    synced: bool,
    problem: Option<String>,
}

impl FileSource {
    /// Starts to watch the file's folder, so that nothing is missed between reading and waiting.
    pub(crate) fn open(path: &Path) -> std::io::Result<FileSource> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE;
        inotify.add_watch(folder, flags)?;
        Ok(FileSource {
            path: path.to_owned(),
            inotify,
            last: Snapshot::default(),
            synced: false,
            problem: None,
        })
    }

    /// Tells what the file says now.
    pub(crate) fn look(&mut self, sink: &Sink) {
        match Snapshot::read(&self.path) {
            Err(error) => {
                let problem = Some(format!("cluster file {}: {error}", self.path.display()));
                if problem != self.problem {
                    self.problem.clone_from(&problem);
                    sink.problem(problem);
                }
            }
            Ok(now) => {
                if self.problem.take().is_some() {
                    sink.problem(None);
                }
                let mut events = now.events_since(&self.last);
                if !std::mem::replace(&mut self.synced, true) {
                    events.push(ClusterEvent::Synced);
                }
                self.last = now;
                if !events.is_empty() {
                    sink.events(events);
                }
            }
        }
    }

    pub(crate) fn run(mut self, sink: &Sink) {
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    let ours = self.path.file_name();
                    if events.iter().any(|event| event.name.as_deref() == ours) {
                        self.look(sink);
                    }
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the cluster file is no longer watched");
                    sink.problem(Some(format!(
                        "{} is no longer watched: {error}",
                        self.path.display()
                    )));
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
nodes:
- {name: a, addresses: [192.168.0.1, 'fd00::1'], podCIDRs: [10.244.0.0/24, 'fd00:10::/64']}
- {name: b, transport: vxlan}
pods:
- {namespace: default, name: web, node: a, addresses: [10.244.0.2], phase: Running}
";

    #[test]
    fn a_good_file_gives_nodes_and_pods() {
        let (nodes, pods) = parse(GOOD).expect("good");
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[0].pod_cidrs.len(), 2);
        let transports = [nodes[0].transport, nodes[1].transport];
        assert_eq!(transports, [None, Some(seaway_model::Transport::Vxlan)]);
        assert_eq!(pods[0].name.to_string(), "default/web");
        assert_eq!(pods[0].phase, PodPhase::Running);
    }

    const SERVICES: &str = "
nodes: [{name: a, zone: z, leaving: true}]
services:
- {name: x/web, kind: NodePort, cluster_ips: [10.96.0.7, 'fd00::7'], external_policy: Local,
   ports: [{name: http, protocol: tcp, port: 80, node_port: 30080}], affinity: 60}
- {name: x/alias, kind: {ExternalName: example.org}}
endpointSlices:
- {name: x/web-1, service: x/web, family: v4, ports: [{name: http, protocol: tcp, port: 8080}],
   endpoints: [{address: 10.0.0.1, node: a}, {address: 10.0.0.2, ready: false, terminating: true}]}
";

    #[test]
    fn services_and_slices_have_the_fields_of_the_model() {
        let all = Snapshot::parse(SERVICES).expect("good");
        let service = |name: &str| &all.services[&name.parse().expect("valid")];
        assert_eq!(service("x/web").ports[0].node_port, Some(30080));
        assert!(!service("x/alias").is_headless() && service("x/alias").cluster_ips.is_empty());
        let slice = all.slices.values().next().expect("one");
        assert!(slice.endpoints[0].ready && slice.endpoints[1].serving);
        let node = all.nodes.values().next().expect("one");
        assert_eq!((node.zone.as_deref(), node.leaving), (Some("z"), true));
        let none = Snapshot::parse("nodes: []").expect("good");
        assert_eq!(all.events_since(&none).len(), 4);
        assert_eq!(none.events_since(&all).len(), 4);
        assert_eq!(all.events_since(&all), []);
        for (bad, words) in [
            ("services: [{name: web, kind: ClusterIp}]", "namespace/name"),
            (
                "services: [{name: x/a, kind: ClusterIp}, {name: x/a, kind: NodePort}]",
                "services[1] (x/a)",
            ),
            (
                "services: [{name: x/a, kind: ClusterIp, ports: [{protocol: tcp, port: 70000}]}]",
                "70000",
            ),
            (
                "endpointSlices: [{name: x/a, service: x/a, family: v4, ports: [], \
                 endpoints: [{address: '::1'}]}]",
                "::1 in a slice of IPv4",
            ),
            (
                "endpointSlices: [{name: x/a, service: y/a, family: v4, ports: [], endpoints: []}]",
                "endpointSlices[0] (x/a): service",
            ),
        ] {
            let error = parse(&format!("nodes: []\n{bad}"))
                .expect_err(bad)
                .to_string();
            assert!(error.contains(words), "{bad}: {error}");
        }
    }

    #[test]
    fn garbage_is_refused_with_object_and_field() {
        for (text, words) in [
            ("", "nodes"),
            ("nodes: 7", "line 1"),
            ("pods: []", "nodes"),
            ("nodes: [{name: a, color: red}]", "color"),
            (
                "nodes: [{name: A}]",
                "nodes[0] (A): name: node name \"A\" is not valid",
            ),
            (
                "nodes: [{name: a}, {name: a}]",
                "nodes[1] (a): name: another node",
            ),
            (
                "nodes: [{name: a, addresses: [10.0.0]}]",
                "nodes[0] (a): addresses: \"10.0.0\"",
            ),
            (
                "nodes: [{name: a, addresses: [010.0.0.1]}]",
                "addresses: \"010.0.0.1\"",
            ),
            (
                "nodes: [{name: a, addresses: [127.0.0.1]}]",
                "127.0.0.1 cannot be anybody's",
            ),
            (
                "nodes: [{name: a, podCIDRs: [10.0.0.1]}]",
                "podCIDRs: \"10.0.0.1\" is not a network",
            ),
            (
                "nodes: [{name: a, podCIDRs: [10.0.0.1/24]}]",
                "the network is 10.0.0.0/24",
            ),
            ("nodes: [{name: a, podCIDRs: [0.0.0.0/0]}]", "too large"),
            (
                "nodes: []\npods: [{namespace: x, name: X_}]",
                "pods[0] (x/X_): name",
            ),
            (
                "nodes: []\npods: [{namespace: x, name: y, phase: Dancing}]",
                "Dancing",
            ),
            (
                "nodes: [{name: a, transport: VXLAN}]",
                "nodes[0] (a): transport: \"VXLAN\" is no transport; it is one of auto",
            ),
            ("\u{0}", ""),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn events_are_the_difference() {
        let good = Snapshot::parse(GOOD).expect("good");
        let less = Snapshot::parse("nodes: [{name: b, transport: vxlan}]").expect("good");
        assert_eq!(good.events_since(&good), vec![]);
        let events = less.events_since(&good);
        let node = NodeName::new("a").expect("valid");
        let pod = "default/web".parse().expect("valid");
        assert_eq!(
            events,
            [ClusterEvent::NodeDelete(node), ClusterEvent::PodDelete(pod)]
        );
        assert_eq!(good.events_since(&less).len(), 2);
    }
}
