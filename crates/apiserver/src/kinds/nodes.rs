//! Nodes. A new Node keeps the status that its agent gives; later the status has its own door.

use std::collections::BTreeSet;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use super::fault::{FieldError, one_of};
use super::{Kind, Selectable, any_status, keep_status, names, nothing, only_status, read};
use crate::decode::typed;
use crate::table;

/// core/v1 Node.
pub(super) const NODE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    namespaced: false,
    has_status: true,
    has_scale: false,
    bumps_generation: false,
    custom: None,
    columns: table::nodes::COLUMNS,
    decode: typed::<Node>,
    default,
    validate,
    selectable: &[Selectable {
        path: "spec.unschedulable",
        get: |node| read::flag(&node["spec"], "unschedulable").to_string(),
    }],
    on_create: nothing,
    on_update: keep_status,
    on_status: only_status,
    validate_status: any_status,
};

/// `podCIDR` is the first of `podCIDRs`; each fills the other.
fn default(node: &mut Value) {
    let Some(spec) = node.get_mut("spec").filter(|spec| spec.is_object()) else {
        return;
    };
    let first = read::texts(spec, "podCIDRs")
        .first()
        .map(|cidr| json!(cidr));
    let single = read::text(spec, "podCIDR").to_owned();
    match first {
        Some(first) => read::default(spec, "podCIDR", first),
        None if !single.is_empty() => read::put(spec, "podCIDRs", json!([single])),
        None => {}
    }
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &new["spec"];
    taints(&mut errors, spec);
    cidrs(&mut errors, spec);
    let Some(old) = old.map(|old| &old["spec"]) else {
        return errors;
    };
    for field in ["podCIDRs", "providerID"] {
        if read::has(old, field) && old[field] != spec[field] {
            let detail = "node updates may not change this field except from \"\" to valid";
            errors.push(FieldError::forbidden(format!("spec.{field}"), detail));
        }
    }
    errors
}

fn cidrs(errors: &mut Vec<FieldError>, spec: &Value) {
    let cidrs = read::texts(spec, "podCIDRs");
    let parsed: Vec<Option<IpNet>> = cidrs.iter().map(|cidr| cidr.parse().ok()).collect();
    for (index, cidr) in cidrs.iter().enumerate() {
        if parsed[index].is_none() {
            errors.push(FieldError::bad_text(
                format!("spec.podCIDRs[{index}]"),
                cidr,
                names::CIDR,
            ));
        }
    }
    let first = read::text(spec, "podCIDR");
    if cidrs.first().is_some_and(|cidr| *cidr != first) {
        let detail = "must be the same as podCIDRs[0]";
        errors.push(FieldError::bad_text("spec.podCIDR", first, detail));
    }
    let of_v4 = |v4: bool| {
        parsed
            .iter()
            .flatten()
            .filter(|cidr| cidr.addr().is_ipv4() == v4)
            .count()
    };
    if of_v4(true) > 1 || of_v4(false) > 1 {
        let detail = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid(
            "spec.podCIDRs",
            &spec["podCIDRs"],
            detail,
        ));
    }
}

fn taints(errors: &mut Vec<FieldError>, spec: &Value) {
    let mut seen = BTreeSet::new();
    for (index, taint) in read::list(spec, "taints").iter().enumerate() {
        let field = format!("spec.taints[{index}]");
        let (key, value) = (read::text(taint, "key"), read::text(taint, "value"));
        let effect = read::text(taint, "effect");
        names::push_all(errors, &format!("{field}.key"), key, names::qualified(key));
        names::push_all(
            errors,
            &format!("{field}.value"),
            value,
            names::label_value(value),
        );
        one_of(
            errors,
            format!("{field}.effect"),
            effect,
            &["NoSchedule", "PreferNoSchedule", "NoExecute"],
        );
        if !seen.insert((key, effect)) {
            errors.push(FieldError::duplicate(&field, taint));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::samples::fields;

    #[test]
    fn pod_cidrs_are_one_a_family_and_stay() {
        let node = |cidrs: Value| {
            let mut node = json!({"spec": {"podCIDRs": cidrs}});
            default(&mut node);
            node
        };
        let both = node(json!(["10.0.0.0/24", "fd00::/64"]));
        assert_eq!(both["spec"]["podCIDR"], "10.0.0.0/24");
        assert_eq!(validate(&both, Some(&json!({"spec": {}}))), []);
        assert_eq!(
            fields(&validate(
                &node(json!(["10.0.0.0/24", "10.1.0.0/24"])),
                None
            )),
            ["spec.podCIDRs"]
        );
        assert_eq!(
            fields(&validate(&node(json!(["x"])), None)),
            ["spec.podCIDRs[0]"]
        );
        assert_eq!(
            fields(&validate(&node(json!(["10.1.0.0/24"])), Some(&both))),
            ["spec.podCIDRs"]
        );
        let mut single = json!({"spec": {"podCIDR": "10.0.0.0/24"}});
        default(&mut single);
        assert_eq!(single["spec"]["podCIDRs"], json!(["10.0.0.0/24"]));
    }

    #[test]
    fn taints_are_well_formed_and_there_once() {
        let node = json!({"spec": {"taints": [
            {"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}, {"key": "a b", "effect": "Never"}]}});
        assert_eq!(
            fields(&validate(&node, None)),
            [
                "spec.taints[1]",
                "spec.taints[2].key",
                "spec.taints[2].effect"
            ]
        );
    }
}
