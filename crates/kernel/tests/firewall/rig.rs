//! A node with Pods and a neighbour, made by hand: only the firewall is ours.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ipnet::IpNet;
use seaway_kernel::netns::Netns;
use seaway_kernel::realise::{Firewall, RowFailure, Services};
use seaway_model::{
    AttachmentId, ContainerId, Device, DropReason, Family, FirewallRow, HostPortKey, HostPortRow,
    IfName, LocalPodRow, MacAddr, PortGuardRow, Protocol, VxlanGuard, Wiring, host_link_name,
};
use seaway_plan::{ChangeSet, Tables};
use seaway_testkit::{Wire, eventually, isolate};

pub(crate) const LIMIT: Duration = Duration::from_secs(10);
pub(crate) const VNI: u32 = 0x5ea1;
pub(crate) const VXLAN_PORT: u16 = 4789;

/// A Pod, or the neighbour on the node's uplink.
pub(crate) struct Station {
    pub(crate) netns: Netns,
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
    /// Its side of the link.
    pub(crate) mac: MacAddr,
    /// The node's side of the link, or of the bridge.
    pub(crate) gateway: MacAddr,
    pub(crate) id: AttachmentId,
}

impl Station {
    pub(crate) fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }

    pub(crate) fn wire(&self) -> Wire {
        Wire::open(&self.netns, "eth0")
    }

    pub(crate) fn ip(&self, arguments: &str) {
        self.netns.enter(|| ip(arguments)).expect("namespace");
    }
}

pub(crate) struct Rig {
    pub(crate) firewall: Firewall,
    pub(crate) planned: Tables,
    pub(crate) node: Netns,
    pub(crate) out: Station,
    pub(crate) pods: Vec<Station>,
    wiring: Wiring,
}

