//! Services: which frontend a packet meets, whether its source may use that, and the backends.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use seaway_model::{
    BackendKey, DropReason, FALLBACK_SLOT, FrontendAction, FrontendKey, FrontendRow, GroupId, Row,
    ServiceRules, SourceRangeRow, View,
};

use super::{By, Course, End, Entry, Onward, Stage, Target, Walker};

impl Walker<'_> {
    /// Where the packet may be for.
    pub(super) fn choose(&mut self) -> Onward<Course> {
        let (original, looped) = self.detour();
        if let Some(row) = self.first_frontend(original) {
            let targets = self.by_frontend(&row)?;
            return Ok(Course {
                targets,
                original,
                by: By::Frontend,
                looped,
            });
        }
        if let Some(row) = self.host_port(original).cloned() {
            let cited = self.cite(|tables| &tables.host_ports, &row.key);
            let text = format!("a port of the node that leads to a Pod: {}", row.target);
            self.step(Stage::Frontend, text, vec![cited]);
            return Ok(Course {
                targets: vec![Target {
                    to: row.target,
                    slot: None,
                }],
                original,
                by: By::HostPort,
                looped,
            });
        }
        self.no_frontend(original)?;
        Ok(Course {
            targets: vec![Target {
                to: original,
                slot: None,
            }],
            original,
            by: By::Nobody,
            looped,
        })
    }

    fn frontend_key(&self, at: SocketAddr, view: View) -> FrontendKey {
        FrontendKey {
            address: at.ip(),
            protocol: self.packet.protocol,
            port: at.port(),
            view,
        }
    }

    /// The frontend of an address and a view.
    pub(super) fn frontend(&self, at: SocketAddr, view: View) -> Option<&FrontendRow> {
        self.rows().frontends.get(&self.frontend_key(at, view))
    }

    fn services(&self) -> Option<&ServiceRules> {
        self.firewall()?.services.as_ref()
    }

    /// The frontend that counts: for what comes from elsewhere, one for outside before that for
    /// everyone.
    fn first_frontend(&self, at: SocketAddr) -> Option<FrontendRow> {
        self.services()?;
        let from_outside = matches!(self.packet.from, Entry::Outside(_));
        let outside = from_outside
            .then(|| self.frontend(at, View::Outside))
            .flatten();
        outside
            .or_else(|| self.frontend(at, View::Everyone))
            .cloned()
    }

    fn by_frontend(&mut self, row: &FrontendRow) -> Onward<Vec<Target>> {
        let mut cited = vec![self.cite(|tables| &tables.frontends, &row.key)];
        let why = match (row.key.view, self.packet.from) {
            (View::Outside, _) => "the one for what comes from outside the node",
            (View::Everyone, Entry::Outside(_)) => {
                let other = self.frontend_key(self.at(row), View::Outside);
                if self.planned.frontends.get(&other).is_some() {
                    // The plan has one for outside, and the kernel does not: that is the news.
                    cited.push(self.cite(|tables| &tables.frontends, &other));
                }
                "the one for everyone, as there is none for outside"
            }
            (View::Everyone, Entry::Pod(_)) => "the one for everyone: a Pod of this node sends it",
            (View::Everyone, Entry::Node) => "the one for everyone: the node itself sends it",
        };
        let owner = (self.scene.service)(row);
        let of = owner.map_or(String::new(), |who| format!(" of {who}"));
        let text = format!(
            "{} {}{of} is a frontend, {why}",
            row.key.protocol,
            self.at(row)
        );
        self.step(Stage::Frontend, text, cited);
        if row.guarded {
            self.guard(row)?;
        }
        match row.action {
            FrontendAction::Refuse => {
                self.step(Stage::Group, "it has no backend anywhere", Vec::new());
                Self::refused()
            }
            FrontendAction::Drop => {
                let text = "it has backends, but none on this node, and only there may this go";
                self.step(Stage::Group, text, Vec::new());
                Self::dropped(DropReason::ServiceNotLocal)
            }
            FrontendAction::Balance {
                group,
                slots,
                affinity,
            } => self.backends(group, slots, affinity),
        }
    }

    fn at(&self, row: &FrontendRow) -> SocketAddr {
        SocketAddr::new(row.key.address, row.key.port)
    }

    /// Whether the source is among those that may use a guarded frontend.
    fn guard(&mut self, row: &FrontendRow) -> Onward<()> {
        let key = row.key;
        let first = SourceRangeRow {
            address: key.address,
            protocol: key.protocol,
            port: key.port,
            // The lowest network of the family, so that the walk begins before all.
            net: match key.address {
                std::net::IpAddr::V4(_) => ipnet::Ipv4Net::default().into(),
                std::net::IpAddr::V6(_) => ipnet::Ipv6Net::default().into(),
            },
        };
        let same = |range: &&SourceRangeRow| {
            (range.address, range.protocol, range.port) == (key.address, key.protocol, key.port)
        };
        let ranges = self.rows().source_ranges.iter_from(first);
        let ranges: Vec<SourceRangeRow> = ranges.take_while(same).copied().collect();
        let source = self.source();
        let fits = |range: &&SourceRangeRow| source.is_some_and(|s| range.net.contains(&s));
        if let Some(range) = ranges.iter().find(fits) {
            let text = format!("only some may use it, and the source is in {}", range.net);
            let cited = self.cite(|tables| &tables.source_ranges, range);
            self.step(Stage::Guard, text, vec![cited]);
            return Ok(());
        }
        let nets: Vec<String> = ranges.iter().map(|range| range.net.to_string()).collect();
        let allowed = match nets.is_empty() {
            true => "nobody of this family".to_owned(),
            false => nets.join(", "),
        };
        let text = format!("only some may use it, and the source is not among them: {allowed}");
        let cited = ranges.iter().take(MAX_CITED);
        let cited = cited.map(|range| self.cite(|tables| &tables.source_ranges, range));
        let cited = cited.collect();
        self.step(Stage::Guard, text, cited);
        Self::dropped(DropReason::ServiceSource)
    }

    fn backends(
        &mut self,
        group: GroupId,
        slots: u8,
        affinity: Option<u32>,
    ) -> Onward<Vec<Target>> {
        let first = BackendKey { group, slot: 0 };
        let rows = self.rows().backends.iter_from(first);
        let rows = rows.take_while(|row| row.key.group == group);
        let (mut targets, mut filled, mut beyond) = (BTreeMap::new(), 0, 0);
        for row in rows {
            if row.key.slot == FALLBACK_SLOT {
                continue;
            }
            if u32::from(row.key.slot) >= 1 << slots {
                beyond += 1;
                continue;
            }
            filled += 1;
            targets.entry(row.target).or_insert(row.key);
        }
        let mut text = match targets.len() {
            1 => format!("group {group} has one backend"),
            count => format!(
                "group {group} has {count} backends in {filled} of {} slots, drawn at random",
                1u32 << slots
            ),
        };
        if let Some(seconds) = affinity {
            text.push_str(&format!("; a client keeps its own for {seconds} s"));
        }
        if beyond > 0 {
            text.push_str(&format!("; {beyond} more lie in slots that nothing draws"));
        }
        if targets.is_empty() {
            let cited = self.cite(|tables| &tables.backends, &first);
            self.step(Stage::Group, text, vec![cited]);
            return Self::lost(format!(
                "no slot of group {group} has a backend, although its frontend leads there"
            ));
        }
        self.step(Stage::Group, text, Vec::new());
        let target = |(to, slot)| Target {
            to,
            slot: Some(slot),
        };
        Ok(targets.into_iter().map(target).collect())
    }

    /// An address of Services that has no frontend at this port.
    fn no_frontend(&mut self, to: SocketAddr) -> Onward<()> {
        let Some(services) = self.services().cloned() else {
            return Ok(());
        };
        let (address, protocol) = (to.ip(), self.packet.protocol);
        // What the plan has and the kernel does not is told even where the packet goes on.
        let missing = self
            .planned
            .frontends
            .get(&self.frontend_key(to, View::Everyone));
        let missing = missing.map(|row| self.cite(|tables| &tables.frontends, &row.key()));
        let cited: Vec<_> = missing.into_iter().collect();
        if self.rows().cluster_ips.get(&address).is_some() {
            let text = format!(
                "{address} is a Service's, but it has no {protocol} port {}",
                to.port()
            );
            let row = self.cite(|tables| &tables.cluster_ips, &address);
            self.step(Stage::Frontend, text, [vec![row], cited].concat());
            return Self::refused();
        }
        if let Some(net) = services
            .service_cidrs
            .iter()
            .find(|net| net.contains(&address))
        {
            let text = format!("{address} is in {net}, where Services are, but no Service has it");
            let row = self.cite_firewall();
            self.step(Stage::Frontend, text, [vec![row], cited].concat());
            return Err(Box::new(End::Dropped {
                reason: DropReason::ServiceUnknown,
            }));
        }
        if !cited.is_empty() {
            let text = format!("the kernel knows no frontend {protocol} {to}, and the plan does");
            self.step(Stage::Frontend, text, cited);
        }
        Ok(())
    }
}

/// How many ranges are cited at most.
const MAX_CITED: usize = 16;
