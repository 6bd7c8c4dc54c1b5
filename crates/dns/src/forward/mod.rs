//! Names that are not the cluster's: asked of the node's own servers, once for all who want to know,
//! and kept.
//!
//! 1. What is fresh in the cache is the answer.
//! 2. Else the servers are asked in their order, those that did not answer lately last; the next one
//!    where one is silent or fails. Equal questions wait for the same answer. There are bounds for
//!    how many are under way and how long it takes.
//! 3. Where there is no good answer, or none soon, an old one does for a bounded time.

mod cache;
mod exchange;
mod reply;
mod resolv;
mod upstreams;

pub(crate) use reply::{Age, Asked, Reply};
pub use upstreams::Upstreams;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use self::cache::{Cache, Looked};
use self::exchange::{Asking, Fault};
use self::upstreams::{Servers, Upstream, Watched};
use crate::counts::count;
use crate::dice::Dice;
use crate::names::Names;

/// How often the file that names servers is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// What the names of the questions end with that find out whether a server asks back.
const LOOP_CHECK: [&str; 3] = ["loop-check", "seaway", "internal"];
/// The type of those questions (TXT).
const LOOP_KIND: u16 = 16;

/// The bounds of asking and keeping.
#[derive(Clone, Debug)]
pub struct ForwardLimits {
    /// How long one server has.
    pub attempt: Duration,
    /// How long all of them together have; a client waits five seconds.
    pub total: Duration,
    /// How many questions may be under way.
    pub flights: usize,
    /// How many questions are kept.
    pub cache_entries: usize,
    /// How many bytes that may take.
    pub cache_bytes: usize,
    /// The shortest time that something is kept, unless it is not to be kept at all.
    pub min_ttl: Duration,
    /// The longest.
    pub max_ttl: Duration,
    /// The longest for a "no".
    pub max_negative_ttl: Duration,
    /// How long past its time an answer does while there is no better.
    pub stale: Duration,
    /// How long a better one is waited for.
    pub stale_after: Duration,
}

impl Default for ForwardLimits {
    fn default() -> Self {
        ForwardLimits {
            attempt: Duration::from_millis(1500),
            total: Duration::from_millis(4500),
            flights: 512,
            cache_entries: 10_000,
            cache_bytes: 16 << 20,
            min_ttl: Duration::from_secs(5),
            max_ttl: Duration::from_secs(3600),
            max_negative_ttl: Duration::from_secs(300),
            stale: Duration::from_secs(3600),
            stale_after: Duration::from_millis(1800),
        }
    }
}

/// What comes of a question.
#[derive(Clone, Debug)]
pub(crate) enum Resolved {
    /// The answer, and how old it is.
    Answer(Arc<Reply>, Age),
    /// There is none.
    Failed,
}

/// What comes of asking: a good reply, or none, perhaps with a bad one.
type Landed = Result<Arc<Reply>, Option<Arc<Reply>>>;
type Flight = watch::Receiver<Option<Landed>>;

