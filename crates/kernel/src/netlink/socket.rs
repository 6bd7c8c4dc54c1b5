//! The rtnetlink socket: many messages in one send, every acknowledgement checked.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NetlinkHeader, NetlinkSerializable, ParseableParametrized,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use thiserror::Error;

use super::quiet;
use super::request::Request;
use crate::error::{Context, KernelError};
use crate::netns::Netns;

/// Bytes of one send: fits the send buffer that a socket has by default.
const MAX_BATCH: usize = 128 * 1024;
/// Room for the refusal of every message of a send.
const RECEIVE_BUFFER: usize = 4 << 20;
const RECEIVE_BYTES: usize = 64 * 1024;
/// How often a dump is begun anew because its table changed meanwhile.
const DUMP_TRIES: usize = 32;
/// Where the flags are in `struct nlmsghdr`.
const FLAGS_AT: usize = 6;
/// Bytes of `struct nlmsghdr`.
const NETLINK_HEADER_LEN: usize = 16;

/// The kernel's refusal of one request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{}", io::Error::from_raw_os_error(self.errno), self.detail())]
pub struct NetlinkError {
    /// The error number, positive.
    pub errno: i32,
    /// The kernel's own words, when it has any (extended acknowledgement).
    pub message: Option<String>,
}

impl NetlinkError {
    fn detail(&self) -> String {
        self.message
            .as_ref()
            .map(|m| format!(" ({m})"))
            .unwrap_or_default()
    }

    /// Whether the object did not exist.
    pub fn is_absent(&self) -> bool {
        crate::error::is_absent(Some(self.errno))
    }

    /// Whether something of the same identity exists already.
    pub fn already_exists(&self) -> bool {
        self.errno == libc::EEXIST
    }

    /// This error with the request that it answers.
    pub fn of(self, request: &Request) -> KernelError {
        let object = request.to_string();
        let object = object[request.operation().len()..].trim_start().to_owned();
        let detail = self.detail();
        let source = io::Error::from_raw_os_error(self.errno);
        if detail.is_empty() {
            KernelError::new(request.operation(), object, source)
        } else {
            KernelError::new(request.operation(), format!("{object}{detail}"), source)
        }
    }
}

