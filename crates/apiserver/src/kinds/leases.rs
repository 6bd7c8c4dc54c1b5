//! Leases.

use k8s_openapi::api::coordination::v1::Lease;
use serde_json::Value;

use super::fault::{FieldError, at_least};
use super::{Kind, any_status, keep_nothing, nothing, read};
use crate::decode::typed;
use crate::table;

/// coordination.k8s.io/v1 Lease.
pub(super) const LEASE: Kind = Kind {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    namespaced: true,
    has_status: false,
    has_scale: false,
    bumps_generation: false,
    custom: None,
    columns: table::simple::LEASE,
    decode: typed::<Lease>,
    default: nothing,
    validate,
    selectable: &[],
    on_create: nothing,
    on_update: keep_nothing,
    on_status: keep_nothing,
    validate_status: any_status,
};

fn validate(new: &Value, _: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &new["spec"];
    if let Some(seconds) = read::int(spec, "leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        let detail = "must be greater than 0";
        errors.push(FieldError::invalid(
            "spec.leaseDurationSeconds",
            &seconds.into(),
            detail,
        ));
    }
    let transitions = read::int(spec, "leaseTransitions");
    at_least(
        &mut errors,
        "spec.leaseTransitions".to_owned(),
        transitions,
        0,
    );
    if spec["holderIdentity"] == "" {
        errors.push(FieldError::bad_text(
            "spec.holderIdentity",
            "",
            "must not be empty",
        ));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::samples::fields;

    #[test]
    fn a_lease_lasts_and_is_held_by_somebody() {
        assert_eq!(
            validate(
                &json!({"spec": {"leaseDurationSeconds": 40, "holderIdentity": "n"}}),
                None
            ),
            []
        );
        let bad = json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1, "holderIdentity": ""}});
        assert_eq!(
            fields(&validate(&bad, None)),
            [
                "spec.leaseDurationSeconds",
                "spec.leaseTransitions",
                "spec.holderIdentity"
            ]
        );
    }
}
