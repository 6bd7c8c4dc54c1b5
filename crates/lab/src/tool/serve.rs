//! The server of every lab Pod: HTTP, and TCP and UDP echo, on dual-stack sockets; SCTP if asked.
//!
//! One thread a connection, at most [`MAX_CONNECTIONS`] at once; more are closed at the door.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use thiserror::Error;

use super::ending::end_when_asked;
use super::greeting::{Greeting, Seen, call_itself, host_name};
use super::http::{self, Request};
use super::sctp;
use super::udp_echo::UdpEcho;

const MAX_CONNECTIONS: usize = 256;
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How often the file that ends a server is looked for.
const END_FILE_LOOK: Duration = Duration::from_millis(100);
const STACK_BYTES: usize = 256 * 1024;

/// Ports of the server.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Port that answers HTTP GET with {host, peer, path}.
    #[arg(long, default_value_t = 8080)]
    pub http: u16,
    /// Port, TCP and UDP, that answers with {host, peer} and then echoes.
    #[arg(long, default_value_t = 7777)]
    pub echo: u16,
    /// Answer SCTP's INIT at this port, too; needs CAP_NET_RAW.
    #[arg(long)]
    pub sctp: Option<u16>,
    /// When asked to end, go on serving for so long, as a server does that lets its clients leave.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub linger_ms: u64,
    /// What the server calls itself, instead of the host's name.
    #[arg(long)]
    pub name: Option<String>,
    /// End, as if something went wrong, as soon as there is such a file; it is removed first.
    #[arg(long, value_name = "FILE")]
    pub end_file: Option<PathBuf>,
}

impl ServeArgs {
    /// Those ports, and nothing more.
    #[cfg(test)]
    pub(super) fn at(http: u16, echo: u16) -> ServeArgs {
        ServeArgs {
            http,
            echo,
            sctp: None,
            linger_ms: 0,
            name: None,
            end_file: None,
        }
    }
}

/// The server could not start or go on.
#[derive(Debug, Error)]
#[error("{operation} port {port} ({protocol}): {cause}{}", hint(.cause))]
pub struct ServeError {
    operation: &'static str,
    protocol: &'static str,
    port: u16,
    cause: io::Error,
}

fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => "; choose another one with --http or --echo",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE, and SCTP needs CAP_NET_RAW"
        }
        _ => "",
    }
}

/// Serves until the process ends.
pub(super) fn run(args: &ServeArgs) -> Result<(), ServeError> {
    end_when_asked(Duration::from_millis(args.linger_ms));
    if let Some(name) = &args.name {
        call_itself(name);
    }
    if let Some(path) = args.end_file.clone() {
        thread::spawn(move || end_at(&path));
    }
    let server = Server::bind(args)?;
    let [http, echo] = [&server.http, &server.echo].map(TcpListener::local_addr);
    if let (Ok(http), Ok(echo)) = (http, echo) {
        // Nobody may be reading: then there is nobody to tell.
        let _ = writeln!(io::stdout(), "{}: http {http}, echo {echo}", host_name());
    }
    server.run()
}

/// Ends this process when the file comes. Who looks after it starts it again, and finds none.
fn end_at(path: &Path) {
    loop {
        if std::fs::remove_file(path).is_ok() {
            std::process::exit(1);
        }
        thread::sleep(END_FILE_LOOK);
    }
}

/// The sockets of the server.
pub(super) struct Server {
    http: TcpListener,
    echo: TcpListener,
    udp: UdpEcho,
    sctp: Option<sctp::Server>,
}

impl Server {
    /// Opens the sockets. UDP takes the port that TCP echo got.
    pub(super) fn bind(args: &ServeArgs) -> Result<Server, ServeError> {
        let http = listen("http", args.http)?;
        let echo = listen("tcp echo", args.echo)?;
        let port = echo.local_addr().map_or(args.echo, |a| a.port());
        let udp =
            UdpEcho::bind(port).map_err(|cause| failed("listen on", "udp echo", port, cause))?;
        let sctp = args.sctp.map(sctp::Server::bind).transpose();
        let sctp = sctp
            .map_err(|cause| failed("listen on", "sctp", args.sctp.unwrap_or_default(), cause))?;
        Ok(Server {
            http,
            echo,
            udp,
            sctp,
        })
    }

    /// The ports of HTTP and echo.
    #[cfg(test)]
    pub(super) fn ports(&self) -> (u16, u16) {
        let port = |l: &TcpListener| l.local_addr().expect("a bound socket").port();
        (port(&self.http), port(&self.echo))
    }

    /// Serves for ever; comes back only with an error of the UDP socket.
    pub(super) fn run(self) -> Result<(), ServeError> {
        let gate = Gate::new(MAX_CONNECTIONS);
        let port = self.echo.local_addr().map_or(0, |a| a.port());
        for (listener, answer) in [(self.http, answer_http as Answer), (self.echo, answer_echo)] {
            let gate = gate.clone();
            thread::spawn(move || accept_all(&listener, &gate, answer));
        }
        if let Some(sctp) = self.sctp {
            sctp.run();
        }
        self.udp
            .run()
            .map_err(|cause| failed("serve", "udp echo", port, cause))
    }
}

