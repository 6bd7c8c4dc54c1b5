//! The clusters that the other tests stand on, for every way between Pods: Pods, nodes and the
//! outside reach each other as the Kubernetes model has it.

use seaway_model::{Family, Transport, Wiring};
use seaway_tests::net::{Net, Shape};
use seaway_tests::probe::{assert_talk, carry};

use crate::common::{SOON, for_each};

#[test]
fn pods_of_two_nodes_talk_by_every_wiring_and_transport() {
    let mut shapes = Vec::new();
    for wiring in Wiring::ALL {
        shapes.extend([Transport::Direct, Transport::L2].map(|t| Shape::flat().transport(t)));
        shapes.extend(Family::ALL.map(|family| Shape::routed().vxlan_over(family)));
        shapes.push(Shape::routed());
        for shape in &mut shapes {
            shape.wiring = wiring;
        }
        for_each(&shapes, |shape| {
            let net = Net::start(shape);
            let (a, b, c) = (net.pod(1, "a"), net.pod(1, "b"), net.pod(2, "c"));
            assert_talk(&a, &b);
            assert_talk(&a, &c);
            for family in Family::ALL {
                let mebibyte = 1 << 20;
                carry(a.netns(), c.netns(), c.address(family), mebibyte, SOON * 4)
                    .expect("full-size packets get through");
            }
        });
        shapes.clear();
    }
}
