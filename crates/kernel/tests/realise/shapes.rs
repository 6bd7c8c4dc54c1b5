//! Limits of rates: made, adopted, repaired, and packets that meet them.

use std::net::UdpSocket;

use seaway_kernel::netlink::{QueueInfo, Request};
use seaway_model::{Device, Extras, Rate, Transport, Wiring};
use seaway_plan::{ChangeSet, RowState};

use crate::rig::{Rig, attachment, reaches, settings};

const SLOW: Rate = Rate {
    rate: 800_000,
    burst: 256_000,
};

fn limited() -> Extras {
    Extras {
        ingress: Some(SLOW),
        egress: Some(Rate {
            // What kubelet asks for as a burst.
            burst: i32::MAX as u64,
            ..SLOW
        }),
        ..Extras::default()
    }
}

fn shaper(rig: &Rig, i: u8) -> Device {
    Device::Shaper(attachment(rig.n, i).id)
}

fn queue(rig: &Rig, device: &Device) -> QueueInfo {
    let index = rig.index(device);
    let queues = rig.netlink(|netlink| netlink.queues().expect("dump"));
    let found = queues.into_iter().find(|q| q.index == index && q.root);
    found.expect("a root queue")
}

#[test]
fn limits_are_in_force_and_adopted_and_gone_with_the_pod() {
    for wiring in [Wiring::Routed, Wiring::Bridge] {
        let mut rig = Rig::alone(settings(wiring, Transport::Direct));
        rig.attach_with(2, limited());
        rig.attach(3);
        assert_eq!(rig.drift(), vec![]);
        assert_eq!(rig.changes_of_a_successor(), ChangeSet::default());
        // What the Pod sends passes its shaper, whatever the family.
        let ends = attachment(1, 2).addresses.into_iter();
        for (limited, free) in ends.zip(attachment(1, 3).addresses) {
            let before = queue(&rig, &shaper(&rig, 2)).passed.1;
            assert_eq!(
                reaches(&rig.pods[&2], limited, &rig.pods[&3], free),
                limited
            );
            assert!(queue(&rig, &shaper(&rig, 2)).passed.1 > before);
        }
        rig.detach(2);
        assert_eq!(rig.drift(), vec![]);
        let links = rig.netlink(|netlink| netlink.links().expect("dump"));
        assert!(links.iter().all(|l| !l.name.starts_with("shp")));
    }
}

#[test]
fn drift_of_queues_and_redirections_is_seen_and_repaired() {
    let mut rig = Rig::alone(settings(Wiring::Routed, Transport::Direct));
    rig.attach_with(2, limited());
    let (link, shaper) = (rig.index(&rig.pod_link(2)), rig.index(&shaper(&rig, 2)));
    let faster = Rate {
        rate: SLOW.rate * 2,
        ..SLOW
    };
    rig.meddle(&[
        Request::limit_rate(link, faster),
        Request::unlimit_rate(shaper),
        Request::leave_arriving(link),
    ]);
    let expected = [
        ("shapes pod c2/eth0".to_owned(), RowState::Differs),
        ("shapes shaper c2/eth0".to_owned(), RowState::Missing),
        ("redirects pod c2/eth0".to_owned(), RowState::Missing),
    ];
    assert_eq!(rig.drift(), expected);
    rig.repair();
    rig.meddle(&[
        Request::redirect_no_more(link),
        Request::redirect(link, link),
    ]);
    let differs = ("redirects pod c2/eth0".to_owned(), RowState::Differs);
    assert_eq!(rig.drift(), [differs]);
    rig.repair();
    rig.meddle(&[Request::delete_link(
        seaway_kernel::netlink::LinkTarget::Index(shaper),
    )]);
    rig.repair();
}

#[test]
fn more_than_the_limit_waits_and_is_dropped() {
    let mut rig = Rig::alone(settings(Wiring::Routed, Transport::Direct));
    rig.attach_with(2, limited());
    let target = attachment(1, 2).addresses[0];
    let gateway = crate::rig::ip("10.9.0.1");
    // Ten times what the bucket and its queue hold, in one go.
    let burst = u64::from(
        queue(&rig, &rig.pod_link(2))
            .bucket
            .expect("a bucket")
            .limit,
    );
    let payload = [0; 1400];
    let packets = 10 * burst / payload.len() as u64;
    let send = || {
        let socket = UdpSocket::bind((gateway, 0)).expect("the node's address");
        for _ in 0..packets {
            // A queue that is full says so to a local sender.
            let _ = socket.send_to(&payload, (target, 9));
        }
    };
    rig.netns.run(send).expect("sent");
    let queue = queue(&rig, &rig.pod_link(2));
    let (dropped, waited) = queue.dropped;
    assert!(waited > 0, "nothing had to wait: {queue:?}");
    assert!(
        u64::from(dropped) > packets / 2,
        "{dropped} of {packets} dropped: {queue:?}"
    );
}
