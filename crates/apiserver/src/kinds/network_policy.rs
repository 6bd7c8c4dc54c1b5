//! NetworkPolicies: which directions they speak of, and whom they name.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};

use super::fault::{FieldError, one_of};
use super::{Kind, any_status, keep_nothing, names, nothing, read, selector};
use crate::decode::typed;
use crate::table;

/// networking.k8s.io/v1 NetworkPolicy.
pub(super) const NETWORK_POLICY: Kind = Kind {
    group: "networking.k8s.io",
    version: "v1",
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    categories: &[],
    namespaced: true,
    has_status: false,
    has_scale: false,
    bumps_generation: true,
    custom: None,
    columns: table::network::NETWORK_POLICY,
    decode: typed::<NetworkPolicy>,
    default,
    validate,
    selectable: &[],
    on_create: nothing,
    on_update: keep_nothing,
    on_status: keep_nothing,
    validate_status: any_status,
};

const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

fn default(policy: &mut Value) {
    let Some(spec) = policy.get_mut("spec").filter(|spec| spec.is_object()) else {
        return;
    };
    for (direction, _) in DIRECTIONS {
        for rule in read::list_mut(spec, direction) {
            for port in read::list_mut(rule, "ports") {
                read::default(port, "protocol", "TCP");
            }
        }
    }
    read::default(spec, "podSelector", json!({}));
    if read::list(spec, "policyTypes").is_empty() {
        let egress = !read::list(spec, "egress").is_empty();
        let types = if egress {
            json!(["Ingress", "Egress"])
        } else {
            json!(["Ingress"])
        };
        read::put(spec, "policyTypes", types);
    }
}

fn validate(new: &Value, _: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &new["spec"];
    selector::validate(&mut errors, "spec.podSelector", &spec["podSelector"]);
    for (direction, peers) in DIRECTIONS {
        for (index, rule) in read::list(spec, direction).iter().enumerate() {
            let place = format!("spec.{direction}[{index}]");
            for (at, one) in read::list(rule, "ports").iter().enumerate() {
                port(&mut errors, &format!("{place}.ports[{at}]"), one);
            }
            for (at, one) in read::list(rule, peers).iter().enumerate() {
                peer(&mut errors, &format!("{place}.{peers}[{at}]"), one);
            }
        }
    }
    let types = read::texts(spec, "policyTypes");
    if types.len() > 2 {
        let detail = "may not specify more than two policyTypes";
        errors.push(FieldError::invalid(
            "spec.policyTypes",
            &spec["policyTypes"],
            detail,
        ));
        return errors;
    }
    for (index, kind) in types.into_iter().enumerate() {
        one_of(
            &mut errors,
            format!("spec.policyTypes[{index}]"),
            kind,
            &["Egress", "Ingress"],
        );
    }
    errors
}

fn port(errors: &mut Vec<FieldError>, place: &str, port: &Value) {
    one_of(
        errors,
        format!("{place}.protocol"),
        read::text(port, "protocol"),
        &["SCTP", "TCP", "UDP"],
    );
    if read::has(port, "port") {
        names::check_port(errors, format!("{place}.port"), &port["port"]);
    }
    let Some(end) = read::int(port, "endPort") else {
        return;
    };
    let field = format!("{place}.endPort");
    match read::int(port, "port") {
        None => {
            let detail = if read::has(port, "port") {
                "may not be specified when `port` is non-numeric"
            } else {
                "may not be specified when `port` is not specified"
            };
            errors.push(FieldError::forbidden(field, detail));
        }
        Some(start) if end < start => {
            let detail = "must be greater than or equal to `port`";
            errors.push(FieldError::invalid(field, &end.into(), detail));
        }
        Some(_) => {
            if let Some(fault) = names::port_number(end) {
                errors.push(FieldError::invalid(field, &end.into(), fault));
            }
        }
    }
}

