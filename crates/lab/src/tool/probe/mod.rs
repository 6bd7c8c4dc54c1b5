//! Probes: one short exchange each, described and answered as a line of JSON.
//!
//! Nothing is tried twice: a datagram that gets lost is a failed probe.

mod many;
mod names;
mod tcp;
mod udp;

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::greeting::Greeting;
use super::sctp;
use super::tally::micros;

/// How probes are run.
#[derive(Clone, Debug, Args)]
pub struct ProbeArgs {
    /// How many probes run at once.
    #[arg(long, default_value_t = 4)]
    pub parallel: usize,
}

/// What kind of exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// One GET to the HTTP port.
    Http,
    /// A TCP connection that reads the greeting and has a few bytes echoed.
    Tcp,
    /// One small datagram.
    Udp,
    /// An SCTP INIT that is answered.
    Sctp,
    /// `size` bytes over TCP, all echoed and compared.
    TcpBulk,
    /// One datagram of `size` bytes *of IP packet* that must not be fragmented.
    UdpMtu,
    /// One datagram of `size` bytes of payload that the sender fragments.
    UdpFragmented,
    /// `size` connections like those of `tcp`, one after the other.
    TcpMany,
    /// `size` datagrams like that of `udp`, each from a port of its own.
    UdpMany,
    /// The records of `name` hold the target's address.
    Lookup,
    /// The SRV records of `name` lead to the target's address and port.
    Srv,
}

/// A probe to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeJob {
    /// Chosen by the caller, given back in the outcome.
    pub id: u64,
    /// What to do.
    pub kind: ProbeKind,
    /// With whom.
    pub target: SocketAddr,
    /// The name by which the target is called: it has to lead there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// From which port to send datagrams, if it is free; one of the kernel's choice without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_port: Option<u16>,
    /// How much, for the kinds that have a size.
    #[serde(default)]
    pub size: usize,
    /// How long all of it may take.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

fn default_timeout_ms() -> u64 {
    1000
}

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOutcome {
    /// The probe's number; absent if the line could not be read.
    pub id: Option<u64>,
    /// Whether everything was as it must be.
    pub ok: bool,
    /// The client's address as the server saw it.
    pub seen: Option<SocketAddr>,
    /// The server's host name.
    pub host: Option<String>,
    /// How often each server answered, for the kinds that ask many times.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<String, u64>,
    /// Time to the first answer, or for the whole exchange if the kind has a size.
    pub latency_us: Option<u64>,
    /// What went wrong.
    pub error: Option<String>,
}

/// An exchange that went well.
pub(super) struct Exchange {
    pub(super) greeting: Option<Greeting>,
    pub(super) hosts: BTreeMap<String, u64>,
    pub(super) latency: Duration,
}

impl Exchange {
    /// Somebody answered.
    pub(super) fn of(greeting: Greeting, latency: Duration) -> Exchange {
        Exchange {
            greeting: Some(greeting),
            ..Exchange::plain(latency)
        }
    }

    /// It went well without a word of the server's.
    pub(super) fn plain(latency: Duration) -> Exchange {
        Exchange {
            greeting: None,
            hosts: BTreeMap::new(),
            latency,
        }
    }
}

impl ProbeJob {
    /// A job of no size, with the usual patience.
    pub fn new(id: u64, kind: ProbeKind, target: SocketAddr) -> ProbeJob {
        ProbeJob {
            id,
            kind,
            target,
            name: None,
            from_port: None,
            size: 0,
            timeout_ms: default_timeout_ms(),
        }
    }

