//! The thread that carries what all containers write into their logs.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::file::{LogFile, LogTarget};
use super::lines::{Lines, Stream};
use crate::error::{Context, LabError};

/// As much as is read from one output before the next one's turn.
const AT_ONCE: usize = 64 * 1024;
/// The token of the bell; outputs have odd and even numbers from 2 on.
const BELL: u64 = 0;

static PUMP: OnceLock<Arc<Pump>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many lines could not be written since the process started.
fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Carries two outputs to a log from now on, until both end.
pub(crate) fn follow(
    target: LogTarget,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> Result<Streams, LabError> {
    let log = LogFile::open(target)?;
    let pump = pump()?;
    let id = pump.add(log, [stdout, stderr])?;
    Ok(Streams { pump, id })
}

/// The outputs of one container.
#[derive(Debug)]
pub(crate) struct Streams {
    pump: Arc<Pump>,
    id: u64,
}

impl Streams {
    /// Says that nothing more will be written: what is there is put into the log, then `done` is
    /// called, on the thread that everybody's logs need.
    pub(crate) fn finish(self, done: impl FnOnce() + Send + 'static) {
        self.pump.tell(Order::Finish(self.id, Box::new(done)));
    }
}

fn pump() -> Result<Arc<Pump>, LabError> {
    if let Some(pump) = PUMP.get() {
        return Ok(pump.clone());
    }
    let started = Pump::start().during("start", || "the thread that writes logs".to_owned())?;
    // Of two that start at the same time one stays without work.
    Ok(PUMP.get_or_init(|| started).clone())
}

enum Order {
    Add(u64, Container),
    Finish(u64, Box<dyn FnOnce() + Send>),
}

#[derive(Debug)]
struct Pump {
    epoll: Epoll,
    bell: EventFd,
    orders: Mutex<Orders>,
}

#[derive(Default)]
struct Orders {
    next: u64,
    waiting: Vec<Order>,
}

impl std::fmt::Debug for Orders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} orders", self.waiting.len())
    }
}

/// One container's outputs and log.
struct Container {
    log: LogFile,
    outputs: [Option<Output>; 2],
    failing: bool,
}

struct Output {
    file: File,
    lines: Lines,
}

impl Pump {
    fn start() -> io::Result<Arc<Pump>> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        let pump = Arc::new(Pump {
            epoll,
            bell,
            orders: Mutex::default(),
        });
        let own = pump.clone();
        thread::Builder::new()
            .name("container-logs".to_owned())
            .spawn(move || own.run())?;
        Ok(pump)
    }

    fn add(&self, log: LogFile, outputs: [OwnedFd; 2]) -> Result<u64, LabError> {
        let object = || "the outputs of a container".to_owned();
        for output in &outputs {
            fcntl(output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).during("prepare", object)?;
        }
        let [stdout, stderr] = outputs.map(File::from);
        let output = |file, stream| {
            Some(Output {
                file,
                lines: Lines::new(stream),
            })
        };
        let container = Container {
            log,
            outputs: [
                output(stdout, Stream::Stdout),
                output(stderr, Stream::Stderr),
            ],
            failing: false,
        };
        let id = {
            let mut orders = self.lock();
            orders.next += 1;
            let id = orders.next;
            orders.waiting.push(Order::Add(id, container));
            id
        };
        self.ring();
        Ok(id)
    }

    fn tell(&self, order: Order) {
        self.lock().waiting.push(order);
        self.ring();
    }

    fn ring(&self) {
        // A bell that has been rung too often rings already.
        let _ = self.bell.write(1);
    }

    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut containers = HashMap::new();
        let mut events = [EpollEvent::empty(); 64];
        let mut part = vec![0; AT_ONCE];
        loop {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => continue,
                Err(e) => {
                    tracing::error!(
                        "wait for what containers write: {e}; nothing is logged any more"
                    );
                    return;
                }
            };
            for event in &events[..ready] {
                if event.data() == BELL {
                    let _ = self.bell.read();
                } else {
                    self.carry(&mut containers, event.data(), &mut part);
                }
            }
            let orders = std::mem::take(&mut self.lock().waiting);
            for order in orders {
                self.obey(&mut containers, order, &mut part);
            }
        }
    }

    fn obey(&self, containers: &mut HashMap<u64, Container>, order: Order, part: &mut [u8]) {
        match order {
            Order::Add(id, container) => {
                for (which, output) in container.outputs.iter().flatten().enumerate() {
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, token(id, which));
                    if let Err(e) = self.epoll.add(output.file.as_fd(), event) {
                        tracing::error!(
                            "watch the outputs of a container: {e}; they are not logged"
                        );
                    }
                }
                containers.insert(id, container);
            }
            Order::Finish(id, done) => {
                if let Some(mut container) = containers.remove(&id) {
                    container.finish(part);
                }
                done();
            }
        }
    }

    /// Carries what one output has, and lets go of it at its end.
    fn carry(&self, containers: &mut HashMap<u64, Container>, token: u64, part: &mut [u8]) {
        let (id, which) = (token / 2, usize::from(!token.is_multiple_of(2)));
        let Some(container) = containers.get_mut(&id) else {
            return;
        };
        if container.carry(which, part) == More::Never {
            container.close(which);
        }
        if container.outputs.iter().all(Option::is_none) {
            containers.remove(&id);
        }
    }
}

fn token(id: u64, which: usize) -> u64 {
    2 * id + which as u64
}

