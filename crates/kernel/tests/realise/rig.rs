//! Nodes for these tests: each is a namespace with an uplink, a planner and the Linux realiser.
//! Filters are tested elsewhere: their rows are neither made nor compared here.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use seaway_kernel::netlink::{LinkSet, LinkTarget, Netlink, Request, VethPeer, VethSpec};
use seaway_kernel::netns::Netns;
use seaway_kernel::realise::{
    DeviceInfo, Devices, Host, LinuxHost, NodeRealiser, Observed, RowFailure, Services,
};
use seaway_kernel::uplink::{Surroundings, UplinkRule, choose};
use seaway_model::{
    Attachment, AttachmentId, ClusterEvent, ContainerId, Device, Extras, IfName, NetworkName, Node,
    NodeName, Settings, Transport, VxlanSettings, Wiring,
};
use seaway_plan::{ChangeSet, Input, Planner, RowState, Tables, compare};

pub(crate) const UPLINK: &str = "up0";

/// Settings of a wiring and a transport, with VXLAN over IPv4.
pub(crate) fn settings(wiring: Wiring, transport: Transport) -> Settings {
    Settings {
        wiring,
        transport,
        vxlan: (transport == Transport::Vxlan).then(VxlanSettings::default),
        ..Settings::default()
    }
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().expect("valid")
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("valid")
}

pub(crate) fn node_name(n: u16) -> NodeName {
    NodeName::new(format!("n{n}")).expect("valid")
}

/// Node `n` of the cluster: 10.9.x.y on the wire, 10.x.y.0/24 for its Pods, and likewise IPv6.
pub(crate) fn node(n: u16) -> Node {
    let [high, low] = n.to_be_bytes();
    Node {
        name: node_name(n),
        addresses: vec![
            ip(&format!("10.9.{high}.{low}")),
            ip(&format!("fd09::{n:x}")),
        ],
        pod_cidrs: vec![
            net(&format!("10.{}.{low}.0/24", 100 + high)),
            net(&format!("fd00:{n:x}::/64")),
        ],
        transport: None,
        zone: None,
        leaving: false,
    }
}

/// Attachment `i` on node `n`.
pub(crate) fn attachment(n: u16, i: u8) -> Attachment {
    let [high, low] = n.to_be_bytes();
    Attachment {
        id: AttachmentId {
            container: ContainerId::new(format!("c{i}")).expect("valid"),
            interface: IfName::new("eth0").expect("valid"),
        },
        network: NetworkName::new("pods").expect("valid"),
        addresses: vec![
            IpAddr::from([10, 100 + high, low, i]),
            ip(&format!("fd00:{n:x}::{i:x}")),
        ],
        extras: Extras::default(),
    }
}

/// What is not rtnetlink's to realise.
pub(crate) fn without_filters(mut changes: ChangeSet) -> ChangeSet {
    changes.firewall.clear();
    changes.vteps.clear();
    changes.inner_sources.clear();
    changes.cluster_nets.clear();
    changes.port_guards.clear();
    changes.host_ports.clear();
    changes.backends.clear();
    changes.members.clear();
    changes.source_ranges.clear();
    changes.frontends.clear();
    changes.cluster_ips.clear();
    changes.local_pods.clear();
    changes
}

const FILTERS: [&str; 12] = [
    "firewall",
    "vteps",
    "inner-sources",
    "cluster-nets",
    "port-guards",
    "host-ports",
    "backends",
    "members",
    "source-ranges",
    "frontends",
    "cluster-ips",
    "local-pods",
];

pub(crate) struct Rig {
    pub(crate) n: u16,
    pub(crate) netns: Netns,
    pub(crate) node: Box<dyn NodeRealiser>,
    pub(crate) host: LinuxHost,
    pub(crate) devices: Arc<Devices>,
    pub(crate) planner: Planner,
    pub(crate) pods: BTreeMap<u8, Netns>,
    saved: PathBuf,
}

impl Rig {
    /// Node `n` with its uplink as it is in `netns`, everything of the node itself in force.
    pub(crate) fn new(n: u16, netns: Netns, settings: Settings) -> Rig {
        let saved = PathBuf::from(format!("/run/seaway-{n}/saved.json"));
        let devices = Arc::new(Devices::default());
        let host = LinuxHost::new(devices.clone(), saved.clone());
        let realiser = netns.enter(|| host.node()).expect("entered");
        let mut rig = Rig {
            n,
            node: realiser.expect("socket"),
            netns,
            host,
            devices,
            planner: Planner::new(node_name(n), settings),
            pods: BTreeMap::new(),
            saved,
        };
        let event = ClusterEvent::NodeUpsert(node(n));
        rig.planner.apply(Input::Cluster(event));
        // As an agent does: what is planned before the first comparison is made true by it.
        rig.plan_uplink(UPLINK);
        rig.repair();
        rig
    }

