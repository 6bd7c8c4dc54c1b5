//! A cluster range cut into equal node ranges, and which of these are taken.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A cluster range and how it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterCidr {
    cidr: IpNet,
    node_mask: u8,
    first_index: u64,
}

/// A cluster range that cannot be cut as wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The mask is not inside the cluster range.
    #[error(
        "cannot cut {cidr} into node ranges of /{node_mask}; choose a node mask between {} and {}",
        cidr.prefix_len(), cidr.max_prefix_len()
    )]
    Mask {
        /// The cluster range.
        cidr: IpNet,
        /// The mask.
        node_mask: u8,
    },
    /// There is no node range with that index.
    #[error(
        "the first node range of {cidr} cannot have index {first_index}, there are {count} of /{node_mask}; choose a smaller index"
    )]
    Index {
        /// The cluster range.
        cidr: IpNet,
        /// The mask.
        node_mask: u8,
        /// The index.
        first_index: u64,
        /// The number of node ranges.
        count: u128,
    },
}

impl ClusterCidr {
    /// A cluster range cut into ranges of `node_mask`, of which the first `first_index` are left out.
    pub fn new(cidr: IpNet, node_mask: u8, first_index: u64) -> Result<Self, PoolError> {
        let cidr = cidr.trunc();
        if node_mask < cidr.prefix_len() || node_mask > cidr.max_prefix_len() {
            return Err(PoolError::Mask { cidr, node_mask });
        }
        let pool = Self {
            cidr,
            node_mask,
            first_index,
        };
        if u128::from(first_index) > pool.last() {
            return Err(PoolError::Index {
                cidr,
                node_mask,
                first_index,
                count: pool.last().saturating_add(1),
            });
        }
        Ok(pool)
    }

    /// The cluster range.
    pub fn cidr(&self) -> IpNet {
        self.cidr
    }

    /// The prefix length of node ranges.
    pub fn node_mask(&self) -> u8 {
        self.node_mask
    }

    /// The number of nodes that find a range.
    pub fn capacity(&self) -> u128 {
        (self.last() - u128::from(self.first_index)).saturating_add(1)
    }

    /// The greatest index.
    fn last(&self) -> u128 {
        let bits = u32::from(self.node_mask - self.cidr.prefix_len());
        match bits {
            128 => u128::MAX,
            _ => (1u128 << bits) - 1,
        }
    }

    /// Bits of an address below a node range.
    fn shift(&self) -> u32 {
        u32::from(self.cidr.max_prefix_len() - self.node_mask)
    }

    fn range(&self, index: u128) -> Option<IpNet> {
        let offset = index.checked_shl(self.shift()).unwrap_or(0);
        let address = number(self.cidr.network()) + offset;
        let address = match self.cidr {
            IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(address).ok()?)),
            IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(address)),
        };
        IpNet::new(address, self.node_mask).ok()
    }

    /// The indexes that a range covers, wholly or in part.
    fn indexes(&self, range: &IpNet) -> Option<(u128, u128)> {
        let same_family = range.max_prefix_len() == self.cidr.max_prefix_len();
        let base = number(self.cidr.network());
        let end = number(self.cidr.broadcast());
        let first = number(range.network()).max(base);
        let last = number(range.broadcast()).min(end);
        if !same_family || first > last {
            return None;
        }
        let index = |address: u128| (address - base).checked_shr(self.shift()).unwrap_or(0);
        Some((index(first), index(last)))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The taken part of a cluster range.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pool: ClusterCidr,
    /// First to last taken index; entries may overlap.
    spans: BTreeMap<u128, u128>,
}

impl Taken {
    /// Nothing is taken but what is left out.
    pub(super) fn new(pool: ClusterCidr) -> Self {
        let mut spans = BTreeMap::new();
        if let Some(last) = pool.first_index.checked_sub(1) {
            spans.insert(0, u128::from(last));
        }
        Self { pool, spans }
    }

    /// The cluster range.
    pub(super) fn pool(&self) -> ClusterCidr {
        self.pool
    }

    /// Takes what a range covers; a range elsewhere takes nothing.
    pub(super) fn take(&mut self, range: &IpNet) {
        if let Some((first, last)) = self.pool.indexes(range) {
            let end = self.spans.entry(first).or_insert(last);
            *end = last.max(*end);
        }
    }

    /// The lowest range that overlaps with nothing taken.
    pub(super) fn first_free(&self) -> Option<IpNet> {
        let mut free = 0u128;
        for (first, last) in &self.spans {
            if *first > free {
                break;
            }
            free = free.max(last.checked_add(1)?);
        }
        (free <= self.pool.last()).then(|| self.pool.range(free))?
    }
}
