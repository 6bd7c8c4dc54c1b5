//! Validation of probes and lifecycle hooks: exactly one handler, sensible numbers.

use serde_json::Value;

use crate::kinds::fault::{FieldError, at_least, one_of};
use crate::kinds::{names, read};

/// Refuses what is wrong with the probes and hooks of the container at `place`.
pub(super) fn validate(errors: &mut Vec<FieldError>, place: &str, container: &Value) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if read::has(container, name) {
            probe(errors, &format!("{place}.{name}"), &container[name], name);
        }
    }
    for name in ["postStart", "preStop"] {
        if read::has(&container["lifecycle"], name) {
            let (field, hook) = (
                format!("{place}.lifecycle.{name}"),
                &container["lifecycle"][name],
            );
            handler(
                errors,
                &field,
                hook,
                &["exec", "httpGet", "tcpSocket", "sleep"],
            );
        }
    }
}

fn probe(errors: &mut Vec<FieldError>, field: &str, probe: &Value, name: &str) {
    handler(
        errors,
        field,
        probe,
        &["exec", "httpGet", "tcpSocket", "grpc"],
    );
    for number in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        at_least(
            errors,
            format!("{field}.{number}"),
            read::int(probe, number),
            0,
        );
    }
    let successes = read::int(probe, "successThreshold");
    if name != "readinessProbe" && successes.is_some_and(|number| number != 1) {
        errors.push(FieldError::invalid(
            format!("{field}.successThreshold"),
            &probe["successThreshold"],
            "must be 1",
        ));
    }
    if name == "readinessProbe" && read::has(probe, "terminationGracePeriodSeconds") {
        errors.push(FieldError::invalid(
            format!("{field}.terminationGracePeriodSeconds"),
            &probe["terminationGracePeriodSeconds"],
            "must not be set for readinessProbes",
        ));
    }
}

fn handler(errors: &mut Vec<FieldError>, field: &str, parent: &Value, known: &[&str]) {
    let mut given = known.iter().filter(|name| read::has(parent, name));
    let Some(first) = given.next() else {
        errors.push(FieldError::required(field, "must specify a handler type"));
        return;
    };
    for more in given {
        let detail = "may not specify more than 1 handler type";
        errors.push(FieldError::forbidden(format!("{field}.{more}"), detail));
    }
    let (field, handler) = (format!("{field}.{first}"), &parent[*first]);
    match *first {
        "exec" if read::list(handler, "command").is_empty() => {
            errors.push(FieldError::required(format!("{field}.command"), ""));
        }
        "httpGet" => {
            if read::text(handler, "path").is_empty() {
                errors.push(FieldError::required(format!("{field}.path"), ""));
            }
            names::check_port(errors, format!("{field}.port"), &handler["port"]);
            one_of(
                errors,
                format!("{field}.scheme"),
                read::text(handler, "scheme"),
                &["HTTP", "HTTPS"],
            );
        }
        "tcpSocket" | "grpc" => {
            names::check_port(errors, format!("{field}.port"), &handler["port"]);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::fields;

    #[test]
    fn a_probe_has_one_handler_and_sensible_numbers() {
        let cases = [
            (json!({"tcpSocket": {"port": 80}}), vec![]),
            (json!({}), vec!["c.livenessProbe"]),
            (
                json!({"tcpSocket": {"port": 80}, "exec": {"command": ["a"]}}),
                vec!["c.livenessProbe.tcpSocket"],
            ),
            (json!({"exec": {}}), vec!["c.livenessProbe.exec.command"]),
            (
                json!({"httpGet": {"port": "web", "path": "/", "scheme": "HTTP"}}),
                vec![],
            ),
            (
                json!({"httpGet": {"port": 0, "path": "/", "scheme": "FTP"}}),
                vec![
                    "c.livenessProbe.httpGet.port",
                    "c.livenessProbe.httpGet.scheme",
                ],
            ),
            (
                json!({"tcpSocket": {"port": 80}, "periodSeconds": -1}),
                vec!["c.livenessProbe.periodSeconds"],
            ),
            (
                json!({"tcpSocket": {"port": 80}, "successThreshold": 2}),
                vec!["c.livenessProbe.successThreshold"],
            ),
        ];
        for (probe, expected) in cases {
            let mut errors = Vec::new();
            validate(&mut errors, "c", &json!({"livenessProbe": probe}));
            assert_eq!(fields(&errors), expected, "{probe}");
        }
    }

    #[test]
    fn a_hook_has_one_handler() {
        let mut errors = Vec::new();
        validate(
            &mut errors,
            "c",
            &json!({"lifecycle": {"preStop": {}, "postStart": {"sleep": {"seconds": 1}}}}),
        );
        assert_eq!(fields(&errors), ["c.lifecycle.preStop"]);
    }
}
