//! The network between the nodes, and what is beyond it: `flat`, one wire for all with a router at
//! its end, or `routed`, a subnet for each machine with the router between them; behind the router,
//! a host that knows nothing of the cluster. None of it knows Pods.

mod cable;
mod router;
mod wire;

pub(crate) use cable::up;

use std::sync::Arc;

use ipnet::IpNet;
use seaway_kernel::netns::Netns;

use self::cable::{default_routes, plug_in};
use self::router::Router;
use self::wire::Wire;
use super::node::{Binaries, furnish};
use crate::error::LabError;
use crate::namespaces::{Namespaces, on_new_thread};
use crate::state::StateDir;
use crate::topology::{Network, OUTSIDE, ROUTER, UnderlayKind, router_in};

/// The underlay and what is beyond it.
pub(crate) struct Underlay {
    wire: Option<Wire>,
    router: Router,
    outside: Arc<Namespaces>,
}

impl Underlay {
    /// Makes it, without any nodes.
    pub(crate) fn create(
        network: &Network,
        state: &StateDir,
        binaries: &Binaries,
    ) -> Result<Underlay, LabError> {
        let machine = |name: &str| {
            let net = Netns::create()?;
            on_new_thread(|| furnish(net, name, state, binaries))
        };
        let router = Router::create(machine(ROUTER)?, network.mtu)?;
        let wire = match network.underlay {
            UnderlayKind::Flat => Some(Wire::create(network.mtu)?),
            UnderlayKind::Routed => None,
        };
        if let Some(wire) = &wire {
            wire.connect(ROUTER, &router.namespaces.net)?;
            let machines = network.control_plane_addresses();
            router.join(&routers_in(&machines))?;
        }
        let outside = machine(OUTSIDE)?;
        let addresses = network.outside_addresses();
        let gateways = routers_in(&addresses);
        router.connect(OUTSIDE, &gateways, &outside.net)?;
        let inwards = network.underlay_nets().into_iter();
        let inwards = inwards.zip(gateways.iter().map(IpNet::addr));
        plug_in(&outside.net, &addresses, &inwards.collect::<Vec<_>>())?;
        Ok(Underlay {
            wire,
            router,
            outside: Arc::new(outside),
        })
    }

    /// Lays the cable to a machine and brings its side up with the machine's addresses and a default
    /// route by the router.
    pub(crate) fn attach(
        &self,
        name: &str,
        addresses: &[IpNet],
        netns: &Netns,
    ) -> Result<(), LabError> {
        let gateways = routers_in(addresses);
        match &self.wire {
            Some(wire) => wire.connect(name, netns)?,
            None => self.router.connect(name, &gateways, netns)?,
        }
        plug_in(netns, addresses, &default_routes(&gateways))
    }

    /// The host beyond the cluster.
    pub(crate) fn outside(&self) -> &Arc<Namespaces> {
        &self.outside
    }

    /// The router.
    pub(crate) fn router(&self) -> &Arc<Namespaces> {
        &self.router.namespaces
    }
}

/// The router's addresses where a machine with these is.
fn routers_in(addresses: &[IpNet]) -> Vec<IpNet> {
    addresses.iter().map(router_in).collect()
}
