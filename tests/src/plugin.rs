//! Calling the plugin as libcni does: environment, configuration on stdin, result on stdout.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::Build;

/// One call of the plugin.
#[derive(Clone, Debug)]
pub struct Call {
    /// `CNI_COMMAND`.
    pub command: String,
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_NETNS`.
    pub netns: Option<PathBuf>,
    /// `CNI_ARGS`.
    pub args: Option<String>,
    /// The configuration.
    pub config: Value,
    /// A program to run the plugin under, with its arguments.
    pub under: Vec<String>,
    /// Which build of the plugin.
    pub build: Build,
}

/// A result that says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginError {
    /// CNI's error code.
    pub code: u64,
    /// What went wrong.
    pub msg: String,
    /// More of it.
    pub details: String,
}

/// What a call gives.
pub type Answer = Result<Value, PluginError>;

impl Call {
    /// A call for a container.
    pub fn new(command: &str, container: &str) -> Call {
        Call {
            command: command.to_owned(),
            container: container.to_owned(),
            netns: None,
            args: None,
            config: json!({"cniVersion": "1.1.0", "name": "seaway", "type": "seaway-cni"}),
            under: Vec::new(),
            build: Build::default(),
        }
    }

    /// The same call with the Pod's namespace.
    pub fn netns(mut self, path: &Path) -> Call {
        self.netns = Some(path.to_owned());
        self
    }

    /// The same call with a key of the configuration set.
    pub fn config(mut self, key: &str, value: Value) -> Call {
        self.config[key] = value;
        self
    }

    /// Starts the plugin; its input is written.
    pub fn spawn(&self) -> Child {
        let plugin = self.build.binary("seaway-cni");
        let mut command = match self.under.split_first() {
            None => Command::new(&plugin),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&plugin);
                command
            }
        };
        command
            .env_clear()
            .env("CNI_COMMAND", &self.command)
            .env("CNI_CONTAINERID", &self.container)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", plugin.parent().expect("a folder"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(netns) = &self.netns {
            command.env("CNI_NETNS", netns);
        }
        if let Some(args) = &self.args {
            command.env("CNI_ARGS", args);
        }
        let mut child = command.spawn().expect("plugin started");
        let mut stdin = child.stdin.take().expect("piped");
        // A plugin that is killed at once does not read it.
        let _ = stdin.write_all(self.config.to_string().as_bytes());
        child
    }

    /// Runs the plugin to its end.
    pub fn run(&self) -> Answer {
        let output = self.spawn().wait_with_output().expect("plugin ended");
        let text = String::from_utf8_lossy(&output.stdout);
        let value = if text.trim().is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
        };
        if output.status.success() {
            return Ok(value);
        }
        let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Err(PluginError {
            code: value["code"].as_u64().unwrap_or_default(),
            msg: field("msg"),
            details: field("details"),
        })
    }
}

/// The addresses of a result, in its order.
pub(crate) fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().expect("ips");
    let address = |ip: &Value| {
        let net: ipnet::IpNet = ip["address"]
            .as_str()
            .expect("text")
            .parse()
            .expect("a network");
        net.addr()
    };
    ips.iter().map(address).collect()
}
