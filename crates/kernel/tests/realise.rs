//! The Linux realiser against a real kernel, each test in namespaces of its own.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use seaway_kernel::netlink::{Exclusive, LinkSet, LinkTarget, Netlink, Request, RouteSpec};
use seaway_kernel::netns::Netns;
use seaway_kernel::realise::{Devices, Host, LinuxHost, NodeRealiser};
use seaway_model::{
    Attachment, AttachmentId, ClusterEvent, ContainerId, IfName, NetworkName, Node, NodeName,
    host_link_name,
};
use seaway_plan::{ChangeSet, Input, Planner, RowState, Tables, compare, pod_side_rows};
use seaway_testkit::isolate;

fn attachment(i: u8) -> Attachment {
    Attachment {
        id: AttachmentId {
            container: ContainerId::new(format!("c{i}")).expect("valid"),
            interface: IfName::new("eth0").expect("valid"),
        },
        network: NetworkName::new("pods").expect("valid"),
        addresses: vec![
            IpAddr::from([10, 244, 0, i]),
            IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(i)]),
        ],
    }
}

fn planner() -> Planner {
    let name = NodeName::new("n").expect("valid");
    let mut planner = Planner::new(name.clone());
    let node = Node {
        name,
        addresses: vec![],
        pod_cidrs: ["10.244.0.0/24", "fd00::/64"]
            .map(|n| n.parse().expect("valid"))
            .to_vec(),
    };
    planner.apply(Input::Cluster(ClusterEvent::NodeUpsert(node)));
    planner
}

struct Rig {
    node: Box<dyn NodeRealiser>,
    host: LinuxHost,
    planner: Planner,
}

impl Rig {
    fn new() -> Rig {
        isolate();
        let host = LinuxHost::new(Arc::new(Devices::default()));
        let mut node = host.node().expect("socket");
        let planner = planner();
        let observed = node.observe(planner.rows()).expect("dump");
        let changes = planner.rows().changes_from(&observed.tables);
        assert_eq!(node.apply(&changes, &|_| None), vec![]);
        Rig {
            node,
            host,
            planner,
        }
    }

    fn attach(&mut self, i: u8) -> Netns {
        let netns = Netns::create().expect("namespace");
        let changes = self.planner.apply(Input::Attach(attachment(i)));
        let failures = self.node.apply(&changes, &|_| Some(netns.as_fd()));
        assert_eq!(failures, vec![]);
        let mut pod = self.host.pod(&netns).expect("socket");
        let rows = pod_side_rows(&attachment(i), 1500);
        let failures = pod.apply(&rows.changes_from(&Tables::default()));
        assert_eq!(failures, vec![]);
        let observed = pod.observe(&rows).expect("dump");
        assert_eq!(rows.changes_from(&observed), ChangeSet::default());
        drop(pod);
        self.node.settle(&attachment(i).id).expect("settled");
        netns
    }

    fn drift(&mut self) -> Vec<(String, RowState)> {
        let observed = self.node.observe(self.planner.rows()).expect("dump");
        compare(self.planner.rows(), &observed.tables)
            .into_iter()
            .filter(|row| row.state != RowState::InForce)
            .map(|row| (format!("{} {}", row.table, row.key), row.state))
            .collect()
    }
}

#[test]
fn attached_pods_are_in_force_and_adopted_by_a_new_realiser() {
    let mut rig = Rig::new();
    let _pods = [rig.attach(2), rig.attach(3)];
    assert_eq!(rig.drift(), vec![]);
    let fresh = LinuxHost::new(Arc::new(Devices::default()));
    let observed = fresh
        .node()
        .expect("socket")
        .observe(rig.planner.rows())
        .expect("dump");
    assert_eq!(
        rig.planner.rows().changes_from(&observed.tables),
        ChangeSet::default()
    );
    assert_eq!(observed.attachments, vec![attachment(2), attachment(3)]);
}

