//! K9 of the CNI summary: limits of a Pod's rate. What passes is bounded by the bucket and its
//! refill; how long it takes is no concern.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use seaway_kernel::netns::Netns;
use seaway_model::{Family, Wiring};
use seaway_tests::Pod;
use seaway_tests::net::{Net, Shape};
use seaway_tests::probe::{assert_talk, carry};
use serde_json::json;

use crate::common::{LIMIT, for_each};

/// Bits per second.
const RATE: u64 = 8_000_000;
/// Bits.
const BURST: u64 = 800_000;
const DATAGRAM: usize = 1000;

/// How many bytes may have passed in a time.
fn bound(time: Duration) -> usize {
    let bits = u128::from(BURST) + u128::from(RATE) * time.as_micros() / 1_000_000;
    usize::try_from(bits / 8).expect("small")
}

/// Sends as fast as it can for a number of refills; gives what arrived, and in what time.
fn flood(from: &Netns, to: &Pod, family: Family) -> (usize, usize, Duration) {
    let server = to.netns().run(|| UdpSocket::bind((to.address(family), 0)));
    let server = server.expect("namespace").expect("bound");
    let door = server.local_addr().expect("bound");
    let client = from.run(|| match family {
        Family::V4 => UdpSocket::bind("0.0.0.0:0"),
        Family::V6 => UdpSocket::bind("[::]:0"),
    });
    let client = client.expect("namespace").expect("bound");
    let refill = Duration::from_micros(BURST * 1_000_000 / RATE);
    let idle = refill * 3;
    server.set_read_timeout(Some(idle)).expect("timeout");
    let start = Instant::now();
    let receiver = std::thread::spawn(move || {
        let (mut got, mut last) = (0, Instant::now());
        let mut buffer = [0; 2 * DATAGRAM];
        while let Ok(length) = server.recv(&mut buffer) {
            got += length;
            last = Instant::now();
        }
        (got, last)
    });
    let mut sent = 0;
    while start.elapsed() < refill * 4 {
        if client.send_to(&[0; DATAGRAM], door).is_ok() {
            sent += DATAGRAM;
        }
    }
    let (got, last) = receiver.join().expect("it receives");
    (sent, got, last.saturating_duration_since(start))
}

#[test]
fn k9_bandwidth_is_limited_each_way() {
    for_each(&Wiring::ALL, |wiring| {
        let net = Net::start(&Shape::flat().wiring(*wiring));
        for direction in ["ingress", "egress"] {
            let mut slow = net.bare_pod(1, direction).asking(json!({
                "bandwidth": {
                    format!("{direction}Rate"): RATE,
                    format!("{direction}Burst"): BURST,
                },
            }));
            slow.add().expect("ADD");
            slow.check().expect("in force");
            let fast = net.pod(2, &format!("to-{direction}"));
            assert_talk(&slow, &fast);
            for family in Family::ALL {
                let (from, to) = match direction {
                    "ingress" => (&fast, &slow),
                    _ => (&slow, &fast),
                };
                let (sent, got, time) = flood(from.netns(), to, family);
                println!("{wiring} {direction} {family}: {got} of {sent} bytes in {time:?}");
                assert!(got <= bound(time) + 8 * DATAGRAM, "{got} bytes in {time:?}");
                assert!(got > BURST as usize / 16, "hardly anything passes");
                // The other way is as fast as ever.
                let (sent, got, _) = flood(to.netns(), from, family);
                assert!(got > bound(time), "{got} of {sent} the other way");
                let target = to.address(family);
                carry(from.netns(), to.netns(), target, 200_000, LIMIT)
                    .expect("a limited connection gets through");
            }
            slow.del().expect("DEL");
        }
        net.settle();
    });
}
