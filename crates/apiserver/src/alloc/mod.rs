//! Addresses and node ports of Services: who holds which, what a Service gets.
//!
//! A claim takes what a Service needs before the Service is stored and gives it back if that
//! fails. The pools are rebuilt from nothing with the store; nothing else holds this state.

mod families;
mod node_ports;
mod pool;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use serde_json::Value;

use crate::error::ServerError;
use crate::kinds::{FieldError, Kind, service_ranges};
use crate::lifecycle::meta;
use crate::status::ApiError;
use crate::store::StoreError;

use pool::Pool;

/// The ServiceCIDR of the ranges that the server is started with.
pub(crate) const DEFAULT_RANGE: &str = "kubernetes";

/// The addresses and ports of all Services.
#[derive(Debug)]
pub(crate) struct Services {
    pool: Mutex<Pool>,
    /// Held by who makes or deletes the IPAddress of an address that is held already, or still.
    pub(crate) records: Mutex<()>,
}

/// Something that one Service holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    Address(IpAddr),
    Port(u16),
}

/// What was taken for a Service that is not stored yet.
#[derive(Debug)]
#[must_use = "what was claimed is given back unless it is kept"]
pub(crate) struct Claim<'a> {
    services: &'a Services,
    owner: String,
    taken: Vec<Item>,
    surplus: Vec<Item>,
}

impl Claim<'_> {
    /// The addresses that are new to the Service.
    pub(crate) fn fresh(&self) -> impl Iterator<Item = IpAddr> {
        addresses(&self.taken)
    }

    /// The addresses that the Service no longer needs.
    pub(crate) fn surplus(&self) -> impl Iterator<Item = IpAddr> {
        addresses(&self.surplus)
    }

    /// The Service is stored: what it got is its own, what it no longer needs is free.
    pub(crate) fn keep(mut self) {
        let mut pool = self.services.lock();
        self.taken.clear();
        for item in std::mem::take(&mut self.surplus) {
            pool.release(item, &self.owner);
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let mut pool = self.services.lock();
        for item in self.taken.drain(..) {
            pool.release(item, &self.owner);
        }
    }
}

/// A rule that a Service breaks.
pub(super) fn invalid(field: impl Into<String>, value: &Value, why: &str) -> FieldError {
    FieldError {
        field: field.into(),
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {value}: {why}"),
    }
}

pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or("")
}

fn addresses(items: &[Item]) -> impl Iterator<Item = IpAddr> {
    items.iter().filter_map(|item| match item {
        Item::Address(address) => Some(*address),
        Item::Port(_) => None,
    })
}

/// Whether objects of a kind hold their name as an address.
pub(crate) fn is_address(kind: &Kind) -> bool {
    kind.group == "networking.k8s.io" && kind.kind == "IPAddress"
}

pub(crate) fn is_service(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.kind == "Service"
}

fn owner(value: &Value) -> String {
    // With its uid: a Service of the same name that comes next is another owner.
    let [namespace, name, uid] = ["namespace", "name", "uid"].map(|field| meta(value, field));
    format!("{namespace}/{name}/{uid}")
}

/// The addresses that a stored Service holds.
pub(crate) fn held_addresses(service: &Value) -> Vec<IpAddr> {
    addresses(&held(service)).collect()
}

/// What a stored Service holds.
fn held(value: &Value) -> Vec<Item> {
    let mut items: Vec<Item> = families::addresses(&value["spec"])
        .iter()
        .filter_map(|text| text.parse().ok())
        .map(Item::Address)
        .collect();
    items.extend(node_ports::held(&value["spec"]).into_iter().map(Item::Port));
    items
}

