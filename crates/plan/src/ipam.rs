//! Pod address management as pure code: pools, what is held and by whom, next-fit allocation.
//!
//! The truth of what is held lives in the kernel and in the cluster; this is the view of it that
//! allocation needs. Waiting, storing and answering are the agent's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use seaway_model::{AttachmentId, Family, PodName};
use thiserror::Error;

/// Who keeps an address from being handed out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// A live attachment.
    Attachment(AttachmentId),
    /// An attachment that is freed but still in the kernel.
    Dying(AttachmentId),
    /// A Pod of the cluster that names it in its status.
    Pod(PodName),
    /// The node itself.
    Node,
}

/// Why no address can be given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AllocationError {
    /// The node has no pod CIDR that could be used.
    #[error("this node has no usable pod CIDR yet")]
    NoPool,
    /// Every address of a family is held.
    #[error(
        "no free {family} address: {held} of {usable} usable addresses of {cidrs} are held; \
         give the node a larger or a second pod CIDR, or remove Pods"
    )]
    Exhausted {
        /// The family.
        family: Family,
        /// Its pod CIDRs.
        cidrs: String,
        /// How many addresses are held.
        held: usize,
        /// How many there are to hold.
        usable: u128,
    },
}

/// A pod CIDR that cannot serve as a pool.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "pod CIDR {0} is too small: network, gateway and broadcast address leave none for Pods \
     (use /30 or larger for IPv4, /126 or larger for IPv6)"
)]
pub struct PoolTooSmall(pub IpNet);

/// The addresses of one pod CIDR that Pods may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    net: IpNet,
    first: u128,
    last: u128,
}

impl Pool {
    /// A pool of all addresses of `net` but the network address (for IPv6 the subnet-router
    /// anycast address, RFC 4291 §2.6.1), the first (the gateway of the `bridge` wiring) and, for
    /// IPv4, the last (broadcast).
    pub fn new(net: IpNet) -> Result<Pool, PoolTooSmall> {
        let (network, end) = (number(net.network()), number(net.broadcast()));
        let (first, last) = match net {
            IpNet::V4(_) => (network.saturating_add(2), end.saturating_sub(1)),
            IpNet::V6(_) => (network.saturating_add(2), end),
        };
        match net.max_prefix_len() - net.prefix_len() {
            0..2 => Err(PoolTooSmall(net)),
            _ => Ok(Pool {
                net: net.trunc(),
                first,
                last,
            }),
        }
    }

    /// How many addresses there are.
    pub fn len(&self) -> u128 {
        self.last - self.first + 1
    }

    /// The first address of the network, which no Pod gets.
    pub fn gateway(&self) -> IpAddr {
        address(self.family(), self.first - 1)
    }

    /// A pool always has an address.
    pub fn is_empty(&self) -> bool {
        false
    }

    fn family(&self) -> Family {
        Family::of_net(&self.net)
    }

    fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && (self.first..=self.last).contains(&number(address))
    }

    /// The addresses in cyclic order, starting behind `cursor`.
    fn after_cursor(&self, cursor: Option<u128>) -> impl Iterator<Item = IpAddr> + use<> {
        let (pool, family) = (*self, self.family());
        let inside = cursor.filter(|c| (pool.first..pool.last).contains(c));
        let start = inside.map_or(pool.first, |c| c + 1);
        (start..=pool.last)
            .chain(pool.first..start)
            .map(move |n| address(family, n))
    }
}

/// What is held, and where to look next.
#[derive(Clone, Debug, Default)]
pub struct Ipam {
    pools: Vec<Pool>,
    refused: Vec<PoolTooSmall>,
    holders: HashMap<IpAddr, BTreeSet<Holder>>,
    cursors: BTreeMap<IpNet, u128>,
}

