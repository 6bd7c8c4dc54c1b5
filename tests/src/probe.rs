//! Traffic between Pods with real sockets, kept up while something is done to the node.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use seaway_kernel::netns::Netns;
use seaway_model::Family;

use crate::Pod;

const PATIENCE: Duration = Duration::from_secs(5);

/// Sends one UDP datagram from one Pod to another; gives the address that the receiver saw.
pub fn udp(from: &Netns, to: &Netns, target: std::net::IpAddr) -> std::io::Result<SocketAddr> {
    let server = to
        .run(|| UdpSocket::bind((target, 0)))
        .expect("namespace")?;
    server.set_read_timeout(Some(PATIENCE))?;
    let any = if target.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let client = from.run(|| UdpSocket::bind(any)).expect("namespace")?;
    client.send_to(b"probe", server.local_addr()?)?;
    let mut buffer = [0; 16];
    Ok(server.recv_from(&mut buffer)?.1)
}

/// Asserts that two Pods reach each other in both families, without NAT.
pub fn assert_talk(a: &Pod, b: &Pod) {
    for family in Family::ALL {
        for (from, to) in [(a, b), (b, a)] {
            let seen = udp(from.netns(), to.netns(), to.address(family)).expect("delivered");
            assert_eq!(seen.ip(), from.address(family), "no NAT between Pods");
        }
    }
}

/// Traffic that goes on until it is stopped.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// UDP datagrams sent.
    pub sent: Arc<AtomicU64>,
    /// UDP datagrams answered.
    pub answered: Arc<AtomicU64>,
    /// Bytes that a TCP stream moved there and back.
    pub streamed: Arc<AtomicU64>,
}

impl Traffic {
    /// Starts a UDP ping every millisecond and a TCP stream from one Pod to another.
    pub fn start(from: &Pod, to: &Pod, family: Family) -> Traffic {
        let mut traffic = Traffic {
            stop: Arc::default(),
            threads: Vec::new(),
            sent: Arc::default(),
            answered: Arc::default(),
            streamed: Arc::default(),
        };
        traffic.ping(from, to, family);
        traffic.stream(from, to, family);
        traffic
    }

    fn ping(&mut self, from: &Pod, to: &Pod, family: Family) {
        let bind = |pod: &Pod| {
            let address = pod.address(family);
            let socket = pod.netns().run(|| UdpSocket::bind((address, 0)));
            let socket = socket.expect("namespace").expect("bound");
            socket
                .set_read_timeout(Some(Duration::from_millis(500)))
                .expect("timeout");
            socket
        };
        let (client, server) = (bind(from), bind(to));
        client
            .connect(server.local_addr().expect("bound"))
            .expect("connected");
        self.spawn(move |stop| {
            let mut buffer = [0; 64];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, peer)) = server.recv_from(&mut buffer) {
                    server.send_to(&buffer[..length], peer).expect("answered");
                }
            }
        });
        let (sent, answered) = (self.sent.clone(), self.answered.clone());
        self.spawn(move |stop| {
            let mut buffer = [0; 64];
            while !stop.load(Ordering::Relaxed) {
                let number = sent.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                client.send(&number).expect("sent");
                if client
                    .recv(&mut buffer)
                    .is_ok_and(|length| buffer[..length] == number)
                {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }

    fn stream(&mut self, from: &Pod, to: &Pod, family: Family) {
        let address = to.address(family);
        let listener = to.netns().run(|| TcpListener::bind((address, 0)));
        let listener = listener.expect("namespace").expect("bound");
        let target = listener.local_addr().expect("bound");
        let client = from.netns().run(|| TcpStream::connect(target));
        let mut client = client.expect("namespace").expect("connected");
        let (mut server, _) = listener.accept().expect("accepted");
        client.set_read_timeout(Some(PATIENCE)).expect("timeout");
        self.spawn(move |_| {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = server.read(&mut buffer) {
                server.write_all(&buffer[..length]).expect("echoed");
            }
        });
        let streamed = self.streamed.clone();
        self.spawn(move |stop| {
            let (out, mut back) = ([7; 4096], [0; 4096]);
            while !stop.load(Ordering::Relaxed) {
                client.write_all(&out).expect("the stream goes on");
                client.read_exact(&mut back).expect("the stream comes back");
                streamed.fetch_add(4096, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }

    fn spawn(&mut self, work: impl FnOnce(&AtomicBool) + Send + 'static) {
        let stop = self.stop.clone();
        self.threads.push(std::thread::spawn(move || work(&stop)));
    }

    /// Waits until some more of both has gone through.
    pub fn wait_for_more(&self) {
        let (answered, streamed) = (
            self.answered.load(Ordering::Relaxed),
            self.streamed.load(Ordering::Relaxed),
        );
        seaway_testkit::eventually("more traffic goes through", PATIENCE * 2, || {
            let now = (
                self.answered.load(Ordering::Relaxed),
                self.streamed.load(Ordering::Relaxed),
            );
            if now.0 >= answered + 20 && now.1 > streamed + 40_000 {
                Ok(())
            } else {
                Err(now)
            }
        });
    }

    /// Ends it and asserts that nothing was lost and nothing broke.
    pub fn assert_nothing_lost(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("the traffic went on");
        }
        let (sent, answered) = (
            self.sent.load(Ordering::Relaxed),
            self.answered.load(Ordering::Relaxed),
        );
        assert!(sent > 20, "only {sent} pings");
        assert_eq!(sent, answered, "pings lost");
    }
}
