//! What upstream servers have said, kept for as long as they said, and a while longer for when they
//! are away. Bounded in number and bytes. Pure: `now` is an argument.
//!
//! Two generations: what is used moves to the young one; when that is half of what is allowed, it
//! becomes the old one and the old one is forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ForwardLimits;
use super::reply::{Age, Asked, Reply};

/// How long a server's failure is remembered (RFC 9520: at least a second).
const FAILURE: Duration = Duration::from_secs(1);
/// How long a server that fails is not asked again where there is an old answer.
const STALE_RETRY: Duration = Duration::from_secs(5);
/// The time to live of what is too old (RFC 8767).
const STALE_TTL: u32 = 30;

/// What is kept of a question.
#[derive(Clone, Debug)]
struct Kept {
    /// The last good reply, when it came, and until when it is fresh.
    reply: Option<(Arc<Reply>, Instant, Instant)>,
    /// Nobody is asked before; the last bad reply, if there was any.
    failed: Option<(Instant, Option<Arc<Reply>>)>,
}

/// What the cache knows of a question.
#[derive(Debug)]
pub(crate) enum Looked {
    /// The answer.
    Fresh(Arc<Reply>, Age),
    /// An answer that is too old. `ask`: it is time to ask again.
    Stale {
        /// The answer.
        reply: Arc<Reply>,
        /// How old it is.
        age: Age,
        /// It is time to ask again.
        ask: bool,
    },
    /// There was no answer just now; perhaps a bad one.
    Failed(Option<Arc<Reply>>),
    /// Nothing.
    Nothing,
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Cache {
    young: Generation,
    old: Generation,
    limits: ForwardLimits,
}

#[derive(Debug, Default)]
struct Generation {
    kept: HashMap<Asked, Kept>,
    bytes: usize,
}

impl Generation {
    fn insert(&mut self, asked: Asked, kept: Kept) {
        self.take(&asked);
        self.bytes += size(&asked, &kept);
        self.kept.insert(asked, kept);
    }

