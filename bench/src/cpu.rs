//! CPUs: staying on one, and counting the time spent.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// The CPUs that a thread may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpus(CpuSet);

impl Cpus {
    /// One CPU.
    pub(crate) fn one(cpu: usize) -> Result<Cpus> {
        let mut set = CpuSet::new();
        set.set(cpu)
            .with_context(|| format!("there can be no CPU {cpu}"))?;
        Ok(Cpus(set))
    }

    /// Those that the calling thread may use now.
    pub(crate) fn current() -> Result<Cpus> {
        let set = sched_getaffinity(Pid::from_raw(0));
        set.map(Cpus).context("asking for the CPUs of this thread")
    }

    /// These but one; all of them if there is no other.
    pub(crate) fn without(mut self, cpu: usize) -> Result<Cpus> {
        let all = self;
        self.0
            .unset(cpu)
            .with_context(|| format!("there can be no CPU {cpu}"))?;
        Ok(if self.0 == CpuSet::new() { all } else { self })
    }

    /// Keeps the calling thread, and what it starts from now on, to these CPUs.
    pub(crate) fn keep_this_thread(&self) -> Result<()> {
        self.keep(Pid::from_raw(0))
    }

    /// Keeps every thread of a process to these CPUs.
    pub(crate) fn keep_process(&self, pid: u32) -> Result<()> {
        for thread in threads_of(pid)? {
            self.keep(Pid::from_raw(thread))?;
        }
        Ok(())
    }

    fn keep(&self, thread: Pid) -> Result<()> {
        sched_setaffinity(thread, &self.0)
            .with_context(|| format!("keeping thread {thread} to some CPUs (0 is this one)"))
    }
}

/// The ids of a process's threads.
pub(crate) fn threads_of(pid: u32) -> Result<Vec<i32>> {
    let dir = format!("/proc/{pid}/task");
    let entries = std::fs::read_dir(&dir).with_context(|| format!("listing {dir}"))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

/// CPU time of all children that have been waited for.
pub(crate) fn of_children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("asking for the children's time")?;
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

fn duration(time: TimeVal) -> Duration {
    let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
    Duration::from_micros(micros.try_into().unwrap_or_default())
}

/// CPU time of a process that runs, from `/proc/PID/schedstat` of its threads.
pub(crate) fn of_process(pid: u32) -> Result<Duration> {
    of_process_without(pid, "")
}

/// The same without the threads of a name: what they do is not what is measured.
pub(crate) fn of_process_without(pid: u32, name: &str) -> Result<Duration> {
    let is_named = |thread: &i32| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/comm"));
        comm.is_ok_and(|comm| comm.trim_end() == name)
    };
    let threads = threads_of(pid)?.into_iter();
    let threads = threads.filter(|thread| !is_named(thread));
    Ok(threads
        .filter_map(|thread| scheduled(&format!("/proc/{pid}/task/{thread}")))
        .sum())
}

/// Waits until a process has done next to nothing for a while, but for the threads of a name: what
/// follows from a change is done then.
pub(crate) fn rest(pid: u32, without: &str, quiet: Duration, patience: Duration) -> Result<()> {
    let mut before = of_process_without(pid, without)?;
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        std::thread::sleep(quiet);
        let now = of_process_without(pid, without)?;
        if now <= before + quiet / 200 {
            break;
        }
        before = now;
    }
    Ok(())
}

/// Counts the CPU time of this process and of the kernel's packet thread of one CPU, which works
/// for whoever sends much.
#[derive(Debug)]
pub(crate) struct Meter {
    softirq: Option<String>,
}

impl Meter {
    /// A meter for work that is kept to `cpu`.
    pub(crate) fn new(cpu: usize) -> Meter {
        Meter {
            softirq: process_named(&format!("ksoftirqd/{cpu}")),
        }
    }

    /// The time spent up to now.
    pub(crate) fn now(&self) -> Result<Duration> {
        let own = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
        let own = Duration::from(own.context("reading the CPU clock of this process")?);
        let softirq = self.softirq.as_deref().and_then(scheduled);
        Ok(own + softirq.unwrap_or_default())
    }
}

/// The folder in /proc of the first process of this name.
fn process_named(name: &str) -> Option<String> {
    let entries = std::fs::read_dir("/proc").ok()?;
    let paths = entries.filter_map(|entry| entry.ok()?.path().into_os_string().into_string().ok());
    let mut paths = paths.filter(|path| path.ends_with(|c: char| c.is_ascii_digit()));
    paths.find(|path| {
        let comm = std::fs::read_to_string(format!("{path}/comm"));
        comm.is_ok_and(|comm| comm.trim_end() == name)
    })
}

/// Nanoseconds on a CPU: the first number of `schedstat`.
fn scheduled(folder: &str) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("{folder}/schedstat")).ok()?;
    let nanos = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_is_put() {
        let before = Cpus::current().expect("it has some");
        let first = (0..CpuSet::count()).find(|cpu| before.0.is_set(*cpu).unwrap_or(false));
        let cpu = first.expect("at least one");
        Cpus::one(cpu)
            .and_then(|one| one.keep_this_thread())
            .expect("it is one of its own");
        let now = Cpus::current().expect("it has one").0;
        let set = (0..CpuSet::count()).filter(|cpu| now.is_set(*cpu).unwrap_or(false));
        assert_eq!(set.collect::<Vec<_>>(), [cpu]);
    }

    #[test]
    fn time_spent_is_counted() {
        let meter = Meter::new(0);
        let before = meter.now().expect("a clock");
        let sum: u64 = (0..2_000_000u64).map(std::hint::black_box).sum();
        assert!(std::hint::black_box(sum) > 0);
        assert!(meter.now().expect("a clock") > before);
    }
}
