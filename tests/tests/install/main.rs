//! Getting onto a node and off it again, with the real binaries, folders and namespaces.

#![expect(clippy::expect_used, reason = "a test fails by panic")]

mod agent;
mod cluster;
mod files;
mod host;
mod traces;
