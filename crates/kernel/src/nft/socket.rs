//! The socket of transactions: all messages in one send, in force together or not at all.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR};
use netlink_sys::Socket;
use nix::sys::socket::{setsockopt, sockopt};

use super::write::{Item, messages as encode_all};
use super::{NETLINK_NETFILTER, SUBSYSTEM, TableFamily};
use crate::error::{Context, KernelError};
use crate::netlink::{RawMessage, messages};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const RECEIVE_BYTES: usize = 64 * 1024;
/// Room for the refusals of a transaction in which every message is wrong.
const RECEIVE_BUFFER: usize = 4 << 20;
/// What the kernel takes without being asked for more.
const SEND_BUFFER: usize = 128 << 10;

/// The port ids of this process's open transaction sockets, with how many have it (in different
/// namespaces): changes that carry them are our own.
static OWN_PORTS: LazyLock<Mutex<BTreeMap<u32, usize>>> = LazyLock::new(Mutex::default);

fn own_ports() -> MutexGuard<'static, BTreeMap<u32, usize>> {
    OWN_PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a change was made by one of this process's transaction sockets.
pub(super) fn is_own(port: u32) -> bool {
    own_ports().contains_key(&port)
}

/// What the kernel said to a transaction.
#[derive(Debug)]
pub(crate) enum Answer {
    /// All of it is in force.
    Done,
    /// None of it is in force, because of these.
    Refused(Vec<Refusal>),
}

/// A message that the kernel refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The items that the message was to carry out.
    pub(crate) items: Range<usize>,
    /// The error number.
    pub(crate) errno: i32,
    /// What the message was to do.
    pub(crate) what: String,
}

/// A socket for transactions on nftables; it belongs for ever to the namespace that it was opened
/// in.
pub(crate) struct Nft {
    socket: Socket,
    port: u32,
    sequence: u32,
    sendable: usize,
    input: Vec<u8>,
}

impl Nft {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open() -> Result<Nft, KernelError> {
        let name = || "socket".to_owned();
        let mut socket = Socket::new(NETLINK_NETFILTER).during("open nftables", name)?;
        let port = socket
            .bind_auto()
            .during("bind nftables", name)?
            .port_number();
        socket
            .set_cap_ack(true)
            .during("configure nftables", name)?;
        // Without it refusals could be lost only if hundreds came at once.
        let _ = setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &RECEIVE_BUFFER);
        *own_ports().entry(port).or_default() += 1;
        Ok(Nft {
            socket,
            port,
            sequence: 0,
            sendable: SEND_BUFFER,
            input: vec![0; RECEIVE_BYTES],
        })
    }

    /// Carries out items on tables of one name as one transaction. With `one_each` a refusal names
    /// one item; otherwise it may name several of which one is wrong.
    pub(crate) fn commit(
        &mut self,
        table: &str,
        items: &[Item],
        one_each: bool,
    ) -> Result<Answer, KernelError> {
        if items.is_empty() {
            return Ok(Answer::Done);
        }
        let all = encode_all(table, items, one_each);
        let mut out = Vec::new();
        let begin = self.header(&mut out, BATCH_BEGIN, 0, None);
        for (i, (message, _)) in all.iter().enumerate() {
            let ack = if i + 1 == all.len() { NLM_F_ACK } else { 0 };
            let start = out.len();
            let kind = SUBSYSTEM << 8 | u16::from(message.kind);
            self.header(&mut out, kind, message.flags | ack, Some(message.family));
            out.extend(message.body.bytes());
            let length = u32::try_from(out.len() - start).expect("attributes are below 64 KiB");
            out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        }
        self.header(&mut out, BATCH_END, 0, None);
        self.make_room(out.len())?;
        self.socket
            .send(&out, 0)
            .during("send to nftables", || format!("{} messages", all.len()))?;
        let refusals = self.answers(begin, all.len())?;
        let refused = |(i, errno): (usize, i32)| Refusal {
            items: all[i].1.clone(),
            errno,
            what: all[i].0.what.clone(),
        };
        Ok(match refusals.is_empty() {
            true => Answer::Done,
            false => Answer::Refused(refusals.into_iter().map(refused).collect()),
        })
    }

    /// Writes the header of a message without attributes.
    fn header(
        &mut self,
        out: &mut Vec<u8>,
        kind: u16,
        flags: u16,
        family: Option<TableFamily>,
    ) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        out.extend(20u32.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        out.extend(self.sequence.to_ne_bytes());
        out.extend([0; 4]);
        // The brackets of a transaction name the subsystem here.
        let resource = if family.is_some() { 0 } else { SUBSYSTEM };
        out.extend([family.map_or(0, TableFamily::number), 0]);
        out.extend(resource.to_be_bytes());
        self.sequence
    }

    /// A transaction is one send, whatever its size.
    fn make_room(&mut self, bytes: usize) -> Result<(), KernelError> {
        if bytes > self.sendable {
            setsockopt(&self.socket.as_fd(), sockopt::SndBufForce, &(2 * bytes))
                .during("make room to send to nftables", || format!("{bytes} bytes"))?;
            self.sendable = bytes;
        }
        Ok(())
    }

    /// Which of the `count` messages behind the one of sequence `begin` were refused. The last one
    /// is answered in any case, and behind all others.
    fn answers(&mut self, begin: u32, count: usize) -> Result<Vec<(usize, i32)>, KernelError> {
        let mut refused = Vec::new();
        let mut done = false;
        while !done {
            let length = self.receive()?;
            for message in messages(&self.input[..length]) {
                let slot = message.sequence.wrapping_sub(begin) as usize;
                if message.kind != NLMSG_ERROR || slot > count {
                    continue;
                }
                let errno = code(&message);
                if slot == 0 {
                    return Err(io::Error::from_raw_os_error(errno))
                        .during("commit to nftables", || format!("{count} messages"));
                }
                if errno != 0 {
                    refused.push((slot - 1, errno));
                }
                done |= slot == count;
            }
        }
        Ok(refused)
    }

    fn receive(&mut self) -> Result<usize, KernelError> {
        let mut target = &mut self.input[..];
        loop {
            match self.socket.recv(&mut target, 0) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other.during("receive from", || "nftables".to_owned()),
            }
        }
    }
}

impl Drop for Nft {
    fn drop(&mut self) {
        let mut ports = own_ports();
        if let Some(count) = ports.get_mut(&self.port) {
            *count -= 1;
            if *count == 0 {
                ports.remove(&self.port);
            }
        }
    }
}

fn code(message: &RawMessage<'_>) -> i32 {
    let bytes = message.payload.get(..4).and_then(|b| b.try_into().ok());
    bytes.map_or(libc::EBADMSG, |b| -i32::from_ne_bytes(b))
}
