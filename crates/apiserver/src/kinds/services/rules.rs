//! Validation of Services: ports, addresses and what goes with which type.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::changes;
use crate::kinds::fault::{FieldError, one_of};
use crate::kinds::{metadata, names, read};

/// What every node's kubelet listens on.
const KUBELET_PORT: i64 = 10250;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

/// What is wrong with a Service.
pub(super) fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &new["spec"];
    let kind = read::text(spec, "type");
    one_of(&mut errors, "spec.type".to_owned(), kind, &TYPES);
    metadata::labels(&mut errors, "spec.selector", spec, "selector");
    affinity(&mut errors, spec);
    ports(&mut errors, spec, kind);
    cluster_addresses(&mut errors, spec, kind);
    families(&mut errors, spec, kind);
    policies(&mut errors, spec, kind);
    external(&mut errors, spec, kind);
    if let Some(old) = old {
        changes::check(&mut errors, spec, &old["spec"]);
    }
    errors
}

fn affinity(errors: &mut Vec<FieldError>, spec: &Value) {
    let affinity = read::text(spec, "sessionAffinity");
    one_of(
        errors,
        "spec.sessionAffinity".to_owned(),
        affinity,
        &["ClientIP", "None"],
    );
    let timeout = read::int(&spec["sessionAffinityConfig"]["clientIP"], "timeoutSeconds");
    if let Some(timeout) = timeout.filter(|timeout| !(1..=86400).contains(timeout)) {
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        let detail = "must be greater than 0 and less than 86400";
        errors.push(FieldError::invalid(field, &timeout.into(), detail));
    }
}

fn ports(errors: &mut Vec<FieldError>, spec: &Value, kind: &str) {
    let ports = read::list(spec, "ports");
    let headless = read::text(spec, "clusterIP") == "None";
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    let (mut names, mut pairs, mut nodes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let place = format!("spec.ports[{index}]");
        let name = read::text(port, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                errors.push(FieldError::required(format!("{place}.name"), ""));
            }
        } else {
            names::push_all(errors, &format!("{place}.name"), name, names::label(name));
            if !names.insert(name) {
                errors.push(FieldError::duplicate(format!("{place}.name"), &name.into()));
            }
        }
        let number = read::int(port, "port").unwrap_or_default();
        names::check_port_number(errors, format!("{place}.port"), number);
        let protocol = read::text(port, "protocol");
        one_of(
            errors,
            format!("{place}.protocol"),
            protocol,
            &["SCTP", "TCP", "UDP"],
        );
        if read::has(port, "targetPort") {
            names::check_port(errors, format!("{place}.targetPort"), &port["targetPort"]);
        }
        if !pairs.insert((number, protocol)) {
            errors.push(FieldError::duplicate(&place, port));
        }
        names::check_app_protocol(errors, &place, port);
        if kind == "LoadBalancer" && number == KUBELET_PORT {
            let detail = "may not expose port 10250 externally since it is used by kubelet";
            let field = format!("{place}.port");
            errors.push(FieldError::invalid(field, &number.into(), detail));
        }
        let node = read::int(port, "nodePort").unwrap_or_default();
        if node == 0 {
            continue;
        }
        if !matches!(kind, "NodePort" | "LoadBalancer") {
            let detail = format!("may not be used when `type` is '{kind}'");
            errors.push(FieldError::forbidden(format!("{place}.nodePort"), &detail));
        } else if let Some(fault) = names::port_number(node) {
            errors.push(FieldError::invalid(
                format!("{place}.nodePort"),
                &node.into(),
                fault,
            ));
        } else if !nodes.insert((node, protocol)) {
            errors.push(FieldError::duplicate(
                format!("{place}.nodePort"),
                &node.into(),
            ));
        }
    }
}

fn cluster_addresses(errors: &mut Vec<FieldError>, spec: &Value, kind: &str) {
    let field = "spec.clusterIPs";
    let (first, all) = (
        read::text(spec, "clusterIP"),
        read::texts(spec, "clusterIPs"),
    );
    if kind == "ExternalName" {
        if !first.is_empty() || !all.is_empty() {
            errors.push(FieldError::forbidden(
                field,
                "may not be set for ExternalName services",
            ));
        }
        return;
    }
    if first == "None" && kind != "ClusterIP" {
        let detail = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::bad_text("spec.clusterIPs[0]", first, &detail));
    }
    if all.is_empty() {
        if !first.is_empty() && first != "None" && names::address(first).is_none() {
            errors.push(FieldError::bad_text(
                "spec.clusterIP",
                first,
                names::ADDRESS,
            ));
        }
        return;
    }
    if all[0] != first {
        let detail = "first value must match `clusterIP`";
        errors.push(FieldError::invalid(field, &spec["clusterIPs"], detail));
    }
    if all.contains(&"None") {
        if all.len() > 1 {
            let detail = "'None' must be the first and only value";
            errors.push(FieldError::bad_text("spec.clusterIPs[0]", "None", detail));
        }
        return;
    }
    for (index, address) in all.iter().enumerate() {
        if names::address(address).is_none() {
            errors.push(FieldError::bad_text(
                format!("{field}[{index}]"),
                address,
                names::ADDRESS,
            ));
        }
    }
    if all.len() > 2 {
        let detail = "may only hold up to 2 values";
        errors.push(FieldError::invalid(field, &spec["clusterIPs"], detail));
    }
    let parsed: Vec<IpAddr> = all
        .iter()
        .filter_map(|address| names::address(address))
        .collect();
    if let [a, b] = parsed[..]
        && a.is_ipv4() == b.is_ipv4()
    {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(field, &spec["clusterIPs"], detail));
    }
}

