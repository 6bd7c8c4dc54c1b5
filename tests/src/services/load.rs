//! Clients that never stop: new connections one after another, and flows that stay open. Each keeps
//! count of what failed, and of who answered.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use seaway_kernel::netns::Netns;
use seaway_model::{Family, Protocol};
use seaway_testkit::eventually;

use super::ask::{Outcome, ask, converse};
use crate::probe::{Greeting, bind_any};

/// How long an answer may take that is to come: much longer than any takes.
const SOON: Duration = Duration::from_secs(4);
const LIMIT: Duration = Duration::from_secs(30);

/// What came of it so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often somebody was asked.
    pub asked: usize,
    /// Who answered, and how often.
    pub answered: BTreeMap<String, usize>,
    /// What else came of it: at which question, and what; the first few.
    pub failed: Vec<(usize, String)>,
    /// How often something else came of it.
    pub failures: usize,
}

/// How many failures are told.
const TOLD: usize = 4;

/// A client that never stops.
pub struct Load {
    /// What it does, for people.
    pub what: String,
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    fn start(
        what: String,
        pace: Duration,
        mut once: impl FnMut() -> Result<String, String> + Send + 'static,
    ) -> Load {
        let (stop, tally) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Tally>>::default());
        let (stopped, counted) = (stop.clone(), tally.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let next = Instant::now() + pace;
                let outcome = once();
                let mut tally = counted.lock().expect("no panic holds it");
                match outcome {
                    Ok(name) => *tally.answered.entry(name).or_default() += 1,
                    Err(problem) => {
                        let number = tally.asked;
                        tally.failures += 1;
                        if tally.failed.len() < TOLD {
                            tally.failed.push((number, problem));
                        }
                    }
                }
                tally.asked += 1;
                drop(tally);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        Load {
            what,
            stop,
            tally,
            thread: Some(thread),
        }
    }

    /// New connections, one after another.
    pub fn connecting(from: &Netns, door: SocketAddr, protocol: Protocol, pace: Duration) -> Load {
        let netns = from.try_clone().expect("a descriptor");
        let what = format!("new {protocol} flows to {door}");
        Load::start(what, pace, move || {
            match ask(&netns, door, protocol, SOON) {
                Outcome::Answered(greeting) => Ok(greeting.name),
                other => Err(format!("{other:?}")),
            }
        })
    }

    /// Asserts that nothing has failed so far.
    ///
    /// # Panics
    ///
    /// If something has.
    pub fn assert_unharmed(&self, what: &str) {
        let tally = self.tally();
        let Load { what: load, .. } = self;
        assert!(
            tally.failed.is_empty(),
            "{what}: {load}: {:?}",
            tally.failed
        );
    }

    /// One TCP connection, with something to and fro on it all the time.
    ///
    /// # Panics
    ///
    /// If nobody answers at first.
    pub fn streaming(from: &Netns, door: SocketAddr, pace: Duration) -> Load {
        let (mut stream, greeting) = converse(from, door, SOON).expect("an answer");
        let what = format!("a connection to {door} ({})", greeting.name);
        let mut number = 0u64;
        Load::start(what, pace, move || {
            number += 1;
            let (sent, mut back) = (number.to_be_bytes(), [0; 8]);
            let exchange = stream
                .write_all(&sent)
                .and_then(|()| stream.read_exact(&mut back));
            match exchange {
                Ok(()) if back == sent => Ok(greeting.name.clone()),
                other => Err(format!("{other:?}: {back:?}")),
            }
        })
    }

    /// Datagrams from one port all the time; each waits for its own answer, no longer than
    /// `patience`.
    pub fn datagrams(from: &Netns, door: SocketAddr, patience: Duration) -> Load {
        let client = bind_any(from, Family::of(door.ip())).expect("bound");
        client.set_read_timeout(Some(patience)).expect("set");
        let mut number = 0u64;
        let pace = Duration::from_millis(5);
        Load::start(format!("datagrams to {door}"), pace, move || {
            number += 1;
            one_datagram(&client, door, number)
        })
    }

    /// What came of it so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().expect("no panic holds it").clone()
    }

    /// Forgets what came of it so far.
    pub fn forget(&self) {
        *self.tally.lock().expect("no panic holds it") = Tally::default();
    }

    /// Waits until so many more have been answered.
    ///
    /// # Panics
    ///
    /// If that takes too long.
    pub fn wait_for_more(&self, count: usize) {
        let answered = || self.tally().answered.values().sum::<usize>();
        let before = answered();
        eventually(&format!("{} go on", self.what), LIMIT, || {
            if answered() >= before + count {
                Ok(())
            } else {
                Err(self.tally())
            }
        });
    }

    /// Waits until, for a while, nobody but these answers, and nothing fails; gives how many
    /// questions came to nothing until then.
    pub fn wait_for_only(&self, names: &[&str]) -> usize {
        let mut lost = 0;
        eventually(&format!("{} reach {names:?}", self.what), LIMIT, || {
            self.forget();
            let enough = || self.tally().asked >= 12;
            while !enough() {
                std::thread::sleep(Duration::from_millis(2));
            }
            let tally = self.tally();
            let only = tally.answered.keys().all(|n| names.contains(&n.as_str()));
            if only && tally.failed.is_empty() {
                return Ok(());
            }
            lost += tally.failures;
            Err(tally)
        });
        lost
    }

    /// Ends it; gives what came of it.
    pub fn end(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the client goes on to the end");
        }
        self.tally()
    }

    /// Ends it, and wants that nothing failed; gives who answered.
    ///
    /// # Panics
    ///
    /// If something failed, or nothing was tried.
    pub fn end_without_loss(self) -> BTreeMap<String, usize> {
        let what = self.what.clone();
        let tally = self.end();
        assert!(tally.asked > 5, "{what}: only {tally:?}");
        assert!(tally.failed.is_empty(), "{what}: {tally:?}");
        tally.answered
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn one_datagram(client: &UdpSocket, door: SocketAddr, number: u64) -> Result<String, String> {
    let said = |e: std::io::Error| e.to_string();
    client.send_to(&number.to_be_bytes(), door).map_err(said)?;
    let mut buffer = [0; 256];
    loop {
        let length = client.recv(&mut buffer).map_err(said)?;
        let mut parts = buffer[..length].splitn(2, |byte| *byte == b'\n');
        let greeting = Greeting::read(parts.next().unwrap_or_default()).map_err(said)?;
        // A late answer to an earlier one is passed over.
        if parts.next() == Some(&number.to_be_bytes()[..]) {
            return Ok(greeting.name);
        }
    }
}
