//! Row 19 of the scorecard: a node's agent moves to another version and back under load. The other
//! version is a build whose formats really differ (feature `next-format`): aliases of links, records,
//! names of nftables sets, and the note of the rules.
//!
//! Beside it row 14: what is in force when a Pod is there.
//!
//! Losses and gaps are printed, and have to be zero.

#![expect(clippy::expect_used, reason = "a test fails by panic")]
#![expect(clippy::print_stdout, reason = "what is measured and not asserted")]

mod first;
mod later;
mod rounds;
mod world;
