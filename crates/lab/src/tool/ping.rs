//! Asks an echo server at a steady rate and counts the answers, by UDP or by a TCP connection each.

use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;

use super::Output;
use super::fetch::resolve;
use super::greeting::Greeting;
use super::tally::{Summary, Tally};
use super::until::Stop;

/// The longest wait that does not look whether to stop.
const SLICE: Duration = Duration::from_millis(50);

/// Whom to ask and how often.
#[derive(Clone, Debug, Args)]
pub struct PingArgs {
    /// The echo server, for example 10.244.1.2:7777 or [fd00:10:244:1::2]:7777
    pub target: String,
    /// Make a TCP connection each time instead of sending a UDP datagram.
    #[arg(long)]
    pub tcp: bool,
    /// How many requests; without end if --until-stdin-closes is given.
    #[arg(long, default_value_t = 5, conflicts_with = "until_stdin_closes")]
    pub count: u64,
    /// Time between two requests.
    #[arg(long, default_value_t = 200, value_name = "MS")]
    pub interval_ms: u64,
    /// How long to wait for an answer: of each connection with --tcp, of the last requests without.
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    pub timeout_ms: u64,
    /// Go on until standard input ends, then print the summary.
    #[arg(long)]
    pub until_stdin_closes: bool,
    /// Format of the summary.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// The pinger could not start.
#[derive(Debug, Error)]
#[error("{operation} {target}: {cause}")]
pub struct PingError {
    operation: &'static str,
    target: String,
    cause: io::Error,
}

/// Pings as told.
pub(super) fn run(args: &PingArgs) -> Result<Summary, PingError> {
    run_until(args, &Stop::when_stdin_closes(args.until_stdin_closes))
}

/// Pings until the count is reached or the flag rises.
pub(super) fn run_until(args: &PingArgs, stop: &Stop) -> Result<Summary, PingError> {
    let failed = |operation, cause| PingError {
        operation,
        target: args.target.clone(),
        cause,
    };
    let no_address = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let target = resolve(&args.target)
        .and_then(|all| all.first().copied().ok_or_else(no_address))
        .map_err(|e| failed("resolve", e))?;
    let mut pinger = Pinger::new(args, stop);
    if args.tcp {
        pinger.by_tcp(target);
    } else {
        let socket = connected(target).map_err(|e| failed("open a UDP socket to", e))?;
        pinger.by_udp(&socket);
    }
    Ok(pinger.tally.finish(pinger.last_send))
}

fn connected(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

struct Pinger<'a> {
    stop: &'a Stop,
    start: Instant,
    count: u64,
    interval: Duration,
    timeout: Duration,
    tally: Tally,
    last_send: Duration,
}

impl<'a> Pinger<'a> {
    fn new(args: &PingArgs, stop: &'a Stop) -> Pinger<'a> {
        Pinger {
            stop,
            start: Instant::now(),
            count: if args.until_stdin_closes {
                u64::MAX
            } else {
                args.count
            },
            interval: Duration::from_millis(args.interval_ms.max(1)),
            timeout: Duration::from_millis(args.timeout_ms.max(1)),
            tally: Tally::default(),
            last_send: Duration::ZERO,
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn goes_on(&self, seq: u64) -> bool {
        seq < self.count && !self.stop.raised()
    }

    fn send(&mut self, seq: u64) {
        self.last_send = self.now();
        self.tally.sent(seq, self.last_send);
    }

    /// The instant of the next request: steady, but never several at once to catch up.
    fn next_due(&self, due: Duration) -> Duration {
        (due + self.interval).max(self.now())
    }

    fn by_udp(&mut self, socket: &UdpSocket) {
        let (mut seq, mut due) = (0, self.now());
        while self.goes_on(seq) {
            self.send(seq);
            if let Err(e) = socket.send(seq.to_string().as_bytes()) {
                self.tally.refused(e.to_string());
            }
            seq += 1;
            due = self.next_due(due);
            while self.now() < due && self.goes_on(seq) {
                self.receive(socket, due);
            }
        }
        let end = self.now() + self.timeout;
        while self.now() < end && !self.tally.is_complete() {
            self.receive(socket, end);
        }
    }

    /// Takes one answer, waiting until `due` or for one slice of time, whichever is shorter.
    ///
    /// By poll, because a socket's own timeout is as coarse as the kernel's clock tick.
    fn receive(&mut self, socket: &UdpSocket, due: Duration) {
        let mut buffer = [0; 1024];
        let wait = due
            .saturating_sub(self.now())
            .clamp(Duration::from_millis(1), SLICE);
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
        if poll(
            &mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)],
            timeout,
        ) == Ok(0)
        {
            return;
        }
        match socket.recv(&mut buffer) {
            Ok(length) => match number_of(&buffer[..length]) {
                Ok(seq) => self.tally.answered(seq, self.now()),
                Err(reason) => self.tally.refused(reason),
            },
            Err(e) if is_wait(&e) => {}
            Err(e) => self.tally.refused(e.to_string()),
        }
    }

    fn by_tcp(&mut self, target: SocketAddr) {
        let (mut seq, mut due) = (0, self.now());
        while self.goes_on(seq) {
            self.send(seq);
            match greet(target, self.timeout) {
                Ok(()) => self.tally.answered(seq, self.now()),
                Err(e) => self.tally.refused(e.to_string()),
            }
            seq += 1;
            due = self.next_due(due);
            while self.now() < due && self.goes_on(seq) {
                std::thread::sleep(due.saturating_sub(self.now()).min(SLICE));
            }
        }
    }
}

fn number_of(answer: &[u8]) -> Result<u64, String> {
    let (_, payload) = Greeting::split(answer)?;
    std::str::from_utf8(payload)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| "an answer carries no number that was sent".to_owned())
}

/// Connects and reads the greeting.
fn greet(target: SocketAddr, timeout: Duration) -> io::Result<()> {
    let stream = TcpStream::connect_timeout(&target, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    let mut line = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut line)?;
    Greeting::parse(&line).map(drop).map_err(io::Error::other)
}

/// Whether an error only says that the time is over.
pub(super) fn is_wait(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::serve::in_background;
    use super::*;

    fn args(target: String, tcp: bool) -> PingArgs {
        PingArgs {
            target,
            tcp,
            count: 5,
            interval_ms: 1,
            timeout_ms: 5000,
            until_stdin_closes: false,
            output: Output::Text,
        }
    }

    #[test]
    fn every_request_is_answered_in_both_families_and_protocols() {
        let (_, port) = in_background();
        for host in ["127.0.0.1", "[::1]"] {
            for tcp in [false, true] {
                let summary = run(&args(format!("{host}:{port}"), tcp)).expect("pings");
                assert_eq!(
                    (summary.sent, summary.received, summary.lost),
                    (5, 5, 0),
                    "{host} {tcp}"
                );
                assert_eq!(summary.last_error, None);
            }
        }
    }

    #[test]
    fn a_closed_port_loses_everything_and_says_why() {
        for tcp in [false, true] {
            let quick = PingArgs {
                timeout_ms: 20,
                ..args("127.0.0.1:1".into(), tcp)
            };
            let summary = run(&quick).expect("pings");
            assert_eq!((summary.sent, summary.received), (5, 0));
            assert!(
                summary.last_error.expect("an error").contains("refused"),
                "tcp: {tcp}"
            );
        }
    }

    #[test]
    fn it_goes_on_until_told_to_stop() {
        let (_, port) = in_background();
        let stop = Stop::default();
        let raised = stop.clone();
        let endless = PingArgs {
            until_stdin_closes: true,
            ..args(format!("127.0.0.1:{port}"), false)
        };
        let pinger = thread::spawn(move || run_until(&endless, &stop));
        thread::sleep(Duration::from_millis(30));
        raised.raise();
        let summary = pinger.join().expect("ends").expect("pings");
        assert_eq!(summary.sent, summary.received, "{summary}");
    }

    #[test]
    fn a_name_without_meaning_is_refused() {
        let error = run(&args("no-port".into(), false))
            .expect_err("refused")
            .to_string();
        assert!(error.starts_with("resolve no-port: "), "{error}");
    }
}
