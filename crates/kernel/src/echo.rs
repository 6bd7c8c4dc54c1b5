//! Echo requests (ICMP, ICMPv6) of a given size that nobody may fragment, to many targets from one
//! socket; for finding out which size of packet gets to another node.
//!
//! The kernel's own memory of a path's MTU is passed over: a packet is refused here only if it is
//! larger than the device takes. When to ask and what to conclude is decided elsewhere.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, recvfrom,
    sendto, socket,
};
use seaway_model::Family;

use crate::error::{Context, KernelError};

/// Bytes of an echo message's own header.
const ECHO_HEADER: usize = 8;
/// Bytes of what is looked at behind it: who sent the request, and which it was.
const MARK: usize = 16;
/// Enough of a reply for its headers and its mark.
const RECEIVE_BYTES: usize = 128;

/// A socket for echo requests of one family from one of the node's addresses.
#[derive(Debug)]
pub struct EchoSocket {
    fd: OwnedFd,
    family: Family,
    source: IpAddr,
    /// Tells our replies from those to others' requests.
    cookie: u64,
    message: Vec<u8>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Yes,
    /// The device towards the target takes no packet of this size.
    TooLarge,
    /// There is no way to the target now, or no room for the packet.
    NoWay,
}

/// A reply to one of our requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Who answered.
    pub from: IpAddr,
    /// The number that the request was given.
    pub token: u64,
}

/// The numbers in which the families differ.
struct Numbers {
    kind: AddressFamily,
    protocol: SockProtocol,
    /// Bytes of the IP header of a request.
    ip_header: usize,
    request: u8,
    reply: u8,
}

fn numbers(family: Family) -> Numbers {
    match family {
        Family::V4 => Numbers {
            kind: AddressFamily::Inet,
            protocol: SockProtocol::Icmp,
            ip_header: 20,
            request: 8,
            reply: 0,
        },
        Family::V6 => Numbers {
            kind: AddressFamily::Inet6,
            protocol: SockProtocol::IcmpV6,
            ip_header: 40,
            request: 128,
            reply: 129,
        },
    }
}

/// The size in bytes of the smallest request of a family, IP header included.
pub fn smallest(family: Family) -> u32 {
    let bytes = numbers(family).ip_header + ECHO_HEADER + MARK;
    u32::try_from(bytes).expect("headers are short")
}

impl EchoSocket {
    /// Opens a socket in the calling thread's namespace; requests come from `source`, which must
    /// be an address of the node.
    pub fn open(source: IpAddr) -> Result<EchoSocket, KernelError> {
        let family = Family::of(source);
        let object = || format!("echo socket from {source}");
        let Numbers { kind, protocol, .. } = numbers(family);
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(kind, SockType::Raw, flags, protocol).during("open", object)?;
        configure(fd.as_fd(), family).during("configure", object)?;
        let address = SockaddrStorage::from(SocketAddr::new(source, 0));
        bind(fd.as_raw_fd(), &address).during("bind", object)?;
        Ok(EchoSocket {
            fd,
            family,
            source,
            cookie: RandomState::new().build_hasher().finish(),
            message: Vec::new(),
        })
    }

    /// Where requests come from.
    pub fn source(&self) -> IpAddr {
        self.source
    }

    /// Sends a request of `size` bytes, IP header included; it is never smaller than
    /// [`smallest`]. The reply will carry `token`.
    pub fn send(&mut self, target: IpAddr, size: u32, token: u64) -> Result<Sent, KernelError> {
        self.compose(size, token);
        let address = SockaddrStorage::from(SocketAddr::new(target, 0));
        let flags = MsgFlags::MSG_DONTWAIT;
        match sendto(self.fd.as_raw_fd(), &self.message, &address, flags) {
            Ok(_) => Ok(Sent::Yes),
            Err(Errno::EMSGSIZE) => Ok(Sent::TooLarge),
            Err(
                Errno::EAGAIN
                | Errno::ENOBUFS
                | Errno::ENETUNREACH
                | Errno::EHOSTUNREACH
                | Errno::ENETDOWN
                | Errno::EHOSTDOWN
                | Errno::EADDRNOTAVAIL
                | Errno::EACCES
                | Errno::EPERM,
            ) => Ok(Sent::NoWay),
            Err(error) => Err(error).during("send echo request to", || target.to_string()),
        }
    }

