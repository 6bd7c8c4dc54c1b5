//! Who holds which address and port, and which is free next.
//!
//! As in Kubernetes the low part of each range is left to people who choose for themselves, as
//! long as the rest lasts.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::Item;

/// How far into a range addresses are given out.
const LARGEST: u128 = 1 << 20;

/// The outcome of taking something.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    New,
    Own,
    Other,
}

#[derive(Debug)]
struct Range {
    net: IpNet,
    /// The offset that is tried next.
    next: u128,
}

/// All holdings.
#[derive(Debug)]
pub(super) struct Pool {
    holders: BTreeMap<Item, String>,
    ranges: Vec<Range>,
    pub(super) ports: RangeInclusive<u16>,
    next_port: u16,
}

impl Range {
    fn base(&self) -> u128 {
        match self.net.network() {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        }
    }

    fn at(&self, offset: u128) -> IpAddr {
        let number = self.base() + offset;
        match self.net {
            IpNet::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
            IpNet::V6(_) => Ipv6Addr::from(number).into(),
        }
    }

    /// The offsets that may be given out: not the network's own, not the broadcast address.
    fn offsets(&self) -> std::ops::Range<u128> {
        let bits = self.net.max_prefix_len() - self.net.prefix_len();
        let size = 1_u128.checked_shl(u32::from(bits)).unwrap_or(LARGEST);
        let last = match self.net {
            IpNet::V4(_) => size.saturating_sub(1),
            IpNet::V6(_) => size,
        };
        1..last.min(LARGEST)
    }

    /// Where the part begins that is given out first.
    fn upper(&self) -> u128 {
        let size = self.offsets().end;
        (size / 16).clamp(16, 256).min(size)
    }
}

/// Where the part of the node ports begins that is given out first.
fn first_given(ports: &RangeInclusive<u16>) -> u16 {
    let size = ports.end() - ports.start();
    match size {
        0..16 => *ports.start(),
        _ => ports.start() + (size / 32).clamp(16, 128).min(size),
    }
}

impl Pool {
    pub(super) fn new(ranges: &[IpNet], ports: RangeInclusive<u16>) -> Self {
        let ranges = ranges
            .iter()
            .map(|net| {
                let mut range = Range {
                    net: net.trunc(),
                    next: 0,
                };
                range.next = range.upper();
                range
            })
            .collect();
        Self {
            holders: BTreeMap::new(),
            ranges,
            next_port: first_given(&ports),
            ports,
        }
    }

    /// The families that are configured, the default one first.
    pub(super) fn families(&self) -> Vec<&'static str> {
        self.ranges
            .iter()
            .map(|range| match range.net {
                IpNet::V4(_) => "IPv4",
                IpNet::V6(_) => "IPv6",
            })
            .collect()
    }

    pub(super) fn first_address(&self) -> Option<IpAddr> {
        let range = self.ranges.first()?;
        Some(range.at(range.offsets().start))
    }

    /// The range that an address must come from, if it does not.
    pub(super) fn outside(&self, address: IpAddr) -> Option<IpNet> {
        let range = self
            .ranges
            .iter()
            .find(|range| range.net.addr().is_ipv4() == address.is_ipv4())?;
        let network = range.net.network() == address && range.net.hosts().nth(1).is_some();
        (!range.net.contains(&address) || network).then_some(range.net)
    }

    /// An address of the family that nobody has.
    pub(super) fn free_address(&mut self, family: &str) -> Option<IpAddr> {
        let at = self.families().iter().position(|one| *one == family)?;
        let first = self.first_address();
        let range = &self.ranges[at];
        let (offsets, upper) = (range.offsets(), range.upper());
        let (found, offset) = (range.next..offsets.end)
            .chain(upper..range.next.min(offsets.end))
            .chain(offsets.start..upper)
            .map(|offset| (range.at(offset), offset))
            .find(|(address, _)| {
                Some(*address) != first && !self.holders.contains_key(&Item::Address(*address))
            })?;
        self.ranges[at].next = (offset + 1).max(upper);
        Some(found)
    }

    /// A node port that nobody has.
    pub(super) fn free_port(&mut self) -> Option<u16> {
        let (start, given) = (*self.ports.start(), first_given(&self.ports));
        let found = (self.next_port..=*self.ports.end())
            .chain(given..self.next_port)
            .chain(start..given)
            .find(|port| !self.holders.contains_key(&Item::Port(*port)))?;
        self.next_port = if found == *self.ports.end() {
            given
        } else {
            (found + 1).max(given)
        };
        Some(found)
    }

    pub(super) fn take(&mut self, item: Item, owner: &str) -> Taken {
        match self.holders.get(&item) {
            Some(holder) if holder == owner => Taken::Own,
            Some(_) => Taken::Other,
            None => {
                self.holders.insert(item, owner.to_owned());
                Taken::New
            }
        }
    }

    pub(super) fn release(&mut self, item: Item, owner: &str) {
        if self
            .holders
            .get(&item)
            .is_some_and(|holder| holder == owner)
        {
            self.holders.remove(&item);
        }
    }
}
