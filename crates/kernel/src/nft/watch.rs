//! Who changes tables, as the kernel tells it.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt};

use super::socket::is_own;
use super::{SUBSYSTEM, TableFamily, attr, kind};
use crate::error::{Context, KernelError};
use crate::netfilter::{Channel, GENERIC, Received, find, text};
use crate::netlink::{RawMessage, quiet};

/// `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;
/// Room for what others do; an overflow costs a comparison of everything.
const RECEIVE_BUFFER: usize = 16 << 20;

/// Tells when somebody else changes tables of a name. It belongs for ever to the namespace that it
/// was opened in.
pub(crate) struct TableWatch {
    channel: Channel,
    table: &'static str,
}

impl TableWatch {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open(table: &'static str) -> Result<TableWatch, KernelError> {
        let name = || "changes".to_owned();
        let mut channel = Channel::open("changes of nftables")?;
        // Where it is refused, overflows come sooner.
        let _ = setsockopt(&channel.as_fd(), sockopt::RcvBufForce, &RECEIVE_BUFFER);
        // Nor is it told what we do ourselves: a hundred thousand Services fit no buffer.
        quiet::deafen_to_nftables(channel.as_fd()).during("filter for", name)?;
        let socket = &mut channel.socket;
        socket
            .add_membership(GROUP)
            .during("watch nftables", name)?;
        socket
            .set_non_blocking(true)
            .during("watch nftables", name)?;
        Ok(TableWatch { channel, table })
    }

    /// Takes what has come. True if a stranger changed one of the tables, or if so much came that
    /// some was lost.
    pub(crate) fn drain(&mut self) -> Result<bool, KernelError> {
        let (mut changed, table) = (false, self.table);
        loop {
            let received = self.channel.receive(|message| {
                changed |= by_stranger(&message, table) == Some(true);
            })?;
            match received {
                Received::Some => {}
                Received::Nothing => return Ok(changed),
                Received::Overflow => changed = true,
            }
        }
    }
}

impl AsFd for TableWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// Whether a message says that somebody else changed a table of this name.
fn by_stranger(message: &RawMessage<'_>, table: &str) -> Option<bool> {
    let [low, high] = message.kind.to_le_bytes();
    let family = *message.payload.first()?;
    let ours = TableFamily::ALL.iter().any(|f| f.number() == family);
    if u16::from(high) != SUBSYSTEM || low == kind::NEW_GENERATION || !ours || is_own(message.port)
    {
        return Some(false);
    }
    let name = find(message.payload.get(GENERIC..)?, attr::TABLE)?;
    Some(text(name) == table)
}