    /// A node alone on its wire.
    pub(crate) fn alone(settings: Settings) -> Rig {
        seaway_testkit::isolate();
        let netns = namespace();
        let other = namespace();
        cable(&netns, 1, &other, 2);
        let rig = Rig::new(1, netns, settings);
        // The other end lives as long as the cable: the rig holds it.
        rig.with_pod_slot(other)
    }

    fn with_pod_slot(mut self, other: Netns) -> Rig {
        self.pods.insert(0, other);
        self
    }

    /// Chooses the uplink by name and makes what follows from it true.
    pub(crate) fn choose_uplink(&mut self) {
        self.choose_uplink_named(UPLINK);
    }

    pub(crate) fn choose_uplink_named(&mut self, name: &str) {
        let changes = self.plan_uplink(name);
        assert_eq!(self.apply(&changes), vec![]);
    }

    fn plan_uplink(&mut self, name: &str) -> ChangeSet {
        let rule = UplinkRule {
            name: IfName::new(name).ok(),
            ..UplinkRule::default()
        };
        let saved = self.saved.clone();
        let read = || Surroundings::read(&mut Netlink::open().expect("socket"), &saved);
        let around = self.netns.enter(read).expect("entered").expect("read");
        let chosen = choose(&rule, &node(self.n).addresses, &around).expect("an uplink");
        let info = DeviceInfo {
            index: chosen.index,
            name: chosen.name.clone(),
            peer_netns: None,
        };
        self.devices.set(Device::Uplink, info);
        let input = Input::Uplink(Some(chosen.for_planning()));
        self.planner.apply(input)
    }

    /// Plans an input and carries out what changes.
    pub(crate) fn input(&mut self, input: Input) -> ChangeSet {
        let changes = self.planner.apply(input);
        assert_eq!(self.apply(&changes), vec![]);
        changes
    }

    pub(crate) fn peer(&mut self, n: u16) {
        self.input(Input::Cluster(ClusterEvent::NodeUpsert(node(n))));
    }

    pub(crate) fn apply(&mut self, changes: &ChangeSet) -> Vec<RowFailure> {
        let changes = without_filters(changes.clone());
        let apply = || self.node.apply(&changes, &|_| None);
        self.netns.enter(apply).expect("entered")
    }

    pub(crate) fn attach(&mut self, i: u8) {
        self.attach_with(i, Extras::default());
    }

    pub(crate) fn attach_with(&mut self, i: u8, extras: Extras) {
        let pod = namespace();
        let attachment = Attachment {
            extras,
            ..attachment(self.n, i)
        };
        let changes = self.planner.apply(Input::Attach(attachment.clone()));
        let changes = without_filters(changes);
        let apply = || self.node.apply(&changes, &|_| Some(pod.as_fd()));
        assert_eq!(self.netns.enter(apply).expect("entered"), vec![]);
        let mut realiser = self.host.pod(&pod).expect("socket");
        let rows = self.planner.pod_side_rows(&attachment);
        let failures = realiser.apply(&rows.changes_from(&Tables::default()));
        assert_eq!(failures, vec![]);
        let observed = realiser.observe(&rows).expect("dump");
        assert_eq!(rows.changes_from(&observed), ChangeSet::default());
        drop(realiser);
        self.node.settle(&attachment.id).expect("settled");
        self.pods.insert(i, pod);
    }

    pub(crate) fn detach(&mut self, i: u8) {
        self.input(Input::Detach(attachment(self.n, i).id));
        self.node.reap().expect("reaped");
        self.pods.remove(&i);
    }

    pub(crate) fn observe(&mut self) -> Observed {
        let planned = self.planner.rows();
        let observe = || self.node.observe(planned, Services::Read);
        self.netns.enter(observe).expect("entered").expect("dump")
    }

    /// What a realiser that knows nothing would change.
    pub(crate) fn changes_of_a_successor(&mut self) -> ChangeSet {
        let devices = Arc::new(Devices::default());
        devices.set(
            Device::Uplink,
            self.devices.get(&Device::Uplink).expect("chosen"),
        );
        let host = LinuxHost::new(devices, self.saved.clone());
        let planned = self.planner.rows();
        let observe = || host.node()?.observe(planned, Services::Read);
        let observed = self.netns.enter(observe).expect("entered").expect("dump");
        without_filters(planned.changes_from(&observed.tables))
    }

