//! What is wrong with what people chose, by itself and for this node's uplink and Pods.

use ipnet::IpNet;
use seaway_model::{Family, Transport};

use super::{Finding, finding};
use crate::context::vxlan_overhead;
use crate::planner::Planner;

/// The smallest MTU with which Linux has IPv6 on a link (RFC 8200, section 5).
const SMALLEST_V6_MTU: u32 = 1280;

/// The largest network identifier: 24 bits.
const LARGEST_VNI: u32 = (1 << 24) - 1;

/// Adds the findings about settings.
pub(super) fn findings(planner: &Planner, findings: &mut Vec<Finding>) {
    let mut add = |field, message: Option<String>| {
        findings.extend(message.map(|m| finding("settings".to_owned(), field, m)));
    };
    add("transport", vxlan_is_off(planner));
    add("transport", l2_without_source(planner));
    add("underlay", no_underlay(planner));
    add("vni", vni(planner));
    add("port", port(planner));
    add("mtu", too_large(planner));
    add("mtu", too_small(planner));
    add("mtu", overlay_too_small(planner));
    for net in service_cidrs(planner) {
        add("serviceCIDRs", Some(net));
    }
}

fn service_cidrs(planner: &Planner) -> Vec<String> {
    let context = planner.context();
    let settings = context.services().into_iter();
    let all = settings.flat_map(|settings| settings.service_cidrs.iter().map(IpNet::trunc));
    let wrong = all.filter_map(|net| {
        let why = context.service_cidr_conflict(&net)?;
        Some(format!(
            "{net} is not used: {why}; cluster addresses need a network of their own"
        ))
    });
    wrong.collect()
}

fn vxlan_is_off(planner: &Planner) -> Option<String> {
    let settings = planner.settings();
    let wrong = settings.transport == Transport::Vxlan && settings.vxlan.is_none();
    wrong.then(|| {
        "transport vxlan needs VXLAN, which is switched off, so no Pod of another node is \
         reachable; switch VXLAN on, or use --transport direct or l2"
            .to_owned()
    })
}

/// Pods are found by ARP and ND without it, but the node itself has nothing to be answered at.
fn l2_without_source(planner: &Planner) -> Option<String> {
    let context = planner.context();
    if planner.settings().transport != Transport::L2 || context.uplink.is_none() {
        return None;
    }
    let lacking = |family: &Family| context.source(*family).is_none();
    let family = context.families().find(lacking)?;
    Some(format!(
        "transport l2 with {family} pod CIDRs needs an {family} address on the uplink, which has \
         none: Pods of other nodes cannot answer this node; give it one, or use --transport vxlan"
    ))
}

fn no_underlay(planner: &Planner) -> Option<String> {
    let context = planner.context();
    let family = context.underlay()?;
    context.source(family).is_none().then(|| {
        format!(
            "the outer packets of VXLAN are to be {family}, but the uplink has no {family} \
             address, so this node takes no part in VXLAN; give it one, or choose the other \
             family on every node"
        )
    })
}

fn vni(planner: &Planner) -> Option<String> {
    let vni = planner.settings().vxlan.as_ref()?.vni;
    (vni > LARGEST_VNI).then(|| {
        format!("VXLAN network {vni} has more than 24 bits; choose one of at most {LARGEST_VNI}")
    })
}

fn port(planner: &Planner) -> Option<String> {
    let port = planner.settings().vxlan.as_ref()?.port;
    (port == 0).then(|| "VXLAN needs a UDP port, 0 is none; the usual one is 4789".to_owned())
}

fn too_large(planner: &Planner) -> Option<String> {
    let mtu = planner.settings().mtu?;
    let uplink = planner.uplink()?.mtu;
    let largest = planner.context().largest_mtu();
    (mtu > largest).then(|| {
        let why = match uplink - largest {
            0 => format!("the uplink takes {uplink}"),
            less => format!("the uplink takes {uplink}, less {less} for VXLAN"),
        };
        format!("{mtu} is too large: {why}, so Pod links get {largest}; leave it out or lower it")
    })
}

fn too_small(planner: &Planner) -> Option<String> {
    let mtu = planner.pod_mtu();
    let wrong = mtu < SMALLEST_V6_MTU && planner.context().has_pods_of(Family::V6);
    wrong.then(|| {
        format!(
            "Pod links get an MTU of {mtu}, and below {SMALLEST_V6_MTU} there is no IPv6 on a \
             link; raise it, or the uplink's, or use IPv4 pod CIDRs only"
        )
    })
}

fn overlay_too_small(planner: &Planner) -> Option<String> {
    let context = planner.context();
    let overlay = context.overlay()?;
    let wrong = overlay.mtu < SMALLEST_V6_MTU && context.has_pods_of(Family::V6);
    wrong.then(|| {
        let least = SMALLEST_V6_MTU + vxlan_overhead(overlay.underlay);
        format!(
            "in VXLAN there is room for {} bytes, and below {SMALLEST_V6_MTU} there is no IPv6 on \
             a link; the uplink needs an MTU of at least {least}",
            overlay.mtu
        )
    })
}
