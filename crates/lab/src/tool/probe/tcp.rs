//! The probes that make a TCP connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::super::greeting::{Greeting, Seen};
use super::super::http;
use super::{Deadline, Exchange, ProbeJob};

/// The longest greeting line that is read.
const MAX_GREETING: usize = 1024;
/// How much of a large transfer is under way at most, so that neither side has to hold it all.
const WINDOW: usize = 64 * 1024;
/// How long a connection may take to come about, however long the transfer may take then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that keeps to a deadline.
struct Connection {
    stream: TcpStream,
    deadline: Deadline,
}

impl Connection {
    fn open(job: &ProbeJob) -> Result<Connection, String> {
        let deadline = job.deadline();
        let patience = deadline.at_most(CONNECT_TIMEOUT);
        let stream = TcpStream::connect_timeout(&job.target, patience.left()?)
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|e| patience.describe("connect", &e))?;
        Ok(Connection { stream, deadline })
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let left = self.deadline.left()?;
        let sent = self
            .stream
            .set_write_timeout(Some(left))
            .and_then(|()| self.stream.write_all(bytes));
        sent.map_err(|e| self.deadline.describe("send", &e))
    }

    /// What has come, at most as much as fits; never nothing.
    fn receive(&mut self, room: &mut [u8]) -> Result<usize, String> {
        let left = self.deadline.left()?;
        match self
            .stream
            .set_read_timeout(Some(left))
            .and_then(|()| self.stream.read(room))
        {
            Ok(0) => Err("the server closed the connection too early".to_owned()),
            Ok(length) => Ok(length),
            Err(e) => Err(self.deadline.describe("receive", &e)),
        }
    }

    fn fill(&mut self, mut room: &mut [u8]) -> Result<(), String> {
        while !room.is_empty() {
            let length = self.receive(room)?;
            room = &mut room[length..];
        }
        Ok(())
    }

    fn greeting(&mut self) -> Result<Greeting, String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while byte != *b"\n" && line.len() < MAX_GREETING {
            self.fill(&mut byte)?;
            line.extend(byte);
        }
        Greeting::parse(&line)
    }
}

/// One GET.
pub(super) fn http(job: &ProbeJob) -> Result<Exchange, String> {
    let mut connection = Connection::open(job)?;
    let request = format!(
        "GET /probe/{} HTTP/1.0\r\nHost: {}\r\n\r\n",
        job.id, job.target
    );
    connection.send(request.as_bytes())?;
    let bytes = read_to_end(&mut connection)?;
    let latency = connection.deadline.elapsed();
    let answer = http::parse_answer(&bytes)?;
    if answer.status != 200 {
        return Err(format!("the server answered with status {}", answer.status));
    }
    let seen: Seen = serde_json::from_str(&answer.body).map_err(|e| {
        format!("the page is not understood ({e}): something else answers on that port")
    })?;
    Ok(Exchange::of(seen.greeting, latency))
}

fn read_to_end(connection: &mut Connection) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let left = connection.deadline.left()?;
    connection
        .stream
        .set_read_timeout(Some(left))
        .and_then(|()| connection.stream.read_to_end(&mut bytes))
        .map_err(|e| connection.deadline.describe("receive", &e))?;
    Ok(bytes)
}

/// The greeting, then a few bytes and their echo.
pub(super) fn greet(job: &ProbeJob) -> Result<Exchange, String> {
    let mut connection = Connection::open(job)?;
    let greeting = connection.greeting()?;
    let latency = connection.deadline.elapsed();
    let token = job.token();
    let mut echo = vec![0; token.len()];
    connection.send(&token)?;
    connection.fill(&mut echo)?;
    if echo != token {
        return Err("the echo differs from what was sent".to_owned());
    }
    Ok(Exchange::of(greeting, latency))
}

/// Many bytes and their echo, a window at a time.
pub(super) fn bulk(job: &ProbeJob) -> Result<Exchange, String> {
    let mut connection = Connection::open(job)?;
    let greeting = connection.greeting()?;
    let mut source = Pattern::new(job.id);
    let mut window = vec![0; WINDOW];
    let mut echo = vec![0; WINDOW];
    let mut left = job.size;
    while left > 0 {
        let length = left.min(WINDOW);
        source
            .read_exact(&mut window[..length])
            .map_err(|e| e.to_string())?;
        connection.send(&window[..length])?;
        connection.fill(&mut echo[..length])?;
        if echo[..length] != window[..length] {
            return Err(format!("the echo differs after {} bytes", job.size - left));
        }
        left -= length;
    }
    Ok(Exchange::of(greeting, connection.deadline.elapsed()))
}

/// An endless sequence of bytes in which no part looks like another.
struct Pattern(u64);

impl Pattern {
    fn new(seed: u64) -> Pattern {
        Pattern(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
}

impl Read for Pattern {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        for byte in room.iter_mut() {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            *byte = self.0.to_le_bytes()[0];
        }
        Ok(room.len())
    }
}
