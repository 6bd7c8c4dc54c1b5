//! Seeing from outside when a backend is in force: the kernel's own notices of elements that have
//! come into the sets and maps of nftables. They are sent when a transaction has been committed.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket,
};
use seaway_kernel::netns::Netns;

use super::objects;

/// Watches the newcomers of a namespace.
#[derive(Debug)]
pub(super) struct Sight {
    notices: OwnedFd,
    buffer: Vec<u8>,
    /// Who has come, and when that was seen.
    came: HashMap<Ipv4Addr, Instant>,
}

impl Sight {
    /// Watches from now on.
    pub(super) fn open(netns: &Netns) -> Result<Sight> {
        Ok(Sight {
            notices: netns.enter(listen)??,
            buffer: vec![0; 64 << 10],
            came: HashMap::new(),
        })
    }

    /// Waits until a newcomer is in force; gives when that was.
    pub(super) fn wait_for(&mut self, address: Ipv4Addr, patience: Duration) -> Result<Instant> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(at) = self.came.get(&address) {
                return Ok(*at);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("the backend {address} is not in force after {patience:?}");
            }
            let limit = PollTimeout::try_from(left.min(Duration::from_secs(1)));
            let mut fds = [PollFd::new(self.notices.as_fd(), PollFlags::POLLIN)];
            // An interrupted wait is a short one.
            let _ = poll(&mut fds, limit.unwrap_or(PollTimeout::ZERO));
            self.look()?;
        }
    }

    /// When a newcomer was seen to be in force, if it was.
    pub(super) fn came(&self, address: Ipv4Addr) -> Option<Instant> {
        self.came.get(&address).copied()
    }

    /// Takes in what has come, without waiting.
    pub(super) fn look(&mut self) -> Result<()> {
        loop {
            match recv(
                self.notices.as_raw_fd(),
                &mut self.buffer,
                MsgFlags::MSG_DONTWAIT,
            ) {
                Ok(length) => {
                    let at = Instant::now();
                    for address in newcomers(&self.buffer[..length]) {
                        self.came.entry(address).or_insert(at);
                    }
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => bail!("too many notices came at once; some are lost"),
                Err(error) => return Err(error).context("reading notices"),
            }
        }
    }
}

fn listen() -> Result<OwnedFd> {
    /// `NFNLGRP_NFTABLES` is the seventh group.
    const GROUPS: u32 = 1 << 6;
    const BUFFER: usize = 256 << 20;
    let notices = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    );
    let notices = notices.context("opening a socket for notices")?;
    setsockopt(&notices, RcvBufForce, &BUFFER).context("enlarging its buffer")?;
    bind(notices.as_raw_fd(), &NetlinkAddr::new(0, GROUPS)).context("listening for elements")?;
    Ok(notices)
}

/// The newcomers that a datagram names as part of new elements.
fn newcomers(datagram: &[u8]) -> Vec<Ipv4Addr> {
    /// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM`.
    const NEW_ELEMENT: u16 = 10 << 8 | 12;
    let (mut rest, mut found) = (datagram, Vec::new());
    while let Some(head) = rest.get(..16) {
        let number = |from: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|i| head[from + i]));
        let length = usize::try_from(number(0)).unwrap_or_default().max(16);
        let Some(message) = rest.get(..length) else {
            break;
        };
        if u16::from_ne_bytes([head[4], head[5]]) == NEW_ELEMENT {
            let words = message[16..].chunks_exact(4);
            let addresses =
                words.filter_map(|w| Some(Ipv4Addr::from(<[u8; 4]>::try_from(w).ok()?)));
            found.extend(addresses.filter(|address| is_newcomer(*address)));
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn is_newcomer(address: Ipv4Addr) -> bool {
    let first = u32::from(objects::newcomer(0));
    (first..first + 0x8000).contains(&u32::from(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hand;

    #[test]
    fn new_elements_are_seen() {
        let netns = Netns::create().expect("the tests run as root");
        let map = "add table inet t\n\
            add map inet t m { type ipv4_addr . inet_service : ipv4_addr . inet_service ; }\n";
        hand::tool(&netns, "nft", &["-f", "-"], map).expect("it can be made");
        let mut sight = Sight::open(&netns).expect("it can watch");
        let (one, other) = (objects::newcomer(3), objects::newcomer(4));
        let add = format!("add element inet t m {{ 10.96.0.1 . 80 : {one} . 8080 }}\n");
        let before = Instant::now();
        hand::tool(&netns, "nft", &["-f", "-"], &add).expect("it can be added");
        let at = sight
            .wait_for(one, Duration::from_secs(20))
            .expect("it came");
        assert!(at >= before);
        let error = sight.wait_for(other, Duration::from_millis(1));
        assert!(
            error
                .expect_err("nobody")
                .to_string()
                .contains(&other.to_string())
        );
    }
}
