//! How a lab's network is to be: what lies between the nodes, which families there are, and what
//! the agents are told. Choices and whether they go together; no addresses and no kernel.

use std::fmt;

use seaway_model::{Family, Transport, Wiring};
use serde::{Deserialize, Serialize};

use super::TopologyError;

/// The MTU of the underlay's links unless another is asked for.
pub(crate) const DEFAULT_MTU: u32 = 1500;
/// IPv6 needs 1280 bytes inside VXLAN over IPv6, which takes 70.
pub(crate) const SMALLEST_MTU: u32 = 1350;
/// What a virtual cable can carry.
pub(crate) const LARGEST_MTU: u32 = 65_535;

/// What lies between the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum UnderlayKind {
    /// One Layer 2 network.
    #[default]
    Flat,
    /// A subnet for each node, and a router between them that knows no Pods.
    Routed,
}

/// Which address families nodes, Pods and Services have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Families {
    /// Both.
    #[default]
    Dual,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
}

/// How a lab's network is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// What lies between the nodes.
    pub underlay: UnderlayKind,
    /// How Pods are joined to their node.
    pub wiring: Wiring,
    /// How packets get to other nodes.
    pub transport: Transport,
    /// Which families there are.
    pub families: Families,
    /// The family of VXLAN's outer packets; the agents' own choice when `None`.
    pub vxlan_underlay: Option<Family>,
    /// The MTU of the underlay's links, in bytes.
    pub mtu: u32,
}

impl Default for Network {
    fn default() -> Network {
        Network {
            underlay: UnderlayKind::default(),
            wiring: Wiring::default(),
            transport: Transport::default(),
            families: Families::default(),
            vxlan_underlay: None,
            mtu: DEFAULT_MTU,
        }
    }
}

impl Families {
    /// Whether `family` is one of them.
    pub fn include(self, family: Family) -> bool {
        match self {
            Families::Dual => true,
            Families::Ipv4 => family == Family::V4,
            Families::Ipv6 => family == Family::V6,
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Families::Dual => "dual",
            Families::Ipv4 => "ipv4",
            Families::Ipv6 => "ipv6",
        }
    }
}

impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Families::Dual => "IPv4 and IPv6",
            Families::Ipv4 => "IPv4",
            Families::Ipv6 => "IPv6",
        })
    }
}

impl fmt::Display for UnderlayKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            UnderlayKind::Flat => "flat",
            UnderlayKind::Routed => "routed",
        })
    }
}

/// A family as flags have it.
pub(crate) fn parse_family(text: &str) -> Result<Family, String> {
    match text {
        "ipv4" => Ok(Family::V4),
        "ipv6" => Ok(Family::V6),
        _ => Err("it is one of ipv4, ipv6".to_owned()),
    }
}

fn family_flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

impl Network {
    /// Refuses choices that do not go together. `force` lets a transport pass that cannot work on
    /// this underlay, to see what the agents say about it.
    pub fn check(&self, force: bool) -> Result<(), TopologyError> {
        let needs_link = matches!(self.transport, Transport::Direct | Transport::L2);
        if needs_link && self.underlay == UnderlayKind::Routed && !force {
            return Err(TopologyError::NotOnLink(self.transport));
        }
        if let Some(family) = self.vxlan_underlay
            && !self.families.include(family)
        {
            return Err(TopologyError::VxlanUnderlay(family, self.families));
        }
        match self.mtu {
            SMALLEST_MTU..=LARGEST_MTU => Ok(()),
            mtu => Err(TopologyError::Mtu(mtu)),
        }
    }

