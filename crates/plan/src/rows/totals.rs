//! The rows of the node that depend on what kinds of rows all others have: the static part of the
//! filters, the rules for what Pods send, the stand-in for the loopback address.

use seaway_model::{AddressRow, Device, Family, FirewallRow, RuleRow, VxlanGuard, loopback_alias};

use crate::context::Context;
use crate::table::Tables;
use crate::totals::Summary;

/// The rows that follow from the sum of all others.
pub(crate) fn totals_rows(ctx: &Context, summary: &Summary) -> Tables {
    let mut rows = Tables::default();
    if !ctx.filters {
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
        services: None,
    });
    if summary.sends_vxlan {
        for net in nets {
            rows.rules.insert(RuleRow { source: *net });
        }
    }
    if summary.has_host_ports {
        for family in ctx.families() {
            rows.addresses.insert(AddressRow {
                device: Device::Loopback,
                net: Family::host_net(loopback_alias(family)),
            });
        }
    }
    rows
}
