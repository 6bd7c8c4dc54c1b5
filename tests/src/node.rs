//! One node alone: isolated namespaces, an uplink that leads nowhere, a cluster file, and an agent.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::Path;

use seaway_kernel::netlink::{LinkSet, LinkTarget, Netlink, Request as Link, VethPeer, VethSpec};
use seaway_kernel::netns::Netns;
use seaway_testkit::isolate;

use crate::Agent;

/// What the cluster file of a [`Node`] says at first.
const CLUSTER: &str = "
nodes:
- name: node1
  addresses: [192.168.7.1, 'fd00:7::1']
  podCIDRs: [10.244.1.0/24, 'fd00:10:244:1::/64']
- name: node2
  addresses: [192.168.7.2, 'fd00:7::2']
  podCIDRs: [10.244.2.0/24, 'fd00:10:244:2::/64']
";

const CLUSTER_FILE: &str = "/run/cluster.yaml";

/// A node under test, in the namespaces of the calling thread.
pub struct Node {
    agent: Agent,
}

impl Node {
    /// Isolates the calling thread and makes a node with a running agent.
    pub fn start() -> Node {
        let mut node = Node::without_agent();
        node.start_agent();
        node
    }

    /// Isolates the calling thread and makes a node whose agent is not started yet.
    pub fn without_agent() -> Node {
        isolate();
        make_uplink();
        fs::create_dir_all("/run/netns").expect("folder");
        let here = Netns::current().expect("namespace");
        let (folder, file) = (Path::new("/run/seaway"), Path::new(CLUSTER_FILE));
        let node = Node {
            agent: Agent::new("node1", here, folder, file),
        };
        node.write_cluster(CLUSTER);
        node
    }

    /// Replaces the cluster file, as its writers do.
    pub fn write_cluster(&self, text: &str) {
        replace(Path::new(CLUSTER_FILE), text);
    }
}

impl Deref for Node {
    type Target = Agent;

    fn deref(&self) -> &Agent {
        &self.agent
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut Agent {
        &mut self.agent
    }
}

/// Replaces a file by another one of its name.
pub(crate) fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::rename(&new, path).expect("renamed");
}

/// `eth0`, with the node's addresses, up; its other end is the wire.
fn make_uplink() {
    let here = Netns::current().expect("namespace");
    let mut netlink = Netlink::open().expect("rtnetlink");
    let peer = VethPeer {
        name: "wire",
        index: None,
        mac: None,
        mtu: None,
        netns: std::os::fd::AsFd::as_fd(&here),
    };
    let spec = VethSpec {
        name: "eth0",
        index: None,
        mac: None,
        mtu: None,
        group: None,
        up: false,
        peer,
    };
    netlink.send_all(&[Link::veth(spec)]).expect("uplink");
    let index = netlink.link_index("eth0").expect("dump").expect("there");
    let up = LinkSet {
        up: Some(true),
        ..LinkSet::default()
    };
    let requests = [
        Link::add_address(index, "192.168.7.1/24".parse().expect("valid")),
        Link::add_address(index, "fd00:7::1/64".parse().expect("valid")),
        Link::set_link(LinkTarget::Index(index), up.clone()),
        Link::set_link(LinkTarget::Name("wire"), up),
    ];
    netlink.send_all(&requests).expect("uplink up");
}
