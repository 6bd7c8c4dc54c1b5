//! What is compared: things that can attach and detach a Pod.
//!
//! Seaway and the reference plugins are called as whole processes; the floors are the least that
//! any plugin could do: starting a process, and the netlink messages of an attachment.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use seaway_kernel::netlink::Netlink;
use serde_json::{Value, json};

use super::floor;
use crate::binaries::{self, Binaries};
use crate::cluster::{self, Cluster};
use crate::plugin::{IF_NAME, Plugin, Pod};
use crate::room::Room;

/// Where the reference plugins keep their addresses: in the room's own `/run`.
const PEER_STATE: &str = "/run/cni-networks";

/// No operation here takes so long.
const GONE_WITHIN: Duration = Duration::from_secs(60);

/// Something that can attach and detach Pods.
pub(crate) trait Contender: Sync {
    /// Its name in the report.
    fn name(&self) -> &'static str;
    /// Where callers have to stand.
    fn room(&self) -> &Room;
    /// Attaches a Pod; the time from start to answer.
    fn add(&self, pod: &Pod) -> Result<Duration>;
    /// Detaches a Pod; the time from start to answer.
    fn del(&self, pod: &Pod) -> Result<Duration>;
    /// The daemon behind it, if there is one.
    fn daemon(&self) -> Option<u32> {
        None
    }
    /// Waits until nothing of a detached Pod is left.
    fn settle(&self, pod: &Pod) -> Result<()> {
        wait_until_gone(pod)
    }
}

/// Waits until the Pod's link is gone from its namespace.
pub(crate) fn wait_until_gone(pod: &Pod) -> Result<()> {
    let mut netlink = Netlink::open_in(pod.netns())?;
    let deadline = Instant::now() + GONE_WITHIN;
    while netlink.link_index(IF_NAME)?.is_some() {
        if Instant::now() > deadline {
            bail!(
                "the link of Pod {} is still there after a minute",
                pod.container()
            );
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

/// Seaway: one node with a real agent.
pub(crate) struct Seaway {
    cluster: Cluster,
}

impl Seaway {
    /// Starts the node.
    pub(crate) fn new(binaries: &Binaries) -> Result<Seaway> {
        let cluster = Cluster::start(1, binaries)?;
        Ok(Seaway { cluster })
    }

    fn plugin(&self) -> &Plugin {
        &self.cluster.nodes[0].plugin
    }

    /// Frees every attachment by one GC; the time from start to answer.
    pub(crate) fn collect_all(&self) -> Result<Duration> {
        let mut config: Value = serde_json::from_str(cluster::CONFIG).context("our own JSON")?;
        config["cni.dev/valid-attachments"] = json!([]);
        Ok(self.plugin().call_with("GC", &config.to_string())?.wall)
    }
}

impl Contender for Seaway {
    fn name(&self) -> &'static str {
        "seaway"
    }

    fn room(&self) -> &Room {
        &self.cluster.nodes[0].room
    }

    fn add(&self, pod: &Pod) -> Result<Duration> {
        Ok(self.plugin().call("ADD", pod)?.wall)
    }

    fn del(&self, pod: &Pod) -> Result<Duration> {
        Ok(self.plugin().call("DEL", pod)?.wall)
    }

    fn daemon(&self) -> Option<u32> {
        self.cluster.nodes[0].agent_pid().ok()
    }
}

/// A reference plugin with host-local addresses, in a room of its own.
pub(crate) struct Peer {
    name: &'static str,
    room: Room,
    plugin: Plugin,
}

impl Peer {
    /// The `bridge` plugin at its best: IPv4 only, half of what the others do.
    pub(crate) fn bridge() -> Result<Peer> {
        Peer::bridging("bridge", host_local(&[V4]))
    }

    /// The `bridge` plugin with both families, as Seaway has them. It may wait for its port then.
    pub(crate) fn bridge_dual() -> Result<Peer> {
        Peer::bridging("bridge-dual", host_local(&[V4, V6]))
    }

    fn bridging(name: &'static str, ipam: Value) -> Result<Peer> {
        let config = json!({"bridge": "cni0", "isGateway": true, "ipMasq": false, "ipam": ipam});
        Peer::new(name, "bridge", config)
    }

    /// The `ptp` plugin, with IPv4 only: an IPv6 address makes it wait a second or two for
    /// duplicate-address detection, which would compare nothing.
    pub(crate) fn ptp() -> Result<Peer> {
        let config = json!({"ipMasq": false, "ipam": host_local(&[V4])});
        Peer::new("ptp", "ptp", config)
    }

    fn new(name: &'static str, kind: &str, mut config: Value) -> Result<Peer> {
        config["cniVersion"] = json!("1.0.0");
        config["name"] = json!("peers");
        config["type"] = json!(kind);
        binaries::peer("host-local")?;
        let plugin = Plugin {
            program: binaries::peer(kind)?,
            search: PathBuf::from(binaries::PEERS),
            config: config.to_string(),
        };
        let room = Room::new()?;
        Ok(Peer { name, room, plugin })
    }
}

/// A range of a family and the route that its Pods get.
const V4: (&str, &str) = ("10.90.0.0/16", "0.0.0.0/0");
const V6: (&str, &str) = ("fd00:90::/112", "::/0");

/// The `host-local` address plugin, with a range and a route of each family.
fn host_local(families: &[(&str, &str)]) -> Value {
    let ranges = families.iter().map(|(range, _)| json!([{"subnet": range}]));
    let routes = families.iter().map(|(_, route)| json!({"dst": route}));
    json!({
        "type": "host-local",
        "dataDir": PEER_STATE,
        "ranges": ranges.collect::<Vec<_>>(),
        "routes": routes.collect::<Vec<_>>(),
    })
}

impl Contender for Peer {
    fn name(&self) -> &'static str {
        self.name
    }

    fn room(&self) -> &Room {
        &self.room
    }

    fn add(&self, pod: &Pod) -> Result<Duration> {
        Ok(self.plugin.call("ADD", pod)?.wall)
    }

    fn del(&self, pod: &Pod) -> Result<Duration> {
        Ok(self.plugin.call("DEL", pod)?.wall)
    }
}

/// Starting a program that does nothing, with the pipes and the environment of a plugin.
pub(crate) struct Start {
    name: &'static str,
    room: Room,
    plugin: Plugin,
}

impl Start {
    /// A static program with the usual library.
    pub(crate) fn usual(binaries: &Binaries) -> Result<Start> {
        Start::new("exec", binaries, "seaway-true")
    }

    /// A program without any library.
    pub(crate) fn bare(binaries: &Binaries) -> Result<Start> {
        Start::new("bare-exec", binaries, "seaway-bare")
    }

    fn new(name: &'static str, binaries: &Binaries, program: &str) -> Result<Start> {
        let plugin = Plugin {
            program: binaries.program(program)?,
            search: binaries.dir().to_owned(),
            config: cluster::CONFIG.to_owned(),
        };
        let room = Room::new()?;
        Ok(Start { name, room, plugin })
    }
}

impl Contender for Start {
    fn name(&self) -> &'static str {
        self.name
    }

    fn room(&self) -> &Room {
        &self.room
    }

    fn add(&self, pod: &Pod) -> Result<Duration> {
        Ok(self.plugin.call("ADD", pod)?.wall)
    }

    fn del(&self, pod: &Pod) -> Result<Duration> {
        Ok(self.plugin.call("DEL", pod)?.wall)
    }

    fn settle(&self, _: &Pod) -> Result<()> {
        Ok(())
    }
}

