//! Keeps daemons and containers running: one thread that starts them, is told when they end, and
//! starts them again after a while ([`Backoff`]).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::process::Program;
use super::reaper::{Exit, Reaper};
use super::restart::Backoff;
use crate::error::LabError;
use crate::protocol::ProcessStatus;

/// How long a daemon that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(3);
const FOR_EVER: Duration = Duration::from_secs(3600);

/// The handle by which others speak to the keeper's thread.
#[derive(Clone)]
pub(crate) struct Keeper {
    orders: Sender<Order>,
}

/// How a daemon is to end.
#[derive(Clone, Copy)]
pub(crate) enum Farewell {
    /// Killed: it holds nothing that must be put in order.
    Kill,
    /// Asked, and killed if it does not listen.
    Ask,
}

enum Order {
    Start {
        name: String,
        program: Box<Program>,
        farewell: Farewell,
        done: Sender<Result<(), LabError>>,
    },
    Stop {
        name: String,
        done: Sender<()>,
    },
    Hold {
        name: String,
        done: Sender<bool>,
    },
    Resume {
        name: String,
        done: Sender<bool>,
    },
    Signal {
        name: String,
        signal: Signal,
        done: Sender<bool>,
    },
    List {
        done: Sender<Vec<ProcessStatus>>,
    },
    Ended {
        name: String,
        pid: Pid,
        exit: Exit,
    },
}

impl Keeper {
    /// Starts the keeper's thread.
    pub(crate) fn start(reaper: Arc<Reaper>) -> io::Result<Keeper> {
        let (orders, incoming) = mpsc::channel();
        let mut thread = KeeperThread {
            reaper,
            orders: orders.clone(),
            daemons: BTreeMap::new(),
        };
        thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || thread.run(&incoming))?;
        Ok(Keeper { orders })
    }

    /// Starts a daemon and keeps it running. Fails if the first start fails.
    pub(crate) fn keep(
        &self,
        name: String,
        program: Program,
        farewell: Farewell,
    ) -> Result<(), LabError> {
        let program = Box::new(program);
        self.ask(|done| Order::Start {
            name,
            program,
            farewell,
            done,
        })
        .unwrap_or(Ok(()))
    }

    /// Ends a daemon and waits until it is gone. One that is not there is gone.
    pub(crate) fn stop(&self, name: &str) {
        let name = name.to_owned();
        self.ask(|done| Order::Stop { name, done });
    }

    /// Ends a daemon and keeps it from being started again until it is resumed. Waits until it is
    /// gone; tells whether there is such a daemon.
    pub(crate) fn hold(&self, name: &str) -> bool {
        let name = name.to_owned();
        self.ask(|done| Order::Hold { name, done }).unwrap_or(false)
    }

    /// Starts a daemon that is held; tells whether there is one.
    pub(crate) fn resume(&self, name: &str) -> bool {
        let name = name.to_owned();
        self.ask(|done| Order::Resume { name, done })
            .unwrap_or(false)
    }

    /// Sends a signal; tells whether there was a process to send it to.
    pub(crate) fn signal(&self, name: &str, signal: Signal) -> bool {
        let name = name.to_owned();
        self.ask(|done| Order::Signal { name, signal, done })
            .unwrap_or(false)
    }

    /// The state of all daemons, by name.
    pub(crate) fn list(&self) -> Vec<ProcessStatus> {
        self.ask(|done| Order::List { done }).unwrap_or_default()
    }

    /// `None` if the thread drops the question unanswered, as it does with a stop that another stop
    /// has overtaken.
    fn ask<T>(&self, order: impl FnOnce(Sender<T>) -> Order) -> Option<T> {
        let (done, answer) = mpsc::channel();
        self.orders.send(order(done)).ok()?;
        answer.recv().ok()
    }
}

struct Daemon {
    program: Program,
    farewell: Farewell,
    state: State,
    backoff: Backoff,
    restarts: u32,
    /// Who waits for its end.
    leaving: Vec<Sender<()>>,
    /// Who waits until it is held.
    holding: Vec<Sender<bool>>,
}

#[derive(Clone, Copy)]
enum State {
    Running {
        pid: Pid,
        since: Instant,
        kill_at: Option<Instant>,
    },
    Waiting {
        until: Instant,
    },
    Held,
}

impl Daemon {
    fn pid(&self) -> Option<Pid> {
        match self.state {
            State::Running { pid, .. } => Some(pid),
            State::Waiting { .. } | State::Held => None,
        }
    }

    /// From now on it is ending; gives the signal that tells it so.
    fn say_farewell(&mut self, pid: Pid, since: Instant) -> Signal {
        let (signal, kill_at) = match self.farewell {
            Farewell::Kill => (Signal::SIGKILL, None),
            Farewell::Ask => (Signal::SIGTERM, Some(Instant::now() + GRACE)),
        };
        self.state = State::Running {
            pid,
            since,
            kill_at,
        };
        signal
    }

    fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            State::Running { kill_at, .. } => kill_at,
            State::Waiting { until } => Some(until),
            State::Held => None,
        }
    }
}

struct KeeperThread {
    reaper: Arc<Reaper>,
    orders: Sender<Order>,
    daemons: BTreeMap<String, Daemon>,
}

