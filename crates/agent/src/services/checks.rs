//! The health checks of load balancers that this node answers (S23), as plain data: which Service
//! at which port, on which addresses, with how many endpoints here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use seaway_model::ServiceName;
use seaway_plan::{HealthCheck, Planner};

/// What is to be answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checks {
    all: BTreeMap<ServiceName, (u16, usize)>,
    /// The addresses at which the node's ports are open.
    pub(crate) addresses: BTreeSet<IpAddr>,
}

impl Checks {
    /// All of them, as planned.
    pub(crate) fn of(planner: &Planner, addresses: BTreeSet<IpAddr>) -> Checks {
        let entry = |check: HealthCheck| (check.service, (check.port, check.local_endpoints));
        Checks {
            all: planner.health_checks().into_iter().map(entry).collect(),
            addresses,
        }
    }

    /// Looks again at those of some Services, and tells whether something changed.
    pub(crate) fn renew(&mut self, planner: &Planner, names: &BTreeSet<ServiceName>) -> bool {
        let mut news = false;
        for name in names {
            let view = planner.service(name);
            let service = view.and_then(|view| view.service());
            let balanced = service.filter(|service| !service.foreign);
            let port = balanced.and_then(|service| service.health_port);
            let now = port.map(|port| (port, planner.local_endpoints(name)));
            news |= self.all.get(name).copied() != now;
            match now {
                Some(check) => drop(self.all.insert(name.clone(), check)),
                None => drop(self.all.remove(name)),
            }
        }
        news
    }

    /// The ports that are asked at.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        self.all.values().map(|(port, _)| *port).collect()
    }

    /// Who is asked for at a port, and how many of its endpoints are here. Of two that name one
    /// port the first has it.
    pub(crate) fn at(&self, port: u16) -> Option<(&ServiceName, usize)> {
        let mut all = self.all.iter();
        let (name, (_, local)) = all.find(|(_, (theirs, _))| *theirs == port)?;
        Some((name, *local))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_services_with_one_port_the_first_has_it() {
        let name = |text: &str| -> ServiceName { text.parse().expect("valid") };
        let all = [
            ("b/x", (32000, 2)),
            ("a/y", (32000, 1)),
            ("c/z", (32001, 0)),
        ];
        let checks = Checks {
            all: all
                .into_iter()
                .map(|(text, check)| (name(text), check))
                .collect(),
            addresses: BTreeSet::new(),
        };
        assert_eq!(checks.at(32000), Some((&name("a/y"), 1)));
        assert_eq!(checks.at(32001), Some((&name("c/z"), 0)));
        assert_eq!(checks.at(1), None);
        assert_eq!(checks.ports().len(), 2);
    }
}
