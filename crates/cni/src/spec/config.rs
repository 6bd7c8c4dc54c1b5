//! The network configuration that the runtime writes to the plugin's stdin. Keys that are not
//! listed here are passed over. Of our own there are two:
//!
//! - `socket`: the absolute path of the agent's socket, by default `/run/seaway/agent.sock`;
//! - `timeoutSeconds`: how long the plugin waits for the agent, more than 0 and at most 3600, by
//!   default 90 for ADD and GC, 60 for DEL and CHECK, 10 for STATUS.

use std::path::PathBuf;
use std::time::Duration;

use seaway_model::{AttachmentId, ContainerId, IfName, NetworkName};
use serde_json::{Map, Value};

use super::error::{CniError, code};
use super::object::{FieldError, Object};
use super::result::Dns;
use super::version::{CniVersion, UnsupportedVersion};

/// What a path in `sun_path` may have at most, less the final NUL.
const MAX_SOCKET_PATH: usize = 107;
const MAX_TIMEOUT_SECONDS: f64 = 3600.0;
const VALID_ATTACHMENTS: &str = "cni.dev/valid-attachments";
/// What the list was called by mistake in an earlier text of the specification; libcni sends both.
const VALID_ATTACHMENTS_EARLIER: &str = "cni.dev/attachments";

/// A checked network configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// The version of the specification that caller and plugin speak.
    pub version: CniVersion,
    /// The network's name.
    pub name: NetworkName,
    /// The plugin's name, `type`.
    pub plugin: Option<String>,
    /// The result of the plugin before, or of the ADD, as it came
    /// ([`CniResult::read`](super::CniResult::read) reads it).
    pub prev_result: Option<Value>,
    /// The capabilities that the runtime uses.
    pub runtime_config: Map<String, Value>,
    /// Arguments by convention, as they came.
    pub args: Option<Value>,
    /// DNS settings to hand on in the result.
    pub dns: Dns,
    /// The agent's socket, when it is not the default.
    pub socket: Option<PathBuf>,
    /// How long to wait for the agent, when it is not the default.
    pub timeout: Option<Duration>,
    /// GC: the attachments to keep; `None` when the list was not sent.
    pub valid_attachments: Option<Vec<AttachmentId>>,
}

/// Reads the text of a configuration: any JSON object.
pub fn decode(text: &[u8]) -> Result<Value, CniError> {
    let refused = |problem: String| {
        let msg = format!("the network configuration is not valid: {problem}");
        Err(CniError::new(code::DECODING_FAILURE, msg))
    };
    match serde_json::from_slice(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => refused("it must be a JSON object".to_owned()),
        Err(error) => refused(error.to_string()),
    }
}

/// The version that a configuration asks for, if it is one that we speak: errors about the rest of
/// the configuration are answered in it.
pub fn version_of(config: &Value) -> Option<CniVersion> {
    config.get("cniVersion")?.as_str()?.parse().ok()
}

impl NetworkConfig {
    /// Checks a configuration.
    pub fn read(config: &Value) -> Result<NetworkConfig, CniError> {
        let Value::Object(fields) = config else {
            let msg = "the network configuration is not a JSON object";
            return Err(CniError::new(code::DECODING_FAILURE, msg));
        };
        let root = Object::root(fields);
        let name = read_name(&root)?;
        Ok(NetworkConfig {
            version: read_version(&root)?,
            name,
            plugin: root.text("type")?.map(str::to_owned),
            prev_result: root.value("prevResult").cloned(),
            runtime_config: read_runtime_config(&root)?,
            args: root.value("args").cloned(),
            dns: Dns::read(&root)?,
            socket: read_socket(&root)?,
            timeout: read_timeout(&root)?,
            valid_attachments: read_valid_attachments(&root)?,
        })
    }

    /// Refuses the first capability in use that is not among `supported` (K9): what a runtime asks
    /// for is never ignored, be its value empty or `null`.
    pub fn require_capabilities(&self, supported: &[&str]) -> Result<(), CniError> {
        let unknown = |key: &&String| !supported.contains(&key.as_str());
        match self.runtime_config.keys().find(unknown) {
            None => Ok(()),
            Some(key) => Err(unsupported_capability(key, supported)),
        }
    }
}

fn unsupported_capability(key: &str, supported: &[&str]) -> CniError {
    let list = match supported {
        [] => "none".to_owned(),
        some => some.join(", "),
    };
    let msg = format!(
        "capability \"{key}\" (runtimeConfig.{key}) is not supported: \
         remove it from \"capabilities\" of the network configuration"
    );
    CniError::new(code::UNSUPPORTED_FIELD, msg).with_details(format!("supported: {list}"))
}

