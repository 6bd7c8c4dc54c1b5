//! The task behind a watch: list, ask for the cluster's identity, watch, and again.
//!
//! Rules, in this order:
//!
//! 1. A list is complete or does not count. The identity is read before and after it, and the copy
//!    changes only if both say the same: otherwise nobody knows which cluster the list speaks for.
//!    All these requests go to one server, as those of a watch do: of several servers one may be
//!    another cluster's.
//! 2. A watch begins at the last version seen. Once it is established the identity is read again:
//!    a server of another cluster must be listed, whatever its versions say.
//! 3. 410, as an answer or as an event, leads to a list. Everything else leads to a watch from the
//!    last version.
//! 4. Between two attempts there is a pause that grows, unless the last one brought something.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use kube::api::{ListParams, ObjectList, WatchEvent, WatchParams};
use kube::core::Request;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::identity::read_identity_of;
use super::{Kind, Problem, Selector, Shared};
use crate::connect::Together;
use crate::failure::describe_status;
use crate::{Backoff, Change, Failure, Identity, Item, ObjectKey, Timing, Version, describe};

/// How many objects a page of a list has.
const PAGE: u32 = 500;
/// How many events are taken in together at most.
const TOGETHER: usize = 256;

type Events<T> = Pin<Box<dyn Stream<Item = Vec<kube::Result<WatchEvent<T>>>> + Send>>;

/// Why a watch or list ended without success.
enum Setback {
    /// The version is no longer known.
    Expired(Problem),
    /// Try again, after this long at least.
    Failed(Problem, Duration),
}

/// How a watch ended.
enum End {
    /// The server ended it, as servers do.
    Regular,
    /// The server is another cluster than the one listed.
    Stranger,
}

/// What is kept of an object.
pub(super) type Keep<T, O> = Box<dyn Fn(T) -> O + Send + Sync>;

pub(super) struct Run<T, O> {
    api: Api<T>,
    client: Client,
    selector: Selector,
    keep: Keep<T, O>,
    timing: Timing,
    shared: Arc<Shared<O>>,
    changes: Option<mpsc::Sender<Vec<Change<O>>>>,
    backoff: Backoff,
    away: Option<Problem>,
    kept: Option<Problem>,
    identity: Option<Identity>,
}

