//! The rows of each object: pure functions of the object and the [`Context`](crate::context).
//! Who owns a row, and which of two claims wins, is not decided here.

mod attachment;
mod base;
mod extras;
mod overlay;
mod peer;
mod pod_side;
mod totals;

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{Device, Family, Reachability, RouteRow, SysctlKey, SysctlRow, SysctlScope};

pub(crate) use attachment::attachment_rows;
pub(crate) use base::base_rows;
pub(crate) use extras::{host_ports, is_vxlan_port};
pub(crate) use peer::{PeerView, peer_rows};
pub(crate) use pod_side::{pod_address, pod_side_rows};
pub(crate) use totals::totals_rows;

/// A route through a device.
fn via(
    destination: IpNet,
    device: Device,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
) -> RouteRow {
    let mtu = None;
    RouteRow::to(
        destination,
        Reachability::Via {
            device,
            gateway,
            source,
            mtu,
        },
    )
}

fn sysctl(family: Family, scope: SysctlScope, name: &'static str, value: &str) -> SysctlRow {
    SysctlRow {
        key: SysctlKey {
            family,
            scope,
            name,
        },
        value: value.to_owned(),
    }
}

/// What keeps strangers on a device of ours from changing the node's mind: reverse-path filtering
/// for IPv4, no router advertisements for IPv6.
fn link_guard(family: Family, device: Device, rp_filter: &str) -> SysctlRow {
    let scope = SysctlScope::Device(device);
    match family {
        Family::V4 => sysctl(family, scope, "rp_filter", rp_filter),
        Family::V6 => sysctl(family, scope, "accept_ra", "0"),
    }
}
