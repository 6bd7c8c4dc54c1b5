//! Signs of life, and how long there were none while we could have seen them.
//!
//! A node is silent only if its Lease did not change for a whole grace period *during which the API
//! answered us*. Whatever breaks our own sight (the API was away, the watch broke, this process stood
//! still) starts that period anew for all, because nodes could not renew, or we not see it. Before a
//! node is called silent its Lease is read once more (`confirm`), so a watch that only seems alive
//! deceives nobody.

use std::collections::BTreeMap;
use std::time::Duration;

/// What changes when a node gives a sign of life; what is not known says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The renewal of its Lease.
    pub(crate) renewed: Option<String>,
    /// What the node itself says of its state, and when.
    pub(crate) said: Option<String>,
}

impl Stamp {
    /// Takes in a later stamp, and answers whether it shows life.
    fn renew(&mut self, later: Self) -> bool {
        let mut alive = false;
        for (known, told) in [
            (&mut self.renewed, later.renewed),
            (&mut self.said, later.said),
        ] {
            if told.is_some() && *known != told {
                *known = told;
                alive = true;
            }
        }
        alive
    }
}

#[derive(Debug, Clone)]
struct Seen {
    stamp: Stamp,
    at: Duration,
}

/// The observer. Times are since some start of our own.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    grace: Duration,
    nodes: BTreeMap<String, Seen>,
    /// Since when we see well; None: we do not.
    sight: Option<Duration>,
    /// When Leases were last read anew.
    confirmed: Option<Duration>,
}

/// What there is to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Silence {
    /// Nodes that are silent, for sure.
    pub(crate) silent: Vec<String>,
    /// Some seem silent: read all Leases anew, then ask again.
    pub(crate) confirm: bool,
    /// No node that we know gives signs of life.
    pub(crate) total: bool,
    /// When the next node can become silent.
    pub(crate) next: Option<Duration>,
}

impl Pulse {
    /// An observer that sees nothing yet.
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            grace,
            nodes: BTreeMap::new(),
            sight: None,
            confirmed: None,
        }
    }

    /// Our sight broke.
    pub(crate) fn blind(&mut self) {
        self.sight = None;
    }

    /// We see (again); going on seeing changes nothing.
    pub(crate) fn sighted(&mut self, now: Duration) {
        self.sight.get_or_insert(now);
    }

    /// Whether we see.
    pub(crate) fn sees(&self) -> bool {
        self.sight.is_some()
    }

    /// A node and its latest stamp. Another stamp than before is a sign of life, and so is a new node.
    pub(crate) fn saw(&mut self, node: &str, stamp: Stamp, now: Duration) {
        match self.nodes.get_mut(node) {
            Some(seen) => {
                if seen.stamp.renew(stamp) {
                    seen.at = now;
                }
            }
            None => {
                self.nodes.insert(node.to_owned(), Seen { stamp, at: now });
            }
        }
    }

    /// Forgets nodes that are no more.
    pub(crate) fn keep(&mut self, exists: impl Fn(&str) -> bool) {
        self.nodes.retain(|node, _| exists(node));
    }

    /// All Leases have been read anew, just now.
    pub(crate) fn confirm(&mut self, now: Duration) {
        self.confirmed = Some(now);
    }

    /// Who is silent.
    pub(crate) fn silence(&self, now: Duration) -> Silence {
        let Some(sight) = self.sight else {
            return Silence::default();
        };
        let mut result = Silence::default();
        let mut latest = Duration::ZERO;
        for (node, seen) in &self.nodes {
            let due = seen.at.max(sight).saturating_add(self.grace);
            if due <= now {
                result.silent.push(node.clone());
                latest = latest.max(due);
            } else {
                result.next = Some(result.next.map_or(due, |next| next.min(due)));
            }
        }
        result.total = !result.silent.is_empty() && result.silent.len() == self.nodes.len();
        let fresh = self.confirmed.is_some_and(|at| at >= latest);
        if !result.silent.is_empty() && !fresh {
            result.confirm = true;
            result.silent.clear();
            result.total = false;
        }
        result
    }
}