impl Ipam {
    /// Sets the node's pod CIDRs, in order of preference. What is held stays held.
    pub fn set_cidrs(&mut self, cidrs: &[IpNet]) {
        self.pools.clear();
        self.refused.clear();
        for net in cidrs {
            // The linter names a network that overlaps another; its addresses are served once.
            if self
                .pools
                .iter()
                .any(|p| p.net.contains(net) || net.contains(&p.net))
            {
                continue;
            }
            match Pool::new(*net) {
                Ok(pool) => self.pools.push(pool),
                Err(too_small) => self.refused.push(too_small),
            }
        }
    }

    /// The pod CIDRs that cannot serve.
    pub fn refused(&self) -> &[PoolTooSmall] {
        &self.refused
    }

    /// Whether an address could be tried at all.
    pub fn has_pools(&self) -> bool {
        !self.pools.is_empty()
    }

    /// Takes an address of each family that the node has, held from now on by `holder`.
    /// Nothing is held when it fails.
    pub fn allocate(&mut self, holder: &Holder) -> Result<Vec<IpAddr>, AllocationError> {
        let mut families: Vec<Family> = Vec::new();
        for family in self.pools.iter().map(Pool::family) {
            if !families.contains(&family) {
                families.push(family);
            }
        }
        if families.is_empty() {
            return Err(AllocationError::NoPool);
        }
        let found: Vec<(Pool, IpAddr)> = families
            .into_iter()
            .map(|f| self.next_free(f))
            .collect::<Result<_, _>>()?;
        for (pool, address) in &found {
            self.cursors.insert(pool.net, number(*address));
            self.hold(*address, holder.clone());
        }
        Ok(found.into_iter().map(|(_, address)| address).collect())
    }

    fn next_free(&self, family: Family) -> Result<(Pool, IpAddr), AllocationError> {
        let free = |pool: &Pool| {
            let mut candidates = pool.after_cursor(self.cursors.get(&pool.net).copied());
            let address = candidates.find(|a| !self.holders.contains_key(a))?;
            Some((*pool, address))
        };
        let pools = || self.pools.iter().filter(|pool| pool.family() == family);
        pools()
            .find_map(free)
            .ok_or_else(|| AllocationError::Exhausted {
                family,
                cidrs: pools()
                    .map(|pool| pool.net.to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
                held: self
                    .holders
                    .keys()
                    .filter(|a| pools().any(|p| p.contains(**a)))
                    .count(),
                usable: pools().map(Pool::len).sum(),
            })
    }

    /// Notes that `holder` holds `address`, whether or not it is of a pool of ours.
    pub fn hold(&mut self, address: IpAddr, holder: Holder) {
        self.holders.entry(address).or_default().insert(holder);
    }

    /// Notes that `holder` lets go of `address`.
    pub fn release(&mut self, address: IpAddr, holder: &Holder) {
        if let Some(holders) = self.holders.get_mut(&address) {
            holders.remove(holder);
            if holders.is_empty() {
                self.holders.remove(&address);
            }
        }
    }

    /// Whether anybody holds `address`.
    pub fn is_held(&self, address: IpAddr) -> bool {
        self.holders.contains_key(&address)
    }

    /// Per pod CIDR: the network, how many addresses are held, how many there are.
    pub fn usage(&self) -> impl Iterator<Item = (IpNet, usize, u128)> + '_ {
        self.pools.iter().map(|pool| {
            let held = self.holders.keys().filter(|a| pool.contains(**a)).count();
            (pool.net, held, pool.len())
        })
    }

    /// Where the search goes on in each pod CIDR: the address handed out last.
    pub fn cursors(&self) -> impl Iterator<Item = (IpNet, IpAddr)> + '_ {
        self.cursors
            .iter()
            .map(|(net, n)| (*net, address(Family::of_net(net), *n)))
    }

    /// Sets where the search goes on in a pod CIDR.
    pub fn set_cursor(&mut self, net: IpNet, last: IpAddr) {
        if net.contains(&last) {
            self.cursors.insert(net, number(last));
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => {
            let number = u32::try_from(number).expect("numbers of IPv4 pools have 32 bits");
            IpAddr::V4(Ipv4Addr::from(number))
        }
        Family::V6 => IpAddr::V6(Ipv6Addr::from(number)),
    }
}