/// An rtnetlink socket; it belongs for ever to the namespace that it was opened in.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    out: Vec<u8>,
    input: Vec<u8>,
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    pub fn open() -> Result<Netlink, KernelError> {
        Netlink::bound(|socket| socket.bind_auto().map(drop))
    }

    /// Opens a socket whose changes of routes and neighbours a [`Monitor`](super::Monitor) of this
    /// program does not tell of.
    pub fn open_quiet() -> Result<Netlink, KernelError> {
        Netlink::bound(quiet::bind)
    }

    fn bound(bind: fn(&mut Socket) -> io::Result<()>) -> Result<Netlink, KernelError> {
        let name = || "socket".to_owned();
        let mut socket = Socket::new(NETLINK_ROUTE).during("open rtnetlink", name)?;
        bind(&mut socket).during("bind rtnetlink", name)?;
        socket
            .set_ext_ack(true)
            .during("configure rtnetlink", name)?;
        socket
            .set_cap_ack(true)
            .during("configure rtnetlink", name)?;
        // Without the privilege for more, the default size remains.
        let _ = nix::sys::socket::setsockopt(
            &socket,
            nix::sys::socket::sockopt::RcvBufForce,
            &RECEIVE_BUFFER,
        );
        Ok(Netlink {
            socket,
            sequence: 0,
            out: Vec::new(),
            input: vec![0; RECEIVE_BYTES],
        })
    }

    /// Opens a socket in another namespace.
    pub fn open_in(netns: &Netns) -> Result<Netlink, KernelError> {
        netns.enter(Netlink::open)?
    }

    /// The unique number of the socket's namespace, never used again until the next boot;
    /// `None` on kernels before 5.14.
    pub fn netns_cookie(&self) -> Option<u64> {
        netns_cookie(self.socket.as_fd())
    }

    /// Sends all requests, as few sends as possible, and gives the kernel's answer to each, in
    /// order. The outer error is of the socket itself.
    pub fn send(
        &mut self,
        requests: &[Request],
    ) -> Result<Vec<Result<(), NetlinkError>>, KernelError> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut rest = requests;
        while !rest.is_empty() {
            let done = self.send_batch(rest, &mut answers)?;
            rest = &rest[done..];
        }
        Ok(answers)
    }

    /// Sends all requests; the first refusal is the error. The kernel carries out the others all
    /// the same.
    pub fn send_all(&mut self, requests: &[Request]) -> Result<(), KernelError> {
        let answers = self.send(requests)?;
        for (request, answer) in requests.iter().zip(answers) {
            answer.map_err(|e| e.of(request))?;
        }
        Ok(())
    }

    /// Sends as many requests as fit one send, and gives how many. Only the last one asks for an
    /// acknowledgement: the kernel carries them out one after the other before the send returns,
    /// and tells of every refusal.
    fn send_batch(
        &mut self,
        requests: &[Request],
        answers: &mut Vec<Result<(), NetlinkError>>,
    ) -> Result<usize, KernelError> {
        self.out.clear();
        let first = self.sequence.wrapping_add(1);
        let mut last = 0;
        let mut count = 0;
        for request in requests {
            let start = self.out.len();
            self.encode(&request.message, request.flags);
            if count > 0 && self.out.len() > MAX_BATCH {
                self.out.truncate(start);
                self.sequence = self.sequence.wrapping_sub(1);
                break;
            }
            (last, count) = (start, count + 1);
        }
        let flags = &mut self.out[last + FLAGS_AT..last + FLAGS_AT + 2];
        let asking = u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK;
        flags.copy_from_slice(&asking.to_ne_bytes());
        self.transmit()?;
        let base = answers.len();
        answers.resize(base + count, Ok(()));
        let mut done = false;
        while !done {
            self.receive(|message| {
                let slot = message.sequence.wrapping_sub(first) as usize;
                if message.kind == NLMSG_ERROR && slot < count {
                    answers[base + slot] = parse_ack(message);
                    done = slot + 1 == count;
                }
                Ok(())
            })?;
        }
        Ok(count)
    }

    /// Sends a dump request and hands every message of the answer to `each`. Starts again when
    /// the kernel says that the table changed meanwhile.
    pub(crate) fn dump(
        &mut self,
        request: &RouteNetlinkMessage,
        extra_flags: u16,
        mut each: impl FnMut(RouteNetlinkMessage),
        mut restart: impl FnMut(),
    ) -> Result<(), KernelError> {
        for _ in 0..DUMP_TRIES {
            match self.dump_once(request, extra_flags, &mut each)? {
                Interrupted::No => return Ok(()),
                Interrupted::Yes => restart(),
            }
        }
        let restless = io::Error::other("the table changed during every one of many tries");
        Err(restless).during("dump", || "rtnetlink table".to_owned())
    }

    fn dump_once(
        &mut self,
        request: &RouteNetlinkMessage,
        flags: u16,
        each: &mut impl FnMut(RouteNetlinkMessage),
    ) -> Result<Interrupted, KernelError> {
        self.out.clear();
        self.encode(request, flags);
        let sequence = self.sequence;
        self.transmit()?;
        let (mut done, mut interrupted) = (false, Interrupted::No);
        while !done {
            self.receive(|message| {
                if message.sequence != sequence {
                    return Ok(());
                }
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    interrupted = Interrupted::Yes;
                }
                match message.kind {
                    NLMSG_DONE => done = true,
                    NLMSG_ERROR => {
                        done = true;
                        parse_ack(message).map_err(|e| dump_error(&e))?;
                    }
                    kind => {
                        done |= flags & NLM_F_DUMP != NLM_F_DUMP;
                        // A foreign object that cannot be read must not hide all others.
                        match parse_message(message.payload, kind) {
                            Ok(parsed) => each(parsed),
                            Err(error) => tracing::debug!(%error, "passed over in a dump"),
                        }
                    }
                }
                Ok(())
            })?;
        }
        Ok(interrupted)
    }

    fn encode(&mut self, message: &RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let length = NETLINK_HEADER_LEN + NetlinkSerializable::buffer_len(message);
        let mut header = NetlinkHeader::default();
        header.length = u32::try_from(length).expect("a message is far shorter than 4 GiB");
        header.message_type = message.message_type();
        header.flags = flags | NLM_F_REQUEST;
        header.sequence_number = self.sequence;
        let start = self.out.len();
        self.out.resize(start + length.next_multiple_of(4), 0);
        header.emit(&mut self.out[start..]);
        message.serialize(&mut self.out[start + NETLINK_HEADER_LEN..start + length]);
    }

    fn transmit(&mut self) -> Result<(), KernelError> {
        let sent = self
            .socket
            .send(&self.out, 0)
            .during("send to", || "rtnetlink".to_owned())?;
        debug_assert_eq!(sent, self.out.len(), "netlink sends are whole");
        Ok(())
    }

    fn receive(
        &mut self,
        mut each: impl FnMut(&RawMessage<'_>) -> Result<(), KernelError>,
    ) -> Result<(), KernelError> {
        let mut target = &mut self.input[..];
        let length = loop {
            match self.socket.recv(&mut target, 0) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.during("receive from", || "rtnetlink".to_owned())?,
            }
        };
        for message in messages(&self.input[..length]) {
            each(&message)?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Interrupted {
    Yes,
    No,
}

/// A message in a receive buffer.
pub(crate) struct RawMessage<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// The socket that asked for it; of a notification, the one whose request caused it.
    pub(crate) port: u32,
    pub(crate) payload: &'a [u8],
}

impl RawMessage<'_> {
    /// The error number of an acknowledgement or of a dump's end; 0 is success.
    pub(crate) fn errno(&self) -> i32 {
        let bytes = self.payload.get(..4).and_then(|b| b.try_into().ok());
        bytes.map_or(libc::EBADMSG, |b| -i32::from_ne_bytes(b))
    }
}

