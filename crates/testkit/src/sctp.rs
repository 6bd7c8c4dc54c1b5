//! SCTP without the kernel's: raw sockets that send an INIT and wait for the INIT ACK, or answer
//! it. Enough to see where a translated port leads, on kernels that have no SCTP sockets too.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect,
    recvfrom, send, sendto, socket,
};
use seaway_model::Family;

use crate::packet::{Read, SctpChunk, SctpMessage};

/// A raw socket for SCTP, in the namespace of the thread that opened it.
#[derive(Debug)]
pub struct SctpSocket {
    fd: OwnedFd,
    family: Family,
}

impl SctpSocket {
    fn open(family: Family) -> io::Result<SctpSocket> {
        let domain = match family {
            Family::V4 => AddressFamily::Inet,
            Family::V6 => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(domain, SockType::Raw, flags, SockProtocol::Sctp)?;
        Ok(SctpSocket { fd, family })
    }

    /// A socket that hears everything that is sent to this address, and answers from it.
    pub fn bound(address: IpAddr) -> io::Result<SctpSocket> {
        let socket = SctpSocket::open(Family::of(address))?;
        bind(socket.fd.as_raw_fd(), &bare(address))?;
        Ok(socket)
    }

    /// A socket that speaks with this address only, and hears what ICMP says of it.
    pub fn connected(address: IpAddr) -> io::Result<SctpSocket> {
        let socket = SctpSocket::open(Family::of(address))?;
        connect(socket.fd.as_raw_fd(), &bare(address))?;
        Ok(socket)
    }

    /// The next message and who sent it, if there is one; what is broken is passed over.
    pub fn receive(&self) -> io::Result<Option<(SctpMessage, IpAddr)>> {
        let mut buffer = [0; 2048];
        loop {
            let received = recvfrom::<SockaddrStorage>(self.fd.as_raw_fd(), &mut buffer);
            let (length, from) = match received {
                Ok(received) => received,
                Err(nix::errno::Errno::EAGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let bytes = &buffer[..length];
            let read = match self.family {
                Family::V4 => Read::packet(bytes).and_then(|ip| {
                    let message = SctpMessage::read(ip.payload)?;
                    Some((message, ip.source))
                }),
                Family::V6 => SctpMessage::read(bytes)
                    .zip(from.as_ref().and_then(SockaddrStorage::as_sockaddr_in6))
                    .map(|(message, from)| (message, IpAddr::from(from.ip()))),
            };
            if read.is_some() {
                return Ok(read);
            }
        }
    }

    /// Answers what has come to one of `ports`, as `say` has it for whom this side sees and the port.
    pub fn answer(&self, ports: &[u16], say: impl Fn(SocketAddr, u16) -> String) -> io::Result<()> {
        while let Some((message, from)) = self.receive()? {
            let SctpChunk::Init { tag } = message.chunk else {
                continue;
            };
            if !ports.contains(&message.destination) {
                continue;
            }
            let answer = SctpMessage {
                source: message.destination,
                destination: message.source,
                verification: tag,
                chunk: SctpChunk::InitAck {
                    cookie: say(SocketAddr::new(from, message.source), message.destination)
                        .into_bytes(),
                },
            };
            let bytes = answer.bytes();
            sendto(self.fd.as_raw_fd(), &bytes, &bare(from), MsgFlags::empty())?;
        }
        Ok(())
    }

    /// Sends an INIT to a port and waits for what the other side says; the socket is connected.
    pub fn ask(&self, port: u16, own: u16, tag: u32, patience: Duration) -> io::Result<Vec<u8>> {
        let message = SctpMessage {
            source: own,
            destination: port,
            verification: 0,
            chunk: SctpChunk::Init { tag },
        };
        match send(self.fd.as_raw_fd(), &message.bytes(), MsgFlags::empty()) {
            // A filter of this host took it, and may have said so by ICMP.
            Err(nix::errno::Errno::EPERM) => {}
            sent => drop(sent?),
        }
        let deadline = Instant::now() + patience;
        loop {
            while let Some((message, _)) = self.receive()? {
                let is_ours = (message.source, message.destination) == (port, own);
                match message.chunk {
                    SctpChunk::InitAck { cookie } if is_ours && message.verification == tag => {
                        return Ok(cookie);
                    }
                    SctpChunk::Abort if is_ours => {
                        return Err(io::ErrorKind::ConnectionRefused.into());
                    }
                    _ => {}
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // Rounded up, or it would spin through the last millisecond.
            let left = left + Duration::from_millis(1);
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            poll(
                &mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)],
                timeout,
            )?;
        }
    }
}

impl AsFd for SctpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A raw socket has no port.
fn bare(address: IpAddr) -> SockaddrStorage {
    SocketAddr::new(address, 0).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolate;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn an_init_is_answered_by_whom_it_reaches() {
        isolate();
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().expect("valid");
            let server = SctpSocket::bound(address).expect("root");
            let client = SctpSocket::connected(address).expect("root");
            let said = std::thread::scope(|scope| {
                let asked = scope.spawn(|| client.ask(80, 4000, 9, SOON));
                let mut fds = [PollFd::new(server.as_fd(), PollFlags::POLLIN)];
                while !asked.is_finished() {
                    poll(&mut fds, 10u8).expect("polled");
                    let say = |peer, port| format!("me:{port} {peer}");
                    server.answer(&[80], say).expect("answered");
                }
                asked.join().expect("no panic").expect("an answer")
            });
            let wanted = format!("me:80 {}", SocketAddr::new(address, 4000));
            assert_eq!(String::from_utf8_lossy(&said), wanted);
        }
    }

    #[test]
    fn silence_and_refusal_are_told_apart() {
        isolate();
        let address: IpAddr = "127.0.0.1".parse().expect("valid");
        let client = SctpSocket::connected(address).expect("root");
        let patience = Duration::from_millis(50);
        let error = client.ask(80, 4000, 9, patience).expect_err("nobody");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