    fn name(&self) -> Result<&str, String> {
        let name = self.name.as_deref();
        name.ok_or_else(|| "this kind of probe needs a name".to_owned())
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.max(1))
    }

    /// The bytes that belong to this probe and to no other.
    fn token(&self) -> Vec<u8> {
        format!("probe {} to {}", self.id, self.target).into_bytes()
    }

    pub(super) fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout())
    }

    /// Runs the probe.
    pub fn run(&self) -> ProbeOutcome {
        match self.try_run() {
            Ok(exchange) => self.good(exchange),
            Err(error) => ProbeOutcome::bad(Some(self.id), error),
        }
    }

    fn try_run(&self) -> Result<Exchange, String> {
        if !matches!(self.kind, ProbeKind::Lookup | ProbeKind::Srv) {
            names::check(self)?;
        }
        match self.kind {
            ProbeKind::Http => tcp::http(self),
            ProbeKind::Tcp => tcp::greet(self),
            ProbeKind::TcpMany => many::times(self, tcp::greet),
            ProbeKind::TcpBulk => tcp::bulk(self),
            ProbeKind::Udp => udp::small(self),
            ProbeKind::UdpMany => many::times(self, udp::small),
            ProbeKind::UdpMtu => udp::unfragmented(self),
            ProbeKind::UdpFragmented => udp::fragmented(self),
            ProbeKind::Sctp => sctp::greet(self),
            ProbeKind::Lookup => names::address(self),
            ProbeKind::Srv => names::srv(self),
        }
    }

    fn good(&self, exchange: Exchange) -> ProbeOutcome {
        let (peer, host) = exchange.greeting.map(|g| (g.peer, g.host)).unzip();
        ProbeOutcome {
            id: Some(self.id),
            ok: true,
            seen: peer,
            host,
            hosts: exchange.hosts,
            latency_us: Some(micros(exchange.latency)),
            error: None,
        }
    }
}

impl ProbeOutcome {
    /// A probe that failed.
    pub fn bad(id: Option<u64>, error: String) -> ProbeOutcome {
        ProbeOutcome {
            id,
            ok: false,
            seen: None,
            host: None,
            hosts: BTreeMap::new(),
            latency_us: None,
            error: Some(error),
        }
    }
}

/// When an exchange has to be over.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    start: Instant,
    timeout: Duration,
}

impl Deadline {
    fn after(timeout: Duration) -> Deadline {
        Deadline {
            start: Instant::now(),
            timeout,
        }
    }

    /// The same beginning, with less patience.
    fn at_most(self, timeout: Duration) -> Deadline {
        Deadline {
            timeout: self.timeout.min(timeout),
            ..self
        }
    }

    pub(super) fn elapsed(self) -> Duration {
        self.start.elapsed()
    }

    /// The time that is left, or the error of having none.
    pub(super) fn left(self) -> Result<Duration, String> {
        match self.timeout.checked_sub(self.elapsed()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(self.over()),
        }
    }

    fn over(self) -> String {
        format!("no answer within {} ms", self.timeout.as_millis())
    }

    /// What an error of a socket means under this deadline.
    pub(super) fn describe(self, what: &str, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("{what}: {}", self.over())
            }
            _ => format!("{what}: {error}"),
        }
    }
}

/// Reads jobs, runs them, writes outcomes in the order in which they come.
pub(super) fn run(
    args: &ProbeArgs,
    input: impl BufRead + Send,
    output: impl Write + Send,
) -> io::Result<()> {
    let lines = Mutex::new(input.lines());
    let output = Mutex::new(output);
    at_once(args, || {
        while let Some(line) = next(&lines).transpose()? {
            write(&output, &outcome_of(&line))?;
        }
        Ok(())
    })
}

/// Runs jobs and tells their outcomes in the order in which they come.
pub(super) fn run_jobs<'a>(
    args: &ProbeArgs,
    jobs: &Mutex<impl Iterator<Item = &'a ProbeJob> + Send>,
    tell: impl Fn(ProbeOutcome) -> io::Result<()> + Sync,
) -> io::Result<()> {
    at_once(args, || {
        while let Some(job) = next(jobs) {
            tell(job.run())?;
        }
        Ok(())
    })
}

fn at_once(args: &ProbeArgs, work: impl Fn() -> io::Result<()> + Sync) -> io::Result<()> {
    thread::scope(|scope| {
        let workers: Vec<_> = (0..args.parallel.clamp(1, 64))
            .map(|_| scope.spawn(&work))
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })
}

fn next<T>(items: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    items.lock().unwrap_or_else(PoisonError::into_inner).next()
}

fn write(output: &Mutex<impl Write>, outcome: &ProbeOutcome) -> io::Result<()> {
    let mut line = serde_json::to_vec(outcome)?;
    line.push(b'\n');
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    output.write_all(&line)?;
    output.flush()
}

