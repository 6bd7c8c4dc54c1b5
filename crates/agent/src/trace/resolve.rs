//! Whom the words mean: names become addresses and ports, from what the agent knows.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use seaway_model::{Family, NodeName, PodName, Protocol, Service, ServiceKind, ServiceName};
use seaway_plan::ServiceView;
use seaway_plan::trace::Entry;

use super::words::{LOOPBACK, Object, Port, Receiver, SOMEBODY, Sender, What, near};
use crate::state::State;

/// How many ports of an address are told at most, when none is named.
const MAX_PORTS: usize = 8;

/// Who sends, one entry an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// In words.
    pub(super) name: String,
    /// How its packets come to this node.
    pub(super) entries: Vec<Entry>,
}

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Goal {
    /// In words.
    pub(super) name: String,
    /// Every address and port that it has; port 0 where none is named and none needed.
    pub(super) places: Vec<(Protocol, SocketAddr)>,
}

/// Finds the sender.
pub(super) fn origin(state: &State, sender: &Sender) -> Result<Origin, String> {
    match sender {
        Sender::Node => Ok(Origin {
            name: format!("node {}", state.planner.name()),
            entries: vec![Entry::Node],
        }),
        Sender::Outside => Ok(Origin {
            name: "outside the cluster".to_owned(),
            entries: SOMEBODY.map(Entry::Outside).into(),
        }),
        Sender::Address(address) => {
            let entry = match local_pod(state, *address) {
                Some(_) => Entry::Pod(*address),
                None if address.is_loopback() || is_own(state, *address) => Entry::Node,
                None => Entry::Outside(*address),
            };
            Ok(Origin {
                name: address.to_string(),
                entries: vec![entry],
            })
        }
        Sender::Pod(namespace, name) => pod_origin(state, namespace, name),
    }
}

fn pod_origin(state: &State, namespace: &str, name: &str) -> Result<Origin, String> {
    let pod = PodName::new(namespace, name).map_err(|error| error.to_string())?;
    let title = format!("Pod {pod}");
    let attached = attached(state, &pod);
    if !attached.is_empty() {
        let entries = attached.into_iter().map(Entry::Pod).collect();
        return Ok(Origin {
            name: title,
            entries,
        });
    }
    if let Some(known) = state.planner.pods().get(&pod) {
        return match known.host_network {
            true => Ok(Origin {
                name: format!("{title}, which has the node's own network"),
                entries: vec![Entry::Node],
            }),
            false => Err(format!(
                "{title} is not attached to this node's network yet: its sandbox has no address"
            )),
        };
    }
    if let Some((_, Some(node))) = elsewhere(state, &pod) {
        return Err(format!(
            "{title} is on node {node}: ask there (in a lab: `seaway lab exec {node} -- seaway trace …`)"
        ));
    }
    let mut message = unknown("Pod", &pod.to_string(), &local_pods(state));
    message.push_str("; about a Pod of another node, ask on that node");
    Err(message)
}

/// The addresses of a Pod that is attached here.
fn attached(state: &State, pod: &PodName) -> Vec<IpAddr> {
    let records = state.records.values();
    let its = records.filter(|record| record.pod.as_ref() == Some(pod));
    its.flat_map(|record| record.attachment.addresses.iter().copied())
        .collect()
}

/// The attachment of this node that has an address, in words.
pub(super) fn local_pod(state: &State, address: IpAddr) -> Option<String> {
    let mut records = state.records.values();
    let record = records.find(|record| record.attachment.addresses.contains(&address))?;
    Some(match &record.pod {
        Some(pod) => format!("Pod {pod}"),
        None => format!("Pod of container {}", record.attachment.id.container),
    })
}

/// Whether the node itself has an address.
pub(super) fn is_own(state: &State, address: IpAddr) -> bool {
    own_addresses(state).contains(&address)
}

