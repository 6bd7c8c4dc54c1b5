//! A server that says who it is and whom it sees: what shows where a translated port leads.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use seaway_kernel::netns::Netns;
use seaway_model::{Family, Protocol};

use super::{bind_any, connect};

/// The longest answer.
const ROOM: usize = 256;

/// Answers by TCP and UDP on one port, in both families, until it is dropped.
pub struct Greeter {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What a [`Greeter`] said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Who it is.
    pub name: String,
    /// Whom it sees.
    pub seen: SocketAddr,
}

impl Greeter {
    /// Starts one.
    pub fn start(netns: &Netns, port: u16, name: &str) -> Greeter {
        let sockets = netns.run(|| {
            let listener = TcpListener::bind(("::", port)).expect("bound");
            let socket = UdpSocket::bind(("::", port)).expect("bound");
            (listener, socket)
        });
        let (listener, socket) = sockets.expect("namespace");
        let stop: Arc<AtomicBool> = Arc::default();
        let pause = Duration::from_millis(50);
        socket.set_read_timeout(Some(pause)).expect("timeout");
        listener.set_nonblocking(true).expect("set");
        let (stopped, said) = (stop.clone(), name.to_owned());
        let udp = std::thread::spawn(move || {
            let mut buffer = [0; ROOM];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(format!("{said} {peer}").as_bytes(), peer);
                }
            }
        });
        let (stopped, said) = (stop.clone(), name.to_owned());
        let tcp = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, peer)) => {
                        let _ = stream.write_all(format!("{said} {peer}").as_bytes());
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Greeter {
            stop,
            threads: vec![udp, tcp],
        }
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Greeting {
    /// Reads one.
    pub fn read(text: &[u8]) -> io::Result<Greeting> {
        let text = String::from_utf8_lossy(text).into_owned();
        let garbled = || io::Error::new(io::ErrorKind::InvalidData, text.clone());
        let (name, seen) = text.split_once(' ').ok_or_else(garbled)?;
        let seen: SocketAddr = seen.parse().map_err(|_| garbled())?;
        Ok(Greeting {
            name: name.to_owned(),
            seen: SocketAddr::new(seen.ip().to_canonical(), seen.port()),
        })
    }

    /// Asks the greeter behind a door.
    pub fn ask(
        from: &Netns,
        door: SocketAddr,
        protocol: Protocol,
        patience: Duration,
    ) -> io::Result<Greeting> {
        match protocol {
            Protocol::Udp => {
                let client = bind_any(from, Family::of(door.ip()))?;
                client.set_read_timeout(Some(patience))?;
                client.connect(door)?;
                client.send(b"who?")?;
                let mut buffer = [0; ROOM];
                let length = client.recv(&mut buffer)?;
                Greeting::read(&buffer[..length])
            }
            _ => {
                let mut stream = connect(from, door, patience)?;
                let mut text = Vec::new();
                stream.read_to_end(&mut text)?;
                Greeting::read(&text)
            }
        }
    }
}
