//! Lock-step traffic that goes on while something is done to a node: every loss shows.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use seaway_kernel::netns::Netns;
use seaway_model::Family;

use super::PATIENCE;
use crate::Pod;

/// Traffic that goes on until it is stopped.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    askers: Vec<JoinHandle<()>>,
    /// Those who answer end after those who ask, or the last question would look lost.
    quiet: Arc<AtomicBool>,
    answerers: Vec<JoinHandle<()>>,
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
        Traffic::between(
            (from.netns(), from.address(family)),
            (to.netns(), to.address(family)),
        )
    }

    /// The same from one end to another, each a namespace and an address there.
    pub fn between(from: (&Netns, IpAddr), to: (&Netns, IpAddr)) -> Traffic {
        let mut traffic = Traffic {
            stop: Arc::default(),
            askers: Vec::new(),
            quiet: Arc::default(),
            answerers: Vec::new(),
            sent: Arc::default(),
            answered: Arc::default(),
            streamed: Arc::default(),
        };
        traffic.ping(from, to);
        traffic.stream(from.0, to);
        traffic
    }

    fn ping(&mut self, from: (&Netns, IpAddr), to: (&Netns, IpAddr)) {
        let bind = |(netns, address): (&Netns, IpAddr)| {
            let socket = netns.run(|| UdpSocket::bind((address, 0)));
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
        self.answer(move |quiet| {
            let mut buffer = [0; 64];
            while !quiet.load(Ordering::Relaxed) {
                if let Ok((length, peer)) = server.recv_from(&mut buffer) {
                    server.send_to(&buffer[..length], peer).expect("answered");
                }
            }
        });
        let (sent, answered) = (self.sent.clone(), self.answered.clone());
        self.ask(move |stop| {
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

    fn stream(&mut self, from: &Netns, to: (&Netns, IpAddr)) {
        let listener = to.0.run(|| TcpListener::bind((to.1, 0)));
        let listener = listener.expect("namespace").expect("bound");
        let target = listener.local_addr().expect("bound");
        let client = from.run(|| TcpStream::connect(target));
        let mut client = client.expect("namespace").expect("connected");
        let (mut server, _) = listener.accept().expect("accepted");
        client.set_read_timeout(Some(PATIENCE)).expect("timeout");
        self.answer(move |_| {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = server.read(&mut buffer) {
                server.write_all(&buffer[..length]).expect("echoed");
            }
        });
        let streamed = self.streamed.clone();
        self.ask(move |stop| {
            let (out, mut back) = ([7; 4096], [0; 4096]);
            while !stop.load(Ordering::Relaxed) {
                client.write_all(&out).expect("the stream goes on");
                client.read_exact(&mut back).expect("the stream comes back");
                streamed.fetch_add(4096, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }

    fn ask(&mut self, work: impl FnOnce(&AtomicBool) + Send + 'static) {
        let stop = self.stop.clone();
        self.askers.push(std::thread::spawn(move || work(&stop)));
    }

    fn answer(&mut self, work: impl FnOnce(&AtomicBool) + Send + 'static) {
        let quiet = self.quiet.clone();
        self.answerers
            .push(std::thread::spawn(move || work(&quiet)));
    }

    /// Waits until the stream has come back once more, so that whatever delayed it is over.
    pub fn wait_for_stream(&self) {
        let before = self.streamed.load(Ordering::Relaxed);
        seaway_testkit::eventually("the stream goes on", PATIENCE * 2, || {
            match self.streamed.load(Ordering::Relaxed) {
                now if now > before => Ok(()),
                now => Err(now),
            }
        });
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
    pub fn assert_nothing_lost(self) {
        self.assert_lost_at_most(0);
    }

    /// Ends it and asserts that nothing broke, and that no more pings were lost than this.
    pub fn assert_lost_at_most(mut self, bearable: u64) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.askers.drain(..) {
            thread.join().expect("the traffic went on");
        }
        self.quiet.store(true, Ordering::Relaxed);
        for thread in self.answerers.drain(..) {
            thread.join().expect("the traffic was answered");
        }
        let (sent, answered) = (
            self.sent.load(Ordering::Relaxed),
            self.answered.load(Ordering::Relaxed),
        );
        assert!(sent > 20, "only {sent} pings");
        let lost = sent - answered;
        assert!(lost <= bearable, "{lost} of {sent} pings lost");
    }
}

/// Traffic that nobody asks about any more ends too, and lets go of its namespaces.
impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.quiet.store(true, Ordering::Relaxed);
    }
}
