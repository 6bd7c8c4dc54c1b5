//! The socket: dumps to the end, and many small requests in one send, each answered.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};

use super::attributes::Writer;
use super::channel::{Channel, GENERIC};
use crate::error::{Context, KernelError};
use crate::netlink::RawMessage;

/// Requests of one send: few enough for their answers to fit the receive buffer.
const MAX_BATCH: usize = 64;
/// How often a dump is begun anew because what it reads changed meanwhile.
const DUMP_TRIES: usize = 32;

/// A part of netfilter that has a netlink interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subsystem {
    /// Connection tracking.
    Conntrack,
    /// nftables.
    Nftables,
}

impl Subsystem {
    fn number(self) -> u16 {
        match self {
            Subsystem::Conntrack => 1,
            Subsystem::Nftables => 10,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Subsystem::Conntrack => "conntrack",
            Subsystem::Nftables => "nftables",
        }
    }
}

/// A message of a dump.
pub(crate) struct Reply<'a> {
    /// The address family that the message is about.
    pub(crate) family: u8,
    /// Its attributes.
    pub(crate) attributes: &'a [u8],
}

/// A netfilter netlink socket; it belongs for ever to the namespace that it was opened in.
pub(crate) struct Netfilter {
    channel: Channel,
    subsystem: Subsystem,
}

impl Netfilter {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open(subsystem: Subsystem) -> Result<Netfilter, KernelError> {
        Ok(Netfilter {
            channel: Channel::open(subsystem.name())?,
            subsystem,
        })
    }

    /// Asks for everything of one kind and gives what `pick` makes of each message. Begins anew
    /// when the kernel says that it changed meanwhile.
    pub(crate) fn dump<T>(
        &mut self,
        message: u8,
        family: u8,
        filter: &Writer,
        mut pick: impl FnMut(&Reply<'_>) -> Option<T>,
    ) -> Result<Vec<T>, KernelError> {
        for _ in 0..DUMP_TRIES {
            let mut found = Vec::new();
            let whole = self.dump_once(message, family, filter, |reply| {
                found.extend(pick(reply));
            })?;
            if whole {
                return Ok(found);
            }
        }
        let restless = io::Error::other("it changed during every one of many tries");
        Err(restless).during("dump", || self.subsystem.name().to_owned())
    }

    fn dump_once(
        &mut self,
        message: u8,
        family: u8,
        filter: &Writer,
        mut each: impl FnMut(&Reply<'_>),
    ) -> Result<bool, KernelError> {
        let mut out = Vec::new();
        let sequence = self.encode(&mut out, message, family, NLM_F_DUMP, filter);
        self.channel.send(&out)?;
        let (mut done, mut whole, mut refused) = (false, true, 0);
        while !done {
            self.channel.answers(|raw| {
                if raw.sequence != sequence {
                    return;
                }
                whole &= raw.flags & NLM_F_DUMP_INTR == 0;
                match raw.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        done = true;
                        refused = raw.errno();
                    }
                    _ => reply(&raw).into_iter().for_each(|reply| each(&reply)),
                }
            })?;
        }
        if refused != 0 {
            return Err(io::Error::from_raw_os_error(refused))
                .during("dump", || self.subsystem.name().to_owned());
        }
        Ok(whole)
    }

    /// Sends one request of a kind for each of `bodies`, a family and its attributes, and gives
    /// the kernel's error number for each, in order; 0 is success.
    pub(crate) fn send(
        &mut self,
        message: u8,
        bodies: &[(u8, Writer)],
    ) -> Result<Vec<i32>, KernelError> {
        let mut answers = Vec::with_capacity(bodies.len());
        for batch in bodies.chunks(MAX_BATCH) {
            self.send_batch(message, batch, &mut answers)?;
        }
        Ok(answers)
    }

    fn send_batch(
        &mut self,
        message: u8,
        batch: &[(u8, Writer)],
        answers: &mut Vec<i32>,
    ) -> Result<(), KernelError> {
        let first = self.channel.next_sequence();
        let mut out = Vec::new();
        for (family, body) in batch {
            self.encode(&mut out, message, *family, NLM_F_ACK, body);
        }
        self.channel.send(&out)?;
        let base = answers.len();
        answers.resize(base + batch.len(), 0);
        let mut missing = batch.len();
        while missing > 0 {
            self.channel.answers(|raw| {
                let slot = raw.sequence.wrapping_sub(first) as usize;
                if raw.kind == NLMSG_ERROR && slot < batch.len() {
                    answers[base + slot] = raw.errno();
                    missing -= 1;
                }
            })?;
        }
        Ok(())
    }

    fn encode(
        &mut self,
        out: &mut Vec<u8>,
        message: u8,
        family: u8,
        flags: u16,
        body: &Writer,
    ) -> u32 {
        let kind = self.subsystem.number() << 8 | u16::from(message);
        let generic = [family, 0, 0, 0];
        self.channel.encode(out, kind, flags, generic, body.bytes())
    }
}

fn reply<'a>(message: &RawMessage<'a>) -> Option<Reply<'a>> {
    Some(Reply {
        family: *message.payload.first()?,
        attributes: message.payload.get(GENERIC..)?,
    })
}