    pub(crate) fn drift(&mut self) -> Vec<(String, RowState)> {
        let observed = self.observe();
        compare(self.planner.rows(), &observed.tables)
            .into_iter()
            .filter(|row| row.state != RowState::InForce && !FILTERS.contains(&row.table))
            .map(|row| (format!("{} {}", row.table, row.key), row.state))
            .collect()
    }

    /// Repairs what differs, and finds nothing that still does.
    pub(crate) fn repair(&mut self) {
        let observed = self.observe();
        let changes = self.planner.rows().changes_from(&observed.tables);
        assert_eq!(self.apply(&changes), vec![]);
        assert_eq!(self.drift(), vec![]);
    }

    /// Does to the node's namespace what a stranger would.
    pub(crate) fn meddle(&self, requests: &[Request]) {
        self.netlink(|netlink| netlink.send_all(requests).expect("done"));
    }

    /// The kernel as it is, for tests that know better.
    pub(crate) fn netlink<T: Send>(&self, look: impl FnOnce(&mut Netlink) -> T + Send) -> T {
        let work = || look(&mut Netlink::open().expect("socket"));
        self.netns.run(work).expect("entered")
    }

    pub(crate) fn index(&self, device: &Device) -> u32 {
        self.devices.get(device).expect("known").index
    }

    pub(crate) fn pod_link(&self, i: u8) -> Device {
        Device::PodLink(attachment(self.n, i).id)
    }

    pub(crate) fn sysctl(&self, name: &str) -> String {
        let read = || seaway_kernel::sysctl::read(name).expect("there");
        self.netns.run(read).expect("entered")
    }
}

/// A new namespace with loopback up.
pub(crate) fn namespace() -> Netns {
    let netns = Netns::create().expect("namespace");
    let up = LinkSet {
        up: Some(true),
        ..LinkSet::default()
    };
    let mut netlink = Netlink::open_in(&netns).expect("socket");
    netlink
        .send_all(&[Request::set_link(LinkTarget::Name("lo"), up)])
        .expect("loopback up");
    netns
}

/// Connects the uplinks of nodes `a` and `b`, with the nodes' addresses.
pub(crate) fn cable(here: &Netns, a: u16, there: &Netns, b: u16) {
    let mut netlink = Netlink::open_in(here).expect("socket");
    let pair = Request::veth(VethSpec {
        name: UPLINK,
        index: None,
        mac: None,
        mtu: None,
        group: None,
        up: false,
        peer: VethPeer {
            name: UPLINK,
            index: None,
            mac: None,
            mtu: None,
            netns: there.as_fd(),
        },
    });
    netlink.send_all(&[pair]).expect("made");
    for (netns, n) in [(here, a), (there, b)] {
        let mut netlink = Netlink::open_in(netns).expect("socket");
        let index = netlink.link_index(UPLINK).expect("dump").expect("there");
        // The kernel's own link-local address would come up in its own time, in the middle of a
        // test; without any, a node does not ask for neighbours on behalf of others.
        let up = LinkSet {
            up: Some(true),
            no_link_local: true,
            ..LinkSet::default()
        };
        let link_local = net(&format!("fe80::{n:x}/64"));
        let mut requests = vec![
            Request::set_link(LinkTarget::Index(index), up),
            Request::add_address(index, link_local),
        ];
        let lengths = [16, 64];
        for (address, length) in node(n).addresses.into_iter().zip(lengths) {
            let net = IpNet::new(address, length).expect("short");
            requests.push(Request::add_address(index, net));
        }
        netlink.send_all(&requests).expect("up");
    }
}

/// Sends one datagram after the other from one Pod to another until one arrives, and says who sent
/// it. The ways between nodes need an answer for the neighbour first.
pub(crate) fn reaches(from: &Netns, source: IpAddr, to: &Netns, target: IpAddr) -> IpAddr {
    let bind = |netns: &Netns, address| {
        let bind = move || UdpSocket::bind(address).expect("the Pod has its address");
        netns.run(bind).expect("namespace")
    };
    let server = bind(to, (target, 7));
    let client = bind(from, (source, 0));
    let limit = Some(Duration::from_millis(50));
    server.set_read_timeout(limit).expect("timeout");
    let arrived = || {
        client
            .send_to(b"first", (target, 7))
            .map_err(|e| e.to_string())?;
        let mut buffer = [0; 8];
        let (length, from) = server.recv_from(&mut buffer).map_err(|e| e.to_string())?;
        assert_eq!(&buffer[..length], b"first");
        Ok::<_, String>(from.ip())
    };
    seaway_testkit::eventually("a datagram arrives", Duration::from_secs(20), arrived)
}