impl<T: Kind, O: Send + Sync + 'static> Run<T, O> {
    pub(super) fn new(
        api: Api<T>,
        (selector, keep): (Selector, Keep<T, O>),
        timing: Timing,
        shared: Arc<Shared<O>>,
        changes: mpsc::Sender<Vec<Change<O>>>,
    ) -> Run<T, O> {
        Run {
            client: api.clone().into_client(),
            api,
            selector,
            keep,
            backoff: Backoff::new(&timing),
            timing,
            shared,
            changes: Some(changes),
            away: None,
            kept: None,
            identity: None,
        }
    }

    pub(super) async fn for_ever(mut self) {
        loop {
            match self.list().await {
                Ok(version) => self.follow(version).await,
                // A list whose pages expire is no part of normal life.
                Err(Setback::Expired(problem)) => {
                    self.pause(Setback::Failed(problem, Duration::ZERO)).await;
                }
                Err(setback) => self.pause(setback).await,
            }
        }
    }

    /// Watches from a version until a new list is needed.
    async fn follow(&mut self, mut version: String) {
        loop {
            match self.watch(&mut version).await {
                Ok(End::Regular) => {}
                // A server that tells another name each time is not to be asked all the time.
                Ok(End::Stranger) => return sleep(self.backoff.pause()).await,
                Err(setback @ Setback::Expired(_)) => return self.pause(setback).await,
                Err(setback) => self.pause(setback).await,
            }
        }
    }

    async fn pause(&mut self, setback: Setback) {
        let (problem, at_least) = match setback {
            // Part of the normal life of a watch; told only if something was wrong before.
            Setback::Expired(problem) => (self.away.is_some().then_some(problem), Duration::ZERO),
            Setback::Failed(problem, at_least) => (Some(problem), at_least),
        };
        if let Some(problem) = problem {
            tracing::debug!(%problem, "watch interrupted");
            self.away = Some(problem);
            self.tell(Vec::new()).await;
        }
        sleep(self.backoff.pause().max(at_least)).await;
    }

    /// Lists everything and takes it in; gives the list's version.
    async fn list(&mut self) -> Result<String, Setback> {
        let together = Together::default();
        let before = self.ask_identity(&together).await?;
        let mut items = Vec::new();
        let mut params = ListParams {
            limit: Some(PAGE),
            field_selector: self.selector.fields.clone(),
            label_selector: self.selector.labels.clone(),
            ..ListParams::default()
        };
        let version = loop {
            let page = self.page(&params, &together).await;
            let page = page.map_err(|error| setback(&error, || operation::<T>("list")))?;
            let keep = |object| item(object, &self.keep);
            items.extend(page.items.into_iter().map(keep));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => break page.metadata.resource_version.unwrap_or_default(),
            }
        };
        if version.is_empty() {
            return Err(unusable::<T>("the list has no resourceVersion"));
        }
        let identity = self.ask_identity(&together).await?;
        if !before.is(&identity) {
            return Err(unusable::<T>("the server became another cluster meanwhile"));
        }
        let (changes, kept) = {
            let mut mirror = self
                .shared
                .mirror
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            (mirror.relist(items, &version, &identity), mirror.kept())
        };
        self.identity = Some(identity);
        self.note_kept(kept);
        self.tell(changes).await;
        Ok(version)
    }

    async fn page(&self, params: &ListParams, together: &Together) -> kube::Result<ObjectList<T>> {
        let list = Request::new(self.api.resource_url()).list(params);
        let mut list = list.map_err(kube::Error::BuildRequest)?;
        list.extensions_mut().insert(together.clone());
        self.client.request(list).await
    }

    async fn ask_identity(&self, together: &Together) -> Result<Identity, Setback> {
        let identity = read_identity_of(&self.client, together).await;
        identity.map_err(|error| setback(&error, || "get namespace kube-system".to_owned()))
    }

    /// Watches from `version`, which follows what was seen.
    async fn watch(&mut self, version: &mut String) -> Result<End, Setback> {
        let together = Together::default();
        let mut events = self.open(version, &together).await?;
        let identity = self.ask_identity(&together).await?;
        if !self
            .identity
            .as_ref()
            .is_some_and(|listed| listed.is(&identity))
        {
            return Ok(End::Stranger);
        }
        self.away = None;
        self.tell(Vec::new()).await;
        let mut brought_something = false;
        loop {
            let silence = self.timing.silence;
            let batch = timeout(silence, events.next()).await.map_err(|_| {
                let reason = format!("nothing came for {silence:?}");
                Setback::Failed(away::<T>(reason), Duration::ZERO)
            })?;
            let Some(batch) = batch else { break };
            let outcome = self.take_in(batch, version).await;
            brought_something |= outcome.is_ok();
            if brought_something {
                self.backoff.reset();
            }
            outcome?;
        }
        if !brought_something {
            // A server that accepts and ends watches at once is not to be asked all the time.
            sleep(self.backoff.pause()).await;
        }
        Ok(End::Regular)
    }

    async fn open(&self, version: &str, together: &Together) -> Result<Events<T>, Setback> {
        let seconds = self.timing.watch.as_secs().clamp(1, 290);
        let params = WatchParams {
            field_selector: self.selector.fields.clone(),
            label_selector: self.selector.labels.clone(),
            timeout: u32::try_from(seconds).ok(),
            bookmarks: true,
            ..WatchParams::default()
        };
        let failed = |error: kube::Error| setback(&error, || operation::<T>("watch"));
        let watch = Request::new(self.api.resource_url()).watch(&params, version);
        let mut watch = watch.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
        watch.extensions_mut().insert(together.clone());
        let events = self.client.request_events(watch).await.map_err(failed)?;
        Ok(Box::pin(events.ready_chunks(TOGETHER)))
    }

    /// Takes in events that came together. What precedes an error counts.
    async fn take_in(
        &mut self,
        batch: Vec<kube::Result<WatchEvent<T>>>,
        version: &mut String,
    ) -> Result<(), Setback> {
        let mut changes = Vec::new();
        let mut outcome = Ok(());
        let kept = {
            let mut mirror = self
                .shared
                .mirror
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            for event in batch {
                match event {
                    Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                        let item = item(object, &self.keep);
                        version.clone_from(&item.version.resource);
                        changes.extend(mirror.apply(item));
                    }
                    Ok(WatchEvent::Deleted(object)) => {
                        let item = item(object, &self.keep);
                        version.clone_from(&item.version.resource);
                        changes.extend(mirror.delete(&item.key, &item.version));
                    }
                    Ok(WatchEvent::Bookmark(bookmark)) => {
                        version.clone_from(&bookmark.metadata.resource_version);
                    }
                    Ok(WatchEvent::Error(status)) => {
                        let problem = away::<T>(describe_status(&status));
                        outcome = Err(judged(Failure::of_status(&status), problem));
                        break;
                    }
                    Err(error) => {
                        outcome = Err(setback(&error, || operation::<T>("watch")));
                        break;
                    }
                }
            }
            mirror.kept()
        };
        self.note_kept(kept);
        self.tell(changes).await;
        outcome
    }

    fn note_kept(&mut self, count: usize) {
        let identity = match &self.identity {
            Some(Identity::Known(uid)) => Ok(uid.to_string()),
            Some(Identity::Untold(reason)) => Err(reason.clone()),
            None => Err("not asked yet".to_owned()),
        };
        self.kept = (count > 0).then(|| Problem::Kept {
            kind: plural::<T>(),
            count,
            identity,
        });
    }

    /// Tells changes, and the problems if they are others than before.
    async fn tell(&mut self, mut changes: Vec<Change<O>>) {
        let problems: Vec<Problem> = self.away.iter().chain(&self.kept).cloned().collect();
        let synced = changes.iter().any(|c| matches!(c, Change::Synced));
        let others = self.shared.progress.borrow().problems != problems;
        if changes.is_empty() && !others {
            return;
        }
        self.shared.progress.send_modify(|progress| {
            progress.generation += 1;
            progress.synced |= synced;
            progress.problems.clone_from(&problems);
        });
        if others {
            changes.push(Change::Problems(problems));
        }
        if let Some(sender) = &self.changes
            && sender.send(changes).await.is_err()
        {
            // Nobody follows the changes; the store is still looked at.
            self.changes = None;
        }
    }
}

