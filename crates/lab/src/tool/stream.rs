//! A long TCP connection to an echo server: sends without pause, checks every byte that comes back,
//! and tells at the end how much went through and whether anything broke.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::Output;
use super::fetch::connect;
use super::ping::is_wait;
use super::until::Stop;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the echo of the last bytes may take once the stream is told to end.
const LAST_ECHO: Duration = Duration::from_secs(5);
const SLICE: Duration = Duration::from_millis(50);

/// Where to stream to.
#[derive(Clone, Debug, Args)]
pub struct StreamArgs {
    /// The echo server, for example 10.244.1.2:7777 or [fd00:10:244:1::2]:7777
    pub target: String,
    /// Bytes to send before their echo is awaited.
    #[arg(long, default_value_t = 4096, value_name = "BYTES")]
    pub chunk: usize,
    /// Pause after each chunk.
    #[arg(long, default_value_t = 5, value_name = "MS")]
    pub interval_ms: u64,
    /// Format of the report.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// What came of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Bytes that were given to the kernel.
    pub sent: u64,
    /// Bytes that came back as they were sent.
    pub verified: u64,
    /// The longest time that an echo took.
    pub longest_gap_ms: u64,
    /// What broke, if anything did.
    pub error: Option<String>,
}

impl fmt::Display for StreamReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StreamReport {
            sent,
            verified,
            longest_gap_ms,
            error,
        } = self;
        write!(
            f,
            "{sent} bytes sent, {verified} came back intact, longest gap {longest_gap_ms} ms"
        )?;
        match error {
            Some(error) => write!(f, "\nbroken: {error}"),
            None => Ok(()),
        }
    }
}

/// Streams until standard input ends or the connection breaks.
pub(super) fn run(args: &StreamArgs) -> StreamReport {
    run_until(args, &Stop::when_stdin_closes(true))
}

fn run_until(args: &StreamArgs, stop: &Stop) -> StreamReport {
    let mut report = StreamReport::default();
    if let Err(error) = open(args).and_then(|stream| exchange(stream, args, stop, &mut report)) {
        report.error = Some(error);
    }
    report
}

fn open(args: &StreamArgs) -> Result<TcpStream, String> {
    let prepare = |stream: TcpStream| {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SLICE))?;
        stream.set_write_timeout(Some(SLICE))?;
        Ok(stream)
    };
    connect(&args.target, CONNECT_TIMEOUT)
        .and_then(prepare)
        .map_err(|e| format!("connect to {}: {e}", args.target))
}

fn exchange(
    mut stream: TcpStream,
    args: &StreamArgs,
    stop: &Stop,
    report: &mut StreamReport,
) -> Result<(), String> {
    let mut patience = Patience::new(stop);
    skip_greeting(&mut stream, &mut patience)?;
    let mut echo = vec![0; args.chunk.max(1)];
    while !stop.raised() {
        let chunk: Vec<u8> = (0..echo.len() as u64)
            .map(|at| pattern(report.sent + at))
            .collect();
        let begun = Instant::now();
        send(&mut stream, &chunk, &mut patience, &mut report.sent)?;
        fill(&mut stream, &mut echo, &mut patience)?;
        let gap = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        report.longest_gap_ms = report.longest_gap_ms.max(gap);
        if let Some(at) = (0..echo.len()).find(|at| echo[*at] != chunk[*at]) {
            return Err(format!(
                "byte {} came back changed",
                report.verified + at as u64
            ));
        }
        report.verified += echo.len() as u64;
        thread::sleep(Duration::from_millis(args.interval_ms));
    }
    Ok(())
}

/// A byte that depends on its place, so that lost and repeated parts show.
fn pattern(at: u64) -> u8 {
    u8::try_from(at % 251).expect("below 251")
}

fn send(
    stream: &mut TcpStream,
    mut bytes: &[u8],
    patience: &mut Patience<'_>,
    sent: &mut u64,
) -> Result<(), String> {
    while !bytes.is_empty() {
        let written = patience.during("send", stream.write(bytes))?;
        *sent += written as u64;
        bytes = &bytes[written..];
    }
    Ok(())
}

