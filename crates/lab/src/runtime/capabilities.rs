//! What of a Pod's specification a runtime hands to CNI plugins as `runtimeConfig`: host ports and
//! limits of bandwidth. As kubelet asks for it and containerd writes it down, with the names of Go's
//! fields that its types have no others for. Pure.

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value, json};

use super::downward::thousandths;

/// The capabilities that the lab's network configuration declares.
pub(crate) const DECLARED: [&str; 2] = [PORT_MAPPINGS, BANDWIDTH];

const PORT_MAPPINGS: &str = "portMappings";
const BANDWIDTH: &str = "bandwidth";

const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";

/// What is reasonable for a limit, in bits per second: 1k to 1P.
const SMALLEST: i128 = 1_000;
const LARGEST: i128 = 1_000_000_000_000_000;

/// The `runtimeConfig` of a Pod: an entry for each capability that it makes use of.
pub(crate) fn runtime_config(pod: &Pod) -> Result<Map<String, Value>, String> {
    let mut config = Map::new();
    let ports = port_mappings(pod);
    if !ports.is_empty() {
        config.insert(PORT_MAPPINGS.to_owned(), Value::Array(ports));
    }
    if let Some(bandwidth) = bandwidth(pod)? {
        config.insert(BANDWIDTH.to_owned(), bandwidth);
    }
    Ok(config)
}

/// Of the containers that go on running: sidecars and main ones.
fn port_mappings(pod: &Pod) -> Vec<Value> {
    let Some(spec) = &pod.spec else {
        return Vec::new();
    };
    let inits = spec.init_containers.iter().flatten();
    let sidecars = inits.filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let all = sidecars.chain(&spec.containers);
    all.flat_map(of_container).collect()
}

fn of_container(container: &Container) -> impl Iterator<Item = Value> {
    let ports = container.ports.iter().flatten();
    ports.filter_map(|port| {
        let host_port = port.host_port.filter(|port| *port > 0)?;
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        Some(json!({
            "HostPort": host_port,
            "ContainerPort": port.container_port,
            "Protocol": protocol.to_lowercase(),
            "HostIP": port.host_ip.as_deref().unwrap_or_default(),
        }))
    })
}

/// Rates of zero stand for no limit.
fn bandwidth(pod: &Pod) -> Result<Option<Value>, String> {
    let (ingress, egress) = (rate(pod, INGRESS)?, rate(pod, EGRESS)?);
    if ingress.is_none() && egress.is_none() {
        return Ok(None);
    }
    let burst = |rate: Option<u64>| rate.map_or(0, |_| u32::MAX);
    Ok(Some(json!({
        "IngressRate": ingress.unwrap_or(0),
        "IngressBurst": burst(ingress),
        "EgressRate": egress.unwrap_or(0),
        "EgressBurst": burst(egress),
    })))
}

fn rate(pod: &Pod, annotation: &str) -> Result<Option<u64>, String> {
    let annotations = pod.metadata.annotations.as_ref();
    let Some(text) = annotations.and_then(|all| all.get(annotation)) else {
        return Ok(None);
    };
    let said = |reason: &str| format!("the annotation {annotation}: {reason}");
    let bits = thousandths(&Quantity(text.clone())).map_err(|e| said(&e))?;
    // Whole bits, rounded up, as `Quantity.Value()` does.
    let bits = bits.div_euclid(1000) + i128::from(bits.rem_euclid(1000) > 0);
    match bits {
        ..SMALLEST => Err(said("resource is unreasonably small (< 1kbit)")),
        SMALLEST..=LARGEST => {
            let rate = u64::try_from(bits).map_err(|e| said(&e.to_string()))?;
            Ok(Some(rate))
        }
        _ => Err(said("resource is unreasonably large (> 1Pbit)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(annotations: Value, spec: Value) -> Pod {
        let pod = json!({"metadata": {"name": "a", "annotations": annotations}, "spec": spec});
        serde_json::from_value(pod).expect("valid")
    }

    fn config(annotations: Value, spec: Value) -> Result<Value, String> {
        runtime_config(&pod(annotations, spec)).map(Value::Object)
    }

    #[test]
    fn an_ordinary_pod_asks_for_nothing() {
        let spec = json!({"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]});
        assert_eq!(config(json!({}), spec), Ok(json!({})));
    }

    #[test]
    fn host_ports_of_what_goes_on_running_are_handed_over() {
        let spec = json!({
            "initContainers": [
                {"name": "i", "ports": [{"containerPort": 1, "hostPort": 1}]},
                {"name": "s", "restartPolicy": "Always",
                    "ports": [{"containerPort": 2, "hostPort": 2, "protocol": "SCTP"}]},
            ],
            "containers": [
                {"name": "a", "ports": [{"containerPort": 80, "hostPort": 8080}]},
                {"name": "b", "ports": [
                    {"containerPort": 81},
                    {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "::1"},
                ]},
            ],
        });
        let ports = json!([
            {"HostPort": 2, "ContainerPort": 2, "Protocol": "sctp", "HostIP": ""},
            {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""},
            {"HostPort": 53, "ContainerPort": 53, "Protocol": "udp", "HostIP": "::1"},
        ]);
        assert_eq!(config(json!({}), spec), Ok(json!({"portMappings": ports})));
    }

    #[test]
    fn limits_are_read_as_quantities_and_bursts_are_unlimited() {
        let both = json!({INGRESS: "10M", EGRESS: "1.5Ki"});
        let expected = json!({"bandwidth": {
            "IngressRate": 10_000_000, "IngressBurst": u32::MAX,
            "EgressRate": 1536, "EgressBurst": u32::MAX,
        }});
        let none = || json!({"containers": []});
        assert_eq!(config(both, none()), Ok(expected));
        let one = config(json!({EGRESS: "1k"}), none()).expect("valid");
        assert_eq!(one["bandwidth"]["IngressRate"], 0);
        assert_eq!(one["bandwidth"]["EgressRate"], 1000);
    }

    #[test]
    fn unreasonable_limits_are_refused_in_kubelets_words() {
        for (text, words) in [
            ("999", "(< 1kbit)"),
            ("-5", "(< 1kbit)"),
            ("2P", "(> 1Pbit)"),
            ("fast", "no quantity"),
        ] {
            let error = config(json!({INGRESS: text}), json!({"containers": []}));
            let error = error.expect_err("refused");
            assert!(error.contains(words) && error.contains(INGRESS), "{error}");
        }
    }
}