impl Services {
    /// Pools over the configured ranges.
    pub(crate) fn new(ranges: &[IpNet], ports: RangeInclusive<u16>) -> Result<Self, ServerError> {
        let families = ranges.iter().filter(|range| range.addr().is_ipv4()).count();
        if ranges.is_empty() || families > 1 || ranges.len() - families > 1 {
            return Err(ServerError::Config(
                "service_cidrs must hold one or two ranges, at most one of each family".to_owned(),
            ));
        }
        if ports.is_empty() || *ports.start() == 0 {
            return Err(ServerError::Config(
                "node_ports must be a range that is not empty and does not start at 0".to_owned(),
            ));
        }
        Ok(Self {
            pool: Mutex::new(Pool::new(ranges, ports)),
            records: Mutex::new(()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address that is kept for Service `default/kubernetes`.
    pub(crate) fn first_address(&self) -> Option<IpAddr> {
        self.lock().first_address()
    }

    /// Gives a Service the addresses and ports that it needs, and writes them into it.
    pub(crate) fn claim(
        &self,
        kind: &Kind,
        value: &mut Value,
        old: Option<&Value>,
    ) -> Result<Claim<'_>, ApiError> {
        let mut claim = Claim {
            services: self,
            owner: String::new(),
            taken: Vec::new(),
            surplus: Vec::new(),
        };
        if is_address(kind) && old.is_none() {
            return self.reserve(kind, value, claim);
        }
        if !is_service(kind) {
            return Ok(claim);
        }
        claim.owner = owner(value);
        let before = old.map(held).unwrap_or_default();
        let name = meta(value, "name").to_owned();
        let mut pool = self.lock();
        let mut desk = Desk {
            pool: &mut pool,
            owner: &claim.owner,
            taken: &mut claim.taken,
        };
        let outcome = families::assign(&mut desk, &mut value["spec"], old.map(|old| &old["spec"]))
            .and_then(|()| node_ports::assign(&mut desk, &mut value["spec"]));
        drop(pool); // before a failed claim gives back what it took
        outcome.map_err(|refusal| match refusal {
            Refusal::Rule(fault) => ApiError::invalid(kind, &name, &[*fault]),
            Refusal::Full(what) => {
                ApiError::internal(format!("failed to allocate {what}: range is full"))
            }
        })?;
        let after = held(value);
        claim.surplus = before;
        claim.surplus.retain(|item| !after.contains(item));
        Ok(claim)
    }

    /// An IPAddress that somebody makes keeps the address from all Services.
    fn reserve<'a>(
        &'a self,
        kind: &Kind,
        value: &Value,
        mut claim: Claim<'a>,
    ) -> Result<Claim<'a>, ApiError> {
        let Some(address) = service_ranges::address_of(value) else {
            return Ok(claim);
        };
        claim.owner = owner(value);
        let item = Item::Address(address);
        if self.lock().take(item, &claim.owner) == pool::Taken::Other {
            let name = meta(value, "name");
            return Err(ApiError::store(kind, name, &StoreError::Exists));
        }
        claim.taken.push(item);
        Ok(claim)
    }

    /// Gives back what a deleted Service or IPAddress held.
    pub(crate) fn release(&self, kind: &Kind, value: &Value) {
        let items = if is_service(kind) {
            held(value)
        } else if is_address(kind) {
            let address = service_ranges::address_of(value);
            address.map(Item::Address).into_iter().collect()
        } else {
            return;
        };
        let owner = owner(value);
        let mut pool = self.lock();
        for item in items {
            pool.release(item, &owner);
        }
    }

    /// Namespace and name of the Service that holds an address.
    pub(crate) fn holder(&self, address: IpAddr) -> Option<(String, String)> {
        let pool = self.lock();
        let mut parts = pool.holder(Item::Address(address))?.split('/');
        let (namespace, name) = (parts.next()?, parts.next()?);
        // An IPAddress is in no namespace.
        (!namespace.is_empty()).then(|| (namespace.to_owned(), name.to_owned()))
    }

    /// The ranges that the server was started with.
    pub(crate) fn configured(&self) -> Vec<IpNet> {
        self.lock().configured().to_vec()
    }

    /// A ServiceCIDR is stored, with these ranges.
    pub(crate) fn open_range(&self, value: &Value) {
        let nets = service_ranges::cidrs(value);
        self.lock()
            .set_ranges(meta(value, "name"), meta(value, "uid"), &nets);
    }

    /// A ServiceCIDR is being deleted.
    pub(crate) fn close_range(&self, value: &Value) {
        self.lock().close_ranges(meta(value, "uid"));
    }

    /// A ServiceCIDR is gone.
    pub(crate) fn drop_range(&self, value: &Value) {
        self.lock().drop_ranges(meta(value, "uid"));
    }

    /// The ServiceCIDRs that are being deleted, and whether nothing needs them any more.
    pub(crate) fn closed_ranges(&self) -> std::collections::BTreeMap<String, bool> {
        self.lock().closed_ranges()
    }
}

/// Takes allocated values over from the Service that is updated, where the update leaves them out.
pub(crate) fn carry_over(kind: &Kind, new: &mut Value, old: &Value) {
    if is_service(kind) {
        families::carry_over(&mut new["spec"], &old["spec"]);
        node_ports::carry_over(&mut new["spec"], &old["spec"]);
    }
}

/// Why nothing was given.
#[derive(Debug)]
pub(super) enum Refusal {
    Rule(Box<FieldError>),
    Full(&'static str),
}

impl From<FieldError> for Refusal {
    fn from(fault: FieldError) -> Self {
        Self::Rule(Box::new(fault))
    }
}

/// Where one Service is served.
pub(super) struct Desk<'a> {
    pool: &'a mut Pool,
    owner: &'a str,
    taken: &'a mut Vec<Item>,
}

impl Desk<'_> {
    /// Takes one certain thing; false if somebody else has it.
    pub(super) fn take(&mut self, item: Item) -> bool {
        match self.pool.take(item, self.owner) {
            pool::Taken::New => {
                self.taken.push(item);
                true
            }
            pool::Taken::Own => true,
            pool::Taken::Other => false,
        }
    }
}
