//! Strangers' chains in the older iptables, read as its own tool reads them.
//!
//! Only tables that the kernel says are in use are asked for: to ask for one makes it.

mod blob;
mod sockopt;

use std::fs;
use std::io;

use seaway_model::Family;

use self::blob::Table;
use super::program::{Effect, worst};
use super::{Filter, FilterSystem, Policy, owner};
use crate::error::{Context, KernelError};

/// The kernel's names of hooks, by number, as iptables names the chains.
const HOOKS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// The chains of strangers that drop something.
pub(super) fn filters() -> Result<Vec<Filter>, KernelError> {
    let mut filters = Vec::new();
    for family in Family::ALL {
        for name in table_names(family)? {
            // A table that went away after its name was read is none.
            if let Some(raw) = sockopt::read(family, &name)? {
                filters.extend(judge(family, &name, &Table::parse(family, &raw)));
            }
        }
    }
    Ok(filters)
}

/// The tables in use in the calling thread's namespace; none if the kernel has no such filter.
fn table_names(family: Family) -> Result<Vec<String>, KernelError> {
    let path = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).during("read", || path.to_owned()),
    }
}

fn judge(family: Family, name: &str, table: &Table) -> Vec<Filter> {
    let names = || table.program.keys().map(String::as_str);
    let judge_hook = |(hook, policy): (&usize, &Policy)| {
        let chain = HOOKS[*hook].to_owned();
        let by_rule = worst(&table.program, &chain);
        let effect = match (policy, &by_rule) {
            (Policy::Drop, _) => Effect::DropsByPolicy,
            (Policy::Accept, Some((effect, _))) => *effect,
            (Policy::Accept, None) => return None,
        };
        Some(Filter {
            system: FilterSystem::IptablesLegacy,
            family: match family {
                Family::V4 => "ip".to_owned(),
                Family::V6 => "ip6".to_owned(),
            },
            table: name.to_owned(),
            hook: chain.to_lowercase(),
            chain,
            priority: None,
            policy: *policy,
            effect,
            dropped_in: by_rule.map(|(_, chain)| chain),
            owner: owner::of_table(name, names()),
        })
    };
    table.policies.iter().filter_map(judge_hook).collect()
}
