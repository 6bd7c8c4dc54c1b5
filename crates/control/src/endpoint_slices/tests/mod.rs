//! What slices look like, rule by rule, and what holds after any history.

mod late;
mod properties;
mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use serde_json::{Value, json};

use super::plan::{Scene, Writes, plan};
use super::{MANAGED_BY, MANAGER, Place, SERVICE_NAME};

fn from<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

/// Puts one JSON object over another.
fn over(base: &mut Value, change: Value) {
    match (base, change) {
        (Value::Object(base), Value::Object(change)) => {
            for (key, value) in change {
                over(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, change) => *base = change,
    }
}

/// Service `web` of one family, with one port.
fn service(change: Value) -> Service {
    let mut value = json!({
        "metadata": {"namespace": "n", "name": "web", "uid": "web-uid",
                     "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"team": "a"}},
        "spec": {"type": "ClusterIP", "selector": {"app": "web"}, "clusterIP": "10.96.0.9",
                 "ipFamilies": ["IPv4"],
                 "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]}});
    over(&mut value, json!({ "spec": change }));
    from(value)
}

/// A ready Pod with addresses of both families.
fn pod(number: usize, change: Value) -> Arc<Pod> {
    let (high, low) = (number / 250, number % 250 + 1);
    let mut value = json!({
        "metadata": {"namespace": "n", "name": format!("web-{number:04}"), "uid": format!("uid-{number}"),
                     "labels": {"app": "web"}},
        "spec": {"nodeName": "node1", "containers": [
            {"name": "main", "ports": [{"name": "web", "containerPort": 8080, "protocol": "TCP"}]}]},
        "status": {"phase": "Running", "podIP": format!("10.1.{high}.{low}"),
                   "podIPs": [{"ip": format!("10.1.{high}.{low}")}, {"ip": format!("fd00:1::{:x}", number + 1)}],
                   "conditions": [{"type": "Ready", "status": "True",
                                   "lastTransitionTime": "2026-01-02T00:00:00Z"}]}});
    over(&mut value, change);
    Arc::new(from(value))
}

fn unready() -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": "False",
        "lastTransitionTime": "2026-01-03T00:00:00Z"}]}})
}

fn going() -> Value {
    json!({"metadata": {"deletionTimestamp": "2026-01-03T00:00:40Z",
        "deletionGracePeriodSeconds": 30}})
}

/// Slices as a server keeps them.
#[derive(Debug, Default, Clone)]
struct Store {
    slices: BTreeMap<String, EndpointSlice>,
    version: u64,
}

impl Store {
    fn list(&self) -> Vec<Arc<EndpointSlice>> {
        self.slices.values().cloned().map(Arc::new).collect()
    }

    fn plan(&self, service: &Service, pods: &[Arc<Pod>]) -> Writes {
        let zones = BTreeMap::from([
            ("node1", Some("east")),
            ("node2", Some("west")),
            ("node3", None),
        ]);
        let slices = self.list();
        plan(&Scene {
            service,
            pods,
            slices: &slices,
            place: &|node| {
                zones.get(node).map(|zone| Place {
                    zone: zone.map(ToOwned::to_owned),
                })
            },
        })
    }

    fn put(&mut self, mut slice: EndpointSlice) {
        self.version += 1;
        let metadata = &mut slice.metadata;
        if metadata.name.is_none() {
            let prefix = metadata.generate_name.clone().expect("a prefix");
            metadata.name = Some(format!("{prefix}{:04}", self.version));
            metadata.uid = Some(format!("slice-{}", self.version));
        }
        metadata.resource_version = Some(self.version.to_string());
        let name = metadata.name.clone().expect("a name");
        self.slices.insert(name, slice);
    }

    /// Writes what is planned; says how many requests that were.
    fn sync(&mut self, service: &Service, pods: &[Arc<Pod>]) -> usize {
        let writes = self.plan(service, pods);
        let count = writes.count();
        for slice in &writes.delete {
            let name = slice.metadata.name.clone().expect("a name");
            self.slices.remove(&name).expect("there");
        }
        for slice in &writes.update {
            let name = slice.metadata.name.clone().expect("a name");
            assert_ne!(self.slices.get(&name), Some(slice), "written as it is");
        }
        for slice in writes.update.into_iter().chain(writes.create) {
            self.put(slice);
        }
        let again = self.plan(service, pods);
        assert_eq!(again.count(), 0, "not at rest: {again:?}");
        count
    }

    fn of(&self, family: &str) -> Vec<&EndpointSlice> {
        let slices = self.slices.values();
        slices
            .filter(|slice| slice.address_type == family)
            .collect()
    }

    fn endpoints(&self, family: &str) -> Vec<&Endpoint> {
        let slices = self.of(family).into_iter();
        slices
            .flat_map(|slice| slice.endpoints.iter().flatten())
            .collect()
    }
}

/// The slices for one Service and its Pods, from nothing.
fn slices(service: &Service, pods: &[Arc<Pod>]) -> Store {
    let mut store = Store::default();
    store.sync(service, pods);
    store
}

fn only(store: &Store) -> &EndpointSlice {
    assert_eq!(store.slices.len(), 1, "{store:?}");
    store.slices.values().next().expect("one")
}

fn ports(slice: &EndpointSlice) -> Vec<(String, Option<i32>)> {
    let ports = slice.ports.iter().flatten();
    ports
        .map(|port| (port.name.clone().unwrap_or_default(), port.port))
        .collect()
}

fn count(slice: &EndpointSlice) -> usize {
    slice.endpoints.as_ref().map_or(0, Vec::len)
}
