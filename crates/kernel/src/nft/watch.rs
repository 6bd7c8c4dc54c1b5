//! Who changes tables, as the kernel tells it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::Socket;

use super::socket::is_own;
use super::{NETLINK_NETFILTER, SUBSYSTEM, TableFamily, attr, kind};
use crate::error::{Context, KernelError};
use crate::netfilter::{find, text};

/// `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;
const RECEIVE_BYTES: usize = 64 * 1024;
const HEADER: usize = 16;
const GENERIC: usize = 4;

/// Tells when somebody else changes tables of a name. It belongs for ever to the namespace that it
/// was opened in.
pub(crate) struct TableWatch {
    socket: Socket,
    table: &'static str,
    input: Vec<u8>,
}

impl TableWatch {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open(table: &'static str) -> Result<TableWatch, KernelError> {
        let name = || "changes".to_owned();
        let mut socket = Socket::new(NETLINK_NETFILTER).during("watch nftables", name)?;
        socket.bind_auto().during("watch nftables", name)?;
        socket
            .add_membership(GROUP)
            .during("watch nftables", name)?;
        socket
            .set_non_blocking(true)
            .during("watch nftables", name)?;
        let input = vec![0; RECEIVE_BYTES];
        Ok(TableWatch {
            socket,
            table,
            input,
        })
    }

    /// Takes what has come. True if a stranger changed one of the tables, or if so much came that
    /// some was lost.
    pub(crate) fn drain(&mut self) -> Result<bool, KernelError> {
        let mut changed = false;
        loop {
            let mut target = &mut self.input[..];
            match self.socket.recv(&mut target, 0) {
                Ok(length) => changed |= changes(&self.input[..length], self.table),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(e) => return Err(e).during("receive", || "changes of nftables".to_owned()),
            }
        }
    }
}

impl AsFd for TableWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether any message says that somebody else changed a table of this name.
fn changes(mut buffer: &[u8], table: &str) -> bool {
    let mut changed = false;
    while let Some((message, rest)) = split(buffer) {
        changed |= by_stranger(message, table) == Some(true);
        buffer = rest;
    }
    changed
}

fn split(buffer: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_ne_bytes(buffer.get(..4)?.try_into().ok()?) as usize;
    let message = buffer.get(..length).filter(|m| m.len() >= HEADER)?;
    Some((
        message,
        buffer.get(length.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

fn by_stranger(message: &[u8], table: &str) -> Option<bool> {
    let [low, high] = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?).to_le_bytes();
    let port = u32::from_ne_bytes(message.get(12..16)?.try_into().ok()?);
    let family = *message.get(HEADER)?;
    let ours = TableFamily::ALL.iter().any(|f| f.number() == family);
    if u16::from(high) != SUBSYSTEM || low == kind::NEW_GENERATION || !ours || is_own(port) {
        return Some(false);
    }
    let name = find(message.get(HEADER + GENERIC..)?, attr::TABLE)?;
    Some(text(name) == table)
}
