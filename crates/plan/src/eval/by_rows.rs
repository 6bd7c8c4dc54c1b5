//! What the rows make of a packet: the datapath in words, and nothing of how the rows came about.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use seaway_model::{
    BackendKey, DENSE_SLOTS, DropReason, FALLBACK_SLOT, Family, FirewallKey, FrontendAction,
    FrontendKey, FrontendRow, GroupId, ServiceRules, SourceRangeRow, View, dns_address,
    loopback_alias,
};

use super::{Packet, Source, SourceSeen, Verdict};
use crate::table::Tables;

/// What becomes of a packet by the rows of the node at which it enters.
pub fn by_rows(rows: &Tables, packet: &Packet) -> Verdict {
    let firewall = rows.firewall.get(&FirewallKey);
    let Some(rules) = firewall.and_then(|row| row.services.as_ref()) else {
        return Verdict::NotAService;
    };
    let mut address = packet.destination.ip();
    let family = Family::of(address);
    if packet.from == Source::Node {
        if address.is_loopback() {
            address = loopback_alias(family);
        }
    } else if address == loopback_alias(family) {
        return Verdict::Dropped(DropReason::LoopbackAlias);
    }
    let is_foreign = matches!(packet.from, Source::Outside(_));
    if is_foreign && rules.dns && address == dns_address(family) {
        return Verdict::Dropped(DropReason::DnsAddress);
    }
    let key = |view| FrontendKey {
        address,
        protocol: packet.protocol,
        port: packet.destination.port(),
        view,
    };
    let outside = rows.frontends.get(&key(View::Outside));
    let outside = outside.filter(|_| is_foreign);
    match outside.or_else(|| rows.frontends.get(&key(View::Everyone))) {
        Some(row) => balance(rows, rules, packet, row),
        None if rows.cluster_ips.get(&address).is_some() => Verdict::Refused,
        None if rules.service_cidrs.iter().any(|net| net.contains(&address)) => {
            Verdict::Dropped(DropReason::ServiceUnknown)
        }
        None => Verdict::NotAService,
    }
}

fn balance(rows: &Tables, rules: &ServiceRules, packet: &Packet, row: &FrontendRow) -> Verdict {
    if row.guarded && !is_in_range(rows, rules, packet, row) {
        return Verdict::Dropped(DropReason::ServiceSource);
    }
    let (group, slots, affinity) = match row.action {
        FrontendAction::Refuse => return Verdict::Refused,
        FrontendAction::Drop => return Verdict::Dropped(DropReason::ServiceNotLocal),
        FrontendAction::Balance {
            group,
            slots,
            affinity,
        } => (group, slots, affinity),
    };
    let keeps = match packet.from {
        Source::Node => false,
        Source::Pod(_) => !rules.masquerade_all,
        Source::Outside(_) => row.key.view == View::Outside,
    };
    Verdict::Backends {
        targets: targets(rows, group, slots),
        source: if keeps {
            SourceSeen::Kept
        } else {
            SourceSeen::Node
        },
        affinity,
    }
}

/// All that a draw can give.
fn targets(rows: &Tables, group: GroupId, slots: u8) -> BTreeSet<SocketAddr> {
    let all = 0..1u32 << slots;
    let drawn = all.filter_map(|slot| u16::try_from(slot).ok());
    let fallback = (slots > DENSE_SLOTS).then_some(FALLBACK_SLOT);
    let row = |slot| rows.backends.get(&BackendKey { group, slot });
    drawn
        .chain(fallback)
        .filter_map(row)
        .map(|row| row.target)
        .collect()
}

/// Whether the sender may use a guarded frontend: one look-up for each prefix length.
fn is_in_range(rows: &Tables, rules: &ServiceRules, packet: &Packet, row: &FrontendRow) -> bool {
    let key = row.key;
    let family = Family::of(key.address);
    let sender: Option<IpAddr> = match packet.from {
        Source::Pod(address) | Source::Outside(address) => Some(address),
        Source::Node => {
            let mut own = rules.sources.iter().copied();
            own.find(|address| Family::of(*address) == family)
        }
    };
    let Some(sender) = sender.filter(|sender| Family::of(*sender) == family) else {
        return false;
    };
    let lengths = rules.range_lengths.iter().filter(|(of, _)| *of == family);
    let mut nets = lengths.filter_map(|(_, length)| IpNet::new(sender, *length).ok());
    nets.any(|net| {
        let wanted = SourceRangeRow {
            address: key.address,
            protocol: key.protocol,
            port: key.port,
            net: net.trunc(),
        };
        rows.source_ranges.get(&wanted).is_some()
    })
}
