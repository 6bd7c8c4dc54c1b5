//! The worker of one Pod: a task that tells the Pod's [`Life`] what happens, does what it says, and
//! reports.

mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use nix::sys::signal::Signal;
use seaway_api::{Backoff, EventNote, EventType, Failure as ApiFailure, ObjectKey, describe};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, sleep_until, timeout};

use super::containers;
use super::hands::{Hands, News, Run, last_words};
use super::life::{Action, Failure, Hook, Input, Life, Note, Outcome, Surroundings};
use super::machine::{Machine, Place};
use super::plan::Plan;
use super::probe::Target;
use super::sandbox::Sandbox;
use super::volumes;
use super::writer::PodDir;
use crate::container::{self, Started};
use crate::error::LabError;
use crate::supervisor::reaper::Exit;

/// What a Pod whose object has vanished is given to end.
const VANISHED: Duration = Duration::from_secs(2);
/// How long the last report may hold up the deletion of the object.
const LAST_REPORT: Duration = Duration::from_secs(5);
/// What shells add to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;

/// One Pod and what stands of it.
pub(crate) struct Worker {
    hands: Hands,
    pod: Arc<Pod>,
    key: ObjectKey,
    uid: String,
    life: Life,
    inbox: UnboundedReceiver<News>,
    sandbox: Option<Box<Sandbox>>,
    /// The sandbox whose end was heard of before its beginning.
    died_early: Option<String>,
    running: BTreeMap<usize, (u32, Arc<Started>)>,
    /// The shortest grace that the API has given so far.
    grace: Option<Duration>,
    end: End,
}

/// How the Pod's object is to be treated when nothing is left of the Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is to be deleted.
    Delete,
    /// It is gone.
    Vanished,
    /// The lab ends.
    Shutdown,
}

impl Worker {
    /// A worker for a Pod that has come, and the way to tell it news.
    pub(crate) fn new(
        machine: &Arc<Machine>,
        place: &Arc<Place>,
        pod: Arc<Pod>,
    ) -> (Worker, UnboundedSender<News>) {
        let (news, inbox) = unbounded_channel();
        let plan = Plan::of(&pod);
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        // What is being deleted before it has begun does not begin.
        let settled = matches!(phase, Some("Succeeded" | "Failed"))
            || pod.metadata.deletion_timestamp.is_some();
        let state = machine.config.state.path();
        let folder = format!("{}_{}_{}", plan.namespace, plan.name, plan.uid);
        let hands = Hands {
            machine: machine.clone(),
            place: place.clone(),
            dir: PodDir::new(&state, &plan.uid),
            logs: super::pod_logs(&state).join(folder),
            news: news.clone(),
            files: Arc::default(),
        };
        let (key, uid) = (
            ObjectKey::namespaced(&plan.namespace, &plan.name),
            plan.uid.clone(),
        );
        let back_off = machine.config.back_off;
        let worker = Worker {
            life: Life::new(plan, back_off, settled, machine.clock.now()),
            hands,
            pod,
            key,
            uid,
            inbox,
            sandbox: None,
            died_early: None,
            running: BTreeMap::new(),
            grace: None,
            end: End::Delete,
        };
        (worker, news)
    }

    fn machine(&self) -> &Machine {
        &self.hands.machine
    }

    /// Lives the Pod's life to its end.
    pub(crate) async fn run(mut self) {
        self.observe();
        let mut actions = self.life.advance(self.machine().clock.now());
        actions.extend(self.ending());
        loop {
            if self.obey(actions) {
                break;
            }
            self.report();
            actions = self.next().await;
        }
        self.finish().await;
        self.machine().statuses.forget(&self.key);
        self.machine().board.remove(&self.uid);
    }

