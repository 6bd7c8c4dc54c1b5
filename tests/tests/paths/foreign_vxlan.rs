//! Row 16 of the scorecard: what comes in VXLAN from a stranger, or from a node that says what is
//! not its to say, is dropped and counted.
//!
//! The stranger sits on the same switch as the nodes and can forge the outer source too.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use seaway_model::{Family, MacAddr, NodeName, Wiring, vtep_mac};
use seaway_testkit::packet::{Arp, BROADCAST, Frame, ethertype, udp, vxlan};
use seaway_testkit::{Wire, eventually};
use seaway_tests::net::{Net, Shape, outside_address};
use seaway_tests::probe::Ping;
use seaway_tests::{Agent, Pod};

use crate::common::{LIMIT, SOON, end, for_each};

const PORT: u16 = 7777;
const VXLAN_PORT: u16 = 4789;
const VNI: u32 = 0x5ea1;

/// Two nodes of a cluster, and a third one that is not in it.
struct World {
    net: Net,
    pod: Pod,
    peer: Pod,
    underlay: Family,
    stranger: Wire,
    node_mac: MacAddr,
}

/// Frames of one kind and why they are dropped.
struct Case {
    kind: &'static str,
    reason: &'static str,
    vni: u32,
    /// The outer source.
    from: IpAddr,
    inner: Vec<Frame>,
}

impl World {
    fn new(wiring: Wiring, underlay: Family) -> World {
        let shape = Shape::flat().nodes(3).wiring(wiring).vxlan_over(underlay);
        let mut net = Net::without_agents(&shape);
        net.change(|cluster| cluster.members.truncate(2));
        for agent in &mut net.agents[..2] {
            agent.spawn_agent(&[]);
        }
        net.agents[..2].iter().for_each(Agent::wait_settled);
        World {
            pod: net.pod(1, "pod"),
            peer: net.pod(2, "peer"),
            underlay,
            stranger: Wire::open(net.node(3), "eth0"),
            node_mac: Wire::open(net.node(1), "eth0").mac,
            net,
        }
    }

    /// A datagram to a Pod or the node, as it would be inside.
    fn inner(&self, source: IpAddr, target: IpAddr, needle: &[u8]) -> Frame {
        let (from, to) = (SocketAddr::new(source, 999), SocketAddr::new(target, PORT));
        udp(from, to, needle).frame(vtep("node2"), vtep("node1"))
    }

    fn send(&self, case: &Case) {
        let port = |address| SocketAddr::new(address, VXLAN_PORT);
        let to = port(self.net.address(1, self.underlay));
        for frame in &case.inner {
            let packet = vxlan(port(case.from), to, case.vni, frame);
            let outer = packet.frame(self.stranger.mac, self.node_mac);
            self.stranger.send(&outer);
        }
    }

    fn forged_sources(&self, needle: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for family in Family::ALL {
            let loopback = match family {
                Family::V4 => "127.0.0.1",
                Family::V6 => "::1",
            };
            for source in [
                self.pod.address(family),
                self.net.address(1, family),
                outside_address(family),
                loopback.parse().expect("valid"),
            ] {
                for target in [self.pod.address(family), self.net.address(1, family)] {
                    frames.push(self.inner(source, target, needle));
                }
            }
        }
        frames
    }

    fn strange_protocols(&self, needle: &[u8]) -> Vec<Frame> {
        const LLDP: u16 = 0x88cc;
        let v4 = Family::V4;
        let honest = self.inner(self.peer.address(v4), self.pod.address(v4), needle);
        let (IpAddr::V4(peer), IpAddr::V4(pod)) = (self.peer.address(v4), self.pod.address(v4))
        else {
            panic!("these are of IPv4");
        };
        let mut arp = Arp::request(vtep("node2"), peer, pod).frame(BROADCAST);
        arp.payload.extend(needle);
        vec![
            arp,
            Frame::new(vtep("node2"), vtep("node1"), LLDP, needle),
            Frame::new(vtep("node2"), vtep("node1"), ethertype::ARP, needle),
            honest.tagged(5),
        ]
    }

