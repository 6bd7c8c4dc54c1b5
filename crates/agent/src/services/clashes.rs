//! Ports of the node that the kernel gives to its own clients: a connection that goes out from a
//! port that a Service has gets its answers sent to the Service's endpoints. Whose ports are whose
//! is the host's business (`ip_local_port_range`, `ip_local_reserved_ports`): here it is only told.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use seaway_kernel::sysctl;

use crate::journal::Topic;
use crate::shared::Shared;

const RANGE: &str = "net/ipv4/ip_local_port_range";
const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";

/// Looks at it, and tells when it begins and ends. In the node's namespace.
pub(crate) fn look(shared: &Shared) {
    let ports = node_ports(shared);
    let clash = match ports.is_empty() {
        true => None,
        false => match (sysctl::read(RANGE), sysctl::read(RESERVED)) {
            (Ok(range), Ok(reserved)) => clash(&ports, &range, &reserved),
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(%error, "the ports of the node's own clients are not known");
                return;
            }
        },
    };
    match clash {
        Some(message) => shared
            .journal
            .holds(Topic::NodePorts, "NodePortsNotReserved", message),
        None => shared
            .journal
            .over(&Topic::NodePorts, "NodePortsReserved", || {
                "the node's own clients do not get ports that Services have".to_owned()
            }),
    }
}

/// All ports of the node that Services have.
fn node_ports(shared: &Shared) -> BTreeSet<u16> {
    let state = shared.lock();
    let services = state.planner.services().filter_map(|view| view.service());
    let ports = services
        .filter(|service| !service.foreign)
        .flat_map(|service| {
            let ports = service.ports.iter().filter_map(|port| port.node_port);
            ports.chain(service.health_port)
        });
    ports.collect()
}

fn clash(ports: &BTreeSet<u16>, range: &str, reserved: &str) -> Option<String> {
    let mut ends = range.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(first)), Some(Ok(last))) = (ends.next(), ends.next()) else {
        return None;
    };
    let reserved: Vec<RangeInclusive<u16>> = ranges(reserved);
    let is_reserved = |port: &&u16| reserved.iter().any(|range| range.contains(port));
    if first > last {
        return None;
    }
    let mut taken = ports.range(first..=last).filter(|port| !is_reserved(port));
    let example = taken.next()?;
    let more = match taken.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "port {example}{more} of Services is in the range {first}-{last} from which the node's own \
         clients get their ports: answers to them may go to the Service; list the ports of Services \
         in the setting net.ipv4.ip_local_reserved_ports, such as 30000-32767, or move \
         net.ipv4.ip_local_port_range"
    ))
}

/// `1,5-7`.
fn ranges(text: &str) -> Vec<RangeInclusive<u16>> {
    let parse = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_the_range_and_not_reserved_clash() {
        let ports = BTreeSet::from([30080, 40000, 40001, 61001]);
        let told = clash(&ports, "32768\t60999", "\n").expect("two of them");
        assert!(told.starts_with("port 40000 and 1 more"), "{told}");
        assert!(told.contains("ip_local_reserved_ports"), "{told}");
        assert_eq!(clash(&ports, "32768 60999", "1,40000-40001,9"), None);
        assert!(clash(&ports, "30000 60999", "40000-40001").is_some());
        assert_eq!(clash(&BTreeSet::from([30080]), "32768 60999", ""), None);
        assert_eq!(clash(&ports, "garbage", ""), None);
    }
}
