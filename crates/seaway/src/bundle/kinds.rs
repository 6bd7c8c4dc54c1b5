//! The objects that are asked for, and what of each goes into the archive.
//!
//! Secrets are no kind here, and of ConfigMaps only Seaway's own is asked for.

use serde_json::Value;

use super::pick::{annotations, pick};

/// The ConfigMap with Seaway's settings.
const CONFIG: &str = "metadata.name=seaway-config";
/// What Seaway's own Pods and workloads carry.
pub(super) const OURS: &str = "app.kubernetes.io/name=seaway";
/// Seaway's settings, among variables.
const SETTING: &str = "SEAWAY_";

/// Where objects of a kind are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// In the whole cluster.
    Cluster,
    /// In the namespace of Seaway's own objects.
    Own,
}

/// A kind of objects.
pub(super) struct Kind {
    pub(super) file: &'static str,
    /// What people find in the file.
    pub(super) about: &'static str,
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) scope: Scope,
    pub(super) labels: Option<&'static str>,
    pub(super) fields: Option<&'static str>,
    paths: &'static [&'static str],
    annotations: &'static [&'static str],
    /// Whether it is taken at all; Seaway's namespace is given.
    wanted: fn(&Value, &str) -> bool,
}

const ALWAYS: fn(&Value, &str) -> bool = |_, _| true;

/// What every object keeps.
const META: [&str; 8] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "metadata.resourceVersion",
    "metadata.creationTimestamp",
    "metadata.deletionTimestamp",
    "metadata.ownerReferences.*.kind",
    "metadata.ownerReferences.*.name",
];

const NODE: &[&str] = &[
    "metadata.labels",
    "spec.podCIDR",
    "spec.podCIDRs",
    "spec.taints",
    "spec.unschedulable",
    "status.addresses",
    "status.conditions",
    "status.nodeInfo.architecture",
    "status.nodeInfo.containerRuntimeVersion",
    "status.nodeInfo.kernelVersion",
    "status.nodeInfo.kubeProxyVersion",
    "status.nodeInfo.kubeletVersion",
    "status.nodeInfo.operatingSystem",
    "status.nodeInfo.osImage",
];

const POD: &[&str] = &[
    "metadata.labels",
    "spec.nodeName",
    "spec.hostNetwork",
    "spec.dnsPolicy",
    "spec.containers.*.name",
    "spec.containers.*.ports",
    "status.phase",
    "status.reason",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
    "status.startTime",
    // No messages: programs write them, and may write anything.
    "status.conditions.*.type",
    "status.conditions.*.status",
    "status.conditions.*.reason",
    "status.conditions.*.lastTransitionTime",
    "status.containerStatuses.*.name",
    "status.containerStatuses.*.ready",
    "status.containerStatuses.*.restartCount",
    "status.containerStatuses.*.state.running",
    "status.containerStatuses.*.state.waiting.reason",
    "status.containerStatuses.*.state.terminated.reason",
    "status.containerStatuses.*.state.terminated.exitCode",
];

const OWN_POD: &[&str] = &[
    "metadata.labels",
    "spec.nodeName",
    "spec.hostNetwork",
    "spec.containers.*.name",
    "spec.containers.*.image",
    "spec.containers.*.resources.limits",
    "spec.containers.*.resources.requests",
    "status.phase",
    "status.reason",
    "status.message",
    "status.hostIP",
    "status.podIPs",
    "status.startTime",
    "status.conditions",
    "status.containerStatuses",
    "status.initContainerStatuses",
];

const SERVICE: &[&str] = &[
    "metadata.labels",
    "spec.allocateLoadBalancerNodePorts",
    "spec.clusterIP",
    "spec.clusterIPs",
    "spec.externalIPs",
    "spec.externalName",
    "spec.externalTrafficPolicy",
    "spec.healthCheckNodePort",
    "spec.internalTrafficPolicy",
    "spec.ipFamilies",
    "spec.ipFamilyPolicy",
    "spec.loadBalancerClass",
    "spec.loadBalancerIP",
    "spec.loadBalancerSourceRanges",
    "spec.ports",
    "spec.publishNotReadyAddresses",
    "spec.selector",
    "spec.sessionAffinity",
    "spec.sessionAffinityConfig",
    "spec.trafficDistribution",
    "spec.type",
    "status.loadBalancer",
];

const EVENT: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "type",
    "reason",
    "message",
    "count",
    "series",
    "eventTime",
    "firstTimestamp",
    "lastTimestamp",
    "source",
    "reportingComponent",
    "reportingInstance",
];

const WORKLOAD: &[&str] = &[
    "metadata.generation",
    "metadata.labels",
    "spec.replicas",
    "spec.strategy",
    "spec.updateStrategy",
    "spec.minReadySeconds",
    "spec.template.metadata.labels",
    "spec.template.spec.affinity",
    "spec.template.spec.hostNetwork",
    "spec.template.spec.nodeSelector",
    "spec.template.spec.priorityClassName",
    "spec.template.spec.tolerations",
    "spec.template.spec.initContainers.*.name",
    "spec.template.spec.initContainers.*.image",
    "spec.template.spec.initContainers.*.securityContext",
    "spec.template.spec.containers.*.name",
    "spec.template.spec.containers.*.image",
    "spec.template.spec.containers.*.env.*.name",
    "spec.template.spec.containers.*.env.*.value",
    "spec.template.spec.containers.*.resources",
    "spec.template.spec.containers.*.securityContext",
    "spec.template.spec.containers.*.volumeMounts.*.mountPath",
    "status",
];

