//! The way on: route, neighbour, transport and MTU towards one target.

use std::net::{IpAddr, SocketAddr};

use seaway_model::{
    Device, Family, FdbKey, LinkRow, MacAddr, NeighbourKey, Reachability, RouteRow, RouteTable, Row,
};

use super::translate::{Translated, place};
use super::{By, Citation, Course, End, Entry, Stage, Step, Target, Walker, Way};

/// A part of the way, in the making.
struct Leg<'a, 'w> {
    walker: &'w Walker<'a>,
    to: SocketAddr,
    steps: Vec<Step>,
}

impl Walker<'_> {
    /// The way to one target, to its end.
    pub(super) fn go(&self, course: &Course, target: Target) -> Way {
        let Translated { step, source } = self.translate(course, target);
        let mut leg = Leg {
            walker: self,
            to: target.to,
            steps: step.into_iter().collect(),
        };
        let end = leg.route(course);
        Way {
            to: target.to,
            who: (self.scene.who)(target.to.ip()),
            source,
            steps: leg.steps,
            end,
        }
    }

    /// The best of our routes to an address: what Pods send looks into its own table first.
    fn best_route(&self, to: IpAddr) -> Option<&RouteRow> {
        let from_pods = match self.packet.from {
            Entry::Pod(source) => {
                let mut rules = self.rows().rules.iter();
                rules.any(|rule| rule.source.contains(&source))
            }
            Entry::Node | Entry::Outside(_) => false,
        };
        let best = |table| {
            let routes = self.rows().routes.iter();
            let fit = routes.filter(|r| r.table == table && r.destination.contains(&to));
            fit.max_by_key(|r| (r.destination.prefix_len(), u32::MAX - r.metric))
        };
        let special = from_pods.then(|| best(RouteTable::FromPods)).flatten();
        special.or_else(|| best(RouteTable::Main))
    }

    /// The length of the uplink's own network that an address is in.
    fn on_link(&self, to: IpAddr) -> Option<u8> {
        let networks = self.scene.uplink.iter().flat_map(|uplink| &uplink.networks);
        let fit = networks.filter(|net| net.contains(&to));
        fit.map(ipnet::IpNet::prefix_len).max()
    }
}

impl Leg<'_, '_> {
    fn step(&mut self, stage: Stage, text: impl Into<String>, rows: Vec<Citation>) {
        self.steps.push(Step {
            stage,
            text: text.into(),
            rows,
        });
    }

    fn route(&mut self, course: &Course) -> End {
        let (walker, address) = (self.walker, self.to.ip());
        if walker.is_own(address) || address == seaway_model::dns_address(Family::of(address)) {
            let text = format!("{address} is the node's own address");
            self.step(Stage::Route, text, Vec::new());
            return End::Node { to: self.to };
        }
        let ours = walker.best_route(address).cloned();
        let length = ours.as_ref().map(|r| r.destination.prefix_len());
        let special = ours
            .as_ref()
            .is_some_and(|r| r.table == RouteTable::FromPods);
        if !special && walker.on_link(address) > length {
            let text = format!("{address} is on the uplink's own link");
            self.step(Stage::Route, text, Vec::new());
            self.uplink_mtu(None);
            return self.peer(address);
        }
        let Some(route) = ours else {
            let text = "no route of Seaway's: the node's own routing decides".to_owned();
            let rows = self.planned_route(address);
            self.step(Stage::Route, text, rows);
            self.uplink_mtu(None);
            return End::Beyond { to: self.to };
        };
        let cited = walker.cite(|tables| &tables.routes, &route.key());
        let text = match &route.reach {
            // Its name is an attachment's, which the next step tells in better words.
            Reachability::Via {
                device: Device::PodLink(_),
                ..
            } => format!(
                "{} is the address of a Pod of this node",
                route.destination.addr()
            ),
            _ => format!("by the route {route}"),
        };
        self.step(Stage::Route, text, vec![cited]);
        match &route.reach {
            Reachability::Unreachable => {
                let missing = self.planned_route(address);
                if !missing.is_empty() {
                    let text = format!("the plan has a route to {address}, the kernel has not");
                    self.step(Stage::Route, text, missing);
                }
                End::Lost {
                    why: format!(
                        "no Pod of this node has {address}: the sender gets an ICMP error"
                    ),
                }
            }
            Reachability::Via {
                device,
                gateway,
                mtu,
                ..
            } => self.by(course, device, *gateway, *mtu),
        }
    }

