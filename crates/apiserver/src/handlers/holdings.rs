//! What objects hold besides themselves: ClusterIPs, their IPAddresses, and the ranges they are from.
//!
//! The pools of `alloc` decide who has an address; an IPAddress shows it. A Service's IPAddresses are
//! made before it is stored and deleted after it is gone, and only then are its addresses free, so
//! that no two ever show one. They come back when somebody deletes them. A ServiceCIDR that is being
//! deleted stays as long as an address of it is held that is in no other one.

use std::net::IpAddr;
use std::sync::PoisonError;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::bootstrap;
use super::update::{Edit, modify};
use crate::alloc::{self, Claim, DEFAULT_RANGE};
use crate::kinds::{self, Kind, service_ranges};
use crate::lifecycle::{self, meta};
use crate::server::Server;
use crate::status::ApiError;
use crate::store::{Change, Key, Object, StoreError};

/// The group of ServiceCIDRs and IPAddresses.
const GROUP: &str = "networking.k8s.io";
/// The labels of the IPAddresses that the server makes itself.
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";

fn addresses() -> &'static Kind {
    kinds::find(GROUP, "v1", "ipaddresses").expect("IPAddress is an entry of the table")
}

fn ranges() -> &'static Kind {
    kinds::find(GROUP, "v1", "servicecidrs").expect("ServiceCIDR is an entry of the table")
}

fn is_range(kind: &Kind) -> bool {
    kind.group == GROUP && kind.kind == "ServiceCIDR"
}

/// What an object that is not stored yet was given.
#[must_use = "what was claimed is given back unless it is kept"]
pub(super) struct Holdings<'a> {
    server: &'a Server,
    kind: &'static Kind,
    now: Timestamp,
    made: Vec<IpAddr>,
    claim: Option<Claim<'a>>,
}

/// Gives an object what it needs, and writes it into it.
pub(super) fn claim<'a>(
    server: &'a Server,
    kind: &'static Kind,
    value: &mut Value,
    old: Option<&Value>,
    (now, dry): (Timestamp, bool),
) -> Result<Holdings<'a>, ApiError> {
    if is_range(kind) && old.is_none() {
        value["status"] = json!({ "conditions": [ready(now)] });
    }
    let claim = server.services.claim(kind, value, old)?;
    let fresh: Vec<IpAddr> = match alloc::is_service(kind) && !dry {
        true => claim.fresh().collect(),
        false => Vec::new(),
    };
    let mut holdings = Holdings {
        server,
        kind,
        now,
        made: Vec::new(),
        claim: Some(claim),
    };
    for address in fresh {
        let service = (meta(value, "namespace"), meta(value, "name"));
        record(server, address, service, now)
            .map_err(|error| ApiError::store(addresses(), &address.to_string(), &error))?;
        holdings.made.push(address);
    }
    Ok(holdings)
}

impl Holdings<'_> {
    /// The object is stored: what it got is its own, what it no longer needs is free.
    pub(super) fn keep(mut self, object: &Object) {
        self.made.clear();
        let (server, now) = (self.server, self.now);
        if let Some(claim) = self.claim.take() {
            let surplus: Vec<IpAddr> = claim.surplus().collect();
            let _lock = server.services.records.lock();
            erase_all(server, &surplus, now);
            claim.keep();
        }
        if is_range(self.kind) && !object.deleting {
            server.services.open_range(&object.value());
        }
        settle(server, now);
    }
}

impl Drop for Holdings<'_> {
    fn drop(&mut self) {
        if self.made.is_empty() {
            return;
        }
        let _lock = self.server.services.records.lock();
        erase_all(self.server, &self.made, self.now);
        // Only now, and with the lock: nobody may make an IPAddress for it again.
        drop(self.claim.take());
    }
}

