//! Many connections, one after the other, each from a port of its own, to whatever a name or an
//! address leads to: how many were answered, by whom, and what went wrong.
//!
//! Unlike `ping` it tries nothing while an exchange is under way, and a name is looked up each time.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::Output;
use super::ending::when_asked;
use super::fetch::resolve;
use super::probe::{ProbeJob, ProbeKind, ProbeOutcome};
use super::tally::micros;
use super::until::Stop;

/// The longest wait that does not look whether to stop.
const SLICE: Duration = Duration::from_millis(20);
/// As many different errors are told apart.
const ERRORS: usize = 20;

/// Whom to ask and how often.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// The server, for example web:80, 10.96.0.7:80 or [fd00:10:96::7]:80. If a name has several
    /// addresses, they take turns.
    pub target: String,
    /// How to ask.
    #[arg(long, value_enum, default_value_t)]
    pub kind: LoadKind,
    /// How many requests.
    #[arg(long, default_value_t = 100, conflicts_with_all = ["forever", "until_stdin_closes"])]
    pub count: u64,
    /// Go on until asked to end.
    #[arg(long)]
    pub forever: bool,
    /// Go on until standard input ends.
    #[arg(long)]
    pub until_stdin_closes: bool,
    /// Time from one request to the next.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub interval_ms: u64,
    /// How long one request may take.
    #[arg(long, default_value_t = 2000, value_name = "MS")]
    pub timeout_ms: u64,
    /// How many such clients work side by side.
    #[arg(long, default_value_t = 1)]
    pub parallel: usize,
    /// Tell how it goes, so often.
    #[arg(long, value_name = "MS")]
    pub report_ms: Option<u64>,
    /// Format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// How to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LoadKind {
    /// The echo port, by a TCP connection.
    #[default]
    Tcp,
    /// The echo port, by a datagram.
    Udp,
    /// The SCTP port, by INIT.
    Sctp,
    /// The HTTP port, by GET.
    Http,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Requests that were made.
    pub asked: u64,
    /// Those that were answered well.
    pub answered: u64,
    /// Those that were not.
    pub failed: u64,
    /// How often each server answered.
    pub servers: BTreeMap<String, u64>,
    /// How often servers saw each address as the client's.
    pub seen: BTreeMap<IpAddr, u64>,
    /// How often each error occurred.
    pub errors: BTreeMap<String, u64>,
    /// The longest time that an answer took, in microseconds.
    pub slowest_us: u64,
}

impl LoadReport {
    fn note(&mut self, outcome: ProbeOutcome, took: Duration) {
        self.asked += 1;
        if let Some(error) = outcome.error {
            self.failed += 1;
            let is_new = !self.errors.contains_key(&error);
            let key = match is_new && self.errors.len() >= ERRORS {
                true => "other errors".to_owned(),
                false => error,
            };
            *self.errors.entry(key).or_default() += 1;
            return;
        }
        self.answered += 1;
        self.slowest_us = self.slowest_us.max(micros(took));
        if let Some(host) = outcome.host {
            *self.servers.entry(host).or_default() += 1;
        }
        if let Some(seen) = outcome.seen {
            *self.seen.entry(seen.ip()).or_default() += 1;
        }
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LoadReport {
            asked,
            answered,
            failed,
            ..
        } = self;
        write!(f, "{asked} asked, {answered} answered, {failed} failed")?;
        write!(f, ", slowest {} ms", self.slowest_us / 1000)?;
        for (server, count) in &self.servers {
            write!(f, "\n{count:8} by {server}")?;
        }
        for (error, count) in &self.errors {
            write!(f, "\n{count:8} failed: {error}")?;
        }
        Ok(())
    }
}

/// Asks as told.
pub(super) fn run(args: &LoadArgs) -> io::Result<LoadReport> {
    let stop = Stop::default();
    // Before there are threads.
    let asked = stop.clone();
    when_asked(move || asked.raise());
    if args.until_stdin_closes {
        stop.raise_when_stdin_closes();
    }
    run_until(args, &stop)
}