    /// The route that the plan has, where the rows that are walked lead elsewhere.
    fn planned_route(&self, to: IpAddr) -> Vec<Citation> {
        let walker = self.walker;
        let planned = walker.planned.routes.iter();
        let fit = planned.filter(|route| {
            route.destination.contains(&to) && walker.rows().routes.get(&route.key()).is_none()
        });
        let best = fit.max_by_key(|route| route.destination.prefix_len());
        best.map(|route| walker.cite(|tables| &tables.routes, &route.key()))
            .into_iter()
            .collect()
    }

    fn by(
        &mut self,
        course: &Course,
        device: &Device,
        gateway: Option<IpAddr>,
        mtu: Option<u32>,
    ) -> End {
        match device {
            Device::PodLink(_) => self.by_pod_link(device, device),
            Device::Bridge => self.by_bridge(),
            Device::Vxlan => self.by_vxlan(gateway, mtu),
            Device::Uplink => {
                let text = match gateway {
                    Some(gateway) => format!("direct, by {}", self.walker.name(gateway)),
                    None => "on the link itself (l2): its node answers for it".to_owned(),
                };
                self.step(Stage::Transport, text, Vec::new());
                self.uplink_mtu(mtu);
                self.peer(gateway.unwrap_or(self.to.ip()))
            }
            Device::Loopback => End::Lost {
                why: match course.by {
                    By::Nobody => format!("{} is a Service's, and nothing leads on", self.to.ip()),
                    By::Frontend | By::HostPort => format!("nobody has {}", self.to.ip()),
                },
            },
            Device::Shaper(_) | Device::Named(_) => End::Lost {
                why: format!("{device} leads to nobody"),
            },
        }
    }

    fn peer(&self, by: IpAddr) -> End {
        let who = (self.walker.scene.who)(by);
        End::Peer {
            by,
            who,
            to: self.to,
        }
    }

    /// To a Pod of this node: `on` is where its neighbour entry is, `link` its own link.
    fn by_pod_link(&mut self, on: &Device, link: &Device) -> End {
        let walker = self.walker;
        let key = NeighbourKey {
            device: on.clone(),
            address: self.to.ip(),
        };
        let neighbour = walker.cite(|tables| &tables.neighbours, &key);
        let row = walker.cite(|tables| &tables.links, link);
        let state = walker.rows().links.get(link).cloned();
        let has_neighbour = walker.rows().neighbours.get(&key).is_some();
        let text = format!("by the link of {}", walker.name(self.to.ip()));
        self.step(Stage::Transport, text, vec![row, neighbour]);
        match state {
            None => End::Lost {
                why: format!("the node has no link {link}"),
            },
            Some(LinkRow { up: false, .. }) => End::Lost {
                why: format!("{link} is down"),
            },
            Some(_) if !has_neighbour => End::Lost {
                why: format!("nothing says which Ethernet address {} has", self.to.ip()),
            },
            Some(link) => {
                self.mtu(link.mtu, "the Pod's link");
                End::Pod { to: self.to }
            }
        }
    }

    fn by_bridge(&mut self) -> End {
        let walker = self.walker;
        let Some(mac) = self.mac_of(&Device::Bridge, self.to.ip()) else {
            let text = "on the node's bridge".to_owned();
            self.step(Stage::Transport, text, Vec::new());
            return End::Lost {
                why: format!("no Pod on the bridge has {}", self.to.ip()),
            };
        };
        let mut ports = walker.rows().fdb.iter();
        let port = ports.find(|row| row.mac == mac && row.device.attachment().is_some());
        match port.cloned() {
            Some(port) => {
                let cited = walker.cite(|tables| &tables.fdb, &port.key());
                let text = format!("{mac} is at the port {}", port.device);
                self.step(Stage::Transport, text, vec![cited]);
                self.by_pod_link(&Device::Bridge, &port.device)
            }
            None => End::Lost {
                why: format!("no port of the bridge has {mac}"),
            },
        }
    }

