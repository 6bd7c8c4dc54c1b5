//! A client that asks once, by any protocol, and says what came of it.

use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use seaway_kernel::netns::Netns;
use seaway_model::{Family, Protocol, VxlanSettings};
use seaway_testkit::SctpSocket;

use crate::probe::{Greeting, connect};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Somebody answered.
    Answered(Greeting),
    /// The client was told at once that there is nothing.
    Refused,
    /// Nothing was heard.
    Silent,
    /// Something else went wrong.
    Failed(String),
}

impl Outcome {
    fn of(result: io::Result<Greeting>) -> Outcome {
        use io::ErrorKind::{ConnectionRefused, TimedOut, WouldBlock};
        match result {
            Ok(greeting) => Outcome::Answered(greeting),
            Err(e) if e.kind() == ConnectionRefused => Outcome::Refused,
            Err(e) if matches!(e.kind(), TimedOut | WouldBlock) => Outcome::Silent,
            Err(e) => Outcome::Failed(e.to_string()),
        }
    }

    /// Who answered, if somebody did.
    pub fn name(&self) -> Option<&str> {
        match self {
            Outcome::Answered(greeting) => Some(&greeting.name),
            _ => None,
        }
    }
}

/// Asks once, as a new flow from a port of its own.
pub fn ask(from: &Netns, door: SocketAddr, protocol: Protocol, patience: Duration) -> Outcome {
    Outcome::of(match protocol {
        Protocol::Tcp => ask_by_tcp(from, door, patience),
        Protocol::Udp => ask_by_udp(from, door, patience),
        Protocol::Sctp => ask_by_sctp(from, door, patience),
    })
}

fn ask_by_tcp(from: &Netns, door: SocketAddr, patience: Duration) -> io::Result<Greeting> {
    let stream = from.enter(|| TcpStream::connect_timeout(&door, patience));
    let stream = stream.expect("namespace")?;
    stream.set_read_timeout(Some(patience))?;
    // A reset at the end: neither side remembers the many flows of a test for minutes.
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, sockopt::Linger, &linger)?;
    read_greeting(&stream)
}

/// Reads the line that a server of the crowd begins with.
pub(crate) fn read_greeting(stream: &TcpStream) -> io::Result<Greeting> {
    let mut line = String::new();
    BufReader::with_capacity(256, stream).read_line(&mut line)?;
    Greeting::read(line.trim_end().as_bytes())
}

fn ask_by_udp(from: &Netns, door: SocketAddr, patience: Duration) -> io::Result<Greeting> {
    let client = bind_new(from, Family::of(door.ip()))?;
    client.set_read_timeout(Some(patience))?;
    client.connect(door)?;
    match client.send(b"who?") {
        // A filter of this host took it, and may have said so by ICMP.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
        sent => drop(sent?),
    }
    let mut buffer = [0; 256];
    let length = client.recv(&mut buffer)?;
    let line = buffer[..length].split(|byte| *byte == b'\n').next();
    Greeting::read(line.unwrap_or_default())
}

/// A port that nobody had for long: a flow that is remembered by its ports would go on as it was.
///
/// Each family and protocol has all of them, so that one comes back as late as can be: not within the
/// half minute for which a flow of one question is remembered, at up to a thousand questions a second.
/// No client has the port that VXLAN frames come to: nodes drop what else does, answers too.
fn new_port(family: Family, protocol: Protocol) -> u16 {
    const FIRST: u16 = 2_000;
    // Node ports begin there.
    const END: u16 = 30_000;
    static PORTS: [AtomicU32; 4] = [const { AtomicU32::new(0) }; 4];
    let of_family = usize::from(family == Family::V6);
    let of_protocol = usize::from(protocol == Protocol::Sctp);
    let next = &PORTS[2 * of_family + of_protocol];
    loop {
        let offset = next.fetch_add(1, Ordering::Relaxed) % u32::from(END - FIRST);
        let port = FIRST + u16::try_from(offset).expect("below the end");
        if port != VxlanSettings::default().port {
            return port;
        }
    }
}

/// A UDP socket with such a port.
fn bind_new(netns: &Netns, family: Family) -> io::Result<UdpSocket> {
    let any: IpAddr = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let bind = || {
        loop {
            match UdpSocket::bind((any, new_port(family, Protocol::Udp))) {
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
                result => return result,
            }
        }
    };
    netns.enter(bind).expect("namespace")
}

fn ask_by_sctp(from: &Netns, door: SocketAddr, patience: Duration) -> io::Result<Greeting> {
    // Raw sockets have no port of their own.
    let port = new_port(Family::of(door.ip()), Protocol::Sctp);
    let client = from.enter(|| SctpSocket::connected(door.ip()));
    let client = client.expect("namespace")?;
    let tag = 0x5ea1_0000 | u32::from(port);
    Greeting::read(&client.ask(door.port(), port, tag, patience)?)
}

/// A TCP connection that has been greeted and stays open.
pub fn converse(
    from: &Netns,
    door: SocketAddr,
    patience: Duration,
) -> io::Result<(TcpStream, Greeting)> {
    let stream = connect(from, door, patience)?;
    // Byte by byte, so that nothing beyond the line is taken.
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != [b'\n'] {
        io::Read::read_exact(&mut &stream, &mut byte)?;
        line.push(byte[0]);
    }
    line.pop();
    Ok((stream, Greeting::read(&line)?))
}
