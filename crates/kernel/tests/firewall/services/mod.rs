//! Services with real packets: a node with its Pods, servers behind frontends, and somebody outside.

mod affinity;
mod flows;
mod life;
mod paths;
mod refusals;
mod servers;
mod spread;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use seaway_kernel::netlink::{Netlink, Request};
use seaway_model::{
    BackendKey, BackendRow, ClusterIpRow, DENSE_SLOTS, FALLBACK_SLOT, Family, FirewallRow,
    FrontendAction, FrontendKey, FrontendRow, GroupId, MemberRow, Protocol, ServiceRules, View,
    Wiring, loopback_alias,
};

use self::servers::Servers;
use crate::rig::{NODE_V4, NODE_V6, Rig, ip, net, row};

pub(crate) const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
/// For how long clients keep their backend.
pub(crate) const KEPT: u32 = 3;

pub(crate) fn rules() -> ServiceRules {
    ServiceRules {
        service_cidrs: [net("10.96.0.0/16"), net("fd00:0:0:96::/112")].into(),
        sources: [NODE_V4.into(), NODE_V6.into()].into(),
        affinities: [KEPT, 10_800].into(),
        range_lengths: [
            (Family::V4, 32),
            (Family::V4, 24),
            (Family::V6, 128),
            (Family::V6, 64),
        ]
        .into(),
        masquerade_all: false,
        dns: true,
    }
}

pub(crate) fn firewall(wiring: Wiring, services: ServiceRules) -> FirewallRow {
    FirewallRow {
        services: Some(services),
        ..row(wiring)
    }
}

/// An address of Services.
pub(crate) fn virtual_ip(family: Family, i: u8) -> IpAddr {
    match family {
        Family::V4 => [10, 96, 0, i].into(),
        Family::V6 => [0xfd00, 0, 0, 0x96, 0, 0, 0, i.into()].into(),
    }
}

pub(crate) fn frontend(at: SocketAddr, protocol: Protocol) -> FrontendKey {
    FrontendKey {
        address: at.ip(),
        protocol,
        port: at.port(),
        view: View::Everyone,
    }
}

pub(crate) fn outside(key: FrontendKey) -> FrontendKey {
    FrontendKey {
        view: View::Outside,
        ..key
    }
}

/// A node whose Services are balanced.
pub(crate) struct Balanced {
    pub(crate) rig: Rig,
    groups: u64,
    _servers: Vec<Servers>,
}

/// The first port of the servers.
const FIRST: u16 = 7001;

impl Balanced {
    /// With two Pods and `count` servers on each, all of which answer in all protocols.
    pub(crate) fn new(wiring: Wiring, count: u16) -> Balanced {
        let mut rig = Rig::with_pods(wiring);
        add_alias();
        for command in [
            "route add 10.96.0.0/16 dev lo src 192.0.2.1",
            "-6 route add fd00:0:0:96::/112 dev lo src 2001:db8::1",
        ] {
            ip(command);
        }
        for command in [
            "route add 10.96.0.0/16 via 192.0.2.1",
            "-6 route add fd00:0:0:96::/112 via 2001:db8::1",
        ] {
            rig.out.ip(command);
        }
        rig.planned.firewall.insert(firewall(wiring, rules()));
        let servers = |i: usize| {
            let pod = &rig.pods[i];
            let at = |family| targets_of(pod.address(family), count);
            Servers::at(&pod.netns, &Family::ALL.map(at).concat())
        };
        let servers = vec![servers(0), servers(1)];
        rig.converge();
        Balanced {
            rig,
            groups: 0,
            _servers: servers,
        }
    }

    /// The servers of a Pod.
    pub(crate) fn targets(&self, pod: usize, family: Family, count: u16) -> Vec<SocketAddr> {
        targets_of(self.rig.pods[pod].address(family), count)
    }

    /// A group of backends, laid in slots as the planner does.
    pub(crate) fn group(&mut self, targets: &[SocketAddr]) -> (GroupId, u8) {
        self.groups += 0x1_0000_0002;
        let group = GroupId(self.groups);
        (group, self.lay(group, targets))
    }

    /// Lays the backends of a group in slots; says how many.
    pub(crate) fn lay(&mut self, group: GroupId, targets: &[SocketAddr]) -> u8 {
        let planned = &mut self.rig.planned;
        let others = planned.backends.iter().filter(|r| r.key.group != group);
        planned.backends = others.cloned().collect();
        let others = planned.members.iter().filter(|r| r.group != group);
        planned.members = others.copied().collect();
        let count = u16::try_from(targets.len()).expect("few");
        let dense = count.next_power_of_two().trailing_zeros();
        let sparse = u32::from(count) * 4 / 3;
        let is_dense = dense <= u32::from(DENSE_SLOTS);
        let slots = match is_dense {
            true => dense,
            false => sparse.next_power_of_two().trailing_zeros(),
        };
        let place = |i: usize| match is_dense {
            true => i,
            false => i * (1 << slots) / targets.len(),
        };
        let mut put = |slot: u16, target: SocketAddr| {
            let key = BackendKey { group, slot };
            self.rig.planned.backends.insert(BackendRow { key, target });
        };
        for (i, target) in targets.iter().enumerate() {
            put(u16::try_from(place(i)).expect("few"), *target);
        }
        if !is_dense {
            put(FALLBACK_SLOT, targets[0]);
        }
        for target in targets {
            let target = *target;
            self.rig.planned.members.insert(MemberRow { group, target });
        }
        u8::try_from(slots).expect("few")
    }

    pub(crate) fn set(&mut self, key: FrontendKey, action: FrontendAction) {
        let row = FrontendRow {
            key,
            action,
            guarded: false,
        };
        self.rig.planned.frontends.insert(row);
    }

    /// A frontend that leads to these; in force with the next convergence.
    pub(crate) fn lead(
        &mut self,
        key: FrontendKey,
        targets: &[SocketAddr],
        affinity: Option<u32>,
    ) -> GroupId {
        let (group, slots) = self.group(targets);
        let action = FrontendAction::Balance {
            group,
            slots,
            affinity,
        };
        self.set(key, action);
        group
    }

    /// A frontend in every protocol at a virtual address.
    pub(crate) fn service(&mut self, at: SocketAddr, targets: &[SocketAddr]) {
        for protocol in PROTOCOLS {
            self.lead(frontend(at, protocol), targets, None);
        }
        let address = at.ip();
        self.rig
            .planned
            .cluster_ips
            .insert(ClusterIpRow { address });
        self.rig.converge();
    }

    pub(crate) fn nothing_dropped(&mut self) {
        let drops = self.rig.drops();
        assert!(drops.values().all(|count| *count == 0), "{drops:?}");
    }
}

fn targets_of(address: IpAddr, count: u16) -> Vec<SocketAddr> {
    (FIRST..FIRST + count)
        .map(|port| SocketAddr::new(address, port))
        .collect()
}

pub(crate) fn set_of(all: &[SocketAddr]) -> BTreeSet<SocketAddr> {
    all.iter().copied().collect()
}

/// The stand-ins of the loopback addresses, as the realiser puts them on the loopback device.
pub(crate) fn add_alias() {
    const LOOPBACK_INDEX: u32 = 1;
    let mut netlink = Netlink::open().expect("socket");
    let add = |family| {
        let net = Family::host_net(loopback_alias(family));
        Request::add_bare_address(LOOPBACK_INDEX, net)
    };
    netlink.send_all(&Family::ALL.map(add)).expect("added");
}
