//! A small TCP tool: one client and one server, both kept to one CPU.
//!
//! One byte there and back on a standing connection; connecting, one byte, closing; and a stream.
//! Sockets are born in the namespaces given; the threads that use them can be anywhere.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce, TcpCongestion};
use nix::sys::socket::{getsockopt, setsockopt};
use seaway_kernel::netns::Netns;

use crate::cpu::{Cpus, Meter};

/// What a client's first byte asks for.
const ECHO: u8 = b'e';
const SINK: u8 = b's';

const STREAM_CHUNK: usize = 128 * 1024;

/// Socket buffers do not grow: with both ends on one CPU, autotuning ends by chance in one of two
/// states that differ by a factor of four.
const SOCKET_BUFFER: usize = 128 * 1024;

/// A server in one namespace and the namespace of its client.
#[derive(Debug)]
pub(crate) struct Link<'a> {
    /// Its name in the report.
    pub(crate) name: String,
    client: &'a Netns,
    /// What the client connects to.
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
    cpu: usize,
}

/// How much a [`Link`] is to be measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Round trips.
    pub(crate) round_trips: usize,
    /// Connections.
    pub(crate) connections: usize,
    /// The stream's time.
    pub(crate) stream: Duration,
}

/// What a stream achieved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Gbit/s.
    pub(crate) per_second: f64,
    /// Gbit per second of CPU time.
    pub(crate) per_cpu_second: f64,
}

impl<'a> Link<'a> {
    /// Starts a server at `address` in `server`, to be reached from `client`.
    pub(crate) fn new(
        name: &str,
        server: &Netns,
        address: IpAddr,
        client: &'a Netns,
        cpu: usize,
    ) -> Result<Link<'a>> {
        let listen = || TcpListener::bind((address, 0));
        let listener = server
            .run(listen)?
            .with_context(|| format!("listening at {address}"))?;
        configure(&listener)?;
        let address = listener
            .local_addr()
            .context("asking for the server's port")?;
        let cpus = Cpus::one(cpu)?;
        let server = std::thread::spawn(move || serve(&listener, cpus));
        Ok(Link {
            name: name.to_owned(),
            client,
            address,
            server: Some(server),
            cpu,
        })
    }

    /// What the client connects to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same client and server by another address, for as long as this one lives.
    pub(crate) fn at(&self, name: &str, address: SocketAddr) -> Link<'a> {
        Link {
            name: name.to_owned(),
            client: self.client,
            address,
            server: None,
            cpu: self.cpu,
        }
    }

    /// Waits until connections succeed many times in a row.
    pub(crate) fn wait_until_steady(&self, patience: Duration) -> Result<()> {
        const ROW: usize = 50;
        let limit = Duration::from_secs(1);
        let deadline = Instant::now() + patience;
        self.as_client(|| {
            let mut good = 0;
            while good < ROW {
                let stream = TcpStream::connect_timeout(&self.address, limit);
                match stream.context("connecting").and_then(|mut s| echo(&mut s)) {
                    Ok(()) => good += 1,
                    Err(error) if Instant::now() > deadline => return Err(error),
                    Err(_) => good = 0,
                }
            }
            Ok(())
        })
    }

    /// Runs `work` on a client thread.
    fn as_client<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let cpus = Cpus::one(self.cpu)?;
        let pinned = move || cpus.keep_this_thread().and_then(|()| work());
        self.client
            .run(pinned)?
            .with_context(|| format!("{} ({})", self.name, self.address))
    }

    /// Microseconds of each one-byte round trip on a standing connection.
    pub(crate) fn round_trips(&self, count: usize) -> Result<Vec<f64>> {
        self.as_client(|| {
            let mut stream = connect(self.address)?;
            (0..count).map(|_| micros(|| echo(&mut stream))).collect()
        })
    }

    /// Microseconds of each connection: connect, one byte there and back, close.
    pub(crate) fn connections(&self, count: usize) -> Result<Vec<f64>> {
        let once = || connect(self.address).and_then(|mut stream| echo(&mut stream));
        self.as_client(|| (0..count).map(|_| micros(once)).collect())
    }

    /// Microseconds of each handshake, the connection closed after a byte there and back.
    pub(crate) fn handshakes(&self, count: usize) -> Result<Vec<f64>> {
        let once = || {
            let start = Instant::now();
            let stream = TcpStream::connect(self.address).context("connecting")?;
            let took = start.elapsed().as_secs_f64() * 1e6;
            let mut stream = stream;
            echo(&mut stream).map(|()| took)
        };
        self.as_client(|| (0..count).map(|_| once()).collect())
    }

    /// Sends for some time as fast as it can.
    pub(crate) fn stream(&self, time: Duration) -> Result<Rate> {
        let meter = Meter::new(self.cpu);
        self.as_client(|| {
            let stream = connect(self.address)?;
            let (start, cpu) = (Instant::now(), meter.now()?);
            let bits = send_for(stream, time)? as f64 * 8.0;
            let (wall, cpu) = (start.elapsed(), meter.now()? - cpu);
            Ok(Rate {
                per_second: bits / 1e9 / wall.as_secs_f64(),
                per_cpu_second: bits / 1e9 / cpu.as_secs_f64(),
            })
        })
    }

    /// The congestion control that a client's socket really uses.
    pub(crate) fn congestion_control(&self) -> Result<String> {
        self.as_client(|| {
            let mut stream = connect(self.address)?;
            echo(&mut stream)?;
            let name = getsockopt(&stream, TcpCongestion).context("asking for TCP_CONGESTION")?;
            let name = name.to_string_lossy().into_owned();
            Ok(name.trim_end_matches('\0').to_owned())
        })
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        // The server ends with a client that asks for nothing.
        if self.as_client(|| connect(self.address).map(drop)).is_ok() {
            let _ = server.join();
        }
    }
}

