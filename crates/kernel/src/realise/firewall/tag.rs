//! The note beside the first rule: from which row the rules were made, as few bytes.
//!
//! Format, within one user-data entry (type, length, value) of the kind that other tools pass over:
//! version, flags, number of own networks, each as length and address; then, if VXLAN comes in, the
//! identifier, port and the inner lengths; then the cluster's lengths; then, if Services are balanced,
//! their networks, sources, times and lengths. Lengths are a count of pairs of family and length. A
//! row too long for that leaves its hash only.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{Family, FirewallRow, ServiceRules, VxlanGuard, Wiring};

use super::parts::octets;

/// The type of our user data; tools know only types below 16.
const ENTRY: u8 = 83;
const LIMIT: usize = 250;
/// Changes with every change of the rules that a row stands for.
const VERSION: u8 = if cfg!(feature = "next-format") { 4 } else { 3 };
/// Says that there is but a hash.
const HASHED: u8 = 0xff;

const BRIDGE: u8 = 1;
const MASQUERADE: u8 = 2;
const VXLAN: u8 = 4;
const UNDERLAY_V6: u8 = 8;
const SERVICES: u8 = 16;
const MASQUERADE_ALL: u8 = 32;
const NAMES: u8 = 64;

/// The note of a row.
pub(super) fn write(row: &FirewallRow) -> Vec<u8> {
    let mut bytes = plain(row);
    if bytes.len() > LIMIT {
        bytes = [&[HASHED][..], &hash(&bytes).to_be_bytes()].concat();
    }
    let length = u8::try_from(bytes.len()).expect("limited above");
    [&[ENTRY, length][..], &bytes].concat()
}

fn plain(row: &FirewallRow) -> Vec<u8> {
    let mut flags = 0;
    let mut set = |bit, on| flags |= if on { bit } else { 0 };
    set(BRIDGE, row.wiring == Wiring::Bridge);
    set(MASQUERADE, row.masquerade);
    set(VXLAN, row.vxlan.is_some());
    let underlay = row.vxlan.as_ref().map(|v| v.underlay);
    set(UNDERLAY_V6, underlay == Some(Family::V6));
    let services = row.services.as_ref();
    set(SERVICES, services.is_some());
    set(MASQUERADE_ALL, services.is_some_and(|s| s.masquerade_all));
    set(NAMES, services.is_some_and(|s| s.dns));
    let mut bytes = vec![VERSION, flags];
    write_nets(&mut bytes, &row.own_nets);
    if let Some(vxlan) = &row.vxlan {
        bytes.extend(vxlan.vni.to_be_bytes());
        bytes.extend(vxlan.port.to_be_bytes());
        write_lengths(&mut bytes, &vxlan.inner_lengths);
    }
    write_lengths(&mut bytes, &row.cluster_lengths);
    if let Some(services) = services {
        write_services(&mut bytes, services);
    }
    bytes
}

fn write_services(bytes: &mut Vec<u8>, services: &ServiceRules) {
    write_nets(bytes, &services.service_cidrs);
    write_nets(
        bytes,
        &services
            .sources
            .iter()
            .copied()
            .map(Family::host_net)
            .collect(),
    );
    bytes.extend(count(services.affinities.len()));
    bytes.extend(services.affinities.iter().flat_map(|s| s.to_be_bytes()));
    write_lengths(bytes, &services.range_lengths);
}

fn write_nets(bytes: &mut Vec<u8>, nets: &BTreeSet<IpNet>) {
    bytes.extend(count(nets.len()));
    for net in nets {
        bytes.extend([family_byte(Family::of_net(net)), net.prefix_len()]);
        bytes.extend(octets(net.addr()));
    }
}

fn count(n: usize) -> [u8; 2] {
    u16::try_from(n).unwrap_or(u16::MAX).to_be_bytes()
}

