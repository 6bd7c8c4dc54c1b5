//! Ingresses and IngressClasses.

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use serde_json::Value;

use super::fault::{FieldError, immutable, one_of};
use super::{
    Kind, any_status, drop_status, keep_nothing, keep_status, names, nothing, only_status, read,
};
use crate::decode::typed;
use crate::table;

/// networking.k8s.io/v1 Ingress.
pub(super) const INGRESS: Kind = Kind {
    group: "networking.k8s.io",
    version: "v1",
    kind: "Ingress",
    plural: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    categories: &[],
    namespaced: true,
    has_status: true,
    has_scale: false,
    bumps_generation: true,
    custom: None,
    columns: table::network::INGRESS,
    decode: typed::<Ingress>,
    default: nothing,
    validate,
    selectable: &[],
    on_create: drop_status,
    on_update: keep_status,
    on_status: only_status,
    validate_status: any_status,
};

/// networking.k8s.io/v1 IngressClass.
pub(super) const INGRESS_CLASS: Kind = Kind {
    kind: "IngressClass",
    plural: "ingressclasses",
    singular: "ingressclass",
    short_names: &[],
    namespaced: false,
    has_status: false,
    columns: table::network::INGRESS_CLASS,
    decode: typed::<IngressClass>,
    default: default_class,
    validate: class,
    on_create: nothing,
    on_update: keep_nothing,
    on_status: keep_nothing,
    validate_status: any_status,
    ..INGRESS
};

fn validate(new: &Value, _: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &new["spec"];
    let rules = read::list(spec, "rules");
    if rules.is_empty() && spec["defaultBackend"].is_null() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(
            "spec",
            &Value::Array(Vec::new()),
            detail,
        ));
    }
    if !spec["defaultBackend"].is_null() {
        backend(&mut errors, "spec.defaultBackend", &spec["defaultBackend"]);
    }
    for (index, rule) in rules.iter().enumerate() {
        let place = format!("spec.rules[{index}]");
        host(
            &mut errors,
            &format!("{place}.host"),
            read::text(rule, "host"),
        );
        if !rule["http"].is_null() {
            paths(
                &mut errors,
                &format!("{place}.http.paths"),
                read::list(&rule["http"], "paths"),
            );
        }
    }
    for (index, tls) in read::list(spec, "tls").iter().enumerate() {
        for (at, name) in read::texts(tls, "hosts").into_iter().enumerate() {
            host(&mut errors, &format!("spec.tls[{index}].hosts[{at}]"), name);
        }
    }
    let class = read::text(spec, "ingressClassName");
    if !class.is_empty() {
        names::push_all(
            &mut errors,
            "spec.ingressClassName",
            class,
            names::subdomain(class),
        );
    }
    errors
}

