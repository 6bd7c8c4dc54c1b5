//! Row 42, sockets: everything that agents and controllers can be reached at is on a list, with who
//! may: nothing else is open, and nothing on the list is missing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use seaway_testkit::{eventually, isolate};
use seaway_tests::lab::Lab;

use crate::canaries::InCluster;

const LIMIT: Duration = Duration::from_secs(30);

/// An agent: health for load balancers and probes, metrics for the node alone, and the plugin's socket
/// for root alone; names of the cluster, at an address that every node has for itself; and what hears
/// what routers tell of the size of packets, by ICMP and ICMPv6.
const AGENT: [&str; 9] = [
    "raw NODE:1",
    "raw6 NODE:58",
    "tcp 127.0.0.1:10249",
    "tcp 169.254.83.53:53",
    "tcp6 [::]:10256",
    "tcp6 [fd5e:a83::53]:53",
    "udp 169.254.83.53:53",
    "udp6 [fd5e:a83::53]:53",
    "unix agent.sock 600",
];
/// A controller answers where it is told to, at its socket itself alone.
const PROBES: &str = "127.0.0.1:10267";

/// The processes of the lab that run a command of `seaway`.
fn processes(lab: &Lab, command: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("proc").flatten();
    let found = all.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let is_it = words.get(1) == Some(&command.as_bytes());
        let text = String::from_utf8_lossy(&line).into_owned();
        (is_it && text.contains(&format!("/{}/", lab.name))).then_some(pid)
    });
    found.collect()
}

/// The sockets that a process holds, by their numbers.
fn held(pid: u32) -> BTreeSet<u64> {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).expect("open files");
    let number = |target: String| {
        let inner = target.strip_prefix("socket:[")?.strip_suffix(']')?;
        inner.parse().ok()
    };
    all.flatten()
        .filter_map(|entry| number(fs::read_link(entry.path()).ok()?.to_str()?.to_owned()))
        .collect()
}

/// Whatever of a process somebody else can send to without having been asked.
fn open(pid: u32) -> BTreeSet<String> {
    let held = held(pid);
    let mut open = BTreeSet::new();
    for name in [
        "tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6",
    ] {
        for fields in table(pid, name) {
            let listens = match name {
                "tcp" | "tcp6" => fields[3] == "0A",
                // Nobody else is heard by one that is connected.
                _ => fields[2].ends_with(":0000"),
            };
            if listens && is_held(&held, fields.get(9)) {
                open.insert(format!("{name} {}", address(&fields[1])));
            }
        }
    }
    for fields in table(pid, "packet") {
        if is_held(&held, fields.get(8)) {
            open.insert(format!("packet {}", fields[3]));
        }
    }
    for name in ["sctp/eps", "sctp6/eps"] {
        assert!(table(pid, name).is_empty(), "{name}");
    }
    for fields in table(pid, "unix") {
        let listens = fields[3] == "00010000";
        if listens && is_held(&held, fields.get(6)) {
            open.insert(unix(pid, fields.get(7).map_or("", String::as_str)));
        }
    }
    open
}

fn is_held(held: &BTreeSet<u64>, number: Option<&String>) -> bool {
    let number = number.and_then(|number| number.parse().ok());
    held.contains(&number.expect("the number of a socket"))
}

/// The lines of a table of the process's network, in words, without the first.
fn table(pid: u32, name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let lines = text.lines().skip(1);
    lines
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

/// A socket in the file system: its name, and who may; the name that it was bound to is another one.
fn unix(pid: u32, bound: &str) -> String {
    if bound.is_empty() || bound.starts_with('@') {
        return format!("unix {bound} everybody");
    }
    let path = std::path::Path::new(bound).with_extension("sock");
    let seen = format!("/proc/{pid}/root{}", path.display());
    let meta = fs::metadata(&seen).unwrap_or_else(|e| panic!("{seen}: {e}"));
    let name = path.file_name().expect("a name").to_string_lossy();
    format!("unix {name} {:o}", meta.permissions().mode() & 0o777)
}

/// An address as the kernel prints it: words of 32 bits in the machine's order.
fn address(text: &str) -> String {
    let (ip, port) = text.split_once(':').expect("an address and a port");
    let port = u16::from_str_radix(port, 16).expect("a port");
    let bytes: Vec<u8> = (0..ip.len() / 8)
        .flat_map(|word| {
            let word = &ip[word * 8..word * 8 + 8];
            u32::from_str_radix(word, 16).expect("a word").to_ne_bytes()
        })
        .collect();
    let ip: std::net::IpAddr = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => v4.into(),
        Err(_) => <[u8; 16]>::try_from(bytes.as_slice()).expect("IPv6").into(),
    };
    std::net::SocketAddr::new(ip, port).to_string()
}

/// The addresses of the lab's nodes, as sockets have them.
fn node_addresses(lab: &Lab) -> Vec<String> {
    let path = "jsonpath={.items[*].status.addresses[?(@.type==\"InternalIP\")].address}";
    let text = lab.kubectl(&["get", "nodes", "-o", path]);
    let addresses: Vec<std::net::IpAddr> = text
        .split_whitespace()
        .map(|address| address.parse().expect("an address"))
        .collect();
    assert_eq!(addresses.len(), 4, "two nodes, both families: {text}");
    let port = |ip: &std::net::IpAddr| std::net::SocketAddr::new(*ip, 0).to_string();
    let host = |text: String| text.trim_end_matches(":0").to_owned();
    addresses.iter().map(|ip| host(port(ip))).collect()
}

/// Waits until exactly these are open.
fn only_these(what: &str, pid: u32, nodes: &[String], list: &[&str]) {
    let wanted: BTreeSet<String> = list.iter().map(ToString::to_string).collect();
    let general = |socket: String| {
        let mut nodes = nodes.iter();
        match nodes.find(|node| socket.contains(&format!(" {node}:"))) {
            Some(node) => socket.replace(node, "NODE"),
            None => socket,
        }
    };
    eventually("the sockets on the list are open", LIMIT, || {
        let found: BTreeSet<String> = open(pid).into_iter().map(general).collect();
        match found == wanted {
            true => Ok(()),
            false => Err((what.to_owned(), found)),
        }
    });
}

#[test]
fn r42_every_socket_is_on_the_list() {
    isolate();
    let lab = Lab::up("sockets", &["--nodes", "2", "--pods", "1"]);
    let nodes = node_addresses(&lab);
    let (agents, controllers) = (processes(&lab, "agent"), processes(&lab, "controller"));
    assert_eq!((agents.len(), controllers.len()), (2, 1));
    for agent in agents {
        only_these("an agent", agent, &nodes, &AGENT);
    }
    only_these("the lab's controller", controllers[0], &nodes, &[]);
    let at_socket = ["--health-socket", "/run/controller.sock"];
    let probed = InCluster::start(
        &lab,
        &[&["--healthz-bind", PROBES][..], &at_socket].concat(),
    );
    let listed = format!("tcp {PROBES}");
    let pid = probed.process.id();
    let listed = [listed.as_str(), "unix controller.sock 600"];
    only_these("a cluster's controller", pid, &nodes, &listed);
}