    fn cases(&self) -> Vec<Case> {
        let v4 = Family::V4;
        let honest = |needle: &[u8]| {
            let mut frames = Vec::new();
            for family in Family::ALL {
                let (from, to) = (self.peer.address(family), self.pod.address(family));
                frames.push(self.inner(from, to, needle));
            }
            frames
        };
        let peer = self.net.address(2, self.underlay);
        let case = |kind, reason, vni, from, inner| Case {
            kind,
            reason,
            vni,
            from,
            inner,
        };
        let stranger = self.net.shape.underlay.node_nets(3).map(|net| net.addr());
        let stranger = stranger[usize::from(self.underlay != v4)];
        vec![
            case(
                "stranger",
                "vtep-unknown",
                VNI,
                stranger,
                honest(b"stranger"),
            ),
            case("network", "vtep-network", VNI + 1, peer, honest(b"network")),
            case(
                "source",
                "vtep-inner-source",
                VNI,
                peer,
                self.forged_sources(b"source"),
            ),
            case(
                "protocol",
                "vtep-inner-protocol",
                VNI,
                peer,
                self.strange_protocols(b"protocol"),
            ),
        ]
    }
}

fn vtep(name: &str) -> MacAddr {
    vtep_mac(&NodeName::new(name).expect("valid"))
}

fn r16(wiring: Wiring, underlay: Family) {
    let world = World::new(wiring, underlay);
    let agent = world.net.agent(1);
    let mut inside = Wire::open(world.pod.netns(), "eth0");
    let node = world.net.node(1).run(|| UdpSocket::bind(("::", PORT)));
    let node = node.expect("namespace").expect("bound");
    node.set_nonblocking(true).expect("set");
    let pings = Family::ALL
        .map(|family| Ping::start(end(&world.pod, family), end(&world.peer, family), SOON / 50));
    // What is right but for the hand that sends it does arrive: the test could see the others.
    let right = Case {
        kind: "right",
        reason: "",
        vni: VNI,
        from: world.net.address(2, underlay),
        inner: Family::ALL
            .map(|f| world.inner(world.peer.address(f), world.pod.address(f), b"right"))
            .to_vec(),
    };
    world.send(&right);
    eventually("frames reach the Pod", LIMIT, || {
        match inside.count(b"right") {
            2 => Ok(()),
            count => Err(count),
        }
    });
    let cases = world.cases();
    let before: Vec<u64> = cases.iter().map(|case| agent.drops(case.reason)).collect();
    cases.iter().for_each(|case| world.send(case));
    for (case, before) in cases.iter().zip(before) {
        let sent = case.inner.len() as u64;
        eventually("they are counted", LIMIT, || {
            match agent.drops(case.reason) - before {
                enough if enough >= sent => Ok(()),
                less => Err((case.kind, less, sent, agent.all_drops())),
            }
        });
        let accepted = inside.count(case.kind.as_bytes());
        println!(
            "{wiring} over {underlay}: {}: {accepted} of {sent} accepted",
            case.kind
        );
        assert_eq!(accepted, 0);
    }
    let mut buffer = [0; 64];
    if let Ok((length, from)) = node.recv_from(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        panic!("the node took {text} from {from}");
    }
    for ping in pings {
        assert_eq!(ping.end().lost, 0, "real traffic goes on");
    }
}

#[test]
fn r16_foreign_vxlan_frames_are_dropped_and_counted() {
    let cases = [
        (Wiring::Routed, Family::V4),
        (Wiring::Routed, Family::V6),
        (Wiring::Bridge, Family::V4),
        (Wiring::Bridge, Family::V6),
    ];
    for_each(&cases, |(wiring, underlay)| r16(*wiring, *underlay));
}
