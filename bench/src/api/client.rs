//! A client that costs little: HTTP/1.1 over TLS on blocking sockets, bodies as bytes.
//!
//! What it measures is the server, so it parses no JSON and waits in the kernel. It is no general
//! client: one request at a time on a connection, no redirects, no retries.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use seaway_kernel::netns::Netns;

/// How long nothing may come where something is due. It ends a run that lost an event.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of the socket's and of the decrypted stream's buffers: large, for few system calls.
const BUFFER: usize = 64 << 10;

/// The media type of kubectl's tables.
pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const JSON: &str = "application/json";

/// Opens connections to a server.
#[derive(Debug)]
pub(crate) struct Connector {
    netns: Netns,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    token: &'static str,
}

impl Connector {
    /// For the server at an address of a namespace.
    pub(crate) fn new(
        netns: Netns,
        address: SocketAddr,
        tls: Arc<ClientConfig>,
        token: &'static str,
    ) -> Connector {
        Connector {
            netns,
            address,
            tls,
            token,
        }
    }

    /// A new connection; the TLS handshake comes with its first request.
    pub(crate) fn connect(&self) -> Result<Connection> {
        let to = || format!("connecting to {}", self.address);
        let socket = self.netns.enter(|| TcpStream::connect(self.address))?;
        let socket = socket.with_context(to)?;
        socket.set_nodelay(true).with_context(to)?;
        socket.set_read_timeout(Some(PATIENCE)).with_context(to)?;
        let name = ServerName::from(self.address.ip());
        let session = ClientConnection::new(Arc::clone(&self.tls), name).with_context(to)?;
        let stream = StreamOwned::new(session, Wire::new(socket));
        Ok(Connection {
            stream: BufReader::with_capacity(BUFFER, stream),
            host: self.address,
            token: self.token,
            out: Vec::new(),
            body: Vec::new(),
        })
    }
}

/// The socket: reads in large pieces, and counts them.
#[derive(Debug)]
struct Wire {
    input: BufReader<TcpStream>,
    received: u64,
}

impl Wire {
    fn new(socket: TcpStream) -> Wire {
        Wire {
            input: BufReader::with_capacity(BUFFER, socket),
            received: 0,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.received += count as u64;
        Ok(count)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.input.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.input.get_mut().flush()
    }
}

type Stream = BufReader<StreamOwned<ClientConnection, Wire>>;

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    method: &'static str,
    path: &'a str,
    accept: &'static str,
    content: &'static str,
    body: &'a str,
}

impl<'a> Request<'a> {
    /// Reads.
    pub(crate) fn get(path: &'a str) -> Request<'a> {
        Request {
            method: "GET",
            path,
            accept: JSON,
            content: "",
            body: "",
        }
    }

    /// The same with another media type.
    pub(crate) fn accepting(self, accept: &'static str) -> Request<'a> {
        Request { accept, ..self }
    }

    /// Makes something.
    pub(crate) fn post(path: &'a str, body: &'a str) -> Request<'a> {
        Request {
            method: "POST",
            content: JSON,
            body,
            ..Request::get(path)
        }
    }

    /// Changes something, in the way of kubelets.
    pub(crate) fn patch(path: &'a str, body: &'a str) -> Request<'a> {
        Request {
            method: "PATCH",
            content: "application/strategic-merge-patch+json",
            ..Request::post(path, body)
        }
    }

    /// Removes something.
    pub(crate) fn delete(path: &'a str) -> Request<'a> {
        Request {
            method: "DELETE",
            ..Request::get(path)
        }
    }

    fn write(&self, host: SocketAddr, token: &str, out: &mut Vec<u8>) {
        let Request {
            method,
            path,
            accept,
            content,
            body,
        } = self;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nAccept: {accept}\r\n"
        );
        if !content.is_empty() {
            let length = body.len();
            head.push_str(&format!(
                "Content-Type: {content}\r\nContent-Length: {length}\r\n"
            ));
        }
        out.clear();
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body.as_bytes());
    }
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    Length(u64),
    Chunked,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    host: SocketAddr,
    token: &'static str,
    out: Vec<u8>,
    body: Vec<u8>,
}

impl Connection {
    /// Sends a request and gives the body of the answer; an answer that is no success is an error.
    pub(crate) fn ask(&mut self, request: Request<'_>) -> Result<&[u8]> {
        let what = || format!("{} {}", request.method, request.path);
        let (status, framing) = self.exchange_heads(request).with_context(what)?;
        self.body.clear();
        match framing {
            Framing::Length(length) => (&mut self.stream).take(length).read_to_end(&mut self.body),
            Framing::Chunked => Chunks::new(&mut self.stream).read_to_end(&mut self.body),
        }
        .with_context(what)?;
        ensure!(status < 300, "{}: {status}: {}", what(), self.start());
        Ok(&self.body)
    }

    /// Starts a watch: returns when the server has taken it.
    pub(crate) fn watch(mut self, path: &str) -> Result<Events> {
        let (status, framing) = self.exchange_heads(Request::get(path))?;
        ensure!(
            status == 200 && framing == Framing::Chunked,
            "GET {path}: {status} is not the start of a watch"
        );
        let chunks = Chunks::new(self.stream);
        Ok(Events {
            lines: BufReader::with_capacity(BUFFER, chunks),
            line: Vec::new(),
            bytes: 0,
        })
    }

    /// Bytes that came in on the socket up to now.
    pub(crate) fn received(&self) -> u64 {
        self.stream.get_ref().sock.received
    }

