//! Carrying out the requests of one send, and telling what became of each in terms of rows.

use std::collections::HashMap;

use seaway_model::{Device, LinkRow, RouteRow};

use super::node::LinuxNode;
use super::work::{Origin, Work, in_the_way};
use super::{NetnsOf, RowFailure};
use crate::fault::{FaultPoint, reach};
use crate::netlink::{Exclusive, NetlinkError, Request, SEAWAY_PROTOCOL};

impl LinuxNode {
    pub(super) fn carry_out(
        &mut self,
        work: Work<'_>,
        netns_of: &NetnsOf<'_>,
        failures: &mut Vec<RowFailure>,
    ) {
        if work.requests.is_empty() {
            return;
        }
        let answers = match self.netlink.send(&work.requests) {
            Ok(answers) => answers,
            Err(error) => {
                failures.push(RowFailure::whole(&error));
                return;
            }
        };
        let makes = |origin: &Origin<'_>| matches!(origin, Origin::NewLink(row) if matches!(row.device, Device::PodLink(_)));
        if work.origins.iter().any(makes) {
            reach(FaultPoint::AddLinkMade);
        }
        let mut outcome = Outcome::default();
        for ((request, origin), answer) in work.requests.iter().zip(&work.origins).zip(answers) {
            self.take(request, *origin, answer, netns_of, &mut outcome, failures);
        }
        self.meet(&outcome.met, failures);
    }

    /// Takes in one answer.
    fn take<'a>(
        &mut self,
        request: &Request,
        origin: Origin<'a>,
        answer: Result<(), NetlinkError>,
        netns_of: &NetnsOf<'_>,
        outcome: &mut Outcome<'a>,
        failures: &mut Vec<RowFailure>,
    ) {
        if let Origin::DeleteLink(row) = origin
            && answer.as_ref().err().is_none_or(NetlinkError::is_absent)
        {
            self.devices.forget(&row.device);
            return;
        }
        let Err(error) = answer else { return };
        let mut fail = |row: &LinkRow, error| {
            failures.push(RowFailure::for_row(row, &error));
        };
        match origin {
            Origin::Clear => {}
            Origin::Delete(..) if error.is_absent() => {}
            Origin::DeleteLink(row) => fail(row, error.of(request)),
            Origin::NewLink(row) if error.errno == libc::EBUSY => {
                if let Err(error) = self.retry_link(row, netns_of) {
                    outcome.broken = Some(&row.device);
                    fail(row, error);
                }
            }
            Origin::NewLink(row) => {
                self.devices.forget(&row.device);
                outcome.broken = Some(&row.device);
                let error = match error.already_exists() {
                    true => self.explain(row, error.of(request)),
                    false => error.of(request),
                };
                fail(row, error);
            }
            Origin::LinkPart(row) if outcome.broken == Some(&row.device) => {}
            Origin::LinkPart(row) => fail(row, error.of(request)),
            Origin::AddRoute(row) if error.already_exists() => outcome.met.push(row),
            Origin::AddRoute(row) => {
                failures.push(RowFailure::for_row(row, &error.of(request)));
            }
            Origin::Add(..) if error.already_exists() => {}
            Origin::Delete(row) | Origin::Add(row) => {
                failures.push(RowFailure::for_row(row, &error.of(request)));
            }
        }
    }

    /// Routes of the same destination and metric are there: ours are replaced, a stranger's is left
    /// alone and reported.
    fn meet(&mut self, rows: &[&RouteRow], failures: &mut Vec<RowFailure>) {
        if rows.is_empty() {
            return;
        }
        let routes = match self.netlink.routes() {
            Ok(routes) => routes,
            Err(error) => {
                failures.push(RowFailure::whole(&error));
                return;
            }
        };
        let strangers: HashMap<_, _> = routes
            .iter()
            .filter(|route| route.protocol != SEAWAY_PROTOCOL)
            .map(|route| {
                let key = (route.table, route.destination, route.metric);
                (key, route.protocol)
            })
            .collect();
        let (mut requests, mut replaced) = (Vec::new(), Vec::new());
        for row in rows {
            match strangers.get(&(row.table, row.destination, row.metric)) {
                Some(protocol) => {
                    let error = in_the_way(row, *protocol);
                    failures.push(RowFailure::for_row(*row, &error));
                }
                None => {
                    if let Some(spec) = self.route_spec(row) {
                        requests.push(Request::add_route(&spec, Exclusive::No));
                        replaced.push(row);
                    }
                }
            }
        }
        match self.netlink.send(&requests) {
            Err(error) => failures.push(RowFailure::whole(&error)),
            Ok(answers) => {
                for ((request, row), answer) in requests.iter().zip(replaced).zip(answers) {
                    if let Err(error) = answer {
                        let error = error.of(request);
                        failures.push(RowFailure::for_row(*row, &error));
                    }
                }
            }
        }
    }
}

/// What has become of the requests so far.
#[derive(Default)]
struct Outcome<'a> {
    /// The link that could not be made.
    broken: Option<&'a Device>,
    /// Routes that met others.
    met: Vec<&'a RouteRow>,
}
