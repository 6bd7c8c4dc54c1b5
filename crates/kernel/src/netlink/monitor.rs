//! Change notifications: what anybody changes in the namespace, and in the namespaces at the
//! other ends of its veth links, told as it happens.
//!
//! The socket listens to all namespaces that this one has a number for, which are just those
//! behind its veth links. That holds no reference to them, so that a Pod's namespace can die.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

use super::info::{AddressInfo, FdbInfo, NeighbourInfo, RouteInfo, RuleInfo};
use super::link::{LinkInfo, PortInfo, reported_port};
use super::quiet;
use super::socket::{RawMessage, messages, parse_message};
use super::tc::{self, QueueInfo};
use crate::error::{Context, KernelError};

/// Multicast groups of rtnetlink (`enum rtnetlink_groups`): links, neighbours, traffic control,
/// addresses, routes and rules of both families, settings of both.
const GROUPS: [u32; 11] = [1, 3, 4, 5, 7, 8, 9, 11, 19, 24, 25];
const RTM_NEWNETCONF: u16 = 80;
/// Room for the forwarding entries of thousands of nodes at once, of which the kernel does not tell
/// who made them. It is doubled there, and taken only while notices wait.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A link appeared or changed.
    Link(LinkInfo),
    /// A link is gone.
    LinkGone(LinkInfo),
    /// A port of a bridge changed: its index, and how it is now.
    Port(u32, PortInfo),
    /// An address is gone.
    AddressGone(AddressInfo),
    /// A route appeared or was replaced.
    Route(RouteInfo),
    /// A route is gone.
    RouteGone(RouteInfo),
    /// A neighbour entry appeared or changed.
    Neighbour(NeighbourInfo),
    /// A neighbour entry is gone.
    NeighbourGone(NeighbourInfo),
    /// A forwarding entry appeared or changed.
    Fdb(FdbInfo),
    /// A forwarding entry is gone.
    FdbGone(FdbInfo),
    /// A rule appeared.
    Rule(RuleInfo),
    /// A rule is gone.
    RuleGone(RuleInfo),
    /// A queue of a device appeared or changed.
    Queue(QueueInfo),
    /// A queue of a device is gone.
    QueueGone(QueueInfo),
    /// What arrives by the device of this index is now redirected to that of the other by our
    /// filter, or no more.
    Redirect(u32, Option<u32>),
    /// An address appeared.
    Address(AddressInfo),
    /// A setting of the device changed; `None` for all devices or the default.
    Setting(Option<u32>),
    /// Notices were lost: everything must be looked at again.
    Overflow,
}

/// Where it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeSource {
    /// In the namespace of the monitor.
    Own,
    /// In the namespace of this number, as [`LinkInfo::peer_netns`] gives it.
    Peer(i32),
}

