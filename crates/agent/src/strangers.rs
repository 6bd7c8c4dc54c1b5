//! Whether somebody else's filters keep Pods' packets from getting through.
//!
//! Our own filters count the flows of Pods that begin to be forwarded before and behind everybody
//! else's rules. What is lost in between, somebody else dropped; who may have, a survey of the
//! strangers' filters says. Nothing here changes them.

use std::time::Instant;

use seaway_kernel::KernelError;
use seaway_kernel::foreign::{Stranger, survey};
use seaway_kernel::realise::Firewall;
use serde::Serialize;

use crate::journal::{Journal, Topic};
use crate::shared::Shared;

/// Fewer than this may be packets that were on their way while the counters were read.
const LEAST: u64 = 3;
/// After so many quiet looks it is over.
const QUIET: u32 = 5;

/// How many flows began to be forwarded, and how many of them were still there in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flows {
    began: u64,
    passed: u64,
}

impl Flows {
    /// Reads the counters of the calling thread's namespace.
    fn read() -> Result<Flows, KernelError> {
        let (began, passed) = Firewall::default().forwarded()?;
        Ok(Flows { began, passed })
    }

    fn lost_since(self, before: Flows) -> u64 {
        let began = self.began.saturating_sub(before.began);
        let passed = self.passed.saturating_sub(before.passed);
        began.saturating_sub(passed)
    }
}

/// What successive looks at the counters say.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    first: Option<(Instant, Flows)>,
    last: Flows,
    quiet: u32,
}

/// What became of the flows between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// Some were lost.
    Lost,
    /// None has been lost for a while.
    Over,
    /// Neither.
    Nothing,
}

impl Looks {
    /// Takes in a look. Counters that run backwards belong to tables that were made anew.
    fn take(&mut self, now: Instant, flows: Flows) -> News {
        let anew = flows.began < self.last.began;
        let (_, first) = *match &mut self.first {
            Some(first) if !anew => first,
            first => {
                self.last = flows;
                first.insert((now, flows))
            }
        };
        let lost = flows.lost_since(self.last).min(flows.lost_since(first));
        self.last = flows;
        match lost {
            LEAST.. => {
                self.quiet = 0;
                News::Lost
            }
            _ => {
                self.quiet = self.quiet.saturating_add(1);
                match self.quiet {
                    QUIET => News::Over,
                    _ => News::Nothing,
                }
            }
        }
    }

    /// How many have been lost since the first look, and how many seconds that is ago.
    fn lost(&self, flows: Flows) -> (u64, u64) {
        let Some((at, first)) = self.first else {
            return (0, 0);
        };
        let lost = match flows.lost_since(first) {
            ..LEAST => 0,
            lost => lost,
        };
        (lost, at.elapsed().as_secs())
    }
}

/// What strangers do to Pods' packets.
#[derive(Clone, Debug, Serialize)]
pub struct StrangersReport {
    /// How many flows of Pods somebody else dropped while they were forwarded.
    pub lost_flows: u64,
    /// For how many seconds they have been counted.
    pub counted_seconds: u64,
    /// Whoever may have dropped them, those that drop by default first.
    pub suspects: Vec<String>,
    /// All strangers that can be in the way, in words.
    pub all: Vec<String>,
    /// Why they are not all known, if so.
    pub problem: Option<String>,
}

/// Looks at the strangers, for status. In the node's namespace.
pub(crate) fn report(shared: &Shared, vxlan_port: Option<u16>) -> StrangersReport {
    let (lost_flows, counted_seconds, unread) = match Flows::read() {
        Ok(flows) => {
            let (lost, seconds) = shared.looks().lost(flows);
            (lost, seconds, None)
        }
        Err(error) => (0, 0, Some(error.to_string())),
    };
    let (strangers, unseen) = match survey(vxlan_port) {
        Ok(strangers) => (strangers, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let suspects = match lost_flows {
        0 => Vec::new(),
        _ => suspects(&strangers),
    };
    StrangersReport {
        lost_flows,
        counted_seconds,
        suspects,
        all: strangers.iter().map(ToString::to_string).collect(),
        problem: unread.or(unseen),
    }
}

/// Looks whether flows get lost, and tells when that begins and ends. In the node's namespace.
pub(crate) fn look(shared: &Shared, vxlan_port: Option<u16>) {
    let news = match Flows::read() {
        Ok(flows) => shared.looks().take(Instant::now(), flows),
        Err(error) => {
            tracing::debug!(%error, "flows of Pods not counted");
            return;
        }
    };
    match news {
        News::Lost => tell_lost(&shared.journal, survey(vxlan_port)),
        News::Over => shared.journal.over(&Topic::Forward, "ForwardingWorks", || {
            "packets that Pods exchange with others are no longer dropped on their way through \
                 the node"
                .to_owned()
        }),
        News::Nothing => {}
    }
}

fn tell_lost(journal: &Journal, strangers: Result<Vec<Stranger>, KernelError>) {
    let who = match strangers.map(|strangers| suspects(&strangers)) {
        Ok(some) if !some.is_empty() => some.join("; "),
        Ok(_) => "no filter of somebody else was found, so look at `nft list ruleset`".to_owned(),
        Err(error) => error.to_string(),
    };
    let message =
        format!("somebody else's filter drops packets of Pods in hook forward; suspects: {who}");
    journal.holds(Topic::Forward, "ForwardingBlocked", message);
}

/// Filters of packets on their way through, those that drop by default first.
fn suspects(strangers: &[Stranger]) -> Vec<String> {
    let forward = |stranger: &&Stranger| match stranger {
        Stranger::Filter(filter) => filter.hook == "forward",
        Stranger::Vxlan(_) => false,
    };
    let mut found: Vec<&Stranger> = strangers.iter().filter(forward).collect();
    found.sort_by_key(|stranger| !stranger.drops_by_default());
    found.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows(began: u64, passed: u64) -> Flows {
        Flows { began, passed }
    }

    #[test]
    fn losses_are_told_from_flows_that_are_on_their_way() {
        let now = Instant::now();
        let mut looks = Looks::default();
        assert_eq!(
            looks.take(now, flows(1000, 900)),
            News::Nothing,
            "before us"
        );
        assert_eq!(looks.take(now, flows(2000, 1899)), News::Nothing);
        assert_eq!(looks.take(now, flows(2010, 1899)), News::Lost);
        assert_eq!(looks.lost(flows(2010, 1899)).0, 11);
    }

    #[test]
    fn it_is_over_after_a_while_and_once() {
        let now = Instant::now();
        let mut looks = Looks::default();
        looks.take(now, flows(0, 0));
        assert_eq!(looks.take(now, flows(9, 0)), News::Lost);
        let news: Vec<News> = (0..QUIET + 2)
            .map(|_| looks.take(now, flows(9, 0)))
            .collect();
        let over = news.iter().position(|n| *n == News::Over);
        assert_eq!(over, Some(QUIET as usize - 1));
        assert_eq!(news.iter().filter(|n| **n == News::Over).count(), 1);
        assert_eq!(looks.take(now, flows(20, 0)), News::Lost, "again");
    }

    #[test]
    fn counters_that_start_anew_are_not_losses() {
        let now = Instant::now();
        let mut looks = Looks::default();
        looks.take(now, flows(100, 100));
        assert_eq!(looks.take(now, flows(50, 10)), News::Nothing);
        assert_eq!(looks.lost(flows(50, 10)).0, 0);
    }
}
