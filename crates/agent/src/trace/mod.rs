//! `seaway trace`: where a packet goes from here, by the rows that are planned and by those that
//! the kernel has, beside what the specification says must become of it.
//!
//! The walk itself is [`seaway_plan::trace`]; here are its ends found and its steps given names.

mod resolve;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use seaway_cni::request::{Reply, TraceRequest};
use seaway_cni::spec::{CniError, code};
use seaway_kernel::realise::Services;
use seaway_model::{Family, FrontendRow, Protocol, Service};
use seaway_plan::Tables;
use seaway_plan::eval::{self, Source, Verdict};
use seaway_plan::trace::{Basis, Entry, Packet, Scene, Walk, walk};
use serde::Serialize;
use serde_json::Value;

use self::resolve::{Goal, Origin};
use self::words::Sender;
use crate::shared::Shared;
use crate::state::State;

/// How many ways are told at most, each from an address to an address and port.
const MAX_PATHS: usize = 16;

/// Where packets go.
#[derive(Clone, Debug, Serialize)]
pub struct TraceReport {
    /// The node on which it was asked.
    pub node: String,
    /// The sender in words.
    pub from: String,
    /// The receiver in words.
    pub to: String,
    /// What else people should know.
    pub notes: Vec<String>,
    /// One for each address and port.
    pub paths: Vec<PathTrace>,
}

/// Where one packet goes.
#[derive(Clone, Debug, Serialize)]
pub struct PathTrace {
    /// Where it is sent to.
    pub to: SocketAddr,
    /// By which protocol.
    pub protocol: Protocol,
    /// Every end is a good one.
    pub arrives: bool,
    /// The way by the rows that the kernel has.
    pub kernel: Walk,
    /// The way by the rows that are planned, where it is another: drift.
    pub planned: Option<Walk>,
    /// What Services make of it.
    pub services: Verdicts,
}

/// What becomes of a packet by Services, told thrice.
#[derive(Clone, Debug, Serialize)]
pub struct Verdicts {
    /// By the specification, from the objects.
    pub specified: String,
    /// By the rows that are planned.
    pub planned: String,
    /// By the rows that the kernel has.
    pub kernel: String,
    /// All three are the same.
    pub agree: bool,
}

/// Answers a request.
pub(crate) fn answer(shared: &Shared, request: &TraceRequest) -> Reply<Value> {
    let report = report(shared, request);
    match report.and_then(|report| serde_json::to_value(report).map_err(|e| e.to_string())) {
        Ok(value) => Reply::Ok(value),
        Err(error) => Reply::Error(CniError::new(code::INVALID_CONFIG, error)),
    }
}

fn report(shared: &Shared, request: &TraceRequest) -> Result<TraceReport, String> {
    let (question, planned) = {
        let state = shared.lock();
        (ask(&state, request)?, state.planner.rows().clone())
    };
    let observed = shared.with_node(|node| node.observe(&planned, Services::Read));
    let observed = observed.and_then(|observed| observed);
    let observed =
        observed.map_err(|error| format!("the kernel's rows cannot be read: {error}"))?;
    let state = shared.lock();
    Ok(tell(&state, &question, &planned, &observed.tables))
}

/// A question whose ends have been found.
struct Question {
    origin: Origin,
    goal: Goal,
    packets: Vec<Packet>,
    notes: Vec<String>,
}

