//! What is seen to change: each kind of row, told as such and not as a change of the surroundings.

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use seaway_kernel::netlink::{LinkSet, LinkTarget, PortInfo, Request};
use seaway_kernel::realise::{Sighting, Watch, is_shaped};
use seaway_model::{Device, Extras, RULE_PRIORITY, Rate, RouteTable, Transport, Wiring, vtep_mac};

use crate::rig::{Rig, attachment, net, node_name, settings};

/// What was seen so far.
struct Eyes {
    watch: Watch,
    seen: Vec<Sighting>,
}

impl Eyes {
    fn open(rig: &Rig) -> Eyes {
        // Asking for a link makes the kernel finish what it had to tell of its carrier.
        rig.netlink(|netlink| {
            for link in netlink.links().expect("dump") {
                netlink.link(LinkTarget::Index(link.index)).expect("asked");
            }
        });
        let open = || Watch::open(rig.devices.clone());
        Eyes {
            watch: rig.netns.enter(open).expect("entered").expect("opened"),
            seen: Vec::new(),
        }
    }

    /// Waits for a sighting of the wanted kind.
    fn see(&mut self, wanted: impl Fn(&Sighting) -> bool) {
        loop {
            let seen = &mut self.seen;
            self.watch
                .drain(|sighting| seen.push(sighting))
                .expect("drained");
            if self.seen.iter().any(&wanted) {
                return;
            }
            let mut fds = [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::from(10_000u16)).expect("polled");
            assert!(ready > 0, "not seen; but {:?}", self.seen);
        }
    }
}

#[test]
fn what_hangs_on_the_vxlan_device_is_seen() {
    let mut rig = Rig::alone(settings(Wiring::Routed, Transport::Vxlan));
    let mut eyes = Eyes::open(&rig);
    rig.peer(2);
    let fdb = |s: &Sighting| matches!(s, Sighting::Fdb(_));
    eyes.see(fdb);
    let foreign = |s: &Sighting| matches!(s, Sighting::Surroundings | Sighting::Overflow);
    let concerned = eyes.seen.iter().any(foreign);
    assert!(
        !concerned,
        "a peer concerns no surroundings: {:?}",
        eyes.seen
    );
    let index = rig.index(&Device::Vxlan);
    let mac = vtep_mac(&node_name(2));
    // What others do to the same is seen.
    let gateway = crate::rig::ip("10.100.2.0");
    rig.meddle(&[Request::delete_neighbour(index, gateway)]);
    eyes.see(|s| matches!(s, Sighting::NeighbourGone(key) if key.address == gateway));
    rig.meddle(&[Request::delete_fdb(
        index,
        mac,
        Some(crate::rig::ip("10.9.0.2")),
    )]);
    let gone = |s: &Sighting| matches!(s, Sighting::FdbGone(key) if key.device == Device::Vxlan);
    eyes.see(gone);
    let source = net("10.100.1.0/24");
    rig.meddle(&[Request::delete_rule(
        source,
        RouteTable::FromPods,
        RULE_PRIORITY,
    )]);
    eyes.see(|s| matches!(s, Sighting::RuleGone(row) if row.source == source));
    rig.meddle(&[Request::delete_link(LinkTarget::Index(index))]);
    eyes.see(|s| *s == Sighting::LinkGone(Device::Vxlan));
    assert!(rig.devices.get(&Device::Vxlan).is_none());
}

#[test]
fn what_belongs_to_a_bridge_is_seen() {
    let mut rig = Rig::alone(settings(Wiring::Bridge, Transport::Direct));
    rig.attach(2);
    let mut eyes = Eyes::open(&rig);
    let id = attachment(1, 2).id;
    let (bridge, port) = (rig.index(&Device::Bridge), rig.index(&rig.pod_link(2)));
    let flooding = LinkSet {
        port: Some(PortInfo {
            unicast_flood: true,
            ..PortInfo::POD
        }),
        ..LinkSet::default()
    };
    rig.meddle(&[Request::set_link(LinkTarget::Index(port), flooding)]);
    let planned = rig.planner.rows().links.get(&rig.pod_link(2)).cloned();
    let planned = planned.expect("planned");
    eyes.see(|s| match s {
        Sighting::Link(row) => {
            row.device == planned.device && !seaway_model::Row::in_force(&planned, row)
        }
        Sighting::Port(of, good) => *of == id && !good,
        _ => false,
    });
    rig.meddle(&[Request::delete_address(bridge, net("10.100.1.1/24"))]);
    let address = net("10.100.1.1/24");
    eyes.see(|s| matches!(s, Sighting::AddressGone(row) if row.net == address));
}

#[test]
fn what_happens_to_limits_is_seen() {
    let mut rig = Rig::alone(settings(Wiring::Routed, Transport::Direct));
    let rate = Rate {
        rate: 1_000_000,
        burst: 256_000,
    };
    let mut eyes = Eyes::open(&rig);
    rig.attach_with(
        2,
        Extras {
            ingress: Some(rate),
            egress: Some(rate),
            ..Extras::default()
        },
    );
    let link = rig.pod_link(2);
    let row = rig
        .planner
        .rows()
        .shapes
        .get(&link)
        .cloned()
        .expect("planned");
    let shaper = Device::Shaper(attachment(1, 2).id);
    eyes.see(|s| match s {
        Sighting::Queue(device, bucket) => *device == link && is_shaped(&row, bucket.as_ref()),
        _ => false,
    });
    eyes.see(|s| *s == Sighting::Redirect(link.clone(), Some(shaper.clone())));
    let index = rig.index(&link);
    eyes.seen.clear();
    rig.meddle(&[Request::unlimit_rate(index), Request::leave_arriving(index)]);
    eyes.see(|s| match s {
        Sighting::Queue(device, bucket) => *device == link && !is_shaped(&row, bucket.as_ref()),
        _ => false,
    });
    eyes.see(|s| *s == Sighting::Redirect(link.clone(), None));
}
