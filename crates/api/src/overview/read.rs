//! What of each object is told.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};
use k8s_openapi::jiff::Timestamp;

use super::{
    AgentOverview, CONTROLLER_LEASE, ControllerOverview, NodeOverview, OwnPod, VERSION_ANNOTATION,
    WaitingPod,
};
use crate::convert::NETWORK_CONDITION;
use crate::heartbeat::{AGENT_LABEL, LEASE_SECONDS, SUMMARY_ANNOTATION, node_of_lease};

/// Keeps Pods from a node until its agent has been ready.
const AGENT_TAINT: &str = "network.seaway.dev/agent-not-ready";
/// A Pod may be without an address for so many seconds.
const PATIENCE: u64 = 30;

pub(super) fn node(node: &Node) -> NodeOverview {
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let is = |of: &str| {
        let mut all = conditions.unwrap_or_default().iter();
        all.any(|condition| condition.type_ == of && condition.status == "True")
    };
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    let label = |key: &str| node.metadata.labels.as_ref()?.get(key).map(String::as_str);
    NodeOverview {
        name: node.metadata.name.clone().unwrap_or_default(),
        ready: is("Ready"),
        linux: label("kubernetes.io/os").is_none_or(|os| os == "linux")
            && label("type") != Some("virtual-kubelet"),
        network_unavailable: is(NETWORK_CONDITION),
        awaits_agent: taints
            .unwrap_or_default()
            .iter()
            .any(|taint| taint.key == AGENT_TAINT),
    }
}

/// When a Lease was renewed.
pub(super) fn renewed(lease: &Lease) -> Option<Timestamp> {
    let renewed = lease.spec.as_ref()?.renew_time.as_ref()?;
    Some(renewed.0)
}

fn seconds_since(at: Timestamp, now: Timestamp) -> u64 {
    // What is a moment in the future was just now.
    u64::try_from(now.duration_since(at).as_secs()).unwrap_or_default()
}

fn good_for(lease: &Lease) -> u64 {
    let seconds = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.lease_duration_seconds);
    u64::try_from(seconds.unwrap_or(LEASE_SECONDS)).unwrap_or_default()
}

fn annotation<'a>(lease: &'a Lease, key: &str) -> Option<&'a str> {
    let all = lease.metadata.annotations.as_ref()?;
    all.get(key).map(String::as_str)
}

/// The Lease of an agent, if it is one.
pub(super) fn agent(lease: &Lease, now: Timestamp) -> Option<AgentOverview> {
    lease.metadata.labels.as_ref()?.get(AGENT_LABEL)?;
    let summary = match annotation(lease, SUMMARY_ANNOTATION) {
        Some(text) => serde_json::from_str(text).map_err(|error| error.to_string()),
        None => Err(format!("there is no annotation {SUMMARY_ANNOTATION}")),
    };
    Some(AgentOverview {
        node: node_of_lease(lease.metadata.name.as_deref()?)?.to_owned(),
        summary,
        renewed: renewed(lease).map(|at| seconds_since(at, now)),
        good_for: good_for(lease),
    })
}

/// The Lease of the controller, if it is that.
pub(super) fn controller(lease: &Lease, now: Timestamp) -> Option<ControllerOverview> {
    (lease.metadata.name.as_deref() == Some(CONTROLLER_LEASE)).then(|| {
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.clone());
        ControllerOverview {
            holder: holder.filter(|holder| !holder.is_empty()),
            version: annotation(lease, VERSION_ANNOTATION).map(str::to_owned),
            renewed: renewed(lease).map(|at| seconds_since(at, now)),
            good_for: good_for(lease),
        }
    })
}

pub(super) fn own_pod(pod: &Pod) -> OwnPod {
    let spec = pod.spec.as_ref();
    let label = |key: &str| pod.metadata.labels.as_ref()?.get(key).cloned();
    let image = spec.and_then(|spec| spec.containers.first()?.image.as_deref());
    OwnPod {
        name: pod.metadata.name.clone().unwrap_or_default(),
        node: spec
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_default(),
        component: label("app.kubernetes.io/component").unwrap_or_default(),
        version: image.and_then(tag),
        state: state(pod),
    }
}

/// The tag of an image: what follows the last colon, unless that is a registry's port.
fn tag(image: &str) -> Option<String> {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let (_, tag) = name.rsplit_once(':')?;
    (!tag.contains('/')).then(|| tag.to_owned())
}

/// Why a container waits says more than the phase.
fn state(pod: &Pod) -> String {
    let Some(status) = &pod.status else {
        return "Pending".to_owned();
    };
    let waiting = |container: &ContainerStatus| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        waiting.reason.clone()
    };
    let inits = status.init_container_statuses.iter().flatten();
    let containers = status.container_statuses.iter().flatten();
    let reason = inits.chain(containers).find_map(waiting);
    let phase = || status.phase.clone().unwrap_or_else(|| "Pending".to_owned());
    reason.unwrap_or_else(phase)
}

