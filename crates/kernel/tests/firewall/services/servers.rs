//! Servers that say who they are and whom they see, and clients that ask them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use seaway_kernel::netns::Netns;
use seaway_model::{Family, Protocol};
use seaway_testkit::{SctpSocket, eventually};

use crate::rig::LIMIT;

/// One thread that answers at many addresses of one namespace, until it is dropped.
pub(crate) struct Servers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Sockets {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    sctp: Vec<(SctpSocket, IpAddr, Vec<u16>)>,
}

impl Servers {
    /// Answers by TCP, UDP and SCTP at all of these.
    pub(crate) fn at(netns: &Netns, all: &[SocketAddr]) -> Servers {
        let sockets = netns.enter(|| open(all)).expect("namespace");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                serve(&sockets);
            }
        });
        Servers {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|end| end.is_ok()), "the servers");
    }
}

fn open(all: &[SocketAddr]) -> Sockets {
    let mut sockets = Sockets::default();
    let mut ports: BTreeMap<IpAddr, Vec<u16>> = BTreeMap::new();
    for at in all {
        let bind = || Ok::<_, io::Error>((TcpListener::bind(at)?, UdpSocket::bind(at)?));
        let (tcp, udp) = eventually(&format!("{at} is free"), LIMIT, bind);
        tcp.set_nonblocking(true).expect("set");
        udp.set_nonblocking(true).expect("set");
        sockets.tcp.push(tcp);
        sockets.udp.push(udp);
        ports.entry(at.ip()).or_default().push(at.port());
    }
    for (address, ports) in ports {
        let socket = SctpSocket::bound(address).expect("root");
        sockets.sctp.push((socket, address, ports));
    }
    sockets
}

fn says(me: SocketAddr, peer: SocketAddr) -> String {
    format!("{me} {peer}")
}

fn serve(sockets: &Sockets) {
    let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let tcp = sockets.tcp.iter().map(|s| readable(s.as_fd()));
    let udp = sockets.udp.iter().map(|s| readable(s.as_fd()));
    let sctp = sockets.sctp.iter().map(|(s, ..)| readable(s.as_fd()));
    let mut fds: Vec<PollFd<'_>> = tcp.chain(udp).chain(sctp).collect();
    poll(&mut fds, 20u8).expect("polled");
    for listener in &sockets.tcp {
        if let Ok((mut stream, peer)) = listener.accept() {
            let me = stream.local_addr().expect("bound");
            // A client that is gone already has lost nothing.
            let _ = stream.write_all(says(me, peer).as_bytes());
        }
    }
    for socket in &sockets.udp {
        let mut buffer = [0; 9000];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let me = socket.local_addr().expect("bound");
            let text = format!("{} {length}", says(me, peer));
            let _ = socket.send_to(text.as_bytes(), peer);
        }
    }
    for (socket, address, ports) in &sockets.sctp {
        let say = |peer, port| says(SocketAddr::new(*address, port), peer);
        let _ = socket.answer(ports, say);
    }
}

/// Who answered, and as whom it saw the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) backend: SocketAddr,
    pub(crate) seen: SocketAddr,
    /// How much came (UDP).
    pub(crate) length: usize,
}

impl Answer {
    pub(crate) fn read(bytes: &[u8]) -> io::Result<Answer> {
        let text = String::from_utf8_lossy(bytes);
        let mut words = text.split(' ');
        let mut socket = || words.next().and_then(|word| word.parse().ok());
        let ends = socket().zip(socket());
        let (backend, seen) = ends.ok_or_else(|| io::Error::other(text.clone().into_owned()))?;
        let length = words.next().and_then(|word| word.parse().ok());
        Ok(Answer {
            backend,
            seen,
            length: length.unwrap_or_default(),
        })
    }
}

fn any(family: Family) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::from(([0, 0, 0, 0], 0)),
        Family::V6 => SocketAddr::from(([0; 16], 0)),
    }
}

/// A socket of UDP that speaks with one other.
pub(crate) fn udp_client(from: &Netns, to: SocketAddr) -> UdpSocket {
    let socket = from.enter(|| {
        let socket = UdpSocket::bind(any(Family::of(to.ip())))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok::<_, io::Error>(socket)
    });
    socket.expect("namespace").expect("connected")
}

pub(crate) fn ask_udp(socket: &UdpSocket, payload: &[u8]) -> io::Result<Answer> {
    socket.send(payload)?;
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer)?;
    Answer::read(&buffer[..length])
}

fn ask_tcp(to: SocketAddr, patience: Duration) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Answer::read(&answer)
}

/// Ports of clients of SCTP, each another.
static SCTP_PORT: AtomicU16 = AtomicU16::new(20_000);

/// Asks once.
pub(crate) fn ask(from: &Netns, protocol: Protocol, to: SocketAddr) -> io::Result<Answer> {
    match protocol {
        Protocol::Tcp => from.enter(|| ask_tcp(to, LIMIT)).expect("namespace"),
        Protocol::Udp => ask_udp(&udp_client(from, to), b"who?"),
        Protocol::Sctp => {
            let own = SCTP_PORT.fetch_add(1, Ordering::Relaxed);
            let asked = from.enter(|| {
                let socket = SctpSocket::connected(to.ip())?;
                socket.ask(to.port(), own, 1 + u32::from(own), LIMIT)
            });
            Answer::read(&asked.expect("namespace")?)
        }
    }
}

/// Asks and is answered.
pub(crate) fn answer(from: &Netns, protocol: Protocol, to: SocketAddr) -> Answer {
    ask(from, protocol, to).unwrap_or_else(|e| panic!("{protocol} to {to}: {e}"))
}

/// Sends once by UDP and does not wait.
pub(crate) fn send(from: &Netns, to: SocketAddr) {
    // What the node itself may not send is told at once.
    let _ = udp_client(from, to).send(b"nobody?");
}
