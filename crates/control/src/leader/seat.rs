//! The Lease itself: waiting for it, taking it, renewing it, giving it back.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::{PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use seaway_api::overview::VERSION_ANNOTATION;
use seaway_api::{Failure, describe};
use tokio::time::{sleep, timeout};

use super::candidate::{Candidate, Step, named};
use super::term::{Clock, Term};
use super::{Election, Rhythm};
use crate::queue::jitter;
use crate::standing::Standing;

/// How many NetworkPolicies are not enforced, on the Lease: for `seaway status`.
const UNENFORCED: &str = "network.seaway.dev/policies-not-enforced";
/// What the holder says to be, in the same place.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The longest that giving back may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a request for the Lease had no success.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// Another holds it.
    #[error("{0} holds it")]
    Taken(String),
    /// Somebody wrote it first: to be read again.
    #[error("somebody else wrote it first")]
    Overtaken,
    /// The server, or the way to it.
    #[error("{0}")]
    Request(String),
    /// No answer in time.
    #[error("no answer in time")]
    Silence,
}

/// One who wants the Lease, or has it.
pub(super) struct Seat {
    clock: Clock,
    api: Api<Lease>,
    name: String,
    rhythm: Rhythm,
    candidate: Candidate,
    /// The Lease as it was written or read last, while it may be ours.
    lease: Option<Lease>,
    /// Who was told to hold it: once each.
    told: Option<String>,
}

impl Seat {
    pub(super) fn new(client: Client, election: Election, clock: Clock) -> Self {
        Self {
            clock,
            api: Api::namespaced(client, &election.namespace),
            candidate: Candidate::new(election.identity, election.rhythm),
            name: election.lease,
            rhythm: election.rhythm,
            lease: None,
            told: None,
        }
    }

    /// Waits until the Lease is ours.
    pub(super) async fn acquire(&mut self, standing: &Standing) -> Term {
        let mut failing = false;
        loop {
            let began = self.clock.now();
            let pause = match self.within(self.rhythm.renew, standing).await {
                Ok(None) => {
                    return Term::new(&self.clock, began + self.rhythm.renew);
                }
                Ok(Some(pause)) => {
                    failing = false;
                    pause
                }
                // What it became is told by the watch.
                Err(Trouble::Overtaken) => self.rhythm.retry,
                Err(trouble) => {
                    if !failing {
                        tracing::warn!(lease = self.name, %trouble, "cannot get the Lease; trying on");
                    }
                    failing = true;
                    self.rhythm.retry
                }
            };
            match self.lease.clone().filter(|_| !failing) {
                Some(lease) => self.attend(lease, pause).await,
                // Neither all at the same time, nor as fast as can be.
                None => sleep(self.rhythm.retry.min(pause).mul_f64(0.5 + jitter())).await,
            }
        }
    }

    /// One attempt to get the Lease: done, or how long it is another's.
    async fn within(
        &mut self,
        limit: Duration,
        standing: &Standing,
    ) -> Result<Option<Duration>, Trouble> {
        let attempt = self.attempt(standing);
        timeout(limit, attempt)
            .await
            .unwrap_or(Err(Trouble::Silence))
    }

    async fn attempt(&mut self, standing: &Standing) -> Result<Option<Duration>, Trouble> {
        self.lease = self.api.get_opt(&self.name).await.map_err(trouble)?;
        standing.reached();
        match self.candidate.look(self.lease.as_ref(), self.clock.now()) {
            Step::Create => self.create(standing).await.map(|()| None),
            Step::Take => self.write(standing).await.map(|()| None),
            Step::Wait(pause) => {
                self.tell_holder();
                Ok(Some(pause))
            }
        }
    }

    fn tell_holder(&mut self) {
        let lease = self.lease.as_ref();
        let holder = lease.and_then(|lease| self.candidate.other_holder(lease));
        if holder.is_some() && holder != self.told.as_deref() {
            self.told = holder.map(str::to_owned);
            tracing::info!(
                lease = self.name,
                leader = self.told,
                "another leads; standing by"
            );
        }
    }