fn peer(errors: &mut Vec<FieldError>, place: &str, peer: &Value) {
    let mut given = 0;
    for name in ["podSelector", "namespaceSelector"] {
        if read::has(peer, name) {
            given += 1;
            selector::validate(errors, &format!("{place}.{name}"), &peer[name]);
        }
    }
    if read::has(peer, "ipBlock") {
        block(errors, &format!("{place}.ipBlock"), &peer["ipBlock"]);
        if given > 0 {
            let detail = "may not specify both ipBlock and another peer";
            errors.push(FieldError::forbidden(place, detail));
        }
    } else if given == 0 {
        errors.push(FieldError::required(place, "must specify a peer"));
    }
}

fn block(errors: &mut Vec<FieldError>, place: &str, block: &Value) {
    let cidr = read::text(block, "cidr");
    if cidr.is_empty() {
        errors.push(FieldError::required(format!("{place}.cidr"), ""));
        return;
    }
    let Ok(whole) = cidr.parse::<IpNet>() else {
        errors.push(FieldError::bad_text(
            format!("{place}.cidr"),
            cidr,
            names::CIDR,
        ));
        return;
    };
    for (index, except) in read::texts(block, "except").into_iter().enumerate() {
        let field = format!("{place}.except[{index}]");
        match except.parse::<IpNet>() {
            Err(_) => errors.push(FieldError::bad_text(field, except, names::CIDR)),
            Ok(part) if !whole.contains(&part) || part.prefix_len() <= whole.prefix_len() => {
                errors.push(FieldError::bad_text(
                    field,
                    except,
                    "must be a strict subset of `cidr`",
                ));
            }
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::samples::fields;

    #[test]
    fn the_directions_follow_from_the_rules() {
        for (spec, expected) in [
            (json!({}), json!(["Ingress"])),
            (json!({"ingress": [{}]}), json!(["Ingress"])),
            (json!({"egress": [{}]}), json!(["Ingress", "Egress"])),
            (
                json!({"egress": [{}], "policyTypes": ["Egress"]}),
                json!(["Egress"]),
            ),
        ] {
            let mut policy = json!({"spec": spec});
            default(&mut policy);
            assert_eq!(policy["spec"]["policyTypes"], expected, "{spec}");
        }
    }

    #[test]
    fn peers_and_ports_are_checked() {
        let from = |peer: Value| json!({"ingress": [{"from": [peer]}]});
        let port = |port: Value| json!({"egress": [{"ports": [port]}]});
        let cases = [
            (from(json!({"podSelector": {}})), vec![]),
            (from(json!({})), vec!["spec.ingress[0].from[0]"]),
            (
                from(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}})),
                vec![],
            ),
            (
                from(
                    json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16", "10.0.0.0/8", "x"]}}),
                ),
                vec![
                    "spec.ingress[0].from[0].ipBlock.except[0]",
                    "spec.ingress[0].from[0].ipBlock.except[1]",
                    "spec.ingress[0].from[0].ipBlock.except[2]",
                ],
            ),
            (
                from(json!({"ipBlock": {"cidr": "10.0.0.0"}})),
                vec!["spec.ingress[0].from[0].ipBlock.cidr"],
            ),
            (
                from(json!({"ipBlock": {"cidr": "fd00::/8"}, "podSelector": {}})),
                vec!["spec.ingress[0].from[0]"],
            ),
            (port(json!({"port": "web"})), vec![]),
            (port(json!({"port": 80, "endPort": 90})), vec![]),
            (
                port(json!({"port": 80, "endPort": 70})),
                vec!["spec.egress[0].ports[0].endPort"],
            ),
            (
                port(json!({"port": "web", "endPort": 70})),
                vec!["spec.egress[0].ports[0].endPort"],
            ),
            (
                port(json!({"endPort": 70})),
                vec!["spec.egress[0].ports[0].endPort"],
            ),
            (
                port(json!({"port": 80, "protocol": "ICMP"})),
                vec!["spec.egress[0].ports[0].protocol"],
            ),
            (json!({"policyTypes": ["In"]}), vec!["spec.policyTypes[0]"]),
        ];
        for (spec, expected) in cases {
            let mut policy = json!({"spec": spec});
            default(&mut policy);
            assert_eq!(fields(&validate(&policy, None)), expected, "{spec}");
        }
    }
}