/// Reasons of Events of others that are about the network.
const REASONS: [&str; 10] = [
    "CIDRAssignmentFailed",
    "CIDRNotAvailable",
    "FailedCreatePodSandBox",
    "FailedKillPod",
    "FailedToUpdateEndpoint",
    "FailedToUpdateEndpointSlices",
    "NetworkNotReady",
    "NodeNotReady",
    "NodeReady",
    "SandboxChanged",
];

/// Seaway's own, those in its namespace, and those of others about the network.
fn is_of_the_network(event: &Value, namespace: &str) -> bool {
    let is_ours = |text: &Value| text.as_str().is_some_and(|text| text.starts_with("seaway"));
    let known = |text: &Value| text.as_str().is_some_and(|text| REASONS.contains(&text));
    event["metadata"]["namespace"] == namespace
        || is_ours(&event["reportingComponent"])
        || is_ours(&event["source"]["component"])
        || known(&event["reason"])
}

const BASE: Kind = Kind {
    file: "",
    about: "",
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    scope: Scope::Cluster,
    labels: None,
    fields: None,
    paths: &[],
    annotations: &[],
    wanted: ALWAYS,
};

/// All of them.
pub(super) const KINDS: [Kind; 12] = [
    Kind {
        file: "cluster/nodes.jsonl",
        about: "Nodes: pod CIDRs, addresses, taints, conditions, versions",
        kind: "Node",
        plural: "nodes",
        paths: NODE,
        annotations: &[
            "network.seaway.dev/transport",
            "network.seaway.dev/cidr-allocator",
        ],
        ..BASE
    },
    Kind {
        file: "cluster/own-pods.jsonl",
        about: "Seaway's own Pods: images, states, restarts",
        kind: "Pod",
        plural: "pods",
        scope: Scope::Own,
        labels: Some(OURS),
        paths: OWN_POD,
        ..BASE
    },
    Kind {
        file: "cluster/daemonsets.jsonl",
        about: "Seaway's DaemonSet; of variables only SEAWAY_…",
        group: "apps",
        kind: "DaemonSet",
        plural: "daemonsets",
        scope: Scope::Own,
        labels: Some(OURS),
        paths: WORKLOAD,
        ..BASE
    },
    Kind {
        file: "cluster/deployments.jsonl",
        about: "Seaway's Deployment; of variables only SEAWAY_…",
        group: "apps",
        kind: "Deployment",
        plural: "deployments",
        scope: Scope::Own,
        labels: Some(OURS),
        paths: WORKLOAD,
        ..BASE
    },
    Kind {
        file: "cluster/config.jsonl",
        about: "the ConfigMap seaway-config; of its keys only SEAWAY_…",
        kind: "ConfigMap",
        plural: "configmaps",
        scope: Scope::Own,
        fields: Some(CONFIG),
        paths: &["data"],
        ..BASE
    },
    Kind {
        file: "cluster/leases.jsonl",
        about: "what agents and the controller say in their Leases",
        group: "coordination.k8s.io",
        kind: "Lease",
        plural: "leases",
        scope: Scope::Own,
        paths: &["metadata.labels", "spec"],
        annotations: &["network.seaway.dev/summary", "network.seaway.dev/version"],
        ..BASE
    },
    Kind {
        file: "cluster/namespaces.jsonl",
        about: "Namespaces: labels, which policies select by",
        kind: "Namespace",
        plural: "namespaces",
        paths: &["metadata.labels", "status.phase"],
        ..BASE
    },
    Kind {
        file: "cluster/events.jsonl",
        about: "Events of Seaway, of its namespace, and of others about the network",
        kind: "Event",
        plural: "events",
        paths: EVENT,
        wanted: is_of_the_network,
        ..BASE
    },
    Kind {
        file: "cluster/services.jsonl",
        about: "Services",
        kind: "Service",
        plural: "services",
        paths: SERVICE,
        annotations: &["service.kubernetes.io/topology-mode"],
        ..BASE
    },
    Kind {
        file: "cluster/networkpolicies.jsonl",
        about: "NetworkPolicies",
        group: "networking.k8s.io",
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        paths: &["metadata.labels", "spec"],
        ..BASE
    },
    Kind {
        file: "cluster/endpointslices.jsonl",
        about: "EndpointSlices",
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        plural: "endpointslices",
        paths: &["metadata.labels", "addressType", "ports", "endpoints"],
        annotations: &["endpoints.kubernetes.io/last-change-trigger-time"],
        ..BASE
    },
    Kind {
        file: "cluster/pods.jsonl",
        about: "Pods: addresses, ports, labels, states; no environment, arguments, volumes or messages",
        kind: "Pod",
        plural: "pods",
        paths: POD,
        annotations: &[
            "kubernetes.io/ingress-bandwidth",
            "kubernetes.io/egress-bandwidth",
        ],
        ..BASE
    },
];

