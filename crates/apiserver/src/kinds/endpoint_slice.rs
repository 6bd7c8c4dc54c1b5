//! EndpointSlices: addresses are of the slice's type, and few enough.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;

use super::fault::{FieldError, immutable, one_of};
use super::{Kind, any_status, keep_nothing, names, nothing, read};
use crate::decode::typed;
use crate::table;

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_HINTS: usize = 8;

/// discovery.k8s.io/v1 EndpointSlice.
pub(super) const ENDPOINT_SLICE: Kind = Kind {
    group: "discovery.k8s.io",
    version: "v1",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    short_names: &[],
    categories: &[],
    namespaced: true,
    has_status: false,
    has_scale: false,
    bumps_generation: true,
    custom: None,
    columns: table::network::ENDPOINT_SLICE,
    decode: typed::<EndpointSlice>,
    default,
    validate,
    selectable: &[],
    on_create: nothing,
    on_update: keep_nothing,
    on_status: keep_nothing,
    validate_status: any_status,
};

fn default(slice: &mut Value) {
    for port in read::list_mut(slice, "ports") {
        read::default(port, "name", "");
        read::default(port, "protocol", "TCP");
    }
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let family = read::text(new, "addressType");
    one_of(
        &mut errors,
        "addressType".to_owned(),
        family,
        &["IPv4", "IPv6", "FQDN"],
    );
    let endpoints = read::list(new, "endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        errors.push(FieldError::too_many(
            "endpoints",
            endpoints.len(),
            MAX_ENDPOINTS,
        ));
        return errors;
    }
    for (index, one) in endpoints.iter().enumerate() {
        endpoint(&mut errors, &format!("endpoints[{index}]"), one, family);
    }
    ports(&mut errors, new);
    if let Some(old) = old {
        immutable(
            &mut errors,
            "addressType",
            &new["addressType"],
            &old["addressType"],
        );
    }
    errors
}

fn endpoint(errors: &mut Vec<FieldError>, place: &str, endpoint: &Value, family: &str) {
    let addresses = read::texts(endpoint, "addresses");
    if addresses.is_empty() {
        let detail = "must contain at least 1 address";
        errors.push(FieldError::required(format!("{place}.addresses"), detail));
    } else if addresses.len() > MAX_ADDRESSES {
        errors.push(FieldError::too_many(
            format!("{place}.addresses"),
            addresses.len(),
            MAX_ADDRESSES,
        ));
        return;
    }
    for (index, address) in addresses.into_iter().enumerate() {
        let field = format!("{place}.addresses[{index}]");
        if family == "FQDN" {
            names::push_all(errors, &field, address, names::subdomain(address));
        } else if let Some(fault) = address_fault(address, family) {
            errors.push(FieldError::bad_text(field, address, fault));
        }
    }
    for (name, rule) in [
        ("hostname", names::label as names::Rule),
        ("nodeName", names::subdomain),
    ] {
        let value = read::text(endpoint, name);
        if !value.is_empty() {
            names::push_all(errors, &format!("{place}.{name}"), value, rule(value));
        }
    }
    hints(errors, place, &endpoint["hints"]);
}

/// Endpoints are reached from other nodes, so addresses that mean another thing there are refused.
fn address_fault(address: &str, family: &str) -> Option<&'static str> {
    let Some(ip) = names::address(address) else {
        return Some(names::ADDRESS);
    };
    match (family, ip.to_canonical()) {
        ("IPv4", _) if ip.is_ipv6() => Some("must be an IPv4 address"),
        ("IPv6", IpAddr::V4(_)) => Some("must be an IPv6 address"),
        _ => names::special_address(ip),
    }
}

/// Hints name few zones and nodes, each once.
fn hints(errors: &mut Vec<FieldError>, place: &str, hints: &Value) {
    for (name, rule) in [
        ("forZones", names::label_value as names::Rule),
        ("forNodes", names::subdomain),
    ] {
        let (given, place) = (read::list(hints, name), format!("{place}.hints.{name}"));
        if given.len() > MAX_HINTS {
            errors.push(FieldError::too_many(place, given.len(), MAX_HINTS));
            continue;
        }
        let mut seen = BTreeSet::new();
        for (index, one) in given.iter().enumerate() {
            let (field, value) = (format!("{place}[{index}].name"), read::text(one, "name"));
            if !seen.insert(value) {
                errors.push(FieldError::duplicate(&field, &value.into()));
            }
            if value.is_empty() {
                errors.push(FieldError::required(field, ""));
            } else {
                names::push_all(errors, &field, value, rule(value));
            }
        }
    }
}

