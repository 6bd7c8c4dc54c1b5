//! What an agent may do: the agents of all tests have the capabilities that the manifest in
//! `deploy/` gives them, and no others. So every test is one of least privilege, too (scorecard, row 41).

use std::process::Command;

use serde_json::Value;

/// What `kubectl apply` gives to users.
const MANIFEST: &str = include_str!("../../deploy/seaway.yaml");
/// To answer names at port 53; the manifest has it where the agent does that.
const NAMES: &str = "NET_BIND_SERVICE";

/// The capabilities of the agent in the manifest, such as `NET_ADMIN`.
///
/// # Panics
///
/// If the manifest names none.
pub fn declared() -> Vec<String> {
    let context = &agent_of_manifest()["securityContext"];
    assert_eq!(context["privileged"], false);
    assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
    let added = context["capabilities"]["add"].as_array();
    let added = added.expect("capabilities of the agent").iter();
    added
        .map(|name| name.as_str().expect("a name").to_owned())
        .collect()
}

/// The agent's container.
fn agent_of_manifest() -> Value {
    let documents = MANIFEST.split("\n---\n").map(|document| {
        let value: Value = serde_saphyr::from_str(document).expect("YAML");
        value
    });
    let agents = documents
        .filter(|object| object["kind"] == "DaemonSet")
        .collect::<Vec<_>>();
    assert_eq!(agents.len(), 1, "one DaemonSet");
    agents[0]["spec"]["template"]["spec"]["containers"][0].clone()
}

/// A command whose arguments are a program and its arguments, which runs with these capabilities
/// and can never get others.
pub(crate) fn confined(capabilities: &[String], flags: &[String]) -> Command {
    let mut set = String::from("-all");
    for name in capabilities {
        set.push_str(",+");
        set.push_str(&name.to_lowercase());
    }
    if flags.iter().any(|flag| flag == "--dns") {
        set.push_str(",+");
        set.push_str(&NAMES.to_lowercase());
    }
    let mut command = Command::new("setpriv");
    command.arg(format!("--bounding-set={set}"));
    command.args(["--inh-caps=-all", "--no-new-privs", "--"]);
    command
}
