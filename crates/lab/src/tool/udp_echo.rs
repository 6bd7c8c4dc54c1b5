//! The UDP half of the echo server: every datagram is answered from the address that it was sent
//! to, which an ordinary unbound socket leaves to the routing table.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt,
    sockopt,
};

use super::greeting::Greeting;

/// The largest payload of a UDP datagram.
const MAX_DATAGRAM: usize = 65_507;

/// The socket.
pub(super) struct UdpEcho {
    socket: UdpSocket,
}

/// A datagram that came in.
struct Received {
    length: usize,
    peer: SocketAddrV6,
    to: Option<libc::in6_pktinfo>,
}

impl UdpEcho {
    /// Opens the socket for both families.
    pub(super) fn bind(port: u16) -> io::Result<UdpEcho> {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        Ok(UdpEcho { socket })
    }

    /// Answers for ever; comes back only when receiving fails for good.
    pub(super) fn run(&self) -> io::Result<()> {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            match self.receive(&mut buffer) {
                Ok(received) => self.answer(&received, &buffer[..received.length]),
                // Errors that an earlier answer met on its way, not of this socket.
                Err(
                    Errno::EINTR | Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH,
                ) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> nix::Result<Received> {
        let mut space = cmsg_space!(libc::in6_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_raw_fd();
        let message = recvmsg::<SockaddrIn6>(fd, &mut parts, Some(&mut space), MsgFlags::empty())?;
        let to = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(info),
            _ => None,
        });
        let peer = message.address.ok_or(Errno::EPROTO)?;
        Ok(Received {
            length: message.bytes,
            peer: peer.into(),
            to,
        })
    }

    fn answer(&self, received: &Received, payload: &[u8]) {
        let greeting = Greeting::to(SocketAddr::V6(received.peer)).line();
        let room = MAX_DATAGRAM
            .saturating_sub(greeting.len())
            .min(payload.len());
        let parts = [IoSlice::new(&greeting), IoSlice::new(&payload[..room])];
        let from = received.to.map(|info| libc::in6_pktinfo {
            ipi6_ifindex: 0,
            ..info
        });
        let control: Vec<_> = from.iter().map(ControlMessage::Ipv6PacketInfo).collect();
        let peer = SockaddrIn6::from(received.peer);
        let sent = sendmsg(
            self.socket.as_raw_fd(),
            &parts,
            &control,
            MsgFlags::empty(),
            Some(&peer),
        );
        if let Err(e) = sent {
            tracing::debug!("answer to {}: {e}", received.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn echo() -> u16 {
        let echo = UdpEcho::bind(0).expect("binds");
        let port = echo.socket.local_addr().expect("bound").port();
        thread::spawn(move || echo.run());
        port
    }

    fn exchange(
        local: &str,
        remote: &str,
        port: u16,
        payload: &[u8],
    ) -> (SocketAddr, Greeting, Vec<u8>) {
        let socket = UdpSocket::bind((local, 0)).expect("binds");
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("sets");
        socket.send_to(payload, (remote, port)).expect("sends");
        let mut answer = vec![0; MAX_DATAGRAM];
        let (length, from) = socket.recv_from(&mut answer).expect("answered");
        let (greeting, echoed) = Greeting::split(&answer[..length]).expect("greets");
        assert_eq!(greeting.peer, socket.local_addr().expect("bound"));
        (from, greeting, echoed.to_vec())
    }

    #[test]
    fn both_families_are_answered_with_the_peer_and_the_payload() {
        let port = echo();
        for address in ["127.0.0.1", "::1"] {
            let (from, _, echoed) = exchange(address, address, port, b"hello");
            assert_eq!(
                (from.ip().to_string().as_str(), &echoed[..]),
                (address, &b"hello"[..])
            );
        }
    }

    #[test]
    fn the_answer_comes_from_the_address_that_was_asked() {
        let port = echo();
        let (from, _, _) = exchange("127.0.0.1", "127.0.0.9", port, b"x");
        assert_eq!(from.ip().to_string(), "127.0.0.9");
    }

    #[test]
    fn the_largest_datagram_is_answered_cut_rather_than_not_at_all() {
        let port = echo();
        let (_, greeting, echoed) = exchange("127.0.0.1", "127.0.0.1", port, &[7; MAX_DATAGRAM]);
        assert_eq!(greeting.line().len() + echoed.len(), MAX_DATAGRAM);
    }
}
