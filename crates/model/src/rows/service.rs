//! Service frontends, the backends behind them, and what goes with both.
//!
//! A frontend leads to a *group* of backends, which lie in numbered slots; a slot is drawn at
//! random. A group has 2^n slots of which some may be empty, so that nothing but the slots
//! themselves changes when a backend comes or goes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::Serialize;

use super::Row;
use crate::{AttachmentId, Protocol};

/// Up to 2^this slots are filled from the first on, more than half of them; larger groups are
/// sparse, at most three quarters full, and have their first backend also in [`FALLBACK_SLOT`].
pub const DENSE_SLOTS: u8 = 5;
/// The largest number of slots of a group is 2^this.
pub const MAX_SLOTS: u8 = 13;
/// Where a backend of a sparse group is found when every draw met an empty slot.
pub const FALLBACK_SLOT: u16 = u16::MAX;

/// Which backends belong together: those of one port of a Service, one family and one policy. A
/// stable hash, so that every version of the agent gives the same. The lowest bit is the policy
/// (0 Cluster, 1 Local); all above it say the Service's port, whatever the policy (affinity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct GroupId(pub u64);

impl GroupId {
    /// The group without its policy: what affinity is remembered by.
    pub fn port_id(self) -> u64 {
        self.0 & !1
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// For whose traffic a frontend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// For everybody for whom there is no other.
    Everyone,
    /// For what comes to the node from elsewhere: neither its own Pods nor itself. The sender keeps
    /// its address.
    Outside,
}

/// An address and port that leads to the backends of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FrontendRow {
    /// Where traffic is sent to, and by whom.
    pub key: FrontendKey,
    /// What becomes of it.
    pub action: FrontendAction,
    /// Only the sources of its [`SourceRangeRow`]s may use it (S20).
    pub guarded: bool,
}

/// What identifies a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FrontendKey {
    /// The address: a cluster address, a node's for its ports (the stand-in for the loopback
    /// address included), an external one.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// For whose traffic.
    pub view: View,
}

/// What becomes of traffic to a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrontendAction {
    /// It goes to a backend of the group.
    Balance {
        /// Which group.
        group: GroupId,
        /// The group has 2^this slots.
        slots: u8,
        /// How long a client keeps its backend in seconds.
        affinity: Option<u32>,
    },
    /// There is no backend anywhere: the sender is told so at once (S13).
    Refuse,
    /// There is no backend here, and only here may it go (S10, S11).
    Drop,
}

impl fmt::Display for FrontendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = SocketAddr::new(self.address, self.port);
        write!(f, "{} {at}", self.protocol)?;
        match self.view {
            View::Everyone => Ok(()),
            View::Outside => f.write_str(" from outside"),
        }
    }
}

impl fmt::Display for FrontendRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.key)?;
        match self.action {
            FrontendAction::Balance {
                group,
                slots,
                affinity,
            } => {
                write!(f, "to group {group} of {} slots", 1u32 << slots)?;
                if let Some(seconds) = affinity {
                    write!(f, " kept {seconds} s")?;
                }
            }
            FrontendAction::Refuse => f.write_str("refused")?,
            FrontendAction::Drop => f.write_str("dropped")?,
        }
        match self.guarded {
            true => f.write_str(" guarded"),
            false => Ok(()),
        }
    }
}

impl Row for FrontendRow {
    type Key = FrontendKey;
    const TABLE: &'static str = "frontends";

    fn key(&self) -> FrontendKey {
        self.key
    }
}

/// A backend in its slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendRow {
    /// Where it lies.
    pub key: BackendKey,
    /// The endpoint's address and port.
    pub target: SocketAddr,
}

/// What identifies a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct BackendKey {
    /// The group.
    pub group: GroupId,
    /// The slot.
    pub slot: u16,
}

impl fmt::Display for BackendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} slot {}", self.group, self.slot)
    }
}

impl fmt::Display for BackendRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.key, self.target)
    }
}

impl Row for BackendRow {
    type Key = BackendKey;
    const TABLE: &'static str = "backends";

    fn key(&self) -> BackendKey {
        self.key
    }
}

/// A backend that clients may keep: only for groups with affinity. One that is gone is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct MemberRow {
    /// The group.
    pub group: GroupId,
    /// The endpoint's address and port.
    pub target: SocketAddr,
}

impl fmt::Display for MemberRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has {}", self.group, self.target)
    }
}

impl Row for MemberRow {
    type Key = MemberRow;
    const TABLE: &'static str = "members";

    fn key(&self) -> MemberRow {
        *self
    }
}

/// A cluster address of some Service: what is sent to it and to no frontend is refused (S14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ClusterIpRow {
    /// The address.
    pub address: IpAddr,
}

impl fmt::Display for ClusterIpRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Row for ClusterIpRow {
    type Key = IpAddr;
    const TABLE: &'static str = "cluster-ips";

    fn key(&self) -> IpAddr {
        self.address
    }
}

/// Sources that may use a guarded frontend, whatever its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SourceRangeRow {
    /// The frontend's address.
    pub address: IpAddr,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its port.
    pub port: u16,
    /// The sources.
    pub net: IpNet,
}

impl fmt::Display for SourceRangeRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = SocketAddr::new(self.address, self.port);
        write!(f, "{} {at} for {}", self.protocol, self.net)
    }
}

impl Row for SourceRangeRow {
    type Key = SourceRangeRow;
    const TABLE: &'static str = "source-ranges";

    fn key(&self) -> SourceRangeRow {
        *self
    }
}

/// The address of a Pod of this node: when a translated flow leads it to itself, its source must
/// be another, or the answer would not come back this way (S8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocalPodRow {
    /// The address.
    pub address: IpAddr,
    /// Whose it is; `None` when observed and not known.
    pub owner: Option<AttachmentId>,
}

impl fmt::Display for LocalPodRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Row for LocalPodRow {
    type Key = IpAddr;
    const TABLE: &'static str = "local-pods";

    fn key(&self) -> IpAddr {
        self.address
    }

    fn attachment(&self) -> Option<&AttachmentId> {
        self.owner.as_ref()
    }

    fn in_force(&self, observed: &LocalPodRow) -> bool {
        self.address == observed.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_print_as_people_read_them() {
        let key = FrontendKey {
            address: "10.96.0.1".parse().expect("valid"),
            protocol: Protocol::Tcp,
            port: 443,
            view: View::Everyone,
        };
        let row = FrontendRow {
            key,
            action: FrontendAction::Balance {
                group: GroupId(0x10),
                slots: 2,
                affinity: Some(60),
            },
            guarded: false,
        };
        assert_eq!(
            row.to_string(),
            "tcp 10.96.0.1:443 to group 0000000000000010 of 4 slots kept 60 s"
        );
        let refused = FrontendRow {
            key: FrontendKey {
                address: "fd00::1".parse().expect("valid"),
                view: View::Outside,
                ..key
            },
            action: FrontendAction::Drop,
            guarded: true,
        };
        assert_eq!(
            refused.to_string(),
            "tcp [fd00::1]:443 from outside dropped guarded"
        );
    }

    #[test]
    fn groups_of_one_port_share_what_affinity_is_remembered_by() {
        assert_eq!(GroupId(6).port_id(), GroupId(7).port_id());
        assert_ne!(GroupId(6).port_id(), GroupId(8).port_id());
    }
}
