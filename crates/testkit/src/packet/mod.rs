//! Packets made by hand, honest and forged: pure, so that each is a value that a test can print.
//!
//! The sender says everything: nothing here looks at the host. Frames are sent and seen by
//! [`Wire`](crate::Wire).

mod carried;
pub mod checksum;
mod control;
mod frame;
mod ip;
mod read;
mod sctp;

pub use carried::{dhcp_discover, echo, icmp, tcp_syn, udp, vxlan};
pub use control::{
    ALL_NODES, ALL_ROUTERS, multicast_mac, neighbour_advertisement, neighbour_solicitation,
    redirect, router_advertisement, router_solicitation, solicited_node, too_big,
};
pub use frame::{Arp, BROADCAST, Frame, ethertype};
pub use ip::{Packet, Part, protocol};
pub use read::{Read, holds};
pub use sctp::{SctpChunk, SctpMessage, sctp_init};
