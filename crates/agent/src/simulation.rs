//! The agent's requests on a host in memory that fails at random and forgets nothing: whatever
//! happens, no address is given twice, and at the end everything can be freed.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;

use nix::sys::eventfd::EventFd;
use seaway_cni::notes::Notes;
use seaway_cni::request::CniRequest;
use seaway_cni::spec::{CniError, Environment};
use seaway_kernel::netns::Netns;
use seaway_kernel::realise::{ChaosHost, Devices, Dice, FakeHost, Services};
use seaway_model::{AttachmentId, ClusterEvent, Node, NodeName, PortMapping, Settings, Wiring};
use serde_json::{Value, json};

use crate::journal::Journal;
use crate::records::Records;
use crate::shared::{Keeper, Shared};
use crate::state::State;
use crate::{cni, reaper, run};

const PODS: u32 = 6;

/// A node whose agent can be started again on the same kernel.
struct World {
    kernel: FakeHost,
    dice: Arc<Dice>,
    folder: PathBuf,
    namespaces: Vec<Netns>,
    settings: Settings,
    shared: Arc<Shared>,
}

impl World {
    fn new(seed: u64) -> World {
        let folder = std::env::temp_dir().join(format!("seaway-sim-{}-{seed}", std::process::id()));
        let (kernel, dice) = (FakeHost::default(), Dice::new(seed));
        let namespaces = (0..PODS)
            .map(|_| Netns::create().expect("needs root"))
            .collect();
        let settings = Settings::default();
        let shared = agent(&kernel, &dice, &folder, &settings);
        World {
            kernel,
            dice,
            folder,
            namespaces,
            settings,
            shared,
        }
    }

    /// Ends the agent as kill -9 would, and starts another.
    fn restart(&mut self) {
        self.shared = agent(&self.kernel, &self.dice, &self.folder, &self.settings);
    }

    fn call(&self, command: &str, pod: u32) -> Result<Value, CniError> {
        self.call_with(command, pod, &json!({}))
    }

    fn call_with(
        &self,
        command: &str,
        pod: u32,
        runtime_config: &Value,
    ) -> Result<Value, CniError> {
        let netns = &self.namespaces[pod as usize];
        let request = CniRequest {
            environment: Environment {
                command: command.to_owned(),
                container_id: Some(format!("pod{pod}")),
                interface: Some("eth0".to_owned()),
                netns: Some("/run/netns/sim".to_owned()),
                args: None,
                path: Some("/opt/cni/bin".to_owned()),
            },
            config: json!({"cniVersion": "1.1.0", "name": "sim", "type": "seaway-cni",
                "cni.dev/valid-attachments": [], "prevResult": {},
                "runtimeConfig": runtime_config}),
        };
        let fd = netns.as_fd().try_clone_to_owned().expect("a descriptor");
        cni::serve(&self.shared, &request, Some(fd))
    }

    /// Ports that Pods contend for, and limits.
    fn extras(&self) -> Value {
        let port = 8000 + self.dice.below(3);
        let host_ip = ["", "192.0.2.1", "::"][self.dice.below(3) as usize];
        let mapping = json!({"hostPort": port, "containerPort": 80, "hostIP": host_ip});
        let limit = json!({"ingressRate": 1_000_000, "ingressBurst": 1_000_000,
            "egressRate": 2_000_000, "egressBurst": 1_000_000});
        match self.dice.below(4) {
            0 => json!({}),
            1 => json!({"bandwidth": limit}),
            2 => json!({"portMappings": [mapping]}),
            _ => json!({"portMappings": [mapping], "bandwidth": limit}),
        }
    }

    /// One random step.
    fn step(&mut self) {
        let pod = self.dice.below(PODS);
        match self.dice.below(10) {
            0 => self.restart(),
            1 => drop(reaper::reap(&self.shared)),
            // Without a reaper's thread, an ADD would wait for what is dying.
            2..6 if self.shared.lock().dying.is_empty() || reaper::reap(&self.shared) => {
                let extras = self.extras();
                drop(self.call_with("ADD", pod, &extras));
            }
            2..6 => {}
            _ => drop(self.call("DEL", pod)),
        }
    }