/// Whether an output has more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    Now,
    Later,
    Never,
}

impl Container {
    /// Reads once.
    fn carry(&mut self, which: usize, part: &mut [u8]) -> More {
        let Some(output) = &mut self.outputs[which] else {
            return More::Never;
        };
        match output.file.read(part) {
            Ok(0) => More::Never,
            Ok(length) => {
                let mut sink = Sink {
                    log: &mut self.log,
                    failing: &mut self.failing,
                };
                output
                    .lines
                    .push(&part[..length], &now(), |line| sink.write(line));
                More::Now
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => More::Later,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => More::Now,
            Err(_) => More::Never,
        }
    }

    fn close(&mut self, which: usize) {
        if let Some(mut output) = self.outputs[which].take() {
            let mut sink = Sink {
                log: &mut self.log,
                failing: &mut self.failing,
            };
            output.lines.finish(&now(), |line| sink.write(line));
        }
    }

    /// Carries what is there. All writers are gone or about to go: a pipe's worth at most, and no more
    /// of it is taken even if somebody goes on writing.
    fn finish(&mut self, part: &mut [u8]) {
        for which in 0..self.outputs.len() {
            let most = 2 * (1 << 20) / AT_ONCE;
            let _ = (0..most).any(|_| self.carry(which, part) != More::Now);
            self.close(which);
        }
    }
}

struct Sink<'a> {
    log: &'a mut LogFile,
    failing: &'a mut bool,
}

impl Sink<'_> {
    fn write(&mut self, line: &[u8]) {
        let failed = self.log.write(line).err();
        match &failed {
            Some(e) => {
                DROPPED.fetch_add(1, Ordering::Relaxed);
                if !*self.failing {
                    tracing::warn!(
                        "write a container's log: {e}; its lines are dropped until that works"
                    );
                }
            }
            None if *self.failing => tracing::warn!(
                "a container's log is written again; lines dropped so far, of all containers: {}",
                dropped_lines()
            ),
            None => {}
        }
        *self.failing = failed.is_some();
    }
}

fn now() -> String {
    format!("{:.9}", Timestamp::now())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn finish(streams: Streams) {
        let (tell, told) = mpsc::channel();
        streams.finish(move || tell.send(()).expect("the test waits"));
        told.recv_timeout(PATIENCE).expect("is written");
    }

    fn target(name: &str) -> (PathBuf, LogTarget) {
        let folder =
            std::env::temp_dir().join(format!("seaway-pump-{name}-{}", std::process::id()));
        let target = LogTarget {
            path: folder.join("0.log"),
            max_bytes: 1 << 30,
            keep: 1,
        };
        (folder, target)
    }

    #[test]
    fn all_is_in_the_log_before_the_end_is_told() {
        let (folder, target) = target("order");
        let path = target.path.clone();
        let (out, mut out_end) = io::pipe().expect("makes");
        let (err, mut err_end) = io::pipe().expect("makes");
        let streams = follow(target, out.into(), err.into()).expect("follows");
        out_end.write_all(b"one\ntwo").expect("writes");
        err_end.write_all(b"three\n").expect("writes");
        finish(streams);
        let text = std::fs::read_to_string(path).expect("a log");
        std::fs::remove_dir_all(folder).expect("removes");
        let mut bodies: Vec<_> = text.lines().filter_map(|l| l.split_once(' ')).collect();
        bodies.sort_by_key(|(_, body)| *body);
        let times = bodies.iter().all(|(time, _)| {
            time.len() == "2026-11-27T14:00:00.123456789Z".len()
                && time.parse::<Timestamp>().is_ok()
        });
        assert!(times, "{text}");
        let bodies: Vec<_> = bodies.iter().map(|(_, body)| *body).collect();
        assert_eq!(bodies, ["stderr F three", "stdout F one", "stdout P two"]);
    }

    #[test]
    fn much_output_of_many_is_carried_while_it_comes() {
        let (folder, _) = target("many");
        let writers: Vec<_> = (0..20)
            .map(|n| {
                let target = LogTarget {
                    path: folder.join(format!("{n}.log")),
                    max_bytes: 1 << 30,
                    keep: 0,
                };
                let (out, mut out_end) = io::pipe().expect("makes");
                let (err, _) = io::pipe().expect("makes");
                let streams = follow(target, out.into(), err.into()).expect("follows");
                let writer = thread::spawn(move || {
                    for line in 0..20_000 {
                        writeln!(out_end, "{line}").expect("writes");
                    }
                });
                (n, streams, writer)
            })
            .collect();
        for (n, streams, writer) in writers {
            writer.join().expect("has written");
            finish(streams);
            let text = std::fs::read_to_string(folder.join(format!("{n}.log"))).expect("a log");
            assert_eq!(text.lines().count(), 20_000);
        }
        std::fs::remove_dir_all(folder).expect("removes");
    }

    #[test]
    fn a_full_disk_stops_nobody_and_is_counted() {
        let target = LogTarget {
            path: "/dev/full".into(),
            max_bytes: 1 << 30,
            keep: 0,
        };
        let (out, mut out_end) = io::pipe().expect("makes");
        let (err, _) = io::pipe().expect("makes");
        let streams = follow(target, out.into(), err.into()).expect("follows");
        let before = dropped_lines();
        for _ in 0..20_000 {
            out_end
                .write_all(b"a line that nobody will see\n")
                .expect("goes on");
        }
        finish(streams);
        assert!(dropped_lines() >= before + 20_000);
    }
}
