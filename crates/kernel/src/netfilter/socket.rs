//! The socket: dumps to the end, and many small requests in one send, each answered.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
};
use netlink_sys::Socket;

use super::attributes::Writer;
use crate::error::{Context, KernelError};
use crate::netlink::{RawMessage, messages};

const NETLINK_NETFILTER: isize = 12;
/// Bytes of `struct nlmsghdr` and of `struct nfgenmsg`.
const HEADER: usize = 16;
const GENERIC: usize = 4;
const RECEIVE_BYTES: usize = 64 * 1024;
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
    socket: Socket,
    subsystem: Subsystem,
    sequence: u32,
    input: Vec<u8>,
}

impl Netfilter {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open(subsystem: Subsystem) -> Result<Netfilter, KernelError> {
        let name = || subsystem.name().to_owned();
        let mut socket = Socket::new(NETLINK_NETFILTER).during("open netlink of", name)?;
        socket.bind_auto().during("bind netlink of", name)?;
        socket
            .set_cap_ack(true)
            .during("configure netlink of", name)?;
        Ok(Netfilter {
            socket,
            subsystem,
            sequence: 0,
            input: vec![0; RECEIVE_BYTES],
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
        self.transmit(&out)?;
        let (mut done, mut whole, mut refused) = (false, true, 0);
        while !done {
            self.receive(|raw| {
                if raw.sequence != sequence {
                    return;
                }
                whole &= raw.flags & NLM_F_DUMP_INTR == 0;
                match raw.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        done = true;
                        refused = code(raw);
                    }
                    _ => reply(raw).into_iter().for_each(|reply| each(&reply)),
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
        let first = self.sequence.wrapping_add(1);
        let mut out = Vec::new();
        for (family, body) in batch {
            self.encode(&mut out, message, *family, NLM_F_ACK, body);
        }
        self.transmit(&out)?;
        let base = answers.len();
        answers.resize(base + batch.len(), 0);
        let mut missing = batch.len();
        while missing > 0 {
            self.receive(|raw| {
                let slot = raw.sequence.wrapping_sub(first) as usize;
                if raw.kind == NLMSG_ERROR && slot < batch.len() {
                    answers[base + slot] = code(raw);
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
        self.sequence = self.sequence.wrapping_add(1);
        let length = HEADER + GENERIC + body.bytes().len();
        let length = u32::try_from(length).expect("a request is far shorter than 4 GiB");
        let kind = self.subsystem.number() << 8 | u16::from(message);
        out.extend(length.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        out.extend(self.sequence.to_ne_bytes());
        out.extend([0; 4]);
        out.extend([family, 0, 0, 0]);
        out.extend(body.bytes());
        self.sequence
    }

    fn transmit(&self, out: &[u8]) -> Result<(), KernelError> {
        self.socket
            .send(out, 0)
            .during("send to netlink of", || self.subsystem.name().to_owned())?;
        Ok(())
    }

    fn receive(&mut self, mut each: impl FnMut(&RawMessage<'_>)) -> Result<(), KernelError> {
        let mut target = &mut self.input[..];
        let length = loop {
            match self.socket.recv(&mut target, 0) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => {
                    break other.during("receive from netlink of", || {
                        self.subsystem.name().to_owned()
                    })?;
                }
            }
        };
        for message in messages(&self.input[..length]) {
            each(&message);
        }
        Ok(())
    }
}

/// The error number of an acknowledgement or of a dump's end, positive.
fn code(message: &RawMessage<'_>) -> i32 {
    let bytes = message.payload.get(..4).and_then(|b| b.try_into().ok());
    bytes.map_or(0, |b| -i32::from_ne_bytes(b))
}

fn reply<'a>(message: &RawMessage<'a>) -> Option<Reply<'a>> {
    Some(Reply {
        family: *message.payload.first()?,
        attributes: message.payload.get(GENERIC..)?,
    })
}
