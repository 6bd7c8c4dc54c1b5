//! SCTP without the kernel's: a server that answers INIT with INIT ACK over raw sockets, and the
//! client that asks it. It finds out who is behind an address and whom that one sees; it makes no
//! association and carries no data. Needs `CAP_NET_RAW`, as containers have it.

mod packet;
mod socket;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use seaway_model::Family;

use self::packet::{Chunk, Packet, Way};
use self::socket::Raw;
use super::greeting::Greeting;
use super::probe::{Exchange, ProbeJob};

/// Where ports begin that nobody has by chance.
const FIRST_PORT: u16 = 49_152;

/// The server: answers everybody who sends an INIT to its port.
pub(super) struct Server {
    sockets: Vec<Raw>,
    port: u16,
}

impl Server {
    /// Opens a socket for each family that this machine has.
    pub(super) fn bind(port: u16) -> io::Result<Server> {
        let mut sockets = Vec::new();
        let mut last = None;
        for family in Family::ALL {
            match Raw::open(family) {
                Ok(socket) => sockets.push(socket),
                Err(e) => last = Some(e),
            }
        }
        match last {
            Some(e) if sockets.is_empty() => Err(e),
            _ => Ok(Server { sockets, port }),
        }
    }

    /// Serves in the background, for as long as this process lives.
    pub(super) fn run(self) {
        for socket in self.sockets {
            let port = self.port;
            thread::spawn(move || {
                let error = serve(&socket, port);
                tracing::error!("receive SCTP: {error}");
            });
        }
    }
}

/// Answers for ever; gives the error that ended it.
fn serve(socket: &Raw, port: u16) -> io::Error {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let received = match socket.receive(&mut buffer) {
            Ok(received) => received,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return e,
        };
        let Ok(packet) = packet::parse(received.bytes) else {
            continue;
        };
        if packet.to == port
            && packet.chunk == Chunk::Init
            && let Err(e) = answer(&packet, received.from, received.to)
        {
            tracing::debug!("answer to {}: {e}", received.from);
        }
    }
}

/// Answers from the address that was asked.
fn answer(packet: &Packet, peer: IpAddr, own: IpAddr) -> io::Result<()> {
    let greeting = Greeting::to(SocketAddr::new(peer, packet.from));
    let way = Way {
        from: packet.to,
        to: packet.from,
        verification: packet.tag,
        tag: number(1),
    };
    let socket = Raw::open(Family::of(peer))?;
    socket.bind(own)?;
    socket.send_to(&packet::init_ack(way, &greeting.line()), peer)
}

/// One INIT, and what the INIT ACK says.
pub(super) fn greet(job: &ProbeJob) -> Result<Exchange, String> {
    let deadline = job.deadline();
    let way = Way {
        from: FIRST_PORT | (number(0) & 0x3fff) as u16,
        to: job.target.port(),
        verification: 0,
        tag: number(1),
    };
    let address = job.target.ip();
    let socket = Raw::open(Family::of(address)).map_err(|e| match e.kind() {
        io::ErrorKind::PermissionDenied => format!("open a raw socket: {e}; it needs CAP_NET_RAW"),
        _ => format!("open a raw socket: {e}"),
    })?;
    socket
        .connect(address)
        .and_then(|()| socket.send(&packet::init(way)))
        .map_err(|e| format!("send: {e}"))?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        socket
            .wait_at_most(deadline.left()?)
            .map_err(|e| e.to_string())?;
        let received = socket
            .receive(&mut buffer)
            .map_err(|e| deadline.describe("receive", &e))?;
        let Ok(packet) = packet::parse(received.bytes) else {
            continue;
        };
        let is_ours = (packet.from, packet.to, packet.verification) == (way.to, way.from, way.tag);
        match packet.chunk {
            Chunk::InitAck(cookie) if is_ours => {
                let greeting = Greeting::parse(cookie.trim_ascii_end())?;
                let latency = deadline.elapsed();
                return Ok(Exchange::of(greeting, latency));
            }
            Chunk::Abort if packet.to == way.from => {
                return Err("receive: Connection refused by ABORT".to_owned());
            }
            _ => {}
        }
    }
}

/// A number that nobody else has by chance, and at least `least`.
fn number(least: u32) -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let hash = RandomState::new().hash_one(std::process::id());
    u32::try_from(hash & u64::from(u32::MAX))
        .unwrap_or(u32::MAX)
        .max(least)
}

#[cfg(test)]
mod tests {
    use super::super::greeting::host_name;
    use super::super::probe::ProbeKind;
    use super::*;

    fn job(address: &str, port: u16) -> ProbeJob {
        let target = SocketAddr::new(address.parse().expect("valid"), port);
        ProbeJob::new(1, ProbeKind::Sctp, target)
    }

    #[test]
    fn both_families_are_answered_with_the_peer() {
        seaway_testkit::isolate();
        Server::bind(7777).expect("root may").run();
        for address in ["127.0.0.1", "::1", "127.0.0.9"] {
            let exchange = greet(&job(address, 7777)).expect("answered");
            let greeting = exchange.greeting.expect("it says who it is");
            assert_eq!(greeting.host, host_name());
            assert!(greeting.peer.ip().is_loopback());
            assert!(greeting.peer.port() >= FIRST_PORT);
        }
        let silent = ProbeJob {
            timeout_ms: 20,
            ..job("127.0.0.1", 7778)
        };
        let error = greet(&silent).err().expect("nobody is there");
        assert_eq!(error, "receive: no answer within 20 ms");
    }
}