fn item<T: Kind, O>(mut object: T, keep: &Keep<T, O>) -> Item<O> {
    let meta = k8s_openapi::Metadata::metadata_mut(&mut object);
    // Who wrote which field takes as much memory as the fields, and nobody here asks.
    meta.managed_fields = None;
    let key = ObjectKey::of(meta);
    let version = Version {
        uid: meta.uid.clone().unwrap_or_default(),
        resource: meta.resource_version.clone().unwrap_or_default(),
    };
    Item {
        key,
        version,
        object: Arc::new(keep(object)),
    }
}

fn setback(error: &kube::Error, operation: impl FnOnce() -> String) -> Setback {
    let problem = Problem::Away {
        operation: operation(),
        reason: describe(error),
    };
    judged(Failure::of(error), problem)
}

fn judged(failure: Failure, problem: Problem) -> Setback {
    match failure {
        Failure::Expired => Setback::Expired(problem),
        Failure::Passing(at_least) => Setback::Failed(problem, at_least),
        Failure::Absent | Failure::Conflict | Failure::Refused => {
            Setback::Failed(problem, Duration::ZERO)
        }
    }
}

fn unusable<T: Kind>(reason: &str) -> Setback {
    let problem = Problem::Away {
        operation: operation::<T>("list"),
        reason: reason.to_owned(),
    };
    Setback::Failed(problem, Duration::ZERO)
}

fn away<T: Kind>(reason: String) -> Problem {
    Problem::Away {
        operation: operation::<T>("watch"),
        reason,
    }
}

fn operation<T: Kind>(verb: &str) -> String {
    format!("{verb} {}", plural::<T>())
}

fn plural<T: Kind>() -> String {
    T::plural(&()).into_owned()
}