fn ports(errors: &mut Vec<FieldError>, slice: &Value) {
    let ports = read::list(slice, "ports");
    if ports.len() > MAX_PORTS {
        errors.push(FieldError::too_many("ports", ports.len(), MAX_PORTS));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let place = format!("ports[{index}]");
        let name = read::text(port, "name");
        if !name.is_empty() {
            names::push_all(errors, &format!("{place}.name"), name, names::label(name));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(format!("{place}.name"), &name.into()));
        }
        if let Some(number) = read::int(port, "port") {
            names::check_port_number(errors, format!("{place}.port"), number);
        }
        let protocol = read::text(port, "protocol");
        one_of(
            errors,
            format!("{place}.protocol"),
            protocol,
            &["TCP", "UDP", "SCTP"],
        );
        names::check_app_protocol(errors, &place, port);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::fields;

    #[test]
    fn addresses_are_of_the_slices_type() {
        let cases = [
            ("IPv4", "10.0.0.1", true),
            ("IPv4", "fd00::1", false),
            ("IPv4", "127.0.0.1", false),
            ("IPv4", "010.0.0.1", false),
            ("IPv6", "fd00::1", true),
            ("IPv6", "fe80::1", false),
            ("IPv6", "10.0.0.1", false),
            ("IPv6", "::ffff:10.0.0.1", false),
            ("IPv4", "224.0.0.5", false),
            ("IPv6", "ff02::1", false),
            ("IPv6", "::1", false),
            ("IPv4", "239.0.0.1", true),
            ("FQDN", "a.b", true),
            ("FQDN", "A", false),
            ("IPv9", "10.0.0.1", false),
        ];
        for (family, address, good) in cases {
            let slice = json!({"addressType": family, "endpoints": [{"addresses": [address]}]});
            assert_eq!(
                validate(&slice, None).is_empty(),
                good,
                "{family} {address}"
            );
        }
    }

    #[test]
    fn ports_are_named_once_and_the_type_stays() {
        let mut slice = json!({"addressType": "IPv4", "endpoints": [{"addresses": []}],
            "ports": [{"port": 80}, {"port": 0, "name": "a"}, {"name": "a"}]});
        default(&mut slice);
        assert_eq!(
            slice["ports"][0],
            json!({"port": 80, "name": "", "protocol": "TCP"})
        );
        let old = json!({"addressType": "IPv6"});
        assert_eq!(
            fields(&validate(&slice, Some(&old))),
            [
                "endpoints[0].addresses",
                "ports[1].port",
                "ports[2].name",
                "addressType"
            ]
        );
    }

    #[test]
    fn hints_are_few_and_name_each_once() {
        let slice = |hints: Value| {
            let endpoint = json!({"addresses": ["10.0.0.1"], "hints": hints});
            json!({"addressType": "IPv4", "endpoints": [endpoint]})
        };
        let cases = [
            (
                json!({"forZones": [{"name": "a"}], "forNodes": [{"name": "n.1"}]}),
                vec![],
            ),
            (
                json!({"forZones": [{"name": "a"}, {"name": "a"}, {"name": ""}]}),
                vec![
                    "endpoints[0].hints.forZones[1].name",
                    "endpoints[0].hints.forZones[2].name",
                ],
            ),
            (
                json!({"forNodes": [{"name": "Bad_"}]}),
                vec!["endpoints[0].hints.forNodes[0].name"],
            ),
            (
                json!({"forZones": vec![json!({"name": "a"}); 9]}),
                vec!["endpoints[0].hints.forZones"],
            ),
        ];
        for (hints, expected) in cases {
            assert_eq!(fields(&validate(&slice(hints), None)), expected);
        }
    }
}
