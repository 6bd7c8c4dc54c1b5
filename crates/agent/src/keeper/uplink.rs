//! Following the uplink: which device leads to the other nodes, and with which addresses and MTU.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use seaway_kernel::realise::DeviceInfo;
use seaway_kernel::uplink::{ChosenUplink, Surroundings, choose};
use seaway_model::{Device, NodePortAddresses, ServiceSettings};
use seaway_plan::{ChangeSet, Input};

use super::services::FlowNews;
use super::{Keeper, RETRY};

impl Keeper {
    /// Chooses the uplink anew and plans what follows from it.
    pub(super) fn choose_uplink(&mut self) {
        let around = match Surroundings::read(&mut self.netlink, &self.saved) {
            Ok(around) => around,
            Err(error) => {
                tracing::error!(%error, "the uplink cannot be chosen; trying again");
                self.audit_at = Instant::now() + RETRY.0;
                return;
            }
        };
        self.take_in_addresses(&around);
        let shared = self.shared.clone();
        let (changes, new_mtu) = {
            let mut state = shared.lock();
            let cluster = state.planner.node().map(|node| node.addresses.clone());
            let chosen = choose(&self.rule, &cluster.unwrap_or_default(), &around);
            if chosen == state.uplink {
                // The same device may have lost its routes with its carrier or an address.
                drop(state);
                self.ask_node(Instant::now());
                return;
            }
            match &chosen {
                Ok(uplink) => {
                    let info = DeviceInfo {
                        index: uplink.index,
                        name: uplink.name.clone(),
                        peer_netns: None,
                    };
                    self.devices.set(Device::Uplink, info);
                    tracing::info!(uplink = %uplink.name, rule = %uplink.rule, addresses = ?uplink.addresses, mtu = uplink.mtu, "uplink chosen");
                }
                Err(problem) => {
                    self.devices.forget(&Device::Uplink);
                    tracing::warn!(%problem, "no uplink");
                }
            }
            let planned = chosen.as_ref().ok().map(ChosenUplink::for_planning);
            state.uplink = chosen;
            let mtu = state.planner.pod_mtu();
            let changes = state.planner.apply(Input::Uplink(planned));
            (changes, state.planner.pod_mtu() != mtu)
        };
        self.carry_out_for_all(&changes);
        // Another device with the same addresses changes no planned row, but what the rows mean.
        self.ask_node(Instant::now());
        if new_mtu {
            self.ask_all_pods();
        }
    }
    /// Tells the planner all addresses of the node, where ports of the node are open on some of them.
    fn take_in_addresses(&mut self, around: &Surroundings) {
        let changes = {
            let mut state = self.shared.lock();
            let services = state.planner.settings().services.as_ref();
            let within = |services: &ServiceSettings| {
                matches!(services.node_ports, NodePortAddresses::Within(_))
            };
            if !services.is_some_and(within) {
                return;
            }
            let mut all: Vec<IpAddr> = around.addresses.iter().map(|a| a.net.addr()).collect();
            all.sort_unstable();
            all.dedup();
            if all == state.host_addresses {
                return;
            }
            state.host_addresses.clone_from(&all);
            state.planner.apply(Input::HostAddresses(all))
        };
        self.carry_out_for_all(&changes);
    }

    /// Carries out what concerns no Service in particular.
    fn carry_out_for_all(&mut self, changes: &ChangeSet) {
        let flows = FlowNews::of(&self.shared.lock(), &BTreeSet::new(), changes, false);
        self.carry_out(changes);
        self.compare_flows(flows);
        self.renew_checks(Some(&BTreeSet::new()));
    }
}