impl KeeperThread {
    fn run(&mut self, incoming: &Receiver<Order>) {
        loop {
            match incoming.recv_timeout(self.until_next_deadline()) {
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => self.meet_deadlines(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn until_next_deadline(&self) -> Duration {
        let next = self
            .daemons
            .values()
            .filter_map(Daemon::next_deadline)
            .min();
        next.map_or(FOR_EVER, |at| at.saturating_duration_since(Instant::now()))
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Start {
                name,
                program,
                farewell,
                done,
            } => {
                let result = self.first_start(name, *program, farewell);
                drop(done.send(result));
            }
            Order::Stop { name, done } => self.stop(&name, done),
            Order::Hold { name, done } => self.hold(&name, done),
            Order::Resume { name, done } => drop(done.send(self.resume(&name))),
            Order::Signal { name, signal, done } => drop(done.send(self.signal(&name, signal))),
            Order::List { done } => drop(done.send(self.list())),
            Order::Ended { name, pid, exit } => self.ended(&name, pid, exit),
        }
        self.meet_deadlines();
    }

    fn first_start(
        &mut self,
        name: String,
        program: Program,
        farewell: Farewell,
    ) -> Result<(), LabError> {
        if self.daemons.contains_key(&name) {
            return Err(LabError::Request(format!("{name} runs already")));
        }
        let state = self.launch(&name, &program)?;
        let daemon = Daemon {
            program,
            farewell,
            state,
            backoff: Backoff::default(),
            restarts: 0,
            leaving: Vec::new(),
            holding: Vec::new(),
        };
        self.daemons.insert(name, daemon);
        Ok(())
    }

    fn launch(&self, name: &str, program: &Program) -> Result<State, LabError> {
        let (orders, told) = (self.orders.clone(), name.to_owned());
        let pid = program.start(&self.reaper, move |pid, exit| {
            drop(orders.send(Order::Ended {
                name: told,
                pid,
                exit,
            }));
        })?;
        Ok(State::Running {
            pid,
            since: Instant::now(),
            kill_at: None,
        })
    }

    fn stop(&mut self, name: &str, done: Sender<()>) {
        let Some(daemon) = self.daemons.get_mut(name) else {
            let _ = done.send(());
            return;
        };
        let State::Running { pid, since, .. } = daemon.state else {
            self.daemons.remove(name);
            let _ = done.send(());
            return;
        };
        daemon.leaving.push(done);
        let signal = daemon.say_farewell(pid, since);
        self.reaper.signal(pid, signal);
    }

    fn hold(&mut self, name: &str, done: Sender<bool>) {
        let Some(daemon) = self.daemons.get_mut(name) else {
            let _ = done.send(false);
            return;
        };
        let State::Running { pid, since, .. } = daemon.state else {
            daemon.state = State::Held;
            let _ = done.send(true);
            return;
        };
        daemon.holding.push(done);
        let signal = daemon.say_farewell(pid, since);
        self.reaper.signal(pid, signal);
    }

    fn resume(&mut self, name: &str) -> bool {
        let Some(mut daemon) = self.daemons.remove(name) else {
            return false;
        };
        if matches!(daemon.state, State::Held) {
            daemon.state = self.start_again(name, &mut daemon, Instant::now());
        }
        self.daemons.insert(name.to_owned(), daemon);
        true
    }

    fn signal(&self, name: &str, signal: Signal) -> bool {
        let pid = self.daemons.get(name).and_then(Daemon::pid);
        if let Some(pid) = pid {
            self.reaper.signal(pid, signal);
        }
        pid.is_some()
    }

    fn list(&self) -> Vec<ProcessStatus> {
        let status = |(name, daemon): (&String, &Daemon)| ProcessStatus {
            name: name.clone(),
            pid: daemon.pid().map(Pid::as_raw),
            restarts: daemon.restarts,
        };
        self.daemons.iter().map(status).collect()
    }

    fn ended(&mut self, name: &str, pid: Pid, exit: Exit) {
        let Some(daemon) = self.daemons.get_mut(name).filter(|d| d.pid() == Some(pid)) else {
            return;
        };
        let State::Running { since, .. } = daemon.state else {
            return;
        };
        let holding = std::mem::take(&mut daemon.holding);
        if daemon.leaving.is_empty() && !holding.is_empty() {
            daemon.state = State::Held;
            holding.into_iter().for_each(|done| {
                let _ = done.send(true);
            });
        } else if daemon.leaving.is_empty() {
            let wait = daemon.backoff.after(exit, since.elapsed());
            tracing::warn!(
                "{name} ended: {exit}; it starts again in {} ms",
                wait.as_millis()
            );
            daemon.state = State::Waiting {
                until: Instant::now() + wait,
            };
        } else if let Some(daemon) = self.daemons.remove(name) {
            daemon.leaving.into_iter().for_each(|done| {
                let _ = done.send(());
            });
        }
    }

    fn meet_deadlines(&mut self) {
        let now = Instant::now();
        let is_due = |daemon: &Daemon| daemon.next_deadline().is_some_and(|at| at <= now);
        let due: Vec<String> = self
            .daemons
            .iter()
            .filter(|(_, d)| is_due(d))
            .map(|(name, _)| name.clone())
            .collect();
        due.iter().for_each(|name| self.meet_deadline(name, now));
    }

    fn meet_deadline(&mut self, name: &str, now: Instant) {
        let Some(mut daemon) = self.daemons.remove(name) else {
            return;
        };
        daemon.state = match daemon.state {
            State::Running { pid, since, .. } => {
                self.reaper.signal(pid, Signal::SIGKILL);
                State::Running {
                    pid,
                    since,
                    kill_at: None,
                }
            }
            State::Waiting { .. } => self.start_again(name, &mut daemon, now),
            State::Held => State::Held,
        };
        self.daemons.insert(name.to_owned(), daemon);
    }

    fn start_again(&self, name: &str, daemon: &mut Daemon, now: Instant) -> State {
        daemon.restarts += 1;
        self.launch(name, &daemon.program).unwrap_or_else(|e| {
            tracing::error!("start {name} again: {e}");
            let wait = daemon.backoff.after(Exit::Code(1), Duration::ZERO);
            State::Waiting { until: now + wait }
        })
    }
}
