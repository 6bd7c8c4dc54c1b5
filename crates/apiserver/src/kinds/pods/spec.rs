//! Validation of a Pod's spec as a whole.

use serde_json::Value;

use super::{containers, volumes};
use crate::kinds::fault::{FieldError, at_least, one_of};
use crate::kinds::{metadata, names, read, selector};

const RESTART: [&str; 3] = ["Always", "OnFailure", "Never"];
const DNS: [&str; 4] = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];

/// Refuses what is wrong with a Pod's spec at `field`.
pub(super) fn pod(errors: &mut Vec<FieldError>, field: &str, spec: &Value) {
    let volumes = volumes::validate(errors, &format!("{field}.volumes"), spec);
    containers::validate(errors, field, spec, &volumes);
    one_of(
        errors,
        format!("{field}.restartPolicy"),
        read::text(spec, "restartPolicy"),
        &RESTART,
    );
    one_of(
        errors,
        format!("{field}.dnsPolicy"),
        read::text(spec, "dnsPolicy"),
        &DNS,
    );
    dns(errors, field, spec);
    metadata::labels(
        errors,
        &format!("{field}.nodeSelector"),
        spec,
        "nodeSelector",
    );
    named(errors, field, spec);
    let grace = read::int(spec, "terminationGracePeriodSeconds");
    at_least(
        errors,
        format!("{field}.terminationGracePeriodSeconds"),
        grace,
        0,
    );
    if let Some(deadline) = read::int(spec, "activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&deadline)
    {
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(
            format!("{field}.activeDeadlineSeconds"),
            &deadline.into(),
            detail,
        ));
    }
    for (index, toleration) in read::list(spec, "tolerations").iter().enumerate() {
        tolerates(errors, &format!("{field}.tolerations[{index}]"), toleration);
    }
    for (index, alias) in read::list(spec, "hostAliases").iter().enumerate() {
        host_alias(errors, &format!("{field}.hostAliases[{index}]"), alias);
    }
}

/// Refuses a template that does not match its owner's selector, or whose Pods would not last.
pub(in crate::kinds) fn template(errors: &mut Vec<FieldError>, owner: &Value) {
    let (template, selector) = (&owner["spec"]["template"], &owner["spec"]["selector"]);
    let metadata = &template["metadata"];
    if !selector.is_null() && !selector::matches(selector, &metadata["labels"]) {
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            &metadata["labels"],
            "`selector` does not match template `labels`",
        ));
    }
    metadata::labels(errors, "spec.template.labels", metadata, "labels");
    metadata::annotations(errors, "spec.template.annotations", metadata);
    pod(errors, "spec.template.spec", &template["spec"]);
    let policy = read::text(&template["spec"], "restartPolicy");
    if policy != "Always" && RESTART.contains(&policy) {
        errors.push(FieldError::not_supported(
            "spec.template.spec.restartPolicy",
            policy,
            &["Always"],
        ));
    }
    if read::has(&template["spec"], "activeDeadlineSeconds") {
        errors.push(FieldError::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            "activeDeadlineSeconds in ReplicaSet is not Supported",
        ));
    }
}

fn named(errors: &mut Vec<FieldError>, field: &str, spec: &Value) {
    let rules: [(&str, names::Rule); 5] = [
        ("nodeName", names::subdomain),
        ("serviceAccountName", names::subdomain),
        ("hostname", names::label),
        ("subdomain", names::label),
        ("priorityClassName", names::subdomain),
    ];
    for (name, rule) in rules {
        let value = read::text(spec, name);
        if !value.is_empty() {
            names::push_all(errors, &format!("{field}.{name}"), value, rule(value));
        }
    }
}

fn dns(errors: &mut Vec<FieldError>, field: &str, spec: &Value) {
    let field = format!("{field}.dnsConfig");
    let servers = read::texts(&spec["dnsConfig"], "nameservers");
    if read::text(spec, "dnsPolicy") == "None" && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(format!("{field}.nameservers"), detail));
    }
    if servers.len() > 3 {
        let detail = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid(
            format!("{field}.nameservers"),
            &spec["dnsConfig"]["nameservers"],
            detail,
        ));
    }
    for (index, server) in servers.iter().enumerate() {
        if names::address(server).is_none() {
            errors.push(FieldError::bad_text(
                format!("{field}.nameservers[{index}]"),
                server,
                names::ADDRESS,
            ));
        }
    }
    for (index, option) in read::list(&spec["dnsConfig"], "options").iter().enumerate() {
        if read::text(option, "name").is_empty() {
            errors.push(FieldError::required(
                format!("{field}.options[{index}]"),
                "must not be empty",
            ));
        }
    }
}