    /// Waits for something to happen and gives what is to be done about it.
    async fn next(&mut self) -> Vec<Action> {
        let clock = self.machine().clock;
        let deadline = self.life.deadline().map(|at| clock.instant(at));
        let due = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            news = self.inbox.recv() => match news {
                Some(news) => self.hear(news),
                None => Vec::new(),
            },
            () = due => self.life.advance(clock.now()),
        }
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        let now = self.machine().clock.now();
        self.life.step(input, now)
    }

    fn hear(&mut self, news: News) -> Vec<Action> {
        match news {
            News::Input(input) => self.step(input),
            News::Pod(pod) => {
                let told = |pod: &Pod| {
                    (
                        pod.metadata.labels.clone(),
                        pod.metadata.annotations.clone(),
                    )
                };
                let differs = told(&self.pod) != told(&pod);
                self.pod = pod;
                if differs {
                    self.refresh();
                }
                self.observe();
                let mut actions = self.step(Input::Changed(Box::new(Plan::of(&self.pod))));
                actions.extend(self.ending());
                actions
            }
            News::Deleted => {
                self.end = End::Vanished;
                let grace = self.life.plan().grace.min(VANISHED);
                self.step(Input::End(grace))
            }
            News::Shutdown => {
                self.end = End::Shutdown;
                self.step(Input::End(Duration::ZERO))
            }
            News::Referred => {
                self.refresh();
                self.step(Input::Nudged)
            }
            News::Sandbox(result) => self.sandbox_created(result),
            News::SandboxDied(id) => self.sandbox_died(id),
            News::SandboxRemoved(sandbox, removed) => self.sandbox_removed(sandbox, removed),
            News::Started {
                member,
                run,
                result,
            } => {
                let result = result.map(|(started, id)| {
                    self.running.insert(member, (run, started));
                    id
                });
                self.step(Input::Started {
                    member,
                    run,
                    result,
                })
            }
            News::Exited { member, run, exit } => self.exited(Run { member, run }, exit),
        }
    }

    /// Brings volumes up to date with what they are made from.
    fn refresh(&self) {
        if self.sandbox.is_some() && volumes::are_followed(&self.pod) {
            self.hands.refresh(self.pod.clone());
        }
    }

    /// If the Pod is to end: that, as far as it is news.
    fn ending(&mut self) -> Vec<Action> {
        let meta = &self.pod.metadata;
        if meta.deletion_timestamp.is_none() {
            return Vec::new();
        }
        let grace = super::plan::seconds(meta.deletion_grace_period_seconds);
        let grace = grace.unwrap_or(self.life.plan().grace);
        if self.grace.is_some_and(|known| known <= grace) {
            return Vec::new();
        }
        self.grace = Some(grace);
        self.step(Input::End(grace))
    }

    fn sandbox_created(&mut self, result: Result<Box<Sandbox>, Failure>) -> Vec<Action> {
        let died = self.died_early.take();
        let result = result.map(|sandbox| {
            let addresses = sandbox.addresses.clone();
            self.sandbox = Some(sandbox);
            addresses
        });
        let mut actions = self.step(Input::SandboxUp(result));
        if let Some(id) = died {
            actions.extend(self.sandbox_died(id));
        }
        actions
    }

    fn sandbox_died(&mut self, id: String) -> Vec<Action> {
        match &self.sandbox {
            Some(sandbox) if sandbox.id == id => self.step(Input::SandboxDied),
            Some(_) => Vec::new(),
            None => {
                self.died_early = Some(id);
                Vec::new()
            }
        }
    }

    /// What cannot be removed is tried again, unless the whole node goes anyway.
    fn sandbox_removed(
        &mut self,
        sandbox: Box<Sandbox>,
        removed: Result<(), LabError>,
    ) -> Vec<Action> {
        let result = match removed {
            Ok(()) => Ok(()),
            Err(e) if self.end == End::Shutdown => {
                self.machine().fail(e.to_string());
                Ok(())
            }
            Err(e) => {
                self.sandbox = Some(sandbox);
                Err(Failure {
                    waiting: None,
                    message: e.to_string(),
                })
            }
        };
        self.step(Input::SandboxRemoved(result))
    }

    fn exited(&mut self, Run { member, run }: Run, exit: Exit) -> Vec<Action> {
        if self
            .running
            .get(&member)
            .is_some_and(|(known, _)| *known == run)
        {
            self.running.remove(&member);
        }
        let code = match exit {
            Exit::Code(code) => code,
            Exit::Signal(signal) => SIGNALLED + signal as i32,
        };
        let message = self.message(member, run, code);
        let outcome = Outcome { code, message };
        self.step(Input::Exited {
            member,
            run,
            outcome,
        })
    }

    fn message(&self, member: usize, run: u32, code: i32) -> Option<String> {
        let container = containers::in_order(&self.pod).nth(member)?;
        let mut message = self.hands.dir.take_message(&container.name, run);
        let falls_back =
            container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        if message.is_empty() && falls_back && code != 0 {
            message = last_words(&self.hands.log_path(&container.name, run));
        }
        (!message.is_empty()).then_some(message)
    }

    /// Does what is to be done; tells whether that was the last.
    fn obey(&mut self, actions: Vec<Action>) -> bool {
        let mut last = false;
        for action in actions {
            last |= action == Action::Forget;
            self.act(action);
        }
        last
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Prepare => self.hands.prepare(self.pod.clone()),
            Action::CreateSandbox => self.hands.create_sandbox(self.pod.clone()),
            Action::RemoveSandbox => match self.sandbox.take() {
                Some(sandbox) => self.hands.remove_sandbox(sandbox),
                None => drop(
                    self.hands
                        .news
                        .send(News::Input(Input::SandboxRemoved(Ok(())))),
                ),
            },
            Action::Start { member, run } => {
                if let Some(sandbox) = &self.sandbox {
                    let ips = self.life.addresses().to_vec();
                    let namespaces = sandbox.namespaces.clone();
                    self.hands
                        .start(self.pod.clone(), Run { member, run }, namespaces, ips);
                }
            }
            Action::Ask { member, run } => self.signal(Run { member, run }, Signal::SIGTERM),
            Action::Kill { member, run } => self.signal(Run { member, run }, Signal::SIGKILL),
            Action::Hook { member, run, hook } => self.hook(Run { member, run }, hook),
            Action::Probe { member, run, kind } => {
                let run = Run { member, run };
                if let Some(target) = self.target(run) {
                    self.hands.probe(target, run, kind);
                }
            }
            Action::Note(note) => self.note(note),
            Action::Forget => {}
        }
    }

    fn signal(&self, Run { member, run }: Run, signal: Signal) {
        if let Some((known, started)) = self.running.get(&member)
            && *known == run
        {
            container::signal(&self.machine().config.reaper, started, signal);
        }
    }

    fn hook(&self, run: Run, hook: Hook) {
        if let Some(target) = self.target(run) {
            let limit = self.life.plan().grace.max(Duration::from_secs(1));
            self.hands.hook(target, run, hook, limit);
        }
    }

    fn target(&self, Run { member, run }: Run) -> Option<Target> {
        let (known, started) = self.running.get(&member)?;
        if *known != run {
            return None;
        }
        Some(Target {
            machine: self.hands.machine.clone(),
            place: self.hands.place.clone(),
            container: containers::in_order(&self.pod).nth(member)?.clone(),
            started: started.clone(),
            address: self.life.addresses().first().copied(),
        })
    }

    fn note(&self, note: Note) {
        let plan = self.life.plan();
        let is_init = |at: usize| plan.members[at].role != super::plan::Role::Main;
        let field = note.member.map(|at| {
            let list = if is_init(at) {
                "initContainers"
            } else {
                "containers"
            };
            format!("spec.{list}{{{}}}", plan.members[at].name)
        });
        let object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(plan.namespace.clone()),
            name: Some(plan.name.clone()),
            uid: Some(plan.uid.clone()),
            resource_version: self.pod.metadata.resource_version.clone(),
            field_path: field,
        };
        self.hands.place.events.record(EventNote {
            object,
            event_type: if note.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: note.reason.to_owned(),
            message: note.message,
        });
    }

    /// Notes what the server has, so that another's change is noticed.
    fn observe(&self) {
        let status = self.pod.status.clone().unwrap_or_default();
        if let Err(e) = self
            .machine()
            .statuses
            .observe(&self.key, &self.uid, &status)
        {
            tracing::warn!("{}: {e}", self.key);
        }
    }

    fn surroundings(&self) -> Surroundings {
        let known = self.pod.status.as_ref();
        Surroundings {
            host_ips: self.hands.place.ips.clone(),
            conditions: known.and_then(|s| s.conditions.clone()).unwrap_or_default(),
            qos_class: known.and_then(|s| s.qos_class.clone()),
        }
    }

    /// Nothing runs any more: removes what is left, here and in the API. A server that is silent holds
    /// up neither the end of the lab nor a successor.
    async fn finish(&mut self) {
        let (_, none) = unbounded_channel();
        let mut inbox = std::mem::replace(&mut self.inbox, none);
        if self.end == End::Delete
            && let Err(end) = unless_pointless(&mut inbox, self.last_report()).await
        {
            self.end = end;
        }
        self.hands.clean_up().await;
        let mut backoff = Backoff::new(&self.machine().timing);
        while self.end == End::Delete {
            match unless_pointless(&mut inbox, self.delete()).await {
                Ok(Ok(())) => return,
                Ok(Err(reason)) => tracing::info!("delete Pod {}: {reason}; again soon", self.key),
                Err(end) => {
                    self.end = end;
                    return;
                }
            }
            if let Err(end) = unless_pointless(&mut inbox, sleep(backoff.pause())).await {
                self.end = end;
            }
        }
    }

    /// Says how it ended, once: the object goes in any case.
    async fn last_report(&self) {
        self.machine().statuses.forget(&self.key);
        if self.life.is_settled() {
            return;
        }
        let status = self.life.status(&self.surroundings());
        let patch = Patch::Merge(json!({"metadata": {"uid": self.uid}, "status": status}));
        let (api, params) = (self.api(), PatchParams::default());
        let patched = api.patch_status(&self.key.name, &params, &patch);
        if let Ok(Err(e)) = timeout(LAST_REPORT, patched).await {
            tracing::debug!("last status of Pod {}: {}", self.key, describe(&e));
        }
    }

    fn api(&self) -> Api<Pod> {
        let namespace = self.key.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.machine().client.clone(), namespace)
    }

    /// Deletes the object; one that is gone, or another of its name, is not ours to delete.
    async fn delete(&self) -> Result<(), String> {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(self.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.api().delete(&self.key.name, &params).await {
            Ok(_) => Ok(()),
            Err(e) => match ApiFailure::of(&e) {
                ApiFailure::Absent | ApiFailure::Conflict => Ok(()),
                _ => Err(describe(&e)),
            },
        }
    }
}

/// Does something for the Pod's object, unless news come that make it pointless.
async fn unless_pointless<T>(
    inbox: &mut UnboundedReceiver<News>,
    work: impl Future<Output = T>,
) -> Result<T, End> {
    let pointless = async {
        loop {
            match inbox.recv().await {
                Some(News::Deleted) | None => return End::Vanished,
                Some(News::Shutdown) => return End::Shutdown,
                Some(_) => {}
            }
        }
    };
    tokio::select! {
        done = work => Ok(done),
        end = pointless => Err(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_without_an_answer_ends_with_the_lab_or_the_object() {
        for (last, expected) in [
            (News::Shutdown, End::Shutdown),
            (News::Deleted, End::Vanished),
        ] {
            let (news, mut inbox) = unbounded_channel();
            for one in [News::Referred, last] {
                news.send(one).map_err(drop).expect("sent");
            }
            let never = std::future::pending::<()>();
            let ended = unless_pointless(&mut inbox, never).await;
            assert_eq!(ended, Err(expected));
        }
        let (_news, mut inbox) = unbounded_channel();
        let done = unless_pointless(&mut inbox, async { 7 }).await;
        assert_eq!(done, Ok(7));
    }
}
