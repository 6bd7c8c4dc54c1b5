//! What strangers put on the node that can keep Pods' packets from getting through: filters in
//! nftables and in the older iptables, and VXLAN devices on our port.
//!
//! Only looks, never changes anything and judges nobody: whether a filter that drops some packets
//! drops those of Pods cannot be told from outside, so that the finding says what it does and
//! which command shows it. Our own tables are not strangers.
//!
//! Works in the calling thread's network namespace.

mod legacy;
mod nftables;
mod owner;
mod program;
mod vxlan;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::program::Effect;
use crate::error::KernelError;

/// The tables that are ours, in any family.
const OUR_TABLE: &str = "seaway";

/// Something of somebody else's that Pods' packets have to get past.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Stranger {
    /// A chain of filter rules.
    Filter(Filter),
    /// A VXLAN device on our UDP port.
    Vxlan(VxlanDevice),
}

/// A chain that the kernel itself calls for packets, and that drops some.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Filter {
    /// Which of the kernel's filters holds it.
    pub system: FilterSystem,
    /// The family of the table: `ip`, `ip6`, `inet`, `bridge`, `arp`.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// When the kernel calls it, for example `forward`.
    pub hook: String,
    /// The order among the chains of the hook, where the filter system has one.
    pub priority: Option<i32>,
    /// What becomes of packets that no rule decides about.
    pub policy: Policy,
    /// What it does to packets.
    pub effect: Effect,
    /// Where the first rule that drops is, if a rule does: a chain of the same table.
    pub dropped_in: Option<String>,
    /// Whose it looks like.
    pub owner: Option<String>,
}

/// One of the kernel's packet filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilterSystem {
    /// nftables.
    Nftables,
    /// nftables, written by `iptables-nft`.
    IptablesNft,
    /// The older iptables.
    IptablesLegacy,
}

/// What becomes of packets that no rule decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// They go on.
    Accept,
    /// They are dropped.
    Drop,
}

/// A VXLAN device of somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VxlanDevice {
    /// Its name.
    pub name: String,
    /// Its network identifier; `None` if it takes all (`external`).
    pub vni: Option<u32>,
    /// The UDP port.
    pub port: u16,
    /// Whose it looks like.
    pub owner: Option<String>,
}

/// Everything of strangers that can be in the way, in a stable order. `port` is the UDP port of
/// our VXLAN, if it is on. A kernel built without one of the filter systems has no strangers in it.
pub fn survey(port: Option<u16>) -> Result<Vec<Stranger>, KernelError> {
    let mut found: Vec<Stranger> = Vec::new();
    found.extend(nftables::filters()?.into_iter().map(Stranger::Filter));
    found.extend(legacy::filters()?.into_iter().map(Stranger::Filter));
    if let Some(port) = port {
        found.extend(vxlan::devices(port)?.into_iter().map(Stranger::Vxlan));
    }
    found.sort();
    Ok(found)
}

impl Stranger {
    /// Whether packets that nobody thought of are dropped: then those of Pods are, unless a rule
    /// lets them pass.
    pub fn drops_by_default(&self) -> bool {
        match self {
            Stranger::Filter(filter) => filter.effect != Effect::DropsSome,
            Stranger::Vxlan(_) => false,
        }
    }

    /// The command that shows it.
    pub fn command(&self) -> String {
        match self {
            Stranger::Filter(filter) => filter.command(),
            Stranger::Vxlan(device) => format!("ip -d link show {}", device.name),
        }
    }
}

impl Filter {
    fn command(&self) -> String {
        let Filter {
            family,
            table,
            chain,
            ..
        } = self;
        let tool = if family == "ip6" {
            "ip6tables"
        } else {
            "iptables"
        };
        match self.system {
            FilterSystem::Nftables => format!("nft list table {family} {table}"),
            FilterSystem::IptablesNft => format!("{tool}-nft -t {table} -S {chain}"),
            FilterSystem::IptablesLegacy => format!("{tool}-legacy -t {table} -S {chain}"),
        }
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stranger::Filter(filter) => write!(f, "{filter}")?,
            Stranger::Vxlan(device) => write!(f, "{device}")?,
        }
        write!(f, "; see: {}", self.command())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Filter {
            system,
            family,
            table,
            chain,
            hook,
            ..
        } = self;
        write!(f, "{system} chain {family} {table} {chain} at {hook}")?;
        if let Some(priority) = self.priority {
            write!(f, ", priority {priority}")?;
        }
        if let Some(owner) = &self.owner {
            write!(f, " (looks like {owner})")?;
        }
        write!(f, " {}", self.effect)?;
        match &self.dropped_in {
            Some(inner) if inner != chain => write!(f, " (in its chain {inner})"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for FilterSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            FilterSystem::Nftables => "nftables",
            FilterSystem::IptablesNft => "iptables-nft",
            FilterSystem::IptablesLegacy => "iptables-legacy",
        })
    }
}

impl fmt::Display for VxlanDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VxlanDevice { name, port, .. } = self;
        write!(f, "VXLAN device {name}")?;
        match self.vni {
            Some(vni) => write!(f, " (VNI {vni})")?,
            None => write!(f, " (every VNI)")?,
        }
        if let Some(owner) = &self.owner {
            write!(f, " (looks like {owner})")?;
        }
        write!(f, " uses UDP port {port}, as Seaway does")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> Filter {
        Filter {
            system: FilterSystem::Nftables,
            family: "inet".to_owned(),
            table: "firewalld".to_owned(),
            chain: "filter_FORWARD".to_owned(),
            hook: "forward".to_owned(),
            priority: Some(10),
            policy: Policy::Accept,
            effect: Effect::DropsTheRest,
            dropped_in: Some("filter_FORWARD".to_owned()),
            owner: Some("firewalld".to_owned()),
        }
    }

    #[test]
    fn a_stranger_is_told_in_one_line_with_the_command_that_shows_it() {
        let line = Stranger::Filter(filter()).to_string();
        assert_eq!(
            line,
            "nftables chain inet firewalld filter_FORWARD at forward, priority 10 \
             (looks like firewalld) drops every packet that no rule before accepts; \
             see: nft list table inet firewalld"
        );
        let device = Stranger::Vxlan(VxlanDevice {
            name: "flannel.1".to_owned(),
            vni: Some(1),
            port: 4789,
            owner: Some("flannel".to_owned()),
        });
        assert_eq!(
            device.to_string(),
            "VXLAN device flannel.1 (VNI 1) (looks like flannel) uses UDP port 4789, as Seaway \
             does; see: ip -d link show flannel.1"
        );
    }

    #[test]
    fn the_command_is_of_the_tool_that_made_it() {
        let command = |system, family: &str| {
            let filter = Filter {
                system,
                family: family.to_owned(),
                table: "filter".to_owned(),
                chain: "FORWARD".to_owned(),
                ..filter()
            };
            filter.command()
        };
        let legacy = FilterSystem::IptablesLegacy;
        assert_eq!(
            command(legacy, "ip"),
            "iptables-legacy -t filter -S FORWARD"
        );
        let nft = FilterSystem::IptablesNft;
        assert_eq!(command(nft, "ip6"), "ip6tables-nft -t filter -S FORWARD");
    }
}
