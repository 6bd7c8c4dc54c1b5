//! Pods: their entry, and the rules that Deployments and ReplicaSets share through the template.
//!
//! What a Pod's containers do is the runtime's; this is only what the API promises of the object.

mod containers;
mod defaults;
mod environment;
mod probes;
mod qos;
mod resources;
mod spec;
mod update;
mod volumes;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::fault::FieldError;
use super::{Kind, Selectable, any_status, keep_metadata, keep_status, only_status, read};
use crate::decode::typed;
use crate::table;

pub(super) use defaults::template as default_template;
pub(super) use spec::template as validate_template;

/// core/v1 Pod.
pub(super) const POD: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    namespaced: true,
    has_status: true,
    has_scale: false,
    bumps_generation: true,
    custom: None,
    columns: table::pods::COLUMNS,
    decode: typed::<Pod>,
    default: defaults::pod,
    validate,
    selectable: &[
        Selectable {
            path: "spec.nodeName",
            get: |pod| read::text(&pod["spec"], "nodeName").to_owned(),
        },
        Selectable {
            path: "spec.restartPolicy",
            get: |pod| read::text(&pod["spec"], "restartPolicy").to_owned(),
        },
        Selectable {
            path: "spec.schedulerName",
            get: |pod| read::text(&pod["spec"], "schedulerName").to_owned(),
        },
        Selectable {
            path: "spec.serviceAccountName",
            get: |pod| read::text(&pod["spec"], "serviceAccountName").to_owned(),
        },
        Selectable {
            path: "spec.hostNetwork",
            get: |pod| read::flag(&pod["spec"], "hostNetwork").to_string(),
        },
        Selectable {
            path: "status.phase",
            get: |pod| read::text(&pod["status"], "phase").to_owned(),
        },
        Selectable {
            path: "status.podIP",
            get: |pod| read::text(&pod["status"], "podIP").to_owned(),
        },
        Selectable {
            path: "status.nominatedNodeName",
            get: |pod| read::text(&pod["status"], "nominatedNodeName").to_owned(),
        },
    ],
    on_create,
    on_update: keep_status,
    on_status,
    validate_status: any_status,
};

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    spec::pod(&mut errors, "spec", &new["spec"]);
    if let Some(old) = old {
        update::validate(&mut errors, &new["spec"], &old["spec"]);
    }
    errors
}

fn on_create(pod: &mut Value) {
    let status = json!({"phase": "Pending", "qosClass": qos::class(&pod["spec"])});
    if let Some(fields) = pod.as_object_mut() {
        fields.insert("status".to_owned(), status);
    }
}

fn on_status(new: &mut Value, old: &Value) {
    only_status(new, old);
    keep_metadata(new, old, "ownerReferences");
    if let Some(class) = old["status"].get("qosClass") {
        read::set(new, "status", "qosClass", class.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_pod_is_pending_whatever_its_author_says() {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}]}, "status": {"phase": "Running", "podIP": "1.2.3.4"}});
        on_create(&mut pod);
        assert_eq!(
            pod["status"],
            json!({"phase": "Pending", "qosClass": "BestEffort"})
        );
    }

    #[test]
    fn an_update_keeps_the_status_and_a_status_keeps_the_class() {
        let old = json!({"spec": {}, "status": {"phase": "Running", "qosClass": "Burstable"}});
        let mut new = json!({"spec": {}, "status": {"phase": "Failed"}});
        keep_status(&mut new, &old);
        assert_eq!(new["status"], old["status"]);
        let mut new = json!({"spec": {"a": 1}, "status": {"phase": "Failed"}});
        on_status(&mut new, &old);
        assert_eq!(
            new,
            json!({"spec": {}, "status": {"phase": "Failed", "qosClass": "Burstable"}})
        );
    }
}
