//! The chart's roles are all that agents and the controller have, in a cluster that holds them to it.

use std::time::Duration;

use seaway_testkit::{eventually, isolate};
use seaway_tests::lab::{Lab, good};
use serde_json::Value;

use crate::apply::{deploy, good_helm};
use crate::controllers::Controller;

const LIMIT: Duration = Duration::from_secs(90);
const OWN: [&str; 2] = ["-n", "seaway-system"];

/// Whether somebody may do something, by the API server's word.
fn may(lab: &Lab, account: &str, what: &[&str]) -> bool {
    let user = format!("--as=system:serviceaccount:seaway-system:{account}");
    let output = lab.try_kubectl(&[&["auth", "can-i", &user], what].concat());
    match String::from_utf8_lossy(&output.stdout).trim() {
        "yes" => true,
        "no" => false,
        other => panic!("{account} {what:?}: {other}: {output:?}"),
    }
}

/// Takes away what the lab gives to Seaway's own daemons.
fn drop_rights_of_the_lab(lab: &Lab) {
    for role in ["seaway-lab:agent", "seaway-lab:network"] {
        lab.kubectl(&["delete", "clusterrolebinding", role]);
        lab.kubectl(&[&OWN[..], &["delete", "rolebinding", role]].concat());
    }
}

/// A kubeconfig with a token that the API server made for the chart's own account.
fn credentials(lab: &Lab) -> String {
    let token = lab.kubectl(&[&OWN[..], &["create", "token", "seaway-controller"]].concat());
    let config = std::fs::read_to_string(lab.kubeconfig()).expect("readable");
    let mut config: Value = serde_saphyr::from_str(&config).expect("YAML");
    config["users"][0]["user"]["token"] = token.trim().into();
    let path = format!("/run/seaway-lab/{}/chart.kubeconfig", lab.name);
    std::fs::write(&path, config.to_string()).expect("written");
    path
}

fn works(lab: &Lab, pod: &str) {
    good(&["kill", "--name", lab.name, "node1/agent"]);
    lab.kubectl(&["run", pod, "--image=seaway", "--restart=Never"]);
    let name = format!("pod/{pod}");
    lab.kubectl(&["wait", "--for=condition=Ready", &name, "--timeout=60s"]);
    lab.kubectl(&["delete", &name, "--now"]);
    // It can only have the Lease by the chart's roles.
    eventually("the chart's controller leads", LIMIT, || {
        let path = "jsonpath={.spec.holderIdentity}";
        let lease = [
            "get",
            "lease",
            "seaway-controller",
            "--ignore-not-found",
            "-o",
            path,
        ];
        match lab.kubectl(&[&OWN[..], &lease].concat()) {
            holder if holder.contains("chart") => Ok(()),
            holder => Err(holder),
        }
    });
}

#[test]
fn r41_the_chart_gives_a_running_cluster_its_rights_and_takes_them_away() {
    isolate();
    let lab = Lab::up("forced", &["--nodes", "1", "--pods", "0"]);
    let chart = deploy("chart").display().to_string();
    let client_side = "--server-side=false";
    let helm = |arguments: &[&str]| good_helm(&lab, &[&OWN[..], arguments].concat());
    drop_rights_of_the_lab(&lab);
    assert!(!may(&lab, "seaway-agent", &["watch", "pods"]));
    assert!(!may(&lab, "seaway-controller", &["patch", "nodes"]));

    helm(&["install", "seaway", &chart, client_side]);
    assert!(may(&lab, "seaway-agent", &["watch", "pods", "-A"]));
    assert!(may(
        &lab,
        "seaway-agent",
        &["patch", "nodes", "--subresource=status"]
    ));
    assert!(may(&lab, "seaway-controller", &["patch", "nodes"]));
    for account in ["seaway-agent", "seaway-controller"] {
        assert!(!may(&lab, account, &["get", "secrets", "-A"]));
        assert!(!may(&lab, account, &["create", "pods", "-A"]));
        assert!(!may(&lab, account, &["create", "clusterrolebindings"]));
    }
    let credentials = credentials(&lab);
    let controller = Controller::with(&lab, "chart", &credentials);
    works(&lab, "installed");
    helm(&[
        "upgrade",
        "seaway",
        &chart,
        client_side,
        "--set",
        "transport=vxlan",
    ]);
    works(&lab, "upgraded");
    helm(&["rollback", "seaway", "1", client_side]);
    works(&lab, "rolled-back");
    drop(controller);

    helm(&["uninstall", "seaway"]);
    assert!(!may(&lab, "seaway-agent", &["watch", "pods"]));
    assert!(!may(&lab, "seaway-controller", &["patch", "nodes"]));
    // The account is gone, and with it its tokens.
    eventually("the token is good no more", LIMIT, || {
        let asked = std::process::Command::new(seaway_tests::kubectl())
            .args(["--kubeconfig", &credentials, "get", "nodes"])
            .output()
            .expect("started");
        let said = String::from_utf8_lossy(&asked.stderr).into_owned();
        match said.contains("Unauthorized") || said.contains("must be logged in") {
            true => Ok(()),
            false => Err(said),
        }
    });
}