#[test]
fn k14_the_first_packets_pass_at_once() {
    let mut rig = Rig::new();
    let pods = [rig.attach(2), rig.attach(3)];
    for target in attachment(3).addresses {
        let server = pods[1]
            .run(|| std::net::UdpSocket::bind((target, 7)).expect("the Pod has its address"))
            .expect("namespace");
        let source = attachment(2).addresses;
        let source = source
            .iter()
            .find(|a| a.is_ipv4() == target.is_ipv4())
            .expect("dual stack");
        let client = pods[0]
            .run(|| std::net::UdpSocket::bind((*source, 0)).expect("the Pod has its address"))
            .expect("namespace");
        client.send_to(b"first", (target, 7)).expect("sent");
        let limit = Some(std::time::Duration::from_secs(5));
        server.set_read_timeout(limit).expect("timeout");
        let mut buffer = [0; 8];
        let (length, from) = server
            .recv_from(&mut buffer)
            .expect("the first packet arrives");
        assert_eq!((&buffer[..length], from.ip()), (&b"first"[..], *source));
    }
}

#[test]
fn drift_is_seen_and_repaired_and_strangers_are_left_alone() {
    let mut rig = Rig::new();
    let _pod = rig.attach(2);
    let name = host_link_name(&attachment(2).id);
    let mut netlink = Netlink::open().expect("socket");
    let link = netlink
        .link(LinkTarget::Name(name.as_str()))
        .expect("dump")
        .expect("there");
    let target = LinkTarget::Index(link.index);
    let renamed = IfName::new("mine").expect("valid");
    let damage = [
        Request::delete_neighbour(link.index, attachment(2).addresses[0]),
        Request::set_link(
            target,
            LinkSet {
                alias: Some("x:1"),
                ..LinkSet::default()
            },
        ),
        Request::set_link(
            target,
            LinkSet {
                mtu: Some(1300),
                ..LinkSet::default()
            },
        ),
        Request::set_link(
            target,
            LinkSet {
                name: Some(&renamed),
                ..LinkSet::default()
            },
        ),
    ];
    netlink.send_all(&damage).expect("damaged");
    let stranger = RouteSpec::by_device("10.99.0.0/24".parse().expect("valid"), link.index);
    netlink
        .send_all(&[stranger_route(&stranger)])
        .expect("a route that is not ours");
    let strangers = |nl: &mut Netlink| {
        let routes = nl.routes().expect("dump");
        routes
            .into_iter()
            .filter(|r| r.destination == stranger.destination)
            .collect::<Vec<_>>()
    };
    let before = strangers(&mut netlink);
    let drift = rig.drift();
    let expected = [
        ("links pod c2/eth0".to_owned(), RowState::Differs),
        (
            "neighbours 10.244.0.2 dev pod c2/eth0".to_owned(),
            RowState::Missing,
        ),
    ];
    assert_eq!(drift, expected);
    let observed = rig.node.observe(rig.planner.rows()).expect("dump");
    let changes = rig.planner.rows().changes_from(&observed.tables);
    assert_eq!(rig.node.apply(&changes, &|_| None), vec![]);
    assert_eq!(rig.drift(), vec![]);
    assert_eq!((before.len(), before), (1, strangers(&mut netlink)));
}

/// As `ip route add … proto static` would.
fn stranger_route(spec: &RouteSpec) -> Request {
    Request::add_route(spec, Exclusive::Yes).with_protocol(4)
}

#[test]
fn condemned_links_are_reaped_together_and_their_rows_are_gone() {
    let mut rig = Rig::new();
    let _pods: Vec<Netns> = (2..12).map(|i| rig.attach(i)).collect();
    for i in 2..12 {
        let changes = rig.planner.apply(Input::Detach(attachment(i).id));
        assert_eq!(rig.node.apply(&changes, &|_| None), vec![]);
        assert_eq!(
            rig.node.apply(&changes, &|_| None),
            vec![],
            "gone already is as good"
        );
    }
    let observed = rig.node.observe(rig.planner.rows()).expect("dump");
    assert_eq!(observed.dying.len(), 10);
    assert_eq!(observed.attachments, vec![]);
    rig.node.reap().expect("reaped");
    rig.node.reap().expect("nothing to reap is no error");
    assert_eq!(
        Netlink::open()
            .expect("socket")
            .links()
            .expect("dump")
            .iter()
            .filter(|l| l.kind.as_deref() == Some("veth"))
            .count(),
        0
    );
    assert_eq!(rig.drift(), vec![]);
}
