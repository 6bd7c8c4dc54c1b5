//! The socket under everything of netfilter: opened, sent to, received from. What is said over it is
//! the business of [`Netfilter`](super::Netfilter) and of the transactions of nftables.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::NLM_F_REQUEST;
use netlink_sys::{Socket, SocketAddr};

use crate::error::{Context, KernelError};
use crate::netlink::{RawMessage, messages, quiet};

const NETLINK_NETFILTER: isize = 12;
/// Bytes of `struct nlmsghdr` and of `struct nfgenmsg`.
const HEADER: usize = 16;
pub(crate) const GENERIC: usize = 4;
const RECEIVE_BYTES: usize = 64 * 1024;

/// What came in one receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Messages.
    Some,
    /// None are waiting; only where the socket does not block.
    Nothing,
    /// More had come than the buffer held: some are lost.
    Overflow,
}

/// A socket of a part of netfilter; it belongs for ever to the namespace that it was opened in.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) socket: Socket,
    /// The number by which the kernel knows the socket.
    pub(crate) port: u32,
    what: &'static str,
    sequence: u32,
    input: Vec<u8>,
}

impl Channel {
    /// Opens a socket in the calling thread's namespace; `what` is what it is for, in errors.
    pub(crate) fn open(what: &'static str) -> Result<Channel, KernelError> {
        Channel::bound(what, |socket| socket.bind_auto().map(drop))
    }

    /// Opens a socket of whose changes of nftables those that are deaf to them do not hear.
    pub(crate) fn open_quiet(what: &'static str) -> Result<Channel, KernelError> {
        Channel::bound(what, quiet::bind)
    }

    fn bound(
        what: &'static str,
        bind: fn(&mut Socket) -> io::Result<()>,
    ) -> Result<Channel, KernelError> {
        let name = || what.to_owned();
        let mut socket = Socket::new(NETLINK_NETFILTER).during("open netlink of", name)?;
        bind(&mut socket).during("bind netlink of", name)?;
        let mut address = SocketAddr::new(0, 0);
        socket
            .get_address(&mut address)
            .during("read the port of netlink of", name)?;
        let port = address.port_number();
        socket
            .set_cap_ack(true)
            .during("configure netlink of", name)?;
        Ok(Channel {
            socket,
            port,
            what,
            sequence: 0,
            input: vec![0; RECEIVE_BYTES],
        })
    }

    /// Appends a message to `out`, with the attributes `body`; `generic` is its `nfgenmsg`. Gives
    /// its sequence number.
    pub(crate) fn encode(
        &mut self,
        out: &mut Vec<u8>,
        kind: u16,
        flags: u16,
        generic: [u8; GENERIC],
        body: &[u8],
    ) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER + GENERIC + body.len());
        let length = length.expect("a request is far shorter than 4 GiB");
        out.extend(length.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        out.extend(self.sequence.to_ne_bytes());
        out.extend([0; 4]);
        out.extend(generic);
        out.extend(body);
        self.sequence
    }

    /// The sequence number of the next message.
    pub(crate) fn next_sequence(&self) -> u32 {
        self.sequence.wrapping_add(1)
    }

    /// Sends messages in one send.
    pub(crate) fn send(&self, out: &[u8]) -> Result<(), KernelError> {
        let sent = self.socket.send(out, 0);
        sent.map(drop)
            .during("send to netlink of", || self.what.to_owned())
    }

    /// Receives once and hands each message to `each`.
    pub(crate) fn receive(
        &mut self,
        each: impl FnMut(RawMessage<'_>),
    ) -> Result<Received, KernelError> {
        let mut target = &mut self.input[..];
        let length = loop {
            match self.socket.recv(&mut target, 0) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => return Ok(Received::Overflow),
                other => {
                    break other.during("receive from netlink of", || self.what.to_owned())?;
                }
            }
        };
        messages(&self.input[..length]).for_each(each);
        Ok(Received::Some)
    }

    /// Receives once from a socket that waits for answers: a lost one would be waited for for ever.
    pub(crate) fn answers(&mut self, each: impl FnMut(RawMessage<'_>)) -> Result<(), KernelError> {
        match self.receive(each)? {
            Received::Some => Ok(()),
            Received::Nothing | Received::Overflow => {
                let lost = io::Error::from_raw_os_error(libc::ENOBUFS);
                Err(lost).during("receive from netlink of", || self.what.to_owned())
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