/// The node's own addresses, as far as the agent knows them.
pub(super) fn own_addresses(state: &State) -> Vec<IpAddr> {
    let object = state.planner.node().map(|node| &node.addresses[..]);
    let uplink = state.planner.uplink().map(|uplink| &uplink.addresses[..]);
    let all = uplink.into_iter().chain(object).flatten().copied();
    all.collect()
}

fn local_pods(state: &State) -> Vec<String> {
    let attached = state.records.values().filter_map(|r| r.pod.as_ref());
    let known = state.planner.pods().keys();
    let all: BTreeSet<String> = attached.chain(known).map(ToString::to_string).collect();
    all.into_iter().collect()
}

/// A Pod that some Service has as an endpoint: its addresses and node.
fn elsewhere(state: &State, pod: &PodName) -> Option<(Vec<IpAddr>, Option<NodeName>)> {
    let (mut addresses, mut node) = (Vec::new(), None);
    for view in state.planner.services() {
        let endpoints = view.slices().flat_map(|slice| &slice.endpoints);
        for endpoint in endpoints.filter(|e| e.pod.as_ref() == Some(pod)) {
            if !addresses.contains(&endpoint.address) {
                addresses.push(endpoint.address);
            }
            node = node.or_else(|| endpoint.node.clone());
        }
    }
    (!addresses.is_empty()).then_some((addresses, node))
}

fn unknown(kind: &str, name: &str, known: &[String]) -> String {
    let near = near(name, known.iter().map(String::as_str));
    match near.is_empty() {
        true => format!("this node knows no {kind} {name}, and no other either"),
        false => format!(
            "this node knows no {kind} {name}; there are {}",
            near.join(", ")
        ),
    }
}

/// Finds the receiver.
pub(super) fn goal(
    state: &State,
    receiver: &Receiver,
    protocol: Option<Protocol>,
    from_outside: bool,
) -> Result<Goal, String> {
    let port = receiver.port.as_ref();
    let at = |name: String, addresses: &[IpAddr]| {
        let places = addresses.iter().map(|a| places(state, *a, port, protocol));
        let places: Vec<_> = places.collect::<Result<_, String>>()?;
        Ok(Goal {
            name,
            places: places.concat(),
        })
    };
    match &receiver.what {
        What::Address(address) => at(address.to_string(), &[*address]),
        What::Localhost => at("localhost".to_owned(), &LOOPBACK),
        What::Node(name) => {
            let nodes = state.planner.nodes();
            let found = NodeName::new(name).ok().and_then(|name| nodes.get(&name));
            let known = || nodes.keys().map(ToString::to_string).collect::<Vec<_>>();
            let node = found.ok_or_else(|| unknown("node", name, &known()))?;
            at(format!("node {name}"), &node.addresses)
        }
        What::Object(objects) => {
            for object in objects {
                match object {
                    Object::Service(namespace, name) => {
                        let name = ServiceName::new(namespace, name);
                        let view = name.ok().and_then(|name| state.planner.service(&name));
                        if let Some(view) = view {
                            return service(state, &view, port, protocol, from_outside);
                        }
                    }
                    Object::Pod(namespace, name) => {
                        let pod = PodName::new(namespace, name).ok();
                        let found = pod.and_then(|pod| Some((pod_addresses(state, &pod)?, pod)));
                        if let Some((addresses, pod)) = found {
                            return at(format!("Pod {pod}"), &addresses);
                        }
                    }
                }
            }
            Err(nobody(state, objects))
        }
    }
}

fn pod_addresses(state: &State, pod: &PodName) -> Option<Vec<IpAddr>> {
    let attached = attached(state, pod);
    if !attached.is_empty() {
        return Some(attached);
    }
    let known = state.planner.pods().get(pod);
    let known = known.map(|pod| pod.addresses.clone());
    let known = known.filter(|addresses| !addresses.is_empty());
    known.or_else(|| Some(elsewhere(state, pod)?.0))
}

