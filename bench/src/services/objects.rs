//! The Services that an agent is told of: plain data as planning has it, and as the API tells it,
//! of the size that real objects have.
//!
//! Object `i` is the same in every run. Nothing here talks to anybody.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use seaway_model::{
    Endpoint, EndpointSlice, Family, Node, NodeName, PodName, Protocol, Service, ServiceKind,
    ServiceName, ServicePort, SliceName, SlicePort, TrafficPolicy,
};
use serde_json::{Value, json};

/// The agent's own node.
pub(super) const OWN: usize = 0;
/// Nodes in all.
pub(super) const NODES: usize = 10;
/// Where Services are reached.
pub(super) const PORT: u16 = 80;
/// Where their endpoints are.
pub(super) const TARGET_PORT: u16 = 8080;
/// What cluster addresses come from.
pub(super) const SERVICE_CIDR: &str = "10.96.0.0/12";

/// How many Services, and endpoints of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    /// Services.
    pub(super) services: usize,
    /// Endpoints of each.
    pub(super) endpoints: usize,
}

/// A node's name.
pub(super) fn node_name(i: usize) -> String {
    format!("worker-{i}")
}

/// A node's address, and the network that all nodes share.
pub(super) fn node_net(i: usize) -> IpNet {
    let last = u8::try_from(i + 1).expect("ten nodes");
    let net = Ipv4Net::new(Ipv4Addr::new(172, 20, 0, last), 16);
    net.expect("a prefix length of its family").into()
}

/// A node's pod CIDR.
pub(super) fn pod_net(i: usize) -> IpNet {
    let part = u8::try_from(64 + i).expect("ten nodes");
    let net = Ipv4Net::new(Ipv4Addr::new(10, part, 0, 0), 16);
    net.expect("a prefix length of its family").into()
}

/// The cluster address of a Service.
pub(super) fn cluster_ip(i: usize) -> Ipv4Addr {
    after(Ipv4Addr::new(10, 96, 1, 0), i)
}

/// Where an endpoint is: spread over all nodes but the agent's own.
pub(super) fn endpoint(scale: Scale, i: usize, j: usize) -> (Ipv4Addr, usize) {
    let number = i * scale.endpoints + j;
    let (node, host) = (1 + number % (NODES - 1), number / (NODES - 1));
    let part = u8::try_from(64 + node).expect("ten nodes");
    (after(Ipv4Addr::new(10, part, 0, 2), host), node)
}

/// The address of the `n`-th endpoint that comes later: nobody had it before. All are of the last
/// node, and none is one of [`endpoint`]'s.
pub(super) fn newcomer(n: usize) -> Ipv4Addr {
    after(Ipv4Addr::new(10, 64 + (NODES - 1) as u8, 128, 0), n)
}

fn after(first: Ipv4Addr, n: usize) -> Ipv4Addr {
    let number = u32::try_from(n).expect("far fewer objects than addresses");
    Ipv4Addr::from(u32::from(first) + number)
}

/// The endpoints of a Service as they are at first.
pub(super) fn endpoints(scale: Scale, i: usize) -> Vec<(Ipv4Addr, usize)> {
    (0..scale.endpoints)
        .map(|j| endpoint(scale, i, j))
        .collect()
}

/// The same with a newcomer in the place of the first.
pub(super) fn changed(scale: Scale, i: usize, n: usize) -> Vec<(Ipv4Addr, usize)> {
    let mut all = endpoints(scale, i);
    if let Some(first) = all.first_mut() {
        *first = (newcomer(n), NODES - 1);
    }
    all
}

fn name(i: usize) -> String {
    format!("service-{i:06}")
}

fn namespace(i: usize) -> String {
    format!("team-{:03}", i % 100)
}

/// A node as planning has it.
pub(super) fn node(i: usize) -> Node {
    Node {
        name: NodeName::new(node_name(i)).expect("letters and digits"),
        addresses: vec![node_net(i).addr()],
        pod_cidrs: vec![pod_net(i)],
        transport: None,
        zone: None,
        leaving: false,
    }
}

/// A Service as planning has it.
pub(super) fn service(i: usize) -> Service {
    Service {
        name: ServiceName::new(&namespace(i), &name(i)).expect("letters and digits"),
        created: 1_700_000_000,
        kind: ServiceKind::ClusterIp,
        cluster_ips: vec![cluster_ip(i).into()],
        ports: vec![ServicePort {
            name: "http".to_owned(),
            protocol: Protocol::Tcp,
            port: PORT,
            node_port: None,
        }],
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        affinity: None,
        health_port: None,
        publish_not_ready: false,
        foreign: false,
    }
}

/// A slice as planning has it.
pub(super) fn slice(i: usize, endpoints: &[(Ipv4Addr, usize)]) -> EndpointSlice {
    let endpoint = |(address, node): &(Ipv4Addr, usize)| Endpoint {
        address: IpAddr::V4(*address),
        ready: true,
        serving: true,
        terminating: false,
        node: NodeName::new(node_name(*node)).ok(),
        pod: PodName::new(&namespace(i), &pod(i, *address)).ok(),
        hostname: None,
        for_zones: Vec::new(),
        for_nodes: Vec::new(),
    };
    EndpointSlice {
        name: SliceName::new(&namespace(i), &slice_name(i)).expect("letters and digits"),
        service: ServiceName::new(&namespace(i), &name(i)).expect("letters and digits"),
        family: Family::V4,
        ports: vec![SlicePort {
            name: "http".to_owned(),
            protocol: Protocol::Tcp,
            port: Some(TARGET_PORT),
        }],
        endpoints: endpoints.iter().map(endpoint).collect(),
    }
}

