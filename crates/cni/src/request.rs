//! What is said over the agent's socket: a request, and a reply that is a value or an error.

use seaway_model::{AttachmentId, Protocol};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::spec::{CniError, Command, Environment, NetworkConfig, Verb, code};

/// A request to the agent, told apart by its field `op`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Request {
    /// A CNI command; the Pod's namespace may come with it as a file descriptor.
    Cni(CniRequest),
    /// The node's health.
    Status,
    /// The planned and the observed rows.
    Tables,
    /// Some of them: there may be more than a message holds.
    Rows(RowsRequest),
    /// Where a packet goes.
    Trace(TraceRequest),
}

/// Which rows; all that a message holds when nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsRequest {
    /// Of this table only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Only those that are not as planned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drift: bool,
    /// Only those in which this is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containing: Option<String>,
    /// No more than so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Two ends in people's words: whose packet, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRequest {
    /// A Pod of the node, `node`, `outside`, or an address.
    pub from: String,
    /// A Service, a Pod, a node or an address; then `:PORT`.
    pub to: String,
    /// The protocol, when it is not to follow from the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}

/// The agent's reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply<T = Value> {
    /// It was done. For an ADD, the result as the version that was asked for has it.
    Ok(T),
    /// It was not done.
    Error(CniError),
}

/// A CNI command as the plugin was called: nothing in it is trusted until it has been read by
/// [`CniRequest::validate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CniRequest {
    /// The `CNI_*` variables.
    pub environment: Environment,
    /// The network configuration, whole.
    pub config: Value,
}

/// A checked CNI command.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What to do.
    pub verb: Verb,
    /// For which network.
    pub config: NetworkConfig,
}

impl CniRequest {
    /// Checks everything; `supported_capabilities` are the keys of `runtimeConfig` that are served.
    pub fn validate(&self, supported_capabilities: &[&str]) -> Result<Call, CniError> {
        let call = self.validate_form()?;
        match call.verb {
            // What ADD refused for its capabilities must still go away by DEL (K5).
            Verb::Add(_) | Verb::Check(_) => {
                call.config.require_capabilities(supported_capabilities)?;
            }
            Verb::Del(_) | Verb::Gc | Verb::Status => {}
        }
        Ok(call)
    }

    /// Checks everything but the capabilities, which are the agent's to judge.
    pub fn validate_form(&self) -> Result<Call, CniError> {
        let verb = self.environment.verb()?;
        let config = NetworkConfig::read(&self.config)?;
        require_version(self.environment.command()?, &config)?;
        match verb {
            Verb::Check(_) => require_prev_result(&config)?,
            Verb::Gc => require_valid_attachments(&config)?,
            Verb::Add(_) | Verb::Del(_) | Verb::Status => {}
        }
        Ok(Call { verb, config })
    }
}

impl Call {
    /// The attachment that the command is for, if it is for one.
    pub fn attachment(&self) -> Option<&AttachmentId> {
        match &self.verb {
            Verb::Add(endpoint) | Verb::Del(endpoint) | Verb::Check(endpoint) => Some(&endpoint.id),
            Verb::Gc | Verb::Status => None,
        }
    }
}

fn require_version(command: Command, config: &NetworkConfig) -> Result<(), CniError> {
    match config.version >= command.since() {
        true => Ok(()),
        false => Err(CniError::new(
            code::INCOMPATIBLE_VERSION,
            format!(
                "cniVersion {} has no {} command, set it to {} or newer",
                config.version,
                command.name(),
                command.since()
            ),
        )),
    }
}

fn require_prev_result(config: &NetworkConfig) -> Result<(), CniError> {
    match config.prev_result {
        Some(_) => Ok(()),
        None => Err(CniError::new(
            code::INVALID_CONFIG,
            "field prevResult of the network configuration is missing: CHECK compares with it",
        )),
    }
}

