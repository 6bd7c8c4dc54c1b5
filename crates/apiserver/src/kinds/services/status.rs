//! The status of Services: where a load balancer is reached.

use serde_json::{Value, json};

use crate::kinds::fault::FieldError;
use crate::kinds::{names, only_status, read};

const MODES: [&str; 2] = ["Proxy", "VIP"];

/// An update of the status; an address that says nothing more is one that packets arrive with.
pub(super) fn on_status(new: &mut Value, old: &Value) {
    only_status(new, old);
    let Some(balancer) = new.pointer_mut("/status/loadBalancer") else {
        return;
    };
    for ingress in read::list_mut(balancer, "ingress") {
        if !read::text(ingress, "ip").is_empty() {
            read::default(ingress, "ipMode", "VIP");
        }
    }
}

/// A Service that is balanced no more has no balancer's addresses.
pub(super) fn forget_balancer(service: &mut Value) {
    if read::text(&service["spec"], "type") != "LoadBalancer" {
        read::set(service, "status", "loadBalancer", json!({}));
    }
}

/// What is wrong with the status of a Service.
pub(super) fn validate(service: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let place = "status.loadBalancer.ingress";
    let given = read::list(&service["status"]["loadBalancer"], "ingress");
    if !given.is_empty() && read::text(&service["spec"], "type") != "LoadBalancer" {
        let detail = "may only be used when `spec.type` is LoadBalancer";
        errors.push(FieldError::forbidden(place, detail));
        return errors;
    }
    for (index, one) in given.iter().enumerate() {
        ingress(&mut errors, &format!("{place}[{index}]"), one);
    }
    errors
}

fn ingress(errors: &mut Vec<FieldError>, place: &str, ingress: &Value) {
    let [ip, host, mode] = ["ip", "hostname", "ipMode"].map(|field| read::text(ingress, field));
    if !ip.is_empty() && names::address(ip).is_none() {
        errors.push(FieldError::bad_text(
            format!("{place}.ip"),
            ip,
            names::ADDRESS,
        ));
    }
    if !mode.is_empty() {
        let field = format!("{place}.ipMode");
        if ip.is_empty() {
            let detail = "may not be specified when `ip` is not set";
            errors.push(FieldError::forbidden(field, detail));
        } else if !MODES.contains(&mode) {
            errors.push(FieldError::not_supported(field, mode, &MODES));
        }
    }
    if host.is_empty() {
        return;
    }
    let field = format!("{place}.hostname");
    names::push_all(errors, &field, host, names::subdomain(host));
    if names::address(host).is_some() {
        let detail = "must be a DNS name, not an IP address";
        errors.push(FieldError::bad_text(field, host, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::samples::fields;

    fn service(kind: &str, ingress: Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": {"type": kind},
            "status": {"loadBalancer": {"ingress": ingress}}})
    }

    #[test]
    fn s19_an_address_is_a_vip_unless_it_says_more() {
        let old = service("LoadBalancer", json!([]));
        let given = json!([{"ip": "192.0.2.1"}, {"ip": "192.0.2.2", "ipMode": "Proxy"},
            {"hostname": "a.b"}]);
        let mut new = service("LoadBalancer", given);
        on_status(&mut new, &old);
        assert_eq!(
            new["status"]["loadBalancer"]["ingress"],
            json!([{"ip": "192.0.2.1", "ipMode": "VIP"}, {"ip": "192.0.2.2", "ipMode": "Proxy"},
                {"hostname": "a.b"}])
        );
        assert_eq!(validate(&new), []);
    }

    #[test]
    fn a_status_is_checked() {
        let bad = json!([{"ip": "x"}, {"ipMode": "VIP"}, {"ip": "::1", "ipMode": "Other"},
            {"hostname": "10.0.0.1"}, {"hostname": "A"}]);
        let place = |rest: &str| format!("status.loadBalancer.ingress{rest}");
        let expected = [
            "[0].ip",
            "[1].ipMode",
            "[2].ipMode",
            "[3].hostname",
            "[4].hostname",
        ];
        assert_eq!(
            fields(&validate(&service("LoadBalancer", bad))),
            expected.map(place)
        );
        let other = validate(&service("NodePort", json!([{"ip": "192.0.2.1"}])));
        assert_eq!(fields(&other), [place("")]);
    }

    #[test]
    fn who_is_balanced_no_more_has_no_such_addresses() {
        let mut kept = service("LoadBalancer", json!([{"ip": "192.0.2.1"}]));
        let before = kept.clone();
        forget_balancer(&mut kept);
        assert_eq!(kept, before);
        kept["spec"]["type"] = "ClusterIP".into();
        forget_balancer(&mut kept);
        assert_eq!(kept["status"], json!({"loadBalancer": {}}));
    }
}
