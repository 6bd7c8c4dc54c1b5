//! ServiceCIDRs and IPAddresses: the ranges of ClusterIPs and who holds which. What follows from
//! them for Services is the allocator's.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use serde_json::{Value, json};

use super::fault::{FieldError, immutable};
use super::{
    Kind, any_status, drop_status, keep_nothing, keep_status, names, nothing, only_status, read,
};
use crate::decode::typed;
use crate::table;

/// What keeps a ServiceCIDR as long as addresses are held that no other one has.
pub(crate) const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

/// networking.k8s.io/v1 ServiceCIDR.
pub(super) const SERVICE_CIDR: Kind = Kind {
    group: "networking.k8s.io",
    version: "v1",
    kind: "ServiceCIDR",
    plural: "servicecidrs",
    singular: "servicecidr",
    short_names: &[],
    categories: &[],
    namespaced: false,
    has_status: true,
    has_scale: false,
    bumps_generation: false,
    custom: None,
    columns: table::addresses::SERVICE_CIDR,
    decode: typed::<ServiceCIDR>,
    default: nothing,
    validate: ranges,
    selectable: &[],
    on_create: |new| {
        drop_status(new);
        hold(new);
    },
    on_update: keep_status,
    on_status: only_status,
    validate_status: any_status,
};

/// networking.k8s.io/v1 IPAddress.
pub(super) const IP_ADDRESS: Kind = Kind {
    kind: "IPAddress",
    plural: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    has_status: false,
    columns: table::addresses::IP_ADDRESS,
    decode: typed::<IPAddress>,
    validate: address,
    on_create: nothing,
    on_update: keep_nothing,
    on_status: keep_nothing,
    ..SERVICE_CIDR
};

