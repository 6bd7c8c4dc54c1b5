//! Two nodes with Pods and everything that may be attached to them, and traffic that must not notice.

use std::net::SocketAddr;
use std::time::Duration;

use seaway_kernel::netns::Netns;
use seaway_model::{Family, Protocol};
use seaway_tests::net::{Shape, outside_address};
use seaway_tests::probe::{Ping, Traffic};
use seaway_tests::services::case::TableSettings;
use seaway_tests::services::stage::ways;
use seaway_tests::services::{Crowd, Load, Objects, Server, Stage};
use seaway_tests::{Build, Pod, shell};
use serde_json::json;

/// Between two questions of one client.
const PACE: Duration = Duration::from_millis(25);
/// Between two packets of a flow whose gaps are measured.
const FAST: Duration = Duration::from_millis(1);
/// The port of the node that leads to a Pod.
const HOST_PORT: u16 = 18_080;

/// A cluster under load.
pub(crate) struct World {
    pub(crate) stage: Stage,
    /// It has a host port and limits.
    pub(crate) special: Pod,
    _crowd: Crowd,
    loads: Vec<Load>,
    flows: Vec<Traffic>,
    pings: Vec<(String, Ping)>,
}

impl World {
    pub(crate) fn new(shape: &Shape) -> World {
        let mut stage = Stage::set(shape.clone(), &TableSettings::default());
        let objects = stage.publish_written("[{name: s, type: NodePort, endpoints: [b1, b2]}]");
        let mut special = stage.net.bare_pod(1, "special").asking(json!({
            "portMappings": [{"hostPort": HOST_PORT, "containerPort": 8080, "protocol": "tcp"},
                             {"hostPort": HOST_PORT, "containerPort": 8080, "protocol": "udp"}],
            "bandwidth": {"ingressRate": 80_000_000, "ingressBurst": 8_000_000,
                          "egressRate": 80_000_000, "egressBurst": 8_000_000},
        }));
        special.add().expect("ADD");
        let at = special.addresses.clone();
        let served = [Protocol::Tcp, Protocol::Udp];
        let server = Server::open_for("special", special.netns(), &at, &[8080], &served);
        let mut world = World {
            stage,
            special,
            _crowd: Crowd::start(vec![server]),
            loads: Vec::new(),
            flows: Vec::new(),
            pings: Vec::new(),
        };
        world.load(&objects);
        world
    }

    fn load(&mut self, objects: &Objects) {
        let stage = &self.stage;
        let place = |name: &str| stage.cast.place(name);
        for (family, protocol) in ways() {
            let cluster = objects.cluster_door("s", protocol, family);
            let node = stage.node_door(1, family, objects.node_port("s", protocol));
            for (from, door) in [("pod1", cluster), ("outside", node), ("node2", cluster)] {
                let load = Load::connecting(place(from).netns(), door, protocol, PACE);
                self.loads.push(load);
            }
            if protocol != Protocol::Sctp {
                let door = stage.node_door(1, family, HOST_PORT);
                let outside = place("outside").netns();
                self.loads
                    .push(Load::connecting(outside, door, protocol, PACE));
                let own = SocketAddr::new(self.special.address(family), 8080);
                let kubelet = stage.net.node(1);
                self.loads
                    .push(Load::connecting(kubelet, own, protocol, PACE));
            }
        }
        for family in Family::ALL {
            let cluster = objects.cluster_door("s", Protocol::Tcp, family);
            let open = Load::streaming(place("pod1").netns(), cluster, FAST);
            self.loads.push(open);
            let door = objects.cluster_door("s", Protocol::Udp, family);
            let patience = Duration::from_secs(4);
            let open = Load::datagrams(place("pod1").netns(), door, patience);
            self.loads.push(open);
            let end = |name: &str| (place(name).netns(), place(name).address(family));
            self.flows.push(Traffic::between(end("pod1"), end("b2")));
            let outside: (&Netns, _) = (&stage.net.fabric.outside, outside_address(family));
            for (what, to) in [("to another node's Pod", end("b2")), ("out", outside)] {
                let ping = Ping::start(end("pod1"), to, FAST);
                self.pings.push((format!("{what} {family}"), ping));
            }
        }
        self.go_on();
    }

    /// Waits until everybody has been answered some more times.
    pub(crate) fn go_on(&self) {
        self.loads.iter().for_each(|load| load.wait_for_more(3));
        self.flows.iter().for_each(Traffic::wait_for_more);
    }

    /// Nothing has failed so far.
    pub(crate) fn is_unharmed(&self, what: &str) {
        self.go_on();
        self.loads
            .iter()
            .for_each(|load| load.assert_unharmed(what));
    }

    /// Node `number` is settled, and nothing on it is of the other form.
    pub(crate) fn is_of(&self, number: usize, build: Build) {
        let agent = self.stage.net.agent(number);
        agent.wait_settled();
        let (of_this, of_next) = (
            [
                "seaway1",
                "set frontends-v4",
                "map frontends-v4",
                "backends-v4",
                "local-pods-v4",
            ],
            [
                "seaway2",
                "set doors-v4",
                "map doors-v4",
                "slots-v4",
                "own-pods-v4",
            ],
        );
        let (written, other) = match build {
            Build::This => (of_this, of_next),
            Build::Next => (of_next, of_this),
        };
        let netns = agent.netns();
        let links = shell::run(netns, "ip -d link show");
        let text = links + &shell::run(netns, "nft list table inet seaway");
        let found = |word: &&str| text.contains(*word);
        assert_eq!(
            other.iter().find(|w| found(w)),
            None,
            "left on {}",
            agent.name
        );
        for word in [written[0], written[3], written[4]] {
            assert!(found(&word), "{word} is not on {}", agent.name);
        }
    }

    /// Ends it, and wants that nothing was lost.
    pub(crate) fn end(self) {
        let mut asked = 0;
        for load in self.loads {
            asked += load.tally().asked;
            load.end_without_loss();
        }
        self.flows
            .into_iter()
            .for_each(Traffic::assert_nothing_lost);
        for (what, ping) in self.pings {
            let loss = ping.end();
            println!(
                "{what}: {} of {} lost, gap {} ms",
                loss.lost, loss.sent, loss.longest
            );
            assert_eq!(loss.lost, 0, "{what}");
        }
        println!("{asked} new connections and questions, none failed");
    }
}
