//! What a Service costs those who connect: its cluster address beside the Pod's own address, between
//! the same two Pods of a node, with few and with many Services.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use seaway_model::Family;

use super::objects::{self, Scale};
use super::sight::Sight;
use super::spot::{Agent, Spot};
use super::stage::{Kind, Stage};
use crate::binaries::Binaries;
use crate::cluster::addresses_of;
use crate::plugin::Pod;
use crate::rounds::Visit;
use crate::stats::median;
use crate::tcp::Link;

const PATIENCE: Duration = Duration::from_secs(120);

/// What a visit measures: name, unit.
pub(super) const METRICS: [(&str, &str); 4] = [
    ("connect", "us"),
    ("connection", "us"),
    ("rate", "/s"),
    ("rtt", "us"),
];

/// A node with two Pods, one of which is the only endpoint of the first Service.
#[derive(Debug)]
pub(super) struct Offer {
    spot: Spot,
    _agent: Agent,
    client: Pod,
    server: Pod,
    address: IpAddr,
}

impl Offer {
    /// A node that knows so many Services.
    pub(super) fn new(services: usize, cpu: usize, binaries: &Binaries) -> Result<Offer> {
        let scale = Scale {
            services,
            endpoints: 1,
        };
        let spot = Spot::new(scale, binaries)?;
        let mut agent = spot.start_agent(cpu)?;
        agent.wait_until_ready(&spot, PATIENCE)?;
        let attach = || -> Result<(Pod, IpAddr)> {
            let pod = Pod::new()?;
            let call = spot.room().run(|| spot.plugin.call("ADD", &pod))?;
            let all = addresses_of(&call.stdout).with_context(|| agent.said(&spot))?;
            let mut all = all.into_iter();
            let address = all.find(|address| Family::of(*address) == Family::V4);
            Ok((pod, address.context("a Pod has no IPv4 address")?))
        };
        let ((client, _), (server, address)) = (attach()?, attach()?);
        crate::path::widen_ports(client.netns())?;
        Ok(Offer {
            spot,
            _agent: agent,
            client,
            server,
            address,
        })
    }

    /// How many Services the node knows.
    pub(super) fn services(&self) -> usize {
        self.spot.scale.services
    }

    /// The way to the Pod's own address.
    pub(super) fn direct(&self, cpu: usize) -> Result<Link<'_>> {
        let name = format!("own-address-{}", self.services());
        Link::new(
            &name,
            self.server.netns(),
            self.address,
            self.client.netns(),
            cpu,
        )
    }

    /// The way to the same server by the cluster address.
    pub(super) fn by_service<'a>(&'a self, direct: &Link<'a>) -> Result<Link<'a>> {
        let IpAddr::V4(address) = self.address else {
            anyhow::bail!("the Pod has no IPv4 address");
        };
        // A newcomer in the same slice is seen to come; the Pod's own address is not told apart.
        let mut sight = Sight::open(self.spot.room().netns())?;
        let port = direct.address().port();
        let tell = |endpoints: &[_]| {
            let version = self.spot.stage.next_version();
            let slice = objects::slice_manifest(0, endpoints, port, version);
            self.spot.stage.send(Kind::Slices, &Stage::event(&slice));
        };
        let marker = objects::newcomer(0);
        tell(&[(address, objects::OWN), (marker, objects::NODES - 1)]);
        sight.wait_for(marker, PATIENCE)?;
        tell(&[(address, objects::OWN)]);
        let front = SocketAddr::new(objects::cluster_ip(0).into(), objects::PORT);
        let link = direct.at(&format!("cluster-ip-{}", self.services()), front);
        link.wait_until_steady(PATIENCE)?;
        Ok(link)
    }
}

/// Measures one way once.
pub(super) fn visit(link: &Link<'_>, connections: usize) -> Result<Visit> {
    let handshakes = median(&link.handshakes(connections)?);
    let whole = link.connections(connections)?;
    let rate = whole.len() as f64 * 1e6 / whole.iter().sum::<f64>();
    let rtt = median(&link.round_trips(connections * 4)?);
    Ok(vec![handshakes, median(&whole), rate, rtt])
}
