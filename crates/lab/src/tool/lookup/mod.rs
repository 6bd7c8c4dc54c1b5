//! Looks names up as a program in this container would: the servers and the search path of
//! `/etc/resolv.conf`, by UDP, and by TCP where an answer is too long for that. It keeps nothing.

mod conf;
mod message;

pub use message::{Data, Record, RecordKind};

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use self::conf::Conf;
use self::message::Answer;
use super::Output;

const PORT: u16 = 53;
const RESOLV_CONF: &str = "/etc/resolv.conf";
const NO_SUCH_NAME: u16 = 3;

/// What to look up.
#[derive(Clone, Debug, Args)]
pub struct LookupArgs {
    /// A name, for example web or web.default.svc.cluster.local. (with a dot at its end as it is), or
    /// an address for PTR.
    pub name: String,
    /// What to ask for; A and AAAA without, PTR for an address.
    #[arg(value_enum, ignore_case = true)]
    pub kind: Option<RecordKind>,
    /// Ask this server, with its port or on 53, instead of those of /etc/resolv.conf.
    #[arg(long)]
    pub server: Option<String>,
    /// How long to wait for each answer.
    #[arg(long, default_value_t = 2000, value_name = "MS")]
    pub timeout_ms: u64,
    /// Format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The name that was found in the end: one of the search path may have been added.
    pub name: String,
    /// Who answered.
    pub server: SocketAddr,
    /// The records.
    pub records: Vec<Record>,
}

/// Nothing was found.
#[derive(Debug, Error)]
pub enum LookupError {
    /// The text is no name.
    #[error("\"{0}\" is no name that DNS could have")]
    Name(String),
    /// The server is none.
    #[error("--server \"{0}\" is no address: write it like 169.254.83.53 or [fd00::1]:53")]
    Server(String),
    /// Nobody to ask.
    #[error("{RESOLV_CONF} names no server; name one by --server")]
    NoServer,
    /// All servers failed.
    #[error("ask {server} for {name}: {reason}")]
    Failed {
        /// Who was asked last.
        server: SocketAddr,
        /// For what.
        name: String,
        /// Why it did not work.
        reason: String,
    },
    /// There is no such name, or it has no such record.
    #[error("{name}: {what}, says {server}")]
    Nothing {
        /// What was asked for last.
        name: String,
        /// Whether the name exists.
        what: &'static str,
        /// Who says so.
        server: SocketAddr,
    },
}

/// Looks up as told.
pub(super) fn run(args: &LookupArgs) -> Result<Vec<Found>, LookupError> {
    let mut conf = conf::read(RESOLV_CONF);
    if let Some(server) = &args.server {
        conf.servers = vec![parse_server(server)?];
    }
    let timeout = Duration::from_millis(args.timeout_ms.max(1));
    let address: Option<IpAddr> = args.name.parse().ok();
    let name = match address {
        Some(address) if matches!(args.kind, None | Some(RecordKind::Ptr)) => reverse(address),
        _ => args.name.clone(),
    };
    let kinds: &[RecordKind] = match (args.kind, address) {
        (Some(kind), _) => &[kind],
        (None, Some(_)) => &[RecordKind::Ptr],
        (None, None) => &[RecordKind::A, RecordKind::Aaaa],
    };
    let all: Vec<_> = kinds
        .iter()
        .map(|kind| find(&conf, &name, *kind, timeout))
        .collect();
    // Of two families one is enough.
    let any = all.iter().any(Result::is_ok);
    all.into_iter()
        .filter(|found| !any || found.is_ok())
        .collect()
}

/// One record a line.
pub(super) fn text(found: &[Found]) -> String {
    let records = found.iter().flat_map(|found| &found.records);
    let lines: Vec<_> = records
        .map(|Record { name, ttl, data }| format!("{name} {ttl} {data}"))
        .collect();
    lines.join("\n")
}

/// Looks a name up with this machine's configuration.
pub(super) fn lookup(
    name: &str,
    kind: RecordKind,
    timeout: Duration,
) -> Result<Vec<Record>, LookupError> {
    find(&conf::read(RESOLV_CONF), name, kind, timeout).map(|found| found.records)
}

fn parse_server(text: &str) -> Result<SocketAddr, LookupError> {
    let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
    alone
        .or_else(|_| text.parse())
        .map_err(|_| LookupError::Server(text.to_owned()))
}

/// Tries the names that the search path makes of it, until one has such a record.
fn find(
    conf: &Conf,
    name: &str,
    kind: RecordKind,
    timeout: Duration,
) -> Result<Found, LookupError> {
    let mut nothing = None;
    for candidate in conf.candidates(name) {
        let (server, answer) = ask_any(conf, &candidate, kind, timeout)?;
        let has_some = !answer.records.is_empty();
        match answer.code {
            0 if has_some => {
                return Ok(Found {
                    name: candidate,
                    server,
                    records: answer.records,
                });
            }
            0 | NO_SUCH_NAME => {
                let exists = answer.code == 0;
                nothing.get_or_insert(LookupError::Nothing {
                    name: candidate,
                    what: if exists {
                        "no such record"
                    } else {
                        "no such name"
                    },
                    server,
                });
            }
            code => {
                return Err(LookupError::Failed {
                    server,
                    name: candidate,
                    reason: format!("it answers with code {code}"),
                });
            }
        }
    }
    Err(nothing.unwrap_or_else(|| LookupError::Name(name.to_owned())))
}

