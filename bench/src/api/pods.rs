//! The Pods that are made, and what their kubelets say of them: of the size that real ones have.
//!
//! Pod `i` of `n` has the same name and labels in every run. Nothing here talks to a server.

use serde_json::{Value, json};

/// Namespace of nine Pods in ten.
pub(crate) const MOST: &str = "bench";
/// Namespace of one Pod in ten: what costs as much for each must cost a tenth here.
pub(crate) const TENTH: &str = "bench-tenth";
/// Selects one Pod in a hundred.
pub(crate) const ONE_PERCENT: &str = "bench%2Fgroup%3D7";

/// What precedes the number of a change in an event.
const MARK: &[u8] = br#""message":"change "#;

fn namespace(i: usize) -> &'static str {
    if i % 10 == 9 { TENTH } else { MOST }
}

fn name(i: usize) -> String {
    format!("storefront-7d4b9c6f5d-{i:06}")
}

/// Where Pods are made.
pub(crate) fn collection(i: usize) -> String {
    format!("/api/v1/namespaces/{}/pods", namespace(i))
}

/// A Pod's own path.
pub(crate) fn path(i: usize) -> String {
    format!("{}/{}", collection(i), name(i))
}

/// The manifest of a Namespace.
pub(crate) fn namespace_manifest(name: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string()
}

/// A Pod's manifest, about 3 KB.
pub(crate) fn manifest(i: usize) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name(i),
            "namespace": namespace(i),
            "labels": {
                "app.kubernetes.io/name": "storefront",
                "app.kubernetes.io/component": "web",
                "app.kubernetes.io/part-of": "shop",
                "app.kubernetes.io/version": "4.17.2",
                "pod-template-hash": "7d4b9c6f5d",
                "bench/group": (i % 100).to_string(),
            },
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "9102",
                "checksum/config": "9f2c4be1f3f0a7f1b6a55dd5a6f0d2c9a1d83c35f4f5a0c4e7a3c6e1d2b3a495",
            },
        },
        "spec": {
            "serviceAccountName": "storefront",
            "priority": 0,
            "terminationGracePeriodSeconds": 30,
            "containers": [web(), exporter()],
            "tolerations": [
                toleration("node.kubernetes.io/not-ready"),
                toleration("node.kubernetes.io/unreachable"),
            ],
            "topologySpreadConstraints": [{
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "storefront"}},
            }],
            "volumes": [
                {"name": "config", "configMap": {"name": "storefront-config", "defaultMode": 420}},
                {"name": "secrets", "secret": {"secretName": "storefront-secrets", "defaultMode": 420}},
                {"name": "cache", "emptyDir": {"sizeLimit": "256Mi"}},
            ],
        },
    })
    .to_string()
}

fn toleration(key: &str) -> Value {
    json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
}

fn web() -> Value {
    json!({
        "name": "web",
        "image": "registry.example.com/shop/storefront:4.17.2",
        "imagePullPolicy": "IfNotPresent",
        "args": ["--listen=:8080", "--config=/etc/storefront/config.yaml", "--log-format=json"],
        "ports": [
            {"name": "http", "containerPort": 8080, "protocol": "TCP"},
            {"name": "admin", "containerPort": 9901, "protocol": "TCP"},
        ],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "storefront-secrets", "key": "database-url"}}},
            {"name": "LOG_LEVEL", "value": "info"},
        ],
        "resources": {
            "requests": {"cpu": "250m", "memory": "256Mi"},
            "limits": {"cpu": "1", "memory": "512Mi"},
        },
        "readinessProbe": probe("/readyz", "http", 5),
        "livenessProbe": probe("/livez", "admin", 10),
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/storefront", "readOnly": true},
            {"name": "secrets", "mountPath": "/var/run/secrets/storefront", "readOnly": true},
            {"name": "cache", "mountPath": "/var/cache/storefront"},
        ],
        "securityContext": {
            "runAsNonRoot": true,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
    })
}

fn exporter() -> Value {
    json!({
        "name": "exporter",
        "image": "registry.example.com/observability/exporter:1.9.0",
        "imagePullPolicy": "IfNotPresent",
        "args": ["--upstream=http://127.0.0.1:9901/stats", "--listen=:9102"],
        "ports": [{"name": "metrics", "containerPort": 9102, "protocol": "TCP"}],
        "resources": {
            "requests": {"cpu": "20m", "memory": "32Mi"},
            "limits": {"memory": "64Mi"},
        },
        "readinessProbe": probe("/healthz", "metrics", 10),
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    })
}

fn probe(path: &str, port: &str, period: u32) -> Value {
    json!({
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "initialDelaySeconds": 2,
        "periodSeconds": period,
        "timeoutSeconds": 1,
        "successThreshold": 1,
        "failureThreshold": 3,
    })
}

/// The status of a Pod that runs, as a kubelet patches it. It bears a number that [`mark`] finds.
pub(crate) fn status(i: usize, change: usize) -> String {
    let address = format!("10.{}.{}.{}", 128 + i / 65536, i / 256 % 256, i % 256);
    let conditions = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
    ];
    let conditions = conditions.map(|kind| {
        json!({
            "type": kind,
            "status": "True",
            "lastProbeTime": null,
            "lastTransitionTime": "2026-11-27T14:00:00Z",
        })
    });
    let containers = ["web", "exporter"].map(|name| {
        json!({
            "name": name,
            "image": format!("registry.example.com/shop/{name}:4.17.2"),
            "imageID": "sha256:6a4f5d0c3b2e1f0918273645546372819abcdef00112233445566778899aabbc",
            "containerID": format!("containerd://7f3c{i:060x}"),
            "ready": true,
            "started": true,
            "restartCount": 0,
            "state": {"running": {"startedAt": "2026-11-27T14:00:00Z"}},
        })
    });
    json!({"status": {
        "phase": "Running",
        "message": format!("change {change}"),
        "startTime": "2026-11-27T13:59:58Z",
        "hostIP": "172.18.0.1",
        "hostIPs": [{"ip": "172.18.0.1"}, {"ip": "fd00:5ea::1"}],
        "podIP": address,
        "podIPs": [{"ip": address}, {"ip": format!("fd00:10::{i:x}")}],
        "conditions": conditions,
        "containerStatuses": containers,
    }})
    .to_string()
}

/// The number of the change that an event tells of.
pub(crate) fn mark(event: &[u8]) -> Option<usize> {
    // The status comes last, so it is looked for from the end.
    let at = event.windows(MARK.len()).rposition(|part| part == MARK)?;
    let digits = event[at + MARK.len()..]
        .split(|byte| *byte == b'"')
        .next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_have_the_size_of_real_ones() {
        let size = manifest(7).len();
        assert!((2500..3500).contains(&size), "{size}");
        let size = status(7, 1).len();
        assert!((1000..2000).contains(&size), "{size}");
    }

    #[test]
    fn one_in_ten_is_elsewhere_and_one_in_a_hundred_selected() {
        let count = |part: &str| (0..1000).filter(|i| manifest(*i).contains(part)).count();
        assert_eq!(count(r#""namespace":"bench-tenth""#), 100);
        assert_eq!(count(r#""bench/group":"7""#), 10);
        assert!(path(9).starts_with("/api/v1/namespaces/bench-tenth/pods/"));
    }

    #[test]
    fn a_change_is_known_by_its_number() {
        let event = format!(r#"{{"type":"MODIFIED","object":{}}}"#, status(3, 4711));
        assert_eq!(mark(event.as_bytes()), Some(4711));
        assert_eq!(mark(br#"{"type":"BOOKMARK","object":{}}"#), None);
    }
}
