//! The socket of transactions: all messages in one send, in force together or not at all.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use netlink_packet_core::{NLM_F_ACK, NLMSG_ERROR};
use nix::sys::socket::{setsockopt, sockopt};

use super::SUBSYSTEM;
use super::write::{Item, messages as encode_all};
use crate::error::{Context, KernelError};
use crate::netfilter::Channel;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
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
    channel: Channel,
    sendable: usize,
    /// The kernel removes elements that may not be there (since Linux 6.3).
    can_destroy: bool,
}

impl Nft {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open() -> Result<Nft, KernelError> {
        let channel = Channel::open_quiet("nftables")?;
        // Without it refusals could be lost only if hundreds came at once.
        let _ = setsockopt(&channel.as_fd(), sockopt::RcvBufForce, &RECEIVE_BUFFER);
        *own_ports().entry(channel.port).or_default() += 1;
        Ok(Nft {
            channel,
            sendable: SEND_BUFFER,
            can_destroy: true,
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
        let all = encode_all(table, items, one_each, self.can_destroy);
        let mut out = Vec::new();
        // The brackets of a transaction name the subsystem where other messages name nothing.
        let [high, low] = SUBSYSTEM.to_be_bytes();
        let bracket = [0, 0, high, low];
        let channel = &mut self.channel;
        let begin = channel.encode(&mut out, BATCH_BEGIN, 0, bracket, &[]);
        for (i, (message, _)) in all.iter().enumerate() {
            let ack = if i + 1 == all.len() { NLM_F_ACK } else { 0 };
            let kind = SUBSYSTEM << 8 | u16::from(message.kind);
            let generic = [message.family.number(), 0, 0, 0];
            let body = message.body.bytes();
            channel.encode(&mut out, kind, message.flags | ack, generic, body);
        }
        channel.encode(&mut out, BATCH_END, 0, bracket, &[]);
        self.make_room(out.len())?;
        self.channel.send(&out)?;
        let refusals = self.answers(begin, all.len())?;
        let unknown = |(i, errno): &(usize, i32)| {
            all[*i].0.kind == super::kind::DESTROY_ELEMENT && *errno == libc::EINVAL
        };
        if refusals.iter().any(unknown) {
            self.can_destroy = false;
            return self.commit(table, items, one_each);
        }
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

    /// A transaction is one send, whatever its size.
    fn make_room(&mut self, bytes: usize) -> Result<(), KernelError> {
        if bytes > self.sendable {
            setsockopt(&self.channel.as_fd(), sockopt::SndBufForce, &(2 * bytes))
                .during("make room to send to nftables", || format!("{bytes} bytes"))?;
            self.sendable = bytes;
        }
        Ok(())
    }

    /// Which of the `count` messages behind the one of sequence `begin` were refused. The last one
    /// is answered in any case, and behind all others.
    fn answers(&mut self, begin: u32, count: usize) -> Result<Vec<(usize, i32)>, KernelError> {
        let (mut refused, mut whole, mut done) = (Vec::new(), 0, false);
        while !done {
            self.channel.answers(|message| {
                let slot = message.sequence.wrapping_sub(begin) as usize;
                if message.kind != NLMSG_ERROR || slot > count {
                    return;
                }
                let errno = message.errno();
                match slot {
                    0 => whole = errno,
                    _ if errno != 0 => refused.push((slot - 1, errno)),
                    _ => {}
                }
                done |= slot == 0 || slot == count;
            })?;
        }
        match whole {
            0 => Ok(refused),
            errno => Err(io::Error::from_raw_os_error(errno))
                .during("commit to nftables", || format!("{count} messages")),
        }
    }
}

impl Drop for Nft {
    fn drop(&mut self) {
        let mut ports = own_ports();
        if let Some(count) = ports.get_mut(&self.channel.port) {
            *count -= 1;
            if *count == 0 {
                ports.remove(&self.channel.port);
            }
        }
    }
}