fn read_name(root: &Object<'_>) -> Result<NetworkName, FieldError> {
    NetworkName::new(root.required("name")?).map_err(|e| root.error("name", format!("is bad: {e}")))
}

/// A configuration without a version is of 0.1.0, as the reference library has it.
fn read_version(root: &Object<'_>) -> Result<CniVersion, CniError> {
    let text = root.text("cniVersion")?.unwrap_or("0.1.0");
    text.parse()
        .map_err(|error: UnsupportedVersion| error.into())
}

fn read_runtime_config(root: &Object<'_>) -> Result<Map<String, Value>, FieldError> {
    let object = root.object("runtimeConfig")?;
    Ok(object.map(|o| o.fields().clone()).unwrap_or_default())
}

fn read_socket(root: &Object<'_>) -> Result<Option<PathBuf>, FieldError> {
    match root.text("socket")? {
        Some(path) if !path.starts_with('/') || path.len() > MAX_SOCKET_PATH => {
            let problem = format!("must be an absolute path of at most {MAX_SOCKET_PATH} bytes");
            Err(root.error("socket", problem))
        }
        path => Ok(path.map(PathBuf::from)),
    }
}

fn read_timeout(root: &Object<'_>) -> Result<Option<Duration>, FieldError> {
    let sound = |value: &Value| {
        let seconds = value.as_f64().filter(|s| *s <= MAX_TIMEOUT_SECONDS)?;
        let timeout = Duration::try_from_secs_f64(seconds).ok();
        timeout.filter(|t| !t.is_zero())
    };
    let problem = || root.error("timeoutSeconds", "must be a number above 0, at most 3600");
    let value = root.value("timeoutSeconds");
    value.map(|v| sound(v).ok_or_else(problem)).transpose()
}

/// `null` is how Go writes an empty list. An entry whose names break the rules cannot be one of
/// ours, so there is nothing to keep for it.
fn read_valid_attachments(root: &Object<'_>) -> Result<Option<Vec<AttachmentId>>, FieldError> {
    let keys = [VALID_ATTACHMENTS, VALID_ATTACHMENTS_EARLIER];
    let Some(key) = keys.into_iter().find(|key| root.has(key)) else {
        return Ok(None);
    };
    let attachments = root.objects(key, read_attachment)?;
    Ok(Some(attachments.into_iter().flatten().collect()))
}

