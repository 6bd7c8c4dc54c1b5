//! What a client must find at a door, said in a line: used where there is no case for it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use seaway_kernel::netns::Netns;
use seaway_model::Protocol;

use super::ask::{Outcome, ask};

/// How long an answer may take that is to come.
const SOON: Duration = Duration::from_secs(3);
/// How long one waits for what is not to come.
const LONG_ENOUGH: Duration = Duration::from_millis(300);

/// A client's place, and a door that it knocks at.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// From where.
    pub from: &'a Netns,
    /// Where to.
    pub door: SocketAddr,
    /// By what.
    pub protocol: Protocol,
}

/// A client and a door.
pub fn at(from: &Netns, door: SocketAddr, protocol: Protocol) -> At<'_> {
    At {
        from,
        door,
        protocol,
    }
}

impl At<'_> {
    /// Asks once.
    pub fn ask(&self) -> Outcome {
        ask(self.from, self.door, self.protocol, SOON)
    }

    /// All of these answer, and nobody else.
    ///
    /// # Panics
    ///
    /// If not.
    pub fn reaches(&self, what: &str, names: &[&str]) {
        let wanted: BTreeSet<&str> = names.iter().copied().collect();
        let mut met = BTreeSet::new();
        for count in 0.. {
            let outcome = self.ask();
            let name = outcome.name().and_then(|name| wanted.get(name));
            let name = name.unwrap_or_else(|| {
                let (protocol, door) = (self.protocol, self.door);
                panic!("{what}: {protocol} {door} is {outcome:?}, not {names:?}")
            });
            met.insert(*name);
            if count > 8 * (names.len() + 1) && met == wanted {
                return;
            }
            assert!(count < 600, "{what}: only {met:?} of {names:?} answer");
        }
    }

    /// The client is told at once that there is nothing.
    ///
    /// # Panics
    ///
    /// If not.
    pub fn is_refused(&self, what: &str) {
        let outcome = self.ask();
        let (protocol, door) = (self.protocol, self.door);
        assert_eq!(outcome, Outcome::Refused, "{what}: {protocol} {door}");
    }

    /// Nobody answers, in whatever way.
    ///
    /// # Panics
    ///
    /// If somebody does.
    pub fn finds_nobody(&self, what: &str) {
        let outcome = ask(self.from, self.door, self.protocol, LONG_ENOUGH);
        let (protocol, door) = (self.protocol, self.door);
        assert!(
            outcome.name().is_none(),
            "{what}: {protocol} {door}: {outcome:?}"
        );
    }
}
