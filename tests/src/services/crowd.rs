//! Many small servers in one thread: each says who it is and whom it sees, by TCP, UDP and SCTP,
//! and then echoes what it is sent.

use std::io::{ErrorKind, Read, Write, pipe};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use seaway_kernel::netns::Netns;
use seaway_model::Protocol;
use seaway_testkit::SctpSocket;

use super::cast::PORTS;

/// One server: a name, at one or more addresses of a namespace.
#[derive(Debug)]
pub struct Server {
    name: String,
    sockets: Vec<Socket>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener, u16),
    Udp(UdpSocket, u16),
    Sctp(SctpSocket, Vec<u16>),
}

/// What a server calls itself at a port: its name alone at most of them.
fn called(name: &str, port: u16) -> String {
    match port == PORTS[1] {
        true => format!("{name}:{port}"),
        false => name.to_owned(),
    }
}

impl Server {
    /// Opens a server's sockets; it answers once it is in a crowd.
    pub fn open(name: &str, netns: &Netns, addresses: &[IpAddr], ports: &[u16]) -> Server {
        Server::open_for(name, netns, addresses, ports, &Protocol::ALL)
    }

    /// The same for some protocols only.
    ///
    /// # Panics
    ///
    /// If an address is not there, or a port is taken.
    pub fn open_for(
        name: &str,
        netns: &Netns,
        addresses: &[IpAddr],
        ports: &[u16],
        protocols: &[Protocol],
    ) -> Server {
        let open = || {
            let mut sockets = Vec::new();
            for address in addresses {
                for port in ports {
                    let door = (*address, *port);
                    if protocols.contains(&Protocol::Tcp) {
                        let listener = TcpListener::bind(door).expect("bound");
                        listener.set_nonblocking(true).expect("set");
                        sockets.push(Socket::Tcp(listener, *port));
                    }
                    if protocols.contains(&Protocol::Udp) {
                        let socket = UdpSocket::bind(door).expect("bound");
                        socket.set_nonblocking(true).expect("set");
                        sockets.push(Socket::Udp(socket, *port));
                    }
                }
                if protocols.contains(&Protocol::Sctp) {
                    let socket = SctpSocket::bound(*address).expect("bound");
                    sockets.push(Socket::Sctp(socket, ports.to_vec()));
                }
            }
            sockets
        };
        Server {
            name: name.to_owned(),
            sockets: netns.enter(open).expect("namespace"),
        }
    }
}

/// Servers that answer until this is dropped.
#[derive(Debug)]
pub struct Crowd {
    /// Closed to end it.
    stop: Option<std::io::PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Lets these servers answer.
    ///
    /// # Panics
    ///
    /// If there is no pipe to be had.
    pub fn start(servers: Vec<Server>) -> Crowd {
        let (ended, stop) = pipe().expect("a pipe");
        let thread = std::thread::spawn(move || serve(&servers, &ended));
        Crowd {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(servers: &[Server], ended: &impl AsFd) {
    let sockets: Vec<(&str, &Socket)> = servers
        .iter()
        .flat_map(|server| server.sockets.iter().map(|s| (server.name.as_str(), s)))
        .collect();
    let mut streams: Vec<TcpStream> = Vec::new();
    loop {
        let fds = std::iter::once(ended.as_fd())
            .chain(sockets.iter().map(|(_, socket)| socket.as_fd()))
            .chain(streams.iter().map(AsFd::as_fd));
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        if poll(&mut fds, PollTimeout::NONE).is_err() {
            continue;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        if ready[0] {
            return;
        }
        let (of_sockets, of_streams) = ready[1..].split_at(sockets.len());
        let mut at = 0;
        streams.retain_mut(|stream| {
            at += 1;
            !of_streams[at - 1] || echo(stream)
        });
        for ((name, socket), _) in sockets.iter().zip(of_sockets).filter(|(_, ready)| **ready) {
            greet(name, socket, &mut streams);
        }
    }
}

/// Greets all who have come to a socket.
fn greet(name: &str, socket: &Socket, streams: &mut Vec<TcpStream>) {
    match socket {
        Socket::Tcp(listener, port) => {
            let name = called(name, *port);
            while let Ok((mut stream, peer)) = listener.accept() {
                // In one piece, so that it is read in one.
                let said = stream.write_all(format!("{name} {peer}\n").as_bytes());
                if said.is_ok() && stream.set_nonblocking(true).is_ok() {
                    streams.push(stream);
                }
            }
        }
        Socket::Udp(socket, port) => {
            let name = called(name, *port);
            let mut buffer = [0; 65_536];
            // An error is what ICMP says of an earlier answer.
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let mut answer = format!("{name} {peer}\n").into_bytes();
                answer.extend(&buffer[..length]);
                let _ = socket.send_to(&answer, peer);
            }
        }
        Socket::Sctp(socket, ports) => {
            let say = |peer: SocketAddr, port| format!("{} {peer}", called(name, port));
            let _ = socket.answer(ports, say);
        }
    }
}

/// Sends back what has come; says whether the stream goes on.
fn echo(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 65_536];
    match stream.read(&mut buffer) {
        Ok(0) => false,
        Ok(length) => stream.write_all(&buffer[..length]).is_ok(),
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(socket, _) => socket.as_fd(),
            Socket::Udp(socket, _) => socket.as_fd(),
            Socket::Sctp(socket, _) => socket.as_fd(),
        }
    }
}
