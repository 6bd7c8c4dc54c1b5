//! Container logs in the form that container runtimes write: one file a start, each line with its
//! time and stream, rotated by size.
//!
//! One thread reads the outputs of all containers. Of each it holds at most one line's beginning; a
//! container that writes faster than that thread waits at its pipe. When a line cannot be written, it
//! is dropped and counted: a full disk stops no container.

mod file;
mod lines;
mod pump;

pub(crate) use file::LogTarget;
pub(super) use pump::follow;
