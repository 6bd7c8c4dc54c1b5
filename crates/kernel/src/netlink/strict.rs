//! Requests for rules by which a router lets pass from a link only what belongs there, whatever the
//! family: the strictness that `rp_filter` gives to IPv4 alone. For what a lab or a test puts around
//! a node; nodes themselves have no such rules.

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use seaway_model::Family;

use super::Request;

/// After the local table (0), before the main one (32766).
const ADMISSION: u32 = 100;
const REFUSAL: u32 = 200;
const MAIN_TABLE: u8 = 254;

impl Request {
    /// Routes what comes in by `link` from `source` as usual.
    pub fn admit_from(link: &str, source: IpNet) -> Request {
        let mut message = rule(link, Family::of_net(&source), ADMISSION);
        message.header.src_len = source.prefix_len();
        message.header.action = RuleAction::ToTable;
        message.header.table = MAIN_TABLE;
        let source = RuleAttribute::Source(source.network());
        message.attributes.push(source);
        Request::new("add rule", CREATE, RouteNetlinkMessage::NewRule(message))
    }

    /// Drops what comes in by `link` from anywhere else and is to be passed on.
    pub fn refuse_from(link: &str, family: Family) -> Request {
        let mut message = rule(link, family, REFUSAL);
        message.header.action = RuleAction::Blackhole;
        Request::new("add rule", CREATE, RouteNetlinkMessage::NewRule(message))
    }
}

const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;

fn rule(link: &str, family: Family, priority: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    message.attributes = vec![
        RuleAttribute::Iifname(link.to_owned()),
        RuleAttribute::Priority(priority),
    ];
    message
}