/// The same, until the flag is raised.
pub(super) fn run_until(args: &LoadArgs, stop: &Stop) -> io::Result<LoadReport> {
    let load = Load {
        args,
        stop,
        ports: Ports::new(),
        begun: Mutex::new(0),
        report: Mutex::default(),
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..args.parallel.clamp(1, 256))
            .map(|_| scope.spawn(|| load.ask_on()))
            .collect();
        let all_ended = || clients.iter().all(thread::ScopedJoinHandle::is_finished);
        match args.report_ms {
            Some(every) => load.tell(Duration::from_millis(every.max(1)), all_ended),
            None => Ok(()),
        }
    })?;
    let report = load.report.into_inner();
    Ok(report.unwrap_or_else(PoisonError::into_inner))
}

/// Ports that datagrams are sent from, each as late again as can be. What is between may take one
/// that comes from the same port soon again for part of an earlier exchange, and the kernel's choice
/// hits upon such a port among a few hundred.
struct Ports {
    first: u64,
}

impl Ports {
    /// Those that the kernel chooses from, too.
    const RANGE: std::ops::Range<u16> = 32_768..60_999;

    fn new() -> Ports {
        use std::hash::{BuildHasher, RandomState};
        Ports {
            first: RandomState::new().hash_one(std::process::id()) % 10_000,
        }
    }

    fn of(&self, number: u64) -> u16 {
        let step = (self.first + number) % u64::from(Ports::RANGE.end - Ports::RANGE.start);
        Ports::RANGE.start + u16::try_from(step).unwrap_or(0)
    }
}

struct Load<'a> {
    args: &'a LoadArgs,
    stop: &'a Stop,
    ports: Ports,
    begun: Mutex<u64>,
    report: Mutex<LoadReport>,
}

impl Load<'_> {
    fn report(&self) -> MutexGuard<'_, LoadReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next request, if there is to be one.
    fn next(&self) -> Option<u64> {
        let endless = self.args.forever || self.args.until_stdin_closes;
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = (endless || *begun < self.args.count) && !self.stop.raised();
        let number = *begun;
        goes_on.then(|| {
            *begun += 1;
            number
        })
    }

    fn ask_on(&self) {
        let interval = Duration::from_millis(self.args.interval_ms);
        while let Some(number) = self.next() {
            let start = Instant::now();
            let outcome = self.ask(number);
            self.report().note(outcome, start.elapsed());
            self.rest_until(start + interval);
        }
    }

    fn ask(&self, number: u64) -> ProbeOutcome {
        let target = match self.address(number) {
            Ok(target) => target,
            Err(e) => {
                let error = format!("resolve {}: {e}", self.args.target);
                return ProbeOutcome::bad(None, error);
            }
        };
        let kind = match self.args.kind {
            LoadKind::Tcp => ProbeKind::Tcp,
            LoadKind::Udp => ProbeKind::Udp,
            LoadKind::Sctp => ProbeKind::Sctp,
            LoadKind::Http => ProbeKind::Http,
        };
        ProbeJob {
            timeout_ms: self.args.timeout_ms,
            from_port: (kind == ProbeKind::Udp).then(|| self.ports.of(number)),
            ..ProbeJob::new(number, kind, target)
        }
        .run()
    }

    fn address(&self, number: u64) -> io::Result<SocketAddr> {
        let all = resolve(&self.args.target)?;
        let turn = usize::try_from(number % all.len().max(1) as u64).unwrap_or(0);
        let address = all.get(turn).copied();
        address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
    }

    fn rest_until(&self, due: Instant) {
        while !self.stop.raised() {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(SLICE));
        }
    }

    /// A line about the time since the last one, again and again.
    fn tell(&self, every: Duration, all_ended: impl Fn() -> bool) -> io::Result<()> {
        let mut before = LoadReport::default();
        let mut due = Instant::now() + every;
        while !all_ended() {
            if Instant::now() >= due {
                due += every;
                let now = self.report().clone();
                writeln!(io::stdout().lock(), "{}", between(&before, &now))?;
                before = now;
            }
            thread::sleep(SLICE.min(every));
        }
        Ok(())
    }
}

