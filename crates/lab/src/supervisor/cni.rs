//! Calls the CNI plugin as libcni does: by exec, with `CNI_*` variables and the plugin's part of the
//! configuration on standard input, the answer on standard output.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::process::Program;
use super::reaper::{Exit, Reaper};
use crate::error::LabError;
use crate::namespaces::Namespaces;
use crate::node_files::{BIN_DIR, program};
use crate::runtime::capabilities;
use crate::topology::UPLINK;

const VERSION: &str = "1.1.0";
const NETWORK: &str = "seaway";
const PLUGIN: &str = "seaway-cni";
/// The interface's name inside the Pod.
const IFNAME: &str = UPLINK;
/// The code that asks the runtime to come back later.
const TRY_AGAIN: u64 = 11;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How long the plugin is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For one call.
    call: Duration,
    /// For calls that are tried again and again.
    total: Duration,
}

/// The usual: longer than the plugin itself waits for the agent.
pub(crate) const NORMAL: Patience = Patience {
    call: Duration::from_secs(100),
    total: Duration::from_secs(30),
};

/// For a caller that tries again by itself, and wants to tell meanwhile what the matter is.
pub(crate) const PROMPT: Patience = Patience {
    call: NORMAL.call,
    total: Duration::from_secs(5),
};

/// When the whole node is about to go anyway, a hung agent does not hold that up for long.
pub(crate) const HURRIED: Patience = Patience {
    call: Duration::from_secs(5),
    total: Duration::from_secs(2),
};

/// The configuration as an administrator would install it.
pub(crate) fn conflist() -> String {
    let plugin = json!({"type": PLUGIN, "capabilities": capabilities()});
    let conf = json!({"cniVersion": VERSION, "name": NETWORK, "plugins": [plugin]});
    format!("{conf:#}\n")
}

/// The attachment of a Pod, as far as the runtime has to know it.
#[derive(Clone, Debug)]
pub(crate) struct Attachment {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) pod_uid: String,
    pub(crate) container_id: String,
    /// The namespace's path on the node.
    pub(crate) netns: String,
    /// What the plugin is told by the capabilities that it declares.
    pub(crate) runtime_config: Map<String, Value>,
}

/// What ADD answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Added {
    pub(crate) addresses: Vec<IpAddr>,
    /// The whole answer, which DEL wants to see again.
    pub(crate) result: Value,
}

/// A runtime's way to call the plugin on a node.
pub(crate) struct Cni<'a> {
    pub(crate) reaper: &'a Reaper,
    pub(crate) namespaces: &'a Arc<Namespaces>,
    pub(crate) log: std::path::PathBuf,
    pub(crate) patience: Patience,
}

impl Cni<'_> {
    /// Attaches the Pod. An ADD that is to be tried again is undone by DEL before, as runtimes do.
    pub(crate) fn add(&self, attachment: &Attachment) -> Result<Added, LabError> {
        let undo = || self.del(attachment, None);
        let output = self.call("ADD", attachment, None, undo)?;
        parse_result(&output).map_err(|reason| failed("ADD", attachment, reason))
    }

    /// Detaches the Pod; `result` is what ADD answered, if it did.
    pub(crate) fn del(
        &self,
        attachment: &Attachment,
        result: Option<&Value>,
    ) -> Result<(), LabError> {
        self.call("DEL", attachment, result, || Ok(())).map(drop)
    }

    /// Whether a Pod could be attached now; the error says why not.
    pub(crate) fn status(&self) -> Result<(), String> {
        let env = [
            ("CNI_COMMAND", "STATUS".to_owned()),
            ("CNI_PATH", BIN_DIR.to_owned()),
        ];
        let input = config(None, None).to_string();
        let answer = self
            .plugin(env.into())
            .run(self.reaper, input.as_bytes(), self.patience.call);
        match answer {
            Ok((exit, _)) if exit.is_success() => Ok(()),
            Ok((exit, output)) => Err(Refusal::read(exit, &output).reason),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Calls the plugin; again, after `before_again`, as long as it asks for that.
    fn call(
        &self,
        command: &'static str,
        attachment: &Attachment,
        previous: Option<&Value>,
        before_again: impl Fn() -> Result<(), LabError>,
    ) -> Result<Vec<u8>, LabError> {
        let program = self.program(command, attachment);
        let input = config(Some(attachment), previous).to_string();
        let end = Instant::now() + self.patience.total;
        let mut wait = FIRST_WAIT;
        loop {
            let (exit, output) = program
                .run(self.reaper, input.as_bytes(), self.patience.call)
                .map_err(|e| failed(command, attachment, e.to_string()))?;
            if exit.is_success() {
                return Ok(output);
            }
            let refusal = Refusal::read(exit, &output);
            if refusal.code != TRY_AGAIN || Instant::now() + wait > end {
                return Err(failed(command, attachment, refusal.reason));
            }
            tracing::info!(
                "CNI {command} for {}: {}; again in {wait:?}",
                attachment.pod,
                refusal.reason
            );
            thread::sleep(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
            before_again()?;
        }
    }

    fn program(&self, command: &'static str, attachment: &Attachment) -> Program {
        let env = [
            ("CNI_COMMAND", command.to_owned()),
            ("CNI_CONTAINERID", attachment.container_id.clone()),
            ("CNI_NETNS", attachment.netns.clone()),
            ("CNI_IFNAME", IFNAME.to_owned()),
            ("CNI_PATH", BIN_DIR.to_owned()),
            ("CNI_ARGS", cni_args(attachment)),
        ];
        self.plugin(env.into())
    }

    fn plugin(&self, env: Vec<(&'static str, String)>) -> Program {
        Program {
            path: program(PLUGIN),
            args: Vec::new(),
            env,
            log: self.log.clone(),
            namespaces: self.namespaces.clone(),
        }
    }
}

/// What containerd passes on for a Pod's sandbox.
fn cni_args(attachment: &Attachment) -> String {
    let Attachment {
        namespace,
        pod,
        pod_uid,
        container_id,
        ..
    } = attachment;
    format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={pod};\
         K8S_POD_INFRA_CONTAINER_ID={container_id};K8S_POD_UID={pod_uid}"
    )
}

/// The plugin's own part of the configuration, with what libcni puts into it.
fn config(attachment: Option<&Attachment>, previous: Option<&Value>) -> Value {
    let mut config = json!({
        "cniVersion": VERSION,
        "name": NETWORK,
        "type": PLUGIN,
        "capabilities": capabilities(),
    });
    let wanted = attachment.map(|attachment| &attachment.runtime_config);
    if let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) {
        config["runtimeConfig"] = Value::Object(wanted.clone());
    }
    if let Some(previous) = previous {
        config["prevResult"] = previous.clone();
    }
    config
}

/// What the configuration declares that the plugin can do.
fn capabilities() -> Value {
    let declared = capabilities::DECLARED.map(|name| (name.to_owned(), Value::Bool(true)));
    Value::Object(Map::from_iter(declared))
}

fn failed(command: &'static str, attachment: &Attachment, reason: String) -> LabError {
    LabError::Cni {
        command,
        pod: attachment.pod.clone(),
        reason,
    }
}

#[derive(Deserialize)]
struct Answer {
    ips: Vec<Ip>,
}

#[derive(Deserialize)]
struct Ip {
    address: IpNet,
}

fn parse_result(output: &[u8]) -> Result<Added, String> {
    let text = || String::from_utf8_lossy(output);
    let not_understood = |e| format!("the result is not understood ({e}): {}", text());
    let result: Value = serde_json::from_slice(output).map_err(not_understood)?;
    let answer = Answer::deserialize(&result).map_err(not_understood)?;
    let addresses = answer.ips.iter().map(|ip| ip.address.addr()).collect();
    Ok(Added { addresses, result })
}

/// A call that went wrong.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    code: u64,
    reason: String,
}

