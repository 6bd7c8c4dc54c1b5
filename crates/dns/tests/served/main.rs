//! The server as clients see it: real sockets in a network namespace of each test's own, a cluster made
//! of events, and upstream servers that do as they are told.

mod bed;
mod cluster;
mod forwarding;
mod limits;
mod spoofing;
mod trouble;
mod upstream;
