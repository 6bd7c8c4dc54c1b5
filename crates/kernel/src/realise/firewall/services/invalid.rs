//! Packets that fit no flow, where an answer would break one (S31).
//!
//! They are not translated. One of a backend would come to somebody who has no connection with it
//! and says so, which ends the connection that it has through a Service.

use ipnet::IpNet;
use seaway_model::{DropReason, Family, FirewallRow};

use super::super::parts::Part;
use super::super::rules::{filter, inner, is_family};
use super::super::sets::peers::cluster_nets;
use super::super::words::When;
use crate::nft::{ChainSpec, Rule};

const INPUT: u32 = 1;
const FORWARD: u32 = 2;
/// TCP and SCTP: their flows break when somebody answers who should not.
const CONNECTED: [u8; 2] = [6, 132];
const OF_PODS: &str = "invalid-of-pods";
const OF_CLUSTER: &str = "invalid-of-cluster";

/// The chains; `pods` is the group of Pods' devices.
pub(in crate::realise::firewall) fn chains(row: &FirewallRow, pods: u32) -> Vec<ChainSpec> {
    let only = |chain| vec![When::always().invalid().go(chain)];
    let drop = |when: fn(u32) -> When| {
        CONNECTED.map(|protocol| when(pods).protocol(protocol).drop(DropReason::Invalid))
    };
    let of_pods = [drop(When::from_group), drop(When::to_group)].concat();
    let of_cluster = [&drop(When::from_group)[..], &of_cluster(row)].concat();
    // A packet for a Service that was not translated would go round and round.
    let round = When::to_loopback().drop(DropReason::ServiceUnknown);
    let forwarded = [only(OF_PODS), vec![round]].concat();
    vec![
        inner(OF_PODS, of_pods),
        inner(OF_CLUSTER, of_cluster),
        filter("invalid-forward", FORWARD, 0, forwarded),
        filter("invalid-input", INPUT, 0, only(OF_CLUSTER)),
    ]
}

/// What comes to the node from where backends are.
fn of_cluster(row: &FirewallRow) -> Vec<Rule> {
    let own = |net: &IpNet| When::of_family(Family::of_net(net)).source_in(net);
    let mut sources: Vec<When> = row.own_nets.iter().map(own).collect();
    for family in Family::ALL {
        for (_, length) in row.cluster_lengths.iter().filter(is_family(family)) {
            let key = [Part::Length(*length), Part::SourceNet(family, *length)];
            sources.push(When::of_family(family).known_in(cluster_nets(family), &key));
        }
    }
    let dropped = |when: When| {
        CONNECTED.map(|protocol| when.clone().protocol(protocol).drop(DropReason::Invalid))
    };
    sources.into_iter().flat_map(dropped).collect()
}