fn family_byte(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

fn write_lengths(bytes: &mut Vec<u8>, lengths: &BTreeSet<(Family, u8)>) {
    bytes.extend(count(lengths.len()));
    for (family, length) in lengths {
        bytes.extend([family_byte(*family), *length]);
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The row of a note; `None` if it is none of ours, of another version, or only a hash that is not
/// that of `planned`.
pub(super) fn read(note: &[u8], planned: Option<&FirewallRow>) -> Option<FirewallRow> {
    let (head, bytes) = note.split_at_checked(2)?;
    if head[0] != ENTRY || usize::from(head[1]) != bytes.len() {
        return None;
    }
    if bytes.first() == Some(&HASHED) {
        return planned.filter(|row| write(row) == note).cloned();
    }
    let mut reader = Reader(bytes);
    (reader.byte()? == VERSION).then_some(())?;
    let flags = reader.byte()?;
    let own_nets = reader.nets()?;
    let vxlan = match flags & VXLAN != 0 {
        true => Some(VxlanGuard {
            vni: reader.word()?,
            port: reader.half()?,
            underlay: match flags & UNDERLAY_V6 != 0 {
                true => Family::V6,
                false => Family::V4,
            },
            inner_lengths: reader.lengths()?,
        }),
        false => None,
    };
    Some(FirewallRow {
        wiring: match flags & BRIDGE != 0 {
            true => Wiring::Bridge,
            false => Wiring::Routed,
        },
        own_nets,
        vxlan,
        masquerade: flags & MASQUERADE != 0,
        cluster_lengths: reader.lengths()?,
        services: match flags & SERVICES != 0 {
            true => Some(reader.services(flags)?),
            false => None,
        },
    })
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[b]| b)
    }

    fn half(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn word(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn family(&mut self) -> Option<Family> {
        let byte = self.byte()?;
        Family::ALL.into_iter().find(|f| family_byte(*f) == byte)
    }

    fn net(&mut self) -> Option<IpNet> {
        let (family, length) = (self.family()?, self.byte()?);
        let address = match family {
            Family::V4 => IpAddr::from(self.take::<4>()?),
            Family::V6 => IpAddr::from(self.take::<16>()?),
        };
        IpNet::new(address, length).ok()
    }

    fn nets(&mut self) -> Option<BTreeSet<IpNet>> {
        (0..self.half()?).map(|_| self.net()).collect()
    }

    fn services(&mut self, flags: u8) -> Option<ServiceRules> {
        Some(ServiceRules {
            service_cidrs: self.nets()?,
            sources: self.nets()?.iter().map(IpNet::addr).collect(),
            affinities: (0..self.half()?)
                .map(|_| self.word())
                .collect::<Option<_>>()?,
            range_lengths: self.lengths()?,
            masquerade_all: flags & MASQUERADE_ALL != 0,
            dns: flags & NAMES != 0,
        })
    }

    fn lengths(&mut self) -> Option<BTreeSet<(Family, u8)>> {
        (0..self.half()?)
            .map(|_| Some((self.family()?, self.byte()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(nets: u8) -> FirewallRow {
        let net = |i| IpNet::from(IpAddr::from([0xfd00, 0, 0, i, 0, 0, 0, 0u16]));
        FirewallRow {
            wiring: Wiring::Bridge,
            own_nets: (0..u16::from(nets)).map(net).collect(),
            vxlan: Some(VxlanGuard {
                vni: 0x5ea1,
                port: 4789,
                underlay: Family::V6,
                inner_lengths: [(Family::V4, 24), (Family::V6, 128)].into(),
            }),
            masquerade: true,
            cluster_lengths: [(Family::V4, 32)].into(),
            services: Some(ServiceRules {
                service_cidrs: [net(7)].into(),
                sources: [
                    [10, 0, 0, 1].into(),
                    [0xfd00, 0, 0, 0, 0, 0, 0, 1u16].into(),
                ]
                .into(),
                affinities: [60, 10_800].into(),
                range_lengths: [(Family::V6, 64)].into(),
                masquerade_all: true,
                dns: false,
            }),
        }
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let row = row(3);
        assert_eq!(read(&write(&row), None), Some(row.clone()));
        let plain = FirewallRow {
            vxlan: None,
            wiring: Wiring::Routed,
            masquerade: false,
            services: None,
            ..row
        };
        assert_eq!(read(&write(&plain), None), Some(plain));
        assert_eq!(read(b"\x00\x04note", None), None);
    }

    #[test]
    fn a_long_row_is_known_by_its_hash() {
        let long = row(100);
        let note = write(&long);
        assert!(note.len() < 256);
        assert_eq!(read(&note, Some(&long)), Some(long));
        assert_eq!(read(&note, Some(&row(101))), None);
        assert_eq!(read(&note, None), None);
    }
}
