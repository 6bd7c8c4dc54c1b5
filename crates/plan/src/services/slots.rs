//! Where the backends of a group lie: a pure function of which there are, so that every order of
//! events gives the same slots. Which backends a group has is not decided here.
//!
//! A small group is *dense*: its backends lie in order in the first slots. A larger one is
//! *sparse*: each backend has a home by a hash of its own, and of two that want a slot the one of
//! the smaller address has it while the other takes the next that is free. So one that comes or
//! goes moves a few neighbours at most.

use std::net::{IpAddr, SocketAddr};

use seaway_model::{BackendKey, BackendRow, DENSE_SLOTS, FALLBACK_SLOT, GroupId, MAX_SLOTS};

/// The most backends that a group can hold: three quarters of the most slots.
pub(crate) const MOST_BACKENDS: usize = (1 << MAX_SLOTS) / 4 * 3;

/// The slots of `count` backends are 2^this.
pub(crate) fn size(count: usize) -> u8 {
    let dense = (0..=DENSE_SLOTS).find(|k| count <= 1 << k);
    let sparse = || (DENSE_SLOTS + 1..MAX_SLOTS).find(|k| count <= (1 << k) / 4 * 3);
    dense.or_else(sparse).unwrap_or(MAX_SLOTS)
}

/// Adds the rows of a group, in the order of their keys. The targets are in order, each once, and
/// at most [`MOST_BACKENDS`].
pub(crate) fn lay_out(group: GroupId, targets: &[SocketAddr], rows: &mut Vec<BackendRow>) {
    let row = |slot: u16, target: SocketAddr| BackendRow {
        key: BackendKey { group, slot },
        target,
    };
    let bits = size(targets.len());
    if bits <= DENSE_SLOTS {
        rows.extend((0..).zip(targets).map(|(slot, target)| row(slot, *target)));
        return;
    }
    let mut slots: Vec<Option<SocketAddr>> = vec![None; 1 << bits];
    let mask = slots.len() - 1;
    for target in targets {
        // There is a free slot: a quarter of them is.
        let mut at = home(*target) & mask;
        while slots[at].is_some() {
            at = (at + 1) & mask;
        }
        slots[at] = Some(*target);
    }
    let filled = (0..).zip(slots);
    rows.extend(filled.filter_map(|(slot, target)| Some(row(slot, target?))));
    rows.extend(targets.first().map(|first| row(FALLBACK_SLOT, *first)));
}

/// Where a backend wants to lie, before it is cut to the number of slots.
fn home(target: SocketAddr) -> usize {
    let address = match target.ip() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let (high, low) = ((address >> 64) as u64, address as u64);
    let folded = mix(mix(mix(high) ^ low) ^ u64::from(target.port()));
    // The upper half alone is as good as the whole, and the same on every machine.
    (folded >> 32) as usize
}

/// The finisher of SplitMix64: every output bit depends on every input bit.
pub(super) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(count: u32) -> Vec<SocketAddr> {
        let address = |i: u32| IpAddr::from((0x0a00_0000 + i).to_be_bytes());
        (0..count).map(|i| (address(i), 80).into()).collect()
    }

    fn rows(targets: &[SocketAddr]) -> Vec<BackendRow> {
        let mut rows = Vec::new();
        lay_out(GroupId(2), targets, &mut rows);
        rows
    }

    #[test]
    fn sizes_are_those_that_the_datapath_counts_on() {
        assert_eq!(size(0), 0);
        assert_eq!(size(1), 0);
        assert_eq!(size(2), 1);
        assert_eq!(size(32), DENSE_SLOTS);
        for count in 33..=MOST_BACKENDS {
            let slots = 1usize << size(count);
            assert!(4 * count <= 3 * slots, "{count} in {slots}");
            assert!(8 * count >= 3 * slots, "{count} in {slots}");
        }
        assert_eq!(size(MOST_BACKENDS), MAX_SLOTS);
    }

    #[test]
    fn every_backend_lies_in_one_slot_and_the_first_also_in_the_fallback() {
        for count in [0, 1, 2, 3, 31, 32, 33, 48, 49, 1000] {
            let targets = targets(count);
            let rows = rows(&targets);
            assert!(rows.is_sorted_by_key(|row| row.key));
            let slots = 1u32 << size(targets.len());
            let mut drawn: Vec<_> = rows
                .iter()
                .filter(|row| u32::from(row.key.slot) < slots)
                .map(|row| row.target)
                .collect();
            drawn.sort();
            assert_eq!(drawn, targets);
            let rest: Vec<_> = rows.iter().skip(targets.len()).collect();
            match count > 32 {
                true => assert_eq!(rest[0].target, targets[0]),
                false => assert!(rest.is_empty()),
            }
        }
    }

    #[test]
    fn one_backend_more_moves_few() {
        let mut worst = 0;
        let all = targets(700);
        let after = rows(&all);
        for gone in 1..700 {
            let mut less = all.clone();
            less.remove(gone);
            let before: Vec<_> = rows(&less);
            let is_new = |row: &&BackendRow| {
                let found = before.binary_search_by_key(&row.key, |row| row.key);
                found.map_or(true, |at| before[at] != **row)
            };
            let changed = after.iter().filter(is_new).count();
            worst = worst.max(changed);
        }
        assert!(worst <= 24, "{worst}");
    }
}
