//! The columns of EndpointSlices, NetworkPolicies, Ingresses and IngressClasses.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{AGE, NAME, NONE, balancer, few, or, text};
use crate::kinds::{Column, read, selector};

/// The columns of EndpointSlices.
pub(crate) const ENDPOINT_SLICE: &[Column] = &[
    NAME,
    text(
        "AddressType",
        "The type of address carried by this EndpointSlice.",
        |slice, _| read::text(slice, "addressType").into(),
    ),
    text(
        "Ports",
        "The ports exposed by each endpoint in this slice.",
        |slice, _| {
            let ports: Vec<String> = read::list(slice, "ports")
                .iter()
                .map(|port| match read::int(port, "port") {
                    Some(number) => number.to_string(),
                    None => port
                        .get("name")
                        .and_then(Value::as_str)
                        .unwrap_or("*")
                        .to_owned(),
                })
                .collect();
            few(&ports, 3, "<unset>").into()
        },
    ),
    text(
        "Endpoints",
        "The addresses of the endpoints in this slice.",
        |slice, _| {
            let endpoints = read::list(slice, "endpoints").iter();
            let addresses = endpoints.flat_map(|endpoint| read::texts(endpoint, "addresses"));
            let addresses: Vec<String> = addresses.map(str::to_owned).collect();
            few(&addresses, 3, "<unset>").into()
        },
    ),
    AGE,
];

/// The columns of NetworkPolicies.
pub(crate) const NETWORK_POLICY: &[Column] = &[
    NAME,
    text(
        "Pod-Selector",
        "The pods to which this policy applies.",
        |policy, _| selector::format(&policy["spec"]["podSelector"]).into(),
    ),
    AGE,
];

/// The columns of Ingresses.
pub(crate) const INGRESS: &[Column] = &[
    NAME,
    text(
        "Class",
        "The name of the IngressClass resource that should be used for additional configuration",
        class,
    ),
    text(
        "Hosts",
        "Hosts that incoming requests are matched against before the ingress rule",
        |ingress, _| {
            let rules = read::list(&ingress["spec"], "rules").iter();
            let hosts: Vec<String> = rules
                .map(|rule| read::text(rule, "host").to_owned())
                .filter(|host| !host.is_empty())
                .collect();
            few(&hosts, 3, "*").into()
        },
    ),
    text(
        "Address",
        "Address is a list containing ingress points for the load-balancer",
        |ingress, _| balancer(ingress).join(",").into(),
    ),
    text(
        "Ports",
        "Ports of TLS configurations that open",
        |ingress, _| {
            if read::list(&ingress["spec"], "tls").is_empty() {
                "80".into()
            } else {
                "80, 443".into()
            }
        },
    ),
    AGE,
];

/// The columns of IngressClasses.
pub(crate) const INGRESS_CLASS: &[Column] = &[
    NAME,
    text(
        "Controller",
        "Controller that is responsible for handling this class",
        |class, _| read::text(&class["spec"], "controller").into(),
    ),
    text(
        "Parameters",
        "A reference to a resource with additional parameters",
        parameters,
    ),
    AGE,
];

fn class(ingress: &Value, _: Timestamp) -> Value {
    let annotation = read::text(
        &ingress["metadata"]["annotations"],
        "kubernetes.io/ingress.class",
    );
    or(
        or(read::text(&ingress["spec"], "ingressClassName"), annotation),
        NONE,
    )
    .into()
}

fn parameters(class: &Value, _: Timestamp) -> Value {
    let parameters = &class["spec"]["parameters"];
    if parameters.is_null() {
        return NONE.into();
    }
    let (kind, group) = (
        read::text(parameters, "kind"),
        read::text(parameters, "apiGroup"),
    );
    let dot = if group.is_empty() { "" } else { "." };
    format!("{kind}{dot}{group}/{}", read::text(parameters, "name")).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cells(columns: &[Column], object: &Value) -> Value {
        let shown = columns[1..columns.len() - 1].iter();
        shown
            .map(|column| (column.cell)(object, Timestamp::UNIX_EPOCH))
            .collect()
    }

    #[test]
    fn a_slice_shows_three_and_counts_the_rest() {
        let slice = json!({"addressType": "IPv4", "ports": [{"port": 80, "name": "a"}, {"name": "b"}, {}],
            "endpoints": [{"addresses": ["10.0.0.1", "10.0.0.2"]}, {"addresses": ["10.0.0.3"]}, {"addresses": ["10.0.0.4"]}]});
        assert_eq!(
            cells(ENDPOINT_SLICE, &slice),
            json!(["IPv4", "80,b,*", "10.0.0.1,10.0.0.2,10.0.0.3 + 1 more..."])
        );
        assert_eq!(
            cells(ENDPOINT_SLICE, &json!({})),
            json!(["", "<unset>", "<unset>"])
        );
    }

    #[test]
    fn policies_and_ingresses_are_shown() {
        assert_eq!(
            cells(
                NETWORK_POLICY,
                &json!({"spec": {"podSelector": {"matchLabels": {"a": "b"}}}})
            ),
            json!(["a=b"])
        );
        let ingress = json!({"spec": {"ingressClassName": "c", "rules": [{"host": "a.b"}, {}], "tls": [{}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}});
        assert_eq!(
            cells(INGRESS, &ingress),
            json!(["c", "a.b", "1.2.3.4", "80, 443"])
        );
        assert_eq!(cells(INGRESS, &json!({})), json!(["<none>", "*", "", "80"]));
        let class = json!({"spec": {"controller": "a.b/c", "parameters": {"apiGroup": "g", "kind": "K", "name": "n"}}});
        assert_eq!(cells(INGRESS_CLASS, &class), json!(["a.b/c", "K.g/n"]));
    }
}
