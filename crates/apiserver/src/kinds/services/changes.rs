//! What an update of a Service may not change.
//!
//! Addresses and families are for as long as the Service has any; the second one may come, and go
//! again where the Service is said to have one family. A class and a health check port are chosen once.

use std::cmp::Ordering;

use serde_json::Value;

use crate::kinds::fault::FieldError;
use crate::kinds::read;

const FOR_LIFE: &str = "may not change once set";

/// Refuses what may not change.
pub(super) fn check(errors: &mut Vec<FieldError>, spec: &Value, old: &Value) {
    let kind = |spec: &Value| read::text(spec, "type").to_owned();
    let (now, before) = (kind(spec), kind(old));
    if now != "ExternalName" && before != "ExternalName" {
        let headless = [spec, old].map(|spec| read::texts(spec, "clusterIPs") == ["None"]);
        if headless != [true, true] {
            list(errors, "clusterIPs", "clusterIP", spec, old);
        }
        if headless == [false, false] {
            list(errors, "ipFamilies", "ipFamily", spec, old);
        }
    }
    let balanced = |kind: &str| kind == "LoadBalancer";
    if balanced(&now) && balanced(&before) {
        let [class, was] = [spec, old].map(|spec| &spec["loadBalancerClass"]);
        if class != was {
            errors.push(FieldError::invalid(
                "spec.loadBalancerClass",
                class,
                FOR_LIFE,
            ));
        }
    }
    let [port, was] = [spec, old].map(|spec| &spec["healthCheckNodePort"]);
    if needs_health_check(spec) && needs_health_check(old) && port != was {
        let field = "spec.healthCheckNodePort";
        errors.push(FieldError::invalid(field, port, "field is immutable"));
    }
}

/// Whether something outside asks each node for the Service's health.
pub(super) fn needs_health_check(spec: &Value) -> bool {
    read::text(spec, "type") == "LoadBalancer"
        && read::text(spec, "externalTrafficPolicy") == "Local"
}

/// A list whose first entry stays, and whose second comes and goes.
fn list(errors: &mut Vec<FieldError>, name: &str, one: &str, spec: &Value, old: &Value) {
    let [now, before] = [spec, old].map(|spec| read::texts(spec, name));
    let field = |index: usize| format!("spec.{name}[{index}]");
    let mut refuse = |index: usize, detail: &str| {
        errors.push(FieldError::invalid(field(index), &spec[name], detail));
    };
    match now.len().cmp(&before.len()) {
        Ordering::Equal => {
            for index in (0..now.len()).filter(|index| now[*index] != before[*index]) {
                refuse(index, FOR_LIFE);
            }
        }
        Ordering::Less if now.is_empty() => {
            refuse(0, &format!("primary {one} can not be unset"));
        }
        _ if !before.is_empty() && now[0] != before[0] => refuse(0, FOR_LIFE),
        Ordering::Less if read::text(spec, "ipFamilyPolicy") != "SingleStack" => {
            let detail = format!("must be set to 'SingleStack' when releasing the secondary {one}");
            let policy = &spec["ipFamilyPolicy"];
            errors.push(FieldError::invalid("spec.ipFamilyPolicy", policy, &detail));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::{fields, merged};

    fn faults(old: Value, change: Value) -> Vec<(String, String)> {
        let mut errors = Vec::new();
        check(&mut errors, &merged(&old, &change), &old);
        errors
            .into_iter()
            .map(|error| (error.field, error.message))
            .collect()
    }

    #[test]
    fn the_first_address_stays_and_the_second_comes_and_goes() {
        let one = json!({"type": "ClusterIP", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"]});
        let two = json!({"type": "ClusterIP", "clusterIPs": ["10.0.0.1", "fd00::1"],
            "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"});
        assert_eq!(faults(one.clone(), two.clone()), []);
        let refused = faults(one.clone(), json!({"clusterIPs": ["10.0.0.2"]}));
        let words = "Invalid value: [\"10.0.0.2\"]: may not change once set";
        assert_eq!(
            refused,
            [("spec.clusterIPs[0]".to_owned(), words.to_owned())]
        );
        let field = |old: &Value, change: Value| -> Vec<String> {
            let found = faults(old.clone(), change).into_iter();
            found.map(|(field, _)| field).collect()
        };
        let second = json!({"clusterIPs": ["10.0.0.1", "fd00::2"]});
        assert_eq!(field(&two, second), ["spec.clusterIPs[1]"]);
        let swapped = json!({"ipFamilies": ["IPv6", "IPv4"]});
        assert_eq!(
            field(&two, swapped),
            ["spec.ipFamilies[0]", "spec.ipFamilies[1]"]
        );
        assert_eq!(field(&two, one.clone()), ["spec.ipFamilyPolicy"; 2]);
        let single = merged(&one, &json!({"ipFamilyPolicy": "SingleStack"}));
        assert_eq!(field(&two, single), [""; 0]);
        assert_eq!(
            field(&two, json!({"clusterIPs": []})),
            ["spec.clusterIPs[0]"]
        );
    }

    #[test]
    fn a_name_and_a_headless_service_have_nothing_to_keep() {
        let none = json!({"type": "ClusterIP", "clusterIPs": ["None"], "ipFamilies": ["IPv4"]});
        assert_eq!(faults(none.clone(), json!({"ipFamilies": ["IPv6"]})), []);
        let addressed = faults(none, json!({"clusterIPs": ["10.0.0.1"]}));
        assert_eq!(addressed[0].0, "spec.clusterIPs[0]");
        let named = json!({"type": "ExternalName"});
        assert_eq!(
            faults(
                named,
                json!({"type": "ClusterIP", "clusterIPs": ["10.0.0.1"]})
            ),
            []
        );
    }

    #[test]
    fn s22_a_class_and_a_health_check_port_are_chosen_once() {
        let old = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "loadBalancerClass": "a", "healthCheckNodePort": 30000});
        let mut errors = Vec::new();
        let new = merged(
            &old,
            &json!({"loadBalancerClass": null, "healthCheckNodePort": 30001}),
        );
        check(&mut errors, &new, &old);
        assert_eq!(
            fields(&errors),
            ["spec.loadBalancerClass", "spec.healthCheckNodePort"]
        );
        let other =
            json!({"type": "NodePort", "loadBalancerClass": null, "healthCheckNodePort": null});
        assert_eq!(faults(old, other), []);
    }
}
