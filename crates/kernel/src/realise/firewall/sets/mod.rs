//! The sets and maps of the firewall: their keys, and which rows are which elements, by subject.
//!
//! Every element belongs to exactly one row, so that it can be added and removed alone. Rows that
//! have two elements are only there when both are. Maps that rules fill are no rows' at all.

pub(super) mod guards;
pub(super) mod host_ports;
pub(super) mod peers;
pub(super) mod services;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use seaway_model::{Family, MacAddr, Protocol, ServiceRules};

use super::parts::octets;
use crate::nft::{Element, Field, SetSpec, TableFamily};

/// The name of our tables.
pub(super) const TABLE: &str = "seaway";

fn by_family(family: Family, [v4, v6]: [&'static str; 2]) -> &'static str {
    match family {
        Family::V4 => v4,
        Family::V6 => v6,
    }
}

/// The sets of the table of IPv4 and IPv6. Data of Services have a place even where nothing is
/// balanced: what is left of them is met there.
pub(super) fn inet_sets(services: Option<&ServiceRules>) -> Vec<SetSpec> {
    let mut sets = Vec::new();
    for family in Family::ALL {
        sets.extend(peers::sets(family));
        sets.extend(host_ports::sets(family));
        sets.extend(services::sets(family));
    }
    sets.extend(services.into_iter().flat_map(services::memories));
    sets
}

fn set(name: &'static str, key: Vec<Field>) -> SetSpec {
    map(name, key, vec![])
}

fn map(name: &'static str, key: Vec<Field>, value: Vec<Field>) -> SetSpec {
    SetSpec {
        name: Cow::Borrowed(name),
        key,
        value,
        remembers: None,
    }
}

/// Bytes of a key, each part filled up to whole registers.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn put(mut self, bytes: &[u8]) -> Bytes {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn address(self, address: IpAddr) -> Bytes {
        self.put(&octets(address))
    }

    /// A number as this machine writes it.
    fn number(self, number: u32) -> Bytes {
        self.put(&number.to_ne_bytes())
    }

    fn length(self, length: u8) -> Bytes {
        self.number(length.into())
    }

    fn port(self, protocol: Protocol, port: u16) -> Bytes {
        self.put(&[protocol.number()]).put(&port.to_be_bytes())
    }

    fn socket(self, at: SocketAddr) -> Bytes {
        self.address(at.ip()).put(&at.port().to_be_bytes())
    }

    fn name(self, name: &str) -> Bytes {
        let mut padded = name.as_bytes().to_vec();
        padded.resize(16, 0);
        self.put(&padded)
    }
}

fn inet(set: &'static str, key: Bytes, value: Bytes) -> Element {
    Element {
        family: TableFamily::Inet,
        set,
        key: key.0,
        value: value.0,
    }
}

fn key() -> Bytes {
    Bytes::default()
}

/// Reads the parts of a key.
pub(super) struct Parts<'a>(pub(super) &'a [u8]);

impl Parts<'_> {
    /// The bytes of the next part.
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.0.get(..N)?.try_into().ok()?;
        self.0 = self.0.get(N.next_multiple_of(4)..)?;
        Some(taken)
    }

    pub(super) fn address(&mut self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.take::<4>().map(IpAddr::from),
            Family::V6 => self.take::<16>().map(IpAddr::from),
        }
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    pub(super) fn net(&mut self, family: Family) -> Option<IpNet> {
        let length = self.number()?;
        let address = self.address(family)?;
        IpNet::new(address, u8::try_from(length).ok()?).ok()
    }

    pub(super) fn port(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn socket(&mut self, family: Family) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.address(family)?, self.port()?))
    }

    pub(super) fn protocol(&mut self) -> Option<Protocol> {
        self.take::<1>().and_then(|[n]| Protocol::of_number(n))
    }

    pub(super) fn name(&mut self) -> Option<String> {
        let bytes = self.take::<16>()?;
        let text = std::str::from_utf8(&bytes).ok()?;
        Some(text.trim_end_matches('\0').to_owned())
    }

    pub(super) fn mac(&mut self) -> Option<MacAddr> {
        self.take().map(MacAddr)
    }
}
