//! Services and slices that change by chance: what the tests of rows 5 and 26 throw at agents.
//!
//! What comes of it need not make sense: overlapping addresses, refused endpoints and slices without
//! Service are part of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use seaway_model::{Family, ServiceName, SliceName, TrafficPolicy};
use seaway_tests::services::objects::cluster_address;
use seaway_tests::services::{Cast, Objects};

use crate::rounds::Dice;

/// How many Services there can be.
const SERVICES: usize = 40;

/// A cluster's Services, changed at random.
pub(crate) struct Chaos {
    dice: Dice,
    /// What every Service is at its best.
    full: Objects,
    services: BTreeMap<ServiceName, seaway_model::Service>,
    slices: BTreeMap<SliceName, seaway_model::EndpointSlice>,
    /// Events so far.
    pub(crate) events: usize,
}

impl Chaos {
    /// None there yet.
    pub(crate) fn new(cast: &Cast) -> Chaos {
        let endpoints =
            "[b1, c1, b2, c2, {addresses: [10.244.9.9, 'fd00:10:244:9::9'], anonymous: true}]";
        let one = |number: usize| {
            format!(
                "{{name: s{number}, type: LoadBalancer, external_ips: [by-node1],
                  load_balancer: [by-node2], source_ranges: [203.0.113.0/24, 'fd00::/8'],
                  slices: [{{endpoints: {endpoints}}}, {{target: 8081, endpoints: {endpoints}}}]}}"
            )
        };
        let all: Vec<String> = (0..SERVICES).map(one).collect();
        Chaos {
            dice: Dice::new(),
            full: Objects::written(&format!("[{}]", all.join(", ")), cast),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            events: 0,
        }
    }

    /// What there is by now.
    pub(crate) fn objects(&self) -> Objects {
        Objects {
            services: self.services.values().cloned().collect(),
            slices: self.slices.values().cloned().collect(),
        }
    }

    /// So many events.
    pub(crate) fn change(&mut self, count: usize) {
        for _ in 0..count {
            self.events += 1;
            match self.dice.below(10) {
                0..4 => self.change_service(),
                _ => self.change_slice(),
            }
        }
    }

    /// A number below `end`, from the same dice.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.dice.below(end)
    }

    fn change_service(&mut self) {
        let dice = &mut self.dice;
        let mut service = dice.pick(&self.full.services).clone();
        if dice.once_in(4) {
            self.services.remove(&service.name);
            return;
        }
        let policy = |dice: &mut Dice| match dice.once_in(3) {
            true => TrafficPolicy::Local,
            false => TrafficPolicy::Cluster,
        };
        service.created = dice.below(5) as i64;
        service.external_policy = policy(dice);
        service.internal_policy = policy(dice);
        service.affinity = dice.once_in(3).then(|| 60 * (1 + dice.below(3) as u32));
        service.foreign = dice.once_in(10);
        if dice.once_in(2) {
            service.source_ranges.clear();
        }
        if dice.once_in(3) {
            service.load_balancer_ips.clear();
        }
        if dice.once_in(6) {
            // One that another may have, too.
            let shared = 300 + dice.below(3);
            service.cluster_ips = Family::ALL.map(|f| cluster_address(shared, f)).to_vec();
        }
        if dice.once_in(6) {
            let which = *dice.pick(&Family::ALL);
            service.cluster_ips.retain(|a| Family::of(*a) == which);
        }
        let kept = 1 + dice.below(service.ports.len());
        service.ports.truncate(kept);
        if dice.once_in(8) {
            let shared = 31_000 + dice.below(3) as u16;
            service.ports[0].node_port = Some(shared);
        }
        self.services.insert(service.name.clone(), service);
    }

    fn change_slice(&mut self) {
        let dice = &mut self.dice;
        let mut slice = dice.pick(&self.full.slices).clone();
        if dice.once_in(6) {
            self.slices.remove(&slice.name);
            return;
        }
        slice.endpoints.retain(|_| !dice.once_in(3));
        for endpoint in &mut slice.endpoints {
            endpoint.terminating = dice.once_in(4);
            endpoint.ready = !endpoint.terminating && !dice.once_in(4);
            endpoint.serving = endpoint.ready || dice.once_in(2);
            if dice.once_in(20) {
                let bad = [
                    "127.0.0.1",
                    "::1",
                    "192.168.7.2",
                    "fd00:7::2",
                    "169.254.1.1",
                ];
                let bad: IpAddr = dice.pick(&bad).parse().expect("valid");
                if Family::of(bad) == slice.family {
                    endpoint.address = bad;
                }
            }
        }
        self.slices.insert(slice.name.clone(), slice);
    }
}
