//! The columns of ControllerRevisions, DaemonSets, Deployments and ReplicaSets.

use serde_json::Value;

use super::cells::{
    AGE, NAME, NONE, container_images, container_names, joined, number, text, wide,
};
use crate::kinds::{Column, read, selector};

const CONTAINERS: Column = wide(
    "Containers",
    "Names of each container in the template.",
    |owner, _| container_names(&owner["spec"]["template"]["spec"]).into(),
);
const IMAGES: Column = wide(
    "Images",
    "Images referenced by each container in the template.",
    |owner, _| container_images(&owner["spec"]["template"]["spec"]).into(),
);
const SELECTOR: Column = wide("Selector", "Label selector for pods.", |owner, _| {
    selector::format(&owner["spec"]["selector"]).into()
});

/// The columns of Deployments.
pub(crate) const DEPLOYMENT: &[Column] = &[
    NAME,
    text(
        "Ready",
        "Number of the pod with ready state",
        |deployment, _| {
            let ready = count(&deployment["status"], "readyReplicas");
            format!("{ready}/{}", count(&deployment["spec"], "replicas")).into()
        },
    ),
    number(
        "Up-to-date",
        "Total number of pods that have the desired template spec.",
        |deployment, _| count(&deployment["status"], "updatedReplicas").into(),
    ),
    number(
        "Available",
        "Total number of available pods targeted by this deployment.",
        |deployment, _| count(&deployment["status"], "availableReplicas").into(),
    ),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

/// The columns of ReplicaSets.
pub(crate) const REPLICA_SET: &[Column] = &[
    NAME,
    number("Desired", "The number of desired pods.", |set, _| {
        count(&set["spec"], "replicas").into()
    }),
    number(
        "Current",
        "The most recently observed number of pods.",
        |set, _| count(&set["status"], "replicas").into(),
    ),
    number(
        "Ready",
        "The number of pods with a Ready condition.",
        |set, _| count(&set["status"], "readyReplicas").into(),
    ),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

/// The columns of DaemonSets.
pub(crate) const DAEMON_SET: &[Column] = &[
    NAME,
    number("Desired", "How many nodes are to have a Pod.", |set, _| {
        count(&set["status"], "desiredNumberScheduled").into()
    }),
    number("Current", "How many of them have one.", |set, _| {
        count(&set["status"], "currentNumberScheduled").into()
    }),
    number("Ready", "How many of these are ready.", |set, _| {
        count(&set["status"], "numberReady").into()
    }),
    number(
        "Up-to-date",
        "How many have a Pod of the newest template.",
        |set, _| count(&set["status"], "updatedNumberScheduled").into(),
    ),
    number(
        "Available",
        "How many have a Pod that has been ready for long enough.",
        |set, _| count(&set["status"], "numberAvailable").into(),
    ),
    text("Node Selector", "Which nodes are meant.", |set, _| {
        let spec = &set["spec"]["template"]["spec"];
        let pairs = read::pairs(spec, "nodeSelector").into_iter();
        let pairs: Vec<String> = pairs.map(|(k, v)| format!("{k}={v}")).collect();
        joined(pairs.iter().map(String::as_str)).into()
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

/// The columns of ControllerRevisions.
pub(crate) const CONTROLLER_REVISION: &[Column] = &[
    NAME,
    text("Controller", "Controller of the object", |revision, _| {
        controller(&revision["metadata"]).into()
    }),
    number(
        "Revision",
        "Revision indicates the revision of the state represented by Data.",
        |revision, _| count(revision, "revision").into(),
    ),
    AGE,
];

/// The owner that manages an object, as `daemonset.apps/agent`.
fn controller(metadata: &Value) -> String {
    let mut owners = read::list(metadata, "ownerReferences").iter();
    let Some(owner) = owners.find(|owner| read::flag(owner, "controller")) else {
        return NONE.to_owned();
    };
    let group = read::text(owner, "apiVersion").rsplit_once('/');
    let group = group.map_or(String::new(), |(group, _)| format!(".{group}"));
    let kind = read::text(owner, "kind").to_lowercase();
    format!("{kind}{group}/{}", read::text(owner, "name"))
}

fn count(value: &Value, field: &str) -> i64 {
    read::int(value, field).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn workloads_are_shown() {
        let owner = json!({
            "metadata": {"name": "w", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}},
                "template": {"spec": {"containers": [{"name": "x", "image": "y"}, {"name": "z", "image": "y:1"}]}}},
            "status": {"replicas": 4, "readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2},
        });
        let cells = |columns: &[Column]| -> Value {
            columns
                .iter()
                .map(|column| (column.cell)(&owner, Timestamp::UNIX_EPOCH))
                .collect()
        };
        assert_eq!(
            cells(DEPLOYMENT),
            json!(["w", "2/3", 1, 2, "0s", "x,z", "y,y:1", "a=b"])
        );
        assert_eq!(
            cells(DAEMON_SET),
            json!(["w", 0, 0, 0, 0, 0, "<none>", "0s", "x,z", "y,y:1", "a=b"])
        );
        assert_eq!(
            cells(REPLICA_SET),
            json!(["w", 3, 4, 2, "0s", "x,z", "y,y:1", "a=b"])
        );
    }

    #[test]
    fn a_revision_names_its_controller() {
        let mut revision = json!({
            "metadata": {"name": "r", "creationTimestamp": "1970-01-01T00:00:00Z", "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": "n"},
                {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "controller": true}]},
            "revision": 2,
        });
        let cells = |revision: &Value| -> Value {
            let columns = CONTROLLER_REVISION.iter();
            columns
                .map(|column| (column.cell)(revision, Timestamp::UNIX_EPOCH))
                .collect()
        };
        assert_eq!(
            cells(&revision),
            json!(["r", "daemonset.apps/agent", 2, "0s"])
        );
        revision["metadata"]["ownerReferences"] = Value::Null;
        assert_eq!(cells(&revision)[1], "<none>");
    }
}