/// The least netlink work of an attachment, from a socket that stands open, without any process.
pub(crate) struct Floor {
    room: Room,
    netlink: Mutex<Netlink>,
    next: AtomicU32,
}

impl Floor {
    /// A floor in a room of its own.
    pub(crate) fn new() -> Result<Floor> {
        let room = Room::new()?;
        let netlink = Mutex::new(Netlink::open_in(room.netns())?);
        let next = AtomicU32::new(1);
        Ok(Floor {
            room,
            netlink,
            next,
        })
    }

    fn send(&self, requests: &[seaway_kernel::netlink::Request]) -> Result<()> {
        let mut netlink = self
            .netlink
            .lock()
            .expect("nothing panics while it holds the lock");
        Ok(netlink.send_all(requests)?)
    }

    /// Makes a bare pair to a Pod, to be deleted with all others by [`Floor::delete_all`].
    pub(crate) fn add_bare(&self, pod: &Pod) -> Result<()> {
        let index = floor::FIRST_INDEX + self.next.fetch_add(1, Ordering::Relaxed);
        self.send(&[floor::veth(index, pod.netns().as_fd(), floor::DYING)])
    }

    /// Deletes the group of all bare pairs.
    pub(crate) fn delete_all(&self) -> Result<()> {
        self.send(&[seaway_kernel::netlink::Request::delete_group(floor::DYING)])
    }
}

impl Contender for Floor {
    fn name(&self) -> &'static str {
        "floor"
    }

    fn room(&self) -> &Room {
        &self.room
    }

    fn add(&self, pod: &Pod) -> Result<Duration> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let link = floor::Link::new(number);
        let start = Instant::now();
        self.send(&link.host_requests(pod.netns().as_fd()))?;
        Netlink::open_in(pod.netns())?.send_all(&link.pod_requests())?;
        Ok(start.elapsed())
    }

    fn del(&self, pod: &Pod) -> Result<Duration> {
        let index = Netlink::open_in(pod.netns())?.link_index(IF_NAME)?;
        let index = index.context("the Pod has no link")?;
        let link = floor::Link::of_pod_index(index);
        let start = Instant::now();
        self.send(&link.withdrawal())?;
        Ok(start.elapsed())
    }

    fn settle(&self, pod: &Pod) -> Result<()> {
        if Netlink::open_in(pod.netns())?
            .link_index(IF_NAME)?
            .is_some()
        {
            self.delete_all()?;
        }
        wait_until_gone(pod)
    }
}