fn tolerates(errors: &mut Vec<FieldError>, field: &str, toleration: &Value) {
    let (key, operator) = (
        read::text(toleration, "key"),
        read::text(toleration, "operator"),
    );
    let value = read::text(toleration, "value");
    if !key.is_empty() {
        names::push_all(errors, &format!("{field}.key"), key, names::qualified(key));
    } else if operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(FieldError::bad_text(
            format!("{field}.operator"),
            operator,
            detail,
        ));
    }
    match operator {
        "" | "Equal" => names::push_all(
            errors,
            &format!("{field}.operator"),
            value,
            names::label_value(value),
        ),
        "Exists" if !value.is_empty() => {
            let detail = "value must be empty when `operator` is 'Exists'";
            errors.push(FieldError::bad_text(
                format!("{field}.operator"),
                value,
                detail,
            ));
        }
        "Exists" => {}
        other => errors.push(FieldError::not_supported(
            format!("{field}.operator"),
            other,
            &["Equal", "Exists"],
        )),
    }
    let effect = read::text(toleration, "effect");
    if !effect.is_empty() {
        one_of(
            errors,
            format!("{field}.effect"),
            effect,
            &["NoSchedule", "PreferNoSchedule", "NoExecute"],
        );
    }
    if read::has(toleration, "tolerationSeconds") && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(FieldError::bad_text(
            format!("{field}.effect"),
            effect,
            detail,
        ));
    }
}

fn host_alias(errors: &mut Vec<FieldError>, field: &str, alias: &Value) {
    let ip = read::text(alias, "ip");
    if names::address(ip).is_none() {
        errors.push(FieldError::bad_text(
            format!("{field}.ip"),
            ip,
            names::ADDRESS,
        ));
    }
    for (index, host) in read::texts(alias, "hostnames").into_iter().enumerate() {
        names::push_all(
            errors,
            &format!("{field}.hostnames[{index}]"),
            host,
            names::subdomain(host),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::{fields, merged};

    #[test]
    fn a_pods_spec_is_checked() {
        let good = json!({"containers": [{"name": "a", "image": "b"}], "restartPolicy": "Always", "dnsPolicy": "Default"});
        let cases = [
            (json!({}), vec![]),
            (json!({"containers": null}), vec!["s.containers"]),
            (
                json!({"restartPolicy": "Sometimes"}),
                vec!["s.restartPolicy"],
            ),
            (
                json!({"dnsPolicy": "None"}),
                vec!["s.dnsConfig.nameservers"],
            ),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1", "x"]}}),
                vec!["s.dnsConfig.nameservers[1]"],
            ),
            (json!({"nodeName": "A_B"}), vec!["s.nodeName"]),
            (json!({"hostname": "a.b"}), vec!["s.hostname"]),
            (
                json!({"nodeSelector": {"a": "b c"}}),
                vec!["s.nodeSelector"],
            ),
            (
                json!({"terminationGracePeriodSeconds": -1}),
                vec!["s.terminationGracePeriodSeconds"],
            ),
            (
                json!({"activeDeadlineSeconds": 0}),
                vec!["s.activeDeadlineSeconds"],
            ),
            (
                json!({"tolerations": [{"operator": "Exists"}, {"key": "a", "effect": "Never"}]}),
                vec!["s.tolerations[1].effect"],
            ),
            (
                json!({"tolerations": [{"value": "a"}]}),
                vec!["s.tolerations[0].operator"],
            ),
            (
                json!({"hostAliases": [{"ip": "::1", "hostnames": ["a"]}, {"ip": "x", "hostnames": ["_"]}]}),
                vec!["s.hostAliases[1].ip", "s.hostAliases[1].hostnames[0]"],
            ),
        ];
        for (change, expected) in cases {
            let mut errors = Vec::new();
            pod(&mut errors, "s", &merged(&good, &change));
            assert_eq!(fields(&errors), expected, "{change}");
        }
    }

    #[test]
    fn a_template_matches_its_selector_and_restarts_always() {
        let good = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "a", "image": "b"}], "restartPolicy": "Always", "dnsPolicy": "Default"}}}});
        let cases = [
            (json!({}), vec![]),
            (
                json!({"spec": {"selector": {"matchLabels": {"a": "c"}}}}),
                vec!["spec.template.metadata.labels"],
            ),
            (
                json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
                vec!["spec.template.spec.restartPolicy"],
            ),
            (
                json!({"spec": {"template": {"spec": {"activeDeadlineSeconds": 5}}}}),
                vec!["spec.template.spec.activeDeadlineSeconds"],
            ),
        ];
        for (change, expected) in cases {
            let mut errors = Vec::new();
            template(&mut errors, &merged(&good, &change));
            assert_eq!(fields(&errors), expected, "{change}");
        }
    }
}