fn families(errors: &mut Vec<FieldError>, spec: &Value, kind: &str) {
    if kind == "ExternalName" {
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if read::has(spec, field) && !read::list(spec, field).is_empty()
                || !read::text(spec, field).is_empty()
            {
                let detail = "may not be set for ExternalName services";
                errors.push(FieldError::forbidden(format!("spec.{field}"), detail));
            }
        }
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, family) in read::texts(spec, "ipFamilies").into_iter().enumerate() {
        let field = format!("spec.ipFamilies[{index}]");
        if !seen.insert(family) {
            errors.push(FieldError::duplicate(&field, &family.into()));
        }
        one_of(errors, field, family, &["IPv4", "IPv6"]);
    }
    optional(
        errors,
        spec,
        "ipFamilyPolicy",
        &["SingleStack", "PreferDualStack", "RequireDualStack"],
    );
}

fn optional(errors: &mut Vec<FieldError>, spec: &Value, field: &str, known: &[&str]) {
    let value = read::text(spec, field);
    if !value.is_empty() {
        one_of(errors, format!("spec.{field}"), value, known);
    }
}

fn policies(errors: &mut Vec<FieldError>, spec: &Value, kind: &str) {
    optional(errors, spec, "internalTrafficPolicy", &["Cluster", "Local"]);
    optional(errors, spec, "externalTrafficPolicy", &["Cluster", "Local"]);
    optional(
        errors,
        spec,
        "trafficDistribution",
        &["PreferClose", "PreferSameZone", "PreferSameNode"],
    );
    let outside = matches!(kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && !read::list(spec, "externalIPs").is_empty());
    if read::has(spec, "externalTrafficPolicy") && !outside {
        let policy = read::text(spec, "externalTrafficPolicy");
        let detail = "may only be set for externally-accessible services";
        errors.push(FieldError::bad_text(
            "spec.externalTrafficPolicy",
            policy,
            detail,
        ));
    }
    let local = kind == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local";
    let check = read::int(spec, "healthCheckNodePort").unwrap_or_default();
    if check != 0 && !local {
        let detail =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid(
            "spec.healthCheckNodePort",
            &check.into(),
            detail,
        ));
    }
    for (field, detail) in [
        (
            "allocateLoadBalancerNodePorts",
            "may only be used when `type` is 'LoadBalancer'",
        ),
        (
            "loadBalancerClass",
            "may only be used when `type` is 'LoadBalancer'",
        ),
    ] {
        if read::has(spec, field) && kind != "LoadBalancer" {
            errors.push(FieldError::forbidden(format!("spec.{field}"), detail));
        }
    }
    if let Some(class) = spec.get("loadBalancerClass").and_then(Value::as_str) {
        let faults = names::qualified(class);
        names::push_all(errors, "spec.loadBalancerClass", class, faults);
    }
}

