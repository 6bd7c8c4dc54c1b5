//! Services: defaults, and what an update keeps of the addresses and ports that were given out.
//!
//! Giving them out is the server's allocator; whether they are well-formed is `rules`, what may not
//! change is `changes`, and where a load balancer is reached is `status`.

mod changes;
mod rules;
mod status;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use self::rules::validate;
use super::{Kind, Selectable, keep_status, read};
use crate::decode::typed;
use crate::table;

/// How long a client is remembered when nobody says.
const AFFINITY_SECONDS: i64 = 10800;

/// core/v1 Service.
pub(super) const SERVICE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    namespaced: true,
    has_status: true,
    has_scale: false,
    bumps_generation: false,
    custom: None,
    columns: table::services::COLUMNS,
    decode: typed::<Service>,
    default,
    validate,
    selectable: &[
        Selectable {
            path: "spec.clusterIP",
            get: |service| read::text(&service["spec"], "clusterIP").to_owned(),
        },
        Selectable {
            path: "spec.type",
            get: |service| read::text(&service["spec"], "type").to_owned(),
        },
    ],
    on_create,
    on_update,
    on_status: status::on_status,
    validate_status: status::validate,
};

fn default(service: &mut Value) {
    let Some(spec) = service.get_mut("spec").filter(|spec| spec.is_object()) else {
        return;
    };
    read::default(spec, "type", "ClusterIP");
    read::default(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "ClientIP" {
        if let Some(config) = read::child(spec, "sessionAffinityConfig") {
            let client = config.entry("clientIP").or_insert(Value::Null);
            if client.is_null() {
                *client = json!({});
            }
            read::default(client, "timeoutSeconds", AFFINITY_SECONDS);
        }
    } else if let Some(fields) = spec.as_object_mut() {
        fields.remove("sessionAffinityConfig");
    }
    for port in read::list_mut(spec, "ports") {
        read::default(port, "protocol", "TCP");
        let number = read::int(port, "port").unwrap_or_default();
        if port["targetPort"] == 0 {
            read::put(port, "targetPort", number);
        }
        read::default(port, "targetPort", number);
    }
    let kind = read::text(spec, "type").to_owned();
    let outside = match kind.as_str() {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !read::list(spec, "externalIPs").is_empty(),
        _ => false,
    };
    if outside {
        read::default(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind != "ExternalName" {
        read::default(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        read::default(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn on_create(service: &mut Value) {
    if let Some(fields) = service.as_object_mut() {
        fields.insert("status".to_owned(), json!({"loadBalancer": {}}));
    }
}

fn on_update(new: &mut Value, old: &Value) {
    keep_status(new, old);
    status::forget_balancer(new);
    let was = &old["spec"];
    let Some(spec) = new.get_mut("spec").filter(|spec| spec.is_object()) else {
        return;
    };
    keep_addresses(spec, was);
    if node_ports(spec) && node_ports(was) {
        keep_node_ports(spec, was);
    } else if exposed(was) && !exposed(spec) {
        drop_node_ports(spec, was);
    }
    drop_balancer_fields(spec, was);
    keep_traffic_policy(spec, was);
}

fn addressed(spec: &Value) -> bool {
    matches!(
        read::text(spec, "type"),
        "ClusterIP" | "NodePort" | "LoadBalancer"
    )
}

/// Whether ports of nodes may lead to the Service.
fn exposed(spec: &Value) -> bool {
    matches!(read::text(spec, "type"), "NodePort" | "LoadBalancer")
}

/// Whether ports of nodes are given to the Service. One that had them before keeps them until it
/// leaves them out.
fn node_ports(spec: &Value) -> bool {
    match read::text(spec, "type") {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// Addresses that an update does not name stay; a Service that becomes a name gives them up.
fn keep_addresses(spec: &mut Value, was: &Value) {
    let fields = ["clusterIP", "clusterIPs"];
    if addressed(spec) && addressed(was) {
        if read::text(spec, "clusterIP").is_empty() && read::list(spec, "clusterIPs").is_empty() {
            read::copy(spec, was, "clusterIP");
        }
        if read::list(spec, "clusterIPs").is_empty() && spec["clusterIP"] == was["clusterIP"] {
            read::copy(spec, was, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if !read::has(spec, field) {
                read::copy(spec, was, field);
            }
        }
    } else if addressed(was) && fields.iter().all(|field| spec.get(field) == was.get(field)) {
        let fields = [
            "clusterIP",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "internalTrafficPolicy",
        ];
        if let Some(spec) = spec.as_object_mut() {
            for field in fields {
                spec.remove(field);
            }
        }
    }
}

/// A port of the same name keeps its node port, unless the update gives that to another port.
fn keep_node_ports(spec: &mut Value, was: &Value) {
    let given = |spec: &Value| -> BTreeSet<i64> {
        let numbers = read::list(spec, "ports")
            .iter()
            .filter_map(|port| read::int(port, "nodePort"));
        numbers.filter(|number| *number != 0).collect()
    };
    let mut used: BTreeSet<i64> = &given(spec) & &given(was);
    let before: BTreeMap<&str, i64> = read::list(was, "ports")
        .iter()
        .filter_map(|port| Some((read::text(port, "name"), read::int(port, "nodePort")?)))
        .collect();
    for port in read::list_mut(spec, "ports") {
        if read::int(port, "nodePort").unwrap_or_default() != 0 {
            continue;
        }
        let before = before.get(read::text(port, "name")).copied();
        if let Some(number) = before.filter(|number| used.insert(*number)) {
            read::put(port, "nodePort", number);
        }
    }
}

/// A Service that needs no node ports any more gives up those that it carries along.
fn drop_node_ports(spec: &mut Value, was: &Value) {
    let before: BTreeSet<i64> = read::list(was, "ports")
        .iter()
        .filter_map(|port| read::int(port, "nodePort"))
        .collect();
    for port in read::list_mut(spec, "ports") {
        let carried = read::int(port, "nodePort").is_some_and(|number| before.contains(&number));
        if let Some(fields) = port.as_object_mut().filter(|_| carried) {
            fields.remove("nodePort");
        }
    }
}

/// What is only for load balancers goes with the type, if it is carried along.
fn drop_balancer_fields(spec: &mut Value, was: &Value) {
    let balanced = |spec: &Value| read::text(spec, "type") == "LoadBalancer";
    if !balanced(was) || balanced(spec) {
        return;
    }
    for name in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if let Some(fields) = spec.as_object_mut()
            && fields.get(name) == was.get(name)
        {
            fields.remove(name);
        }
    }
}

/// What is only for Services that are reached from outside goes with that, if it is carried along.
fn keep_traffic_policy(spec: &mut Value, was: &Value) {
    let outside = exposed(spec) || !read::list(spec, "externalIPs").is_empty();
    if let Some(fields) = spec.as_object_mut()
        && !outside
    {
        for name in ["externalTrafficPolicy", "healthCheckNodePort"] {
            if fields.get(name) == was.get(name) {
                fields.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_gets_what_kubernetes_gives_it() {
        let mut service =
            json!({"spec": {"ports": [{"port": 80}, {"port": 81, "targetPort": "web"}]}});
        default(&mut service);
        assert_eq!(
            service["spec"],
            json!({
                "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}, {"port": 81, "protocol": "TCP", "targetPort": "web"}],
            })
        );
        let mut balanced = json!({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP"}});
        default(&mut balanced);
        assert_eq!(balanced["spec"]["externalTrafficPolicy"], "Cluster");
        assert_eq!(balanced["spec"]["allocateLoadBalancerNodePorts"], true);
        assert_eq!(
            balanced["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"],
            10800
        );
        for config in [
            json!(null),
            json!({}),
            json!({"clientIP": null}),
            json!({"clientIP": {}}),
        ] {
            let mut part =
                json!({"spec": {"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}});
            default(&mut part);
            let filled = &part["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
            assert_eq!(filled, 10800);
        }
        let mut named = json!({"spec": {"type": "ExternalName", "externalName": "a.b"}});
        default(&mut named);
        assert_eq!(named["spec"].get("internalTrafficPolicy"), None);
    }

    #[test]
    fn an_update_keeps_addresses_and_node_ports_that_it_does_not_name() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ports": [{"name": "a", "port": 80, "nodePort": 30000}, {"name": "b", "port": 81, "nodePort": 30001}]}});
        let mut new = json!({"spec": {"type": "NodePort", "ports": [
            {"name": "a", "port": 90}, {"name": "c", "port": 81, "nodePort": 30001}, {"name": "b", "port": 82}]}});
        on_update(&mut new, &old);
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.0.0.1"]));
        let ports: Vec<_> = read::list(&new["spec"], "ports")
            .iter()
            .map(|port| read::int(port, "nodePort"))
            .collect();
        assert_eq!(ports, [Some(30000), Some(30001), None]);
    }

    #[test]
    fn s21_node_ports_stay_until_they_are_left_out() {
        let port = json!({"port": 80, "protocol": "TCP", "nodePort": 30000});
        let old = json!({"spec": {"type": "LoadBalancer", "ports": [port]}});
        let mut new = old.clone();
        new["spec"]["allocateLoadBalancerNodePorts"] = false.into();
        on_update(&mut new, &old);
        assert_eq!(new["spec"]["ports"], json!([port]), "carried along");
        read::list_mut(&mut new["spec"], "ports")[0] = json!({"port": 80, "protocol": "TCP"});
        on_update(&mut new, &old);
        assert_eq!(new["spec"]["ports"][0].get("nodePort"), None, "left out");
    }

    #[test]
    fn s37_what_is_for_load_balancers_goes_with_the_type() {
        let old = json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "a",
            "allocateLoadBalancerNodePorts": true, "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30001, "ports": [{"port": 80, "nodePort": 30000}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
        let mut new = old.clone();
        new["spec"]["type"] = "ClusterIP".into();
        on_update(&mut new, &old);
        let bare = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]},
            "status": {"loadBalancer": {}}});
        assert_eq!(new, bare);
    }

    #[test]
    fn a_service_gives_up_what_its_new_type_has_not() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "externalTrafficPolicy": "Cluster", "ports": [{"port": 80, "nodePort": 30000}]}});
        let mut new = old.clone();
        new["spec"]["type"] = "ClusterIP".into();
        on_update(&mut new, &old);
        assert_eq!(
            new["spec"],
            json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ports": [{"port": 80}]})
        );
        let mut new = old.clone();
        new["spec"]["type"] = "ExternalName".into();
        on_update(&mut new, &old);
        assert_eq!(
            new["spec"],
            json!({"type": "ExternalName", "ports": [{"port": 80}]})
        );
    }
}