/// How it has gone, and who has answered lately.
fn between(before: &LoadReport, now: &LoadReport) -> String {
    let LoadReport {
        asked,
        answered,
        failed,
        ..
    } = now;
    let count = |all: &BTreeMap<String, u64>, key: &str| all.get(key).copied().unwrap_or(0);
    let latest = now.servers.iter().filter_map(|(server, total)| {
        let new = total - count(&before.servers, server);
        (new > 0).then(|| format!("{server} {new}"))
    });
    let mut line = format!("{asked} asked, {answered} answered, {failed} failed");
    let latest: Vec<_> = latest.collect();
    if !latest.is_empty() {
        line.push_str("; of the last by ");
        line.push_str(&latest.join(", "));
    }
    for (error, total) in &now.errors {
        if *total > count(&before.errors, error) {
            line.push_str("; failed: ");
            line.push_str(error);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::greeting::host_name;
    use super::super::serve::in_background;
    use super::*;

    fn args(target: String, kind: LoadKind) -> LoadArgs {
        LoadArgs {
            target,
            kind,
            count: 12,
            forever: false,
            until_stdin_closes: false,
            interval_ms: 0,
            timeout_ms: 5000,
            parallel: 3,
            report_ms: None,
            output: Output::Text,
        }
    }

    #[test]
    fn every_answer_is_counted_with_who_gave_it() {
        let (http, echo) = in_background();
        for (kind, port) in [
            (LoadKind::Tcp, echo),
            (LoadKind::Udp, echo),
            (LoadKind::Http, http),
        ] {
            for host in ["127.0.0.1", "[::1]", "localhost"] {
                let args = args(format!("{host}:{port}"), kind);
                let report = run_until(&args, &Stop::default()).expect("runs");
                assert_eq!((report.asked, report.answered, report.failed), (12, 12, 0));
                assert_eq!(report.servers, BTreeMap::from([(host_name(), 12)]));
                assert!(report.seen.keys().all(IpAddr::is_loopback));
            }
        }
    }

    #[test]
    fn errors_are_counted_by_what_they_say() {
        let report =
            run_until(&args("127.0.0.1:1".into(), LoadKind::Tcp), &Stop::default()).expect("runs");
        assert_eq!((report.answered, report.failed), (0, 12));
        let (error, count) = report.errors.first_key_value().expect("one");
        assert!(error.contains("refused") && *count == 12, "{error}");
        let text = report.to_string();
        assert!(
            text.starts_with("12 asked, 0 answered, 12 failed"),
            "{text}"
        );
        assert!(text.contains("12 failed: connect: "), "{text}");
    }

    #[test]
    fn ports_come_back_as_late_as_can_be() {
        let ports = Ports::new();
        let all: std::collections::BTreeSet<u16> = (0..28_231).map(|n| ports.of(n)).collect();
        assert_eq!(all.len(), 28_231);
        assert!(all.iter().all(|port| Ports::RANGE.contains(port)));
        assert_eq!(ports.of(0), ports.of(28_231));
    }

    #[test]
    fn it_ends_when_told() {
        let stop = Stop::default();
        stop.raise();
        let args = LoadArgs {
            forever: true,
            ..args("127.0.0.1:1".into(), LoadKind::Tcp)
        };
        let report = run_until(&args, &stop).expect("runs");
        assert_eq!(report.asked, 0);
    }

    #[test]
    fn a_line_tells_what_is_new() {
        let before = LoadReport {
            asked: 10,
            answered: 10,
            servers: BTreeMap::from([("a".into(), 6), ("b".into(), 4)]),
            ..LoadReport::default()
        };
        let mut now = before.clone();
        (now.asked, now.answered, now.failed) = (15, 14, 1);
        now.servers.insert("b".into(), 7);
        now.servers.insert("c".into(), 1);
        now.errors.insert("connect: refused".into(), 1);
        assert_eq!(
            between(&before, &now),
            "15 asked, 14 answered, 1 failed; of the last by b 3, c 1; failed: connect: refused"
        );
    }
}
