//! Seeing from outside when routes come into force: the kernel's own notifications, each with the
//! time at which it came. The agent's way of listening is no use here: it passes over what agents do.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket,
};
use seaway_kernel::netlink::{Netlink, SEAWAY_PROTOCOL};
use seaway_kernel::netns::Netns;

/// How often the watcher looks whether it is still wanted.
const LOOK: u8 = 50;

/// What has been seen.
#[derive(Debug, Default)]
struct Seen {
    /// Routes of ours that are there, with the time of their last notice.
    there: HashMap<IpNet, Instant>,
    /// Those that are gone, likewise.
    gone: HashMap<IpNet, Instant>,
    failed: Option<String>,
}

/// Watches the routes of a namespace until it is dropped.
#[derive(Debug)]
pub(super) struct Sight {
    seen: Arc<(Mutex<Seen>, Condvar)>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sight {
    /// Watches from now on; nothing of ours may be there yet.
    pub(super) fn open(netns: &Netns) -> Result<Sight> {
        let notices = netns.enter(listen)??;
        let mut netlink = Netlink::open_in(netns)?;
        let seen = Arc::new((Mutex::default(), Condvar::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, wanted) = (seen.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !wanted.load(Ordering::Relaxed) {
                let mut fds = [PollFd::new(notices.as_fd(), PollFlags::POLLIN)];
                // An interrupted wait is a short one.
                let _ = poll(&mut fds, PollTimeout::from(LOOK));
                if let Err(error) = look(&notices, &mut netlink, &theirs.0) {
                    lock(&theirs.0).failed = Some(error.to_string());
                }
                theirs.1.notify_all();
            }
        });
        Ok(Sight {
            seen,
            stop,
            thread: Some(thread),
        })
    }

    /// Waits until all of these are there; gives the time at which the last came.
    pub(super) fn wait_for(&self, routes: &[IpNet], patience: Duration) -> Result<Instant> {
        self.wait(routes, patience, |seen| &seen.there)
            .context("waiting for routes to be in force")
    }

    /// Waits until all of these are gone; gives the time at which the last went.
    pub(super) fn wait_for_end(&self, routes: &[IpNet], patience: Duration) -> Result<Instant> {
        self.wait(routes, patience, |seen| &seen.gone)
            .context("waiting for routes to be gone")
    }

    fn wait(
        &self,
        routes: &[IpNet],
        patience: Duration,
        which: fn(&Seen) -> &HashMap<IpNet, Instant>,
    ) -> Result<Instant> {
        let deadline = Instant::now() + patience;
        let mut seen = lock(&self.seen.0);
        loop {
            if let Some(error) = &seen.failed {
                bail!("the watcher failed: {error}");
            }
            let times = routes.iter().map(|net| which(&seen).get(net).copied());
            if which(&seen).len() >= routes.len()
                && let Some(times) = times.collect::<Option<Vec<_>>>()
            {
                return times.into_iter().max().context("no routes were asked for");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let count = routes.iter().filter(|net| which(&seen).contains_key(net));
                bail!("{} of {} after {patience:?}", count.count(), routes.len());
            }
            let woken = self.seen.1.wait_timeout(seen, left);
            seen = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Sight {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens to all changes of routes in the calling thread's namespace.
fn listen() -> Result<OwnedFd> {
    /// `RTMGRP_IPV4_ROUTE` and `RTMGRP_IPV6_ROUTE`.
    const GROUPS: u32 = 0x40 | 0x400;
    const BUFFER: usize = 64 << 20;
    let notices = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    );
    let notices = notices.context("opening a socket for notices")?;
    setsockopt(&notices, RcvBufForce, &BUFFER).context("enlarging its buffer")?;
    bind(notices.as_raw_fd(), &NetlinkAddr::new(0, GROUPS)).context("listening for routes")?;
    Ok(notices)
}

/// Takes in all notices that have come.
fn look(notices: &OwnedFd, netlink: &mut Netlink, seen: &Mutex<Seen>) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match recv(notices.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => {
                let (mut seen, at) = (lock(seen), Instant::now());
                for (there, net) in changes(&buffer[..length]) {
                    seen.note(net, there, at);
                }
            }
            Err(Errno::EAGAIN) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::ENOBUFS) => compare(netlink, seen)?,
            Err(error) => return Err(error).context("reading notices"),
        }
    }
}

/// Notices were lost: what is there now was there at the latest now.
fn compare(netlink: &mut Netlink, seen: &Mutex<Seen>) -> Result<()> {
    let routes = netlink.routes()?.into_iter();
    let ours = routes.filter(|route| route.protocol == SEAWAY_PROTOCOL);
    let now: HashSet<IpNet> = ours.map(|route| route.destination).collect();
    let (mut seen, at) = (lock(seen), Instant::now());
    let known: Vec<IpNet> = seen.there.keys().copied().collect();
    for net in known.iter().filter(|net| !now.contains(net)) {
        seen.note(*net, false, at);
    }
    for net in now.iter().filter(|net| !known.contains(net)) {
        seen.note(*net, true, at);
    }
    Ok(())
}

impl Seen {
    fn note(&mut self, net: IpNet, there: bool, at: Instant) {
        let (to, from) = match there {
            true => (&mut self.there, &mut self.gone),
            false => (&mut self.gone, &mut self.there),
        };
        from.remove(&net);
        to.insert(net, at);
    }
}

/// The routes of ours that a datagram says have come (true) or gone.
fn changes(datagram: &[u8]) -> Vec<(bool, IpNet)> {
    let (mut rest, mut found) = (datagram, Vec::new());
    while let Some(length) = word(rest, 0).and_then(|n| usize::try_from(n).ok()) {
        let Some(message) = rest.get(..length.max(16)) else {
            break;
        };
        found.extend(change(message));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// What a message says, if it is of a route of ours.
fn change(message: &[u8]) -> Option<(bool, IpNet)> {
    const NEW: u16 = 24;
    const GONE: u16 = 25;
    const DESTINATION: u16 = 1;
    let kind = half(message, 4)?;
    // Behind the header of 16 bytes there is `struct rtmsg`: the family, the length of the
    // destination, two more, the table, and who made it.
    let (length, maker) = (*message.get(17)?, *message.get(21)?);
    if !matches!(kind, NEW | GONE) || maker != SEAWAY_PROTOCOL {
        return None;
    }
    let mut attributes = message.get(28..)?;
    loop {
        let size = usize::from(half(attributes, 0)?);
        let value = attributes.get(4..size)?;
        if half(attributes, 2)? == DESTINATION {
            let address = match value.len() {
                4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?)),
                _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?)),
            };
            return Some((kind == NEW, IpNet::new(address, length).ok()?));
        }
        attributes = attributes.get(size.next_multiple_of(4)..)?;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hand, wire};

    #[test]
    fn routes_are_seen_to_come_and_go() {
        let netns = Netns::create().expect("the tests run as root");
        wire::loopback_up(&netns).expect("it has one");
        let sight = Sight::open(&netns).expect("it can watch");
        let nets = ["192.0.2.0/24", "2001:db8::/64"].map(|t| t.parse().expect("a network"));
        let before = Instant::now();
        let lines = nets.map(|net: IpNet| format!("route add unreachable {net} proto 83\n"));
        hand::ip(&netns, &lines.concat()).expect("they can be made");
        let patience = Duration::from_secs(20);
        assert!(sight.wait_for(&nets, patience).expect("they come") > before);
        let lines = nets.map(|net| format!("route del unreachable {net} proto 83\n"));
        hand::ip(&netns, &lines.concat()).expect("they can be removed");
        sight.wait_for_end(&nets, patience).expect("they go");
        let error = sight
            .wait_for(&nets, Duration::from_millis(1))
            .expect_err("gone");
        assert!(format!("{error:#}").contains("0 of 2"), "{error:#}");
    }
}
