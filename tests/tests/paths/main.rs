//! Every way between Pods, and what must hold on it when somebody forges, floods, flushes, cuts or
//! changes something: small clusters with the real agents and the real plugin. Tests are named
//! after the rows of the reliability scorecard.

#![expect(clippy::expect_used, reason = "a test fails by panic")]
#![expect(clippy::print_stdout, reason = "what is measured and not asserted")]

mod bandwidth;
mod change;
mod common;
mod flush;
mod foreign_vxlan;
mod masquerade;
mod moving;
mod partition;
mod pmtu;
mod ports;
mod rig;
mod spoof;
mod strangers;
mod wire;
