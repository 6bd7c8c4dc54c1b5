//! The columns of Services.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{AGE, NAME, NONE, balancer, joined, or, text, wide};
use crate::kinds::{Column, read, selector};

/// The columns.
pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    text("Type", "How the Service is exposed.", |service, _| {
        read::text(&service["spec"], "type").into()
    }),
    text(
        "Cluster-IP",
        "The address of the Service within the cluster.",
        |service, _| or(read::text(&service["spec"], "clusterIP"), NONE).into(),
    ),
    text(
        "External-IP",
        "Addresses for which nodes in the cluster also accept traffic.",
        external,
    ),
    text(
        "Port(s)",
        "The list of ports that are exposed by this service.",
        ports,
    ),
    AGE,
    wide(
        "Selector",
        "Route service traffic to pods with these labels.",
        |service, _| selector::format_labels(&service["spec"], "selector").into(),
    ),
];

fn external(service: &Value, _: Timestamp) -> Value {
    let spec = &service["spec"];
    let given = read::texts(spec, "externalIPs");
    match read::text(spec, "type") {
        "ClusterIP" | "NodePort" => joined(given).into(),
        "LoadBalancer" => {
            let mut all = balancer(service);
            all.extend(given);
            if all.is_empty() {
                "<pending>".into()
            } else {
                all.join(",").into()
            }
        }
        "ExternalName" => read::text(spec, "externalName").into(),
        _ => "<unknown>".into(),
    }
}

fn ports(service: &Value, _: Timestamp) -> Value {
    let ports = read::list(&service["spec"], "ports").iter().map(|port| {
        let (number, protocol) = (
            read::int(port, "port").unwrap_or_default(),
            read::text(port, "protocol"),
        );
        match read::int(port, "nodePort") {
            Some(node) if node > 0 => format!("{number}:{node}/{protocol}"),
            _ => format!("{number}/{protocol}"),
        }
    });
    or(&ports.collect::<Vec<_>>().join(","), NONE).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_are_shown_by_type() {
        let port = json!([{"port": 80, "protocol": "TCP", "nodePort": 30000}, {"port": 53, "protocol": "UDP"}]);
        let cases = [
            (
                json!({"type": "ClusterIP", "clusterIP": "None"}),
                json!({}),
                ["None", "<none>", "<none>", "<none>"],
            ),
            (
                json!({"type": "NodePort", "clusterIP": "10.0.0.1", "ports": port, "selector": {"a": "b", "c": "d"}}),
                json!({}),
                ["10.0.0.1", "<none>", "80:30000/TCP,53/UDP", "a=b,c=d"],
            ),
            (
                json!({"type": "LoadBalancer"}),
                json!({}),
                ["<none>", "<pending>", "<none>", "<none>"],
            ),
            (
                json!({"type": "LoadBalancer", "externalIPs": ["1.2.3.4"]}),
                json!({"loadBalancer": {"ingress": [{"ip": "5.6.7.8"}, {"hostname": "a.b"}]}}),
                ["<none>", "5.6.7.8,a.b,1.2.3.4", "<none>", "<none>"],
            ),
            (
                json!({"type": "ExternalName", "externalName": "a.b"}),
                json!({}),
                ["<none>", "a.b", "<none>", "<none>"],
            ),
        ];
        for (spec, status, expected) in cases {
            let service = json!({"spec": spec, "status": status});
            let cell = |index: usize| (COLUMNS[index].cell)(&service, Timestamp::UNIX_EPOCH);
            assert_eq!(
                json!([cell(2), cell(3), cell(4), cell(6)]),
                json!(expected),
                "{service}"
            );
        }
    }
}
