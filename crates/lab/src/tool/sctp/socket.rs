//! Raw sockets of SCTP: whole packets of any port, with both addresses.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt, sockopt};
use nix::{cmsg_space, libc};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use seaway_model::Family;

/// A socket. The standard library's type for datagrams serves for what raw sockets do likewise.
pub(super) struct Raw {
    socket: UdpSocket,
    family: Family,
}

/// A packet that came in.
pub(super) struct Received<'a> {
    /// From SCTP's header on.
    pub(super) bytes: &'a [u8],
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
}

impl Raw {
    /// Opens one.
    pub(super) fn open(family: Family) -> io::Result<Raw> {
        let domain = match family {
            Family::V4 => AddressFamily::INET,
            Family::V6 => AddressFamily::INET6,
        };
        let protocol = Some(ipproto::SCTP);
        let fd: OwnedFd =
            rustix::net::socket_with(domain, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        if family == Family::V6 {
            setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        Ok(Raw {
            socket: fd.into(),
            family,
        })
    }

    /// Sends from this address from now on.
    pub(super) fn bind(&self, address: IpAddr) -> io::Result<()> {
        Ok(rustix::net::bind(
            &self.socket,
            &SocketAddr::new(address, 0),
        )?)
    }

    /// Sends there and takes from there alone.
    pub(super) fn connect(&self, address: IpAddr) -> io::Result<()> {
        self.socket.connect(SocketAddr::new(address, 0))
    }

    /// Sends to whom it is connected to.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.socket.send(packet).map(drop)
    }

    /// Sends to an address.
    pub(super) fn send_to(&self, packet: &[u8], address: IpAddr) -> io::Result<()> {
        let to = SocketAddr::new(address, 0);
        self.socket.send_to(packet, to).map(drop)
    }

    /// How long to wait for a packet.
    pub(super) fn wait_at_most(&self, limit: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(limit))
    }

    /// The next packet.
    pub(super) fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Received<'a>> {
        match self.family {
            Family::V4 => self.receive_v4(buffer),
            Family::V6 => self.receive_v6(buffer),
        }
    }

    /// IPv4 packets come with their header.
    fn receive_v4<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Received<'a>> {
        let length = self.socket.recv(buffer)?;
        let packet = &buffer[..length];
        let cut = || io::Error::from(io::ErrorKind::InvalidData);
        let header = packet.first().map(|byte| usize::from(byte & 15) * 4);
        let header = header.filter(|header| *header >= 20).ok_or_else(cut)?;
        let bytes = packet.get(header..).ok_or_else(cut)?;
        let address =
            |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
        Ok(Received {
            bytes,
            from: address(12).into(),
            to: address(16).into(),
        })
    }

    /// Of IPv6 packets the addresses come beside.
    fn receive_v6<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Received<'a>> {
        let mut space = cmsg_space!(libc::in6_pktinfo);
        let (length, from, to) = {
            let mut parts = [IoSliceMut::new(buffer)];
            let fd = self.socket.as_raw_fd();
            let message =
                recvmsg::<SockaddrIn6>(fd, &mut parts, Some(&mut space), MsgFlags::empty())?;
            let to = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::Ipv6PacketInfo(info) => Some(info.ipi6_addr.s6_addr),
                _ => None,
            });
            (message.bytes, message.address, to)
        };
        let (Some(from), Some(to)) = (from, to) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        Ok(Received {
            bytes: &buffer[..length],
            from: from.ip().into(),
            to: Ipv6Addr::from(to).into(),
        })
    }
}
