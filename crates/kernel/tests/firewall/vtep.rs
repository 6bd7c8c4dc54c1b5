//! What comes in by VXLAN.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use seaway_model::{DropReason, Family, FirewallRow, InnerSourceRow, MacAddr, VtepRow, Wiring};
use seaway_testkit::packet::{self, Frame};

use crate::rig::{LIMIT, Rig, VNI, VXLAN_PORT, net, node_address, row};

const INNER: MacAddr = MacAddr([2, 0, 0, 0, 9, 9]);

fn inner(source: &str) -> Frame {
    let source: IpAddr = source.parse().expect("valid");
    let destination = match source {
        IpAddr::V4(_) => "10.244.0.2:9",
        IpAddr::V6(_) => "[fd00::2]:9",
    };
    let packet = packet::udp(
        SocketAddr::new(source, 1),
        destination.parse().expect("valid"),
        b"inner",
    );
    packet.frame(INNER, INNER)
}

fn guarded(underlay: Family) {
    let mut rig = Rig::new(Wiring::Routed);
    let mut row = row(Wiring::Routed);
    row.vxlan.as_mut().expect("on").underlay = underlay;
    rig.planned.firewall.insert(FirewallRow { ..row });
    let vtep = rig.out.address(underlay);
    rig.planned.vteps.insert(VtepRow { address: vtep });
    for text in ["10.244.1.0/24", "192.0.2.2/32", "fd00:0:0:1::/64"] {
        rig.planned.inner_sources.insert(InnerSourceRow {
            vtep,
            net: net(text),
        });
    }
    rig.converge();
    let node = SocketAddr::new(node_address(underlay), VXLAN_PORT);
    let device = UdpSocket::bind(node).expect("bound");
    device.set_read_timeout(Some(LIMIT)).expect("set");
    let wire = rig.out.wire();
    let (mac, gateway) = (rig.out.mac, rig.out.gateway);
    let send = |source: IpAddr, vni: u32, frame: &Frame| {
        let outer = packet::vxlan(SocketAddr::new(source, 5555), node, vni, frame);
        wire.send(&outer.frame(mac, gateway));
    };
    let mut buffer = [0; 256];
    for source in ["10.244.1.7", "192.0.2.2", "fd00:0:0:1::7"] {
        send(vtep, VNI, &inner(source));
        device.recv(&mut buffer).expect("admitted");
    }
    let unknown: IpAddr = match underlay {
        Family::V4 => [192, 0, 2, 9].into(),
        Family::V6 => "2001:db8::9".parse().expect("valid"),
    };
    rig.expect_drops(DropReason::VtepUnknown, 1, |_| {
        send(unknown, VNI, &inner("10.244.1.7"));
    });
    rig.expect_drops(DropReason::VtepNetwork, 1, |_| {
        send(vtep, VNI + 1, &inner("10.244.1.7"));
    });
    for forged in [
        "10.244.0.7",
        "10.244.2.7",
        "192.0.2.1",
        "fd00:0:0:2::7",
        "fe80::7",
    ] {
        rig.expect_drops(DropReason::VtepInnerSource, 1, |_| {
            send(vtep, VNI, &inner(forged));
        });
    }
    let arp = packet::Arp::request(INNER, [10, 244, 1, 7].into(), [10, 244, 0, 2].into());
    let tagged = inner("10.244.1.7").tagged(7);
    let odd = Frame::new(INNER, INNER, 0x88b5, &[0; 64]);
    for frame in [arp.frame(INNER), tagged, odd] {
        rig.expect_drops(DropReason::VtepInnerProtocol, 1, |_| {
            send(vtep, VNI, &frame);
        });
    }
    // Too short to say what it is.
    let short = packet::udp(SocketAddr::new(vtep, 1), node, &[8, 0, 0, 0]);
    rig.expect_drops(DropReason::VtepInnerProtocol, 1, |_| {
        wire.send(&short.frame(mac, gateway));
    });
    device.set_nonblocking(true).expect("set");
    assert!(
        device.recv(&mut buffer).is_err(),
        "nothing else came through"
    );
}

#[test]
fn vxlan_over_ipv4_is_guarded() {
    guarded(Family::V4);
}

#[test]
fn vxlan_over_ipv6_is_guarded() {
    guarded(Family::V6);
}
