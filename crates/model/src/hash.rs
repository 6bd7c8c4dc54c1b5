//! A hash whose value is part of our on-kernel format: it must never change between versions, so
//! it cannot be `std`'s. Not for hash tables, not for security.

/// FNV-1a over the parts (each closed by a byte that no name contains), finished by the
/// SplitMix64 mixer so that every output bit depends on every input bit.
pub fn stable_hash(parts: &[&str]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    let folded = parts
        .iter()
        .fold(OFFSET, |hash, part| step(part.bytes().fold(hash, step), 0));
    mix(folded)
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_frozen() {
        assert_eq!(stable_hash(&["a", "eth0"]), stable_hash(&["a", "eth0"]));
        assert_ne!(stable_hash(&["a", "eth0"]), stable_hash(&["aeth0", ""]));
        // Links in running kernels carry names made by this function: a change breaks adoption.
        assert_eq!(
            format!("{:016x}", stable_hash(&["c1", "eth0"])),
            "ffd6984659b9c3d2"
        );
    }
}
