//! Traffic between Pods, nodes and the outside with real sockets.

mod carry;
mod greeter;
mod ping;
mod traffic;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use seaway_kernel::netns::Netns;
use seaway_model::Family;
use seaway_testkit::eventually;

pub use carry::{Sender, carry, carry_through, connect};
pub use greeter::{Greeter, Greeting};
pub use ping::{Loss, Ping};
pub use traffic::Traffic;

use crate::Pod;

pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Sends one UDP datagram from one Pod to another; gives the address that the receiver saw.
pub fn udp(from: &Netns, to: &Netns, target: IpAddr) -> io::Result<SocketAddr> {
    udp_within(from, to, target, PATIENCE)
}

/// The same, for a receiver that waits no longer than `patience`.
pub fn udp_within(
    from: &Netns,
    to: &Netns,
    target: IpAddr,
    patience: Duration,
) -> io::Result<SocketAddr> {
    let server = to
        .run(|| UdpSocket::bind((target, 0)))
        .expect("namespace")?;
    let door = server.local_addr()?;
    send_to(from, &server, door, patience)
}

/// Sends one UDP datagram to `door` and waits for it at `server`, which need not be bound there;
/// gives the address that `server` saw.
pub fn send_to(
    from: &Netns,
    server: &UdpSocket,
    door: SocketAddr,
    patience: Duration,
) -> io::Result<SocketAddr> {
    server.set_read_timeout(Some(patience))?;
    let client = bind_any(from, Family::of(door.ip()))?;
    client.send_to(b"probe", door)?;
    let mut buffer = [0; 16];
    Ok(server.recv_from(&mut buffer)?.1)
}

/// A UDP socket of a namespace that is bound to no address.
pub fn bind_any(netns: &Netns, family: Family) -> io::Result<UdpSocket> {
    let any = match family {
        Family::V4 => "0.0.0.0:0",
        Family::V6 => "[::]:0",
    };
    netns.run(|| UdpSocket::bind(any)).expect("namespace")
}

/// Waits until a datagram arrives; gives the address that the receiver saw.
///
/// # Panics
///
/// If none does in a long time.
pub fn reach(what: &str, from: &Netns, to: &Netns, target: IpAddr) -> SocketAddr {
    let patience = Duration::from_millis(300);
    eventually(what, PATIENCE * 3, || {
        udp_within(from, to, target, patience)
    })
}

/// Asserts that two Pods reach each other in both families, without NAT.
pub fn assert_talk(a: &Pod, b: &Pod) {
    for family in Family::ALL {
        for (from, to) in [(a, b), (b, a)] {
            let seen = udp(from.netns(), to.netns(), to.address(family)).expect("delivered");
            assert_eq!(seen.ip(), from.address(family), "no NAT between Pods");
        }
    }
}

/// Waits until two Pods reach each other in both families, and asserts that it is without NAT.
pub fn wait_for_talk(what: &str, a: &Pod, b: &Pod) {
    for family in Family::ALL {
        for (from, to) in [(a, b), (b, a)] {
            let seen = reach(what, from.netns(), to.netns(), to.address(family));
            assert_eq!(seen.ip(), from.address(family), "no NAT between Pods");
        }
    }
}
