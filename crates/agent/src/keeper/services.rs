//! What follows from changes of Services beside rows: flows to compare, health checks to answer,
//! and what people should hear of.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use seaway_model::{FrontendRow, Protocol, ServiceName};
use seaway_plan::check::{Finding, of_services};
use seaway_plan::{Change, ChangeSet, FlowTruth};

use super::Keeper;
use crate::journal::Topic;
use crate::services::checks::Checks;
use crate::services::clashes;
use crate::services::flows::Flows;
use crate::state::State;

/// How many objects are told of at once; status has all.
const OBJECTS: usize = 16;

/// The UDP flows that a change concerns.
#[derive(Debug, Default)]
pub(super) struct FlowNews {
    truths: Vec<FlowTruth>,
    /// They cannot be told one by one.
    all: bool,
}

impl FlowNews {
    /// Of planned changes that are about these Services. Before the cluster is known there is no
    /// news: then all are compared once it is. With `of_others` Services changed that are not named.
    pub(super) fn of(
        state: &State,
        touched: &BTreeSet<ServiceName>,
        changes: &ChangeSet,
        of_others: bool,
    ) -> FlowNews {
        if !state.synced {
            return FlowNews::default();
        }
        let planner = &state.planner;
        let of_touched = touched.iter().flat_map(|name| planner.udp_flows(name));
        let mut truths: Vec<FlowTruth> = of_touched.collect();
        let told: BTreeSet<SocketAddr> = truths.iter().map(|truth| truth.frontend).collect();
        // An address that changed hands is about a Service that no event was about.
        let all = of_others
            || changes.frontends.iter().any(|change| match change {
                Change::Upsert(row) => is_udp(row) && !told.contains(&at(row)),
                Change::Delete(_) => false,
            });
        truths.extend(planner.udp_flows_gone(changes));
        FlowNews { truths, all }
    }

    /// Says that it is about to be so.
    pub(super) fn expect(&self, flows: &Flows) {
        flows.expect(&self.truths, self.all);
    }
}

fn is_udp(row: &FrontendRow) -> bool {
    row.key.protocol == Protocol::Udp
}

fn at(row: &FrontendRow) -> SocketAddr {
    SocketAddr::new(row.key.address, row.key.port)
}

impl Keeper {
    /// The changes have been carried out: flows that began before are compared.
    pub(super) fn compare_flows(&self, news: FlowNews) {
        self.shared.flows.arrived(news.truths, news.all);
    }

    /// Rows of Services were repaired: whatever flows began meanwhile is not known.
    pub(super) fn compare_flows_after_repair(&self, changes: &ChangeSet) {
        let udp = |change: &Change<FrontendRow>| is_udp(change.row());
        let some = changes.frontends.iter().any(udp) || !changes.backends.is_empty();
        if !some {
            return;
        }
        let gone = self.shared.lock().planner.udp_flows_gone(changes);
        self.shared.flows.compare(gone);
        self.shared.flows.compare_all();
    }

    /// Brings up to date which health checks are answered: those of `touched`, or all.
    pub(super) fn renew_checks(&self, touched: Option<&BTreeSet<ServiceName>>) {
        let state = self.shared.lock();
        if !state.synced {
            return;
        }
        let addresses = state.planner.node_port_addresses().collect();
        self.shared.checks.send_if_modified(|checks| match touched {
            Some(names) => {
                let news = checks.renew(&state.planner, names) || checks.addresses != addresses;
                checks.addresses = addresses;
                news
            }
            None => {
                let now = Checks::of(&state.planner, addresses);
                let news = *checks != now;
                *checks = now;
                news
            }
        });
    }

    /// Tells what does not go together among Services, each object once.
    pub(super) fn tell_objects(&mut self) {
        let all = of_services(&self.shared.lock().planner);
        let told = chosen(&self.told_objects, &all);
        let mut before = None;
        for finding in all.iter().filter(|f| told.contains(&f.object)) {
            if before.replace(&finding.object) != Some(&finding.object) {
                let message = format!("{} {}: {}", finding.object, finding.field, finding.message);
                let topic = Topic::Object(finding.object.clone());
                self.shared.journal.holds(topic, "ObjectRefused", message);
            }
        }
        for object in self.told_objects.difference(&told) {
            let topic = Topic::Object(object.clone());
            self.shared.journal.over(&topic, "ObjectAccepted", || {
                format!("{object} is as it should be")
            });
        }
        self.told_objects = told;
        // It asks every Service.
        if std::mem::take(&mut self.ports_due) {
            clashes::look(&self.shared);
        }
    }
}

/// Of which objects people are told: those that they have been told of and that are wrong still, and
/// others for as long as there is room.
fn chosen(before: &BTreeSet<String>, findings: &[Finding]) -> BTreeSet<String> {
    let wrong: BTreeSet<&String> = findings.iter().map(|finding| &finding.object).collect();
    let (still, others): (Vec<&String>, Vec<&String>) = wrong
        .into_iter()
        .partition(|object| before.contains(*object));
    let all = still.into_iter().chain(others);
    all.take(OBJECTS).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_called_right_because_others_are_wrong_too() {
        let findings = |numbers: std::ops::Range<usize>| -> Vec<Finding> {
            let finding = |number| Finding {
                object: format!("Service default/{number:02}"),
                field: "ports",
                message: "is taken".to_owned(),
            };
            numbers.map(finding).collect()
        };
        let first = chosen(&BTreeSet::new(), &findings(10..40));
        assert_eq!(first.len(), OBJECTS);
        let more = chosen(&first, &findings(0..40));
        assert_eq!(more, first, "those of before are wrong still");
        let fewer = chosen(&more, &findings(0..12));
        assert_eq!(fewer.len(), 12, "all that are wrong");
    }
}
