//! A transfer by TCP from end to end: what shows whether large packets get through.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use seaway_kernel::netns::Netns;

/// Connects within a time.
pub fn connect(from: &Netns, door: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = from.run(|| TcpStream::connect_timeout(&door, patience));
    let stream = stream.expect("namespace")?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(stream)
}

/// Which end of a transfer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The one that connects.
    Client,
    /// The one that listens.
    Server,
}

/// Sends `bytes` bytes to a listener at `target` and has it say that all have come; no step may
/// take longer than `patience`. Gives the address that the listener saw.
pub fn carry(
    from: &Netns,
    to: &Netns,
    target: IpAddr,
    bytes: usize,
    patience: Duration,
) -> io::Result<SocketAddr> {
    let listener = to.run(|| TcpListener::bind((target, 0)));
    let listener = listener.expect("namespace")?;
    let door = listener.local_addr()?;
    carry_through(from, door, &listener, Sender::Client, bytes, patience)
}

/// The same by a door that leads to the listener, in either direction.
pub fn carry_through(
    from: &Netns,
    door: SocketAddr,
    listener: &TcpListener,
    sender: Sender,
    bytes: usize,
    patience: Duration,
) -> io::Result<SocketAddr> {
    let client = connect(from, door, patience)?;
    let (server, peer) = listener.accept()?;
    server.set_read_timeout(Some(patience))?;
    server.set_write_timeout(Some(patience))?;
    let (mut source, mut sink) = match sender {
        Sender::Client => (client, server),
        Sender::Server => (server, client),
    };
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || take(&mut sink, bytes));
        let said = give(&mut source, bytes);
        // Ends the receiver too, if it still waits.
        let _ = source.shutdown(std::net::Shutdown::Both);
        let received = receiver.join().expect("the receiver does not panic");
        said.and(received).map(|()| peer)
    })
}

fn give(stream: &mut TcpStream, bytes: usize) -> io::Result<()> {
    let chunk = vec![0x5e; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        left -= stream.write(&chunk[..left.min(chunk.len())])?;
    }
    stream.read_exact(&mut [0; 3])
}

fn take(stream: &mut TcpStream, bytes: usize) -> io::Result<()> {
    let (mut got, mut buffer) = (0, vec![0; 1 << 16]);
    while got < bytes {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => got += length,
        }
    }
    stream.write_all(b"all")
}