fn slice_name(i: usize) -> String {
    format!("{}-x7k2p", name(i))
}

fn pod(i: usize, address: Ipv4Addr) -> String {
    format!("{}-{:08x}", name(i), u32::from(address))
}

/// A Node as the API tells it, with what an agent reads of it.
pub(super) fn node_manifest(i: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node_name(i), "uid": uid("node", i), "resourceVersion": "1",
            "labels": {"kubernetes.io/hostname": node_name(i), "kubernetes.io/os": "linux"}},
        "spec": {"podCIDR": pod_net(i), "podCIDRs": [pod_net(i)]},
        "status": {"addresses": [
            {"type": "InternalIP", "address": node_net(i).addr()},
            {"type": "Hostname", "address": node_name(i)},
        ]},
    })
}

/// A Service as the API tells it.
pub(super) fn service_manifest(i: usize) -> Value {
    let (name, ip) = (name(i), cluster_ip(i));
    let labels = json!({"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop",
        "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "component-4.17.0"});
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name, "namespace": namespace(i), "uid": uid("service", i),
            "resourceVersion": "1", "creationTimestamp": "2026-11-01T09:00:00Z", "labels": labels,
            "annotations": {"meta.helm.sh/release-name": name,
                "meta.helm.sh/release-namespace": namespace(i)},
            "managedFields": managed("helm", "f:ports"),
        },
        "spec": {
            "clusterIP": ip, "clusterIPs": [ip], "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "http", "port": PORT, "protocol": "TCP", "targetPort": "http"}],
            "selector": {"app.kubernetes.io/name": name}, "sessionAffinity": "None",
            "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    })
}

/// A slice as the API tells it, of this version, its endpoints listening on `port`.
pub(super) fn slice_manifest(
    i: usize,
    endpoints: &[(Ipv4Addr, usize)],
    port: u16,
    version: u64,
) -> Value {
    let (owner, namespace) = (name(i), namespace(i));
    let endpoint = |(address, node): &(Ipv4Addr, usize)| {
        json!({
            "addresses": [address],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": node_name(*node),
            "targetRef": {"kind": "Pod", "name": pod(i, *address), "namespace": namespace,
                "uid": uid("pod", u32::from(*address) as usize)},
            "zone": format!("north-{}", node % 3),
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "metadata": {
            "name": slice_name(i), "namespace": namespace, "uid": uid("slice", i),
            "resourceVersion": version.to_string(), "generateName": format!("{owner}-"),
            "creationTimestamp": "2026-11-01T09:00:00Z", "generation": version,
            "labels": {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": owner, "app.kubernetes.io/name": owner},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": owner,
                "uid": uid("service", i), "controller": true, "blockOwnerDeletion": true}],
            "managedFields": managed("kube-controller-manager", "f:endpoints"),
        },
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    })
}

fn managed(manager: &str, field: &str) -> Value {
    json!([{"apiVersion": "v1", "fieldsType": "FieldsV1", "manager": manager,
        "operation": "Update", "time": "2026-11-01T09:00:00Z",
        "fieldsV1": {field: {}, "f:metadata": {"f:labels": {".": {},
            "f:app.kubernetes.io/name": {}, "f:app.kubernetes.io/part-of": {}}}}}])
}

fn uid(kind: &str, i: usize) -> String {
    let kind = kind.bytes().fold(0u32, |n, byte| {
        n.wrapping_mul(31).wrapping_add(u32::from(byte))
    });
    format!("{kind:08x}-0000-4000-8000-{i:012x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1 as core;
    use k8s_openapi::api::discovery::v1 as discovery;
    use std::collections::BTreeSet;

    #[test]
    fn endpoints_and_newcomers_have_addresses_of_their_own() {
        let scale = Scale {
            services: 5_000,
            endpoints: 50,
        };
        let all: BTreeSet<Ipv4Addr> = (0..scale.services)
            .flat_map(|i| endpoints(scale, i))
            .map(|(address, _)| address)
            .chain((0..20_000).map(newcomer))
            .collect();
        assert_eq!(all.len(), 250_000 + 20_000);
        let nets: Vec<IpNet> = (0..NODES).map(pod_net).collect();
        for address in &all {
            assert!(
                nets[1..]
                    .iter()
                    .any(|net| net.contains(&IpAddr::V4(*address)))
            );
        }
        let cidr: IpNet = SERVICE_CIDR.parse().expect("a network");
        assert!(cidr.contains(&IpAddr::V4(cluster_ip(99_999))));
    }

    #[test]
    fn manifests_say_what_the_model_says() {
        let scale = Scale {
            services: 8,
            endpoints: 3,
        };
        let service: core::Service =
            serde_json::from_value(service_manifest(7)).expect("a Service");
        let spec = service.spec.expect("a spec");
        let model = super::service(7);
        assert_eq!(spec.cluster_ip, Some(model.cluster_ips[0].to_string()));
        let all = changed(scale, 7, 0);
        let slice: discovery::EndpointSlice =
            serde_json::from_value(slice_manifest(7, &all, TARGET_PORT, 2)).expect("a slice");
        let model = super::slice(7, &all);
        let addresses: Vec<String> = model
            .endpoints
            .iter()
            .map(|e| e.address.to_string())
            .collect();
        let told: Vec<String> = slice
            .endpoints
            .iter()
            .flatten()
            .map(|e| e.addresses[0].clone())
            .collect();
        assert_eq!(told, addresses);
        assert_eq!(slice.metadata.name.as_deref(), Some(model.name.name()));
    }
}
