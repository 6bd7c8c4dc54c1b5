//! Who holds which address and port, and which is free next.
//!
//! Addresses come from the ranges of ServiceCIDRs. One that is being deleted is closed: nothing more
//! is given out of it.
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
    /// The ServiceCIDR that it belongs to.
    name: String,
    uid: String,
    open: bool,
    /// A search found nothing, and nothing was given back since.
    full: bool,
    /// The offset that is tried next.
    next: u128,
}

/// All holdings.
#[derive(Debug)]
pub(super) struct Pool {
    holders: BTreeMap<Item, String>,
    /// What the server was started with, the default family first.
    configured: Vec<IpNet>,
    ranges: Vec<Range>,
    pub(super) ports: RangeInclusive<u16>,
    next_port: u16,
}

impl Range {
    fn new(net: IpNet, name: &str, uid: &str) -> Self {
        let mut range = Self {
            net: net.trunc(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            open: true,
            full: false,
            next: 0,
        };
        range.next = range.upper();
        range
    }

    fn serves(&self, is_v4: bool) -> bool {
        self.open && self.net.addr().is_ipv4() == is_v4
    }

    /// Whether an address can be had from it: its own network is none.
    fn offers(&self, address: IpAddr) -> bool {
        let network = self.net.network() == address && self.net.hosts().nth(1).is_some();
        self.open && self.net.contains(&address) && !network
    }

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
        let configured: Vec<IpNet> = ranges.iter().map(IpNet::trunc).collect();
        let ranges = configured
            .iter()
            .map(|net| Range::new(*net, super::DEFAULT_RANGE, ""))
            .collect();
        Self {
            holders: BTreeMap::new(),
            configured,
            ranges,
            next_port: first_given(&ports),
            ports,
        }
    }

    /// The families that are configured, the default one first.
    pub(super) fn families(&self) -> Vec<&'static str> {
        self.configured
            .iter()
            .map(|range| match range {
                IpNet::V4(_) => "IPv4",
                IpNet::V6(_) => "IPv6",
            })
            .collect()
    }

    /// The ranges that the server was started with.
    pub(super) fn configured(&self) -> &[IpNet] {
        &self.configured
    }

    pub(super) fn first_address(&self) -> Option<IpAddr> {
        let range = Range::new(*self.configured.first()?, "", "");
        Some(range.at(range.offsets().start))
    }

    /// The ranges that an address must come from, if it does not.
    pub(super) fn outside(&self, address: IpAddr) -> Option<String> {
        let same = |range: &&Range| range.serves(address.is_ipv4());
        if self.ranges.iter().any(|range| range.offers(address)) {
            return None;
        }
        let ranges = self.ranges.iter().filter(same);
        let ranges: Vec<String> = ranges.map(|range| range.net.to_string()).collect();
        Some(ranges.join(", "))
    }

    /// An address of the family that nobody has.
    pub(super) fn free_address(&mut self, family: &str) -> Option<IpAddr> {
        let first = self.first_address();
        let holders = &self.holders;
        let usable = |range: &&mut Range| range.serves(family == "IPv4") && !range.full;
        self.ranges.iter_mut().filter(usable).find_map(|range| {
            let (offsets, upper) = (range.offsets(), range.upper());
            let found = (range.next..offsets.end)
                .chain(upper..range.next.min(offsets.end))
                .chain(offsets.start..upper)
                .map(|offset| (range.at(offset), offset))
                .find(|(address, _)| {
                    Some(*address) != first && !holders.contains_key(&Item::Address(*address))
                });
            let Some((address, offset)) = found else {
                range.full = true;
                return None;
            };
            range.next = (offset + 1).max(upper);
            Some(address)
        })
    }

    /// A ServiceCIDR has these ranges.
    pub(super) fn set_ranges(&mut self, name: &str, uid: &str, nets: &[IpNet]) {
        let same = |range: &&mut Range, net: &IpNet| range.name == name && range.net == net.trunc();
        for net in nets {
            if let Some(range) = self.ranges.iter_mut().find(|range| same(range, net)) {
                uid.clone_into(&mut range.uid);
                range.open = true;
            } else {
                self.ranges.push(Range::new(*net, name, uid));
            }
        }
        // Those of an earlier one of this name.
        self.ranges
            .retain(|range| range.name != name || range.uid == uid);
    }

    /// Nothing more is given out of the ranges of a ServiceCIDR.
    pub(super) fn close_ranges(&mut self, uid: &str) {
        let of = |range: &&mut Range| range.uid == uid;
        for range in self.ranges.iter_mut().filter(of) {
            range.open = false;
        }
    }

    /// A ServiceCIDR is gone.
    pub(super) fn drop_ranges(&mut self, uid: &str) {
        self.ranges.retain(|range| range.uid != uid);
    }

    /// ServiceCIDRs that are closed, and whether each can go: all addresses of its ranges that
    /// somebody holds are in other ranges too.
    pub(super) fn closed_ranges(&self) -> BTreeMap<String, bool> {
        let mut closed = BTreeMap::new();
        for range in self.ranges.iter().filter(|range| !range.open) {
            let (first, last) = (range.net.network(), range.net.broadcast());
            let mut held = self
                .holders
                .range(Item::Address(first)..=Item::Address(last));
            let can_go = held.all(|(item, _)| match item {
                Item::Address(address) => self.ranges.iter().any(|other| other.offers(*address)),
                Item::Port(_) => true,
            });
            *closed.entry(range.name.clone()).or_insert(true) &= can_go;
        }
        closed
    }

    /// Who holds something.
    pub(super) fn holder(&self, item: Item) -> Option<&str> {
        self.holders.get(&item).map(String::as_str)
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
            if let Item::Address(address) = item {
                let around = |range: &&mut Range| range.net.contains(&address);
                for range in self.ranges.iter_mut().filter(around) {
                    range.full = false;
                }
            }
        }
    }
}
