//! Endpoints: the addresses behind a Service, in the form that EndpointSlices have taken the place of.

use k8s_openapi::api::core::v1::Endpoints;
use serde_json::Value;

use super::fault::{FieldError, one_of};
use super::{Kind, any_status, keep_nothing, names, nothing, read};
use crate::decode::typed;
use crate::table;

/// core/v1 Endpoints.
pub(super) const ENDPOINTS: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    categories: &[],
    namespaced: true,
    has_status: false,
    has_scale: false,
    bumps_generation: false,
    custom: None,
    columns: table::addresses::ENDPOINTS,
    decode: typed::<Endpoints>,
    default,
    validate: |new, _| validate(new),
    selectable: &[],
    on_create: nothing,
    on_update: keep_nothing,
    on_status: keep_nothing,
    validate_status: any_status,
};

fn default(endpoints: &mut Value) {
    for subset in read::list_mut(endpoints, "subsets") {
        for port in read::list_mut(subset, "ports") {
            read::default(port, "protocol", "TCP");
        }
    }
}

fn validate(new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, subset) in read::list(new, "subsets").iter().enumerate() {
        let place = format!("subsets[{index}]");
        let lists = ["addresses", "notReadyAddresses"];
        if lists.iter().all(|name| read::list(subset, name).is_empty()) {
            let detail = "must specify `addresses` or `notReadyAddresses`";
            errors.push(FieldError::required(&place, detail));
        }
        for name in lists {
            for (index, one) in read::list(subset, name).iter().enumerate() {
                address(&mut errors, &format!("{place}.{name}[{index}]"), one);
            }
        }
        let ports = read::list(subset, "ports");
        for (index, one) in ports.iter().enumerate() {
            let place = format!("{place}.ports[{index}]");
            port(&mut errors, &place, one, ports.len() > 1);
        }
    }
    errors
}

fn address(errors: &mut Vec<FieldError>, place: &str, endpoint: &Value) {
    let (field, text) = (format!("{place}.ip"), read::text(endpoint, "ip"));
    let fault = match names::address(text) {
        None => Some(names::ADDRESS),
        Some(ip) => names::special_address(ip),
    };
    if let Some(fault) = fault {
        errors.push(FieldError::bad_text(field, text, fault));
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
}

fn port(errors: &mut Vec<FieldError>, place: &str, port: &Value, named: bool) {
    let (field, name) = (format!("{place}.name"), read::text(port, "name"));
    if !name.is_empty() {
        names::push_all(errors, &field, name, names::label(name));
    } else if named {
        errors.push(FieldError::required(field, ""));
    }
    let number = read::int(port, "port").unwrap_or_default();
    names::check_port_number(errors, format!("{place}.port"), number);
    let protocol = read::text(port, "protocol");
    one_of(
        errors,
        format!("{place}.protocol"),
        protocol,
        &["TCP", "UDP", "SCTP"],
    );
    names::check_app_protocol(errors, place, port);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::fields;

    #[test]
    fn addresses_and_ports_are_checked() {
        let cases = [
            (
                json!({"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}]}),
                vec![],
            ),
            (json!({"notReadyAddresses": [{"ip": "10.0.0.1"}]}), vec![]),
            (json!({"ports": [{"port": 80}]}), vec!["subsets[0]"]),
            (
                json!({"addresses": [{"ip": "127.0.0.1"}, {"ip": "10.0.0.01"}, {"ip": "169.254.1.1"}]}),
                vec![
                    "subsets[0].addresses[0].ip",
                    "subsets[0].addresses[1].ip",
                    "subsets[0].addresses[2].ip",
                ],
            ),
            (
                json!({"addresses": [{"ip": "10.0.0.1", "hostname": "A", "nodeName": "a.b"}],
                    "ports": [{"port": 0, "name": "a"}, {"port": 1, "protocol": "ICMP"}]}),
                vec![
                    "subsets[0].addresses[0].hostname",
                    "subsets[0].ports[0].port",
                    "subsets[0].ports[1].name",
                    "subsets[0].ports[1].protocol",
                ],
            ),
        ];
        for (subset, expected) in cases {
            let mut endpoints = json!({"subsets": [subset]});
            default(&mut endpoints);
            assert_eq!(fields(&validate(&endpoints)), expected);
        }
    }
}