pub(crate) fn ip(arguments: &str) {
    run("ip", &arguments.split(' ').collect::<Vec<_>>());
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.expect("the program is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

pub(crate) fn nft(text: &str) -> String {
    run("nft", &[text])
}

/// All tables, without what they count meanwhile.
pub(crate) fn ruleset() -> String {
    run("nft", &["--stateless", "list", "ruleset"])
}

pub(crate) fn sysctl(path: &str, value: &str) {
    fs::write(Path::new("/proc/sys/net").join(path), value).expect("a kernel setting");
}

/// Asking for one link makes the kernel finish what follows from a new carrier; until then it drops
/// what the link is to send.
fn settle(device: &str) {
    ip(&format!("link show dev {device}"));
}

/// No unasked words of the kernel: tests count every packet.
fn hush() {
    for device in ["all", "default"] {
        sysctl(&format!("ipv6/conf/{device}/accept_dad"), "0");
        sysctl(&format!("ipv6/conf/{device}/router_solicitations"), "0");
        sysctl(&format!("ipv6/conf/{device}/accept_ra"), "0");
    }
}

fn namespace(name: &str) -> Netns {
    let netns = Netns::create().expect("namespace");
    fs::create_dir_all("/run/netns").expect("folder");
    netns
        .pin(&Path::new("/run/netns").join(name))
        .expect("pinned");
    netns
        .enter(|| {
            hush();
            ip("link set lo up");
        })
        .expect("namespace");
    netns
}

fn mac_of(netns: &Netns, device: &str) -> MacAddr {
    Wire::open(netns, device).mac
}

fn attachment(i: u8) -> AttachmentId {
    AttachmentId {
        container: ContainerId::new(format!("c{i}")).expect("valid"),
        interface: IfName::new("eth0").expect("valid"),
    }
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().expect("valid")
}

pub(crate) fn row(wiring: Wiring) -> FirewallRow {
    FirewallRow {
        wiring,
        own_nets: [net("10.244.0.0/24"), net("fd00:0:0:0::/64")].into(),
        vxlan: Some(VxlanGuard {
            vni: VNI,
            port: VXLAN_PORT,
            underlay: Family::V4,
            inner_lengths: [(Family::V4, 24), (Family::V4, 32), (Family::V6, 64)].into(),
        }),
        masquerade: true,
        cluster_lengths: [
            (Family::V4, 24),
            (Family::V4, 32),
            (Family::V6, 64),
            (Family::V6, 128),
        ]
        .into(),
        services: None,
    }
}

pub(crate) const NODE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const NODE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

pub(crate) fn node_address(family: Family) -> IpAddr {
    match family {
        Family::V4 => NODE_V4.into(),
        Family::V6 => NODE_V6.into(),
    }
}

impl Rig {
    /// A node with a neighbour, its firewall in force.
    pub(crate) fn new(wiring: Wiring) -> Rig {
        isolate();
        hush();
        sysctl("ipv4/ip_forward", "1");
        sysctl("ipv6/conf/all/forwarding", "1");
        let node = Netns::current().expect("namespace");
        let netns = namespace("out");
        ip("link add up0 type veth peer name eth0 netns out");
        ip("addr add 192.0.2.1/24 dev up0");
        ip("addr add 2001:db8::1/64 dev up0 nodad");
        ip("link set up0 up");
        let out = Station {
            v4: Ipv4Addr::new(192, 0, 2, 2),
            v6: "2001:db8::2".parse().expect("valid"),
            mac: mac_of(&netns, "eth0"),
            gateway: mac_of(&node, "up0"),
            id: attachment(0),
            netns,
        };
        for command in [
            "addr add 192.0.2.2/24 dev eth0",
            "addr add 2001:db8::2/64 dev eth0 nodad",
            "link set eth0 up",
            "route add 10.244.0.0/24 via 192.0.2.1",
            "route add fd00::/64 via 2001:db8::1",
        ] {
            out.ip(command);
        }
        settle("up0");
        out.netns.enter(|| settle("eth0")).expect("namespace");
        let mut rig = Rig {
            firewall: Firewall::default(),
            planned: Tables::default(),
            node,
            out,
            pods: Vec::new(),
            wiring,
        };
        if wiring == Wiring::Bridge {
            rig.make_bridge();
        }
        rig.planned.firewall.insert(row(wiring));
        rig.converge();
        rig
    }

    /// With two Pods.
    pub(crate) fn with_pods(wiring: Wiring) -> Rig {
        let mut rig = Rig::new(wiring);
        rig.add_pod(2);
        rig.add_pod(3);
        rig
    }

    fn make_bridge(&self) {
        ip("link add sbr0 group 24228 address 02:00:00:00:00:01 type bridge");
        ip("addr add 10.244.0.1/24 dev sbr0");
        ip("addr add fd00::1/64 dev sbr0 nodad");
        ip("link set sbr0 up");
        sysctl("bridge/bridge-nf-call-iptables", "1");
        sysctl("bridge/bridge-nf-call-ip6tables", "1");
    }

    pub(crate) fn add_pod(&mut self, i: u8) {
        let id = attachment(i);
        let name = host_link_name(&id);
        let netns = namespace(&format!("pod{i}"));
        ip(&format!(
            "link add {name} group 24225 type veth peer name eth0 netns pod{i}"
        ));
        let gateway = match self.wiring {
            Wiring::Routed => mac_of(&self.node, name.as_str()),
            Wiring::Bridge => mac_of(&self.node, "sbr0"),
        };
        let pod = Station {
            v4: Ipv4Addr::new(10, 244, 0, i),
            v6: format!("fd00::{i:x}").parse().expect("valid"),
            mac: mac_of(&netns, "eth0"),
            gateway,
            id,
            netns,
        };
        for address in [pod.v4.into(), pod.v6.into()] {
            let owner = Some(pod.id.clone());
            self.planned
                .local_pods
                .insert(LocalPodRow { address, owner });
        }
        match self.wiring {
            Wiring::Routed => routed(&pod, name.as_str()),
            Wiring::Bridge => {
                for address in [pod.v4.into(), pod.v6.into(), pod.mac.link_local().into()] {
                    self.planned.port_guards.insert(PortGuardRow {
                        device: Device::PodLink(pod.id.clone()),
                        address,
                        mac: pod.mac,
                    });
                }
                self.converge();
                bridged(&pod, name.as_str());
                settle("sbr0");
            }
        }
        settle(name.as_str());
        pod.netns.enter(|| settle("eth0")).expect("namespace");
        self.pods.push(pod);
    }

    pub(crate) fn apply(&mut self, changes: &ChangeSet) -> Vec<RowFailure> {
        let mut failures = Vec::new();
        self.firewall.apply_before(changes, &mut failures);
        self.firewall.apply_after(changes, &mut failures);
        failures
    }

    pub(crate) fn observed(&mut self) -> Tables {
        self.observed_with(Services::Read)
    }

    pub(crate) fn observed_with(&mut self, services: Services) -> Tables {
        let mut tables = Tables::default();
        let result = self.firewall.observe(&self.planned, services, &mut tables);
        result.expect("read");
        tables
    }

    /// Makes the planned rows true, and sees that they are.
    pub(crate) fn converge(&mut self) {
        let observed = self.observed();
        let changes = self.planned.changes_from(&observed);
        assert_eq!(self.apply(&changes), vec![]);
        let observed = self.observed();
        assert_eq!(self.planned.changes_from(&observed), ChangeSet::default());
    }

    pub(crate) fn host_port(
        &mut self,
        protocol: Protocol,
        port: u16,
        address: Option<IpAddr>,
        target: SocketAddr,
    ) -> HostPortRow {
        let row = HostPortRow {
            key: HostPortKey {
                family: Family::of(target.ip()),
                protocol,
                port,
                address,
            },
            target,
            owner: Some(attachment(2)),
        };
        self.planned.host_ports.insert(row.clone());
        self.converge();
        row
    }

    pub(crate) fn drops(&mut self) -> BTreeMap<DropReason, u64> {
        self.firewall.drops().expect("read").into_iter().collect()
    }

    /// What `act` adds to the counters is just this.
    pub(crate) fn expect_drops(
        &mut self,
        reason: DropReason,
        count: u64,
        act: impl FnOnce(&mut Rig),
    ) {
        let mut wanted = self.drops();
        *wanted.get_mut(&reason).expect("every reason is there") += count;
        act(self);
        let what = format!("{count} dropped as {reason}");
        eventually(&what, LIMIT, || match self.drops() {
            found if found == wanted => Ok(()),
            found => Err(found),
        });
    }
}

fn routed(pod: &Station, name: &str) {
    let Station {
        v4,
        v6,
        gateway,
        mac,
        ..
    } = pod;
    ip(&format!("link set {name} up"));
    ip(&format!("route add {v4}/32 dev {name}"));
    ip(&format!("route add {v6}/128 dev {name}"));
    ip(&format!(
        "neigh add {v4} lladdr {mac} dev {name} nud permanent"
    ));
    ip(&format!(
        "neigh add {v6} lladdr {mac} dev {name} nud permanent"
    ));
    for command in [
        format!("addr add {v4}/32 dev eth0"),
        format!("addr add {v6}/128 dev eth0 nodad"),
        "link set eth0 up".to_owned(),
        format!("neigh add 169.254.1.1 lladdr {gateway} dev eth0 nud permanent"),
        format!("neigh add fe80::1 lladdr {gateway} dev eth0 nud permanent"),
        "route add 169.254.1.1 dev eth0 scope link".to_owned(),
        "route add default via 169.254.1.1".to_owned(),
        "-6 route add default via fe80::1 dev eth0".to_owned(),
    ] {
        pod.ip(&command);
    }
}

fn bridged(pod: &Station, name: &str) {
    ip(&format!("link set {name} master sbr0"));
    ip(&format!("link set {name} type bridge_slave hairpin on"));
    ip(&format!("link set {name} up"));
    for command in [
        format!("addr add {}/24 dev eth0", pod.v4),
        format!("addr add {}/64 dev eth0 nodad", pod.v6),
        "link set eth0 up".to_owned(),
        "route add default via 10.244.0.1".to_owned(),
        "-6 route add default via fd00::1".to_owned(),
    ] {
        pod.ip(&command);
    }
}

/// Binds a socket. A process that another test starts holds on to a socket of before for a moment.
fn bind<T>(at: &Netns, to: SocketAddr, socket: fn(SocketAddr) -> std::io::Result<T>) -> T {
    eventually(&format!("{to} is free"), LIMIT, || {
        at.enter(|| socket(to)).expect("namespace")
    })
}

/// Sends a datagram from one namespace to another and its answer back; gives the sender's address
/// as the receiver saw it.
pub(crate) fn udp(from: &Netns, to: SocketAddr, at: &Netns, bound: SocketAddr) -> IpAddr {
    let server = bind(at, bound, UdpSocket::bind);
    server.set_read_timeout(Some(LIMIT)).expect("set");
    let any = match to {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    };
    let client = from.enter(|| {
        let client = UdpSocket::bind(any).expect("bound");
        client.connect(to).expect("connected");
        client
    });
    let client = client.expect("namespace");
    client.set_read_timeout(Some(LIMIT)).expect("set");
    client.send(b"there").expect("sent");
    let mut buffer = [0; 64];
    let (length, seen) = server
        .recv_from(&mut buffer)
        .unwrap_or_else(|e| panic!("UDP to {to}: nothing came to {bound}: {e}"));
    assert_eq!(&buffer[..length], b"there");
    server.send_to(b"back", seen).expect("sent");
    let length = client
        .recv(&mut buffer)
        .unwrap_or_else(|e| panic!("UDP to {to}: no answer: {e}"));
    assert_eq!(&buffer[..length], b"back");
    seen.ip()
}

/// The same by a TCP connection.
pub(crate) fn tcp(from: &Netns, to: SocketAddr, at: &Netns, bound: SocketAddr) -> IpAddr {
    let server = bind(at, bound, TcpListener::bind);
    let client = from.enter(|| TcpStream::connect_timeout(&to, LIMIT));
    let mut client = client
        .expect("namespace")
        .unwrap_or_else(|e| panic!("TCP to {to}, served at {bound}: {e}"));
    let (mut served, seen) = server.accept().expect("accepted");
    let mut buffer = [0; 5];
    client.write_all(b"there").expect("sent");
    served.read_exact(&mut buffer).expect("received");
    served.write_all(b"back!").expect("sent");
    client.read_exact(&mut buffer).expect("received");
    seen.ip()
}

pub(crate) fn exchange(
    protocol: Protocol,
    from: &Netns,
    to: SocketAddr,
    at: &Netns,
    bound: SocketAddr,
) -> IpAddr {
    match protocol {
        Protocol::Tcp => tcp(from, to, at, bound),
        _ => udp(from, to, at, bound),
    }
}
