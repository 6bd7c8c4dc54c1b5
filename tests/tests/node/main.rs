//! One node with the real agent and the real plugin: what CNI promises, and what must hold when
//! things are killed, deleted or wrong.

#![expect(clippy::expect_used, reason = "a test fails by panic")]

mod cni;
mod crash;
mod del;
mod drift;
mod input;
mod storm;