fn ask(state: &State, request: &TraceRequest) -> Result<Question, String> {
    let sender = words::sender(&request.from)?;
    let origin = resolve::origin(state, &sender)?;
    let namespace = match &sender {
        Sender::Pod(namespace, _) => namespace,
        _ => "default",
    };
    let receiver = words::receiver(&request.to, namespace)?;
    let from_outside = matches!(origin.entries[..], [Entry::Outside(_), ..]);
    let goal = resolve::goal(state, &receiver, request.protocol, from_outside)?;
    let (mut packets, mut notes) = (Vec::new(), Vec::new());
    for (protocol, to) in &goal.places {
        let family = Family::of(to.ip());
        let fits = |entry: &&Entry| resolve::family_of(**entry).is_none_or(|own| own == family);
        let fitting: Vec<Entry> = origin.entries.iter().filter(fits).copied().collect();
        if fitting.is_empty() {
            notes.push(format!(
                "{} has no {family} address to reach {to} from",
                origin.name
            ));
        }
        packets.extend(fitting.into_iter().map(|from| Packet {
            from,
            to: *to,
            protocol: *protocol,
        }));
    }
    notes.dedup();
    if packets.is_empty() {
        return Err(match notes.is_empty() {
            true => format!("{} has no address", goal.name),
            false => notes.join("; "),
        });
    }
    if packets.len() > MAX_PATHS {
        let more = packets.len() - MAX_PATHS;
        notes.push(format!(
            "{more} more are not shown: name an address or a port"
        ));
        packets.truncate(MAX_PATHS);
    }
    if matches!(sender, Sender::Outside) {
        let stand_in = words::SOMEBODY
            .map(|address| address.to_string())
            .join(" and ");
        notes.push(format!(
            "{stand_in} stand for anybody outside; give an address to ask for it"
        ));
    }
    Ok(Question {
        origin,
        goal,
        packets,
        notes,
    })
}

fn tell(state: &State, question: &Question, planned: &Tables, observed: &Tables) -> TraceReport {
    let paths = question.packets.iter();
    TraceReport {
        node: state.planner.name().to_string(),
        from: question.origin.name.clone(),
        to: question.goal.name.clone(),
        notes: question.notes.clone(),
        paths: paths
            .map(|packet| one(state, packet, planned, observed))
            .collect(),
    }
}

fn one(state: &State, packet: &Packet, planned: &Tables, observed: &Tables) -> PathTrace {
    let involved = Involved::of(state, packet.to);
    let who = |address: IpAddr| who(state, &involved, address);
    let service = |row: &FrontendRow| involved.owner(row);
    let own = resolve::own_addresses(state);
    let scene = Scene {
        own: &own,
        uplink: state.planner.uplink(),
        who: &who,
        service: &service,
    };
    let go = |basis| walk(planned, observed, basis, &scene, packet);
    let (kernel, plan) = (go(Basis::Observed), go(Basis::Planned));
    let services = verdicts(state, &involved, packet, planned, observed);
    PathTrace {
        to: packet.to,
        protocol: packet.protocol,
        arrives: kernel.is_good(),
        planned: (!kernel.is_like(&plan)).then_some(plan),
        kernel,
        services,
    }
}

/// The Services that have something to do with an address and port.
struct Involved {
    services: Vec<Service>,
    slices: Vec<seaway_model::EndpointSlice>,
    names: BTreeMap<IpAddr, String>,
}

impl Involved {
    fn of(state: &State, to: SocketAddr) -> Involved {
        let touches = |service: &Service| {
            let addresses = [
                &service.cluster_ips,
                &service.external_ips,
                &service.load_balancer_ips,
            ];
            let mut ports = service.ports.iter();
            addresses.iter().any(|all| all.contains(&to.ip()))
                || ports.any(|port| port.node_port == Some(to.port()))
        };
        let mut involved = Involved {
            services: Vec::new(),
            slices: Vec::new(),
            names: BTreeMap::new(),
        };
        for view in state.planner.services() {
            let Some(service) = view.service().filter(|service| touches(service)) else {
                continue;
            };
            involved.services.push(service.clone());
            involved.slices.extend(view.slices().cloned());
        }
        for endpoint in involved.slices.iter().flat_map(|slice| &slice.endpoints) {
            if let Some(pod) = &endpoint.pod {
                let on = endpoint.node.as_ref();
                let on = on.map_or(String::new(), |node| format!(" on node {node}"));
                involved
                    .names
                    .insert(endpoint.address, format!("Pod {pod}{on}"));
            }
        }
        involved
    }