    fn take(&mut self, asked: &Asked) -> Option<Kept> {
        let (asked, kept) = self.kept.remove_entry(asked)?;
        self.bytes = self.bytes.saturating_sub(size(&asked, &kept));
        Some(kept)
    }
}

fn size(asked: &Asked, kept: &Kept) -> usize {
    let reply = kept.reply.as_ref().map_or(0, |(reply, ..)| reply.size());
    let bad = kept.failed.as_ref().and_then(|(_, reply)| reply.as_ref());
    asked.size() + reply + bad.map_or(0, |reply| reply.size()) + size_of::<Kept>()
}

impl Cache {
    pub(crate) fn new(limits: &ForwardLimits) -> Cache {
        Cache {
            young: Generation::default(),
            old: Generation::default(),
            limits: limits.clone(),
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.kept.len() + self.old.kept.len()
    }

    pub(crate) fn look(&mut self, asked: &Asked, now: Instant) -> Looked {
        if let Some(kept) = self.old.take(asked) {
            self.put(asked.clone(), kept);
        }
        let Some(kept) = self.young.kept.get(asked) else {
            return Looked::Nothing;
        };
        let failed = kept.failed.as_ref().filter(|(until, _)| now < *until);
        if let Some((reply, came, fresh_until)) = &kept.reply {
            if now < *fresh_until {
                let age = now.saturating_duration_since(*came).as_secs();
                let age = Age::Seconds(u32::try_from(age).unwrap_or(u32::MAX));
                return Looked::Fresh(reply.clone(), age);
            }
            if now < *fresh_until + self.limits.stale {
                return Looked::Stale {
                    reply: reply.clone(),
                    age: Age::Stale(STALE_TTL),
                    ask: failed.is_none(),
                };
            }
        }
        match failed {
            Some((_, bad)) => Looked::Failed(bad.clone()),
            None => Looked::Nothing,
        }
    }

    /// Keeps a good reply for as long as it and the limits allow.
    pub(crate) fn store(&mut self, asked: Asked, reply: Arc<Reply>, now: Instant) {
        let limits = &self.limits;
        let longest = match reply.is_positive() {
            true => limits.max_ttl,
            false => limits.max_negative_ttl,
        };
        let told = reply.lifetime.map(|s| Duration::from_secs(s.into()));
        let lifetime = match told {
            // "Do not keep" is a wish; a "no" that says nothing has none.
            Some(Duration::ZERO) => Duration::ZERO,
            told => told
                .unwrap_or_default()
                .clamp(limits.min_ttl, longest.max(limits.min_ttl)),
        };
        self.old.take(&asked);
        let kept = Kept {
            reply: Some((reply, now, now + lifetime)),
            failed: None,
        };
        self.put(asked, kept);
    }

    /// Remembers that there is no answer at the moment.
    pub(crate) fn store_failure(&mut self, asked: Asked, bad: Option<Arc<Reply>>, now: Instant) {
        let kept = self.old.take(&asked).or_else(|| self.young.take(&asked));
        let reply = kept.and_then(|kept| kept.reply);
        let pause = match &reply {
            Some((_, _, fresh_until)) if now < *fresh_until + self.limits.stale => STALE_RETRY,
            _ => FAILURE,
        };
        let kept = Kept {
            reply,
            failed: Some((now + pause, bad)),
        };
        self.put(asked, kept);
    }

    fn put(&mut self, asked: Asked, kept: Kept) {
        let (entries, bytes) = (self.limits.cache_entries / 2, self.limits.cache_bytes / 2);
        let more = size(&asked, &kept);
        if more > bytes {
            return;
        }
        if self.young.kept.len() >= entries.max(1) || self.young.bytes + more > bytes {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(asked, kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(n: u16) -> Asked {
        Asked::plain([&n.to_be_bytes()[..], b"example"], 1)
    }

    /// A reply with one answer that says to keep it for `ttl` seconds.
    fn reply(ttl: u32) -> Arc<Reply> {
        let mut bytes = vec![0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        bytes.extend([1, b'a', 0, 0, 1, 0, 1]);
        bytes.extend([0xc0, 12, 0, 1, 0, 1]);
        bytes.extend(ttl.to_be_bytes());
        bytes.extend([0, 4, 192, 0, 2, 1]);
        Arc::new(Reply::read(&bytes).expect("well formed"))
    }

    fn cache() -> (Cache, Instant) {
        let limits = ForwardLimits {
            cache_entries: 8,
            ..ForwardLimits::default()
        };
        (Cache::new(&limits), Instant::now())
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn replies_are_fresh_then_stale_then_gone() {
        let (mut cache, now) = cache();
        let limits = cache.limits.clone();
        cache.store(asked(1), reply(60), now);
        let looked = cache.look(&asked(1), now + 59 * SECOND);
        assert!(
            matches!(looked, Looked::Fresh(_, Age::Seconds(59))),
            "{looked:?}"
        );
        let looked = cache.look(&asked(1), now + 60 * SECOND);
        assert!(
            matches!(looked, Looked::Stale { ask: true, .. }),
            "{looked:?}"
        );
        let end = now + 60 * SECOND + limits.stale;
        assert!(matches!(cache.look(&asked(1), end), Looked::Nothing));
        assert!(matches!(cache.look(&asked(2), now), Looked::Nothing));
    }

    #[test]
    fn times_to_live_have_bounds() {
        let (mut cache, now) = cache();
        let limits = cache.limits.clone();
        cache.store(asked(1), reply(u32::MAX / 4), now);
        let late = now + limits.max_ttl;
        assert!(matches!(
            cache.look(&asked(1), late - SECOND),
            Looked::Fresh(..)
        ));
        assert!(matches!(cache.look(&asked(1), late), Looked::Stale { .. }));
        cache.store(asked(2), reply(1), now);
        let early = now + limits.min_ttl - SECOND;
        assert!(matches!(cache.look(&asked(2), early), Looked::Fresh(..)));
        cache.store(asked(3), reply(0), now);
        let looked = cache.look(&asked(3), now);
        assert!(
            !matches!(looked, Looked::Fresh(..)),
            "zero is not kept: {looked:?}"
        );
    }

    #[test]
    fn failures_are_short_and_do_not_hide_old_answers() {
        let (mut cache, now) = cache();
        cache.store_failure(asked(1), None, now);
        assert!(matches!(cache.look(&asked(1), now), Looked::Failed(None)));
        assert!(matches!(
            cache.look(&asked(1), now + FAILURE),
            Looked::Nothing
        ));
        cache.store(asked(2), reply(10), now);
        let late = now + 20 * SECOND;
        cache.store_failure(asked(2), None, late);
        let looked = cache.look(&asked(2), late);
        assert!(
            matches!(looked, Looked::Stale { ask: false, .. }),
            "{looked:?}"
        );
        let looked = cache.look(&asked(2), late + STALE_RETRY);
        assert!(
            matches!(looked, Looked::Stale { ask: true, .. }),
            "{looked:?}"
        );
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let (mut cache, now) = cache();
        for n in 0..100 {
            cache.store(asked(n), reply(60), now);
            let used = cache.look(&asked(0), now);
            assert!(matches!(used, Looked::Fresh(..)), "{n}");
            assert!(cache.len() <= 8, "{}", cache.len());
        }
        assert!(matches!(cache.look(&asked(1), now), Looked::Nothing));
        let bytes: usize = cache.young.kept.iter().map(|(a, k)| size(a, k)).sum();
        assert_eq!(cache.young.bytes, bytes);
        cache.limits.cache_bytes = 10;
        cache.store(asked(500), reply(60), now);
        assert!(matches!(cache.look(&asked(500), now), Looked::Nothing));
    }
}