/// Listens for changes; not for those of routes and neighbours that a quiet socket
/// ([`Netlink::open_quiet`](super::Netlink::open_quiet)) asked for.
pub struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Starts to listen in the calling thread's namespace.
    pub fn open() -> Result<Monitor, KernelError> {
        let name = || "monitor".to_owned();
        let mut socket = Socket::new(NETLINK_ROUTE).during("open rtnetlink", name)?;
        socket.bind_auto().during("bind rtnetlink", name)?;
        // Without the privilege for more, the default size remains; an overflow is only slower.
        let _ = nix::sys::socket::setsockopt(
            &socket,
            nix::sys::socket::sockopt::RcvBufForce,
            &RECEIVE_BUFFER,
        );
        quiet::deafen(socket.as_fd()).during("filter for", name)?;
        socket
            .set_listen_all_namespaces(true)
            .during("listen to namespaces of", name)?;
        for group in GROUPS {
            socket
                .add_membership(group)
                .during("join group", || group.to_string())?;
        }
        socket.set_non_blocking(true).during("configure", name)?;
        Ok(Monitor {
            socket,
            buffer: vec![0; 32 * 1024],
        })
    }

    /// Hands every notice that waits to `each`, and returns when none does. Poll the descriptor
    /// for input to wait.
    pub fn drain(&mut self, mut each: impl FnMut(NoticeSource, Notice)) -> Result<(), KernelError> {
        loop {
            match receive(self.socket.as_fd(), &mut self.buffer) {
                Ok((length, source)) => {
                    for message in messages(&self.buffer[..length]) {
                        if let Some(notice) = read(&message) {
                            each(source, notice);
                        }
                    }
                }
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    each(NoticeSource::Own, Notice::Overflow);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).during("receive from", || "monitor".to_owned()),
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A message that cannot be read is worth a look at everything, not the end of the monitor.
fn read(message: &RawMessage<'_>) -> Option<Notice> {
    if message.kind == RTM_NEWNETCONF {
        return Some(Notice::Setting(netconf_index(message.payload)));
    }
    if !(16..=46).contains(&message.kind) {
        return None;
    }
    match parse_message(message.payload, message.kind) {
        Ok(parsed) => notice_of(&parsed),
        Err(error) => {
            tracing::debug!(%error, "a notification cannot be read");
            Some(Notice::Overflow)
        }
    }
}

fn notice_of(message: &RouteNetlinkMessage) -> Option<Notice> {
    use RouteNetlinkMessage as M;
    match message {
        // Bridges report their ports a second time, in their own family.
        M::NewLink(m) if m.header.interface_family == AddressFamily::Bridge => {
            reported_port(m).map(|(index, port)| Notice::Port(index, port))
        }
        M::NewLink(m) | M::DelLink(m) if m.header.interface_family != AddressFamily::Unspec => None,
        M::NewLink(m) => Some(Notice::Link(LinkInfo::of(m))),
        M::DelLink(m) => Some(Notice::LinkGone(LinkInfo::of(m))),
        M::NewAddress(m) => AddressInfo::of(m).map(Notice::Address),
        M::DelAddress(m) => AddressInfo::of(m).map(Notice::AddressGone),
        M::NewRoute(m) => RouteInfo::of(m).map(Notice::Route),
        M::DelRoute(m) => RouteInfo::of(m).map(Notice::RouteGone),
        M::NewQueueDiscipline(m) => QueueInfo::of(m).map(Notice::Queue),
        M::DelQueueDiscipline(m) => QueueInfo::of(m).map(Notice::QueueGone),
        M::NewTrafficFilter(m) if tc::is_ours(m) => {
            let index = u32::try_from(m.header.index).ok()?;
            Some(Notice::Redirect(index, tc::redirect_target(m)))
        }
        M::DelTrafficFilter(m) if tc::is_ours(m) => {
            let index = u32::try_from(m.header.index).ok()?;
            Some(Notice::Redirect(index, None))
        }
        M::NewRule(m) => RuleInfo::of(m).map(Notice::Rule),
        M::DelRule(m) => RuleInfo::of(m).map(Notice::RuleGone),
        M::NewNeighbour(m) if m.header.family == AddressFamily::Bridge => {
            FdbInfo::of(m).map(Notice::Fdb)
        }
        M::DelNeighbour(m) if m.header.family == AddressFamily::Bridge => {
            FdbInfo::of(m).map(Notice::FdbGone)
        }
        M::NewNeighbour(m) => NeighbourInfo::of(m).map(Notice::Neighbour),
        M::DelNeighbour(m) => NeighbourInfo::of(m).map(Notice::NeighbourGone),
        _ => None,
    }
}

/// The device index in a netconf message; `None` for "all" (-1) and "default" (-2).
fn netconf_index(payload: &[u8]) -> Option<u32> {
    const NETCONFA_IFINDEX: u16 = 1;
    let mut rest = payload.get(4..)?;
    loop {
        let length = u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        if kind == NETCONFA_IFINDEX {
            let index = i32::from_ne_bytes(rest.get(4..8)?.try_into().ok()?);
            return u32::try_from(index).ok();
        }
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
}

/// Receives one datagram and the number of the namespace that it is about.
fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, NoticeSource)> {
    let mut control = [0u64; 8];
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: an all-zero msghdr is valid; the fields that matter are set below.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    // SAFETY: header points to one iovec over `buffer` and to `control`, both alive and writable
    // for the lengths given.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, 0) };
    match usize::try_from(length) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(length) => Ok((length.min(buffer.len()), source_of(&header))),
    }
}

fn source_of(header: &libc::msghdr) -> NoticeSource {
    const NETLINK_LISTEN_ALL_NSID: libc::c_int = 8;
    // SAFETY: the kernel filled the control buffer of `header`; the CMSG functions stay inside
    // msg_controllen, and the payload of this kind of message is one i32.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::SOL_NETLINK
                && (*message).cmsg_type == NETLINK_LISTEN_ALL_NSID
            {
                let id = std::ptr::read_unaligned(libc::CMSG_DATA(message).cast::<i32>());
                return NoticeSource::Peer(id);
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    NoticeSource::Own
}
