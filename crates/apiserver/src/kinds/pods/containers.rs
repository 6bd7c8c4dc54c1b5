//! Validation of a Pod's containers: names, images, ports and what they mount.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{environment, probes, resources};
use crate::kinds::fault::{FieldError, one_of};
use crate::kinds::{names, read};

/// The protocols of ports.
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Refuses what is wrong with the containers of a spec whose volumes have these names.
pub(super) fn validate(
    errors: &mut Vec<FieldError>,
    field: &str,
    spec: &Value,
    volumes: &BTreeSet<&str>,
) {
    if read::list(spec, "containers").is_empty() {
        errors.push(FieldError::required(format!("{field}.containers"), ""));
    }
    let mut names = BTreeSet::new();
    let mut host_ports = BTreeSet::new();
    for list in ["initContainers", "containers"] {
        for (index, container) in read::list(spec, list).iter().enumerate() {
            let place = format!("{field}.{list}[{index}]");
            name(errors, &place, container, &mut names);
            one(errors, &place, container, volumes);
            let host = read::flag(spec, "hostNetwork");
            ports(errors, &place, container, host, &mut host_ports);
            if list == "initContainers" {
                init(errors, &place, container);
            }
        }
    }
}

fn name<'a>(
    errors: &mut Vec<FieldError>,
    place: &str,
    container: &'a Value,
    names: &mut BTreeSet<&'a str>,
) {
    let (name, field) = (read::text(container, "name"), format!("{place}.name"));
    if name.is_empty() {
        errors.push(FieldError::required(field, ""));
        return;
    }
    names::push_all(errors, &field, name, names::label(name));
    if !names.insert(name) {
        errors.push(FieldError::duplicate(field, &name.into()));
    }
}

fn one(errors: &mut Vec<FieldError>, place: &str, container: &Value, volumes: &BTreeSet<&str>) {
    let (image, field) = (read::text(container, "image"), format!("{place}.image"));
    if image.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else if image.trim() != image {
        errors.push(FieldError::bad_text(
            field,
            image,
            "must not have leading or trailing whitespace",
        ));
    }
    for (name, known) in [
        (
            "imagePullPolicy",
            ["Always", "IfNotPresent", "Never"].as_slice(),
        ),
        (
            "terminationMessagePolicy",
            &["File", "FallbackToLogsOnError"],
        ),
        ("restartPolicy", &["Always", "Never", "OnFailure"]),
    ] {
        let value = read::text(container, name);
        if !value.is_empty() {
            one_of(errors, format!("{place}.{name}"), value, known);
        }
    }
    environment::validate(errors, place, container);
    mounts(errors, place, container, volumes);
    resources::validate(
        errors,
        &format!("{place}.resources"),
        &container["resources"],
    );
    probes::validate(errors, place, container);
}

/// Init containers run to their end, so probes and hooks make no sense unless they keep running.
fn init(errors: &mut Vec<FieldError>, place: &str, container: &Value) {
    if read::text(container, "restartPolicy") == "Always" {
        return;
    }
    for name in [
        "lifecycle",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
    ] {
        if read::has(container, name) {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(format!("{place}.{name}"), detail));
        }
    }
}

fn ports<'a>(
    errors: &mut Vec<FieldError>,
    place: &str,
    container: &'a Value,
    host_network: bool,
    host_ports: &mut BTreeSet<(i64, &'a str, &'a str)>,
) {
    let mut names = BTreeSet::new();
    for (index, port) in read::list(container, "ports").iter().enumerate() {
        let place = format!("{place}.ports[{index}]");
        let name = read::text(port, "name");
        if !name.is_empty() {
            let field = format!("{place}.name");
            names::push_all(errors, &field, name, names::port_name(name));
            if !names.insert(name) {
                errors.push(FieldError::duplicate(field, &name.into()));
            }
        }
        let number = read::int(port, "containerPort").unwrap_or_default();
        port_number(errors, format!("{place}.containerPort"), number, true);
        let host = read::int(port, "hostPort").unwrap_or_default();
        port_number(errors, format!("{place}.hostPort"), host, false);
        let protocol = read::text(port, "protocol");
        one_of(errors, format!("{place}.protocol"), protocol, &PROTOCOLS);
        if host_network && host != number {
            let detail = "must match `containerPort` when `hostNetwork` is true";
            if host != 0 {
                errors.push(FieldError::invalid(
                    format!("{place}.hostPort"),
                    &host.into(),
                    detail,
                ));
            }
        }
        if host != 0 && !host_ports.insert((host, protocol, read::text(port, "hostIP"))) {
            let value = Value::from(format!("{protocol}/{}/{host}", read::text(port, "hostIP")));
            errors.push(FieldError::duplicate(format!("{place}.hostPort"), &value));
        }
    }
}