    fn mac_of(&self, device: &Device, address: IpAddr) -> Option<MacAddr> {
        let key = NeighbourKey {
            device: device.clone(),
            address,
        };
        let row = self.walker.rows().neighbours.get(&key)?;
        Some(row.mac)
    }

    fn by_vxlan(&mut self, gateway: Option<IpAddr>, mtu: Option<u32>) -> End {
        let walker = self.walker;
        let Some(gateway) = gateway else {
            return End::Lost {
                why: "the route into VXLAN names no next hop".to_owned(),
            };
        };
        let key = NeighbourKey {
            device: Device::Vxlan,
            address: gateway,
        };
        let neighbour = walker.cite(|tables| &tables.neighbours, &key);
        let Some(mac) = self.mac_of(&Device::Vxlan, gateway) else {
            self.step(Stage::Transport, "in VXLAN", vec![neighbour]);
            return End::Lost {
                why: format!("nothing says which VTEP {gateway} is"),
            };
        };
        let key = FdbKey {
            device: Device::Vxlan,
            mac,
        };
        let entry = walker.cite(|tables| &tables.fdb, &key);
        let vtep = walker.rows().fdb.get(&key).and_then(|row| row.vtep);
        let Some(vtep) = vtep else {
            self.step(Stage::Transport, "in VXLAN", vec![neighbour, entry]);
            return End::Lost {
                why: format!("nothing says where the VTEP {mac} is"),
            };
        };
        let device = walker.cite(|tables| &tables.links, &Device::Vxlan);
        let text = format!("in VXLAN, to the VTEP of {}", walker.name(vtep));
        self.step(Stage::Transport, text, vec![neighbour, entry, device]);
        match walker.rows().links.get(&Device::Vxlan) {
            None => End::Lost {
                why: "the node has no VXLAN device".to_owned(),
            },
            Some(LinkRow { up: false, .. }) => End::Lost {
                why: "the VXLAN device is down".to_owned(),
            },
            Some(link) => {
                let least = [link.mtu, mtu].into_iter().flatten().min();
                self.mtu(least, "VXLAN");
                self.peer(vtep)
            }
        }
    }

    fn uplink_mtu(&mut self, mtu: Option<u32>) {
        let uplink = self.walker.scene.uplink.map(|uplink| uplink.mtu);
        let least = [uplink, mtu].into_iter().flatten().min();
        self.mtu(least, "the uplink");
    }

    /// The largest packet that fits, the sender's own link included.
    fn mtu(&mut self, mtu: Option<u32>, what: &str) {
        let Some(mtu) = mtu else { return };
        let text = format!("{} takes packets of up to {mtu} bytes", what);
        self.step(Stage::Mtu, text, Vec::new());
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Pod { to } => write!(f, "a Pod of this node gets it, at {}", place(*to)),
            End::Node { to } => write!(f, "a process of this node gets it, at {}", place(*to)),
            End::Peer { by, who, to } => {
                let who = who.as_deref().unwrap_or("its node");
                match by == &to.ip() {
                    true => write!(f, "it leaves for {who}, {}", place(*to)),
                    false => write!(
                        f,
                        "it leaves for {who}, which is to get it to {}",
                        place(*to)
                    ),
                }
            }
            End::Beyond { to } => write!(f, "it leaves for {}, by no way of Seaway's", place(*to)),
            End::Refused { reason } => {
                write!(f, "it is refused: the sender is told at once ({reason})")
            }
            End::Dropped { reason } => write!(f, "it is dropped ({reason})"),
            End::Lost { why } => write!(f, "it gets no further: {why}"),
        }
    }
}
