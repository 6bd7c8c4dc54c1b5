//! What was asked for an attachment, read back from the rows that it has in the kernel. For when
//! its record is lost: the alias of a link has no room for it.

use std::collections::{BTreeMap, BTreeSet};

use seaway_model::{
    Attachment, Device, Extras, Family, HostPortRow, PortMapping, Protocol, ShapeRow,
};
use seaway_plan::Tables;

/// What the kernel's rows say was asked for an attachment.
pub(crate) fn extras(attachment: &Attachment, observed: &Tables) -> Extras {
    let rate = |device: Device| observed.shapes.get(&device).map(|row: &ShapeRow| row.rate);
    Extras {
        ports: ports(attachment, observed),
        ingress: rate(Device::PodLink(attachment.id.clone())),
        egress: rate(Device::Shaper(attachment.id.clone())),
    }
}

/// A mapping for every address of the node has a row for each family of the Pod's addresses.
fn ports(attachment: &Attachment, observed: &Tables) -> Vec<PortMapping> {
    let ours = |row: &&HostPortRow| attachment.addresses.contains(&row.target.ip());
    let mut open: BTreeMap<(u16, u16, Protocol), BTreeSet<Family>> = BTreeMap::new();
    let mut ports = Vec::new();
    for row in observed.host_ports.iter().filter(ours) {
        let (host_port, container_port) = (row.key.port, row.target.port());
        let protocol = row.key.protocol;
        match row.key.address {
            Some(_) => ports.push(PortMapping {
                host_port,
                container_port,
                protocol,
                host_ip: row.key.address,
            }),
            None => {
                let key = (host_port, container_port, protocol);
                open.entry(key).or_default().insert(row.key.family);
            }
        }
    }
    let families: BTreeSet<Family> = attachment
        .addresses
        .iter()
        .map(|a| Family::of(*a))
        .collect();
    for ((host_port, container_port, protocol), open) in open {
        let all = open == families;
        let any = open.into_iter().map(|f| Some(f.default_net().addr()));
        let host_ips = if all { vec![None] } else { any.collect() };
        ports.extend(host_ips.into_iter().map(|host_ip| PortMapping {
            host_port,
            container_port,
            protocol,
            host_ip,
        }));
    }
    ports
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use seaway_model::{Alias, HostPortKey, Rate};

    use super::*;

    fn attachment() -> Attachment {
        Alias::raw("seaway1:c:eth0:pods:10.0.0.2,fd00::2")
            .parse()
            .expect("valid")
    }

    fn row(address: Option<&str>, target: &str) -> HostPortRow {
        let target: SocketAddr = target.parse().expect("valid");
        HostPortRow {
            key: HostPortKey {
                family: Family::of(target.ip()),
                protocol: Protocol::Udp,
                port: 53,
                address: address.map(|a| a.parse().expect("valid")),
            },
            target,
            owner: None,
        }
    }

    fn recovered(rows: Vec<HostPortRow>) -> Vec<(u16, Option<IpAddr>)> {
        let tables = Tables {
            host_ports: rows.into_iter().collect(),
            ..Tables::default()
        };
        let ports = extras(&attachment(), &tables).ports.into_iter();
        ports.map(|p| (p.container_port, p.host_ip)).collect()
    }

    #[test]
    fn a_port_of_all_addresses_is_one_mapping_again() {
        let both = vec![row(None, "10.0.0.2:5353"), row(None, "[fd00::2]:5353")];
        assert_eq!(recovered(both), [(5353, None)]);
        let others = vec![row(None, "10.0.0.3:5353")];
        assert_eq!(recovered(others), []);
    }

    #[test]
    fn a_port_of_one_family_or_address_stays_that() {
        let v6 = recovered(vec![row(None, "[fd00::2]:5353")]);
        assert_eq!(v6, [(5353, "::".parse().ok())]);
        let one = recovered(vec![row(Some("192.0.2.1"), "10.0.0.2:5353")]);
        assert_eq!(one, [(5353, "192.0.2.1".parse().ok())]);
    }

    #[test]
    fn limits_are_found_by_their_device() {
        let id = attachment().id;
        let rate = |rate| Rate { rate, burst: 8 };
        let tables = Tables {
            shapes: [
                ShapeRow {
                    device: Device::PodLink(id.clone()),
                    rate: rate(1),
                },
                ShapeRow {
                    device: Device::Shaper(id),
                    rate: rate(2),
                },
            ]
            .into_iter()
            .collect(),
            ..Tables::default()
        };
        let extras = extras(&attachment(), &tables);
        assert_eq!(
            (extras.ingress, extras.egress),
            (Some(rate(1)), Some(rate(2)))
        );
    }
}
