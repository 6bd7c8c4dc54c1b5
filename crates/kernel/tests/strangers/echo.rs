//! Echo requests find out which size gets through, past routers that tell nobody.

use std::net::IpAddr;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use seaway_kernel::echo::{EchoSocket, Reply, Sent, smallest};
use seaway_kernel::netns::Netns;
use seaway_model::Family;
use seaway_testkit::isolate;

use super::{nft, tool};

/// A node (the calling thread's namespace), a router, and another node.
struct Path {
    router: Netns,
    _far: Netns,
}

const NEAR: [&str; 2] = ["192.0.2.1", "2001:db8:1::1"];
const FAR: [&str; 2] = ["198.51.100.2", "2001:db8:2::2"];

fn path() -> Path {
    isolate();
    let (router, far) = (made("router"), made("far"));
    tool("ip", "link add near type veth peer name r1 netns router");
    tool(
        "ip",
        "link add r2 netns router type veth peer name far0 netns far",
    );
    tool("ip", "link set near up");
    address("near", "192.0.2.1/24", "2001:db8:1::1/64");
    tool("ip", "route add default via 192.0.2.254");
    tool("ip", "-6 route add default via 2001:db8:1::254");
    let inside = |netns: &Netns, work: fn()| netns.run(work).expect("a namespace");
    inside(&router, || {
        address("r1", "192.0.2.254/24", "2001:db8:1::254/64");
        address("r2", "198.51.100.254/24", "2001:db8:2::254/64");
        tool("ip", "link set r1 up");
        tool("ip", "link set r2 up");
        seaway_kernel::sysctl::write("net/ipv4/ip_forward", "1").expect("a router");
        seaway_kernel::sysctl::write("net/ipv6/conf/all/forwarding", "1").expect("a router");
    });
    inside(&far, || {
        address("far0", "198.51.100.2/24", "2001:db8:2::2/64");
        tool("ip", "link set far0 up");
        tool("ip", "route add default via 198.51.100.254");
        tool("ip", "-6 route add default via 2001:db8:2::254");
    });
    Path { router, _far: far }
}

/// A namespace that `ip` knows by name.
fn made(name: &str) -> Netns {
    tool("ip", &format!("netns add {name}"));
    Netns::open(format!("/run/netns/{name}").as_ref()).expect("made")
}

fn address(link: &str, v4: &str, v6: &str) {
    tool("ip", &format!("address add {v4} dev {link}"));
    tool("ip", &format!("address add {v6} dev {link} nodad"));
}

fn parsed(addresses: [&str; 2]) -> [IpAddr; 2] {
    addresses.map(|a| a.parse().expect("valid"))
}

/// The next reply, if one comes in `limit` milliseconds.
fn reply(socket: &mut EchoSocket, limit: u16) -> Option<Reply> {
    loop {
        if let Some(reply) = socket.receive().expect("readable") {
            return Some(reply);
        }
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(limit)).expect("polled") == 0 {
            return None;
        }
    }
}

#[test]
fn sizes_that_pass_are_answered_and_others_are_not() {
    let path = path();
    path.router
        .run(|| nft("table inet hole { chain f { type filter hook forward priority 0; meta length > 1400 drop; }; }"))
        .expect("a router");
    for (near, far) in parsed(NEAR).into_iter().zip(parsed(FAR)) {
        let mut socket = EchoSocket::open(near).expect("opened");
        assert_eq!(socket.source(), near);
        for (token, size) in [(1, 0), (2, 1280), (3, 1400)] {
            assert_eq!(socket.send(far, size, token).expect("sent"), Sent::Yes);
            let expected = Reply { from: far, token };
            assert_eq!(reply(&mut socket, 10_000), Some(expected), "{size}");
        }
        // What follows is answered, so that the large one would have been.
        assert_eq!(socket.send(far, 1401, 4).expect("sent"), Sent::Yes);
        assert_eq!(socket.send(far, 1400, 5).expect("sent"), Sent::Yes);
        let expected = Reply {
            from: far,
            token: 5,
        };
        assert_eq!(reply(&mut socket, 10_000), Some(expected));
        assert_eq!(socket.send(far, 1501, 6).expect("told"), Sent::TooLarge);
    }
}

/// A router that does say what it takes: the kernel remembers, the probe asks all the same.
#[test]
fn what_the_kernel_remembers_of_a_path_does_not_count() {
    let path = path();
    path.router
        .run(|| tool("ip", "link set r2 mtu 1300"))
        .expect("a router");
    for (near, far) in parsed(NEAR).into_iter().zip(parsed(FAR)) {
        let mut socket = EchoSocket::open(near).expect("opened");
        for token in 0..3 {
            assert_eq!(socket.send(far, 1500, token).expect("sent"), Sent::Yes);
        }
        assert_eq!(socket.send(far, 1300, 9).expect("sent"), Sent::Yes);
        let answer = reply(&mut socket, 10_000).map(|reply| reply.token);
        assert_eq!(answer, Some(9));
        assert_eq!(socket.send(far, 1500, 10).expect("sent"), Sent::Yes);
    }
}

#[test]
fn each_socket_hears_its_own_replies_only() {
    isolate();
    for address in ["127.0.0.1", "::1"].map(|a| a.parse::<IpAddr>().expect("valid")) {
        let (mut one, mut other) = (
            EchoSocket::open(address).expect("opened"),
            EchoSocket::open(address).expect("opened"),
        );
        let small = smallest(Family::of(address));
        assert_eq!(one.send(address, small, 1).expect("sent"), Sent::Yes);
        assert_eq!(other.send(address, small, 2).expect("sent"), Sent::Yes);
        let tokens = [&mut one, &mut other].map(|socket| {
            let first = reply(socket, 10_000).map(|reply| reply.token);
            (first, socket.receive().expect("readable"))
        });
        assert_eq!(tokens, [(Some(1), None), (Some(2), None)]);
    }
}

#[test]
fn no_way_to_the_target_is_no_error() {
    isolate();
    let mut socket = EchoSocket::open([127, 0, 0, 1].into()).expect("opened");
    let sent = socket.send("198.51.100.1".parse().expect("valid"), 100, 1);
    assert_eq!(sent.expect("told"), Sent::NoWay);
    assert!(EchoSocket::open("198.51.100.9".parse().expect("valid")).is_err());
}
