//! What everybody knows of everybody: neighbours, routes, addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use seaway_kernel::netlink::Netlink;
use seaway_kernel::netns::Netns;
use seaway_model::MacAddr;
use seaway_testkit::eventually;
use seaway_tests::{Pod, shell};

use crate::common::LIMIT;

/// What one namespace holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tables {
    neighbours: BTreeMap<(u32, IpAddr), MacAddr>,
    routes: Vec<String>,
    addresses: Vec<String>,
}

/// What they all hold.
#[derive(Debug)]
pub(crate) struct Surroundings {
    places: Vec<(&'static str, Tables)>,
}

/// Lines of a tool without what counts down or comes and goes with honest traffic.
fn lines(netns: &Netns, command: &str) -> Vec<String> {
    let text = shell::run(netns, command);
    let kept = text.lines().filter(|line| !line.contains("valid_lft"));
    let mut lines: Vec<String> = kept
        .map(|line| line.split(" expires").next().unwrap_or(line).to_owned())
        .collect();
    lines.sort();
    lines
}

fn assert_same(what: &str, before: &[String], after: &[String]) {
    let gone: Vec<&String> = before.iter().filter(|l| !after.contains(l)).collect();
    let new: Vec<&String> = after.iter().filter(|l| !before.contains(l)).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "{what}: gone {gone:?}, new {new:?}"
    );
}

impl Surroundings {
    /// Looks at all places, once their link-local addresses are known to be unique.
    pub(crate) fn of(places: &[(&'static str, &Netns)]) -> Surroundings {
        for (place, netns) in places {
            eventually(place, LIMIT, || {
                let waiting = shell::run(netns, "ip -6 -o addr show tentative");
                if waiting.is_empty() {
                    Ok(())
                } else {
                    Err(waiting)
                }
            });
        }
        let look = |(name, netns): &(&'static str, &Netns)| {
            let mut netlink = Netlink::open_in(netns).expect("rtnetlink");
            let neighbours = netlink.neighbours().expect("dump").into_iter();
            let mut routes = lines(netns, "ip route show table all");
            routes.extend(lines(netns, "ip -6 route show table all"));
            let tables = Tables {
                neighbours: neighbours.map(|n| ((n.index, n.address), n.mac)).collect(),
                routes,
                addresses: lines(netns, "ip -o addr show"),
            };
            (*name, tables)
        };
        Surroundings {
            places: places.iter().map(look).collect(),
        }
    }

    /// Routes and addresses are the same; no neighbour moved; none has a forged address.
    pub(crate) fn assert_unchanged(&self, after: &Surroundings, forged: &[MacAddr]) {
        for ((place, before), (_, after)) in self.places.iter().zip(&after.places) {
            assert_same(&format!("routes of {place}"), &before.routes, &after.routes);
            let what = format!("addresses of {place}");
            assert_same(&what, &before.addresses, &after.addresses);
            // An entry without an Ethernet address is a question that nobody has answered.
            let answered = |mac: &MacAddr| *mac != MacAddr([0; 6]);
            for (key, mac) in after.neighbours.iter().filter(|(_, mac)| answered(mac)) {
                let known = before.neighbours.get(key).filter(|mac| answered(mac));
                let known = known.unwrap_or(mac);
                assert_eq!(known, mac, "neighbour {key:?} of {place} moved");
                assert!(!forged.contains(mac), "{place} believes {key:?} at {mac}");
            }
        }
    }

    /// Nobody takes the attacker for somebody else.
    pub(crate) fn assert_nobody_believes(&self, attacker: MacAddr, pod: &Pod) {
        let mut own: Vec<IpAddr> = pod.addresses.clone();
        own.push(attacker.link_local().into());
        for (place, tables) in &self.places {
            for ((_, address), mac) in &tables.neighbours {
                assert!(
                    *mac != attacker || own.contains(address),
                    "{place} believes {address} at the attacker"
                );
            }
        }
    }
}