/// A Pod that has waited too long for an address, if it has.
pub(super) fn waiting(pod: &Pod, now: Timestamp) -> Option<WaitingPod> {
    let (spec, meta) = (pod.spec.as_ref()?, &pod.metadata);
    let status = pod.status.as_ref();
    let has_address = status
        .and_then(|status| status.pod_ip.as_deref())
        .is_some_and(|ip| !ip.is_empty());
    let node = spec.node_name.as_deref().filter(|node| !node.is_empty())?;
    if has_address || spec.host_network == Some(true) || meta.deletion_timestamp.is_some() {
        return None;
    }
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    let bound = conditions
        .find(|condition| condition.type_ == "PodScheduled")
        .and_then(|condition| condition.last_transition_time.as_ref())
        .or(meta.creation_timestamp.as_ref())?;
    let seconds = seconds_since(bound.0, now);
    (seconds > PATIENCE).then(|| WaitingPod {
        name: format!(
            "{}/{}",
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default()
        ),
        node: node.to_owned(),
        seconds,
    })
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn from<K: DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).expect("an object")
    }

    fn now() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().expect("a time")
    }

    #[test]
    fn a_lease_of_an_agent_is_read_with_its_age() {
        let lease = |name: &str, renewed: &str, text: &str| -> Lease {
            from(json!({
                "metadata": {"name": name, "labels": {AGENT_LABEL: "true"},
                    "annotations": {SUMMARY_ANNOTATION: text}},
                "spec": {"renewTime": renewed, "leaseDurationSeconds": 40},
            }))
        };
        let past = "2026-01-01T00:00:18.500000Z";
        let agent = |lease: &Lease| agent(lease, now()).expect("an agent's");
        let read = agent(&lease("agent.n.example", past, r#"{"ready": true}"#));
        assert_eq!((read.node.as_str(), read.renewed), ("n.example", Some(41)));
        assert!(read.summary.is_ok_and(|summary| summary.ready));
        let future = "2026-01-01T00:01:01.000000Z";
        let read = agent(&lease("agent.n", future, "{"));
        assert_eq!(read.renewed, Some(0));
        assert!(read.summary.is_err());
        let other: Lease = from(json!({"metadata": {"name": "agent.n"}}));
        assert_eq!(super::agent(&other, now()), None);
    }

    #[test]
    fn a_lease_that_was_given_back_has_no_holder() {
        let lease: Lease = from(json!({"metadata": {"name": "seaway-controller",
            "annotations": {VERSION_ANNOTATION: "9"}},
            "spec": {"holderIdentity": "", "renewTime": "2026-01-01T00:00:50.000000Z"}}));
        let read = controller(&lease, now()).expect("the controller's");
        assert_eq!((read.holder, read.renewed), (None, Some(10)));
        assert_eq!(read.version.as_deref(), Some("9"));
    }

    #[test]
    fn a_pod_waits_that_is_bound_and_has_no_address() {
        let pod = |spec: Value, status: Value| -> Pod {
            from(json!({"metadata": {"name": "p", "namespace": "d",
                "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec, "status": status}))
        };
        let bound = || json!({"nodeName": "n", "containers": []});
        let waits = |spec, status| waiting(&pod(spec, status), now()).map(|pod| pod.seconds);
        assert_eq!(waits(bound(), json!({})), Some(60));
        assert_eq!(
            waits(json!({"containers": []}), json!({})),
            None,
            "not bound"
        );
        assert_eq!(waits(bound(), json!({"podIP": "10.0.0.1"})), None);
        let host = json!({"nodeName": "n", "containers": [], "hostNetwork": true});
        assert_eq!(waits(host, json!({})), None);
        let lately = json!({"conditions": [{"type": "PodScheduled", "status": "True",
            "lastTransitionTime": "2026-01-01T00:00:40Z"}]});
        assert_eq!(waits(bound(), lately), None);
    }

    #[test]
    fn pods_of_our_own_have_a_version_and_a_reason_to_wait() {
        let pod: Pod = from(json!({"metadata": {"name": "a",
                "labels": {"app.kubernetes.io/component": "agent"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "r:5000/seaway:1.2"}]},
            "status": {"phase": "Running", "containerStatuses": [{"name": "c", "image": "", "imageID": "",
                "ready": false, "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}}));
        let read = own_pod(&pod);
        assert_eq!(read.version.as_deref(), Some("1.2"));
        assert_eq!(read.state, "CrashLoopBackOff");
        for (image, version) in [
            ("seaway", None),
            ("r:5000/seaway", None),
            ("s:1@sha256:0", Some("1")),
        ] {
            assert_eq!(tag(image).as_deref(), version, "{image}");
        }
    }

    #[test]
    fn a_node_tells_whether_its_network_is_there() {
        let read = node(&from(
            json!({"metadata": {"name": "n", "labels": {"kubernetes.io/os": "windows"}},
            "spec": {"taints": [{"key": AGENT_TAINT, "effect": "NoSchedule"}]},
            "status": {"conditions": [{"type": "NetworkUnavailable", "status": "True"}]}}),
        ));
        assert!(read.network_unavailable && read.awaits_agent && !read.ready && !read.linux);
    }
}
