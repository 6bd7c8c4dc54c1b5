//! Following the uplink: which device leads to the other nodes, and with which addresses and MTU.

use std::time::Instant;

use seaway_kernel::realise::DeviceInfo;
use seaway_kernel::uplink::{ChosenUplink, Surroundings, choose};
use seaway_model::Device;
use seaway_plan::Input;

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
        self.carry_out(&changes);
        // Another device with the same addresses changes no planned row, but what the rows mean.
        self.ask_node(Instant::now());
        if new_mtu {
            self.ask_all_pods();
        }
    }
}
