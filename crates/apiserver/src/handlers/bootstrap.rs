//! The objects that every cluster has from the start.

use std::net::SocketAddr;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::create::insert;
use crate::alloc::DEFAULT_RANGE;
use crate::error::ServerError;
use crate::kinds::{self, read};
use crate::rbac;
use crate::server::Server;

/// What a store is filled with, besides what every cluster has.
pub(crate) struct First<'a> {
    /// Where the API server is reached.
    pub(crate) advertise: &'a [SocketAddr],
    pub(crate) namespaces: &'a [String],
    /// A file with a `List` of more objects.
    pub(crate) objects: Option<&'a Path>,
}

/// Fills an empty store.
pub(crate) fn bootstrap(
    server: &Server,
    &First {
        advertise,
        namespaces,
        objects,
    }: &First<'_>,
) -> Result<(), ServerError> {
    let eternal = ["default", "kube-system", "kube-public", "kube-node-lease"];
    for name in eternal
        .into_iter()
        .chain(namespaces.iter().map(String::as_str))
    {
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name },
        });
        put(server, ("", "v1", "namespaces"), object)?;
    }
    make_ranges(server, Timestamp::now())?;
    put(server, ("", "v1", "services"), service(server, advertise))?;
    let families = [("IPv4", true), ("IPv6", false)];
    for (family, is_v4) in families {
        let endpoints: Vec<&SocketAddr> = advertise
            .iter()
            // Nobody else could reach a loopback address, so it is no endpoint.
            .filter(|address| address.is_ipv4() == is_v4 && !address.ip().is_loopback())
            .collect();
        if !endpoints.is_empty() {
            let name = match family {
                "IPv4" => "kubernetes",
                _ => "kubernetes-ipv6",
            };
            let slice = slice(name, family, &endpoints);
            put(server, ("discovery.k8s.io", "v1", "endpointslices"), slice)?;
        }
    }
    if let Some(endpoints) = endpoints(advertise) {
        put(server, ("", "v1", "endpoints"), endpoints)?;
    }
    for object in rbac::defaults() {
        put_any(server, object)?;
    }
    for object in objects.map(read_list).transpose()?.unwrap_or_default() {
        put_any(server, object)?;
    }
    Ok(())
}

/// The objects of a `List` in a file.
fn read_list(path: &Path) -> Result<Vec<Value>, ServerError> {
    let what = "the first objects";
    let text = std::fs::read_to_string(path).map_err(|source| ServerError::Read {
        what,
        path: path.to_owned(),
        source,
    })?;
    let mut list: Value =
        serde_saphyr::from_str(&text).map_err(|problem| ServerError::Content {
            what,
            path: path.to_owned(),
            problem: problem.to_string(),
        })?;
    match list.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        _ => Err(ServerError::Content {
            what,
            path: path.to_owned(),
            problem: "it is not a List with items".to_owned(),
        }),
    }
}

/// Puts an object of whatever kind it says that it is.
fn put_any(server: &Server, value: Value) -> Result<(), ServerError> {
    let (version, kind) = (read::text(&value, "apiVersion"), read::text(&value, "kind"));
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let served = server.store.kinds();
    let found = (served.all())
        .find(|one| one.group == group && one.version == version && one.kind == kind)
        .ok_or_else(|| {
            ServerError::Config(format!(
                "a first object is of no kind that is served: {group}/{version}, Kind={kind}"
            ))
        })?;
    put(server, (found.group, found.version, found.plural), value)
}

/// The ServiceCIDR of the ranges that the server is started with.
pub(super) fn make_ranges(server: &Server, now: Timestamp) -> Result<(), ServerError> {
    let ranges = server.services.configured().into_iter();
    let ranges: Vec<String> = ranges.map(|range| range.to_string()).collect();
    let object = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": { "name": DEFAULT_RANGE },
        "spec": { "cidrs": ranges },
    });
    put_at(
        server,
        ("networking.k8s.io", "v1", "servicecidrs"),
        object,
        now,
    )
}

fn put(server: &Server, path: (&str, &str, &str), value: Value) -> Result<(), ServerError> {
    put_at(server, path, value, Timestamp::now())
}

fn put_at(
    server: &Server,
    (group, version, plural): (&str, &str, &str),
    value: Value,
    now: Timestamp,
) -> Result<(), ServerError> {
    let failed =
        |what: String| ServerError::Config(format!("the first {plural} cannot be made: {what}"));
    let kind = kinds::find(group, version, plural)
        .ok_or_else(|| failed("the kind is not served".to_owned()))?;
    let decoded = kind.decode(value).map_err(|error| failed(error.0))?;
    insert(server, kind, decoded.value, now, false)
        .map(|_| ())
        .map_err(|error| failed(error.message))
}

fn target_port(advertise: &[SocketAddr]) -> u16 {
    advertise.first().map_or(6443, SocketAddr::port)
}

fn service(server: &Server, advertise: &[SocketAddr]) -> Value {
    let address = server
        .services
        .first_address()
        .map_or_else(String::new, |address| address.to_string());
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": {
            "clusterIP": address,
            "ports": [{
                "name": "https",
                "port": 443,
                "protocol": "TCP",
                "targetPort": target_port(advertise),
            }],
        },
    })
}

fn slice(name: &str, family: &str, endpoints: &[&SocketAddr]) -> Value {
    let endpoints_json: Vec<Value> = endpoints
        .iter()
        .map(|address| {
            json!({ "addresses": [address.ip().to_string()], "conditions": { "ready": true } })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": { "kubernetes.io/service-name": "kubernetes" },
        },
        "addressType": family,
        "endpoints": endpoints_json,
        "ports": [{
            "name": "https",
            "port": endpoints.first().map_or(6443, |address| address.port()),
            "protocol": "TCP",
        }],
    })
}

/// The Endpoints of Service `default/kubernetes`, of the first family; its slices are there already.
fn endpoints(advertise: &[SocketAddr]) -> Option<Value> {
    let reachable = || advertise.iter().filter(|one| !one.ip().is_loopback());
    let first = reachable().next()?;
    let addresses: Vec<Value> = reachable()
        .filter(|one| one.is_ipv4() == first.is_ipv4())
        .map(|one| json!({ "ip": one.ip().to_string() }))
        .collect();
    Some(json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" },
        },
        "subsets": [{
            "addresses": addresses,
            "ports": [{ "name": "https", "port": first.port(), "protocol": "TCP" }],
        }],
    }))
}
