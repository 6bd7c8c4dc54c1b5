//! The rows that a Service asks for: a pure function of what is known of it, of the ground it
//! stands on, and of what it may have. Who gets a point that two ask for is not decided here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use seaway_model::{
    BackendRow, Family, FrontendAction, GroupId, MemberRow, Service, ServiceName, ServicePort,
    TrafficPolicy, stable_hash,
};

use super::affinity::{self, Affinities};
use super::endpoints::{Candidate, candidates, of_cluster, of_node};
use super::judge::{Judge, Reason};
use super::note::{Findings, Note};
use super::slots::{MOST_BACKENDS, lay_out, size};
use super::spots::{
    Class, Point, Spot, balancer_ips, families, has_outside, is_balanced, policies, refused_ports,
    spots,
};
use super::store::Entry;

/// What a Service asks for at a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// By what right.
    pub(super) class: Class,
    /// What becomes of everybody's traffic.
    pub(super) everyone: FrontendAction,
    /// What becomes of traffic from outside, where that is another matter.
    pub(super) outside: Option<FrontendAction>,
    /// The sources that may use it, where not all may.
    pub(super) ranges: Option<Arc<[IpNet]>>,
}

/// What a Service asks for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Its cluster addresses.
    pub(super) cluster_ips: Vec<IpAddr>,
    /// Its frontends, in order.
    pub(super) claims: Vec<(Point, Claim)>,
    /// Its backends, in order.
    pub(super) backends: Vec<BackendRow>,
    /// The backends that clients may keep, in order.
    pub(super) members: Vec<MemberRow>,
    /// What there is to say of it.
    pub(super) note: Note,
}