    /// The Service that a frontend is of: of those that claim it, cluster addresses come before ports
    /// of nodes, these before all others, and then the oldest.
    fn owner(&self, row: &FrontendRow) -> Option<String> {
        let key = row.key;
        let rank = |service: &Service| {
            let mut ports = service.ports.iter().filter(|p| p.protocol == key.protocol);
            let has_port = ports.clone().any(|port| port.port == key.port);
            let external = [&service.external_ips[..], &service.load_balancer_ips[..]].concat();
            match () {
                () if has_port && service.cluster_ips.contains(&key.address) => Some(0),
                () if ports.any(|port| port.node_port == Some(key.port)) => Some(1),
                () if has_port && external.contains(&key.address) => Some(2),
                () => None,
            }
        };
        let claims = self.services.iter();
        let claims = claims.filter_map(|s| Some((rank(s)?, s.created, s.name.clone())));
        let (.., name) = claims.min()?;
        Some(format!("Service {name}"))
    }
}

/// Who has an address, in words.
fn who(state: &State, involved: &Involved, address: IpAddr) -> Option<String> {
    if let Some(pod) = resolve::local_pod(state, address) {
        return Some(pod);
    }
    let mut nodes = state.planner.nodes().values();
    if let Some(node) = nodes.find(|node| node.addresses.contains(&address)) {
        return Some(format!("node {}", node.name));
    }
    if let Some(name) = involved.names.get(&address) {
        return Some(name.clone());
    }
    let mut nodes = state.planner.nodes().values();
    let node = nodes.find(|node| node.pod_cidrs.iter().any(|net| net.contains(&address)))?;
    (node.name != *state.planner.name()).then(|| format!("a Pod of node {}", node.name))
}

fn verdicts(
    state: &State,
    involved: &Involved,
    packet: &Packet,
    planned: &Tables,
    observed: &Tables,
) -> Verdicts {
    let asked = eval::Packet {
        node: state.planner.name().clone(),
        from: match packet.from {
            Entry::Pod(address) => Source::Pod(address),
            Entry::Node => Source::Node,
            Entry::Outside(address) => Source::Outside(address),
        },
        destination: packet.to,
        protocol: packet.protocol,
    };
    // Services that do not claim this address or port cannot change what becomes of it.
    let cluster = eval::Cluster {
        nodes: state.planner.nodes().values().cloned().collect(),
        services: involved.services.clone(),
        slices: involved.slices.clone(),
        settings: state.planner.settings().clone(),
        host_addresses: resolve::own_addresses(state),
    };
    let all = [
        eval::decide(&cluster, &asked),
        eval::by_rows(planned, &asked),
        eval::by_rows(observed, &asked),
    ];
    let agree = all.iter().all(|verdict| *verdict == all[0]);
    let [specified, planned, kernel] = all.map(|verdict| in_words(&verdict));
    Verdicts {
        specified,
        planned,
        kernel,
        agree,
    }
}

fn in_words(verdict: &Verdict) -> String {
    const SHOWN: usize = 4;
    match verdict {
        Verdict::NotAService => "not for a Service".to_owned(),
        Verdict::Refused => "refused".to_owned(),
        Verdict::Dropped(reason) => format!("dropped ({reason})"),
        Verdict::Backends {
            targets, source, ..
        } => {
            let first = targets.iter().take(SHOWN).map(ToString::to_string);
            let mut names = first.collect::<Vec<_>>().join(", ");
            if targets.len() > SHOWN {
                names.push_str(&format!(" and {} more", targets.len() - SHOWN));
            }
            let source = match source {
                eval::SourceSeen::Kept => "with the sender's source",
                eval::SourceSeen::Node => "with the node's source",
            };
            format!("to {names} {source}")
        }
    }
}