/// The ranges of a ServiceCIDR.
pub(crate) fn cidrs(value: &Value) -> Vec<IpNet> {
    let texts = read::texts(&value["spec"], "cidrs");
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// The address that an IPAddress is of: its name.
pub(crate) fn address_of(value: &Value) -> Option<IpAddr> {
    names::address(read::text(&value["metadata"], "name"))
}

/// What is wrong with a name that is not an address, as all write it.
pub(super) fn address_name(text: &str) -> Vec<String> {
    match names::address(text) {
        Some(address) if address.to_string() == text => Vec::new(),
        Some(address) => vec![format!(
            "must be in canonical form ({:?})",
            address.to_string()
        )],
        None => vec![names::ADDRESS.to_owned()],
    }
}

fn hold(new: &mut Value) {
    let Some(metadata) = read::child(new, "metadata") else {
        return;
    };
    let finalizers = metadata.entry("finalizers").or_insert(Value::Null);
    if finalizers.is_null() {
        *finalizers = json!([]);
    }
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.iter().any(|one| one == FINALIZER)
    {
        finalizers.push(FINALIZER.into());
    }
}

fn ranges(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let given = read::texts(&new["spec"], "cidrs");
    let all = &new["spec"]["cidrs"];
    if given.is_empty() {
        let detail = "at least one CIDR required";
        errors.push(FieldError::required("spec.cidrs", detail));
        return errors;
    }
    if given.len() > 2 {
        let detail = "may only hold up to 2 values";
        errors.push(FieldError::invalid("spec.cidrs", all, detail));
        return errors;
    }
    for (index, text) in given.iter().enumerate() {
        if let Some(fault) = range_fault(text) {
            let field = format!("spec.cidrs[{index}]");
            errors.push(FieldError::bad_text(field, text, &fault));
        }
    }
    let families: Vec<bool> = cidrs(new)
        .iter()
        .map(|range| range.addr().is_ipv4())
        .collect();
    if let [first, second] = families[..]
        && first == second
    {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and \
                      2001:db8::/96";
        errors.push(FieldError::invalid("spec.cidrs", all, detail));
    }
    if let Some(old) = old {
        unchanged(
            &mut errors,
            &given,
            &read::texts(&old["spec"], "cidrs"),
            all,
        );
    }
    errors
}

fn range_fault(text: &str) -> Option<String> {
    let Ok(range) = text.parse::<IpNet>() else {
        return Some(names::CIDR.to_owned());
    };
    let canonical = range.trunc().to_string();
    (canonical != text).then(|| format!("must be in canonical form ({canonical:?})"))
}

/// Ranges are for good; a second family may come.
fn unchanged(errors: &mut Vec<FieldError>, given: &[&str], before: &[&str], all: &Value) {
    if given.len() < before.len() {
        let detail = "field is immutable";
        errors.push(FieldError::invalid("spec.cidrs", all, detail));
        return;
    }
    for (index, (given, before)) in given.iter().zip(before).enumerate() {
        let field = format!("spec.cidrs[{index}]");
        immutable(errors, &field, &Value::from(*given), &Value::from(*before));
    }
}

fn address(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let parent = &new["spec"]["parentRef"];
    if parent.is_null() {
        errors.push(FieldError::required("spec.parentRef", ""));
    } else {
        for (name, needed, rule) in [
            ("group", false, names::subdomain as names::Rule),
            ("resource", true, names::path_segment),
            ("namespace", false, names::path_segment),
            ("name", true, names::path_segment),
        ] {
            let (field, value) = (format!("spec.parentRef.{name}"), read::text(parent, name));
            if !value.is_empty() {
                names::push_all(&mut errors, &field, value, rule(value));
            } else if needed {
                errors.push(FieldError::required(field, ""));
            }
        }
    }
    if let Some(old) = old {
        let before = &old["spec"]["parentRef"];
        immutable(&mut errors, "spec.parentRef", parent, before);
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::samples::fields;

    #[test]
    fn ranges_are_canonical_one_of_a_family_and_for_good() {
        let of = |cidrs: Value| json!({"spec": {"cidrs": cidrs}});
        let cases = [
            (json!(["10.0.0.0/24"]), vec![]),
            (json!(["10.0.0.0/24", "fd00::/112"]), vec![]),
            (json!([]), vec!["spec.cidrs"]),
            (json!(["10.0.0.0/24", "10.1.0.0/24"]), vec!["spec.cidrs"]),
            (
                json!(["10.0.0.0/24", "fd00::/112", "fd01::/112"]),
                vec!["spec.cidrs"],
            ),
            (
                json!(["10.0.0.1/24", "fd00:0::/112"]),
                vec!["spec.cidrs[0]", "spec.cidrs[1]"],
            ),
            (json!(["10.0.0.0"]), vec!["spec.cidrs[0]"]),
        ];
        for (cidrs, expected) in cases {
            assert_eq!(fields(&ranges(&of(cidrs), None)), expected);
        }
        let change = |old: Value, new: Value| {
            let errors = ranges(&of(new), Some(&of(old)));
            errors
                .into_iter()
                .map(|error| error.field)
                .collect::<Vec<_>>()
        };
        let (one, both) = (json!(["10.0.0.0/24"]), json!(["10.0.0.0/24", "fd00::/112"]));
        assert!(change(one.clone(), both.clone()).is_empty());
        assert_eq!(change(both, one.clone()), ["spec.cidrs"]);
        assert_eq!(change(one, json!(["10.0.1.0/24"])), ["spec.cidrs[0]"]);
    }

    #[test]
    fn an_address_is_named_in_one_way_and_has_a_parent() {
        for (name, good) in [
            ("10.0.0.1", true),
            ("fd00::1", true),
            ("fd00:0::1", false),
            ("FD00::1", false),
            ("web", false),
        ] {
            assert_eq!(address_name(name).is_empty(), good, "{name}");
        }
        let of = |parent: Value| json!({"spec": {"parentRef": parent}});
        let good = json!({"resource": "services", "namespace": "a", "name": "web"});
        assert_eq!(address(&of(good.clone()), None), []);
        assert_eq!(
            fields(&address(&json!({"spec": {}}), None)),
            ["spec.parentRef"]
        );
        let bad = of(json!({"group": "A", "name": "a/b"}));
        assert_eq!(
            fields(&address(&bad, Some(&of(good)))),
            [
                "spec.parentRef.group",
                "spec.parentRef.resource",
                "spec.parentRef.name",
                "spec.parentRef"
            ]
        );
    }
}