#[derive(Deserialize)]
struct ErrorResult {
    code: u64,
    msg: String,
    #[serde(default)]
    details: String,
}

impl Refusal {
    fn read(exit: Exit, output: &[u8]) -> Refusal {
        match serde_json::from_slice::<ErrorResult>(output) {
            Ok(ErrorResult { code, msg, details }) if details.is_empty() => Refusal {
                code,
                reason: format!("{msg} (code {code})"),
            },
            Ok(ErrorResult { code, msg, details }) => Refusal {
                code,
                reason: format!("{msg} (code {code}): {details}"),
            },
            Err(_) => {
                let said = String::from_utf8_lossy(output);
                Refusal {
                    code: 0,
                    reason: format!(
                        "the plugin gave no result ({exit}) but said \"{}\"",
                        said.trim()
                    ),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_gives_its_addresses_and_is_kept_whole() {
        let text = br#"{"cniVersion":"1.1.0","interfaces":[{"name":"eth0"}],
            "ips":[{"address":"10.244.1.2/32","interface":0},{"address":"fd00::2/128"}],"x":1}"#;
        let added = parse_result(text).expect("a result");
        let addresses: Vec<_> = added.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.244.1.2", "fd00::2"]);
        assert_eq!(added.result["x"], 1);
        assert_eq!(config(None, Some(&added.result))["prevResult"]["x"], 1);
    }

    #[test]
    fn what_is_no_result_is_quoted() {
        let reason = parse_result(b"{\"ips\":[{}]}").expect_err("refused");
        assert!(reason.contains("{\"ips\":[{}]}"), "{reason}");
    }

    #[test]
    fn refusals_carry_code_and_words() {
        let read = |text: &str| Refusal::read(Exit::Code(1), text.as_bytes());
        let later = read(r#"{"cniVersion":"1.1.0","code":11,"msg":"the agent is starting"}"#);
        assert_eq!(
            later,
            Refusal {
                code: 11,
                reason: "the agent is starting (code 11)".into()
            }
        );
        let detailed = read(r#"{"code":7,"msg":"bad config","details":"field x"}"#);
        assert_eq!(detailed.reason, "bad config (code 7): field x");
        let crash = Refusal::read(Exit::Code(101), b"");
        assert_eq!(
            crash.reason,
            "the plugin gave no result (exit code 101) but said \"\""
        );
    }

    #[test]
    fn the_configuration_is_the_documented_one() {
        let conflist: Value = serde_json::from_str(&conflist()).expect("JSON");
        let declared = json!({"portMappings": true, "bandwidth": true});
        let plugins = json!([{"type": "seaway-cni", "capabilities": declared}]);
        assert_eq!(
            conflist,
            json!({"cniVersion": "1.1.0", "name": "seaway", "plugins": plugins})
        );
        let plain = json!({
            "cniVersion": "1.1.0",
            "name": "seaway",
            "type": "seaway-cni",
            "capabilities": declared,
        });
        assert_eq!(config(None, None), plain);
        let mut attachment = Attachment {
            namespace: "default".into(),
            pod: "a".into(),
            pod_uid: "u".into(),
            container_id: "c".into(),
            netns: "/run/netns/x".into(),
            runtime_config: Map::new(),
        };
        assert_eq!(config(Some(&attachment), None), plain);
        let ports = json!([{"HostPort": 80}]);
        attachment
            .runtime_config
            .insert("portMappings".into(), ports.clone());
        let config = config(Some(&attachment), None);
        assert_eq!(config["runtimeConfig"], json!({"portMappings": ports}));
    }
}
