//! `bench cni --trace-rcu`: how often an ADD or a DEL waits for a grace period of RCU.
//!
//! The kernel's scheduler tells when a task of the plugin or of the agent goes to sleep, and its
//! stack tells why. This needs tracefs but neither the function tracer nor probes, which a locked
//! down kernel refuses. All of it happens in a tracing instance of our own that is removed on every
//! way out; state of tracefs that is not ours stays as it is.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::gettid;

use super::contender::Contender;
use super::stock::Stock;
use crate::cpu::threads_of;
use crate::plugin::Pod;
use crate::room::Room;

const TRACEFS: &str = "/sys/kernel/tracing";

/// Functions that wait until a grace period is over.
const WAITING: [&str; 4] = [
    "synchronize_rcu",
    "synchronize_net",
    "wait_rcu_gp",
    "rcu_barrier",
];

/// What one contender did.
pub(crate) struct Waits {
    /// Which one.
    pub(crate) name: &'static str,
    /// Waits of all ADDs together.
    pub(crate) add: usize,
    /// Waits of all DELs together.
    pub(crate) del: usize,
}

/// Keeps the signals of Ctrl-C for the thread that cleans up. To be called while there is one thread.
pub(crate) fn block_signals() -> Result<()> {
    endings().thread_block().context("blocking signals")
}

fn endings() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect()
}

/// Attaches and detaches `count` Pods of each contender.
pub(crate) fn count(contenders: &[&dyn Contender], count: usize) -> Result<Vec<Waits>> {
    // tracefs may have to be mounted, which is to be seen by nobody else.
    let room = Room::new()?;
    room.run(|| {
        let trace = Instance::new()?;
        contenders
            .iter()
            .map(|contender| one(*contender, count, &trace))
            .collect()
    })
}

fn one(contender: &dyn Contender, count: usize, trace: &Instance) -> Result<Waits> {
    let mut stock = Stock::default();
    let pods = stock.take_many(count + 1)?;
    let (first, pods) = pods.split_first().context("there is at least one")?;
    // The first ADD of a node makes what all share, such as a bridge.
    contender.room().run(|| contender.add(first))?;
    let work = |verb: fn(&dyn Contender, &Pod) -> Result<Duration>| {
        trace.during(contender, || {
            pods.iter()
                .try_for_each(|pod| verb(contender, pod).map(drop))
        })
    };
    let add = work(|c, pod| c.add(pod))?;
    let del = work(|c, pod| c.del(pod))?;
    contender.room().run(|| contender.del(first))?;
    pods.iter()
        .chain([first])
        .try_for_each(|pod| contender.settle(pod))?;
    Ok(Waits {
        name: contender.name(),
        add,
        del,
    })
}

/// A tracing instance; removed when dropped, and when a signal ends the program.
struct Instance {
    dir: PathBuf,
}

impl Instance {
    fn new() -> Result<Instance> {
        if !Path::new(TRACEFS).join("instances").exists() {
            let none = None::<&str>;
            mount(
                Some("tracefs"),
                TRACEFS,
                Some("tracefs"),
                MsFlags::empty(),
                none,
            )
            .context("mounting tracefs (the kernel may lack it)")?;
        }
        let dir = Path::new(TRACEFS).join(format!("instances/seaway-bench-{}", std::process::id()));
        fs::create_dir(&dir).context("making a tracing instance")?;
        remove_at_signal(dir.clone());
        let instance = Instance { dir };
        instance.configure()?;
        Ok(instance)
    }

    fn configure(&self) -> Result<()> {
        self.set("buffer_size_kb", "32768")?;
        self.set("options/event-fork", "1")?;
        self.set("options/stacktrace", "1")?;
        // Only tasks that sleep uninterruptibly, as all that wait for a grace period do.
        self.set("events/sched/sched_switch/filter", "prev_state & 2")
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let path = self.dir.join(file);
        fs::write(&path, value).with_context(|| format!("writing {value:?} to {}", path.display()))
    }

