//! How the node's Pod network is, for status: what was chosen, what came of it, and what is in the
//! way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use ipnet::IpNet;
use seaway_kernel::KernelError;
use seaway_model::{Family, Node, Settings, Transport, VxlanSettings, Wiring};
use seaway_plan::Planner;
use serde::Serialize;

use crate::pathmtu::PathsReport;
use crate::shared::Shared;
use crate::state::State;
use crate::strangers::{self, StrangersReport};

/// The node's Pod network.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkReport {
    /// How Pods are joined to the node.
    pub wiring: Wiring,
    /// The wiring that comes when the Pods of this one are gone.
    pub wiring_waiting: Option<WaitingWiring>,
    /// How packets get to other nodes, as chosen.
    pub transport: Transport,
    /// How many nodes are reached in which way: `direct`, `l2`, `vxlan`, two of them for a node that
    /// is reached in different ways by family, or `none`.
    pub methods: BTreeMap<String, usize>,
    /// The VXLAN network, unless it is off.
    pub vxlan: Option<VxlanSettings>,
    /// The MTU of Pod links in bytes.
    pub pod_mtu: u32,
    /// Where it comes from.
    pub pod_mtu_reason: String,
    /// Nodes to which packets must be smaller than the uplink takes, with the size in bytes.
    pub path_mtus: BTreeMap<String, u32>,
    /// What is known of the paths to other nodes.
    pub paths: PathsReport,
    /// Pods that leave the cluster get the node's address.
    pub masquerade: bool,
    /// Destinations outside the cluster towards which they do not.
    pub keep_source_to: Vec<IpNet>,
    /// How many packets the filters have dropped, by reason; only where there were any.
    pub drops: BTreeMap<&'static str, u64>,
    /// What settings of the uplink were before us, by setting.
    pub saved_settings: BTreeMap<String, String>,
    /// Other people's filters.
    pub strangers: StrangersReport,
}

/// A wiring that waits.
#[derive(Clone, Debug, Serialize)]
pub struct WaitingWiring {
    /// The wiring that was chosen.
    pub wiring: Wiring,
    /// How many Pods of the other one there are.
    pub pods: usize,
}

/// The node's Pod network now. In the node's namespace.
pub(super) fn network(shared: &Shared) -> Result<NetworkReport, KernelError> {
    let port = {
        let state = shared.lock();
        let vxlan = state.planner.settings().vxlan.as_ref();
        vxlan.map(|vxlan| vxlan.port)
    };
    let strangers = strangers::report(shared, port);
    let drops = shared.with_node(|node| node.drops())??;
    let drops = drops.into_iter().filter(|(_, packets)| *packets > 0);
    let drops = drops.map(|(reason, packets)| (reason.as_str(), packets));
    let saved_settings = saved_settings(shared.records.saved_settings());
    let state = shared.lock();
    let settings: &Settings = state.planner.settings();
    Ok(NetworkReport {
        wiring: settings.wiring,
        wiring_waiting: waiting(&state),
        transport: settings.transport,
        methods: methods(&state.planner),
        vxlan: settings.vxlan.clone(),
        pod_mtu: state.planner.pod_mtu(),
        pod_mtu_reason: pod_mtu_reason(&state.planner),
        path_mtus: path_mtus(&state.planner),
        paths: state.paths.report(Instant::now()),
        masquerade: settings.masquerade,
        keep_source_to: settings.keep_source_to.clone(),
        drops: drops.collect(),
        saved_settings,
        strangers,
    })
}

fn waiting(state: &State) -> Option<WaitingWiring> {
    let wiring = state.waiting_wiring()?;
    Some(WaitingWiring {
        wiring,
        pods: state.records.len() + state.dying.len(),
    })
}

fn others(planner: &Planner) -> impl Iterator<Item = &Node> {
    let nodes = planner.nodes().values();
    nodes.filter(|node| node.name != *planner.name() && !node.pod_cidrs.is_empty())
}

fn methods(planner: &Planner) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for node in others(planner) {
        let families: BTreeSet<Family> = node.pod_cidrs.iter().map(Family::of_net).collect();
        let ways: BTreeSet<String> = families
            .into_iter()
            .map(|family| match planner.method_to(&node.name, family) {
                Some(method) => format!("{method:?}").to_lowercase(),
                None => "none".to_owned(),
            })
            .collect();
        let ways: Vec<String> = ways.into_iter().collect();
        *counts.entry(ways.join("+")).or_default() += 1;
    }
    counts
}

