//! Translation: what the addresses of a packet become on their way to one target.

use std::net::{IpAddr, SocketAddr};

use seaway_model::{Family, View};

use super::{By, Citation, Course, Entry, Stage, Step, Target, Walker};

/// What becomes of the source.
pub(super) enum SourceNat {
    /// It stays.
    Kept(String),
    /// It becomes the node's: why, and which that is.
    Node(String, Option<IpAddr>),
}

/// A translated packet.
pub(super) struct Translated {
    /// What was done, if anything.
    pub(super) step: Option<Step>,
    /// The source that it has now, if that is known.
    pub(super) source: Option<IpAddr>,
}

impl Walker<'_> {
    /// What translation makes of the packet on its way to a target.
    pub(super) fn translate(&self, course: &Course, target: Target) -> Translated {
        let mut rows: Vec<Citation> = Vec::new();
        let nat = match course.by {
            By::Nobody => self.way_out(target.to.ip(), &mut rows),
            By::Frontend | By::HostPort => self.source_of_translated(course, target, &mut rows),
        };
        if let Some(slot) = target.slot {
            rows.insert(0, self.cite(|tables| &tables.backends, &slot));
        }
        let (why, source) = match nat {
            SourceNat::Kept(why) => (why, self.source()),
            SourceNat::Node(why, source) => (why, source),
        };
        let text = match (course.by, why.is_empty()) {
            (By::Nobody, true) => None,
            (By::Nobody, false) => Some(why),
            (By::Frontend | By::HostPort, _) => {
                Some(format!("the destination becomes {}; {why}", target.to))
            }
        };
        let step = text.map(|text| Step {
            stage: Stage::Nat,
            text,
            rows,
        });
        Translated { step, source }
    }

    /// The source of the packet as it came.
    pub(super) fn source(&self) -> Option<IpAddr> {
        match self.packet.from {
            Entry::Pod(source) | Entry::Outside(source) => Some(source),
            Entry::Node => self.node_source(Family::of(self.packet.to.ip())),
        }
    }

    /// In what order postrouting decides of a translated flow's source.
    fn source_of_translated(
        &self,
        course: &Course,
        target: Target,
        rows: &mut Vec<Citation>,
    ) -> SourceNat {
        let to = target.to.ip();
        if self.packet.from == Entry::Pod(to) {
            if self.rows().local_pods.get(&to).is_some() {
                rows.push(self.cite(|tables| &tables.local_pods, &to));
                return self.lend("the Pod meets itself: its source becomes", to);
            }
            rows.push(self.cite(|tables| &tables.local_pods, &to));
            let text = "the Pod meets itself, and its source stays for want of a row: no answer comes back";
            return SourceNat::Kept(text.to_owned());
        }
        let services = self.firewall().and_then(|row| row.services.clone());
        let masquerade_all = services.is_some_and(|services| services.masquerade_all);
        let by_service = course.by == By::Frontend;
        if let Entry::Pod(source) = self.packet.from
            && !(masquerade_all && by_service)
        {
            return match self.leaves_cluster(to, rows) {
                true => self.lend("it leaves the cluster: the Pod's source becomes", to),
                false => SourceNat::Kept(format!("the Pod keeps its source {source}")),
            };
        }
        if course.looped && !self.is_own(to) {
            return self.lend("the source, the loopback address, becomes", to);
        }
        if self.packet.from == Entry::Node && self.is_own(to) {
            return SourceNat::Kept("the source stays, it does not leave the node".to_owned());
        }
        let outside = self.frontend(course.original, View::Outside);
        if by_service && outside.is_some() && self.packet.from != Entry::Node {
            return SourceNat::Kept("the source stays".to_owned());
        }
        match by_service {
            true => self.lend("the source becomes", to),
            false => SourceNat::Kept("the source stays".to_owned()),
        }
    }

    fn lend(&self, why: &str, to: IpAddr) -> SourceNat {
        let family = Family::of(to);
        let services = self.firewall().and_then(|row| row.services.as_ref());
        let mut sources = services.into_iter().flat_map(|s| s.sources.iter().copied());
        let source = sources.find(|source| Family::of(*source) == family);
        let source = source.or_else(|| self.node_source(family));
        let which = source.map_or(String::new(), |source| format!(", {source}"));
        SourceNat::Node(format!("{why} the node's own{which}"), source)
    }

    /// What is not for a Service: a Pod's packet that leaves the cluster gets the node's address.
    fn way_out(&self, to: IpAddr, rows: &mut Vec<Citation>) -> SourceNat {
        let from_pod = matches!(self.packet.from, Entry::Pod(_));
        match from_pod && !self.is_own(to) && self.leaves_cluster(to, rows) {
            true => self.lend("it leaves the cluster: the Pod's source becomes", to),
            false => SourceNat::Kept(String::new()),
        }
    }

    /// Whether a destination is outside the cluster, and Pods do not keep their source there.
    fn leaves_cluster(&self, to: IpAddr, rows: &mut Vec<Citation>) -> bool {
        if !self.firewall().is_some_and(|row| row.masquerade) {
            return false;
        }
        let nets = self.rows().cluster_nets.iter();
        let inside = nets.filter(|row| row.net.contains(&to));
        let inside = inside.max_by_key(|row| row.net.prefix_len());
        match inside {
            Some(row) => {
                rows.push(self.cite(|tables| &tables.cluster_nets, &row.net));
                false
            }
            None => {
                rows.push(self.cite_firewall());
                true
            }
        }
    }
}

/// An address and port in words, without the port where none was named.
pub(super) fn place(to: SocketAddr) -> String {
    match to.port() {
        0 => to.ip().to_string(),
        _ => to.to_string(),
    }
}