    /// The flags of `lab up` that ask for this network.
    pub(crate) fn flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--underlay={}", self.underlay),
            format!("--family={}", self.families.flag()),
            format!("--wiring={}", self.wiring),
            format!("--transport={}", self.transport),
            format!("--mtu={}", self.mtu),
        ];
        let outer = self.vxlan_underlay;
        flags.extend(outer.map(|family| format!("--vxlan-underlay={}", family_flag(family))));
        flags
    }

    /// The flags of an agent on this network: what is not as agents have it anyway. Names are for
    /// the agents to answer: there is nobody else in a lab.
    pub(crate) fn agent_flags(&self) -> Vec<String> {
        let usual = Network::default();
        let cidrs = self.service_cidrs().into_iter();
        let mut flags: Vec<String> = cidrs.map(|cidr| format!("--service-cidr={cidr}")).collect();
        flags.extend(["--dns", "--dns-upstream=none"].map(str::to_owned));
        if self.wiring != usual.wiring {
            flags.push(format!("--wiring={}", self.wiring));
        }
        if self.transport != usual.transport {
            flags.push(format!("--transport={}", self.transport));
        }
        let outer = self.vxlan_underlay;
        flags.extend(outer.map(|family| format!("--vxlan-underlay={}", family_flag(family))));
        flags
    }
}

/// As the first line of what a check or a picture of a lab shows.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Network {
            underlay,
            wiring,
            transport,
            families,
            vxlan_underlay,
            mtu,
        } = self;
        write!(f, "wiring {wiring}, transport {transport}")?;
        if let Some(family) = vxlan_underlay {
            write!(f, " (VXLAN over {family})")?;
        }
        write!(f, ", underlay {underlay} of MTU {mtu}, {families}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_one_link_is_refused_on_a_routed_underlay_unless_forced() {
        for transport in Transport::ALL {
            let network = Network {
                underlay: UnderlayKind::Routed,
                transport,
                ..Network::default()
            };
            let needs_link = matches!(transport, Transport::Direct | Transport::L2);
            assert_eq!(network.check(false).is_err(), needs_link, "{transport}");
            assert_eq!(network.check(true), Ok(()));
            let flat = Network {
                underlay: UnderlayKind::Flat,
                ..network
            };
            assert_eq!(flat.check(false), Ok(()));
        }
        let refused = Network {
            underlay: UnderlayKind::Routed,
            transport: Transport::L2,
            ..Network::default()
        };
        let text = refused.check(false).expect_err("refused").to_string();
        assert!(text.contains("--transport auto or vxlan"), "{text}");
        assert!(text.contains("--force"), "{text}");
    }

    #[test]
    fn vxlan_runs_over_a_family_that_the_nodes_have() {
        let network = Network {
            families: Families::Ipv4,
            vxlan_underlay: Some(Family::V6),
            ..Network::default()
        };
        let text = network.check(true).expect_err("refused").to_string();
        assert_eq!(
            text,
            "VXLAN over IPv6 needs nodes with IPv6 addresses: these have IPv4 alone"
        );
    }

    #[test]
    fn an_mtu_leaves_room_for_ipv6_in_vxlan() {
        let of = |mtu| Network {
            mtu,
            ..Network::default()
        };
        for mtu in [1350, 1500, 9000, 65_535] {
            assert_eq!(of(mtu).check(false), Ok(()));
        }
        for mtu in [0, 1349, 65_536] {
            assert_eq!(of(mtu).check(true), Err(TopologyError::Mtu(mtu)));
        }
    }

    #[test]
    fn a_network_is_told_in_a_line_and_in_flags() {
        let network = Network {
            underlay: UnderlayKind::Routed,
            wiring: Wiring::Bridge,
            transport: Transport::Vxlan,
            vxlan_underlay: Some(Family::V6),
            ..Network::default()
        };
        assert_eq!(
            network.to_string(),
            "wiring bridge, transport vxlan (VXLAN over IPv6), underlay routed of MTU 1500, IPv4 and IPv6"
        );
        assert_eq!(
            network.agent_flags(),
            [
                "--service-cidr=10.96.0.0/16",
                "--service-cidr=fd00:10:96::/112",
                "--dns",
                "--dns-upstream=none",
                "--wiring=bridge",
                "--transport=vxlan",
                "--vxlan-underlay=ipv6"
            ]
        );
        assert!(network.flags().contains(&"--family=dual".to_owned()));
    }
}
