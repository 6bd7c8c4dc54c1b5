//! The vocabulary of Seaway: names, addresses, nodes, Pods, attachments and the rows that a node
//! must have in its kernel.
//!
//! Everything here is plain, comparable, printable data with its validation. There is no IO, no
//! clock and no planning in this crate; it depends on nothing else of ours.

mod attachment;
mod cluster;
mod extras;
mod family;
mod hash;
mod mac;
mod names;
mod object_names;
mod rows;
mod rules;
mod service;
mod settings;
mod well_known;

pub use attachment::{
    Alias, AliasError, Attachment, AttachmentId, HOST_LINK_PREFIX, MAX_ALIAS_BYTES, bridge_mac,
    bridge_name, host_link_name, host_mac, pod_mac, shaper_name, vtep_mac, vxlan_name,
};
pub use cluster::{ClusterEvent, Node, Pod, PodPhase};
pub use extras::{Extras, PortMapping, Protocol, ProtocolError, Rate};
pub use family::Family;
pub use hash::stable_hash;
pub use mac::{MacAddr, MacParseError};
pub use names::{ContainerId, IfName, NameError, NetworkName, NodeName};
pub use object_names::{PodName, ServiceName, SliceName};
pub use rows::{
    AddressRow, BackendKey, BackendRow, BridgeLink, ClusterIpRow, ClusterNetRow, DENSE_SLOTS,
    Device, DropReason, FALLBACK_SLOT, FdbKey, FdbRow, FirewallKey, FirewallRow, FrontendAction,
    FrontendKey, FrontendRow, GroupId, HostPortKey, HostPortRow, InnerSourceRow, LinkKind, LinkRow,
    LocalPodRow, MAX_SLOTS, MemberRow, NeighbourKey, NeighbourRow, PodLink, PortGuardKey,
    PortGuardRow, ProxyKey, ProxyRow, RULE_PRIORITY, Reachability, RedirectRow, RouteKey, RouteRow,
    RouteTable, Row, RuleRow, ServiceRules, ShapeRow, ShaperLink, SourceRangeRow, SysctlKey,
    SysctlRow, SysctlScope, View, VtepRow, VxlanGuard, VxlanLink,
};
pub use rules::{AddressError, host_address, pod_network};
pub use service::{
    AFFINITY_SECONDS, Endpoint, EndpointSlice, Service, ServiceKind, ServicePort, SlicePort,
    TrafficPolicy,
};
pub use settings::{
    ChoiceError, NodePortAddresses, ServiceSettings, Settings, Transport, VxlanSettings, Wiring,
};
pub use well_known::{
    DNS_V4, DNS_V6, GATEWAY_V4, GATEWAY_V6, LOOPBACK_ALIAS_V4, LOOPBACK_ALIAS_V6, dns_address,
    gateway, is_of_every_node, loopback_alias,
};
