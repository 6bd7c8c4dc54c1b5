//! The environment variables by which containers find Services, as Docker links once named them.
//! Pure.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

/// The Service that every container is told of, in Namespace `default`.
const API: &str = "kubernetes";

/// The variables for a container in `namespace`: the API server's always, those of the Namespace's
/// own Services if `links`.
pub(crate) fn variables<'a>(
    services: impl Iterator<Item = &'a Service>,
    namespace: &str,
    links: bool,
) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let home = service.metadata.namespace.as_deref().unwrap_or_default();
        let is_api = home == "default" && name == API;
        if is_api || links && home == namespace {
            all.extend(service.spec.iter().flat_map(|spec| of_service(name, spec)));
        }
    }
    all
}

fn of_service(name: &str, spec: &ServiceSpec) -> Vec<(String, String)> {
    let address = spec.cluster_ip.as_deref().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first().filter(|_| !matches!(address, "" | "None")) else {
        return Vec::new();
    };
    let name = name.to_uppercase().replace(['-', '.'], "_");
    let host = match address.contains(':') {
        true => format!("[{address}]"),
        false => address.to_owned(),
    };
    let mut all = vec![
        (format!("{name}_SERVICE_HOST"), address.to_owned()),
        (format!("{name}_SERVICE_PORT"), first.port.to_string()),
    ];
    for port in ports {
        if let Some(label) = port.name.as_deref().filter(|label| !label.is_empty()) {
            let label = label.to_uppercase().replace('-', "_");
            all.push((
                format!("{name}_SERVICE_PORT_{label}"),
                port.port.to_string(),
            ));
        }
    }
    for (at, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let (number, lower) = (port.port, protocol.to_lowercase());
        let url = format!("{lower}://{host}:{number}");
        let prefix = format!("{name}_PORT_{number}_{protocol}");
        if at == 0 {
            all.push((format!("{name}_PORT"), url.clone()));
        }
        all.extend([
            (prefix.clone(), url),
            (format!("{prefix}_PROTO"), lower),
            (format!("{prefix}_PORT"), number.to_string()),
            (format!("{prefix}_ADDR"), address.to_owned()),
        ]);
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(namespace: &str, name: &str, address: &str) -> Service {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": address, "ports": [{"name": "http-web", "port": 80}]}}))
        .expect("a Service")
    }

    #[test]
    fn links_are_those_of_kubernetes() {
        let services = [
            service("n", "my-web", "fd00::1"),
            service("n", "headless", "None"),
        ];
        let text: Vec<_> = variables(services.iter(), "n", true)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            text,
            [
                "MY_WEB_SERVICE_HOST=fd00::1",
                "MY_WEB_SERVICE_PORT=80",
                "MY_WEB_SERVICE_PORT_HTTP_WEB=80",
                "MY_WEB_PORT=tcp://[fd00::1]:80",
                "MY_WEB_PORT_80_TCP=tcp://[fd00::1]:80",
                "MY_WEB_PORT_80_TCP_PROTO=tcp",
                "MY_WEB_PORT_80_TCP_PORT=80",
                "MY_WEB_PORT_80_TCP_ADDR=fd00::1",
            ]
        );
    }

    #[test]
    fn the_api_is_always_told_and_others_namespaces_never() {
        let services = [
            service("default", "kubernetes", "10.96.0.1"),
            service("m", "web", "10.96.0.2"),
        ];
        let hosts = |namespace, links| {
            let all = variables(services.iter(), namespace, links);
            all.into_iter()
                .filter(|(name, _)| name.ends_with("_HOST"))
                .count()
        };
        assert_eq!(
            (hosts("n", true), hosts("m", false), hosts("m", true)),
            (1, 1, 2)
        );
    }
}