    /// Follows another's Lease until it is worth an attempt: it was given back, or deleted, or its
    /// holder is silent.
    async fn attend(&mut self, lease: Lease, pause: Duration) {
        let mut until = self.clock.now() + pause;
        let only = format!("metadata.name={}", self.name);
        let version = lease.metadata.resource_version.unwrap_or_default();
        let params = WatchParams::default().fields(&only);
        let events = match timeout(pause, self.api.watch(&params, &version)).await {
            Ok(Ok(events)) => events,
            Ok(Err(_)) => return sleep(self.rhythm.retry.min(pause)).await,
            Err(_) => return,
        };
        let mut events = pin!(events);
        loop {
            let pause = until.saturating_sub(self.clock.now());
            match timeout(pause, events.next()).await {
                Ok(Some(Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease)))) => {
                    let step = self.candidate.look(Some(&lease), self.clock.now());
                    self.lease = Some(lease);
                    self.tell_holder();
                    match step {
                        Step::Wait(pause) => until = self.clock.now() + pause,
                        Step::Take | Step::Create => return,
                    }
                }
                Ok(Some(Ok(WatchEvent::Bookmark(_)))) => {}
                Ok(Some(Ok(WatchEvent::Deleted(_)))) => return sleep(self.rhythm.retry).await,
                // A watch ends now and then; nobody is to call without a pause.
                Ok(Some(Ok(WatchEvent::Error(_)) | Err(_)) | None) => {
                    return sleep(self.rhythm.retry.min(pause)).await;
                }
                Err(_) => return,
            }
        }
    }

    /// Renews until that fails for too long, or another has the Lease; says why.
    pub(super) async fn keep(&mut self, term: &Term, standing: &Standing) -> String {
        let mut last = Trouble::Silence;
        loop {
            let pause = self.rhythm.retry.min(term.remaining());
            sleep(pause).await;
            let began = self.clock.now();
            let remaining = term.remaining();
            if remaining.is_zero() {
                return format!("it could not be renewed: {last}");
            }
            // Two attempts at least, so that one lost packet is not the end.
            let limit = remaining.min(self.rhythm.renew / 2);
            match timeout(limit, self.renew(standing)).await {
                Ok(Ok(())) => term.extend(began + self.rhythm.renew),
                Ok(Err(Trouble::Taken(by))) => return format!("{by} has taken it"),
                Ok(Err(trouble)) => last = trouble,
                Err(_) => last = Trouble::Silence,
            }
            tracing::debug!(lease = self.name, remaining = ?term.remaining());
        }
    }

    async fn renew(&mut self, standing: &Standing) -> Result<(), Trouble> {
        if self.lease.is_none() {
            self.lease = self.api.get_opt(&self.name).await.map_err(trouble)?;
        }
        if let Some(lease) = &self.lease
            && let Some(holder) = self.candidate.other_holder(lease)
        {
            return Err(Trouble::Taken(holder.to_owned()));
        }
        let written = match self.lease {
            Some(_) => self.write(standing).await,
            None => self.create(standing).await,
        };
        if let Err(Trouble::Overtaken) = written {
            // It is read next time; another's name in it is then the end.
            self.lease = None;
        }
        written
    }

    async fn create(&mut self, standing: &Standing) -> Result<(), Trouble> {
        let empty = named(&self.name);
        let lease = self.wanted(&empty, standing);
        match self.api.create(&PostParams::default(), &lease).await {
            Ok(lease) => self.lease = Some(lease),
            Err(error) if Failure::of(&error) == Failure::Conflict => {
                return Err(Trouble::Overtaken);
            }
            // Its namespace is absent, perhaps.
            Err(error) => return Err(Trouble::Request(describe(&error))),
        }
        Ok(())
    }

    /// Writes ourselves into exactly the version that was read.
    async fn write(&mut self, standing: &Standing) -> Result<(), Trouble> {
        let Some(lease) = &self.lease else {
            return Err(Trouble::Overtaken);
        };
        let lease = self.wanted(lease, standing);
        let answer = self
            .api
            .replace(&self.name, &PostParams::default(), &lease)
            .await;
        self.lease = Some(answer.map_err(trouble)?);
        Ok(())
    }

    fn wanted(&self, lease: &Lease, standing: &Standing) -> Lease {
        let mut lease = self.candidate.held(Some(lease), Timestamp::now());
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(VERSION_ANNOTATION.to_owned(), VERSION.to_owned());
        if let Some(count) = standing.unenforced() {
            annotations.insert(UNENFORCED.to_owned(), count.to_string());
        }
        lease
    }

    /// Gives the Lease back, so that the next need not wait. Whether that succeeds is the next one's
    /// time only.
    pub(super) async fn release(&mut self) {
        match timeout(FAREWELL, self.give_back()).await {
            Ok(Ok(())) => tracing::info!(lease = self.name, "gave the Lease back"),
            Ok(Err(trouble)) => {
                tracing::info!(lease = self.name, %trouble, "could not give the Lease back");
            }
            Err(_) => tracing::info!(lease = self.name, "could not give the Lease back in time"),
        }
    }

    async fn give_back(&mut self) -> Result<(), Trouble> {
        if let Err(Trouble::Overtaken) = self.write_free().await {
            // By ourselves, if a renewal was under way.
            self.lease = self.api.get_opt(&self.name).await.map_err(trouble)?;
            return self.write_free().await;
        }
        Ok(())
    }

    async fn write_free(&self) -> Result<(), Trouble> {
        let lease = self.lease.as_ref();
        let free = lease.and_then(|lease| self.candidate.released(lease, Timestamp::now()));
        let Some(free) = free else { return Ok(()) };
        let params = PostParams::default();
        let answer = self.api.replace(&self.name, &params, &free).await;
        answer.map(drop).map_err(trouble)
    }
}

fn trouble(error: kube::Error) -> Trouble {
    match Failure::of(&error) {
        Failure::Conflict | Failure::Absent => Trouble::Overtaken,
        _ => Trouble::Request(describe(&error)),
    }
}
