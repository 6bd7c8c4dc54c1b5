//! The words in which a Pod's life is spoken of: what has happened, what to do, what to tell.

use std::net::IpAddr;
use std::time::Duration;

use super::{ProbeKind, StartFailure, Time};
use crate::runtime::plan::Plan;

/// How long to wait before something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackOff {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
    /// A container that ran this long has come up: what ends it now is a new trouble.
    pub(crate) steady: Duration,
}

impl BackOff {
    /// That of a lab: a tenth of kubelet's at first, since somebody sits and waits.
    pub(crate) const LAB: BackOff = BackOff {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(60),
        steady: Duration::from_secs(600),
    };
}

/// A handler that a container has around its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    PostStart,
    PreStop,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    /// What the container left to say.
    pub(crate) message: Option<String>,
}

/// Something around the containers did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The reason for which the containers wait, if it is not just `ContainerCreating`.
    pub(crate) waiting: Option<&'static str>,
    pub(crate) message: String,
}

/// What has happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// Volumes and files stand, or not.
    Prepared(Result<(), Failure>),
    /// The sandbox stands and has addresses; or nothing of it is left.
    SandboxUp(Result<Vec<IpAddr>, Failure>),
    /// The process that holds the sandbox has ended.
    SandboxDied,
    /// The sandbox is gone, or not yet.
    SandboxRemoved(Result<(), Failure>),
    Started {
        member: usize,
        run: u32,
        result: Result<String, StartFailure>,
    },
    Exited {
        member: usize,
        run: u32,
        outcome: Outcome,
    },
    Probed {
        member: usize,
        run: u32,
        kind: ProbeKind,
        result: Result<(), String>,
    },
    Hooked {
        member: usize,
        run: u32,
        hook: Hook,
        result: Result<(), String>,
    },
    /// The Pod's object has changed.
    Changed(Box<Plan>),
    /// Something that the Pod refers to has changed.
    Nudged,
    /// The Pod is to end within this time.
    End(Duration),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make volumes and files: answered by [`Input::Prepared`].
    Prepare,
    /// Make the sandbox, undoing all of it on failure: answered by [`Input::SandboxUp`].
    CreateSandbox,
    /// Answered by [`Input::SandboxRemoved`].
    RemoveSandbox,
    /// Answered by [`Input::Started`], and by [`Input::Exited`] if that was a success.
    Start { member: usize, run: u32 },
    /// Send a container the signal that asks it to end.
    Ask { member: usize, run: u32 },
    /// Kill a container.
    Kill { member: usize, run: u32 },
    /// Answered by [`Input::Hooked`].
    Hook { member: usize, run: u32, hook: Hook },
    /// Answered by [`Input::Probed`].
    Probe {
        member: usize,
        run: u32,
        kind: ProbeKind,
    },
    /// Tell the people.
    Note(Note),
    /// Nothing of the Pod is left here: the last action.
    Forget,
}

/// An event for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) member: Option<usize>,
}

impl Note {
    pub(super) fn normal(reason: &'static str, message: String) -> Note {
        Note {
            warning: false,
            reason,
            message,
            member: None,
        }
    }

    pub(super) fn warning(reason: &'static str, message: String) -> Note {
        Note {
            warning: true,
            ..Note::normal(reason, message)
        }
    }

    pub(super) fn of(self, member: usize) -> Note {
        Note {
            member: Some(member),
            ..self
        }
    }
}

/// What a container's part of the machine may look at and add to.
pub(super) struct Stage<'a> {
    pub(super) plan: &'a Plan,
    pub(super) back_off: &'a BackOff,
    pub(super) now: Time,
    pub(super) todo: &'a mut Vec<Action>,
}

impl Stage<'_> {
    pub(super) fn note(&mut self, note: Note) {
        self.todo.push(Action::Note(note));
    }
}
