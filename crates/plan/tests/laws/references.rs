//! No row hangs in the air: whatever a row refers to is planned too, and what guards follows what
//! is guarded.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use seaway_model::{
    Device, Family, FdbKey, NeighbourKey, Reachability, RouteTable, Row, Transport, Wiring,
};
use seaway_plan::{Method, Planner, Tables};

use crate::inputs::{inputs, planned};

type Law = Result<(), TestCaseError>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_hangs_in_the_air(inputs in inputs()) {
        let planner = planned(inputs);
        devices_exist(planner.rows())?;
        vxlan_is_static_and_whole(planner.rows())?;
        peers_may_speak(&planner)?;
        lengths_are_those_in_use(planner.rows())?;
        ports_lead_to_live_pods(&planner)?;
        wiring_is_one(&planner)?;
        packets_fit(&planner)?;
        own_rows_follow_the_rest(&planner)?;
    }
}

fn devices_exist(rows: &Tables) -> Law {
    let there = |device: &Device| match device {
        Device::Uplink | Device::Loopback => true,
        other => rows.links.get(other).is_some(),
    };
    for row in rows.neighbours.iter() {
        prop_assert!(there(&row.device), "{}", row);
    }
    for row in rows.fdb.iter() {
        prop_assert!(there(&row.device), "{}", row);
    }
    for row in rows.addresses.iter() {
        prop_assert!(there(&row.device), "{}", row);
    }
    for row in rows.port_guards.iter() {
        prop_assert!(there(&row.device), "{}", row);
    }
    for row in rows.shapes.iter() {
        prop_assert!(there(&row.device), "{}", row);
    }
    for row in rows.redirects.iter() {
        prop_assert!(there(&row.from) && there(&row.through), "{}", row);
    }
    for row in rows.routes.iter() {
        if let Reachability::Via { device, .. } = &row.reach {
            prop_assert!(there(device), "{}", row);
        }
    }
    Ok(())
}

fn vxlan_is_static_and_whole(rows: &Tables) -> Law {
    for route in rows.routes.iter() {
        let Reachability::Via {
            device: Device::Vxlan,
            gateway,
            ..
        } = &route.reach
        else {
            prop_assert_eq!(route.table, RouteTable::Main, "{}", route);
            continue;
        };
        let key = NeighbourKey {
            device: Device::Vxlan,
            address: gateway.expect("a VTEP stands behind every route in VXLAN"),
        };
        prop_assert!(rows.neighbours.get(&key).is_some(), "{}", route);
    }
    for row in rows
        .neighbours
        .iter()
        .filter(|row| row.device == Device::Vxlan)
    {
        let key = FdbKey {
            device: Device::Vxlan,
            mac: row.mac,
        };
        prop_assert!(rows.fdb.get(&key).is_some(), "{}", row);
    }
    for row in rows.fdb.iter().filter(|row| row.device == Device::Vxlan) {
        let vtep = row.vtep.expect("it is behind a VTEP");
        prop_assert!(rows.vteps.get(&vtep).is_some(), "{}", row);
    }
    for row in rows.inner_sources.iter() {
        prop_assert!(rows.vteps.get(&row.vtep).is_some(), "{}", row);
    }
    Ok(())
}

/// What a node sends in VXLAN it may also be answered with, whatever way the answer comes by.
fn peers_may_speak(planner: &Planner) -> Law {
    let rows = planner.rows();
    let admitted: BTreeSet<_> = rows.inner_sources.iter().map(|row| row.net).collect();
    for route in rows.routes.iter() {
        if let Reachability::Via {
            device: Device::Vxlan,
            ..
        } = &route.reach
        {
            prop_assert!(admitted.contains(&route.destination), "{}", route);
        }
    }
    for node in planner.nodes().values() {
        for net in &node.pod_cidrs {
            let family = Family::of_net(net);
            let is_won = rows
                .routes
                .iter()
                .any(|route| route.destination == net.trunc());
            if planner.method_to(&node.name, family) == Some(Method::Vxlan) && is_won {
                prop_assert!(admitted.contains(&net.trunc()) || is_ours(planner, net));
            }
        }
    }
    for own in planner.pod_cidrs() {
        prop_assert!(admitted.iter().all(|net| !own.contains(net)), "{}", own);
    }
    Ok(())
}

fn is_ours(planner: &Planner, net: &ipnet::IpNet) -> bool {
    let own = planner.pod_cidrs().iter();
    own.clone().any(|o| o.contains(net) || net.contains(o))
}

fn lengths_are_those_in_use(rows: &Tables) -> Law {
    let length = |net: &ipnet::IpNet| (Family::of_net(net), net.prefix_len());
    let cluster: BTreeSet<_> = rows
        .cluster_nets
        .iter()
        .map(|row| length(&row.net))
        .collect();
    let inner: BTreeSet<_> = rows
        .inner_sources
        .iter()
        .map(|row| length(&row.net))
        .collect();
    let Some(firewall) = rows.firewall.iter().next() else {
        let data = rows.cluster_nets.len() + rows.inner_sources.len() + rows.vteps.len();
        prop_assert_eq!(data + rows.host_ports.len(), 0);
        prop_assert!(rows.links.get(&Device::Vxlan).is_none(), "unguarded");
        return Ok(());
    };
    prop_assert_eq!(&firewall.cluster_lengths, &cluster);
    let guarded = firewall
        .vxlan
        .as_ref()
        .map(|guard| guard.inner_lengths.clone());
    prop_assert_eq!(guarded.is_some(), rows.links.get(&Device::Vxlan).is_some());
    prop_assert_eq!(guarded.unwrap_or_default(), inner);
    Ok(())
}

