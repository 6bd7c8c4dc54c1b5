//! The Deployment of the manifest, its Pods on one node: a real runtime runs their probes in them.

use std::time::Duration;

use seaway_testkit::eventually;
use seaway_tests::cri::{ApiServer, Container, Sandbox, Site, Template};
use serde_json::Value;

use crate::daemonset::{image, template};

const LIMIT: Duration = Duration::from_secs(40);
/// Nobody is there.
const ELSEWHERE: &str = "https://192.168.7.253:6443";

/// What a probe of the template comes to: its exit code, and what it said.
fn probe(template: &Template, kind: &str, container: &Container) -> Result<(i32, String), String> {
    let command = &template.spec["containers"][0][kind]["exec"]["command"];
    let words = command.as_array().expect("a command").iter();
    let words: Vec<&str> = words.map(|word| word.as_str().expect("text")).collect();
    let answer = container.exec(&words).map_err(|e| e.to_string())?;
    let said = [answer.stdout, answer.stderr].concat();
    Ok((
        answer.exit_code,
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

fn wait_for(template: &Template, kind: &str, container: &Container, wanted: i32) -> String {
    eventually(kind, LIMIT, || match probe(template, kind, container) {
        Ok((code, said)) if code == wanted => Ok(said),
        other => Err(other),
    })
}

/// All have one port of the node; the one whose API server is not there says so all the same.
#[test]
fn k15_controllers_that_share_a_node_answer_their_own_probes() {
    let site = Site::bare(1);
    let host = site.host(1);
    host.import("k8s.io", &image());
    let api = ApiServer::start(&site.net);
    api.kubectl(&["create", "namespace", "seaway-system"]);
    let run = |template: &Template| {
        let sandbox = Sandbox::try_run(host, template.sandbox(host));
        let sandbox = sandbox.unwrap_or_else(|refusal| panic!("{refusal}"));
        let config = template.container(host, "containers", &api.service_account);
        let started = sandbox.try_start(&config);
        started.unwrap_or_else(|refusal| panic!("{refusal}"))
    };
    let names = ["seaway-controller-1", "seaway-controller-2"];
    let controllers = names.map(|name| {
        let template = template("Deployment", name);
        let container = run(&template);
        wait_for(&template, "livenessProbe", &container, 0);
        let said = wait_for(&template, "readinessProbe", &container, 0);
        (said, container)
    });
    let said = controllers.each_ref().map(|(said, _)| said.as_str());
    let leads = said.iter().filter(|said| said.contains("leads")).count();
    assert!(leads <= 1, "each speaks for itself: {said:?}");

    let mut lost = template("Deployment", "seaway-controller-3");
    lost.config["SEAWAY_API_SERVERS"] = ELSEWHERE.into();
    let container = run(&lost);
    wait_for(&lost, "livenessProbe", &container, 0);
    let (code, said) = probe(&lost, "readinessProbe", &container).expect("it ran");
    assert!(
        code != 0 && said.contains("the API has not answered"),
        "{said}"
    );

    let lease = ["get", "lease", "seaway-controller", "-n", "seaway-system"];
    let version = eventually("the Lease says which version leads", LIMIT, || {
        let text = api.kubectl(&[&lease[..], &["-o", "json"]].concat());
        let lease: Value = serde_json::from_str(&text).expect("JSON");
        let version = &lease["metadata"]["annotations"]["network.seaway.dev/version"];
        version.as_str().map(str::to_owned).ok_or(text)
    });
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
}
