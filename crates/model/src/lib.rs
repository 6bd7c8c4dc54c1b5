//! The vocabulary of Seaway: names, addresses, nodes, Pods, attachments and the rows that a node
//! must have in its kernel.
//!
//! Everything here is plain, comparable, printable data with its validation. There is no IO, no
//! clock and no planning in this crate; it depends on nothing else of ours.

mod attachment;
mod cluster;
mod family;
mod hash;
mod mac;
mod names;
mod rows;
mod rules;

pub use attachment::{
    Alias, AliasError, Attachment, AttachmentId, HOST_LINK_PREFIX, MAX_ALIAS_BYTES, host_link_name,
    host_mac, pod_mac,
};
pub use cluster::{ClusterEvent, Node, Pod, PodName, PodPhase};
pub use family::Family;
pub use mac::{MacAddr, MacParseError};
pub use names::{ContainerId, IfName, NameError, NetworkName, NodeName};
pub use rows::{
    AddressRow, Device, GATEWAY_V4, GATEWAY_V6, LinkKind, LinkRow, NeighbourKey, NeighbourRow,
    PodLink, Reachability, RouteKey, RouteRow, Row, SysctlKey, SysctlRow, SysctlScope, gateway,
};
pub use rules::{AddressError, host_address, pod_network};
