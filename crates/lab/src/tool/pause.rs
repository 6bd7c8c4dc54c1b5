//! The process that holds a Pod's namespaces: it does nothing until it is asked to end.

/// Waits until it is asked to end, or killed.
pub(super) fn run() -> ! {
    super::ending::end_when_asked(std::time::Duration::ZERO);
    loop {
        nix::unistd::pause();
    }
}
