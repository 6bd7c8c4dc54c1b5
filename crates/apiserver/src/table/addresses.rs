//! The columns of Endpoints, ServiceCIDRs and IPAddresses.

use serde_json::Value;

use super::cells::{AGE, NAME, NONE, few, joined, text};
use crate::kinds::{Column, read};

/// The columns of Endpoints.
pub(crate) const ENDPOINTS: &[Column] = &[
    NAME,
    text(
        "Endpoints",
        "The addresses and ports that are ready.",
        |endpoints, _| few(&ready(endpoints), 3, NONE).into(),
    ),
    AGE,
];

/// The columns of ServiceCIDRs.
pub(crate) const SERVICE_CIDR: &[Column] = &[
    NAME,
    text(
        "CIDRs",
        "The ranges from which ClusterIPs are given out, one or one of each IP family.",
        |range, _| joined(read::texts(&range["spec"], "cidrs")).into(),
    ),
    AGE,
];

/// The columns of IPAddresses.
pub(crate) const IP_ADDRESS: &[Column] = &[
    NAME,
    text(
        "ParentRef",
        "The resource that the IPAddress is attached to.",
        |address, _| parent(&address["spec"]["parentRef"]).into(),
    ),
];

/// Each ready address with each port of its subset.
fn ready(endpoints: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for subset in read::list(endpoints, "subsets") {
        let addresses = read::list(subset, "addresses").iter();
        let addresses: Vec<&str> = addresses.map(|one| read::text(one, "ip")).collect();
        let ports = read::list(subset, "ports");
        if ports.is_empty() {
            all.extend(addresses.iter().map(|ip| (*ip).to_owned()));
        }
        for port in ports {
            let port = read::int(port, "port").unwrap_or_default();
            all.extend(addresses.iter().map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:{port}"),
                false => format!("{ip}:{port}"),
            }));
        }
    }
    all
}

fn parent(parent: &Value) -> String {
    if parent.is_null() {
        return NONE.to_owned();
    }
    let [resource, group, namespace, name] =
        ["resource", "group", "namespace", "name"].map(|field| read::text(parent, field));
    let resource = match group {
        "" => resource.to_lowercase(),
        group => format!("{resource}.{group}").to_lowercase(),
    };
    match namespace {
        "" => format!("{resource}/{name}"),
        namespace => format!("{resource}/{namespace}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn second(columns: &[Column], object: &Value) -> Value {
        (columns[1].cell)(object, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn endpoints_show_what_is_ready() {
        let of = |subsets: Value| second(ENDPOINTS, &json!({ "subsets": subsets }));
        let two = json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]);
        let ports = json!([{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]);
        assert_eq!(
            of(json!([{"addresses": two, "ports": ports}])),
            "10.0.0.1:80,[fd00::1]:80,10.0.0.1:81 + 1 more..."
        );
        assert_eq!(of(json!([{"addresses": two}])), "10.0.0.1,fd00::1");
        assert_eq!(of(json!([{"notReadyAddresses": two}])), "<none>");
    }

    #[test]
    fn ranges_and_addresses_are_shown() {
        let range = json!({"spec": {"cidrs": ["10.0.0.0/24", "fd00::/112"]}});
        assert_eq!(second(SERVICE_CIDR, &range), "10.0.0.0/24,fd00::/112");
        let of = |parent: Value| second(IP_ADDRESS, &json!({"spec": {"parentRef": parent}}));
        let service = json!({"resource": "services", "namespace": "a", "name": "web"});
        assert_eq!(of(service), "services/a/web");
        let other = json!({"group": "a.b", "resource": "Things", "name": "x"});
        assert_eq!(of(other), "things.a.b/x");
        assert_eq!(of(Value::Null), "<none>");
    }
}
