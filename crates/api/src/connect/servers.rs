//! Which of several API servers is asked. No IO, no clock: the caller brings the time.
//!
//! Rules, in this order:
//!
//! 1. All requests go to one server until it fails.
//! 2. A failure counts only if the server was the current one all the while: many requests that
//!    fail together move once.
//! 3. Next comes a server that has not failed lately, one that was given before one that was
//!    learned; or else the one whose failure is the oldest.
//! 4. Whoever moves waits for a short, random while, for all the others of the cluster move too.
//! 5. The first server is home. After a long while away somebody looks whether it is well again, and
//!    requests go back if so: otherwise the servers that were restarted last would stay idle.

use std::time::Duration;

use tokio::time::Instant;

use super::ServerUrl;

/// For how long a failure speaks against a server.
const LATELY: Duration = Duration::from_secs(60);

/// A server, and the turn in which it was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) url: ServerUrl,
    turn: u64,
    /// When to ask at the earliest, after a move.
    pub(super) not_before: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Server {
    url: ServerUrl,
    learned: bool,
    failed: Option<Instant>,
}

/// The servers, never none.
#[derive(Debug)]
pub(super) struct Servers {
    all: Vec<Server>,
    given: usize,
    current: usize,
    turn: u64,
    not_before: Option<Instant>,
    look_home: Option<Instant>,
}