/// An object is gone: what it held is free.
pub(super) fn gone(server: &Server, kind: &Kind, value: &Value, now: Timestamp) {
    if is_range(kind) {
        server.services.drop_range(value);
        if meta(value, "name") == DEFAULT_RANGE
            && let Err(error) = bootstrap::make_ranges(server, now)
        {
            tracing::warn!(%error, "the ServiceCIDR of the server's own ranges is gone");
        }
        return;
    }
    let (service, address) = (alloc::is_service(kind), alloc::is_address(kind));
    if !service && !address {
        return;
    }
    let lock = server.services.records.lock();
    let lock = lock.unwrap_or_else(PoisonError::into_inner);
    if service {
        erase_all(server, &alloc::held_addresses(value), now);
    }
    server.services.release(kind, value);
    if let Some(address) = service_ranges::address_of(value).filter(|_| address)
        && let Some((namespace, name)) = server.services.holder(address)
        && let Err(error) = record(server, address, (&namespace, &name), now)
    {
        tracing::warn!(%address, %error, "the IPAddress of a Service was deleted");
    }
    drop(lock);
    settle(server, now);
}

/// An object is being deleted, and something holds it yet.
pub(super) fn going(server: &Server, kind: &Kind, object: &Object, now: Timestamp) {
    if is_range(kind) {
        server.services.close_range(&object.value());
        settle(server, now);
    }
}

/// Makes the IPAddress of an address that a Service has.
fn record(
    server: &Server,
    address: IpAddr,
    (namespace, name): (&str, &str),
    now: Timestamp,
) -> Result<(), StoreError> {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let mut value = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": address.to_string(),
            "labels": { FAMILY: family, MANAGED_BY: MANAGER },
        },
        "spec": { "parentRef": {
            "group": "", "resource": "services", "namespace": namespace, "name": name,
        } },
    });
    let uid = Uuid::new_v4().to_string();
    lifecycle::prepare_new(addresses(), &mut value, uid, now);
    let made = server
        .store
        .commit(addresses(), value, Change::Create, now, false);
    made.map(|_| ())
}

fn erase_all(server: &Server, all: &[IpAddr], now: Timestamp) {
    for address in all {
        erase(server, *address, now);
    }
}

/// Deletes an IPAddress, whatever finalizers somebody gave it: the address is free in any case.
fn erase(server: &Server, address: IpAddr, now: Timestamp) {
    let key = Key::new("", &address.to_string());
    while let Some(object) = server.store.get(addresses(), &key) {
        let change = Change::Remove(object.revision);
        let value = object.value();
        match server.store.commit(addresses(), value, change, now, false) {
            Err(StoreError::Conflict) => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%address, %error, "an IPAddress cannot be deleted");
                return;
            }
        }
    }
}

fn ready(now: Timestamp) -> Value {
    json!({
        "type": "Ready",
        "status": "True",
        "reason": "",
        "message": "Kubernetes Service CIDR is ready",
        "lastTransitionTime": lifecycle::seconds(now),
    })
}

fn terminating(now: Timestamp) -> Value {
    json!({
        "type": "Ready",
        "status": "False",
        "reason": "Terminating",
        "message": "There are still IPAddresses referencing the ServiceCIDR, please remove them or \
                    create a new ServiceCIDR",
        "lastTransitionTime": lifecycle::seconds(now),
    })
}

/// Lets ServiceCIDRs go that are being deleted and needed by nobody; the others say why they stay.
fn settle(server: &Server, now: Timestamp) {
    for (name, can_go) in server.services.closed_ranges() {
        let key = Key::new("", &name);
        let done = modify(server, ranges(), &key, Edit::Direct, (now, false), |old| {
            let mut value = old.clone();
            if can_go {
                release(&mut value);
            } else if old.pointer("/status/conditions/0/reason") != Some(&json!("Terminating")) {
                value["status"]["conditions"] = json!([terminating(now)]);
            }
            Ok(value)
        });
        if let Err(error) = done
            && error.code != 404
        {
            tracing::warn!(name, %error, "a ServiceCIDR cannot be let go");
        }
    }
}

fn release(range: &mut Value) {
    let finalizers = range.pointer_mut("/metadata/finalizers");
    if let Some(finalizers) = finalizers.and_then(Value::as_array_mut) {
        finalizers.retain(|one| one != service_ranges::FINALIZER);
    }
}