    /// What must hold at any time.
    fn check(&self, seed: u64) {
        self.check_addresses(seed);
        self.check_ports(seed);
    }

    /// A port of the node leads to one Pod, whatever the agent was told and has forgotten since.
    fn check_ports(&self, seed: u64) {
        let state = self.shared.lock();
        let mut held: Vec<(&AttachmentId, &PortMapping)> = Vec::new();
        for record in state.records.values() {
            for port in &record.attachment.extras.ports {
                let other = held.iter().find(|(_, other)| other.overlaps(port));
                let id = &record.attachment.id;
                assert_eq!(other, None, "seed {seed}: {port} of {id} is given twice");
                held.push((id, port));
            }
        }
    }

    fn check_addresses(&self, seed: u64) {
        let mut owners = BTreeMap::new();
        for link in self.kernel.node_rows().links.iter() {
            if let seaway_model::LinkKind::Pod(pod) = &link.kind {
                let attachment = pod.alias.parse().expect("ours");
                for address in attachment.addresses {
                    let other = owners.insert(address, attachment.id.clone());
                    assert_eq!(other, None, "seed {seed}: {address} is given twice");
                }
            }
        }
        let state = self.shared.lock();
        for (address, id) in owners {
            assert!(
                state.ipam.is_held(address),
                "seed {seed}: {address} of {id} is not held"
            );
        }
    }

    /// Everything can be freed once nothing fails any more.
    fn finish(&mut self, seed: u64) {
        self.dice.set(0);
        self.restart();
        self.call("GC", 0)
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        for pod in 0..PODS {
            self.call("DEL", pod)
                .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        }
        assert!(reaper::reap(&self.shared), "seed {seed}");
        self.delete_unplanned();
        let rows = self.kernel.node_rows();
        assert_eq!(
            (rows.links.len(), self.kernel.dying()),
            (0, 0),
            "seed {seed}"
        );
        assert_eq!(rows.neighbours.len(), 0, "seed {seed}: {rows:?}");
        let extras = (
            rows.host_ports.len(),
            rows.shapes.len(),
            rows.redirects.len(),
        );
        assert_eq!(extras, (0, 0, 0), "seed {seed}: {rows:?}");
        let state = self.shared.lock();
        let held: usize = state.ipam.usage().map(|(_, held, _)| held).sum();
        assert_eq!(held, 0, "seed {seed}");
        drop(state);
        let addresses: HashSet<Value> = (0..PODS)
            .map(|pod| self.call("ADD", pod).expect("all is well")["ips"].clone())
            .collect();
        assert_eq!(addresses.len(), PODS as usize, "seed {seed}");
    }
}

impl World {
    /// What the keeper's comparison does about rows that nobody planned.
    fn delete_unplanned(&self) {
        let planned = self.shared.lock().planner.rows().clone();
        let done = self.shared.with_node(|node| {
            let observed = node
                .observe(&planned, Services::Read)
                .expect("nothing fails");
            let changes = planned.changes_from(&observed.tables).deletions();
            // What is on a link that is gone is gone, too.
            let _ = node.apply(&changes, &|_| None);
        });
        done.expect("nothing fails");
    }

