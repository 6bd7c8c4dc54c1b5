//! The process that holds a Pod's namespaces: it does nothing for ever.

/// Waits until it is killed.
pub(super) fn run() -> ! {
    loop {
        nix::unistd::pause();
    }
}
