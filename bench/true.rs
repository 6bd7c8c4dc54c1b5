//! The smallest static program of this toolchain: what starting any process costs at least.

fn main() {}