fn ask_any(
    conf: &Conf,
    name: &str,
    kind: RecordKind,
    timeout: Duration,
) -> Result<(SocketAddr, Answer), LookupError> {
    let id = u16::try_from(std::process::id() & 0xffff).unwrap_or(1);
    let question =
        message::question(id, name, kind).ok_or_else(|| LookupError::Name(name.to_owned()))?;
    let mut last = LookupError::NoServer;
    for server in &conf.servers {
        match ask(*server, &question, id, timeout) {
            Ok(answer) => return Ok((*server, answer)),
            Err(reason) => {
                last = LookupError::Failed {
                    server: *server,
                    name: name.to_owned(),
                    reason,
                }
            }
        }
    }
    Err(last)
}

fn ask(server: SocketAddr, question: &[u8], id: u16, timeout: Duration) -> Result<Answer, String> {
    let over = |e: io::Error| match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer within {} ms", timeout.as_millis())
        }
        _ => e.to_string(),
    };
    let answer = by_udp(server, question, id, timeout).map_err(over)?;
    match answer.is_cut {
        true => by_tcp(server, question, timeout).map_err(over),
        false => Ok(answer),
    }
}

fn by_udp(server: SocketAddr, question: &[u8], id: u16, timeout: Duration) -> io::Result<Answer> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(question)?;
    let end = Instant::now() + timeout;
    let mut room = vec![0; 64 * 1024];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let length = socket.recv(&mut room)?;
        if let Some(answer) = message::parse(&room[..length]).filter(|answer| answer.id == id) {
            return Ok(answer);
        }
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

fn by_tcp(server: SocketAddr, question: &[u8], timeout: Duration) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes()[..], question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes)?;
    message::parse(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The name under which the name of an address is.
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(address) => {
            let digits = address.octets().into_iter().rev();
            let digits = digits.flat_map(|byte| [byte & 15, byte >> 4]);
            let digits: Vec<_> = digits.map(|digit| format!("{digit:x}")).collect();
            format!("{}.ip6.arpa.", digits.join("."))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// A server that knows one name in A and cuts its answers over UDP.
    fn server(known: &'static str) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let at = socket.local_addr().expect("bound");
        let tcp = std::net::TcpListener::bind(at).expect("binds");
        let knows = message::question(0, known, RecordKind::A).expect("a name");
        let answer = move |question: &[u8], cut: bool| {
            let mut bytes = question.to_vec();
            let is_known = question[2..] == knows[2..];
            bytes[2] = 0x81 | u8::from(cut && is_known) << 1;
            match is_known {
                true if cut => {}
                true => {
                    bytes[7] = 1;
                    bytes.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\x0a\x60\0\x07");
                }
                false => bytes[3] = 3,
            }
            bytes
        };
        let over_tcp = answer.clone();
        thread::spawn(move || {
            let mut room = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut room) {
                let _ = socket.send_to(&answer(&room[..length], true), peer);
            }
        });
        thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.expect("a client");
                let mut room = vec![0; 2];
                stream.read_exact(&mut room).expect("a length");
                let mut room = vec![0; usize::from(room[1])];
                stream.read_exact(&mut room).expect("a question");
                let bytes = over_tcp(&room, false);
                let length = u8::try_from(bytes.len()).expect("short");
                let _ = stream.write_all(&[&[0, length], &bytes[..]].concat());
            }
        });
        at
    }

    fn conf(server: SocketAddr) -> Conf {
        Conf {
            servers: vec![server],
            search: vec!["ns.svc.local".into(), "svc.local".into()],
            dots: 5,
        }
    }

    #[test]
    fn the_search_path_is_walked_and_long_answers_come_by_tcp() {
        let at = server("web.ns.svc.local");
        let timeout = Duration::from_secs(5);
        let found = find(&conf(at), "web", RecordKind::A, timeout).expect("found");
        assert_eq!(found.name, "web.ns.svc.local.");
        assert_eq!(text(&[found]), "web.ns.svc.local. 5 A 10.96.0.7");
        let error = find(&conf(at), "web.", RecordKind::A, timeout).expect_err("absolute");
        assert_eq!(error.to_string(), format!("web.: no such name, says {at}"));
    }

    #[test]
    fn nobody_to_ask_is_told() {
        let mut conf = conf(([127, 0, 0, 1], 1).into());
        let timeout = Duration::from_secs(5);
        let error = find(&conf, "a", RecordKind::A, timeout).expect_err("refused");
        assert!(error.to_string().contains("refused"), "{error}");
        conf.servers.clear();
        let error = find(&conf, "a", RecordKind::A, timeout).expect_err("nobody");
        assert!(error.to_string().contains("--server"), "{error}");
    }

    #[test]
    fn addresses_have_names_of_their_own() {
        let name = |text: &str| reverse(text.parse().expect("valid"));
        assert_eq!(name("10.96.0.7"), "7.0.96.10.in-addr.arpa.");
        let six = name("fd00::12");
        assert!(
            six.starts_with("2.1.0.0.") && six.ends_with(".0.0.d.f.ip6.arpa."),
            "{six}"
        );
        assert_eq!(six.len(), 64 + "ip6.arpa.".len());
    }
}
