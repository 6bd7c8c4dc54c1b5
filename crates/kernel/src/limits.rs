//! Limits of this process, and its memory.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// As many descriptors as a daemon may need.
const DESCRIPTORS: u64 = 65_536;

/// Raises the soft limit of open descriptors, which is often as low as 1,024, as far as the hard
/// one lets it. Best effort: with the limit as it is, a flood is turned away earlier.
pub fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = hard.min(DESCRIPTORS).max(soft);
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    });
    if let Err(e) = raised {
        tracing::debug!("raise the limit of open descriptors: {e}");
    }
}

/// Gives the memory that is free inside the process back to the system. Worth while after much has
/// been read once and thrown away, such as the first list of a cluster; by itself the C library
/// keeps it.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim has no preconditions and may be called by any thread at any time
    // (malloc_trim(3)); it touches only memory that is not in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