fn outcome_of(line: &str) -> ProbeOutcome {
    match serde_json::from_str::<ProbeJob>(line) {
        Ok(job) => job.run(),
        Err(e) => ProbeOutcome::bad(None, format!("the probe \"{line}\" is not understood: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::greeting::host_name;
    use super::super::serve::in_background;
    use super::*;

    const KINDS: [(ProbeKind, usize); 8] = [
        (ProbeKind::Http, 0),
        (ProbeKind::Tcp, 0),
        (ProbeKind::Udp, 0),
        (ProbeKind::TcpBulk, 4 << 20),
        (ProbeKind::UdpMtu, 1500),
        (ProbeKind::UdpFragmented, 60_000),
        (ProbeKind::TcpMany, 5),
        (ProbeKind::UdpMany, 5),
    ];

    fn job(kind: ProbeKind, target: String, size: usize) -> ProbeJob {
        ProbeJob {
            size,
            timeout_ms: 5000,
            ..ProbeJob::new(7, kind, target.parse().expect("valid"))
        }
    }

    fn port_for(kind: ProbeKind, (http, echo): (u16, u16)) -> u16 {
        if kind == ProbeKind::Http { http } else { echo }
    }

    #[test]
    fn every_kind_works_in_both_families() {
        let ports = in_background();
        for host in ["127.0.0.1", "[::1]"] {
            for (kind, size) in KINDS {
                let outcome = job(kind, format!("{host}:{}", port_for(kind, ports)), size).run();
                assert_eq!(
                    (outcome.ok, &outcome.error),
                    (true, &None),
                    "{kind:?} {host}"
                );
                let seen = outcome.seen.expect("seen").ip().to_string();
                assert_eq!(seen, host.trim_matches(['[', ']']));
                assert_eq!(outcome.host, Some(host_name()));
            }
        }
    }

    #[test]
    fn many_tell_how_often_each_answered() {
        let ports = in_background();
        for kind in [ProbeKind::TcpMany, ProbeKind::UdpMany] {
            let outcome = job(kind, format!("127.0.0.1:{}", ports.1), 7).run();
            assert_eq!(outcome.hosts, BTreeMap::from([(host_name(), 7)]));
        }
    }

    #[test]
    fn a_name_has_to_lead_to_the_target() {
        let ports = in_background();
        let named = |target: &str, name: Option<&str>| ProbeJob {
            name: name.map(str::to_owned),
            ..job(ProbeKind::Tcp, format!("{target}:{}", ports.1), 0)
        };
        assert!(named("127.0.0.1", Some("localhost")).run().ok);
        let outcome = named("127.0.0.2", Some("localhost")).run();
        let error = outcome.error.expect("an error");
        assert!(
            error.starts_with("localhost has ") && error.ends_with(", and not 127.0.0.2"),
            "{error}"
        );
        let nameless = job(ProbeKind::Lookup, "127.0.0.1:53".into(), 0).run();
        let error = nameless.error.expect("an error");
        assert!(error.contains("needs a name"), "{error}");
    }

    #[test]
    fn every_kind_reports_a_closed_port() {
        for (kind, size) in KINDS {
            let outcome = job(kind, "127.0.0.1:1".into(), size).run();
            let error = outcome.error.expect("an error");
            assert!(
                !outcome.ok && error.contains("refused"),
                "{kind:?}: {error}"
            );
        }
    }

    #[test]
    fn silence_is_reported_as_such() {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("binds");
        let target = silent.local_addr().expect("bound").to_string();
        let outcome = ProbeJob {
            timeout_ms: 20,
            ..job(ProbeKind::Udp, target, 0)
        }
        .run();
        assert_eq!(
            outcome.error.as_deref(),
            Some("receive: no answer within 20 ms")
        );
    }

    #[test]
    fn lines_go_in_and_out() {
        let (http, echo) = in_background();
        let input = format!(
            "{{\"id\":1,\"kind\":\"http\",\"target\":\"127.0.0.1:{http}\"}}\n\
             {{\"id\":2,\"kind\":\"udp-fragmented\",\"target\":\"[::1]:{echo}\",\"size\":5000}}\n\
             nonsense\n"
        );
        let mut output = Vec::new();
        run(&ProbeArgs { parallel: 2 }, input.as_bytes(), &mut output).expect("runs");
        let mut outcomes: Vec<ProbeOutcome> = output
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).expect("JSON"))
            .collect();
        outcomes.sort_by_key(|outcome| outcome.id);
        let brief: Vec<_> = outcomes.iter().map(|o| (o.id, o.ok)).collect();
        assert_eq!(brief, [(None, false), (Some(1), true), (Some(2), true)]);
        let error = outcomes[0].error.as_deref().expect("an error");
        assert!(
            error.starts_with("the probe \"nonsense\" is not understood"),
            "{error}"
        );
    }
}
