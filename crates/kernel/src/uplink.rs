//! Choosing the uplink: the device towards the other nodes, and the node's own addresses on it.
//!
//! The choice is a pure function of what the namespace holds and of what people asked for; it
//! says by which rule it was made, so that status can show it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use seaway_model::{Family, IfName, RouteTable};
use seaway_plan::Uplink;
use serde::{Deserialize, Serialize};

use crate::error::KernelError;
use crate::netlink::{AddressInfo, LinkInfo, Netlink, RouteInfo, RouteTarget};
use crate::realise::{before_us, is_our_group};
use crate::sysctl;

/// What people asked for.
#[derive(Clone, Debug, Default)]
pub struct UplinkRule {
    /// The device, by name.
    pub name: Option<IfName>,
    /// The device that has an address in this network.
    pub matching: Option<IpNet>,
    /// The node's addresses, at most one a family.
    pub node_ips: Vec<IpAddr>,
}

/// The uplink that was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenUplink {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The node's own addresses on it.
    pub addresses: Vec<IpAddr>,
    /// The networks that are on its link.
    #[serde(default)]
    pub networks: Vec<IpNet>,
    /// It takes routes from router advertisements as long as the node does not forward.
    #[serde(default)]
    pub learns_routes: bool,
    /// It drops IPv4 packets that come another way than the way back (`rp_filter` 1, before us).
    #[serde(default)]
    pub strict: bool,
    /// Why it was chosen.
    pub rule: String,
}

impl ChosenUplink {
    /// The part that planning needs.
    pub fn for_planning(&self) -> Uplink {
        Uplink {
            mtu: self.mtu,
            addresses: self.addresses.clone(),
            networks: self.networks.clone(),
            learns_routes: self.learns_routes,
            strict: self.strict,
        }
    }
}

/// What the choice is made from.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// All links.
    pub links: Vec<LinkInfo>,
    /// All addresses.
    pub addresses: Vec<AddressInfo>,
    /// All routes.
    pub routes: Vec<RouteInfo>,
    /// The indexes of links that take routes from router advertisements as long as the node does
    /// not forward (`accept_ra` 1, before us).
    pub learning: BTreeSet<u32>,
    /// The indexes of links with strict reverse-path filtering for IPv4, before us.
    pub strict: BTreeSet<u32>,
}

impl Surroundings {
    /// Reads them from the kernel. The file `saved` tells what settings were before us.
    pub fn read(netlink: &mut Netlink, saved: &Path) -> Result<Surroundings, KernelError> {
        let links = netlink.links()?;
        let before = before_us(saved, "net/ipv6/conf/accept_ra")?;
        let learns = |link: &&LinkInfo| {
            let now = || sysctl::read(&format!("net/ipv6/conf/{}/accept_ra", link.name)).ok();
            before.get(&link.name).cloned().or_else(now).as_deref() == Some("1")
        };
        let others = || links.iter().filter(|link| !is_our_group(link.group));
        let learning = others().filter(learns).map(|link| link.index).collect();
        let strict = strict_links(others(), saved)?;
        Ok(Surroundings {
            links,
            addresses: netlink.addresses()?,
            routes: netlink.routes()?,
            learning,
            strict,
        })
    }

    /// The networks that are on a link: those of its addresses, but for addresses that stand alone
    /// and link-local ones.
    fn networks(&self, link: &LinkInfo) -> Vec<IpNet> {
        let nets = self
            .addresses
            .iter()
            .filter(|a| a.index == link.index && !is_link_local(a.net.addr()))
            .filter(|a| a.net.prefix_len() < a.net.max_prefix_len())
            .map(|a| a.net.trunc());
        let unique: BTreeSet<IpNet> = nets.collect();
        unique.into_iter().collect()
    }

    fn named(&self, name: &str) -> Option<&LinkInfo> {
        self.links.iter().find(|link| link.name == name)
    }

    fn indexed(&self, index: u32) -> Option<&LinkInfo> {
        self.links.iter().find(|link| link.index == index)
    }

    fn with_address(&self, wanted: impl Fn(IpAddr) -> bool) -> Option<&LinkInfo> {
        let address = self.addresses.iter().find(|a| wanted(a.net.addr()))?;
        self.indexed(address.index)
    }