fn failed(
    operation: &'static str,
    protocol: &'static str,
    port: u16,
    cause: io::Error,
) -> ServeError {
    ServeError {
        operation,
        protocol,
        port,
        cause,
    }
}

fn listen(protocol: &'static str, port: u16) -> Result<TcpListener, ServeError> {
    // Linux gives an unspecified IPv6 socket both families, unless told otherwise.
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .map_err(|cause| failed("listen on", protocol, port, cause))
}

type Answer = fn(TcpStream, SocketAddr) -> io::Result<()>;

fn accept_all(listener: &TcpListener, gate: &Gate, answer: Answer) {
    loop {
        match listener.accept() {
            Ok((stream, peer)) => admit(stream, peer, gate, answer),
            Err(e) => {
                tracing::warn!("accept: {e}");
                // Out of descriptors or memory: wait for others to finish instead of spinning.
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn admit(stream: TcpStream, peer: SocketAddr, gate: &Gate, answer: Answer) {
    let Some(ticket) = gate.enter() else {
        tracing::warn!("{peer}: too many connections, closed");
        return;
    };
    let work = move || {
        if let Err(e) = answer(stream, peer) {
            tracing::debug!("{peer}: {e}");
        }
        drop(ticket);
    };
    if let Err(e) = thread::Builder::new().stack_size(STACK_BYTES).spawn(work) {
        tracing::warn!("{peer}: no thread for the connection: {e}");
    }
}

fn answer_http(mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_read_timeout(Some(HTTP_TIMEOUT))?;
    stream.set_write_timeout(Some(HTTP_TIMEOUT))?;
    let Some(head) = http::read_head(&mut stream)? else {
        return Ok(());
    };
    let answer = match http::parse_request(&head) {
        Ok(request) => page(request, peer),
        Err(refusal) => http::answer(&refusal.to_string(), "", true),
    };
    stream.write_all(answer.as_bytes())
}

fn page(request: Request, peer: SocketAddr) -> String {
    let seen = Seen {
        greeting: Greeting::to(peer),
        path: request.path,
    };
    let mut body = serde_json::to_string(&seen).expect("strings and addresses are always JSON");
    body.push('\n');
    http::answer("200 OK", &body, request.wants_body)
}

fn answer_echo(mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    stream.write_all(&Greeting::to(peer).line())?;
    let mut part = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut part)? {
            0 => return Ok(()),
            n => stream.write_all(&part[..n])?,
        }
    }
}

/// Counts who is inside and lets in no more than a limit.
#[derive(Clone)]
struct Gate {
    inside: Arc<AtomicUsize>,
    limit: usize,
}

impl Gate {
    fn new(limit: usize) -> Gate {
        Gate {
            inside: Arc::default(),
            limit,
        }
    }

    fn enter(&self) -> Option<Ticket> {
        let before = self.inside.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket(self.inside.clone());
        (before < self.limit).then_some(ticket)
    }
}

/// A place inside, given back on drop.
struct Ticket(Arc<AtomicUsize>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A server of this process on ports of the kernel's choice: (HTTP, echo).
#[cfg(test)]
pub(super) fn in_background() -> (u16, u16) {
    let server = Server::bind(&ServeArgs::at(0, 0)).expect("binds");
    let ports = server.ports();
    thread::spawn(|| server.run());
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(port: u16, request: &str) -> http::Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
        stream.write_all(request.as_bytes()).expect("sends");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("reads");
        http::parse_answer(&bytes).expect("an answer")
    }

    #[test]
    fn http_tells_peer_path_and_host() {
        let (port, _) = in_background();
        let answer = ask(port, "GET /where HTTP/1.1\r\nHost: x\r\n\r\n");
        let seen: Seen = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(answer.status, 200);
        assert_eq!(seen.path, "/where");
        assert_eq!(seen.greeting.peer.ip().to_string(), "127.0.0.1");
        assert_eq!(seen.greeting.host, host_name());
    }

    #[test]
    fn http_refuses_what_it_does_not_speak() {
        let (port, _) = in_background();
        assert_eq!(ask(port, "POST / HTTP/1.1\r\n\r\n").status, 405);
        assert_eq!(ask(port, "nonsense\r\n\r\n").status, 400);
    }

    #[test]
    fn the_gate_lets_in_no_more_than_its_limit() {
        let gate = Gate::new(2);
        let first = gate.enter();
        let second = gate.enter();
        assert!(first.is_some() && second.is_some() && gate.enter().is_none());
        drop(first);
        assert!(gate.enter().is_some());
    }

    #[test]
    fn a_taken_port_says_what_to_do() {
        let (http, _) = in_background();
        let error = Server::bind(&ServeArgs::at(http, 0))
            .err()
            .expect("refused")
            .to_string();
        assert!(error.contains(&format!("port {http} (http)")), "{error}");
        assert!(error.contains("--http"), "{error}");
    }
}