/// Nobody has any of these names.
fn nobody(state: &State, objects: &[Object]) -> String {
    let mut messages = Vec::new();
    for object in objects {
        messages.push(match object {
            Object::Service(namespace, name) => {
                let services = state.planner.services().map(|view| view.name().to_string());
                let known: Vec<String> = services.collect();
                unknown("Service", &format!("{namespace}/{name}"), &known)
            }
            Object::Pod(namespace, name) => {
                let wanted = format!("{namespace}/{name}");
                let mut message = unknown("Pod", &wanted, &local_pods(state));
                message.push_str("; of Pods elsewhere only those behind Services are known by name, so give its address");
                message
            }
        });
    }
    messages.join(". ")
}

/// The places of an address.
fn places(
    state: &State,
    address: IpAddr,
    port: Option<&Port>,
    protocol: Option<Protocol>,
) -> Result<Vec<(Protocol, SocketAddr)>, String> {
    let fallback = protocol.unwrap_or(Protocol::Tcp);
    match port {
        Some(Port::Number(port)) => {
            let at = SocketAddr::new(address, *port);
            // Where only one protocol is served, that is the one that is meant.
            let served: BTreeSet<Protocol> = offered(state, address)
                .filter(|(_, offered)| *offered == at)
                .map(|(protocol, _)| protocol)
                .collect();
            let only = served.first().filter(|_| served.len() == 1).copied();
            Ok(vec![(protocol.or(only).unwrap_or(fallback), at)])
        }
        Some(Port::Name(name)) => Err(format!(
            "port {name}: only Services have ports by name; give its number"
        )),
        None => {
            let wanted = |(offered, _): &(Protocol, SocketAddr)| {
                protocol.is_none_or(|protocol| protocol == *offered)
            };
            let all: BTreeSet<_> = offered(state, address).filter(wanted).collect();
            let count = all.len();
            match count {
                0 => Ok(vec![(fallback, SocketAddr::new(address, 0))]),
                1..=MAX_PORTS => Ok(all.into_iter().collect()),
                _ => Err(format!(
                    "Services are at {count} ports of {address}: name one, as in {address}:PORT"
                )),
            }
        }
    }
}

/// What Services offer at an address by the plan.
fn offered(state: &State, address: IpAddr) -> impl Iterator<Item = (Protocol, SocketAddr)> {
    let first = seaway_model::FrontendKey {
        address,
        protocol: Protocol::Tcp,
        port: 0,
        view: seaway_model::View::Everyone,
    };
    let rows = state.planner.rows().frontends.iter_from(first);
    let rows = rows.take_while(move |row| row.key.address == address);
    rows.map(|row| {
        (
            row.key.protocol,
            SocketAddr::new(row.key.address, row.key.port),
        )
    })
}

/// The places of a Service: its cluster addresses, or, for a sender outside, where those are to
/// come in; its endpoints where it is headless.
fn service(
    state: &State,
    view: &ServiceView<'_>,
    port: Option<&Port>,
    protocol: Option<Protocol>,
    from_outside: bool,
) -> Result<Goal, String> {
    let name = format!("Service {}", view.name());
    let Some(service) = view.service() else {
        return Err(format!(
            "{name} does not exist, although there are endpoints for it"
        ));
    };
    if let ServiceKind::ExternalName(other) = &service.kind {
        return Err(format!(
            "{name} is another name for {other}, which the sender itself looks up: ask for that"
        ));
    }
    if service.foreign {
        return Err(format!(
            "{name} is not Seaway's to balance (label service.kubernetes.io/service-proxy-name)"
        ));
    }
    if service.is_headless() {
        return headless(view, name, port, protocol);
    }
    let chosen = chosen_ports(service, port, protocol)?;
    let mut places = Vec::new();
    let mut offer = |addresses: &[IpAddr], port_of: &dyn Fn(&ChosenPort) -> Option<u16>| {
        for address in addresses {
            let at = |chosen: &ChosenPort| {
                let port = port_of(chosen)?;
                Some((chosen.protocol, SocketAddr::new(*address, port)))
            };
            places.extend(chosen.iter().filter_map(at));
        }
    };
    let external = [&service.load_balancer_ips[..], &service.external_ips[..]].concat();
    let has_node_port = chosen.iter().any(|port| port.node_port.is_some());
    match (from_outside, external.is_empty()) {
        (true, false) => offer(&external, &|chosen| Some(chosen.port)),
        (true, true) if has_node_port => {
            let has = |address: &IpAddr| service.cluster_ip(Family::of(*address)).is_some();
            let own = state.planner.node().map(|node| node.addresses.clone());
            let own: Vec<IpAddr> = own.into_iter().flatten().filter(has).collect();
            offer(&own, &|chosen| chosen.node_port);
        }
        _ => offer(&service.cluster_ips, &|chosen| Some(chosen.port)),
    }
    Ok(Goal { name, places })
}