fn port_number(errors: &mut Vec<FieldError>, field: String, number: i64, needed: bool) {
    if number == 0 {
        if needed {
            errors.push(FieldError::required(field, ""));
        }
    } else if let Some(fault) = names::port_number(number) {
        errors.push(FieldError::invalid(field, &number.into(), fault));
    }
}

fn mounts(errors: &mut Vec<FieldError>, place: &str, container: &Value, volumes: &BTreeSet<&str>) {
    let mut paths: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, mount) in read::list(container, "volumeMounts").iter().enumerate() {
        let place = format!("{place}.volumeMounts[{index}]");
        let (name, path) = (read::text(mount, "name"), read::text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(FieldError::required(format!("{place}.name"), ""));
        } else if !volumes.contains(name) {
            errors.push(FieldError::not_found(format!("{place}.name"), name));
        }
        if path.is_empty() {
            errors.push(FieldError::required(format!("{place}.mountPath"), ""));
        } else if paths.insert(path, index).is_some() {
            errors.push(FieldError::bad_text(
                format!("{place}.mountPath"),
                path,
                "must be unique",
            ));
        }
        let sub = read::text(mount, "subPath");
        if !sub.is_empty() {
            inner_path(errors, &format!("{place}.subPath"), sub);
        }
    }
}

/// Refuses a path that could lead out of where it starts.
pub(super) fn inner_path(errors: &mut Vec<FieldError>, field: &str, path: &str) {
    if path.starts_with('/') {
        errors.push(FieldError::bad_text(field, path, "must be a relative path"));
    }
    if path.split('/').any(|part| part == "..") {
        errors.push(FieldError::bad_text(field, path, "must not contain '..'"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::{fields, merged};

    #[test]
    fn containers_are_checked_one_by_one() {
        let good = json!({"name": "a", "image": "b"});
        let port = |port: Value| json!({"ports": [merged(&json!({"containerPort": 80, "protocol": "TCP"}), &port)]});
        let cases = [
            (json!({}), vec![]),
            (json!({"name": null}), vec!["name"]),
            (json!({"name": "A"}), vec!["name"]),
            (json!({"image": null}), vec!["image"]),
            (json!({"image": " b"}), vec!["image"]),
            (json!({"imagePullPolicy": "Maybe"}), vec!["imagePullPolicy"]),
            (port(json!({})), vec![]),
            (
                port(json!({"containerPort": null})),
                vec!["ports[0].containerPort"],
            ),
            (
                port(json!({"containerPort": 70000})),
                vec!["ports[0].containerPort"],
            ),
            (port(json!({"protocol": "ICMP"})), vec!["ports[0].protocol"]),
            (
                port(json!({"name": "Web"})),
                vec!["ports[0].name", "ports[0].name"],
            ),
            (
                json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/a", "subPath": "../x"}]}),
                vec![
                    "volumeMounts[1].name",
                    "volumeMounts[1].mountPath",
                    "volumeMounts[1].subPath",
                ],
            ),
        ];
        for (change, expected) in cases {
            let mut errors = Vec::new();
            let spec = json!({"containers": [merged(&good, &change)]});
            validate(&mut errors, "spec", &spec, &BTreeSet::from(["v"]));
            let expected: Vec<_> = expected
                .iter()
                .map(|name| format!("spec.containers[0].{name}"))
                .collect();
            if change == json!({"name": "A"}) || change.get("ports").is_some() {
                let mut found = fields(&errors);
                found.dedup();
                let mut expected: Vec<_> = expected.iter().map(String::as_str).collect();
                expected.dedup();
                assert_eq!(found, expected, "{change}");
            } else {
                assert_eq!(fields(&errors), expected, "{change}");
            }
        }
    }

    #[test]
    fn names_and_host_ports_are_there_once() {
        let port = json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]);
        let spec = json!({
            "initContainers": [{"name": "a", "image": "b", "livenessProbe": {"tcpSocket": {"port": 1}}}],
            "containers": [{"name": "a", "image": "b", "ports": port}, {"name": "c", "image": "b", "ports": port}],
        });
        let mut errors = Vec::new();
        validate(&mut errors, "spec", &spec, &BTreeSet::new());
        assert_eq!(
            fields(&errors),
            [
                "spec.initContainers[0].livenessProbe",
                "spec.containers[0].name",
                "spec.containers[1].ports[0].hostPort"
            ]
        );
        assert_eq!(errors[1].message, "Duplicate value: \"a\"");
    }

    #[test]
    fn on_the_nodes_network_a_port_is_itself() {
        let spec = json!({"hostNetwork": true, "containers": [{"name": "a", "image": "b",
            "ports": [{"containerPort": 80, "hostPort": 81, "protocol": "TCP"}]}]});
        let mut errors = Vec::new();
        validate(&mut errors, "spec", &spec, &BTreeSet::new());
        assert_eq!(
            errors[0].message,
            "Invalid value: 81: must match `containerPort` when `hostNetwork` is true"
        );
    }
}