fn external(errors: &mut Vec<FieldError>, spec: &Value, kind: &str) {
    let name = read::text(spec, "externalName");
    let name = name.strip_suffix('.').unwrap_or(name);
    if kind == "ExternalName" {
        if name.is_empty() {
            errors.push(FieldError::required("spec.externalName", ""));
        } else {
            names::push_all(errors, "spec.externalName", name, names::subdomain(name));
        }
    }
    for (index, address) in read::texts(spec, "externalIPs").into_iter().enumerate() {
        let fault = match names::address(address) {
            None => Some(names::ADDRESS),
            Some(ip) => names::special_address(ip),
        };
        if let Some(fault) = fault {
            let field = format!("spec.externalIPs[{index}]");
            errors.push(FieldError::bad_text(field, address, fault));
        }
    }
    let ranges = read::texts(spec, "loadBalancerSourceRanges");
    if !ranges.is_empty() && kind != "LoadBalancer" {
        let detail = "may only be used when `type` is 'LoadBalancer'";
        errors.push(FieldError::forbidden(
            "spec.loadBalancerSourceRanges",
            detail,
        ));
    }
    for (index, range) in ranges.into_iter().enumerate() {
        if range.trim().parse::<IpNet>().is_err() {
            errors.push(FieldError::bad_text(
                format!("spec.loadBalancerSourceRanges[{index}]"),
                range,
                names::CIDR,
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::{fields, merged};

    fn good() -> Value {
        json!({"spec": {"type": "ClusterIP", "sessionAffinity": "None", "ports": [{"port": 80, "protocol": "TCP"}]}})
    }

    fn check(cases: impl IntoIterator<Item = (Value, Vec<&'static str>)>) {
        for (change, expected) in cases {
            let errors = validate(&merged(&good(), &json!({"spec": change})), None);
            assert_eq!(fields(&errors), expected, "{change}");
        }
    }

    #[test]
    fn ports_and_addresses_are_checked() {
        check([
            (json!({}), vec![]),
            (json!({"type": "Other"}), vec!["spec.type"]),
            (json!({"ports": null}), vec!["spec.ports"]),
            (json!({"ports": null, "clusterIP": "None"}), vec![]),
            (
                json!({"ports": [{"port": 0, "protocol": "ICMP"}]}),
                vec!["spec.ports[0].port", "spec.ports[0].protocol"],
            ),
            (
                json!({"ports": [{"port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "TCP", "name": "a"}]}),
                vec!["spec.ports[0].name", "spec.ports[1]"],
            ),
            (
                json!({"ports": [{"port": 53, "protocol": "TCP", "name": "a"}, {"port": 53, "protocol": "UDP", "name": "b"}]}),
                vec![],
            ),
            (
                json!({"ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000}]}),
                vec!["spec.ports[0].nodePort"],
            ),
            (
                json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": "x--y"}]}),
                vec!["spec.ports[0].targetPort"],
            ),
            (json!({"clusterIP": "x"}), vec!["spec.clusterIP"]),
            (
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}),
                vec![],
            ),
            (
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2"]}),
                vec!["spec.clusterIPs"],
            ),
            (
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "10.0.0.2"]}),
                vec!["spec.clusterIPs"],
            ),
            (
                json!({"clusterIP": "None", "type": "NodePort"}),
                vec!["spec.clusterIPs[0]"],
            ),
            (
                json!({"type": "ExternalName", "ports": null}),
                vec!["spec.externalName"],
            ),
            (
                json!({"type": "ExternalName", "externalName": "a.b.", "clusterIP": "10.0.0.1"}),
                vec!["spec.clusterIPs"],
            ),
        ]);
    }

    #[test]
    fn what_goes_with_a_type_is_checked() {
        check([
            (
                json!({"externalTrafficPolicy": "Local"}),
                vec!["spec.externalTrafficPolicy"],
            ),
            (
                json!({"sessionAffinity": "Cookie"}),
                vec!["spec.sessionAffinity"],
            ),
            (
                json!({"externalIPs": ["127.0.0.1", "1.2.3.4", "x"]}),
                vec!["spec.externalIPs[0]", "spec.externalIPs[2]"],
            ),
            (
                json!({"loadBalancerSourceRanges": ["10.0.0.0/8"]}),
                vec!["spec.loadBalancerSourceRanges"],
            ),
            (
                json!({"externalIPs": ["169.254.1.1", "fe80::1", "224.0.0.1"]}),
                vec![
                    "spec.externalIPs[0]",
                    "spec.externalIPs[1]",
                    "spec.externalIPs[2]",
                ],
            ),
            (
                json!({"type": "LoadBalancer", "loadBalancerClass": "a/b/c"}),
                vec!["spec.loadBalancerClass"],
            ),
            (
                json!({"loadBalancerClass": "a", "allocateLoadBalancerNodePorts": false}),
                vec![
                    "spec.allocateLoadBalancerNodePorts",
                    "spec.loadBalancerClass",
                ],
            ),
            (
                json!({"type": "LoadBalancer", "ports": [{"port": 10250, "protocol": "TCP"}]}),
                vec!["spec.ports[0].port"],
            ),
            (
                json!({"ports": [{"port": 80, "protocol": "TCP", "appProtocol": "a/b/c"}]}),
                vec!["spec.ports[0].appProtocol"],
            ),
            (
                json!({"type": "LoadBalancer", "loadBalancerSourceRanges": [" 10.0.0.0/8", "x"]}),
                vec!["spec.loadBalancerSourceRanges[1]"],
            ),
            (
                json!({"type": "ExternalName", "externalName": "a.b..", "ipFamilyPolicy": "SingleStack"}),
                vec!["spec.ipFamilyPolicy", "spec.externalName"],
            ),
            (
                json!({"type": "NodePort", "healthCheckNodePort": 30000,
                    "externalTrafficPolicy": "Local"}),
                vec!["spec.healthCheckNodePort"],
            ),
            (
                json!({"sessionAffinity": "ClientIP",
                    "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}),
                vec!["spec.sessionAffinityConfig.clientIP.timeoutSeconds"],
            ),
            (
                json!({"internalTrafficPolicy": "Other", "trafficDistribution": "Far"}),
                vec!["spec.internalTrafficPolicy", "spec.trafficDistribution"],
            ),
            (
                json!({"ipFamilies": ["IPv4", "IPv4"]}),
                vec!["spec.ipFamilies[1]"],
            ),
        ]);
    }
}
