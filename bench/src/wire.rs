//! Links and addresses in namespaces of our own: bare veth pairs, and a bridge as a wire.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use ipnet::IpNet;
use seaway_kernel::netlink::{LinkSet, LinkTarget, Netlink, Request, VethPeer, VethSpec};
use seaway_kernel::netns::Netns;
use seaway_kernel::sysctl;

/// One end of a veth pair.
#[derive(Debug)]
pub(crate) struct End<'a> {
    /// Where it is.
    pub(crate) netns: &'a Netns,
    /// What it is called.
    pub(crate) name: &'a str,
    /// Its addresses.
    pub(crate) addresses: &'a [IpNet],
}

/// Joins two namespaces by a veth pair.
pub(crate) fn pair(a: &End<'_>, b: &End<'_>) -> Result<()> {
    let spec = VethSpec {
        name: a.name,
        index: Some(next_index()),
        mac: None,
        mtu: None,
        group: None,
        up: false,
        peer: VethPeer {
            name: b.name,
            index: Some(next_index()),
            mac: None,
            mtu: None,
            netns: b.netns.as_fd(),
        },
    };
    Netlink::open_in(a.netns)?.send_all(&[Request::veth(spec)])?;
    [a, b].into_iter().try_for_each(bring_up)
}

/// An index that no other link of this program has. Both ends would else often have the same one,
/// each the first link of its namespace, and then the kernel takes up to a second to notice that
/// the other end is up (`linkwatch_urgent_event`); packets are dropped until then.
fn next_index() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(10_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn bring_up(end: &End<'_>) -> Result<()> {
    let mut netlink = Netlink::open_in(end.netns)?;
    let index = index_of(&mut netlink, end.name)?;
    let addresses = end
        .addresses
        .iter()
        .map(|net| Request::add_address(index, *net));
    let requests: Vec<_> = addresses.chain([up(LinkTarget::Index(index))]).collect();
    Ok(netlink.send_all(&requests)?)
}

/// Brings up the loopback device of a namespace.
pub(crate) fn loopback_up(netns: &Netns) -> Result<()> {
    Ok(Netlink::open_in(netns)?.send_all(&[up(LinkTarget::Name("lo"))])?)
}

/// Makes a bridge without address in a namespace, its ports being links that are there already:
/// a plain wire, past which no firewall looks.
pub(crate) fn bridge(netns: &Netns, name: &str, ports: &[String]) -> Result<()> {
    netns.run(|| {
        for family in ["iptables", "ip6tables", "arptables"] {
            // Not there without br_netfilter, and then there is nothing to switch off.
            let _ = sysctl::write(&format!("net/bridge/bridge-nf-call-{family}"), "0");
        }
    })?;
    let mut netlink = Netlink::open_in(netns)?;
    netlink.send_all(&[Request::bridge(name), up(LinkTarget::Name(name))])?;
    let master = Some(index_of(&mut netlink, name)?);
    for port in ports {
        let set = LinkSet {
            master,
            ..LinkSet::default()
        };
        netlink.send_all(&[Request::set_link(LinkTarget::Name(port), set)])?;
    }
    Ok(())
}

fn index_of(netlink: &mut Netlink, name: &str) -> Result<u32> {
    let index = netlink.link_index(name)?;
    index.with_context(|| format!("the link {name} that was made is not there"))
}

fn up(target: LinkTarget<'_>) -> Request {
    let set = LinkSet {
        up: Some(true),
        ..LinkSet::default()
    };
    Request::set_link(target, set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, TcpListener, TcpStream};

    fn nets(last: u8) -> [IpNet; 2] {
        [format!("192.168.77.{last}/24"), format!("fd77::{last}/64")]
            .map(|text| text.parse().expect("valid"))
    }

    fn connects(server: &Netns, client: &Netns, address: IpAddr) {
        let listener = server
            .run(|| TcpListener::bind((address, 7)))
            .expect("runs")
            .expect("binds");
        let stream = client
            .run(|| TcpStream::connect((address, 7)))
            .expect("runs");
        assert!(stream.is_ok(), "{address}: {stream:?}");
        drop(listener);
    }

    #[test]
    fn two_ends_of_a_pair_reach_each_other() {
        let [a, b] = [(); 2].map(|()| Netns::create().expect("the tests run as root"));
        let (x, y) = (nets(1), nets(2));
        let end = |netns, name, addresses| End {
            netns,
            name,
            addresses,
        };
        pair(&end(&a, "x", &x), &end(&b, "y", &y)).expect("it can be made");
        y.iter().for_each(|net| connects(&b, &a, net.addr()));
    }

    #[test]
    fn ports_of_a_bridge_reach_each_other() {
        let wire = Netns::create().expect("the tests run as root");
        let ends = [1, 2].map(|last| (Netns::create().expect("as root"), nets(last)));
        for (i, (netns, addresses)) in ends.iter().enumerate() {
            let end = End {
                netns,
                name: "eth0",
                addresses,
            };
            let port = End {
                netns: &wire,
                name: &format!("port{i}"),
                addresses: &[],
            };
            pair(&end, &port).expect("it can be made");
        }
        bridge(&wire, "br0", &["port0".to_owned(), "port1".to_owned()]).expect("it can be made");
        let [(a, _), (b, addresses)] = &ends;
        addresses.iter().for_each(|net| connects(b, a, net.addr()));
    }
}
