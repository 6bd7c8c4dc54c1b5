//! How long things may take: one place for all deadlines of this crate.

use std::time::Duration;

/// Deadlines and pauses of a connection to the API. Tests use short ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// To open a TCP connection.
    pub connect: Duration,
    /// For an answer to begin, and between two pieces of an answer that is no watch.
    pub response: Duration,
    /// For how long a watch may say nothing; servers send bookmarks every 30 to 60 s.
    pub silence: Duration,
    /// After how long a watch is asked to end, so that it starts anew.
    pub watch: Duration,
    /// For how long sent data, or a keep-alive probe, may stay without acknowledgement.
    pub unacknowledged: Duration,
    /// After how long without traffic a connection is probed.
    pub probe_after: Duration,
    /// After how long with another API server than the first it is looked whether that one is well
    /// again.
    pub home_after: Duration,
    /// The first pause after a failure.
    pub pause_first: Duration,
    /// The longest pause after failures.
    pub pause_last: Duration,
    /// How often an agent renews its Lease, as kubelets do.
    pub renewal: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            connect: Duration::from_secs(5),
            response: Duration::from_secs(20),
            silence: Duration::from_secs(90),
            watch: Duration::from_secs(290),
            unacknowledged: Duration::from_secs(20),
            probe_after: Duration::from_secs(10),
            home_after: Duration::from_secs(600),
            pause_first: Duration::from_millis(200),
            pause_last: Duration::from_secs(15),
            renewal: Duration::from_secs(10),
        }
    }
}
