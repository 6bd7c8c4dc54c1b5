//! The way in: whether the sender may say what it says, and the detour of what the node sends to
//! its own loopback address.

use std::net::{IpAddr, SocketAddr};

use seaway_model::{
    Device, DropReason, Family, FirewallKey, FirewallRow, HostPortKey, HostPortRow, Protocol,
    Reachability, RouteKey, RouteRow, RouteTable, View, Wiring, dns_address, loopback_alias,
};

use super::{Citation, Entry, Onward, Stage, Walker};

impl Walker<'_> {
    /// Whether the packet gets in at all.
    pub(super) fn enter(&mut self) -> Onward<()> {
        match self.packet.from {
            Entry::Pod(address) => self.sent_by_pod(address),
            Entry::Node => {
                let source = self.node_source(Family::of(self.packet.to.ip()));
                let text = match source {
                    Some(source) => format!("the node itself sends it, from {source}"),
                    None => "the node itself sends it".to_owned(),
                };
                self.step(Stage::Source, text, Vec::new());
                Ok(())
            }
            Entry::Outside(source) => self.sent_from_outside(source),
        }
    }

    pub(super) fn firewall(&self) -> Option<&FirewallRow> {
        self.rows().firewall.get(&FirewallKey)
    }

    pub(super) fn cite_firewall(&self) -> Citation {
        self.cite(|tables| &tables.firewall, &FirewallKey)
    }

    /// The address with which the node itself speaks to others.
    pub(super) fn node_source(&self, family: Family) -> Option<IpAddr> {
        let uplink = self.scene.uplink.and_then(|uplink| uplink.address(family));
        let mut own = self.scene.own.iter().copied();
        uplink.or_else(|| own.find(|a| Family::of(*a) == family && !a.is_loopback()))
    }

    fn sent_by_pod(&mut self, source: IpAddr) -> Onward<()> {
        let name = self.name(source);
        let Some(firewall) = self.firewall().cloned() else {
            let text = format!("{name} sends it; this node has no filters, so nobody checks that");
            let rows = vec![self.cite_firewall()];
            self.step(Stage::Source, text, rows);
            return Ok(());
        };
        let (is_its_own, row) = match firewall.wiring {
            Wiring::Routed => self.routed_back(source),
            Wiring::Bridge => self.guarded_port(source),
        };
        if !is_its_own {
            let text =
                format!("{name} sends it, but the row that lets it use this address is not there");
            self.step(Stage::Source, text, vec![row]);
            return Self::dropped(DropReason::PodSource);
        }
        let text = format!("{name} sends it, and may use that address");
        self.step(Stage::Source, text, vec![row]);
        let to = self.packet.to;
        let reaches_vtep = self.packet.protocol == Protocol::Udp
            && self.is_own(to.ip())
            && firewall.vxlan.is_some_and(|vxlan| vxlan.port == to.port());
        match reaches_vtep {
            true => Self::dropped(DropReason::PodToVtep),
            false => Ok(()),
        }
    }

    /// In `routed` wiring a source is a Pod's own if it is routed back by its link.
    fn routed_back(&self, source: IpAddr) -> (bool, Citation) {
        let key = host_route(source);
        let route = self.rows().routes.get(&key);
        let by_link = route.is_some_and(|route| match &route.reach {
            Reachability::Via { device, .. } => matches!(device, Device::PodLink(_)),
            Reachability::Unreachable => false,
        });
        (by_link, self.cite(|tables| &tables.routes, &key))
    }

    /// In `bridge` wiring a source is a Pod's own if its port may speak for it.
    fn guarded_port(&self, source: IpAddr) -> (bool, Citation) {
        let of_source = |tables: &crate::table::Tables| {
            let mut rows = tables.port_guards.iter();
            rows.find(|row| row.address == source)
                .map(seaway_model::Row::key)
        };
        let known = of_source(self.rows());
        let is_there = known.is_some();
        let any = known.or_else(|| of_source(self.planned));
        match any {
            Some(key) => (is_there, self.cite(|tables| &tables.port_guards, &key)),
            None => (false, self.cite_firewall()),
        }
    }

    fn sent_from_outside(&mut self, source: IpAddr) -> Onward<()> {
        let (name, to) = (self.name(source), self.packet.to.ip());
        let rows = self.rows().inner_sources.iter();
        let inner = rows.filter(|row| row.net.contains(&source));
        let inner = inner.max_by_key(|row| row.net.prefix_len()).cloned();
        let (text, cited) = match inner {
            Some(row) => (
                format!(
                    "{name} sends it from elsewhere: plain, or in VXLAN from {}",
                    row.vtep
                ),
                vec![self.cite(|tables| &tables.inner_sources, &row)],
            ),
            None => (format!("{name} sends it from elsewhere"), Vec::new()),
        };
        self.step(Stage::Source, text, cited);
        let family = Family::of(to);
        let dns = self.firewall().and_then(|f| f.services.as_ref());
        let dns = dns.is_some_and(|services| services.dns);
        if self.firewall().is_some() && to == loopback_alias(family) {
            return Self::dropped(DropReason::LoopbackAlias);
        }
        if dns && to == dns_address(family) {
            return Self::dropped(DropReason::DnsAddress);
        }
        Ok(())
    }

    /// Where the packet is for after the detour of the loopback address, and whether it made that.
    pub(super) fn detour(&mut self) -> (SocketAddr, bool) {
        let to = self.packet.to;
        let is_loopback = match to.ip() {
            IpAddr::V4(address) => address == std::net::Ipv4Addr::LOCALHOST,
            IpAddr::V6(address) => address == std::net::Ipv6Addr::LOCALHOST,
        };
        if self.packet.from != Entry::Node || !is_loopback {
            return (to, false);
        }
        let stand_in = SocketAddr::new(loopback_alias(Family::of(to.ip())), to.port());
        let leads_on =
            self.frontend(stand_in, View::Everyone).is_some() || self.host_port(stand_in).is_some();
        if !leads_on {
            return (to, false);
        }
        let address = seaway_model::AddressRow {
            device: Device::Loopback,
            net: Family::host_net(stand_in.ip()),
        };
        let row = self.cite(|tables| &tables.addresses, &address);
        let text = format!(
            "a port of the loopback address: {} stands for {} until the packet is delivered",
            stand_in.ip(),
            to.ip()
        );
        self.step(Stage::Loopback, text, vec![row]);
        (stand_in, true)
    }

    /// The port of the node that an address leads to a Pod by.
    pub(super) fn host_port(&self, to: SocketAddr) -> Option<&HostPortRow> {
        let alias = loopback_alias(Family::of(to.ip()));
        if !self.is_own(to.ip()) && to.ip() != alias {
            return None;
        }
        let key = |address| HostPortKey {
            family: Family::of(to.ip()),
            protocol: self.packet.protocol,
            port: to.port(),
            address,
        };
        let table = &self.rows().host_ports;
        let exact = table.get(&key(Some(to.ip())));
        exact.or_else(|| table.get(&key(None)))
    }
}

/// The key of the route to one address.
pub(super) fn host_route(address: IpAddr) -> RouteKey {
    let family = Family::of(address);
    RouteKey {
        table: RouteTable::Main,
        destination: Family::host_net(address),
        metric: RouteRow::default_metric(family),
    }
}