    /// What the keeper does when the last Pod of a wiring is gone.
    fn rewire(&self) -> bool {
        let Some(changes) = self.shared.lock().rewire() else {
            return false;
        };
        let failures = self
            .shared
            .with_node(|node| node.apply(&changes, &|_| None));
        assert_eq!(failures.expect("nothing fails"), []);
        self.shared.lock().rewired();
        true
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// An agent that does not know the cluster yet.
fn start(
    kernel: &FakeHost,
    dice: &Arc<Dice>,
    folder: &PathBuf,
    settings: &Settings,
) -> Arc<Shared> {
    std::fs::create_dir_all(folder).expect("folder");
    let node = node();
    let (commands, _queue) = channel();
    let shared = Arc::new(Shared::new(
        State::new(node, settings.clone()),
        Box::new(ChaosHost::new(kernel.clone(), dice.clone())),
        Records::open(folder).expect("folder"),
        Notes::beside(&folder.join("agent.sock")),
        Journal::new().0,
        Keeper::new(commands, EventFd::new().expect("eventfd")),
    ));
    // Start is tried until it succeeds, as a supervisor would.
    while run::adopt(&shared, &Devices::default()).is_err() {}
    shared
}

fn node() -> NodeName {
    NodeName::new("n").expect("valid")
}

fn agent(
    kernel: &FakeHost,
    dice: &Arc<Dice>,
    folder: &PathBuf,
    settings: &Settings,
) -> Arc<Shared> {
    let shared = start(kernel, dice, folder, settings);
    let pod_cidrs = ["10.0.0.0/28", "fd00::/120"]
        .map(|n| n.parse().expect("valid"))
        .to_vec();
    let mut state = shared.lock();
    state.cluster(ClusterEvent::NodeUpsert(Node {
        name: node(),
        addresses: vec![],
        pod_cidrs,
        transport: None,
        zone: None,
        leaving: false,
    }));
    state.cluster(ClusterEvent::Synced);
    state.settled = true;
    state.guarded = true;
    drop(state);
    shared
}

#[test]
fn r44_no_address_twice_and_nothing_left_on_a_failing_host() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        world.dice.set(250);
        for _ in 0..60 {
            world.step();
            world.check(seed);
        }
        world.finish(seed);
    }
}

/// K10: who cannot have a claim must not take it from who has it.
#[test]
fn k10_a_refused_claim_leaves_the_holders_alone() {
    let world = World::new(1_000);
    let container = seaway_model::ContainerId::new("c").expect("valid");
    let held = world.shared.try_claim(&container).expect("free");
    assert!(world.shared.try_claim(&container).is_none());
    assert!(
        world.shared.try_claim(&container).is_none(),
        "the refusal freed it"
    );
    drop(held);
    assert!(world.shared.try_claim(&container).is_some());
}

fn mapping(port: u16, host_ip: &str) -> Value {
    json!({"portMappings": [{"hostPort": port, "containerPort": 80, "hostIP": host_ip}]})
}

#[test]
fn k9_a_port_of_the_node_is_given_once_and_its_holder_named() {
    let world = World::new(1_001);
    let first = world.call_with("ADD", 0, &mapping(8080, "192.0.2.1"));
    first.expect("free");
    for host_ip in ["", "0.0.0.0", "192.0.2.1"] {
        let error = world.call_with("ADD", 1, &mapping(8080, host_ip));
        let error = error.expect_err("taken");
        assert_eq!(error.code, cni::HOST_PORT_TAKEN);
        assert!(
            error.msg.contains("held by attachment pod0/eth0"),
            "{error}"
        );
    }
    let held = || {
        world
            .shared
            .lock()
            .ipam
            .usage()
            .map(|(_, n, _)| n)
            .sum::<usize>()
    };
    let before = held();
    let vxlan =
        json!({"portMappings": [{"hostPort": 4789, "containerPort": 1, "protocol": "udp"}]});
    let error = world.call_with("ADD", 1, &vxlan).expect_err("VXLAN's");
    assert!(error.msg.contains("--vxlan-port"), "{error}");
    assert_eq!(held(), before, "a refused ADD holds no address");
    let other = world.call_with("ADD", 1, &mapping(8080, "192.0.2.2"));
    other.expect("another address");
    world.call("DEL", 0).expect("detached");
    let again = world.call_with("ADD", 2, &mapping(8080, "192.0.2.1"));
    again.expect("free as soon as DEL has answered");
}

