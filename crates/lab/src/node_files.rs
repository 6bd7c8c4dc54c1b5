//! What a node of the lab finds below its own `/run`, and by which names: the places that a real
//! node has, in a fresh tmpfs of its own.

use std::path::{Path, PathBuf};

/// The programs of Seaway: `seaway` and `seaway-cni`. It is the node's `CNI_PATH` too.
pub const BIN_DIR: &str = "/run/bin";
/// Where a runtime names its Pods' network namespaces.
pub const NETNS_DIR: &str = "/run/netns";
/// Where a runtime looks for network configurations.
pub const CNI_CONFIG: &str = "/run/cni/net.d/10-seaway.conflist";
/// The agent's socket.
pub const AGENT_SOCKET: &str = seaway_cni::DEFAULT_SOCKET;

/// A program of Seaway as a node sees it.
pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(BIN_DIR).join(name)
}
