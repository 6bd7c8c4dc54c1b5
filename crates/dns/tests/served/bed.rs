//! What a test needs: the server in a thread, and a client.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use seaway_dns::{Names, ServerConfig, Upstreams, ZoneConfig, serve};
use seaway_model::{
    ClusterEvent, Endpoint, EndpointSlice, Family, Protocol, Service, ServiceKind, ServicePort,
    TrafficPolicy,
};
use seaway_testkit::{eventually, isolate};

/// Longer than anything takes; only what is broken waits as long.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// Where the server is.
pub(crate) const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

/// A server in a namespace of the test's own.
pub(crate) struct Bed {
    pub(crate) names: Names,
    pub(crate) server: SocketAddr,
}

impl Bed {
    /// Starts a server that asks `upstreams`; the namespace must be the test's own by now.
    pub(crate) fn start(upstreams: Upstreams, change: impl FnOnce(&mut ServerConfig)) -> Bed {
        let names = Names::new(&ZoneConfig::default());
        let mut config = ServerConfig {
            listen: vec![SERVER],
            upstreams,
            ..ServerConfig::default()
        };
        change(&mut config);
        let server = config.listen[0];
        let serving = names.clone();
        std::thread::spawn(move || serve(serving, &config).expect("serves"));
        let bed = Bed { names, server };
        eventually("the server", LIMIT, || {
            bed.exchange(
                &query("cluster.local.", RecordType::SOA),
                Duration::from_millis(200),
            )
            .ok_or("silent")
        });
        bed
    }

    /// Isolates the test and starts a server that knows a small cluster and no other server.
    pub(crate) fn alone() -> Bed {
        isolate();
        let bed = Bed::start(Upstreams::Given(Vec::new()), |_| {});
        bed.names.apply(&small_cluster());
        bed
    }

    /// Sends bytes by UDP; what comes back, if anything does in time.
    pub(crate) fn exchange(&self, bytes: &[u8], limit: Duration) -> Option<Vec<u8>> {
        let any: IpAddr = match self.server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).expect("a socket");
        socket.set_read_timeout(Some(limit)).expect("a limit");
        socket.connect(self.server).expect("connected");
        socket.send(bytes).ok()?;
        let mut buffer = vec![0; 65_535];
        let length = socket.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }

    /// Asks by UDP without EDNS.
    pub(crate) fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.put(&query(name, kind))
    }

    /// Puts a question by UDP.
    pub(crate) fn put(&self, query: &[u8]) -> Message {
        let answer = self.exchange(query, LIMIT).expect("an answer");
        let answer = Message::from_vec(&answer).expect("a well-formed answer");
        assert_eq!(answer.metadata.id.to_be_bytes(), query[..2], "the id");
        assert_eq!(answer.metadata.message_type, MessageType::Response);
        answer
    }

    /// Asks by TCP.
    pub(crate) fn ask_by_tcp(&self, name: &str, kind: RecordType) -> Message {
        let mut stream = self.connect();
        say(&mut stream, &query(name, kind));
        hear(&mut stream).expect("an answer")
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server).expect("connected");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        stream
    }
}

/// Writes a question to a connection.
pub(crate) fn say(stream: &mut TcpStream, query: &[u8]) {
    let length = u16::try_from(query.len()).expect("short").to_be_bytes();
    stream
        .write_all(&[&length[..], query].concat())
        .expect("written");
}

/// Reads an answer from a connection; `None` at its end.
pub(crate) fn hear(stream: &mut TcpStream) -> Option<Message> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).expect("the whole message");
    Some(Message::from_vec(&bytes).expect("well formed"))
}

/// A question without EDNS.
pub(crate) fn query(name: &str, kind: RecordType) -> Vec<u8> {
    message(name, kind).to_vec().expect("a query")
}

/// A question of a client that takes answers of `size`.
pub(crate) fn query_of_size(name: &str, kind: RecordType, size: u16) -> Vec<u8> {
    let mut message = message(name, kind);
    let mut edns = Edns::new();
    edns.set_max_payload(size);
    message.set_edns(edns);
    message.to_vec().expect("a query")
}

pub(crate) fn message(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(name).expect("a name");
    message.add_query(Query::query(name, kind));
    message
}

/// The outcome and the addresses in the answer.
pub(crate) fn addresses(message: &Message) -> (ResponseCode, Vec<IpAddr>) {
    let address = |data: &RData| match data {
        RData::A(a) => Some(IpAddr::from(a.0)),
        RData::AAAA(a) => Some(IpAddr::from(a.0)),
        _ => None,
    };
    let found = message.answers.iter().filter_map(|r| address(&r.data));
    (message.metadata.response_code, found.collect())
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn service(name: &str, kind: ServiceKind, addresses: &[&str]) -> ClusterEvent {
    ClusterEvent::ServiceUpsert(Service {
        name: name.parse().expect("namespace/name"),
        created: 0,
        kind,
        cluster_ips: addresses.iter().map(|a| ip(a)).collect(),
        ports: vec![ServicePort {
            name: "http".to_owned(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
        }],
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        affinity: None,
        health_port: None,
        publish_not_ready: false,
        foreign: false,
    })
}

/// The endpoints of a Service, ready, without names.
pub(crate) fn slice(name: &str, service: &str, addresses: Vec<IpAddr>) -> ClusterEvent {
    let endpoint = |address| Endpoint {
        address,
        ready: true,
        serving: true,
        terminating: false,
        node: None,
        pod: None,
        hostname: None,
        for_zones: Vec::new(),
        for_nodes: Vec::new(),
    };
    ClusterEvent::SliceUpsert(EndpointSlice {
        name: name.parse().expect("namespace/name"),
        service: service.parse().expect("namespace/name"),
        family: addresses.first().map_or(Family::V4, |a| Family::of(*a)),
        ports: Vec::new(),
        endpoints: addresses.into_iter().map(endpoint).collect(),
    })
}

/// A Service with addresses, a headless one with three endpoints, and aliases.
pub(crate) fn small_cluster() -> Vec<ClusterEvent> {
    let alias =
        |name: &str, target: &str| service(name, ServiceKind::ExternalName(target.to_owned()), &[]);
    vec![
        service(
            "shop/web",
            ServiceKind::ClusterIp,
            &["10.96.0.5", "fd00:96::5"],
        ),
        service("shop/db", ServiceKind::ClusterIp, &[]),
        slice(
            "shop/db-1",
            "shop/db",
            ["10.1.0.1", "10.1.0.2", "10.1.0.3"].map(ip).into(),
        ),
        alias("shop/out", "www.example.com"),
        alias("shop/in", "web.shop.svc.cluster.local"),
        alias("shop/round", "round.shop.svc.cluster.local"),
        ClusterEvent::Synced,
    ]
}