fn host(errors: &mut Vec<FieldError>, field: &str, host: &str) {
    if host.is_empty() {
        return;
    }
    if names::address(host).is_some() {
        errors.push(FieldError::bad_text(
            field,
            host,
            "must be a DNS name, not an IP address",
        ));
        return;
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    names::push_all(errors, field, host, names::subdomain(name));
}

fn paths(errors: &mut Vec<FieldError>, field: &str, paths: &[Value]) {
    if paths.is_empty() {
        errors.push(FieldError::required(field, ""));
    }
    for (index, one) in paths.iter().enumerate() {
        let place = format!("{field}[{index}]");
        let (path, kind) = (read::text(one, "path"), read::text(one, "pathType"));
        match kind {
            "" => errors.push(FieldError::required(
                format!("{place}.pathType"),
                "pathType must be specified",
            )),
            "Exact" | "Prefix" => absolute(errors, &format!("{place}.path"), path),
            "ImplementationSpecific" => {
                if !path.is_empty() && !path.starts_with('/') {
                    errors.push(FieldError::bad_text(
                        format!("{place}.path"),
                        path,
                        "must be an absolute path",
                    ));
                }
            }
            other => {
                let known = ["Exact", "ImplementationSpecific", "Prefix"];
                errors.push(FieldError::not_supported(
                    format!("{place}.pathType"),
                    other,
                    &known,
                ));
            }
        }
        backend(errors, &format!("{place}.backend"), &one["backend"]);
    }
}

/// A path that means the same before and after normalisation.
fn absolute(errors: &mut Vec<FieldError>, field: &str, path: &str) {
    if !path.starts_with('/') {
        errors.push(FieldError::bad_text(
            field,
            path,
            "must be an absolute path",
        ));
    }
    for part in ["//", "/./", "/../", "%2f", "%2F"] {
        if path.contains(part) {
            errors.push(FieldError::bad_text(
                field,
                path,
                &format!("must not contain '{part}'"),
            ));
        }
    }
    for end in ["/..", "/."] {
        if path.ends_with(end) {
            errors.push(FieldError::bad_text(
                field,
                path,
                &format!("cannot end with '{end}'"),
            ));
        }
    }
}

fn backend(errors: &mut Vec<FieldError>, place: &str, backend: &Value) {
    match (
        read::has(backend, "service"),
        read::has(backend, "resource"),
    ) {
        (true, true) => errors.push(FieldError::bad_text(
            place,
            "",
            "cannot set both resource and service backends",
        )),
        (false, false) => errors.push(FieldError::bad_text(
            place,
            "",
            "resource or service backend is required",
        )),
        (true, false) => service(errors, &format!("{place}.service"), &backend["service"]),
        (false, true) => {
            for field in ["kind", "name"] {
                if read::text(&backend["resource"], field).is_empty() {
                    errors.push(FieldError::required(
                        format!("{place}.resource.{field}"),
                        "",
                    ));
                }
            }
        }
    }
}

fn service(errors: &mut Vec<FieldError>, place: &str, service: &Value) {
    let (name, port) = (read::text(service, "name"), &service["port"]);
    if name.is_empty() {
        errors.push(FieldError::required(format!("{place}.name"), ""));
    } else {
        names::push_all(errors, &format!("{place}.name"), name, names::label(name));
    }
    let (number, by_name) = (
        read::int(port, "number").unwrap_or_default(),
        read::text(port, "name"),
    );
    if number != 0 && !by_name.is_empty() {
        errors.push(FieldError::bad_text(
            place,
            "",
            "cannot set both port name & port number",
        ));
    } else if number == 0 && by_name.is_empty() {
        errors.push(FieldError::required(
            place,
            "port name or number is required",
        ));
    } else if !by_name.is_empty() {
        names::push_all(
            errors,
            &format!("{place}.port.name"),
            by_name,
            names::port_name(by_name),
        );
    } else if let Some(fault) = names::port_number(number) {
        errors.push(FieldError::invalid(
            format!("{place}.port.number"),
            &number.into(),
            fault,
        ));
    }
}

fn default_class(class: &mut Value) {
    if let Some(parameters) = class
        .get_mut("spec")
        .and_then(|spec| spec.get_mut("parameters"))
    {
        read::default(parameters, "scope", "Cluster");
    }
}

fn class(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let field = "spec.controller";
    let controller = read::text(&new["spec"], "controller");
    if controller.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else if controller.len() > 250 {
        errors.push(FieldError::too_long(field, 250));
    } else {
        match controller.split_once('/') {
            Some((domain, path)) if !path.is_empty() => {
                names::push_all(&mut errors, field, domain, names::subdomain(domain));
            }
            _ => {
                let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
                errors.push(FieldError::bad_text(field, controller, detail));
            }
        }
    }
    let parameters = &new["spec"]["parameters"];
    if !parameters.is_null() {
        for name in ["kind", "name"] {
            if read::text(parameters, name).is_empty() {
                errors.push(FieldError::required(format!("spec.parameters.{name}"), ""));
            }
        }
        let scope = read::text(parameters, "scope");
        one_of(
            &mut errors,
            "spec.parameters.scope".to_owned(),
            scope,
            &["Cluster", "Namespace"],
        );
    }
    if let Some(old) = old {
        immutable(
            &mut errors,
            field,
            &new["spec"]["controller"],
            &old["spec"]["controller"],
        );
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::fields;

    #[test]
    fn rules_and_backends_are_checked() {
        let good = json!({"service": {"name": "a", "port": {"number": 80}}});
        let path = |path: Value| json!({"rules": [{"http": {"paths": [path]}}]});
        let place = "spec.rules[0].http.paths[0]";
        let cases = [
            (json!({"defaultBackend": good}), vec![]),
            (json!({}), vec!["spec".to_owned()]),
            (
                path(json!({"path": "/", "pathType": "Prefix", "backend": good})),
                vec![],
            ),
            (
                path(json!({"path": "/", "backend": good})),
                vec![format!("{place}.pathType")],
            ),
            (
                path(json!({"path": "a", "pathType": "Exact", "backend": good})),
                vec![format!("{place}.path")],
            ),
            (
                path(json!({"path": "/a//b", "pathType": "Exact", "backend": good})),
                vec![format!("{place}.path")],
            ),
            (
                path(json!({"pathType": "ImplementationSpecific", "backend": {}})),
                vec![format!("{place}.backend")],
            ),
            (
                path(
                    json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "a"}}}),
                ),
                vec![format!("{place}.backend.service")],
            ),
            (
                json!({"rules": [{"host": "10.0.0.1"}, {"host": "*.a.b"}, {"host": "A"}]}),
                vec![
                    "spec.rules[0].host".to_owned(),
                    "spec.rules[2].host".to_owned(),
                ],
            ),
            (
                json!({"rules": [{"http": {}}]}),
                vec!["spec.rules[0].http.paths".to_owned()],
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(
                fields(&validate(&json!({"spec": spec}), None)),
                expected,
                "{spec}"
            );
        }
    }

    #[test]
    fn a_class_names_its_controller_for_good() {
        let with = |controller: &str| json!({"spec": {"controller": controller}});
        assert_eq!(class(&with("a.b/c"), None), []);
        for bad in ["", "a", "a/", "A/b"] {
            assert_eq!(
                fields(&class(&with(bad), None)),
                ["spec.controller"],
                "{bad}"
            );
        }
        assert_eq!(
            class(&with("a.b/d"), Some(&with("a.b/c")))[0].message,
            "Invalid value: \"a.b/d\": field is immutable"
        );
    }
}