/// The groups of a Service, in order.
pub(super) fn groups(service: &Service) -> Vec<GroupId> {
    let mut all = Vec::new();
    if is_balanced(service) {
        for family in families(service) {
            for port in &service.ports {
                let id = |policy| group_id(&service.name, port, family, policy);
                all.extend(policies(service).map(id));
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn group_id(
    service: &ServiceName,
    port: &ServicePort,
    family: Family,
    policy: TrafficPolicy,
) -> GroupId {
    let (namespace, name) = (service.namespace(), service.name());
    let protocol = match port.protocol {
        seaway_model::Protocol::Tcp => "tcp",
        seaway_model::Protocol::Udp => "udp",
        seaway_model::Protocol::Sctp => "sctp",
    };
    let family = match family {
        Family::V4 => "4",
        Family::V6 => "6",
    };
    let hash = stable_hash(&[namespace, name, &port.name, protocol, family]);
    GroupId(hash & !1 | u64::from(policy == TrafficPolicy::Local))
}

/// What becomes of traffic to a port in a family, by policy.
struct Actions {
    cluster: FrontendAction,
    local: FrontendAction,
}

/// What is asked for on behalf of one Service, as it grows.
struct Draft<'a> {
    name: &'a ServiceName,
    entry: &'a Entry,
    service: &'a Service,
    judge: Judge<'a>,
    affinity: Option<u32>,
    findings: Findings<'a>,
    wanted: Wanted,
}

/// What a Service asks for.
pub(super) fn wanted(
    name: &ServiceName,
    entry: &Entry,
    judge: Judge<'_>,
    affinities: &Affinities,
) -> Wanted {
    let Some(service) = entry.service.as_deref().filter(|s| is_balanced(s)) else {
        return Wanted::default();
    };
    let asked = affinity::wanted(service);
    let mut draft = Draft {
        name,
        entry,
        service,
        judge,
        affinity: asked.map(|seconds| affinities.given(seconds)),
        findings: Findings::of(name),
        wanted: Wanted::default(),
    };
    if let (Some(asked), Some(given)) = (asked, draft.affinity)
        && asked != given
    {
        draft.findings.affinity(asked, given);
    }
    draft.wanted.note.is_balanced = true;
    draft.cluster_ips();
    draft.frontends();
    draft.odd_ports();
    let Draft {
        mut wanted,
        findings,
        ..
    } = draft;
    wanted.backends.sort_unstable_by_key(|row| row.key);
    wanted.members.sort_unstable();
    wanted.note.findings = findings.finish();
    wanted
}

impl Draft<'_> {
    fn cluster_ips(&mut self) {
        for address in &self.service.cluster_ips {
            match self.judge.cluster_ip(*address) {
                Some(reason) => self.findings.cluster_ip(*address, &reason),
                None => self.wanted.cluster_ips.push(*address),
            }
        }
    }

    fn frontends(&mut self) {
        let mut actions = Vec::new();
        for family in Family::ALL {
            let has = self.service.cluster_ip(family).is_some();
            let ports = self.service.ports.iter().filter(|_| has);
            actions.push(
                ports
                    .map(|port| self.port(family, port))
                    .collect::<Vec<_>>(),
            );
        }
        for spot in spots(self.service, self.judge.ground) {
            let of_family = &actions[usize::from(spot.point.family() == Family::V6)];
            if let Some(actions) = of_family.get(spot.port)
                && self.is_allowed(&spot)
            {
                let claim = self.claim(&spot, actions);
                self.wanted.claims.push((spot.point, claim));
            }
        }
    }

    /// Plans the groups of a port in a family.
    fn port(&mut self, family: Family, port: &ServicePort) -> Actions {
        let findings = &mut self.findings;
        let all = candidates(self.entry.slices(), family, port, &self.judge, |refused| {
            findings.endpoint(&refused);
        });
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let note = &mut self.wanted.note;
        note.endpoints = note.endpoints.saturating_add(count);
        let mut actions = Actions {
            cluster: FrontendAction::Refuse,
            local: FrontendAction::Refuse,
        };
        let service = self.service;
        for policy in policies(service) {
            let group = group_id(self.name, port, family, policy);
            match policy {
                TrafficPolicy::Cluster => {
                    let targets = of_cluster(&all, self.judge.ground);
                    if let Some(balance) = self.group(group, port, targets) {
                        actions.cluster = balance;
                    }
                }
                TrafficPolicy::Local => actions.local = self.local(group, port, &all),
            }
        }
        actions
    }

    /// The action of policy Local.
    fn local(
        &mut self,
        group: GroupId,
        port: &ServicePort,
        all: &[Candidate<'_>],
    ) -> FrontendAction {
        let targets = of_node(all, self.judge.ground);
        if let Some(balance) = self.group(group, port, targets) {
            return balance;
        }
        if of_cluster(all, self.judge.ground).is_empty() {
            return FrontendAction::Refuse;
        }
        let (service, note) = (self.service, &mut self.wanted.note);
        note.no_local_internal |= service.internal_policy == TrafficPolicy::Local;
        note.no_local_external |=
            has_outside(service) && service.external_policy == TrafficPolicy::Local;
        FrontendAction::Drop
    }

    /// Lays out a group, if it has backends.
    fn group(
        &mut self,
        group: GroupId,
        port: &ServicePort,
        mut targets: Vec<SocketAddr>,
    ) -> Option<FrontendAction> {
        if targets.is_empty() {
            return None;
        }
        if targets.len() > MOST_BACKENDS {
            self.findings.too_many(&port.name, targets.len());
            targets.truncate(MOST_BACKENDS);
        }
        // Two ports of one name and protocol are one group.
        let laid_out = |row: &BackendRow| row.key.group == group;
        if !self.wanted.backends.iter().any(laid_out) {
            lay_out(group, &targets, &mut self.wanted.backends);
            if self.affinity.is_some() {
                let members = targets.iter().map(|target| MemberRow {
                    group,
                    target: *target,
                });
                self.wanted.members.extend(members);
            }
        }
        Some(FrontendAction::Balance {
            group,
            slots: size(targets.len()),
            affinity: self.affinity,
        })
    }

    /// Whether the Service may have this spot; where not, it is said.
    fn is_allowed(&mut self, spot: &Spot) -> bool {
        let address = spot.point.address;
        match spot.class {
            Class::Cluster => self.wanted.cluster_ips.contains(&address),
            Class::NodePort => true,
            Class::External => match self.judge.external(self.name, address) {
                None => true,
                Some(reason) => {
                    self.refuse_external(spot, &reason);
                    false
                }
            },
        }
    }

    fn refuse_external(&mut self, spot: &Spot, reason: &Reason) {
        let field = match spot.is_balancer {
            true => "status.loadBalancer",
            false => "externalIPs",
        };
        self.findings.external(field, spot.point.address, reason);
    }

    fn claim(&mut self, spot: &Spot, actions: &Actions) -> Claim {
        let (everyone, outside) = match (spot.class, self.service) {
            (Class::Cluster, service) => match service.internal_policy {
                TrafficPolicy::Cluster => (actions.cluster, None),
                TrafficPolicy::Local => (actions.local, None),
            },
            (_, service) => match service.external_policy {
                TrafficPolicy::Cluster => (actions.cluster, None),
                TrafficPolicy::Local => (actions.cluster, Some(actions.local)),
            },
        };
        Claim {
            class: spot.class,
            everyone,
            outside,
            ranges: self.ranges(spot),
        }
    }

    /// The sources that may use a load balancer's address (S20). A node that may, may also from
    /// the address itself, which it can have as its own.
    fn ranges(&mut self, spot: &Spot) -> Option<Arc<[IpNet]>> {
        let all = &self.service.source_ranges;
        if !spot.is_balancer || all.is_empty() {
            return None;
        }
        let family = spot.point.family();
        let of_family = all.iter().filter(|net| Family::of_net(net) == family);
        let mut nets: Vec<IpNet> = of_family.map(IpNet::trunc).collect();
        if nets.is_empty() {
            self.findings.no_range(spot.point.address, all);
        }
        let mut own = self.judge.ground.own_addresses.iter();
        if own.any(|address| nets.iter().any(|net| net.contains(address))) {
            nets.push(Family::host_net(spot.point.address));
        }
        nets.sort();
        nets.dedup();
        Some(nets.into())
    }

    /// Says what is wrong with ports, and what is switched off.
    fn odd_ports(&mut self) {
        let (service, ground) = (self.service, self.judge.ground);
        for port in refused_ports(service, ground) {
            self.findings.vxlan_port(port);
        }
        if !service.external_ips.is_empty() && !ground.settings.external_ips {
            self.findings.external_off();
        }
        for slice in self.entry.slices() {
            if slice.ports.iter().any(|port| port.port == Some(0)) {
                self.findings.no_port(&slice.name);
            }
        }
    }
}

/// The addresses outside the cluster that a Service names, whatever becomes of them.
pub(super) fn external_ips(service: &Service) -> impl Iterator<Item = IpAddr> + '_ {
    let all = service.external_ips.iter().chain(balancer_ips(service));
    all.filter(|_| is_balanced(service)).copied()
}