fn ports_lead_to_live_pods(planner: &Planner) -> Law {
    for row in planner.rows().host_ports.iter() {
        let owner = row.owner.as_ref().expect("planned rows have owners");
        let live = &planner.attachments()[owner];
        prop_assert!(live.addresses.contains(&row.target.ip()), "{}", row);
        prop_assert!(
            row.key
                .address
                .is_none_or(|a| a.is_ipv4() == row.target.is_ipv4())
        );
        prop_assert_eq!(Family::of(row.target.ip()), row.key.family);
    }
    Ok(())
}

fn wiring_is_one(planner: &Planner) -> Law {
    let rows = planner.rows();
    let bridged = planner.settings().wiring == Wiring::Bridge;
    prop_assert_eq!(rows.links.get(&Device::Bridge).is_some(), bridged);
    let guarded = bridged && !planner.attachments().is_empty() && !rows.firewall.is_empty();
    prop_assert_eq!(rows.port_guards.is_empty(), !guarded);
    for attachment in planner.attachments().values() {
        for address in &attachment.addresses {
            let host = Family::host_net(*address);
            let behind = |device: &Device| {
                let key = NeighbourKey {
                    device: device.clone(),
                    address: *address,
                };
                rows.neighbours.get(&key).is_some()
            };
            prop_assert_eq!(behind(&Device::Bridge), bridged);
            prop_assert_eq!(behind(&Device::PodLink(attachment.id.clone())), !bridged);
            let routed = rows.routes.iter().any(|route| {
                matches!(&route.reach, Reachability::Via { .. })
                    && route.destination.contains(&host)
            });
            prop_assert!(
                routed || planner.node().is_none(),
                "no route to {}",
                address
            );
        }
        let inside = planner.pod_side_rows(attachment);
        for net in planner.pod_addresses(attachment) {
            prop_assert!(inside.addresses.iter().any(|row| row.net == net.net));
            let answers = net.gateway == seaway_model::gateway(Family::of(net.gateway))
                || rows
                    .addresses
                    .iter()
                    .any(|row| row.net.addr() == net.gateway);
            prop_assert!(answers, "nobody is {}", net.gateway);
        }
        for route in inside.routes.iter() {
            if let Reachability::Via {
                gateway: Some(gateway),
                ..
            } = &route.reach
            {
                let on_link = inside.routes.iter().any(|other| {
                    matches!(&other.reach, Reachability::Via { gateway: None, .. })
                        && other.destination.contains(gateway)
                });
                let link_local = *gateway == seaway_model::gateway(Family::V6);
                prop_assert!(on_link || link_local, "{}", route);
            }
        }
    }
    Ok(())
}

fn packets_fit(planner: &Planner) -> Law {
    let rows = planner.rows();
    let Some(uplink) = planner.uplink() else {
        return Ok(());
    };
    let overlay = rows.links.get(&Device::Vxlan).and_then(|row| row.mtu);
    let sends = rows.fdb.iter().any(|row| row.device == Device::Vxlan);
    for link in rows.links.iter() {
        let mtu = link.mtu.expect("planned");
        prop_assert!(mtu <= uplink.mtu, "{}", link);
        if sends {
            prop_assert!(mtu <= overlay.expect("it is there"), "{}", link);
        }
    }
    for route in rows.routes.iter() {
        if let Reachability::Via {
            device,
            mtu: Some(mtu),
            ..
        } = &route.reach
        {
            let most = match device {
                Device::Vxlan => overlay.expect("it is there"),
                _ => uplink.mtu,
            };
            prop_assert!(*mtu < most, "{}", route);
        }
    }
    Ok(())
}

fn own_rows_follow_the_rest(planner: &Planner) -> Law {
    let rows = planner.rows();
    let sends = rows.fdb.iter().any(|row| row.device == Device::Vxlan);
    prop_assert_eq!(
        rows.rules.is_empty(),
        !sends || planner.pod_cidrs().is_empty()
    );
    for family in Family::ALL {
        let alias = seaway_model::loopback_alias(family);
        let mut addresses = rows.addresses.iter();
        let stands_in = addresses.any(|row| row.net == Family::host_net(alias));
        let by_ports = !rows.host_ports.is_empty()
            && planner
                .pod_cidrs()
                .iter()
                .any(|n| Family::of_net(n) == family);
        let mut frontends = rows.frontends.iter();
        let by_services = frontends.any(|row| row.key.address == alias);
        prop_assert_eq!(stands_in, by_ports || by_services);
    }
    let proxies = planner.settings().transport == Transport::L2 && planner.uplink().is_some();
    prop_assert_eq!(
        rows.proxies.is_empty(),
        !proxies || planner.attachments().is_empty()
    );
    for link in rows.links.iter() {
        prop_assert_eq!(rows.links.get(&link.key()), Some(link));
    }
    Ok(())
}
