//! Test guards and helpers: isolation in own namespaces, waiting for conditions, packets made by
//! hand and wires looked at.
//!
//! A dev-dependency only. A test that cannot have what it needs fails; nothing is skipped.

#![cfg_attr(
    not(test),
    expect(clippy::expect_used, reason = "test code fails by panic")
)]

pub mod packet;
mod sctp;
mod wire;

pub use sctp::SctpSocket;
pub use wire::Wire;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Moves the calling test thread, and all that it starts from now on, into a network namespace
/// and a mount namespace of its own, with loopback up and a fresh `/run`. They vanish with the
/// last thread and process in them.
///
/// # Panics
///
/// Without the privileges for it: such a test must fail, not pass by doing nothing.
pub fn isolate() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "namespace tests need root: run `cargo xtask test` as root"
    );
    let flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS;
    unshare(flags).expect("own network and mount namespaces (needs CAP_SYS_ADMIN)");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private mounts");
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .expect("a fresh /run");
    use seaway_kernel::netlink::{LinkSet, LinkTarget, Netlink, Request};
    let up = LinkSet {
        up: Some(true),
        ..LinkSet::default()
    };
    let mut netlink = Netlink::open().expect("rtnetlink");
    netlink
        .send_all(&[Request::set_link(LinkTarget::Name("lo"), up)])
        .expect("loopback up");
}

/// Waits until `condition` gives a value, polling; for things that no descriptor announces.
///
/// # Panics
///
/// After `limit`, naming what was waited for and the last thing seen.
pub fn eventually<T, E: Debug>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(last) if Instant::now() >= deadline => {
                panic!("{what}: not within {limit:?}; last seen: {last:?}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}