fn read_attachment(entry: &Object<'_>) -> Result<Option<AttachmentId>, FieldError> {
    let container = ContainerId::new(entry.required("containerID")?);
    let interface = IfName::new(entry.required("ifname")?);
    Ok(match (container, interface) {
        (Ok(container), Ok(interface)) => Some(AttachmentId {
            container,
            interface,
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn minimal() -> Value {
        json!({"cniVersion": "1.1.0", "name": "pods", "type": "seaway-cni"})
    }

    fn with(key: &str, value: Value) -> Value {
        let mut config = minimal();
        config[key] = value;
        config
    }

    #[test]
    fn k1_the_least_configuration_is_enough() {
        let config = NetworkConfig::read(&minimal()).expect("valid");
        assert_eq!(config.version, CniVersion::V1_1_0);
        assert_eq!(config.name.as_str(), "pods");
        assert_eq!(config.plugin.as_deref(), Some("seaway-cni"));
        assert_eq!(config.require_capabilities(&[]), Ok(()));
        assert_eq!(config.valid_attachments, None);
        assert_eq!(
            (config.prev_result, config.socket, config.timeout),
            (None, None, None)
        );
    }

    fn using(capabilities: Value) -> NetworkConfig {
        NetworkConfig::read(&with("runtimeConfig", capabilities)).expect("well formed")
    }

    #[test]
    fn our_own_keys_are_read() {
        let mut value = with("socket", json!("/run/x.sock"));
        value["timeoutSeconds"] = json!(0.25);
        let config = NetworkConfig::read(&value).expect("valid");
        assert_eq!(config.socket, Some(PathBuf::from("/run/x.sock")));
        assert_eq!(config.timeout, Some(Duration::from_millis(250)));
    }

    #[test]
    fn k2_bad_fields_are_code_7_and_named() {
        let long = format!("/{}", "x".repeat(107));
        for (key, value) in [
            ("name", json!("")),
            ("name", json!(null)),
            ("name", json!(5)),
            ("name", json!("-x")),
            ("name", json!("a/b")),
            ("cniVersion", json!(1.1)),
            ("type", json!([])),
            ("socket", json!("run/x.sock")),
            ("socket", json!(long)),
            ("timeoutSeconds", json!(0)),
            ("timeoutSeconds", json!(-1)),
            ("timeoutSeconds", json!(3601)),
            ("timeoutSeconds", json!("5")),
            ("runtimeConfig", json!([])),
            ("dns", json!("1.1.1.1")),
        ] {
            let error = NetworkConfig::read(&with(key, value)).expect_err(key);
            assert_eq!(error.code, 7, "{error}");
            assert!(error.msg.starts_with(&format!("field {key} ")), "{error}");
        }
        let error = NetworkConfig::read(&with("dns", json!({"search": ["a", 1]})));
        let msg = error.expect_err("a number").msg;
        assert!(msg.starts_with("field dns.search "), "{msg}");
    }

    #[test]
    fn k2_unknown_and_missing_versions_are_code_1() {
        for version in [json!("0.2.0"), json!("1.2.0"), json!(""), json!(null)] {
            let config = with("cniVersion", version);
            let error = NetworkConfig::read(&config).expect_err("unknown");
            assert_eq!((error.code, version_of(&config)), (1, None), "{error}");
        }
    }

    #[test]
    fn k2_text_that_is_no_json_object_is_code_6_with_its_place() {
        for (text, place) in [
            ("", "line 1 column 0"),
            ("{\"name\": \"x\",\n  oops}", "line 2 column 3"),
            ("{} {}", "line 1 column 4"),
            ("\u{feff}{}", "line 1 column 1"),
            ("[]", "must be a JSON object"),
            ("null", "must be a JSON object"),
        ] {
            let error = decode(text.as_bytes()).expect_err(text);
            assert_eq!(error.code, 6);
            assert!(error.msg.contains(place), "{error}");
        }
        let deep = [b"{\"a\":".repeat(1000), b"1".to_vec(), b"}".repeat(1000)].concat();
        assert_eq!(decode(&deep).expect_err("too deep").code, 6);
    }

    #[test]
    fn k9_unknown_capabilities_are_code_2_and_named() {
        assert_eq!(
            using(json!({"mac": "x"})).require_capabilities(&["mac"]),
            Ok(())
        );
        let both = using(json!({"mac": "x", "portMappings": [{}]}));
        let error = both.require_capabilities(&["mac"]);
        let error = error.expect_err("not supported");
        assert_eq!((error.code, error.details.as_str()), (2, "supported: mac"));
        assert!(error.msg.contains("\"portMappings\""), "{error}");
    }

    #[test]
    fn k9_empty_and_null_capabilities_are_refused_too() {
        for value in [json!(null), json!([]), json!({})] {
            let config = using(json!({"bandwidth": value}));
            let error = config.require_capabilities(&[]).expect_err("unknown");
            assert_eq!((error.code, error.details.as_str()), (2, "supported: none"));
        }
    }

    #[test]
    fn k8_lists_of_attachments_are_read_under_both_names() {
        let list = json!([{"containerID": "c1", "ifname": "eth0"}]);
        for key in [VALID_ATTACHMENTS, VALID_ATTACHMENTS_EARLIER] {
            let config = NetworkConfig::read(&with(key, list.clone())).expect("valid");
            let ids = config.valid_attachments.expect("a list");
            assert_eq!(ids.len(), 1);
            assert_eq!(ids[0].to_string(), "c1/eth0");
        }
        let config = NetworkConfig::read(&with(VALID_ATTACHMENTS, json!(null))).expect("valid");
        assert_eq!(config.valid_attachments, Some(Vec::new()));
    }

    #[test]
    fn k8_attachments_that_cannot_be_ours_do_not_stop_gc() {
        let list = json!([
            {"containerID": "x".repeat(300), "ifname": "eth0"},
            {"containerID": "c1", "ifname": "eth0"},
        ]);
        let config = NetworkConfig::read(&with(VALID_ATTACHMENTS, list)).expect("valid");
        assert_eq!(config.valid_attachments.map(|ids| ids.len()), Some(1));
        let list = json!([{"containerID": "c1"}]);
        let error = NetworkConfig::read(&with(VALID_ATTACHMENTS, list)).expect_err("incomplete");
        let path = "field cni.dev/valid-attachments[0].ifname";
        assert!(error.msg.starts_with(path), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            if let Ok(config) = decode(&bytes) {
                let _ = NetworkConfig::read(&config);
            }
        }

        #[test]
        fn no_value_of_any_key_makes_the_parser_panic(
            key in "cniVersion|name|type|prevResult|runtimeConfig|args|dns|socket|timeoutSeconds|cni.dev/valid-attachments",
            text in r#"null|-?[0-9]{1,20}(\.[0-9]+)?(e[0-9]{1,3})?|"[a-z/]*"|\[\]|\{\}|\[\{"containerID":[0-9]\}\]|\{"search":\{\}\}"#,
        ) {
            let value = serde_json::from_str(&text).unwrap_or(Value::Null);
            let _ = NetworkConfig::read(&with(&key, value));
        }
    }
}