fn fill(
    stream: &mut TcpStream,
    mut room: &mut [u8],
    patience: &mut Patience<'_>,
) -> Result<(), String> {
    while !room.is_empty() {
        match stream.read(room) {
            Ok(0) => return Err("the server closed the connection".to_owned()),
            other => {
                let length = patience.during("receive", other)?;
                room = &mut room[length..];
            }
        }
    }
    Ok(())
}

fn skip_greeting(stream: &mut TcpStream, patience: &mut Patience<'_>) -> Result<(), String> {
    let mut byte = [0];
    while byte != *b"\n" {
        fill(stream, &mut byte, patience)?;
    }
    Ok(())
}

/// How long an outage is sat out: for ever while the stream runs (that is what TCP is for), but
/// only a while once it has been told to end.
struct Patience<'a> {
    stop: &'a Stop,
    told_at: Option<Instant>,
}

impl<'a> Patience<'a> {
    fn new(stop: &'a Stop) -> Patience<'a> {
        Patience {
            stop,
            told_at: None,
        }
    }

    /// The bytes moved; none when the time slice ran out and waiting goes on.
    fn during(&mut self, what: &str, moved: io::Result<usize>) -> Result<usize, String> {
        match moved {
            Err(e) if is_wait(&e) => self.wait(what).map(|()| 0),
            Err(e) => Err(format!("{what}: {e}")),
            Ok(length) => Ok(length),
        }
    }

    fn wait(&mut self, what: &str) -> Result<(), String> {
        if !self.stop.raised() {
            return Ok(());
        }
        if self.told_at.get_or_insert_with(Instant::now).elapsed() < LAST_ECHO {
            return Ok(());
        }
        Err(format!(
            "{what}: nothing moved for {} s after the end was asked for",
            LAST_ECHO.as_secs()
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::serve::in_background;
    use super::*;

    fn args(port: u16) -> StreamArgs {
        StreamArgs {
            target: format!("127.0.0.1:{port}"),
            chunk: 10_000,
            interval_ms: 0,
            output: Output::Text,
        }
    }

    #[test]
    fn what_is_sent_comes_back_intact() {
        let (_, port) = in_background();
        let stop = Stop::default();
        let raised = stop.clone();
        let stream = thread::spawn(move || run_until(&args(port), &stop));
        thread::sleep(Duration::from_millis(30));
        raised.raise();
        let report = stream.join().expect("ends");
        assert_eq!((report.error, report.sent), (None, report.verified));
    }

    /// A server that greets and then does something wrong with the first bytes.
    fn bad_server(spoil: fn(&mut TcpStream, &mut [u8])) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("bound").port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accepts");
            stream.write_all(b"{}\n").expect("greets");
            let mut bytes = vec![0; 10_000];
            stream.read_exact(&mut bytes).expect("reads");
            spoil(&mut stream, &mut bytes);
        });
        port
    }

    #[test]
    fn changed_bytes_are_found() {
        let port = bad_server(|stream, bytes| {
            bytes[77] ^= 1;
            stream.write_all(bytes).expect("writes");
        });
        let report = run_until(&args(port), &Stop::default());
        assert_eq!(report.error.as_deref(), Some("byte 77 came back changed"));
        assert_eq!((report.sent, report.verified), (10_000, 0));
    }

    #[test]
    fn a_closed_connection_is_reported() {
        let port = bad_server(|_, _| {});
        let report = run_until(&args(port), &Stop::default());
        assert_eq!(
            report.error.as_deref(),
            Some("the server closed the connection")
        );
    }

    #[test]
    fn a_server_that_is_not_there_is_reported() {
        let report = run_until(&args(1), &Stop::default());
        assert!(
            report
                .error
                .expect("an error")
                .starts_with("connect to 127.0.0.1:1: ")
        );
    }
}
