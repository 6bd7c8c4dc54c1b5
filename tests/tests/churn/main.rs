//! Services while everything changes: agents that die, backends that roll, datagrams that must follow,
//! storms of endpoints, and strangers who flush. Tests are named after the rows of the reliability
//! scorecard; what `services` shows at rest must hold here at every moment.
//!
//! Times are printed, never asserted. `SEAWAY_ROUNDS` makes the repeated ones longer.

#![expect(clippy::expect_used, reason = "a test fails by panic")]
#![expect(clippy::print_stdout, reason = "what is measured and not asserted")]

mod chaos;
mod flush;
mod incremental;
mod kill;
mod roll;
mod rounds;
mod storm;
mod udp;
