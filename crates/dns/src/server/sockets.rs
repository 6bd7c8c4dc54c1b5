//! Sockets on addresses that need not exist yet: they are rows of the node's plan, which come, and
//! may be repaired, in their own time. `IP_FREEBIND` makes the order not matter; Linux takes it for
//! IPv6 sockets as well.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use tokio::net::{TcpListener, UdpSocket};

/// Connections that wait to be taken.
const BACKLOG: i32 = 128;

pub(super) fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::from_std(bound(address, SockType::Datagram)?.into())
}

pub(super) fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address, SockType::Stream)?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    TcpListener::from_std(socket.into())
}

fn bound(address: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made = socket(family, kind, flags, None)?;
    setsockopt(&made, sockopt::IpFreebind, &true)?;
    if kind == SockType::Stream {
        setsockopt(&made, sockopt::ReuseAddr, &true)?;
    }
    if address.is_ipv6() {
        setsockopt(&made, sockopt::Ipv6V6Only, &true)?;
    }
    bind(
        std::os::fd::AsRawFd::as_raw_fd(&made),
        &SockaddrStorage::from(address),
    )?;
    Ok(made)
}