/// Without the list, GC would free every attachment of the network: that must be said, not implied.
fn require_valid_attachments(config: &NetworkConfig) -> Result<(), CniError> {
    match config.valid_attachments {
        Some(_) => Ok(()),
        None => Err(CniError::new(
            code::INVALID_CONFIG,
            "field cni.dev/valid-attachments of the network configuration is missing: \
             GC frees what is not on it, send [] to free everything",
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(command: &str, version: &str, more: Value) -> CniRequest {
        let mut config = json!({"cniVersion": version, "name": "pods", "type": "seaway-cni"});
        for (key, value) in more.as_object().expect("an object") {
            config[key] = value.clone();
        }
        let some = |text: &str| Some(text.to_owned());
        let environment = Environment {
            command: command.to_owned(),
            container_id: some("c1"),
            interface: some("eth0"),
            netns: some("/run/netns/x"),
            args: None,
            path: some("/opt/cni/bin"),
        };
        CniRequest {
            environment,
            config,
        }
    }

    #[test]
    fn the_form_on_the_wire_is_frozen() {
        let request = Request::Cni(request("ADD", "1.1.0", json!({})));
        let wire = json!({
            "op": "cni",
            "environment": {
                "command": "ADD", "containerId": "c1", "interface": "eth0",
                "netns": "/run/netns/x", "path": "/opt/cni/bin"
            },
            "config": {"cniVersion": "1.1.0", "name": "pods", "type": "seaway-cni"}
        });
        assert_eq!(serde_json::to_value(&request).expect("JSON"), wire);
        assert_eq!(
            serde_json::from_value::<Request>(wire).expect("ours"),
            request
        );
        for (op, request) in [("status", Request::Status), ("tables", Request::Tables)] {
            assert_eq!(
                serde_json::to_value(request).expect("JSON"),
                json!({"op": op})
            );
        }
    }

    #[test]
    fn rows_on_the_wire_are_frozen() {
        let request = |request| serde_json::to_value(Request::Rows(request)).expect("JSON");
        assert_eq!(request(RowsRequest::default()), json!({"op": "rows"}));
        let all = RowsRequest {
            table: Some("routes".to_owned()),
            drift: true,
            containing: Some("10.".to_owned()),
            limit: Some(7),
        };
        let wire = json!({"op": "rows", "table": "routes", "drift": true, "containing": "10.",
            "limit": 7});
        assert_eq!(request(all.clone()), wire);
        let read = serde_json::from_value::<Request>(wire).expect("ours");
        assert_eq!(read, Request::Rows(all));
    }

    #[test]
    fn a_trace_on_the_wire_is_frozen() {
        let request = Request::Trace(TraceRequest {
            from: "node".to_owned(),
            to: "svc/web:80".to_owned(),
            protocol: Some(Protocol::Udp),
        });
        let wire = json!({"op": "trace", "from": "node", "to": "svc/web:80", "protocol": "udp"});
        assert_eq!(serde_json::to_value(&request).expect("JSON"), wire);
        let read = serde_json::from_value::<Request>(wire).expect("ours");
        assert_eq!(read, request);
    }

    #[test]
    fn replies_on_the_wire_are_frozen() {
        let error = Reply::Error(CniError::new(11, "later").with_details("soon"));
        for (reply, wire) in [
            (Reply::Ok(json!({"ips": []})), json!({"ok": {"ips": []}})),
            (Reply::Ok(Value::Null), json!({"ok": null})),
            (
                error,
                json!({"error": {"code": 11, "msg": "later", "details": "soon"}}),
            ),
        ] {
            assert_eq!(serde_json::to_value(&reply).expect("JSON"), wire);
            assert_eq!(serde_json::from_value::<Reply>(wire).expect("ours"), reply);
        }
    }

    #[test]
    fn k1_every_command_is_read() {
        for (command, more) in [
            ("ADD", json!({})),
            ("DEL", json!({})),
            ("CHECK", json!({"prevResult": {}})),
            ("GC", json!({"cni.dev/valid-attachments": []})),
            ("STATUS", json!({})),
        ] {
            let call = request(command, "1.1.0", more)
                .validate(&[])
                .expect(command);
            let is_for_one = matches!(command, "ADD" | "DEL" | "CHECK");
            assert_eq!(call.attachment().is_some(), is_for_one, "{command}");
        }
    }

    #[test]
    fn k2_commands_that_a_version_does_not_have_are_code_1() {
        for (command, version) in [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "0.4.0")] {
            let error = request(command, version, json!({})).validate(&[]);
            assert_eq!(error.expect_err(command).code, 1);
        }
    }

    #[test]
    fn k6_check_needs_a_prev_result() {
        let error = request("CHECK", "1.0.0", json!({"prevResult": null})).validate(&[]);
        let error = error.expect_err("nothing to compare with");
        assert_eq!(error.code, 7);
        assert!(error.msg.contains("prevResult"), "{error}");
    }

    #[test]
    fn k8_gc_without_a_list_frees_nothing() {
        let error = request("GC", "1.1.0", json!({})).validate(&[]);
        let error = error.expect_err("no list");
        assert_eq!(error.code, 7);
        assert!(error.msg.contains("cni.dev/valid-attachments"), "{error}");
    }

    #[test]
    fn k9_unknown_capabilities_stop_add_and_check_only() {
        let more = json!({"runtimeConfig": {"portMappings": []}, "prevResult": {}});
        for (command, code) in [
            ("ADD", Some(2)),
            ("CHECK", Some(2)),
            ("DEL", None),
            ("STATUS", None),
        ] {
            let request = request(command, "1.1.0", more.clone());
            assert_eq!(
                request.validate(&[]).err().map(|e| e.code),
                code,
                "{command}"
            );
            assert!(request.validate_form().is_ok(), "{command}");
            assert!(request.validate(&["portMappings"]).is_ok(), "{command}");
        }
    }

    #[test]
    fn k5_del_succeeds_on_bad_arguments_and_strange_prev_results() {
        let mut del = request("DEL", "0.3.1", json!({"prevResult": "garbage"}));
        del.environment.netns = None;
        del.environment.args = Some("nonsense".to_owned());
        assert!(del.validate(&[]).is_ok());
    }
}