/// Asks, and keeps what is said.
#[derive(Debug)]
pub(crate) struct Forwarder {
    pub(crate) limits: ForwardLimits,
    servers: Servers,
    names: Names,
    dice: Dice,
    cache: Mutex<Cache>,
    flights: Mutex<HashMap<Asked, Flight>>,
    /// Questions that find out about loops, and whom they were put to.
    checks: Mutex<HashMap<u64, Arc<Upstream>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics half-way with one of these held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Forwarder {
    pub(crate) fn new(limits: &ForwardLimits, names: Names, own: Vec<SocketAddr>) -> Forwarder {
        Forwarder {
            limits: limits.clone(),
            servers: Servers::new(own),
            names,
            dice: Dice::default(),
            cache: Mutex::new(Cache::new(limits)),
            flights: Mutex::default(),
            checks: Mutex::default(),
        }
    }

    /// Keeps the list of servers up to date, for ever.
    pub(crate) async fn follow(self: Arc<Self>, upstreams: Upstreams) {
        let path = match upstreams {
            Upstreams::Given(addresses) => return self.set(&addresses),
            Upstreams::File(path) => path,
        };
        let mut file = Watched::new(&path);
        loop {
            if let Some(addresses) = file.look() {
                self.set(&addresses);
            }
            sleep(LOOK).await;
        }
    }

    fn set(self: &Arc<Self>, addresses: &[SocketAddr]) {
        if !self.servers.set(addresses) {
            return;
        }
        let all = self.servers.all();
        let list: Vec<String> = all.iter().map(|u| u.address.to_string()).collect();
        tracing::info!(servers = list.join(" "), "other names are asked for");
        let mut checks = lock(&self.checks);
        checks.clear();
        for upstream in all.iter() {
            let token = self.dice.throw();
            checks.insert(token, upstream.clone());
            let (forwarder, upstream) = (self.clone(), upstream.clone());
            tokio::spawn(async move { forwarder.check_for_loop(token, &upstream).await });
        }
    }

    /// Asks a server for a name that only this process can know.
    async fn check_for_loop(&self, token: u64, upstream: &Upstream) {
        let token = format!("{token:016x}");
        let labels = std::iter::once(token.as_str()).chain(LOOP_CHECK);
        let asked = Asked::plain(labels.map(str::as_bytes), LOOP_KIND);
        // What it answers does not matter, only whether the question comes here.
        drop(self.ask(&asked, upstream, self.limits.attempt).await);
    }

    /// Whether a question has gone in a circle; its server is not asked any more.
    pub(crate) fn is_own_check(&self, labels: &[String]) -> bool {
        let [token, rest @ ..] = labels else {
            return false;
        };
        if !rest.iter().eq(LOOP_CHECK.iter()) {
            return false;
        }
        let token = u64::from_str_radix(token, 16).ok();
        let found = token.and_then(|token| lock(&self.checks).get(&token).cloned());
        let Some(upstream) = found else {
            return false;
        };
        if !upstream.loops.swap(true, Relaxed) {
            tracing::warn!(
                server = %upstream.address,
                "this server asks back here what it is asked; it is not asked any more: name \
                 another one in the node's resolv.conf"
            );
        }
        true
    }

    /// The answer, if it is known and fresh.
    pub(crate) fn known(&self, asked: &Asked) -> Option<(Arc<Reply>, Age)> {
        let looked = lock(&self.cache).look(asked, std::time::Instant::now());
        match looked {
            Looked::Fresh(reply, age) => {
                count(&self.names.counters().cache_hits);
                Some((reply, age))
            }
            _ => None,
        }
    }

    /// Finds the answer.
    pub(crate) async fn resolve(self: &Arc<Self>, asked: &Asked) -> Resolved {
        let counters = self.names.counters();
        let looked = lock(&self.cache).look(asked, std::time::Instant::now());
        let stale = match looked {
            Looked::Fresh(reply, age) => {
                count(&counters.cache_hits);
                return Resolved::Answer(reply, age);
            }
            Looked::Failed(bad) => return or_failed(bad),
            Looked::Stale { reply, age, ask } => Some((reply, age)).map(|stale| (stale, ask)),
            Looked::Nothing => None,
        };
        let old = |(reply, age): (Arc<Reply>, Age)| {
            count(&counters.stale_answers);
            Resolved::Answer(reply, age)
        };
        let stale = match stale {
            Some((stale, false)) => return old(stale),
            Some((stale, true)) => Some(stale),
            None => None,
        };
        count(&counters.cache_misses);
        let Some(flight) = self.board(asked) else {
            count(&counters.over_limit);
            return stale.map_or(Resolved::Failed, old);
        };
        let landed = match &stale {
            Some(_) => timeout(self.limits.stale_after, landing(flight)).await,
            None => Ok(landing(flight).await),
        };
        match (landed, stale) {
            (Ok(Ok(reply)), _) => Resolved::Answer(reply, Age::Seconds(0)),
            (_, Some(stale)) => old(stale),
            (Ok(Err(bad)), None) => or_failed(bad),
            (Err(_), None) => Resolved::Failed,
        }
    }

    /// Joins those who have asked the same, or asks for all who will; `None` when too many are
    /// under way. What is under way lands even if nobody waits for it any more.
    fn board(self: &Arc<Self>, asked: &Asked) -> Option<Flight> {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(asked) {
            return Some(flight.clone());
        }
        if flights.len() >= self.limits.flights {
            return None;
        }
        let (sender, flight) = watch::channel(None);
        flights.insert(asked.clone(), flight.clone());
        let (forwarder, asked) = (self.clone(), asked.clone());
        tokio::spawn(async move {
            let landed = forwarder.fetch(&asked).await;
            let now = std::time::Instant::now();
            let mut cache = lock(&forwarder.cache);
            match &landed {
                Ok(reply) => cache.store(asked.clone(), reply.clone(), now),
                Err(bad) => cache.store_failure(asked.clone(), bad.clone(), now),
            }
            drop(cache);
            lock(&forwarder.flights).remove(&asked);
            // Nobody may wait any more.
            let _ = sender.send(Some(landed));
        });
        Some(flight)
    }

    async fn fetch(&self, asked: &Asked) -> Landed {
        let end = Instant::now() + self.limits.total;
        let mut bad = None;
        // A message may get lost; but who was silent before is not asked twice.
        let order = self.servers.in_order();
        let order: Vec<_> = order.iter().map(|u| (u, u.is_away())).collect();
        let again = order.iter().filter(|(_, away)| !away);
        // Where nobody is there, nobody else is waiting to be asked.
        let none_there = order.iter().all(|(_, away)| *away);
        for (upstream, away) in order.iter().chain(again) {
            let left = end.saturating_duration_since(Instant::now());
            let time = match *away && !none_there {
                true => self.limits.attempt / 3,
                false => self.limits.attempt,
            };
            if left.is_zero() {
                break;
            }
            match self.ask(asked, upstream, time.min(left)).await {
                Ok(reply) if reply.is_final() => return Ok(Arc::new(reply)),
                Ok(reply) => bad = Some(Arc::new(reply)),
                Err(fault) => {
                    tracing::debug!(server = %upstream.address, %fault, "no answer");
                }
            }
            count(&self.names.counters().forward_failures);
        }
        Err(bad)
    }

    async fn ask(
        &self,
        asked: &Asked,
        upstream: &Upstream,
        time: Duration,
    ) -> Result<Reply, Fault> {
        let began = Instant::now();
        let asking = Asking {
            server: upstream.address,
            asked,
            edns: !upstream.plain.load(Relaxed),
            until: began + time,
            dice: &self.dice,
            counters: self.names.counters(),
        };
        let mut result = asking.ask().await;
        if matches!(result, Err(Fault::Plain)) {
            let plainly = Asking {
                edns: false,
                ..asking
            };
            result = plainly.ask().await;
            let works = result.as_ref().is_ok_and(Reply::is_final);
            upstream.plain.store(works, Relaxed);
        }
        match &result {
            Ok(_) => upstream.answered(),
            Err(_) => upstream.did_not_answer(began),
        }
        result
    }
}

fn or_failed(bad: Option<Arc<Reply>>) -> Resolved {
    match bad {
        Some(reply) => Resolved::Answer(reply, Age::Seconds(0)),
        None => Resolved::Failed,
    }
}

async fn landing(mut flight: Flight) -> Landed {
    // It ends without landing only if the task has panicked.
    let landed = flight.wait_for(Option::is_some).await;
    landed.map_or(Err(None), |landed| landed.clone().unwrap_or(Err(None)))
}