    /// Runs `work` in the contender's room and counts the waits of it and of the daemon meanwhile.
    fn during(
        &self,
        contender: &dyn Contender,
        work: impl FnOnce() -> Result<()> + Send,
    ) -> Result<usize> {
        self.set("trace", "")?;
        let daemon = contender
            .daemon()
            .map(threads_of)
            .transpose()?
            .unwrap_or_default();
        // Threads meet here: paths of tracefs are good only on this one.
        let (tell, told) = std::sync::mpsc::channel();
        let (allow, allowed) = std::sync::mpsc::channel();
        let room = contender.room();
        let tracked = std::thread::scope(|scope| {
            let worker = scope.spawn(move || {
                room.move_in()?;
                tell.send(gettid().as_raw())
                    .context("telling the id of this thread")?;
                allowed.recv().context("waiting for the trace to start")?;
                work()
            });
            let started = self.start(told.recv().context("the worker did not start")?, &daemon);
            // With the sender gone the worker gives up.
            match started {
                Ok(_) => allow.send(()).context("starting the worker")?,
                Err(_) => drop(allow),
            }
            match worker.join() {
                Ok(result) => result.and(started),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        self.stop()?;
        let tracked = tracked?;
        let text = fs::read_to_string(self.dir.join("trace")).context("reading the trace")?;
        count_waits(&text, tracked)
    }

    fn start(&self, worker: i32, daemon: &[i32]) -> Result<HashSet<i32>> {
        let tracked: HashSet<i32> = daemon.iter().copied().chain([worker]).collect();
        let text: Vec<String> = tracked.iter().map(i32::to_string).collect();
        self.set("set_event_pid", &text.join(" "))?;
        for event in ["sched_switch", "sched_process_fork"] {
            self.set(&format!("events/sched/{event}/enable"), "1")?;
        }
        Ok(tracked)
    }

    fn stop(&self) -> Result<()> {
        self.set("events/enable", "0")
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.dir) {
            eprintln!("{} stays behind: {error}", self.dir.display());
        }
    }
}

/// Removes an instance; it is busy as long as one of its files is open somewhere.
fn remove(dir: &Path) -> std::io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    fs::write(dir.join("events/enable"), "0")?;
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// Waits for the signals that all other threads block, on a thread that sees the same mounts.
fn remove_at_signal(dir: PathBuf) {
    std::thread::spawn(move || {
        if endings().wait().is_ok() {
            // Nobody is left to be told if this fails.
            let _ = remove(&dir);
            std::process::exit(130);
        }
    });
}

/// How many times a tracked task, or one that it started, went to sleep in a waiting function.
fn count_waits(trace: &str, mut tracked: HashSet<i32>) -> Result<usize> {
    let (mut waits, mut sleeper_is_tracked) = (0, false);
    for line in trace.lines() {
        if line.contains("LOST") && line.contains("EVENTS") {
            bail!("the trace is incomplete: {}", line.trim());
        } else if line.contains("sched_process_fork: ") {
            let parent = number_after(line, " pid=");
            if parent.is_some_and(|pid| tracked.contains(&pid)) {
                tracked.extend(number_after(line, "child_pid="));
            }
        } else if line.contains("sched_switch: ") {
            let pid = number_after(line, "prev_pid=");
            sleeper_is_tracked = pid.is_some_and(|pid| tracked.contains(&pid));
        } else if sleeper_is_tracked && is_waiting_frame(line) {
            waits += 1;
            // One sleep counts once, however many such functions are on the stack.
            sleeper_is_tracked = false;
        }
    }
    Ok(waits)
}

fn is_waiting_frame(line: &str) -> bool {
    let frame = line.trim_start().strip_prefix("=> ");
    frame.is_some_and(|frame| WAITING.iter().any(|name| frame.starts_with(name)))
}

fn number_after(line: &str, key: &str) -> Option<i32> {
    let rest = line.split(key).nth(1)?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
# tracer: nop
 ip-7 [000] d..2. 1.0: sched_process_fork: comm=ip pid=7 child_comm=ip child_pid=8
 ip-8 [000] d..2. 1.1: sched_switch: prev_comm=ip prev_pid=8 prev_prio=120 prev_state=D ==> next_comm=x next_pid=0 next_prio=120
 ip-8 [000] d..2. 1.2: <stack trace>
 => schedule
 => synchronize_rcu_expedited
 => synchronize_net
 other-9 [000] d..2. 1.3: sched_switch: prev_comm=other prev_pid=9 prev_prio=120 prev_state=D ==> next_comm=ip next_pid=7 next_prio=120
 => synchronize_rcu
 ip-7 [000] d..2. 1.4: sched_switch: prev_comm=ip prev_pid=7 prev_prio=120 prev_state=D ==> next_comm=x next_pid=0 next_prio=120
 => wait_for_completion_killable
";

    #[test]
    fn a_wait_counts_once_and_only_of_tracked_tasks_and_their_children() {
        assert_eq!(count_waits(TRACE, [7].into()).expect("complete"), 1);
        assert_eq!(count_waits(TRACE, [9].into()).expect("complete"), 1);
        assert_eq!(count_waits(TRACE, [1].into()).expect("complete"), 0);
    }

    #[test]
    fn an_incomplete_trace_proves_nothing() {
        assert!(count_waits("CPU:0 [LOST 12 EVENTS]\n", HashSet::new()).is_err());
    }
}
