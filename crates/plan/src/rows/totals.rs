//! The rows of the node that depend on what kinds of rows all others have: the static part of the
//! filters, the rules for what Pods send, the stand-in for the loopback address.

use seaway_model::{
    AddressRow, Device, Family, FirewallRow, RuleRow, ServiceRules, ServiceSettings, VxlanGuard,
    loopback_alias,
};

use crate::context::Context;
use crate::table::Tables;
use crate::totals::Summary;

/// The rows that follow from the sum of all others.
pub(crate) fn totals_rows(ctx: &Context, summary: &Summary) -> Tables {
    let mut rows = Tables::default();
    if !ctx.filters && ctx.services().is_none() {
        return rows;
    }
    let nets = ctx.pod_cidrs();
    rows.firewall.insert(FirewallRow {
        wiring: ctx.settings.wiring,
        own_nets: nets.iter().chain(&summary.strays).copied().collect(),
        vxlan: ctx.overlay().map(|overlay| VxlanGuard {
            vni: overlay.vni,
            port: overlay.port,
            underlay: overlay.underlay,
            inner_lengths: summary.inner_lengths.clone(),
        }),
        masquerade: ctx.settings.masquerade,
        cluster_lengths: summary.cluster_lengths.clone(),
        services: ctx.services().map(|settings| rules(ctx, settings, summary)),
    });
    if summary.sends_vxlan {
        for net in nets {
            rows.rules.insert(RuleRow { source: *net });
        }
    }
    let by_host_ports = ctx.families().filter(|_| summary.has_host_ports);
    for family in by_host_ports.chain(summary.loopbacks.iter().copied()) {
        rows.addresses.insert(AddressRow {
            device: Device::Loopback,
            net: Family::host_net(loopback_alias(family)),
        });
    }
    // What comes for a Service may have to go on to another node.
    for family in &summary.frontends {
        super::base::forward(ctx, *family, &mut rows);
    }
    rows
}

fn rules(ctx: &Context, settings: &ServiceSettings, summary: &Summary) -> ServiceRules {
    ServiceRules {
        service_cidrs: ctx.service_cidrs().collect(),
        sources: Family::ALL
            .into_iter()
            .filter_map(|f| ctx.source(f))
            .collect(),
        affinities: summary.affinities.clone(),
        range_lengths: summary.range_lengths.clone(),
        masquerade_all: settings.masquerade_all,
        dns: settings.dns,
    }
}
