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
use seaway_cni::spec::Environment;
use seaway_kernel::netns::Netns;
use seaway_kernel::realise::{ChaosHost, Devices, Dice, FakeHost};
use seaway_model::{ClusterEvent, Node, NodeName};
use serde_json::{Value, json};

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
    shared: Arc<Shared>,
}

impl World {
    fn new(seed: u64) -> World {
        let folder = std::env::temp_dir().join(format!("seaway-sim-{}-{seed}", std::process::id()));
        let (kernel, dice) = (FakeHost::default(), Dice::new(seed));
        let namespaces = (0..PODS)
            .map(|_| Netns::create().expect("needs root"))
            .collect();
        let shared = agent(&kernel, &dice, &folder);
        World {
            kernel,
            dice,
            folder,
            namespaces,
            shared,
        }
    }

    /// Ends the agent as kill -9 would, and starts another.
    fn restart(&mut self) {
        self.shared = agent(&self.kernel, &self.dice, &self.folder);
    }

    fn call(&self, command: &str, pod: u32) -> Result<Value, seaway_cni::spec::CniError> {
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
                "cni.dev/valid-attachments": []}),
        };
        let fd = netns.as_fd().try_clone_to_owned().expect("a descriptor");
        cni::serve(&self.shared, &request, Some(fd))
    }

    /// One random step.
    fn step(&mut self) {
        let pod = self.dice.below(PODS);
        match self.dice.below(10) {
            0 => self.restart(),
            1 => drop(reaper::reap(&self.shared)),
            // Without a reaper's thread, an ADD would wait for what is dying.
            2..6 if self.shared.lock().dying.is_empty() || reaper::reap(&self.shared) => {
                drop(self.call("ADD", pod));
            }
            2..6 => {}
            _ => drop(self.call("DEL", pod)),
        }
    }

    /// What must hold at any time.
    fn check(&self, seed: u64) {
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
        let rows = self.kernel.node_rows();
        assert_eq!(
            (rows.links.len(), self.kernel.dying()),
            (0, 0),
            "seed {seed}"
        );
        assert_eq!(rows.neighbours.len(), 0, "seed {seed}: {rows:?}");
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

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn agent(kernel: &FakeHost, dice: &Arc<Dice>, folder: &PathBuf) -> Arc<Shared> {
    std::fs::create_dir_all(folder).expect("folder");
    let node = NodeName::new("n").expect("valid");
    let (commands, _queue) = channel();
    let shared = Arc::new(Shared::new(
        State::new(node.clone()),
        Box::new(ChaosHost::new(kernel.clone(), dice.clone())),
        Records::open(folder).expect("folder"),
        Notes::beside(&folder.join("agent.sock")),
        Keeper::new(commands, EventFd::new().expect("eventfd")),
    ));
    // Start is tried until it succeeds, as a supervisor would.
    while run::adopt(&shared, &Devices::default()).is_err() {}
    let pod_cidrs = ["10.0.0.0/28", "fd00::/120"]
        .map(|n| n.parse().expect("valid"))
        .to_vec();
    let mut state = shared.lock();
    state.cluster(ClusterEvent::NodeUpsert(Node {
        name: node,
        addresses: vec![],
        pod_cidrs,
    }));
    state.cluster(ClusterEvent::Synced);
    state.settled = true;
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