#[test]
fn k9_a_burst_that_holds_no_packet_is_refused() {
    let world = World::new(1_002);
    let small = json!({"bandwidth": {"egressRate": 1000, "egressBurst": 8}});
    let error = world.call_with("ADD", 0, &small).expect_err("useless");
    assert_eq!(error.code, 7);
    assert!(error.msg.contains("bandwidth.egressBurst"), "{error}");
}

#[test]
fn k9_unknown_capabilities_are_still_refused() {
    let world = World::new(1_003);
    let error = world.call_with("ADD", 0, &json!({"mac": "02:00:00:00:00:01"}));
    let error = error.expect_err("unknown");
    assert_eq!(error.code, 2);
    assert_eq!(error.details, "supported: portMappings, bandwidth");
}

#[test]
fn k9_ports_and_limits_outlive_their_records() {
    let mut world = World::new(1_004);
    let mut asked = mapping(8080, "");
    asked["bandwidth"] = json!({"ingressRate": 1_000_000, "ingressBurst": 1_000_000,
        "egressRate": 2_000_000, "egressBurst": 1_000_000});
    world.call_with("ADD", 0, &asked).expect("attached");
    let extras = |world: &World| {
        let state = world.shared.lock();
        let mut all = state.records.values().map(|r| r.attachment.extras.clone());
        all.next().expect("one Pod")
    };
    let before = extras(&world);
    std::fs::remove_dir_all(&world.folder).expect("lost");
    world.restart();
    assert_eq!(extras(&world), before);
    let error = world
        .call_with("ADD", 1, &mapping(8080, ""))
        .expect_err("taken");
    assert_eq!(error.code, cni::HOST_PORT_TAKEN);
    world.call("DEL", 0).expect("detached");
    assert_eq!(
        world.kernel.node_rows().host_ports.len(),
        0,
        "closed by DEL"
    );
}

#[test]
fn k9_del_closes_ports_before_the_cluster_is_known() {
    let mut world = World::new(1_006);
    for (pod, port) in [(0, 8080), (1, 8081)] {
        let added = world.call_with("ADD", pod, &mapping(port, ""));
        added.expect("attached");
    }
    let open = |world: &World| world.kernel.node_rows().host_ports.len();
    assert_eq!(open(&world), 4, "of both families");
    world.shared = start(&world.kernel, &world.dice, &world.folder, &world.settings);
    world.call("DEL", 0).expect("detached");
    assert_eq!(open(&world), 2, "the other's");
}

#[test]
fn a_wiring_comes_when_the_last_pod_of_the_other_is_gone() {
    let mut world = World::new(1_005);
    let gateway = |result: &Value| result["ips"][0]["gateway"].clone();
    let routed = world.call("ADD", 0).expect("attached");
    assert_eq!(gateway(&routed), json!("169.254.1.1"));
    world.settings.wiring = Wiring::Bridge;
    world.restart();
    let waiting = |world: &World| world.shared.lock().waiting_wiring();
    assert_eq!(waiting(&world), Some(Wiring::Bridge));
    let routed = world.call("ADD", 1).expect("attached");
    assert_eq!(gateway(&routed), json!("169.254.1.1"), "as the others");
    for pod in 0..2 {
        world.call("DEL", pod).expect("detached");
        assert!(!world.rewire(), "Pods are still dying");
    }
    assert!(reaper::reap(&world.shared));
    assert!(world.rewire());
    assert_eq!(waiting(&world), None);
    let bridged = world.call("ADD", 2).expect("attached");
    assert_eq!(gateway(&bridged), json!("10.0.0.1"));
    assert_eq!(bridged["ips"][0]["address"], json!("10.0.0.4/28"));
    world.settings.wiring = Wiring::Routed;
    std::fs::remove_dir_all(&world.folder).expect("lost");
    world.restart();
    assert_eq!(
        waiting(&world),
        Some(Wiring::Routed),
        "known by its link alone"
    );
}
