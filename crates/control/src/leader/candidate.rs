//! What a Lease means for one who wants it: take, keep, or wait. No clock and no server inside.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

use super::Rhythm;

/// What is to be done about the Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There is none: make it.
    Create,
    /// It is free, ours, or its holder is silent: write ourselves into exactly this version.
    Take,
    /// Another holds it; for so long at most it is left alone.
    Wait(Duration),
}

/// The holder's last sign of life.
#[derive(Debug, Clone, PartialEq)]
struct Sign {
    spec: LeaseSpec,
    /// When it was seen first, by our own clock.
    at: Duration,
}

/// One who wants the Lease.
#[derive(Debug)]
pub(super) struct Candidate {
    identity: String,
    rhythm: Rhythm,
    sign: Option<Sign>,
}

impl Candidate {
    pub(super) fn new(identity: String, rhythm: Rhythm) -> Self {
        Self {
            identity,
            rhythm,
            sign: None,
        }
    }

    /// Looks at the Lease as it is. A holder lives if the Lease differs from what was seen before,
    /// whatever times it tells.
    pub(super) fn look(&mut self, lease: Option<&Lease>, now: Duration) -> Step {
        let Some(lease) = lease else {
            return self.absent(now);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            self.sign = None;
            return Step::Take;
        }
        if self.sign.as_ref().is_none_or(|sign| sign.spec != spec) {
            self.sign = Some(Sign { spec, at: now });
        }
        match self.remaining(now) {
            Duration::ZERO => Step::Take,
            remaining => Step::Wait(remaining),
        }
    }

    /// Without a Lease, a holder that was seen may not know yet that it has none.
    fn absent(&self, now: Duration) -> Step {
        match self.remaining(now) {
            Duration::ZERO => Step::Create,
            remaining => Step::Wait(remaining),
        }
    }

    /// For how long the Lease is another's.
    fn remaining(&self, now: Duration) -> Duration {
        let Some(sign) = &self.sign else {
            return Duration::ZERO;
        };
        // Its holder's word counts, but never for less than what we ourselves would hold it for.
        let said = sign.spec.lease_duration_seconds.unwrap_or_default();
        let said = Duration::from_secs(u64::try_from(said).unwrap_or_default());
        (sign.at + said.max(self.rhythm.hold)).saturating_sub(now)
    }

    /// The Lease as it is to be written, on top of what was read. `wall` is for people.
    pub(super) fn held(&self, lease: Option<&Lease>, wall: Timestamp) -> Lease {
        let mut lease = lease.cloned().unwrap_or_default();
        let spec = lease.spec.get_or_insert_default();
        let wall = MicroTime(wall);
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            let before = spec.lease_transitions;
            // The first holder is no change of holders.
            spec.lease_transitions = Some(before.map_or(0, |count| count.saturating_add(1)));
            spec.holder_identity = Some(self.identity.clone());
            spec.acquire_time = Some(wall.clone());
        }
        let seconds = self.rhythm.hold.as_secs();
        spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
        spec.renew_time = Some(wall);
        lease
    }

    /// The Lease as it is given back, if it is ours.
    pub(super) fn released(&self, lease: &Lease, wall: Timestamp) -> Option<Lease> {
        let mut lease = lease.clone();
        let spec = lease.spec.as_mut()?;
        if spec.holder_identity.take()? != self.identity {
            return None;
        }
        spec.renew_time = Some(MicroTime(wall));
        Some(lease)
    }

    /// Who holds it, if another does.
    pub(super) fn other_holder<'a>(&self, lease: &'a Lease) -> Option<&'a str> {
        let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
        (!holder.is_empty() && holder != self.identity).then_some(holder)
    }
}

/// A Lease that is not there yet.
pub(super) fn named(name: &str) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        spec: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(15);

    fn candidate(identity: &str) -> Candidate {
        Candidate::new(identity.to_owned(), Rhythm::default())
    }

    fn wall(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_that_nobody_holds_is_taken_at_once() {
        let mut a = candidate("a");
        assert_eq!(a.look(None, at(0)), Step::Create);
        let lease = a.held(None, wall(100));
        let spec = lease.spec.clone().expect("a spec");
        assert_eq!(spec.lease_transitions, Some(0));
        assert_eq!(spec.lease_duration_seconds, Some(15));
        let free = a.released(&lease, wall(101)).expect("ours");
        assert_eq!(
            free.spec.as_ref().and_then(|s| s.holder_identity.clone()),
            None
        );
        let mut b = candidate("b");
        assert_eq!(b.look(Some(&free), at(7)), Step::Take);
        let taken = b.held(Some(&free), wall(102)).spec.expect("a spec");
        assert_eq!(taken.lease_transitions, Some(1));
        assert_eq!(a.released(&b.held(Some(&free), wall(102)), wall(103)), None);
    }

    #[test]
    fn only_silence_by_the_own_clock_counts_whatever_the_holders_clock_says() {
        for skew in [-1_000_000, 0, 1_000_000] {
            let a = candidate("a");
            let mut b = candidate("b");
            let mut lease = a.held(None, wall(2_000_000 + skew));
            assert_eq!(b.look(Some(&lease), at(50)), Step::Wait(HOLD));
            assert_eq!(b.look(Some(&lease), at(60)), Step::Wait(at(5)));
            lease = a.held(Some(&lease), wall(2_000_001 + skew));
            assert_eq!(b.look(Some(&lease), at(64)), Step::Wait(HOLD));
            assert_eq!(b.look(Some(&lease), at(78)), Step::Wait(at(1)));
            assert_eq!(b.look(Some(&lease), at(79)), Step::Take);
        }
    }

    #[test]
    fn a_holder_whose_lease_was_deleted_is_waited_for() {
        let lease = candidate("a").held(None, wall(0));
        let mut b = candidate("b");
        assert_eq!(b.look(Some(&lease), at(50)), Step::Wait(HOLD));
        assert_eq!(b.look(None, at(51)), Step::Wait(at(14)));
        assert_eq!(b.look(None, at(65)), Step::Create);
    }

    #[test]
    fn a_longer_word_counts_and_a_shorter_one_does_not() {
        let mut lease = candidate("a").held(None, wall(0));
        for (seconds, expected) in [(60, at(60)), (1, HOLD), (-5, HOLD)] {
            let spec = lease.spec.as_mut().expect("a spec");
            spec.lease_duration_seconds = Some(seconds);
            assert_eq!(
                candidate("b").look(Some(&lease), at(0)),
                Step::Wait(expected)
            );
        }
    }

    #[test]
    fn what_others_wrote_into_the_lease_stays() {
        let mut lease = candidate("a").held(None, wall(0));
        lease.metadata.resource_version = Some("7".to_owned());
        lease.metadata.annotations = Some([("k".to_owned(), "v".to_owned())].into());
        let taken = candidate("b").held(Some(&lease), wall(1));
        assert_eq!(taken.metadata, lease.metadata);
        let first = lease.spec.expect("a spec").acquire_time;
        assert_ne!(taken.spec.expect("a spec").acquire_time, first);
    }
}
