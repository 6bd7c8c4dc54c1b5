//! Upstream servers that do as they are told, and remember what they were asked.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// What a server does with a question.
#[derive(Clone, Debug)]
pub(crate) enum Mood {
    /// Answers with this address and time to live.
    Answers(IpAddr, u32),
    /// Answers with so many addresses, which do not fit UDP.
    Long(u8),
    /// Says this and nothing else.
    Says(ResponseCode),
    /// Says that the name does not exist, for so many seconds.
    Denies(u32),
    /// Says nothing.
    Silent,
    /// Waits until the gate is opened, then answers with this address.
    Gated(IpAddr),
    /// Answers with this address, after messages that are no answers.
    Spoofed(IpAddr),
    /// Sends nothing but messages that are no answers; answers by TCP only.
    Flooded(IpAddr),
    /// Does not know EDNS: says FORMERR, with the question or without it.
    Plain(IpAddr, bool),
}

/// A server.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    mood: Mutex<Mood>,
    asked: Mutex<Vec<(String, RecordType)>>,
    by_tcp: AtomicUsize,
    gate: (Mutex<bool>, Condvar),
}

/// Names that find out about loops are not counted.
const CHECK: &str = "loop-check.seaway.internal.";

impl Upstream {
    pub(crate) fn start(address: &str, mood: Mood) -> Upstream {
        let address: SocketAddr = address.parse().expect("an address");
        let socket = UdpSocket::bind(address).expect("UDP");
        let listener = TcpListener::bind(address).expect("TCP");
        let upstream = Upstream {
            address,
            state: Arc::new(State {
                mood: Mutex::new(mood),
                asked: Mutex::default(),
                by_tcp: AtomicUsize::new(0),
                gate: (Mutex::new(false), Condvar::new()),
            }),
        };
        let by_udp = upstream.clone();
        std::thread::spawn(move || by_udp.serve_udp(&Arc::new(socket)));
        let by_tcp = upstream.clone();
        std::thread::spawn(move || by_tcp.serve_tcp(&listener));
        upstream
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.state.mood.lock().expect("mood") = mood;
    }

    pub(crate) fn open(&self) {
        *self.state.gate.0.lock().expect("gate") = true;
        self.state.gate.1.notify_all();
    }