    fn default_route(&self, family: Family) -> Option<&LinkInfo> {
        let is_default = |route: &&RouteInfo| {
            route.table == RouteTable::Main && route.destination == family.default_net()
        };
        let route = self
            .routes
            .iter()
            .filter(is_default)
            .min_by_key(|route| route.metric)?;
        match route.target {
            RouteTarget::Via { index, .. } => self.indexed(index),
            _ => None,
        }
    }
}

/// The indexes of those of `links` with strict reverse-path filtering for IPv4. Of the value for all
/// devices and of the device's own, before us, the larger is in force; 2 is loose.
fn strict_links<'a>(
    links: impl Iterator<Item = &'a LinkInfo>,
    saved: &Path,
) -> Result<BTreeSet<u32>, KernelError> {
    let before = before_us(saved, "net/ipv4/conf/rp_filter")?;
    let now = |name: &str| sysctl::read(&format!("net/ipv4/conf/{name}/rp_filter")).ok();
    let number = |text: Option<String>| text.and_then(|text| text.parse().ok()).unwrap_or(0u8);
    let of_all = number(now("all"));
    let is_strict = |link: &&LinkInfo| {
        let own = before.get(&link.name).cloned().or_else(|| now(&link.name));
        number(own).max(of_all) == 1
    };
    Ok(links.filter(is_strict).map(|link| link.index).collect())
}

/// Chooses the uplink by the first rule that applies: the name that was given; the network that
/// was given; the node's address, given or known from the cluster; the default route, IPv4 before
/// IPv6. The error says what to do.
pub fn choose(
    rule: &UplinkRule,
    cluster_addresses: &[IpAddr],
    around: &Surroundings,
) -> Result<ChosenUplink, String> {
    let (link, reason) = choose_link(rule, cluster_addresses, around)?;
    let wanted = if rule.node_ips.is_empty() {
        cluster_addresses
    } else {
        &rule.node_ips
    };
    let addresses = Family::ALL
        .into_iter()
        .filter_map(|family| node_address(link, family, wanted, around))
        .collect();
    Ok(ChosenUplink {
        index: link.index,
        name: link.name.clone(),
        mtu: link.mtu,
        addresses,
        networks: around.networks(link),
        learns_routes: around.learning.contains(&link.index),
        strict: around.strict.contains(&link.index),
        rule: reason,
    })
}

fn choose_link<'a>(
    rule: &UplinkRule,
    cluster_addresses: &[IpAddr],
    around: &'a Surroundings,
) -> Result<(&'a LinkInfo, String), String> {
    if let Some(name) = &rule.name {
        let link = around
            .named(name.as_str())
            .ok_or_else(|| format!("there is no link {name}; correct --uplink"))?;
        return Ok((link, "--uplink".to_owned()));
    }
    if let Some(net) = &rule.matching {
        let link = around
            .with_address(|address| net.contains(&address))
            .ok_or_else(|| format!("no link has an address in {net}; correct --uplink-match"))?;
        return Ok((link, format!("address in {net} (--uplink-match)")));
    }
    if !rule.node_ips.is_empty() {
        let link = around
            .with_address(|a| rule.node_ips.contains(&a))
            .ok_or_else(|| {
                format!(
                    "no link has an address of --node-ip {:?}; correct it",
                    rule.node_ips
                )
            })?;
        return Ok((link, "address of --node-ip".to_owned()));
    }
    if let Some(link) = around.with_address(|a| cluster_addresses.contains(&a)) {
        return Ok((link, "the node's address in the cluster".to_owned()));
    }
    let by_route = |family| around.default_route(family).map(|link| (link, family));
    let found = Family::ALL.into_iter().find_map(by_route);
    let (link, family) = found.ok_or("no link has the node's address or a default route; give --uplink NAME, --uplink-match CIDR or --node-ip ADDRESS")?;
    Ok((link, format!("{family} default route")))
}