/// The messages that a receive buffer holds; stops at the first that is cut short.
pub(crate) fn messages(mut buffer: &[u8]) -> impl Iterator<Item = RawMessage<'_>> {
    std::iter::from_fn(move || {
        let word = |at: usize| Some(u32::from_ne_bytes(buffer.get(at..at + 4)?.try_into().ok()?));
        let half = |at: usize| Some(u16::from_ne_bytes(buffer.get(at..at + 2)?.try_into().ok()?));
        let length = word(0)? as usize;
        let payload = buffer.get(NETLINK_HEADER_LEN..length)?;
        let message = RawMessage {
            kind: half(4)?,
            flags: half(6)?,
            sequence: word(8)?,
            port: word(12)?,
            payload,
        };
        buffer = buffer.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Reads one rtnetlink message.
pub(crate) fn parse_message(payload: &[u8], kind: u16) -> Result<RouteNetlinkMessage, KernelError> {
    RouteNetlinkMessage::parse_with_param(payload, kind)
        .map_err(|e| io::Error::other(e.to_string()))
        .during("read rtnetlink message", || format!("of type {kind}"))
}

fn dump_error(error: &NetlinkError) -> KernelError {
    KernelError::new(
        "dump",
        "rtnetlink table",
        io::Error::from_raw_os_error(error.errno),
    )
}

fn parse_ack(message: &RawMessage<'_>) -> Result<(), NetlinkError> {
    match message.errno() {
        0 => Ok(()),
        errno => Err(NetlinkError {
            errno,
            message: ack_text(message),
        }),
    }
}

/// The text attribute (NLMSGERR_ATTR_MSG) behind a capped acknowledgement.
fn ack_text(message: &RawMessage<'_>) -> Option<String> {
    const ATTRIBUTES_FOLLOW: u16 = netlink_packet_core::NLM_F_ACK_TLVS;
    const TEXT: u16 = 1;
    if message.flags & ATTRIBUTES_FOLLOW == 0 {
        return None;
    }
    let mut rest = message.payload.get(4 + NETLINK_HEADER_LEN..)?;
    loop {
        let length = u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        if kind == TEXT {
            return Some(
                String::from_utf8_lossy(value)
                    .trim_end_matches('\0')
                    .to_owned(),
            );
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

fn netns_cookie(socket: BorrowedFd<'_>) -> Option<u64> {
    use std::os::fd::AsRawFd;
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let (mut cookie, mut length) = (0u64, 8 as libc::socklen_t);
    // SAFETY: the kernel writes at most `length` = 8 bytes to `cookie`, which has 8.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &mut length,
        )
    };
    (result == 0).then_some(cookie)
}