    /// How often a name was asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        let asked = self.state.asked.lock().expect("asked");
        asked.iter().filter(|(n, _)| n == name).count()
    }

    pub(crate) fn asked_by_tcp(&self) -> usize {
        self.state.by_tcp.load(SeqCst)
    }

    fn serve_udp(&self, socket: &Arc<UdpSocket>) {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let Some((message, mood)) = self.hear(&buffer[..length]) else {
                continue;
            };
            let (upstream, socket) = (self.clone(), socket.clone());
            std::thread::spawn(move || {
                let spoofs = spoofs(&message, &mood, client);
                let sent = spoofs
                    .iter()
                    .chain(&upstream.answer(&message, &mood, false))
                    .try_for_each(|bytes| socket.send_to(bytes, client).map(drop));
                sent.expect("sent");
            });
        }
    }

    fn serve_tcp(&self, listener: &TcpListener) {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_err() {
                continue;
            }
            let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut bytes).expect("a question");
            let Some((message, mood)) = self.hear(&bytes) else {
                continue;
            };
            self.state.by_tcp.fetch_add(1, SeqCst);
            for bytes in self.answer(&message, &mood, true) {
                let length = u16::try_from(bytes.len()).expect("short").to_be_bytes();
                let framed = [&length[..], &bytes].concat();
                stream.write_all(&framed).expect("answered");
            }
        }
    }

    fn hear(&self, bytes: &[u8]) -> Option<(Message, Mood)> {
        let message = Message::from_vec(bytes).expect("a well-formed question");
        let query = &message.queries[0];
        let name = query.name.to_ascii();
        if name.ends_with(CHECK) {
            return None;
        }
        assert_eq!(name, name.to_lowercase(), "asked in lower case");
        let asked = (name, query.query_type);
        self.state.asked.lock().expect("asked").push(asked);
        let mood = self.state.mood.lock().expect("mood").clone();
        Some((message, mood))
    }

    fn answer(&self, asked: &Message, mood: &Mood, tcp: bool) -> Vec<Vec<u8>> {
        let mut reply = reply_to(asked);
        let name = asked.queries[0].name.clone();
        match mood {
            Mood::Silent => return Vec::new(),
            Mood::Flooded(_) if !tcp => return Vec::new(),
            Mood::Says(code) => reply.metadata.response_code = *code,
            Mood::Denies(seconds) => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                let soa = SOA::new(Name::root(), Name::root(), 1, 2, 3, 4, *seconds);
                reply.add_authority(Record::from_rdata(Name::root(), 9999, RData::SOA(soa)));
            }
            Mood::Long(count) => {
                for n in 0..*count {
                    let address = ip_of(n);
                    reply.add_answer(record(&name, address, 60));
                }
                if !tcp {
                    reply.answers.truncate(3);
                    reply.metadata.truncation = true;
                }
            }
            Mood::Plain(_, repeat) if asked.edns.is_some() => {
                reply.metadata.response_code = ResponseCode::FormErr;
                reply.edns = None;
                if !repeat {
                    reply.queries.clear();
                }
            }
            Mood::Gated(address) => {
                let open = self.state.gate.0.lock().expect("gate");
                let waited = self.state.gate.1.wait_while(open, |open| !*open);
                drop(waited.expect("gate"));
                reply.add_answer(record(&name, *address, 60));
            }
            Mood::Answers(address, ttl) => drop(reply.add_answer(record(&name, *address, *ttl))),
            Mood::Spoofed(address) | Mood::Flooded(address) | Mood::Plain(address, _) => {
                reply.add_answer(record(&name, *address, 60));
            }
        }
        vec![reply.to_vec().expect("a reply")]
    }
}

fn ip_of(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

fn record(name: &Name, address: IpAddr, ttl: u32) -> Record {
    let data = match address {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    };
    Record::from_rdata(name.clone(), ttl, data)
}

fn reply_to(asked: &Message) -> Message {
    let mut reply = Message::response(asked.metadata.id, asked.metadata.op_code);
    reply.metadata.recursion_desired = asked.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.queries.clone_from(&asked.queries);
    reply.edns.clone_from(&asked.edns);
    reply
}

/// Answers with an address that must never be believed: a wrong id, another name, another type,
/// a question instead of an answer, rubbish; and right ones from another port and another address.
fn spoofs(asked: &Message, mood: &Mood, client: SocketAddr) -> Vec<Vec<u8>> {
    let count = match mood {
        Mood::Spoofed(_) => 1,
        Mood::Flooded(_) => 5,
        _ => return Vec::new(),
    };
    let name = asked.queries[0].name.clone();
    let evil = IpAddr::from([203, 0, 113, 66]);
    let mut right = reply_to(asked);
    right.add_answer(record(&name, evil, 60));
    let bytes = right.to_vec().expect("a reply");
    for other in ["127.0.0.1:0", "127.0.0.99:53"] {
        let socket = UdpSocket::bind(other).expect("a socket");
        socket.send_to(&bytes, client).expect("sent");
    }
    let mut wrong_id = right.clone();
    wrong_id.metadata.id = wrong_id.metadata.id.wrapping_add(1);
    let mut wrong_name = right.clone();
    wrong_name.queries[0].name = Name::from_ascii("other.example.").expect("a name");
    let mut wrong_type = right.clone();
    wrong_type.queries[0].query_type = RecordType::MX;
    let mut question = right;
    question.metadata.message_type = hickory_proto::op::MessageType::Query;
    let messages = [wrong_id, wrong_name, wrong_type, question];
    let mut all: Vec<_> = messages
        .iter()
        .map(|m| m.to_vec().expect("bytes"))
        .collect();
    all.push(b"rubbish".to_vec());
    all.iter()
        .cycle()
        .take(all.len() * count)
        .cloned()
        .collect()
}
