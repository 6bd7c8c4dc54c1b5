//! The allocator never gives twice, gives addresses a rest, and says when it has none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use seaway_model::Family;
use seaway_plan::ipam::{AllocationError, Holder, Ipam, Pool};

use crate::inputs::id;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn k11_allocator_never_gives_twice_nor_reserved(
        prefix in 24u8..=30,
        steps in prop::collection::vec((0usize..40, prop::bool::ANY), 1..200),
    ) {
        let v4: IpNet = IpNet::new([10, 1, 2, 0].into(), prefix).expect("valid");
        let v6: IpNet = "fd00:1::/120".parse().expect("valid");
        let mut ipam = Ipam::default();
        ipam.set_cidrs(&[v4, v6]);
        let mut live: BTreeMap<usize, Vec<IpAddr>> = BTreeMap::new();
        for (i, attach) in steps {
            let holder = Holder::Attachment(id(i));
            if !attach {
                for address in live.remove(&i).unwrap_or_default() {
                    ipam.release(address, &holder);
                }
            } else if !live.contains_key(&i) {
                let held: BTreeSet<IpAddr> = live.values().flatten().copied().collect();
                match ipam.allocate(&holder) {
                    Ok(addresses) => {
                        let families: Vec<_> = addresses.iter().map(|a| Family::of(*a)).collect();
                        prop_assert_eq!(families, vec![Family::V4, Family::V6]);
                        for address in &addresses {
                            prop_assert!(!held.contains(address), "{} given twice", address);
                            let net = if address.is_ipv4() { v4 } else { v6 };
                            prop_assert!(net.contains(address));
                            prop_assert_ne!(*address, net.network());
                            prop_assert_ne!(*address, net.hosts().next().expect("some"));
                            prop_assert!(!address.is_ipv4() || *address != net.broadcast());
                        }
                        live.insert(i, addresses);
                    }
                    Err(AllocationError::Exhausted { .. }) => {
                        let usable = Pool::new(v4).expect("large enough").len();
                        prop_assert_eq!(live.len() as u128, usable);
                    }
                    Err(error) => prop_assert!(false, "{}", error),
                }
            }
        }
    }
}

#[test]
fn k11_addresses_rest_after_release() {
    let mut ipam = Ipam::default();
    ipam.set_cidrs(&["10.0.0.0/29".parse().expect("valid")]);
    let holder = Holder::Attachment(id(1));
    let mut given = Vec::new();
    for _ in 0..6 {
        let addresses = ipam.allocate(&holder).expect("one is free");
        given.push(addresses[0].to_string());
        ipam.release(addresses[0], &holder);
    }
    // .0 network, .1 gateway, .7 broadcast: five to go round before the first comes again.
    assert_eq!(
        given,
        [
            "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"
        ]
    );
}

#[test]
fn k11_exhaustion_names_cidr_and_count() {
    let mut ipam = Ipam::default();
    ipam.set_cidrs(&["10.0.0.0/30".parse().expect("valid")]);
    ipam.allocate(&Holder::Attachment(id(1)))
        .expect("one is free");
    let error = ipam
        .allocate(&Holder::Attachment(id(2)))
        .expect_err("full")
        .to_string();
    assert!(
        error.contains("1 of 1 usable addresses of 10.0.0.0/30"),
        "{error}"
    );
}

#[test]
fn k11_second_cidr_serves_when_the_first_is_full() {
    let mut ipam = Ipam::default();
    let nets = ["10.0.0.0/30", "10.9.0.0/30"].map(|n| n.parse().expect("valid"));
    ipam.set_cidrs(&nets);
    ipam.allocate(&Holder::Attachment(id(1)))
        .expect("one is free");
    let second = ipam
        .allocate(&Holder::Attachment(id(2)))
        .expect("one is free");
    assert_eq!(second, vec![IpAddr::from([10, 9, 0, 2])]);
}

#[test]
fn k11_held_by_two_is_free_only_when_both_let_go() {
    let mut ipam = Ipam::default();
    let address = IpAddr::from([10, 0, 0, 2]);
    let (live, dying) = (Holder::Attachment(id(1)), Holder::Dying(id(1)));
    ipam.hold(address, live.clone());
    ipam.hold(address, dying.clone());
    ipam.release(address, &live);
    assert!(ipam.is_held(address));
    ipam.release(address, &dying);
    assert!(!ipam.is_held(address));
}

#[test]
fn pools_too_small_are_named() {
    for net in ["10.0.0.0/31", "10.0.0.0/32", "fd00::/127", "fd00::/128"] {
        let net: IpNet = net.parse().expect("valid");
        let error = Pool::new(net).expect_err("too small").to_string();
        assert!(error.contains(&net.to_string()), "{error}");
    }
    assert_eq!(
        Pool::new("10.0.0.0/8".parse().expect("valid"))
            .expect("large")
            .len(),
        (1 << 24) - 3
    );
}