fn configure(socket: &impl AsFd) -> Result<()> {
    choose_congestion_control(socket);
    setsockopt(socket, RcvBufForce, &SOCKET_BUFFER).context("setting SO_RCVBUFFORCE")?;
    setsockopt(socket, SndBufForce, &SOCKET_BUFFER).context("setting SO_SNDBUFFORCE")
}

/// Cubic does not pace, so that it shows the path's cost; else reno, which does not either.
fn choose_congestion_control(socket: &impl AsFd) {
    for name in ["cubic", "reno"] {
        if setsockopt(socket, TcpCongestion, &name.into()).is_ok() {
            return;
        }
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).context("connecting")?;
    configure(&stream)?;
    stream.set_nodelay(true).context("setting TCP_NODELAY")?;
    Ok(stream)
}

fn echo(stream: &mut TcpStream) -> Result<()> {
    let mut byte = [ECHO];
    stream.write_all(&byte).context("sending a byte")?;
    stream.read_exact(&mut byte).context("waiting for the byte")
}

fn micros(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e6)
}

/// Gives the bytes that the server says it got.
fn send_for(mut stream: TcpStream, time: Duration) -> Result<u64> {
    stream.write_all(&[SINK]).context("asking for a stream")?;
    let (chunk, start) = (vec![0; STREAM_CHUNK], Instant::now());
    let mut sent = 0;
    while start.elapsed() < time {
        stream.write_all(&chunk).context("sending a stream")?;
        sent += chunk.len() as u64;
    }
    stream
        .shutdown(Shutdown::Write)
        .context("ending a stream")?;
    let mut count = [0; 8];
    stream
        .read_exact(&mut count)
        .context("waiting for the count")?;
    let received = u64::from_le_bytes(count);
    ensure!(
        received == sent,
        "{sent} bytes were sent, {received} arrived"
    );
    Ok(received)
}

/// Serves one client after another until one asks for nothing.
fn serve(listener: &TcpListener, cpus: Cpus) {
    if cpus.keep_this_thread().is_err() {
        return;
    }
    while let Ok((stream, _)) = listener.accept() {
        match serve_one(stream) {
            Ok(true) | Err(_) => {}
            Ok(false) => return,
        }
    }
}

/// Whether the client asked for anything.
fn serve_one(mut stream: TcpStream) -> std::io::Result<bool> {
    let mut byte = [0];
    stream.set_nodelay(true)?;
    let mut asked = false;
    while stream.read(&mut byte)? == 1 {
        asked = true;
        match byte {
            [SINK] => return sink(stream).map(|()| true),
            _ => stream.write_all(&byte)?,
        }
    }
    Ok(asked)
}

fn sink(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; STREAM_CHUNK];
    let mut count = 0u64;
    loop {
        match stream.read(&mut buffer)? {
            0 => return stream.write_all(&count.to_le_bytes()),
            n => count += n as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;
    use std::net::Ipv6Addr;

    #[test]
    fn every_kind_of_traffic_arrives() {
        let netns = Netns::create().expect("the tests run as root");
        wire::loopback_up(&netns).expect("it has one");
        let link = Link::new("loop", &netns, Ipv6Addr::LOCALHOST.into(), &netns, 0);
        let link = link.expect("the server starts");
        assert_eq!(link.round_trips(50).expect("they work").len(), 50);
        assert_eq!(link.connections(20).expect("they work").len(), 20);
        let rate = link.stream(Duration::from_millis(20)).expect("it works");
        assert!(rate.per_second > 0.0 && rate.per_cpu_second > 0.0);
        assert!(["cubic", "reno"].contains(&link.congestion_control().expect("told").as_str()));
    }
}