impl Kind {
    /// What of an object goes into the archive, if it does.
    pub(super) fn trim(&self, object: &Value, namespace: &str) -> Option<Value> {
        if !(self.wanted)(object, namespace) {
            return None;
        }
        let paths = [&META, self.paths].concat();
        let mut kept = pick(object, &paths)?;
        if let Some(annotations) = annotations(object, self.annotations) {
            kept["metadata"]["annotations"] = annotations;
        }
        only_settings(&mut kept);
        Some(kept)
    }
}

/// Variables and keys that are not Seaway's settings go.
fn only_settings(object: &mut Value) {
    if let Some(data) = object.get_mut("data").and_then(Value::as_object_mut) {
        data.retain(|key, _| key.starts_with(SETTING));
    }
    let containers = object.pointer_mut("/spec/template/spec/containers");
    for container in containers
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(variables) = container.get_mut("env").and_then(Value::as_array_mut) {
            let is_setting = |name: &str| name.starts_with(SETTING);
            variables.retain(|variable| variable["name"].as_str().is_some_and(is_setting));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(file: &str) -> &'static Kind {
        static ALL: [Kind; 12] = KINDS;
        ALL.iter()
            .find(|kind| kind.file.contains(file))
            .expect("a kind")
    }

    #[test]
    fn no_kind_is_one_of_secrets() {
        for kind in &KINDS {
            let all_of = kind.fields.is_none() && kind.labels.is_none();
            assert_ne!(kind.plural, "secrets");
            assert!(kind.plural != "configmaps" || kind.fields == Some(CONFIG) && !all_of);
        }
    }

    #[test]
    fn a_pod_keeps_what_its_network_needs() {
        let canary = "canary";
        let pod = json!({
            "metadata": {"name": "a", "namespace": "b", "labels": {"app": "x"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": canary,
                    "kubernetes.io/egress-bandwidth": "1M"},
                "managedFields": [{"manager": canary}]},
            "spec": {"nodeName": "n", "volumes": [{"secret": canary}], "imagePullSecrets": [canary],
                "containers": [{"name": "c", "image": canary, "args": [canary], "command": [canary],
                    "env": [{"name": "K", "value": canary}], "ports": [{"containerPort": 80}],
                    "livenessProbe": {"httpGet": {"httpHeaders": [{"name": "k", "value": canary}]}}}]},
            "status": {"podIP": "10.0.0.1", "message": canary, "conditions": [
                {"type": "Ready", "status": "False", "reason": "R", "message": canary}],
                "containerStatuses": [{"name": "c", "ready": false, "restartCount": 1, "image": canary,
                    "state": {"terminated": {"reason": "Error", "exitCode": 1, "message": canary}},
                    "lastState": {"terminated": {"message": canary}}}]},
        });
        let kept = kind("/pods").trim(&pod, "seaway-system").expect("taken");
        assert!(!kept.to_string().contains(canary), "{kept}");
        assert_eq!(kept["status"]["podIP"], "10.0.0.1");
        assert_eq!(
            kept["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"],
            1
        );
        assert_eq!(
            kept["spec"]["containers"][0]["ports"][0]["containerPort"],
            80
        );
        assert_eq!(
            kept["metadata"]["annotations"],
            json!({"kubernetes.io/egress-bandwidth": "1M"})
        );
    }

    #[test]
    fn of_variables_and_keys_only_settings_stay() {
        let canary = "canary";
        let set = json!({"metadata": {"name": "seaway-agent"}, "spec": {"template": {"spec": {
            "containers": [{"name": "agent", "args": [canary], "env": [
                {"name": "SEAWAY_LOG", "value": "info"}, {"name": "OTHER", "value": canary}]}]}}}});
        let kept = kind("daemonsets").trim(&set, "").expect("taken");
        assert!(!kept.to_string().contains(canary), "{kept}");
        let env = &kept["spec"]["template"]["spec"]["containers"][0]["env"];
        assert_eq!(env, &json!([{"name": "SEAWAY_LOG", "value": "info"}]));
        let map = json!({"data": {"SEAWAY_MTU": "1400", "password": canary}, "binaryData": canary});
        let kept = kind("config").trim(&map, "").expect("taken");
        assert_eq!(kept, json!({"data": {"SEAWAY_MTU": "1400"}}));
    }

    #[test]
    fn events_of_others_are_taken_if_they_are_about_the_network() {
        let event = |namespace: &str, by: &str, reason: &str| json!({"metadata": {"namespace": namespace}, "reportingComponent": by, "reason": reason});
        for (event, taken) in [
            (event("default", "kubelet", "FailedCreatePodSandBox"), true),
            (event("default", "seaway-agent", "X"), true),
            (event("seaway-system", "kubelet", "X"), true),
            (event("default", "kubelet", "Unhealthy"), false),
        ] {
            let kept = kind("events").trim(&event, "seaway-system");
            assert_eq!(kept.is_some(), taken, "{event}");
        }
    }
}
