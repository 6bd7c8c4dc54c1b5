//! Which sightings of the kernel contradict the plan.
//!
//! What is planned must be there as planned; what looks like ours and is not planned must go. What a
//! request is working on is its own to get right.

use seaway_kernel::netlink::TokenBucket;
use seaway_kernel::realise::{PodSighting, Sighting, is_shaped};
use seaway_model::{AttachmentId, Device, LinkKind, RouteKey, RouteRow, Row};
use seaway_plan::Table;

use super::State;

/// What a sighting asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// The node's rows must be compared with the kernel.
    Node,
    /// The rows of a Pod's namespace must be compared with the kernel.
    Pod(AttachmentId),
    /// Settings of a device, or of the namespace, must be compared.
    Settings(Option<Device>),
    /// The uplink must be chosen anew.
    Uplink,
}

impl State {
    /// What must be done about a sighting: nothing if it agrees with the plan, or is about
    /// something that a request is working on.
    pub(crate) fn judge(&self, sighting: &Sighting) -> Option<Demand> {
        let rows = self.planner.rows();
        let wrong = match sighting {
            Sighting::Link(row) => self.differs(&rows.links, row),
            Sighting::LinkGone(device) => self.missing(&rows.links, device),
            Sighting::UnknownLink(_) => self.busy.is_empty(),
            Sighting::Port(id, as_it_must_be) => !as_it_must_be && self.is_port(id),
            Sighting::Address(row) => self.unplanned(&rows.addresses, row),
            Sighting::AddressGone(row) => self.missing(&rows.addresses, row),
            Sighting::Route(key, row) => self.route_wrong(key, row.as_ref()),
            Sighting::RouteGone(key) => self.missing(&rows.routes, key),
            Sighting::Rule(row) => self.unplanned(&rows.rules, row),
            Sighting::RuleGone(row) => self.missing(&rows.rules, &row.source),
            Sighting::Neighbour(row) => self.differs(&rows.neighbours, row),
            Sighting::NeighbourGone(key) => self.missing(&rows.neighbours, key),
            Sighting::Fdb(row) => self.differs(&rows.fdb, row) || self.unplanned(&rows.fdb, row),
            Sighting::FdbGone(key) => self.missing(&rows.fdb, key),
            Sighting::Queue(device, found) => self.queue_wrong(device, found.as_ref()),
            Sighting::Redirect(from, through) => self.redirect_wrong(from, through.as_ref()),
            Sighting::Setting(device) => {
                let idle = self.is_idle(device.as_ref().and_then(Device::attachment));
                return idle.then(|| Demand::Settings(device.clone()));
            }
            Sighting::Surroundings => return Some(Demand::Uplink),
            Sighting::Pod(id, what) => {
                let wrong = self.is_idle(Some(id)) && self.pod_wrong(id, what);
                return wrong.then(|| Demand::Pod(id.clone()));
            }
            Sighting::Overflow => true,
        };
        wrong.then_some(Demand::Node)
    }

    /// Whether no request is working on the attachment that something belongs to, if to any.
    fn is_idle(&self, id: Option<&AttachmentId>) -> bool {
        id.is_none_or(|id| !self.is_busy(id))
    }

    fn differs<R: Row>(&self, planned: &Table<R>, seen: &R) -> bool {
        let planned = planned.get(&seen.key());
        planned.is_some_and(|row| self.is_idle(row.attachment()) && !row.in_force(seen))
    }

    fn missing<R: Row>(&self, planned: &Table<R>, gone: &R::Key) -> bool {
        let planned = planned.get(gone);
        planned.is_some_and(|row| self.is_idle(row.attachment()))
    }

    fn unplanned<R: Row>(&self, planned: &Table<R>, seen: &R) -> bool {
        planned.get(&seen.key()).is_none() && self.is_idle(seen.attachment())
    }

    fn is_port(&self, id: &AttachmentId) -> bool {
        let link = self.planner.rows().links.get(&Device::PodLink(id.clone()));
        let port = |kind: &LinkKind| matches!(kind, LinkKind::Pod(pod) if pod.bridge_port);
        link.is_some_and(|link| port(&link.kind)) && self.is_idle(Some(id))
    }

    fn route_wrong(&self, key: &RouteKey, seen: Option<&RouteRow>) -> bool {
        match (self.planner.rows().routes.get(key), seen) {
            (Some(planned), seen) => {
                self.is_idle(planned.attachment())
                    && seen.is_none_or(|seen| !planned.in_force(seen))
            }
            (None, Some(seen)) => seen.attachment().is_none(),
            (None, None) => false,
        }
    }

    fn queue_wrong(&self, device: &Device, found: Option<&TokenBucket>) -> bool {
        let wrong = match self.planner.rows().shapes.get(device) {
            Some(row) => !is_shaped(row, found),
            None => found.is_some(),
        };
        wrong && self.is_idle(device.attachment())
    }

    fn redirect_wrong(&self, from: &Device, through: Option<&Device>) -> bool {
        let planned = self.planner.rows().redirects.get(from);
        planned.map(|row| &row.through) != through && self.is_idle(from.attachment())
    }

    fn pod_wrong(&self, id: &AttachmentId, what: &PodSighting) -> bool {
        let Some(rows) = self.pod_rows(id) else {
            return false;
        };
        match what {
            PodSighting::AddressGone(net) => rows.addresses.iter().any(|row| row.net == *net),
            PodSighting::RouteGone(key) => rows.routes.get(key).is_some(),
            PodSighting::NeighbourGone(address) => {
                rows.neighbours.iter().any(|row| row.address == *address)
            }
            PodSighting::Link(name, up) => !up && id.interface == *name,
        }
    }
}
