//! Rows: what a network namespace must have in its kernel, as plain data in keyed tables.
//!
//! A row names its device by role ([`Device`]), never by a kernel index or a name that somebody
//! may change. A field that is `None` means "not ours to say": it is neither set nor compared.

mod address;
mod device;
mod firewall;
mod guard;
mod host_port;
mod link;
mod neighbour;
mod route;
mod service;
mod shape;
mod sysctl;

use std::fmt;

use crate::AttachmentId;

pub use address::AddressRow;
pub use device::Device;
pub use firewall::{FirewallKey, FirewallRow, ServiceRules, VxlanGuard};
pub use guard::{ClusterNetRow, DropReason, InnerSourceRow, PortGuardKey, PortGuardRow, VtepRow};
pub use host_port::{HostPortKey, HostPortRow};
pub use link::{BridgeLink, LinkKind, LinkRow, PodLink, ShaperLink, VxlanLink};
pub use neighbour::{FdbKey, FdbRow, NeighbourKey, NeighbourRow, ProxyKey, ProxyRow};
pub use route::{RULE_PRIORITY, Reachability, RouteKey, RouteRow, RouteTable, RuleRow};
pub use service::{
    BackendKey, BackendRow, ClusterIpRow, DENSE_SLOTS, FALLBACK_SLOT, FrontendAction, FrontendKey,
    FrontendRow, GroupId, LocalPodRow, MAX_SLOTS, MemberRow, SourceRangeRow, View,
};
pub use shape::{RedirectRow, ShapeRow};
pub use sysctl::{SysctlKey, SysctlRow, SysctlScope};

/// A row of a table: keyed, comparable, printable.
pub trait Row: Clone + Eq + fmt::Debug + fmt::Display {
    /// What identifies the row in its table.
    type Key: Ord + Clone + fmt::Debug + fmt::Display;
    /// The table's name as people see it.
    const TABLE: &'static str;
    /// The row's key.
    fn key(&self) -> Self::Key;
    /// The attachment of this node that the row is for, if it is for one.
    fn attachment(&self) -> Option<&AttachmentId> {
        None
    }
    /// Whether `observed`, of the same key, is what this planned row asks for.
    fn in_force(&self, observed: &Self) -> bool {
        self == observed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MacAddr;

    #[test]
    fn rows_print_as_people_write_them() {
        let route = RouteRow::to(
            "10.244.2.0/24".parse().expect("valid"),
            Reachability::Via {
                device: Device::Uplink,
                gateway: Some("192.168.0.2".parse().expect("valid")),
                source: None,
                mtu: Some(1450),
            },
        );
        assert_eq!(
            route.to_string(),
            "10.244.2.0/24 via 192.168.0.2 dev uplink mtu 1450"
        );
        let net = "fd00::/64".parse().expect("valid");
        assert_eq!(
            RouteRow::to(net, Reachability::Unreachable).to_string(),
            "unreachable fd00::/64"
        );
    }

    #[test]
    fn unsaid_fields_are_not_compared() {
        let observed = LinkRow {
            device: Device::Loopback,
            mac: Some(MacAddr([0; 6])),
            mtu: Some(65536),
            up: true,
            kind: LinkKind::Existing,
        };
        let planned = LinkRow {
            mac: None,
            mtu: None,
            ..observed.clone()
        };
        assert!(planned.in_force(&observed));
        assert!(
            !LinkRow {
                mtu: Some(1500),
                ..planned.clone()
            }
            .in_force(&observed)
        );
        assert!(
            !LinkRow {
                up: false,
                ..planned
            }
            .in_force(&observed)
        );
    }
}
