//! Conntrack: forgetting flows that must be looked at anew.
//!
//! The kernel asks the translation rules for the first packet of a flow only. UDP has no end that
//! it could see: a flow that began before a port led to a Pod goes past the Pod for as long as it
//! lasts, and one to a Pod that is gone goes on to nobody. Whoever changes where a port leads says
//! here which flows have to ask again. All other flows stay as they are.
//!
//! Works in the calling thread's network namespace and keeps nothing.

mod entry;
mod udp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use seaway_model::{Family, Protocol};

use self::entry::Entry;
use crate::error::KernelError;
use crate::netfilter::{Netfilter, Subsystem, Writer};

pub use self::udp::{UdpFlow, reconcile_udp};

const MSG_GET: u8 = 1;
const MSG_DELETE: u8 = 2;

/// Which flows, by where their first packet was sent to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FlowSelector {
    /// The address family.
    pub family: Family,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The address that the sender sent to; `None` is every address.
    pub destination: Option<IpAddr>,
    /// The port that the sender sent to.
    pub port: u16,
    /// Who answers in fact: the backend that the flow was translated to; `None` is whoever.
    pub translated_to: Option<SocketAddr>,
}

impl FlowSelector {
    fn matches(&self, entry: &Entry) -> bool {
        self.protocol.number() == entry.protocol
            && self.port == entry.destination.port()
            && self.family == Family::of(entry.destination.ip())
            && self
                .destination
                .is_none_or(|address| address == entry.destination.ip())
            && self
                .translated_to
                .is_none_or(|backend| backend == entry.answers_from)
    }
}

/// With more ports than this the whole table is read once, instead of once a port by a filter that
/// the kernel applies: for the kernel to walk over a flow costs a fraction of telling it.
const MOST_READINGS: usize = 16;

/// Forgets the flows that match any of the selectors and tells how many there were.
///
/// The kernel passes over flows of other protocols, ports and destinations, so that the cost is
/// that of walking its table, not of reading it.
pub fn forget(selectors: &[FlowSelector]) -> Result<usize, KernelError> {
    if selectors.is_empty() {
        return Ok(0);
    }
    let mut conntrack = Netfilter::open(Subsystem::Conntrack)?;
    let mut deletions = Vec::new();
    for (reading, wanted) in readings(selectors) {
        let number = entry::family_number(reading.family);
        let filter = entry::filter(&reading);
        let found = conntrack.dump(MSG_GET, number, &filter, |reply| {
            let entry = Entry::read(reply.family, reply.attributes)?;
            let wanted = wanted.iter().any(|selector| selector.matches(&entry));
            wanted.then(|| Some((reply.family, entry::identity(reply.attributes)?)))?
        })?;
        deletions.extend(found);
    }
    delete(&mut conntrack, &deletions)
}

/// One reading of the table: what the kernel shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reading {
    family: Family,
    protocol: Protocol,
    port: Option<u16>,
    destination: Option<IpAddr>,
}

/// How to read the table so that all flows that can match are shown.
fn readings(selectors: &[FlowSelector]) -> Vec<(Reading, Vec<&FlowSelector>)> {
    let ports: BTreeSet<_> = selectors
        .iter()
        .map(|s| (s.family, s.protocol, s.port))
        .collect();
    let by_port = ports.len() <= MOST_READINGS;
    let mut groups: BTreeMap<_, Vec<&FlowSelector>> = BTreeMap::new();
    for selector in selectors {
        let port = by_port.then_some(selector.port);
        let key = (selector.family, selector.protocol, port);
        groups.entry(key).or_default().push(selector);
    }
    let mut readings = Vec::with_capacity(groups.len());
    for ((family, protocol, port), wanted) in groups {
        let first = wanted.first().and_then(|s| s.destination);
        let reading = Reading {
            family,
            protocol,
            port,
            destination: first.filter(|_| wanted.iter().all(|s| s.destination == first)),
        };
        readings.push((reading, wanted));
    }
    readings
}

/// Deletes entries; one that ended by itself meanwhile is none that was forgotten, and no error.
fn delete(conntrack: &mut Netfilter, entries: &[(u8, Writer)]) -> Result<usize, KernelError> {
    let mut forgotten = 0;
    for answer in conntrack.send(MSG_DELETE, entries)? {
        match answer {
            0 => forgotten += 1,
            libc::ENOENT => {}
            code => {
                let refusal = std::io::Error::from_raw_os_error(code);
                return Err(KernelError::new("forget", "a tracked flow", refusal));
            }
        }
    }
    Ok(forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(port: u16) -> FlowSelector {
        FlowSelector {
            family: Family::V4,
            protocol: Protocol::Udp,
            destination: None,
            port,
            translated_to: None,
        }
    }

    fn entry(destination: &str, answers_from: &str) -> Entry {
        Entry {
            protocol: 17,
            destination: destination.parse().expect("valid"),
            answers_from: answers_from.parse().expect("valid"),
        }
    }

    #[test]
    fn a_selector_matches_by_all_that_it_says() {
        let flow = entry("192.168.0.1:53", "10.244.0.2:5353");
        assert!(selector(53).matches(&flow));
        assert!(!selector(54).matches(&flow));
        let other = |change: fn(&mut FlowSelector)| {
            let mut selector = selector(53);
            change(&mut selector);
            selector.matches(&flow)
        };
        assert!(other(|s| s.destination = "192.168.0.1".parse().ok()));
        assert!(!other(|s| s.destination = "192.168.0.2".parse().ok()));
        assert!(other(|s| s.translated_to = "10.244.0.2:5353".parse().ok()));
        assert!(!other(|s| s.translated_to = "10.244.0.3:5353".parse().ok()));
        assert!(!other(|s| s.protocol = Protocol::Sctp));
        assert!(!other(|s| s.family = Family::V6));
    }

    #[test]
    fn the_kernel_filters_by_what_the_selectors_have_in_common() {
        let at = |destination: &str, port| FlowSelector {
            destination: destination.parse().ok(),
            ..selector(port)
        };
        let reading = |port, destination: &str| Reading {
            family: Family::V4,
            protocol: Protocol::Udp,
            port,
            destination: destination.parse().ok(),
        };
        let told = |selectors: &[FlowSelector]| -> Vec<(Reading, usize)> {
            let readings = readings(selectors).into_iter();
            readings.map(|(r, wanted)| (r, wanted.len())).collect()
        };
        let same = [at("10.0.0.1", 53), at("10.0.0.1", 53), selector(54)];
        assert_eq!(
            told(&same),
            [
                (reading(Some(53), "10.0.0.1"), 2),
                (reading(Some(54), ""), 1)
            ]
        );
        let differing = [at("10.0.0.1", 53), at("10.0.0.2", 53)];
        assert_eq!(told(&differing), [(reading(Some(53), ""), 2)]);
        let many: Vec<FlowSelector> = (0..100).map(selector).collect();
        assert_eq!(told(&many), [(reading(None, ""), 100)]);
    }
}