    fn exchange_heads(&mut self, request: Request<'_>) -> Result<(u16, Framing)> {
        request.write(self.host, self.token, &mut self.out);
        let stream = self.stream.get_mut();
        stream.write_all(&self.out).context("sending")?;
        stream.flush().context("sending")?;
        read_head(&mut self.stream)
    }

    fn start(&self) -> String {
        let start = &self.body[..self.body.len().min(500)];
        String::from_utf8_lossy(start).into_owned()
    }
}

/// The status and what follows the head.
fn read_head(stream: &mut impl BufRead) -> Result<(u16, Framing)> {
    let mut line = String::new();
    stream.read_line(&mut line).context("waiting for a reply")?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("{line:?} is no status line"))?;
    let mut framing = Framing::Length(0);
    loop {
        line.clear();
        let read = stream.read_line(&mut line).context("reading a head")?;
        ensure!(read > 0, "the connection ended inside a head");
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Ok((status, framing));
        };
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.trim().parse().context("reading Content-Length")?;
            framing = Framing::Length(length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked;
        }
    }
}

/// Reads what a chunked body carries.
#[derive(Debug)]
struct Chunks<S> {
    source: S,
    left: usize,
    started: bool,
    ended: bool,
}

impl<S: BufRead> Chunks<S> {
    fn new(source: S) -> Chunks<S> {
        Chunks {
            source,
            left: 0,
            started: false,
            ended: false,
        }
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let mut line = String::new();
        if self.started {
            self.source.read_line(&mut line)?;
            line.clear();
        }
        self.started = true;
        self.source.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim_end(), 16);
        self.left = size.map_err(|_| io::Error::other(format!("{line:?} is no chunk size")))?;
        if self.left == 0 {
            self.ended = true;
            self.source.read_line(&mut line)?;
        }
        Ok(())
    }
}

impl<S: BufRead> Read for Chunks<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            self.next_chunk()?;
        }
        let most = buffer.len().min(self.left);
        if most == 0 {
            // Even a read of nothing would make the source wait for more.
            return Ok(0);
        }
        let count = self.source.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count;
        Ok(count)
    }
}

/// The events of a watch.
#[derive(Debug)]
pub(crate) struct Events {
    lines: BufReader<Chunks<Stream>>,
    line: Vec<u8>,
    bytes: u64,
}

impl Events {
    /// Waits for the next event and gives its JSON; the end of the watch and an ERROR are errors.
    pub(crate) fn next(&mut self) -> Result<&[u8]> {
        self.line.clear();
        let read = self.lines.read_until(b'\n', &mut self.line);
        let read = read.context("waiting for an event, which may be lost")?;
        self.bytes += read as u64;
        if read == 0 {
            bail!("the watch ended before its last event");
        }
        if self.line.starts_with(br#"{"type":"ERROR""#) {
            bail!("the watch failed: {}", String::from_utf8_lossy(&self.line));
        }
        Ok(&self.line)
    }

    /// Bytes of all events up to now.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Does `work` for 0 to `count`, shared out among connections that work at once.
pub(crate) fn spread(
    connections: &mut [Connection],
    count: usize,
    work: impl Fn(&mut Connection, usize) -> Result<()> + Sync,
) -> Result<()> {
    let workers = connections.len();
    std::thread::scope(|scope| {
        let work = &work;
        let shares = connections.iter_mut().enumerate();
        let threads: Vec<_> = shares
            .map(|(first, connection)| {
                let mut mine = (first..count).step_by(workers);
                scope.spawn(move || mine.try_for_each(|i| work(connection, i)))
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_and_end() {
        let raw: &[u8] = b"5\r\nhello\r\nA\r\n, world!\r\n\r\n0\r\n\r\nnext";
        let mut chunks = Chunks::new(raw);
        let mut text = String::new();
        chunks.read_to_string(&mut text).expect("it is well formed");
        assert_eq!(text, "hello, world!\r\n");
        assert_eq!(chunks.source, b"next", "the next answer is left alone");
    }

    #[test]
    fn a_body_that_breaks_off_is_an_error() {
        let mut text = String::new();
        let broken: [&[u8]; 3] = [b"5\r\nhel", b"5\r\nhello\r\n", b"x\r\n"];
        for raw in broken {
            assert!(Chunks::new(raw).read_to_string(&mut text).is_err());
        }
    }

    #[test]
    fn heads_tell_the_status_and_the_framing() {
        let mut sized: &[u8] = b"HTTP/1.1 201 Created\r\ncontent-length: 7\r\nx: y\r\n\r\n{}";
        let read = read_head(&mut sized).expect("a head");
        assert_eq!((read, sized), ((201, Framing::Length(7)), &b"{}"[..]));
        let mut chunked: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let read = read_head(&mut chunked).expect("a head");
        assert_eq!(read, (200, Framing::Chunked));
        assert!(read_head(&mut &b"HTTP/1.1 200 OK\r\n"[..]).is_err());
    }

    #[test]
    fn a_request_says_what_it_carries() {
        let mut out = Vec::new();
        let host = "127.0.0.1:1".parse().expect("an address");
        Request::post("/a", "{}").write(host, "t", &mut out);
        let text = String::from_utf8(out).expect("text");
        for part in [
            "POST /a HTTP/1.1\r\n",
            "Content-Length: 2\r\n",
            "\r\n\r\n{}",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }
}
