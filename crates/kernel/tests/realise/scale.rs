//! Thousands of peers at once.

use seaway_kernel::realise::{Sighting, Watch};
use seaway_model::{ClusterEvent, Transport, Wiring};
use seaway_plan::{ChangeSet, Input};

use crate::rig::{Rig, node, settings};

const PEERS: u16 = 5000;

#[test]
fn thousands_of_peers_are_in_force_in_one_pass_and_adopted() {
    let mut rig = Rig::alone(settings(Wiring::Routed, Transport::Vxlan));
    let open = || Watch::open(rig.devices.clone());
    let mut watch = rig.netns.enter(open).expect("entered").expect("opened");
    let mut changes = ChangeSet::default();
    for n in 2..2 + PEERS {
        let event = ClusterEvent::NodeUpsert(node(n));
        changes.append(rig.planner.apply(Input::Cluster(event)));
    }
    assert_eq!(rig.apply(&changes), vec![]);
    // The node does not hear all of what it did itself: something would be lost of that, which
    // would cost a comparison.
    let (mut own, mut entries) = (0, 0);
    let see = |sighting| match sighting {
        Sighting::Fdb(_) => entries += 1,
        Sighting::Route(..) | Sighting::Neighbour(_) | Sighting::Overflow => own += 1,
        _ => {}
    };
    watch.drain(see).expect("drained");
    assert_eq!((own, entries), (0, usize::from(PEERS)));
    assert_eq!(rig.drift(), vec![]);
    assert_eq!(rig.changes_of_a_successor(), ChangeSet::default());
}