fn pod_mtu_reason(planner: &Planner) -> String {
    if planner.settings().mtu.is_some() {
        return "--mtu".to_owned();
    }
    match planner.uplink() {
        None => "no uplink is known".to_owned(),
        Some(uplink) => match uplink.mtu.saturating_sub(planner.pod_mtu()) {
            0 => "the uplink's".to_owned(),
            overhead => format!("uplink {} - {overhead} vxlan", uplink.mtu),
        },
    }
}

fn path_mtus(planner: &Planner) -> BTreeMap<String, u32> {
    let lowered = |node: &Node| Some((node.name.to_string(), planner.path_mtu(&node.name)?));
    others(planner).filter_map(lowered).collect()
}

/// The file is the realiser's: by device, the values by setting. What cannot be read is not shown.
fn saved_settings(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read(path).unwrap_or_default();
    let file: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let devices = file.as_object().into_iter().flatten();
    devices
        .flat_map(|(device, entry)| {
            let values = entry["values"].as_object().into_iter().flatten();
            values.filter_map(move |(setting, value)| {
                let (folder, name) = setting.rsplit_once('/')?;
                let setting = format!("{}.{device}.{name}", folder.replace('/', "."));
                Some((setting, value.as_str()?.to_owned()))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use seaway_model::{ClusterEvent, NodeName};
    use seaway_plan::{Input, Uplink};

    use super::*;

    fn node(name: &str, address: &str, cidr: &str) -> Node {
        Node {
            name: NodeName::new(name).expect("valid"),
            addresses: vec![address.parse().expect("valid")],
            pod_cidrs: vec![cidr.parse().expect("valid")],
            transport: None,
            zone: None,
            leaving: false,
        }
    }

    fn planner(settings: Settings) -> Planner {
        let own = node("a", "192.0.2.1", "10.0.1.0/24");
        let mut planner = Planner::new(own.name.clone(), settings);
        planner.apply(Input::Uplink(Some(Uplink {
            mtu: 1500,
            addresses: own.addresses.clone(),
            networks: vec!["192.0.2.0/24".parse().expect("valid")],
            learns_routes: false,
            strict: false,
        })));
        for node in [
            own,
            node("b", "192.0.2.2", "10.0.2.0/24"),
            node("c", "198.51.100.3", "10.0.3.0/24"),
        ] {
            planner.apply(Input::Cluster(ClusterEvent::NodeUpsert(node)));
        }
        planner
    }

    #[test]
    fn peers_are_counted_by_the_way_to_them() {
        let counts = |transport| {
            let planner = planner(Settings {
                transport,
                ..Settings::default()
            });
            let all = methods(&planner).into_iter();
            all.map(|(way, count)| format!("{count} {way}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(counts(Transport::Auto), ["1 direct", "1 vxlan"]);
        assert_eq!(counts(Transport::Vxlan), ["2 vxlan"]);
        assert_eq!(counts(Transport::Direct), ["1 direct", "1 none"]);
    }

    #[test]
    fn the_mtu_and_the_paths_are_explained() {
        let mut planner = planner(Settings::default());
        assert_eq!(pod_mtu_reason(&planner), "uplink 1500 - 50 vxlan");
        let b = NodeName::new("b").expect("valid");
        planner.apply(Input::PathMtu(b, Some(1400)));
        assert_eq!(path_mtus(&planner).get("b"), Some(&1400));
        planner.apply(Input::Settings(Settings {
            mtu: Some(1300),
            ..Settings::default()
        }));
        assert_eq!(pod_mtu_reason(&planner), "--mtu");
    }

    #[test]
    fn saved_settings_are_named_as_people_name_them() {
        let path = std::env::temp_dir().join(format!("seaway-saved-{}", std::process::id()));
        let text = r#"{"up.0": {"index": 7, "values": {"net/ipv6/conf/accept_ra": "1"}}}"#;
        std::fs::write(&path, text).expect("written");
        let saved = saved_settings(&path);
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(
            saved
                .get("net.ipv6.conf.up.0.accept_ra")
                .map(String::as_str),
            Some("1")
        );
        assert!(saved_settings(Path::new("/nonexistent")).is_empty());
    }
}
