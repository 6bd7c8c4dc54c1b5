//! Objects for the tests of Deployments.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use serde_json::json;

/// A Deployment of the usual kind.
pub(crate) fn deployment(replicas: i32) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "deployment", "generation": 1,
                     "annotations": {"team": "a", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                         "spec": {"containers": [{"name": "main", "image": "web:1"}]}},
        },
    }))
    .expect("a Deployment")
}

/// Another version of the template.
pub(crate) fn set_image(deployment: &mut Deployment, image: &str) {
    let spec = &mut deployment.spec;
    let pod = spec.template.spec.as_mut().expect("a Pod");
    pod.containers[0].image = Some(image.to_owned());
    *deployment.metadata.generation.get_or_insert(0) += 1;
}

/// A set as it would be after creation, with so many Pods that are all well.
pub(crate) fn settled(mut set: ReplicaSet, created: i64, available: i32) -> Arc<ReplicaSet> {
    set.metadata.uid = set.metadata.name.clone();
    set.metadata.generation = Some(1);
    let time = k8s_openapi::jiff::Timestamp::from_second(created).expect("a time");
    set.metadata.creation_timestamp = Some(crate::meta::to_time(time));
    let status = json!({"replicas": available, "readyReplicas": available,
        "availableReplicas": available, "observedGeneration": 1});
    set.status = serde_json::from_value(status).ok();
    Arc::new(set)
}