impl Servers {
    /// Starts with the first of those that were given.
    pub(super) fn new(given: Vec<ServerUrl>) -> Servers {
        let server = |url| Server {
            url,
            learned: false,
            failed: None,
        };
        let all: Vec<Server> = given.into_iter().map(server).collect();
        Servers {
            given: all.len(),
            all,
            current: 0,
            turn: 0,
            not_before: None,
            look_home: None,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Whom to ask now.
    pub(super) fn choose(&self) -> Choice {
        Choice {
            url: self.all[self.current].url.clone(),
            turn: self.turn,
            not_before: self.not_before,
        }
    }

    /// Whether a server was given, not learned.
    pub(super) fn is_given(&self, is: impl Fn(&ServerUrl) -> bool) -> bool {
        self.all[..self.given].iter().any(|server| is(&server.url))
    }

    /// A server failed. Requests move to another after `pause`; tells whether they do.
    pub(super) fn failed(&mut self, choice: &Choice, now: Instant, pause: Duration) -> bool {
        if choice.turn != self.turn {
            return false;
        }
        self.all[self.current].failed = Some(now);
        if self.all.len() == 1 {
            return false;
        }
        self.current = self.best_other(now);
        self.turn += 1;
        self.not_before = Some(now + pause);
        true
    }

    fn best_other(&self, now: Instant) -> usize {
        let rank = |index: &usize| {
            let server = &self.all[*index];
            let lately = server.failed.filter(|failed| now < *failed + LATELY);
            (lately, server.learned, *index)
        };
        let others = (0..self.all.len()).filter(|index| *index != self.current);
        others.min_by_key(rank).unwrap_or(self.current)
    }

    /// Whom to look after, if it is time to see whether the first server is well again. The next
    /// look is due after `pause`.
    pub(super) fn look_home(&mut self, now: Instant, pause: Duration) -> Option<ServerUrl> {
        if self.current == 0 {
            self.look_home = None;
            return None;
        }
        let due = self.look_home.is_some_and(|due| now >= due);
        if due || self.look_home.is_none() {
            self.look_home = Some(now + pause);
        }
        due.then(|| self.all[0].url.clone())
    }

    /// The first server is well: requests go there again.
    pub(super) fn go_home(&mut self) {
        self.all[0].failed = None;
        self.look_home = None;
        self.not_before = None;
        if self.current != 0 {
            self.current = 0;
            self.turn += 1;
        }
    }

    /// The cluster names its servers: they take the place of those that were learned before. The
    /// current one stays, for it works.
    pub(super) fn learn(&mut self, servers: &[ServerUrl]) {
        let current = self.all[self.current].clone();
        let before = self.all.split_off(self.given);
        for url in servers {
            if self.all.iter().any(|known| known.url == *url) {
                continue;
            }
            let known = before.iter().find(|known| known.url == *url);
            self.all.push(known.cloned().unwrap_or_else(|| Server {
                url: url.clone(),
                learned: true,
                failed: None,
            }));
        }
        let place = self.all.iter().position(|known| known.url == current.url);
        self.current = place.unwrap_or_else(|| {
            self.all.push(current);
            self.all.len() - 1
        });
    }

    /// All that were learned.
    #[cfg(test)]
    fn learned(&self) -> Vec<String> {
        let learned = self.all[self.given..].iter();
        learned.map(|server| server.url.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(100);

    fn url(last: u8) -> ServerUrl {
        let text = format!("https://192.0.2.{last}:6443");
        text.parse().expect("valid")
    }

    fn servers(count: u8) -> Servers {
        Servers::new((1..=count).map(url).collect())
    }

    fn fail(servers: &mut Servers, now: Instant) -> bool {
        servers.failed(&servers.choose(), now, PAUSE)
    }

    #[test]
    fn many_failures_at_once_move_once() {
        let (mut all, now) = (servers(3), Instant::now());
        let choice = all.choose();
        assert!(all.failed(&choice, now, PAUSE));
        assert!(!all.failed(&choice, now, PAUSE));
        let next = all.choose();
        assert_eq!((next.url, next.not_before), (url(2), Some(now + PAUSE)));
    }

    #[test]
    fn a_failure_of_long_ago_does_not_count() {
        let (mut all, now) = (servers(2), Instant::now());
        let first = all.choose();
        fail(&mut all, now);
        fail(&mut all, now);
        assert_eq!(all.choose().url, url(1));
        // It was asked in an earlier turn.
        assert!(!all.failed(&first, now, PAUSE));
        assert_eq!(all.choose().url, url(1));
    }

    #[test]
    fn all_are_tried_in_turn_and_the_oldest_failure_is_tried_first() {
        let (mut all, mut now) = (servers(3), Instant::now());
        let mut asked = Vec::new();
        for _ in 0..7 {
            asked.push(all.choose().url);
            now += Duration::from_secs(1);
            assert!(fail(&mut all, now));
        }
        let wanted = [1, 2, 3, 1, 2, 3, 1].map(url);
        assert_eq!(asked, wanted);
    }

    #[test]
    fn a_single_server_stays() {
        let (mut all, now) = (servers(1), Instant::now());
        assert!(!fail(&mut all, now));
        assert_eq!((all.choose().url, all.choose().not_before), (url(1), None));
    }

    #[test]
    fn learned_servers_come_after_those_given() {
        let (mut all, now) = (servers(2), Instant::now());
        all.learn(&[url(2), url(8), url(9)]);
        assert_eq!(all.learned(), [url(8), url(9)].map(|u| u.to_string()));
        let mut asked = Vec::new();
        for _ in 0..4 {
            asked.push(all.choose().url);
            fail(&mut all, now);
        }
        assert_eq!(asked, [1, 2, 8, 9].map(url));
        // What was given and has been away for long comes before what was learned.
        all.learn(&[url(7)]);
        while all.choose().url != url(1) {
            fail(&mut all, now);
        }
        let later = now + LATELY + PAUSE;
        fail(&mut all, later);
        assert_eq!(all.choose().url, url(2));
    }

    #[test]
    fn the_current_server_stays_when_it_is_no_longer_named() {
        let (mut all, now) = (servers(1), Instant::now());
        all.learn(&[url(8)]);
        fail(&mut all, now);
        let choice = all.choose();
        all.learn(&[url(9)]);
        assert_eq!(all.choose(), choice);
        assert_eq!(all.learned(), [url(9), url(8)].map(|u| u.to_string()));
        assert!(all.failed(&choice, now, PAUSE));
        assert_eq!(all.choose().url, url(9));
    }

    #[test]
    fn home_is_looked_at_once_in_a_while_and_gone_back_to() {
        let (mut all, now) = (servers(2), Instant::now());
        let while_ = Duration::from_secs(600);
        assert_eq!(all.look_home(now, while_), None);
        fail(&mut all, now);
        assert_eq!(all.look_home(now, while_), None);
        assert_eq!(all.look_home(now + while_ / 2, while_), None);
        assert_eq!(all.look_home(now + while_, while_), Some(url(1)));
        assert_eq!(all.look_home(now + while_, while_), None);
        let away = all.choose();
        all.go_home();
        assert_eq!(all.choose().url, url(1));
        assert!(!all.failed(&away, now, PAUSE), "it was not asked");
        // Away again: the while begins anew.
        fail(&mut all, now + while_);
        assert_eq!(all.look_home(now + while_, while_), None);
    }
}
