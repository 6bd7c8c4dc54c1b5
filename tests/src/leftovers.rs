//! What a node holds of Pods, looked at from outside: by netlink and in the file system, not by
//! asking the agent.

use std::fs;
use std::time::Duration;

use seaway_kernel::netlink::{Netlink, SEAWAY_PROTOCOL};
use seaway_kernel::realise::{DYING_GROUP, LIVE_GROUP};
use seaway_testkit::eventually;

/// How much of Pods there is on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Names of Pod links, dying ones included.
    pub links: Vec<String>,
    /// Routes of ours to single addresses.
    pub routes: Vec<String>,
    /// Permanent neighbours.
    pub neighbours: Vec<String>,
    /// Files of attachments and notes.
    pub files: Vec<String>,
}

impl Leftovers {
    /// Looks at the calling thread's namespaces.
    pub fn now() -> Leftovers {
        let mut netlink = Netlink::open().expect("rtnetlink");
        let links = netlink.links().expect("links").into_iter();
        let routes = netlink.routes().expect("routes").into_iter();
        let neighbours = netlink.neighbours().expect("neighbours").into_iter();
        let single = |net: &ipnet::IpNet| net.prefix_len() == net.max_prefix_len();
        Leftovers {
            links: links
                .filter(|l| l.group == LIVE_GROUP || l.group == DYING_GROUP)
                .map(|l| l.name)
                .collect(),
            routes: routes
                .filter(|r| r.protocol == SEAWAY_PROTOCOL && single(&r.destination))
                .map(|r| r.destination.to_string())
                .collect(),
            neighbours: neighbours
                .filter(|n| n.permanent && !n.address.is_multicast() && !n.address.is_loopback())
                .map(|n| n.address.to_string())
                .collect(),
            files: ["attachments", "deleted"]
                .into_iter()
                .flat_map(files)
                .collect(),
        }
    }

    /// Waits until nothing is left.
    pub fn wait_for_none() {
        eventually(
            "nothing is left of the Pods",
            Duration::from_secs(20),
            || match Leftovers::now() {
                none if none == Leftovers::default() => Ok(()),
                some => Err(some),
            },
        );
    }
}

fn files(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/run/seaway/{folder}")) else {
        return Vec::new();
    };
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry
            .expect("entry")
            .file_name()
            .to_string_lossy()
            .into_owned();
        // What a killed plugin was writing is not a note yet, and is passed over.
        (!name.starts_with('.')).then(|| format!("{folder}/{name}"))
    };
    entries.filter_map(name).collect()
}
