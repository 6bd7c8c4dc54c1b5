//! A paced ping that never waits for an answer before it sends on: it counts what was lost, and
//! how long the longest silence was.

use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use seaway_kernel::netns::Netns;
use seaway_testkit::eventually;

use super::PATIENCE;

/// Numbered datagrams at a pace, echoed by the other end.
pub struct Ping {
    stop: Arc<AtomicBool>,
    answered: Arc<Mutex<Vec<bool>>>,
    threads: Vec<JoinHandle<()>>,
}

/// What came of some pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// How many were sent.
    pub sent: usize,
    /// How many of them were not answered.
    pub lost: usize,
    /// The most in a row that were not answered.
    pub longest: usize,
}

impl Loss {
    fn of(answered: &[bool]) -> Loss {
        let runs = answered.split(|answered| *answered);
        Loss {
            sent: answered.len(),
            lost: answered.iter().filter(|answered| !**answered).count(),
            longest: runs.map(<[bool]>::len).max().unwrap_or_default(),
        }
    }
}

impl Ping {
    /// Starts pinging from one end to another, each a namespace and an address there.
    pub fn start(from: (&Netns, IpAddr), to: (&Netns, IpAddr), pace: Duration) -> Ping {
        let bind = |(netns, address): (&Netns, IpAddr)| {
            let socket = netns.run(|| UdpSocket::bind((address, 0)));
            socket.expect("namespace").expect("bound")
        };
        let (client, server) = (bind(from), bind(to));
        let target = server.local_addr().expect("bound");
        let mut ping = Ping {
            stop: Arc::default(),
            answered: Arc::default(),
            threads: Vec::new(),
        };
        let idle = Duration::from_millis(100);
        server.set_read_timeout(Some(idle)).expect("timeout");
        let stop = ping.stop.clone();
        ping.threads.push(std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, peer)) = server.recv_from(&mut buffer) {
                    let _ = server.send_to(&buffer[..length], peer);
                }
            }
        }));
        let (stop, answered) = (ping.stop.clone(), ping.answered.clone());
        ping.threads.push(std::thread::spawn(move || {
            let mut next = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                let number = {
                    let mut answered = answered.lock().expect("no panic holds it");
                    answered.push(false);
                    answered.len() - 1
                };
                let _ = client.send_to(&number.to_be_bytes(), target);
                next += pace;
                listen(&client, &answered, next);
            }
        }));
        ping
    }

    /// How many have been sent: a mark for [`Ping::since`].
    pub fn mark(&self) -> usize {
        self.answered.lock().expect("no panic holds it").len()
    }

    /// Waits until `count` of those sent from now on have been answered.
    ///
    /// # Panics
    ///
    /// If that takes too long.
    pub fn wait_for(&self, count: usize) {
        let mark = self.mark();
        eventually("pings are answered", PATIENCE * 3, || {
            let loss = self.since(mark);
            if loss.sent - loss.lost >= count {
                Ok(())
            } else {
                Err(loss)
            }
        });
    }

    /// What came of those sent since a mark, so far.
    pub fn since(&self, mark: usize) -> Loss {
        Loss::of(&self.answered.lock().expect("no panic holds it")[mark..])
    }

    /// What came of those sent between two marks, so far.
    pub fn between(&self, mark: usize, end: usize) -> Loss {
        Loss::of(&self.answered.lock().expect("no panic holds it")[mark..end])
    }

    /// Waits until one that is sent from now on is answered, and so all that were to be; gives
    /// what came of those sent between the mark and now.
    pub fn settle(&self, mark: usize) -> Loss {
        let end = self.mark();
        self.wait_for(2);
        Loss::of(&self.answered.lock().expect("no panic holds it")[mark..end])
    }

    /// Ends it; gives what came of all but those that were still under way.
    pub fn end(mut self) -> Loss {
        let loss = self.settle(0);
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("it pings to the end");
        }
        loss
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Takes answers until it is time for the next.
fn listen(client: &UdpSocket, answered: &Mutex<Vec<bool>>, until: Instant) {
    let mut buffer = [0; 8];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        client.set_read_timeout(Some(left)).expect("timeout");
        if client.recv(&mut buffer).is_ok_and(|length| length == 8) {
            let number = usize::from_be_bytes(buffer);
            let mut answered = answered.lock().expect("no panic holds it");
            if let Some(slot) = answered.get_mut(number) {
                *slot = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_counted_and_the_longest_silence_found() {
        let loss = Loss::of(&[true, false, true, false, false, true]);
        let wanted = Loss {
            sent: 6,
            lost: 3,
            longest: 2,
        };
        assert_eq!(loss, wanted);
        assert_eq!(Loss::of(&[]).lost, 0);
    }
}
