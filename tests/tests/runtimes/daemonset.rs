//! The DaemonSet of the manifest, as a kubelet has a real runtime run it: the real image, with exactly
//! the mounts, capabilities, read-only root and seccomp profile that it declares.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use seaway_testkit::eventually;
use seaway_tests::binary;
use seaway_tests::cri::api::{ContainerConfig, ContainerStatus};
use seaway_tests::cri::{ApiServer, Container, Sandbox, Site, Template};
use seaway_tests::probe::Traffic;
use serde_json::Value;

use crate::attachments;

const LIMIT: Duration = Duration::from_secs(40);
/// `CONTAINER_EXITED`.
const EXITED: i32 = 2;
const SERVERS: &str = "192.168.7.254:6443";

#[test]
fn k15_the_daemonset_makes_a_node_ready_and_is_replaced_without_loss() {
    let site = Site::bare(1);
    let (host, agent) = (site.host(1), site.net.agent(1));
    host.remove_plugin();
    host.import("k8s.io", &image());
    let api = ApiServer::start(&site.net);
    api.register(&site.net);
    let template = template("DaemonSet", "seaway-agent");
    let pod = Sandbox::try_run(host, template.sandbox(host))
        .unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(pod.addresses.is_empty(), "hostNetwork: {pod:?}");

    let account = &api.service_account;
    let init = template.container(host, "initContainers", account);
    let init = pod
        .try_start(&init)
        .unwrap_or_else(|refusal| panic!("{refusal}"));
    let ended = eventually("the init container ends", LIMIT, || exited(&init));
    let log = || host.container_log("seaway-agent", "install-plugin");
    assert_eq!(ended.exit_code, 0, "{}", log());
    assert!(
        host.machine.folder.join("bin/seaway-cni").exists(),
        "{}",
        log()
    );
    let network = host.cri.network().expect("a status");
    assert!(
        !network.status,
        "the plugin alone is no network: {network:?}"
    );

    let config = template.container(host, "containers", account);
    let first = run_agent(&site, &pod, &config, 0);
    host.wait_for_network();
    let pods = ["a", "b"].map(|name| Sandbox::run(host, name));
    let servers = pods.each_ref().map(Sandbox::serve);
    servers[0].assert_reaches(&servers[1]);

    let traffic = pods[0].traffic_to(&pods[1]);
    // As a kubelet replaces a container: asked to end, removed, and a new one made.
    host.cri
        .stop_container(&first.id, 5)
        .expect("StopContainer");
    traffic.iter().for_each(Traffic::wait_for_more);
    host.cri
        .remove_container(&first.id)
        .expect("RemoveContainer");
    run_agent(&site, &pod, &config, 1);
    traffic.iter().for_each(Traffic::wait_for_more);
    traffic.into_iter().for_each(Traffic::assert_nothing_lost);
    assert_eq!(agent.status()["repairs"], 0, "it finds all as it left it");
    assert_eq!(attachments(&site, 1), 2);
    pods.iter().for_each(Sandbox::end);
    agent.wait_settled();
    assert_eq!(attachments(&site, 1), 0);
}

/// Starts the agent's container and waits until the agent is ready.
fn run_agent(site: &Site, pod: &Sandbox, config: &ContainerConfig, attempt: u32) -> Container {
    let mut config = config.clone();
    if let Some(metadata) = &mut config.metadata {
        metadata.attempt = attempt;
    }
    let started = pod.try_start(&config);
    let container = started.unwrap_or_else(|refusal| panic!("{refusal}"));
    eventually("the agent is ready", LIMIT, || {
        let ready = site
            .net
            .agent(1)
            .try_status()
            .is_some_and(|status| status["ready"] == true);
        let log = || site.host(1).container_log("seaway-agent", "agent");
        ready.then_some(()).ok_or_else(log)
    });
    container
}

fn exited(container: &Container) -> Result<ContainerStatus, String> {
    match container.status() {
        Ok(status) if status.state == EXITED => Ok(status),
        other => Err(format!("{other:?}")),
    }
}

/// The Pods of a workload that `seaway install` prints for a cluster without kube-proxy.
pub(crate) fn template(kind: &str, name: &str) -> Template {
    let output = Command::new(binary("seaway"))
        .args(["install", "--set"])
        .arg(format!("apiServers=https://{SERVERS}"))
        .output()
        .expect("started");
    assert!(output.status.success(), "{output:?}");
    let manifest = String::from_utf8(output.stdout).expect("UTF-8");
    let objects: Vec<Value> = manifest
        .split("\n---\n")
        .map(|text| serde_saphyr::from_str(text).expect("YAML"))
        .collect();
    let find = |kind: &str| {
        let found = objects.iter().find(|object| object["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind}")).clone()
    };
    Template {
        spec: find(kind)["spec"]["template"]["spec"].clone(),
        config: find("ConfigMap")["data"].clone(),
        name: name.to_owned(),
        namespace: "seaway-system".to_owned(),
        node: "node1".to_owned(),
    }
}

/// The image of the binaries under test, made as the one that users get.
pub(crate) fn image() -> std::path::PathBuf {
    let path = Path::new("/run/image/seaway.tar");
    let binary = binary("seaway");
    let output = Command::new(std::env::var_os("CARGO").expect("cargo runs the tests"))
        .args([
            "run",
            "--quiet",
            "--package",
            "xtask",
            "--",
            "image",
            "--from",
        ])
        .arg(binary.parent().expect("a folder"))
        .arg("--out")
        .arg(path)
        .output()
        .expect("started");
    assert!(output.status.success(), "{output:?}");
    path.to_owned()
}
