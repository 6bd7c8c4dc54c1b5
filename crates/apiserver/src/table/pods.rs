//! The columns of Pods.

use jiff::Timestamp;
use serde_json::Value;

use super::age;
use super::cells::{AGE, NAME, NONE, or, text, wide};
use super::pod_status::Summary;
use super::seen::Seen::{self, All, Fields};
use crate::kinds::{Column, read};

/// The columns.
pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    text(
        "Ready",
        "The aggregate readiness state of this pod for accepting traffic.",
        |pod, _| {
            let summary = Summary::of(pod);
            format!("{}/{}", summary.ready, summary.total).into()
        },
    ),
    text(
        "Status",
        "The aggregate status of the containers in this pod.",
        |pod, _| Summary::of(pod).reason.into(),
    ),
    text(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last container in this pod \
         has restarted.",
        restarts,
    ),
    AGE,
    wide(
        "IP",
        "IP address allocated to the pod. Empty if not yet allocated.",
        |pod, _| {
            let first = read::list(&pod["status"], "podIPs").first();
            let first = first
                .map(|entry| read::text(entry, "ip"))
                .unwrap_or_default();
            or(or(first, read::text(&pod["status"], "podIP")), NONE).into()
        },
    ),
    wide(
        "Node",
        "The node that this pod is scheduled onto.",
        |pod, _| or(read::text(&pod["spec"], "nodeName"), NONE).into(),
    ),
    wide(
        "Nominated Node",
        "The node that this pod is to run on once the pods that it preempts are gone.",
        |pod, _| or(read::text(&pod["status"], "nominatedNodeName"), NONE).into(),
    ),
    wide(
        "Readiness Gates",
        "How many of the conditions that the pod is to have before it is ready are true.",
        gates,
    ),
];

/// What the cells look at: of a Pod's spec that is little.
pub(super) static SEEN: Seen = Fields(&[
    (
        "metadata",
        Fields(&[
            ("name", All),
            ("creationTimestamp", All),
            ("deletionTimestamp", All),
        ]),
    ),
    (
        "spec",
        Fields(&[
            ("nodeName", All),
            ("containers", Fields(&[])),
            (
                "initContainers",
                Fields(&[("name", All), ("restartPolicy", All)]),
            ),
            ("readinessGates", All),
        ]),
    ),
    (
        "status",
        Fields(&[
            ("phase", All),
            ("reason", All),
            ("podIP", All),
            ("podIPs", All),
            ("nominatedNodeName", All),
            (
                "conditions",
                Fields(&[("type", All), ("status", All), ("reason", All)]),
            ),
            ("containerStatuses", Fields(CONTAINER)),
            ("initContainerStatuses", Fields(CONTAINER)),
        ]),
    ),
]);

const CONTAINER: &[(&str, Seen)] = &[
    ("name", All),
    ("ready", All),
    ("started", All),
    ("restartCount", All),
    ("state", All),
    ("lastState", All),
];

fn restarts(pod: &Value, now: Timestamp) -> Value {
    let summary = Summary::of(pod);
    match summary.last_restart {
        Some(time) if summary.restarts != 0 => {
            let ago = age::between(time, now);
            format!("{} ({ago} ago)", summary.restarts).into()
        }
        _ => summary.restarts.to_string().into(),
    }
}

fn gates(pod: &Value, _: Timestamp) -> Value {
    let gates = read::list(&pod["spec"], "readinessGates");
    if gates.is_empty() {
        return NONE.into();
    }
    let open = |gate: &&Value| {
        read::list(&pod["status"], "conditions")
            .iter()
            .any(|condition| {
                condition["type"] == gate["conditionType"] && condition["status"] == "True"
            })
    };
    format!("{}/{}", gates.iter().filter(open).count(), gates.len()).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cells(pod: &Value) -> Vec<String> {
        let now = "2026-11-27T14:01:00Z".parse().unwrap();
        COLUMNS
            .iter()
            .map(|column| (column.cell)(pod, now).as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_pod_that_was_restarted() {
        let pod = json!({
            "metadata": {"name": "p", "labels": {"a": "b"}, "creationTimestamp": "2026-11-27T14:00:00Z"},
            "spec": {"containers": [{}, {}], "nodeName": "n", "readinessGates": [{"conditionType": "x"}]},
            "status": {
                "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "containerStatuses": [
                    {"ready": true, "restartCount": 1, "state": {"running": {}},
                        "lastState": {"terminated": {"finishedAt": "2026-11-27T14:00:55Z"}}},
                    {"ready": false, "restartCount": 0, "state": {"running": {}}},
                ],
                "conditions": [{"type": "x", "status": "True"}],
            },
        });
        let seen = SEEN.read(pod.to_string().as_bytes()).unwrap();
        assert_eq!(seen["metadata"].get("labels"), None);
        assert_eq!(cells(&seen), cells(&pod));
        assert_eq!(
            cells(&pod),
            [
                "p",
                "1/2",
                "Running",
                "1 (5s ago)",
                "60s",
                "10.0.0.1",
                "n",
                "<none>",
                "1/1"
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn the_cells_look_at_nothing_else(
            base in crate::kinds::samples::pod(),
            change in crate::kinds::samples::json(),
        ) {
            let odd = json!({"metadata": change, "spec": change, "status": change});
            for pod in [&crate::kinds::samples::merged(&base, &change), &base, &odd] {
                let seen = SEEN.read(pod.to_string().as_bytes()).unwrap();
                proptest::prop_assert_eq!(cells(&seen), cells(pod));
            }
        }
    }

    #[test]
    fn a_pod_that_nobody_has_seen() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{}]}, "status": {"phase": "Pending"}});
        assert_eq!(
            cells(&pod),
            [
                "p",
                "0/1",
                "Pending",
                "0",
                "<unknown>",
                "<none>",
                "<none>",
                "<none>",
                "<none>"
            ]
        );
    }
}