/// The address that was wanted, if the link has it, or else the link's first that other nodes can
/// reach.
fn node_address(
    link: &LinkInfo,
    family: Family,
    wanted: &[IpAddr],
    around: &Surroundings,
) -> Option<IpAddr> {
    let mut usable = around
        .addresses
        .iter()
        .filter(|a| a.index == link.index)
        .map(|a| a.net.addr())
        .filter(|a| Family::of(*a) == family && !is_link_local(*a))
        .collect::<Vec<_>>();
    usable.sort_by_key(|address| !wanted.contains(address));
    usable.first().copied()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_link_local() || a.is_loopback(),
        IpAddr::V6(a) => a.is_unicast_link_local() || a.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Surroundings {
        let link = |index, name: &str| LinkInfo {
            index,
            name: name.to_owned(),
            mtu: 1500,
            ..LinkInfo::default()
        };
        let address = |index, net: &str| AddressInfo {
            index,
            net: net.parse().expect("valid"),
        };
        let route = |net: &str, metric, index| RouteInfo {
            table: RouteTable::Main,
            destination: net.parse().expect("valid"),
            metric,
            protocol: 3,
            target: RouteTarget::Via {
                index,
                gateway: None,
                source: None,
                mtu: None,
            },
        };
        Surroundings {
            links: vec![link(1, "lo"), link(2, "eth0"), link(3, "eth1")],
            addresses: vec![
                address(1, "127.0.0.1/8"),
                address(2, "192.168.0.7/24"),
                address(2, "192.168.0.9/32"),
                address(3, "10.9.0.7/16"),
                address(3, "10.9.0.8/16"),
                address(3, "fe80::1/64"),
                address(3, "fd00::7/64"),
            ],
            routes: vec![route("0.0.0.0/0", 600, 3), route("0.0.0.0/0", 100, 2)],
            learning: BTreeSet::from([3]),
            strict: BTreeSet::from([2]),
        }
    }

    #[test]
    fn networks_of_the_link_are_those_of_its_addresses() {
        let named = |name| UplinkRule {
            name: IfName::new(name).ok(),
            ..UplinkRule::default()
        };
        let of = |name| choose(&named(name), &[], &around()).expect("there");
        let texts = |uplink: &ChosenUplink| {
            let nets = uplink.networks.iter().map(ToString::to_string);
            nets.collect::<Vec<_>>()
        };
        let (first, second) = (of("eth0"), of("eth1"));
        assert_eq!(texts(&first), ["192.168.0.0/24"]);
        assert_eq!(texts(&second), ["10.9.0.0/16", "fd00::/64"]);
        assert_eq!((first.learns_routes, second.learns_routes), (false, true));
        assert_eq!((first.strict, second.strict), (true, false));
    }

    fn chosen(rule: &UplinkRule, cluster: &[&str]) -> (String, Vec<String>, String) {
        let cluster: Vec<IpAddr> = cluster.iter().map(|a| a.parse().expect("valid")).collect();
        let uplink = choose(rule, &cluster, &around()).expect("a rule applies");
        (
            uplink.name,
            uplink.addresses.iter().map(ToString::to_string).collect(),
            uplink.rule,
        )
    }

    #[test]
    fn rules_apply_in_their_order() {
        let named = UplinkRule {
            name: IfName::new("eth1").ok(),
            ..UplinkRule::default()
        };
        let (name, addresses, rule) = chosen(&named, &["192.168.0.7"]);
        assert_eq!((name.as_str(), rule.as_str()), ("eth1", "--uplink"));
        assert_eq!(addresses, ["10.9.0.7", "fd00::7"]);

        let net = "10.9.0.0/16".parse().ok();
        let matching = UplinkRule {
            matching: net,
            ..UplinkRule::default()
        };
        assert_eq!(chosen(&matching, &["192.168.0.7"]).0, "eth1");

        let node_ips = vec!["10.9.0.8".parse().expect("valid")];
        let by_ip = UplinkRule {
            node_ips,
            ..UplinkRule::default()
        };
        assert_eq!(chosen(&by_ip, &[]).1, ["10.9.0.8", "fd00::7"]);

        let none = UplinkRule::default();
        assert_eq!(chosen(&none, &["10.9.0.8"]).1[0], "10.9.0.8");
        let (name, addresses, rule) = chosen(&none, &[]);
        assert_eq!(
            (name.as_str(), rule.as_str()),
            ("eth0", "IPv4 default route")
        );
        assert_eq!(addresses, ["192.168.0.7"]);
    }

    #[test]
    fn refusals_name_the_flag() {
        let none = Surroundings::default();
        let named = UplinkRule {
            name: IfName::new("eth9").ok(),
            ..UplinkRule::default()
        };
        assert!(
            choose(&named, &[], &around())
                .expect_err("no eth9")
                .contains("--uplink")
        );
        let error = choose(&UplinkRule::default(), &[], &none).expect_err("nothing there");
        assert!(error.contains("--node-ip"), "{error}");
    }
}
