//! Applying, changing and deleting, with kubectl and with Helm.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use seaway_testkit::{eventually, isolate};
use seaway_tests::helm;
use seaway_tests::lab::Lab;

const LIMIT: Duration = Duration::from_secs(30);
const KINDS: &str = "daemonsets,deployments,configmaps,serviceaccounts,roles,rolebindings,\
                     clusterroles,clusterrolebindings,poddisruptionbudgets,namespaces";

pub(crate) fn deploy(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(name)
}

/// Everything of Seaway that the cluster holds, one name a line.
fn there(lab: &Lab) -> Vec<String> {
    let select = "app.kubernetes.io/part-of=seaway";
    let text = lab.kubectl(&["get", KINDS, "-A", "-o", "name", "-l", select]);
    text.lines().map(str::to_owned).collect()
}

fn run_helm(lab: &Lab, arguments: &[&str]) -> Output {
    let home = std::env::temp_dir().join(format!("seaway-helm-{}", std::process::id()));
    let mut command = Command::new(helm());
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(variable, &home);
    }
    command.env("KUBECONFIG", lab.kubeconfig());
    command.args(arguments).output().expect("started")
}

pub(crate) fn good_helm(lab: &Lab, arguments: &[&str]) -> String {
    let output = run_helm(lab, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn nothing_is_left(lab: &Lab) {
    eventually("everything is gone", LIMIT, || match there(lab) {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
}

fn transport(lab: &Lab) -> String {
    let path = "jsonpath={.data.SEAWAY_TRANSPORT}";
    lab.kubectl(&[
        "-n",
        "seaway-system",
        "get",
        "configmap",
        "seaway-config",
        "-o",
        path,
    ])
}

fn digest(lab: &Lab) -> String {
    let path = r"jsonpath={.spec.template.metadata.annotations.network\.seaway\.dev/config}";
    lab.kubectl(&[
        "-n",
        "seaway-system",
        "get",
        "daemonset",
        "seaway-agent",
        "-o",
        path,
    ])
}

#[test]
fn kubectl_and_helm_bring_it_change_it_and_take_it_away() {
    isolate();
    let lab = Lab::up("deployed", &["--nodes", "1", "--pods", "0"]);
    let manifest = deploy("seaway.yaml").display().to_string();
    let chart = deploy("chart").display().to_string();

    lab.kubectl(&["apply", "-f", &manifest]);
    let all = there(&lab);
    assert_eq!(all.len(), 15, "{all:?}");
    let again = lab.kubectl(&["apply", "-f", &manifest]);
    // kubectl sends the selector of a budget whenever it applies one: it is not merged.
    let same = |line: &&str| line.ends_with("unchanged") || line.contains("disruptionbudget");
    let changed = again.lines().find(|line| !same(line));
    assert_eq!(changed, None, "{again}");
    // Nodes of a lab have neither the image nor such volumes: the agent's Pod is there, and waits.
    let agents = "app.kubernetes.io/component=agent";
    let reason = "jsonpath={.items[*].status.initContainerStatuses[*].state.waiting.reason}";
    let pods = [
        "-n",
        "seaway-system",
        "get",
        "pods",
        "-l",
        agents,
        "-o",
        reason,
    ];
    eventually("the agent's Pod waits", LIMIT, || {
        match lab.kubectl(&pods).trim() {
            "CreateContainerConfigError" | "ErrImagePull" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    // What is in the namespace goes with it, and may be gone when its turn comes.
    lab.kubectl(&["delete", "--ignore-not-found", "-f", &manifest]);
    nothing_is_left(&lab);

    // The release in another namespace: the chart makes Seaway's own.
    let client_side = "--server-side=false";
    let said = good_helm(&lab, &["install", "seaway", &chart, client_side]);
    assert!(said.contains("NOT ENFORCED"), "{said}");
    assert_eq!(there(&lab), all);
    let before = digest(&lab);
    let change = ["--set", "transport=vxlan"];
    let upgrade = ["upgrade", "seaway", &chart, client_side];
    good_helm(&lab, &[&upgrade[..], &change].concat());
    assert_eq!(transport(&lab), "vxlan");
    assert_ne!(
        digest(&lab),
        before,
        "agents are replaced when they are told something else"
    );
    good_helm(&lab, &["rollback", "seaway", "1", client_side]);
    assert_eq!((transport(&lab), digest(&lab)), ("auto".to_owned(), before));
    good_helm(&lab, &["uninstall", "seaway"]);
    nothing_is_left(&lab);

    // The release in Seaway's namespace, which Helm makes.
    let own = ["-n", "seaway-system"];
    let install = [
        "install",
        "seaway",
        &chart,
        client_side,
        "--create-namespace",
    ];
    good_helm(&lab, &[&own[..], &install].concat());
    assert_eq!(there(&lab).len(), all.len() - 1, "all but the namespace");
    good_helm(&lab, &[&own[..], &["uninstall", "seaway"]].concat());
    nothing_is_left(&lab);
}