    /// The next reply that has come, if one has.
    pub fn receive(&mut self) -> Result<Option<Reply>, KernelError> {
        let mut buffer = [0; RECEIVE_BYTES];
        loop {
            let received = recvfrom::<SockaddrStorage>(self.fd.as_raw_fd(), &mut buffer);
            let (length, from) = match received {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(None),
                // Errors of earlier packets are told here; they are no answer.
                Err(Errno::EINTR | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EMSGSIZE) => {
                    continue;
                }
                Err(error) => {
                    let object = || format!("echo socket from {}", self.source);
                    return Err(error).during("receive from", object);
                }
            };
            let token = self.token(&buffer[..length.min(RECEIVE_BYTES)]);
            if let (Some(token), Some(from)) = (token, from.as_ref().and_then(address_of)) {
                return Ok(Some(Reply { from, token }));
            }
        }
    }

    /// The token of a reply, if it is one to us.
    fn token(&self, packet: &[u8]) -> Option<u64> {
        let message = match self.family {
            // A raw IPv4 socket gives the IP header too.
            Family::V4 => packet.get(usize::from(packet.first()? & 0xf) * 4..)?,
            Family::V6 => packet,
        };
        let long = |at: usize| {
            Some(u64::from_be_bytes(
                message.get(at..at + 8)?.try_into().ok()?,
            ))
        };
        let token = long(ECHO_HEADER + 8)?;
        let ours = message[..2] == [numbers(self.family).reply, 0]
            && message[4..8] == identity(self.cookie, token)
            && long(ECHO_HEADER)? == self.cookie;
        ours.then_some(token)
    }

    fn compose(&mut self, size: u32, token: u64) {
        let Numbers {
            ip_header, request, ..
        } = numbers(self.family);
        let length = (size as usize).saturating_sub(ip_header);
        let message = &mut self.message;
        message.clear();
        message.resize(length.max(ECHO_HEADER + MARK), 0);
        message[0] = request;
        message[4..8].copy_from_slice(&identity(self.cookie, token));
        message[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        message[16..24].copy_from_slice(&token.to_be_bytes());
        // The kernel adds the checksum of ICMPv6.
        if self.family == Family::V4 {
            // All behind the mark is zero and does not count.
            let sum = checksum(&message[..ECHO_HEADER + MARK]);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
    }
}

impl AsFd for EchoSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Identifier and sequence number of a request.
fn identity(cookie: u64, token: u64) -> [u8; 4] {
    let [.., a, b] = cookie.to_be_bytes();
    let [.., c, d] = token.to_be_bytes();
    [a, b, c, d]
}

/// The checksum of the Internet protocols over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2);
    let mut sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

fn address_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
}

/// Never fragmented, whatever is known of the path; and only echo replies are let through to us.
fn configure(fd: BorrowedFd<'_>, family: Family) -> io::Result<()> {
    /// `SOL_RAW`, and its option `ICMP_FILTER`.
    const RAW: (libc::c_int, libc::c_int) = (255, 1);
    const ICMPV6_FILTER: libc::c_int = 1;
    let reply = u32::from(numbers(family).reply);
    match family {
        Family::V4 => {
            set(
                fd,
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                &[libc::IP_PMTUDISC_PROBE.cast_unsigned()],
            )?;
            // A bit that is set keeps a type away.
            set(fd, RAW.0, RAW.1, &[!(1 << reply)])
        }
        Family::V6 => {
            let probe = libc::IPV6_PMTUDISC_PROBE.cast_unsigned();
            set(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &[probe])?;
            set(fd, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, &[1])?;
            let mut blocked = [u32::MAX; 8];
            blocked[reply as usize / 32] &= !(1 << (reply % 32));
            set(fd, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &blocked)
        }
    }
}

fn set(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &[u32],
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(value)).expect("options are short");
    // SAFETY: the kernel reads `length` bytes of `value`, which has so many.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, value.as_ptr().cast(), length) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checked_message_sums_to_zero() {
        let mut bytes = vec![8, 0, 0, 0, 0x12, 0x34, 0xff, 0xff, 0xde, 0xad];
        let sum = checksum(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&bytes), 0);
    }
}