struct ChosenPort {
    protocol: Protocol,
    port: u16,
    node_port: Option<u16>,
}

/// The ports of a Service that are meant; one that it does not have is tried all the same when it
/// is a number.
fn chosen_ports(
    service: &Service,
    port: Option<&Port>,
    protocol: Option<Protocol>,
) -> Result<Vec<ChosenPort>, String> {
    let of_protocol = |p: &&seaway_model::ServicePort| protocol.is_none_or(|w| w == p.protocol);
    let meant = |p: &&seaway_model::ServicePort| match port {
        None => true,
        Some(Port::Number(number)) => p.port == *number,
        Some(Port::Name(name)) => p.name == *name,
    };
    let found: Vec<ChosenPort> = (service.ports.iter().filter(of_protocol).filter(meant))
        .map(|p| ChosenPort {
            protocol: p.protocol,
            port: p.port,
            node_port: p.node_port,
        })
        .collect();
    match (found.is_empty(), port) {
        (false, _) => Ok(found),
        (true, Some(Port::Number(number))) => Ok(vec![ChosenPort {
            protocol: protocol.unwrap_or(Protocol::Tcp),
            port: *number,
            node_port: None,
        }]),
        (true, _) => {
            let ports = service.ports.iter();
            let ports = ports.map(|p| format!("{} {}/{}", p.name, p.port, p.protocol));
            let ports: Vec<String> = ports.map(|text| text.trim().to_owned()).collect();
            Err(format!(
                "Service {} has no such port; it has {}",
                service.name,
                ports.join(", ")
            ))
        }
    }
}

/// A headless Service is its endpoints.
fn headless(
    view: &ServiceView<'_>,
    name: String,
    port: Option<&Port>,
    protocol: Option<Protocol>,
) -> Result<Goal, String> {
    let mut places = BTreeSet::new();
    for slice in view.slices() {
        let ports = slice.ports.iter().filter(|p| {
            let named = match port {
                None => true,
                Some(Port::Number(number)) => p.port.is_none_or(|port| port == *number),
                Some(Port::Name(name)) => p.name == *name,
            };
            named && protocol.is_none_or(|wanted| wanted == p.protocol)
        });
        let ports: Vec<(Protocol, u16)> = ports
            .map(|p| (p.protocol, p.port.unwrap_or_default()))
            .collect();
        let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
        for endpoint in ready {
            let at = |(protocol, port): &(Protocol, u16)| {
                (*protocol, SocketAddr::new(endpoint.address, *port))
            };
            places.extend(ports.iter().map(at));
        }
    }
    match places.is_empty() {
        true => Err(format!(
            "{name} is headless, and has no ready endpoint at that port: its name has no address"
        )),
        false => Ok(Goal {
            name: format!("{name}, which is headless: its endpoints"),
            places: places.into_iter().collect(),
        }),
    }
}

/// The family of an entry; `None` for the node, which has both.
pub(super) fn family_of(entry: Entry) -> Option<Family> {
    match entry {
        Entry::Pod(address) | Entry::Outside(address) => Some(Family::of(address)),
        Entry::Node => None,
    }
}
