//! The Pod that takes Seaway off a node: what the agent's Pod may do and sees of the node, and
//! another command. Pure.

use anyhow::{Context, bail};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration};
use kube::api::ObjectMeta;
use seaway_model::stable_hash;

/// Marks the Pods that clean up.
pub(super) const LABEL: &str = "network.seaway.dev/uninstall";
/// The longest name that a Pod can have.
const NAME_LIMIT: usize = 253;

/// The clean-up Pod of a node, after the agent's DaemonSet as it is in the cluster.
pub(super) fn of(daemon_set: &DaemonSet, node: &str) -> anyhow::Result<Pod> {
    let spec = daemon_set.spec.template.spec.as_ref();
    let spec = spec.context("the DaemonSet has no template of a Pod")?;
    let Some(agent) = spec.containers.first() else {
        bail!("the DaemonSet's template has no container");
    };
    let mut labels = daemon_set.metadata.labels.clone().unwrap_or_default();
    labels.remove("app.kubernetes.io/component");
    labels.insert(LABEL.to_owned(), "true".to_owned());
    Ok(Pod {
        metadata: ObjectMeta {
            name: Some(name(node)),
            namespace: daemon_set.metadata.namespace.clone(),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            node_name: Some(node.to_owned()),
            restart_policy: Some("Never".to_owned()),
            automount_service_account_token: Some(false),
            tolerations: Some(vec![Toleration {
                operator: Some("Exists".to_owned()),
                ..Toleration::default()
            }]),
            init_containers: None,
            containers: vec![container(spec, agent)],
            node_selector: None,
            affinity: None,
            ..spec.clone()
        }),
        status: None,
    })
}

/// The agent's container, with the folders of all containers.
fn container(spec: &PodSpec, agent: &Container) -> Container {
    let mut arguments = ["uninstall", "--host", "--force"]
        .map(str::to_owned)
        .to_vec();
    arguments.extend(bin_dir(spec));
    let mut mounts = agent.volume_mounts.clone().unwrap_or_default();
    for other in spec.init_containers.iter().flatten() {
        let more = other.volume_mounts.clone().unwrap_or_default().into_iter();
        let new: Vec<_> = more
            .filter(|new| mounts.iter().all(|m| m.mount_path != new.mount_path))
            .collect();
        mounts.extend(new);
    }
    Container {
        name: "uninstall".to_owned(),
        args: Some(arguments),
        volume_mounts: Some(mounts),
        // What it said is then in the Pod's status, also where no logs can be had.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ports: None,
        startup_probe: None,
        liveness_probe: None,
        readiness_probe: None,
        lifecycle: None,
        ..agent.clone()
    }
}

/// Where the step that installs the plugin puts it.
fn bin_dir(spec: &PodSpec) -> Vec<String> {
    const FLAG: &str = "--cni-bin-dir";
    let all = spec.init_containers.iter().flatten();
    let arguments: Vec<&String> = all
        .flat_map(|container| container.args.iter().flatten())
        .collect();
    let Some(at) = arguments
        .iter()
        .position(|a| *a == FLAG || a.starts_with("--cni-bin-dir="))
    else {
        return Vec::new();
    };
    let words = if arguments[at] == FLAG { 2 } else { 1 };
    let found = arguments.into_iter().skip(at).take(words);
    found.cloned().collect()
}

/// The same for the same node, so that a second run meets the first one's Pod.
pub(super) fn name(node: &str) -> String {
    let name = format!("seaway-uninstall-{node}");
    match name.len() <= NAME_LIMIT {
        true => name,
        false => format!("seaway-uninstall-{:016x}", stable_hash(&[node])),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn daemon_set() -> DaemonSet {
        let manifest = seaway_deploy::manifest(&seaway_deploy::Values::default());
        let document = manifest
            .split("\n---\n")
            .find(|d| d.contains("kind: DaemonSet"));
        serde_saphyr::from_str(document.expect("the manifest has one")).expect("valid")
    }

    fn pod(daemon_set: &DaemonSet) -> Value {
        serde_json::to_value(of(daemon_set, "node-1").expect("a Pod")).expect("JSON")
    }

    #[test]
    fn it_sees_what_the_agent_sees_and_may_what_it_may() {
        let set = daemon_set();
        let template = serde_json::to_value(&set).expect("JSON")["spec"]["template"]["spec"].take();
        let pod = pod(&set);
        let (spec, container) = (&pod["spec"], &pod["spec"]["containers"][0]);
        let agent = &template["containers"][0];
        for field in ["image", "securityContext", "env", "envFrom"] {
            assert_eq!(container[field], agent[field], "{field}");
        }
        for field in [
            "volumes",
            "hostNetwork",
            "priorityClassName",
            "securityContext",
        ] {
            assert_eq!(spec[field], template[field], "{field}");
        }
        let places = |container: &Value| -> Vec<String> {
            let mounts = container["volumeMounts"].as_array().expect("mounts").iter();
            mounts
                .map(|mount| mount["mountPath"].as_str().expect("text").to_owned())
                .collect()
        };
        let mut expected = places(agent);
        expected.extend(places(&template["initContainers"][0]));
        assert_eq!(places(container), expected);
    }

    #[test]
    fn it_runs_once_on_its_node_and_nothing_keeps_it_away() {
        let pod = pod(&daemon_set());
        let spec = &pod["spec"];
        assert_eq!(spec["nodeName"], "node-1");
        assert_eq!(spec["restartPolicy"], "Never");
        assert_eq!(spec["tolerations"], json!([{"operator": "Exists"}]));
        assert_eq!(spec.get("nodeSelector"), None);
        assert_eq!(spec.get("initContainers"), None);
        assert_eq!(spec["containers"][0].get("livenessProbe"), None);
        let labels = &pod["metadata"]["labels"];
        assert_eq!(
            labels.get("app.kubernetes.io/component"),
            None,
            "the DaemonSet would take it for its own"
        );
        assert_eq!(labels["app.kubernetes.io/part-of"], "seaway");
    }

    #[test]
    fn paths_of_their_own_are_kept() {
        for given in [
            &["install", "--cni-bin-dir", "/k3s/bin", "--plugin-only"][..],
            &["--cni-bin-dir=/k3s/bin"],
        ] {
            let mut set = daemon_set();
            let spec = set.spec.template.spec.as_mut();
            let steps = spec
                .and_then(|spec| spec.init_containers.as_mut())
                .expect("one");
            steps[0].args = Some(given.iter().map(ToString::to_string).collect());
            let arguments = pod(&set)["spec"]["containers"][0]["args"].clone();
            let words: Vec<_> = arguments
                .as_array()
                .expect("words")
                .iter()
                .filter_map(Value::as_str)
                .collect();
            assert_eq!(words[..3], ["uninstall", "--host", "--force"]);
            assert_eq!(
                words[3..].join("=").replace("--cni-bin-dir=", ""),
                "/k3s/bin"
            );
        }
    }

    #[test]
    fn names_fit() {
        assert_eq!(name("node-1"), "seaway-uninstall-node-1");
        let long = "n".repeat(253);
        assert!(name(&long).len() <= NAME_LIMIT);
        assert_ne!(name(&long), name(&"m".repeat(253)));
    }
}
