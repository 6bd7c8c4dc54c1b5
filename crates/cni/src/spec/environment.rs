//! The `CNI_*` environment variables, as given and as checked for the command that they call.

use std::ffi::OsString;

use seaway_model::{AttachmentId, ContainerId, IfName, NameError};
use serde::{Deserialize, Serialize};

use super::args::PodArgs;
use super::error::{CniError, code};
use super::version::CniVersion;

/// What `CNI_COMMAND` can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Attach a container.
    Add,
    /// Detach a container.
    Del,
    /// Compare an attachment with what ADD made.
    Check,
    /// Free what no container on the list holds.
    Gc,
    /// Whether an ADD would be served.
    Status,
    /// Which versions are spoken.
    Version,
}

impl Command {
    const ALL: [(&'static str, Command); 6] = [
        ("ADD", Command::Add),
        ("DEL", Command::Del),
        ("CHECK", Command::Check),
        ("GC", Command::Gc),
        ("STATUS", Command::Status),
        ("VERSION", Command::Version),
    ];

    /// The first version of the specification that has the command.
    pub fn since(self) -> CniVersion {
        match self {
            Command::Add | Command::Del | Command::Version => CniVersion::V0_3_1,
            Command::Check => CniVersion::V0_4_0,
            Command::Gc | Command::Status => CniVersion::V1_1_0,
        }
    }

    /// The command as `CNI_COMMAND` has it.
    pub fn name(self) -> &'static str {
        let found = Command::ALL.iter().find(|(_, command)| *command == self);
        found.map_or("", |(name, _)| name)
    }

    /// The variables that must be set beside `CNI_COMMAND`.
    fn required(self) -> &'static [&'static str] {
        match self {
            Command::Add | Command::Check => {
                &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]
            }
            Command::Del => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
            Command::Gc => &["CNI_PATH"],
            Command::Status | Command::Version => &[],
        }
    }
}

/// The variables as they were set; an empty one counts as not set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Environment {
    /// `CNI_COMMAND`.
    pub command: String,
    /// `CNI_CONTAINERID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// `CNI_IFNAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// `CNI_NETNS`: a path as the caller sees it. The namespace itself travels as a descriptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// `CNI_ARGS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<String>,
    /// `CNI_PATH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A checked command with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Attach.
    Add(Endpoint),
    /// Detach.
    Del(Endpoint),
    /// Compare.
    Check(Endpoint),
    /// Collect garbage.
    Gc,
    /// Report health.
    Status,
}

/// Which attachment a command is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Container and interface.
    pub id: AttachmentId,
    /// The namespace's path, for messages and for the result's `sandbox`.
    pub netns: Option<String>,
    /// The Pod that the runtime named.
    pub args: PodArgs,
}

impl Environment {
    /// Reads the variables through `get` (in production [`std::env::var_os`]).
    pub fn from_vars(get: impl Fn(&str) -> Option<OsString>) -> Result<Environment, CniError> {
        let text = |name: &str| match get(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value).filter(|v| !v.is_empty())),
            Some(Err(_)) => Err(invalid(format!("{name} is not valid UTF-8"))),
        };
        Ok(Environment {
            command: text("CNI_COMMAND")?.unwrap_or_default(),
            container_id: text("CNI_CONTAINERID")?,
            interface: text("CNI_IFNAME")?,
            netns: text("CNI_NETNS")?,
            args: text("CNI_ARGS")?,
            path: text("CNI_PATH")?,
        })
    }

    /// The command that is called.
    pub fn command(&self) -> Result<Command, CniError> {
        let known = Command::ALL.iter().find(|(name, _)| *name == self.command);
        known.map(|(_, command)| *command).ok_or_else(|| {
            let names = Command::ALL.map(|(name, _)| name).join(", ");
            invalid(format!(
                "CNI_COMMAND is \"{}\", it must be one of {names}",
                self.command
            ))
        })
    }

    /// Checks everything that the command needs. What it does not need is not looked at.
    pub fn verb(&self) -> Result<Verb, CniError> {
        let command = self.command()?;
        self.require(command)?;
        match command {
            Command::Add => Ok(Verb::Add(self.endpoint(PodArgs::parse)?)),
            Command::Check => Ok(Verb::Check(self.endpoint(PodArgs::parse)?)),
            Command::Del => Ok(Verb::Del(self.endpoint(lenient_args)?)),
            Command::Gc => Ok(Verb::Gc),
            Command::Status => Ok(Verb::Status),
            Command::Version => Err(invalid(
                "VERSION is answered by the plugin alone".to_owned(),
            )),
        }
    }

    fn require(&self, command: Command) -> Result<(), CniError> {
        let missing = |name: &&&str| match **name {
            "CNI_CONTAINERID" => self.container_id.is_none(),
            "CNI_IFNAME" => self.interface.is_none(),
            "CNI_NETNS" => self.netns.is_none(),
            _ => self.path.is_none(),
        };
        let missing: Vec<&str> = command.required().iter().filter(missing).copied().collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(invalid(format!(
                "{} needs the environment variables {}, which are not set",
                self.command,
                missing.join(", ")
            ))),
        }
    }

    fn endpoint(
        &self,
        read_args: impl Fn(&str) -> Result<PodArgs, CniError>,
    ) -> Result<Endpoint, CniError> {
        let named = |variable: &'static str| {
            move |error: NameError| invalid(format!("{variable}: {error}"))
        };
        let container = self.container_id.as_deref().unwrap_or_default();
        let interface = self.interface.as_deref().unwrap_or_default();
        Ok(Endpoint {
            id: AttachmentId {
                container: ContainerId::new(container).map_err(named("CNI_CONTAINERID"))?,
                interface: IfName::new(interface).map_err(named("CNI_IFNAME"))?,
            },
            netns: self.netns.clone(),
            args: read_args(self.args.as_deref().unwrap_or_default())?,
        })
    }
}

/// DEL does not need the arguments: what ADD refused for their sake must still go away (K5).
fn lenient_args(text: &str) -> Result<PodArgs, CniError> {
    Ok(PodArgs::parse(text).unwrap_or_default())
}

fn invalid(msg: String) -> CniError {
    CniError::new(code::INVALID_ENVIRONMENT, msg)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        let get = |name: &str| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Environment::from_vars(get).expect("UTF-8")
    }

    fn full(command: &str) -> Environment {
        environment(&[
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", "/run/netns/x"),
            ("CNI_PATH", "/opt/cni/bin"),
        ])
    }

    #[test]
    fn k1_full_environment_serves_every_command() {
        assert!(matches!(full("ADD").verb(), Ok(Verb::Add(e)) if e.id.to_string() == "c1/eth0"));
        assert!(matches!(full("CHECK").verb(), Ok(Verb::Check(_))));
        assert!(matches!(full("DEL").verb(), Ok(Verb::Del(_))));
        assert_eq!(full("GC").verb(), Ok(Verb::Gc));
        assert_eq!(full("STATUS").verb(), Ok(Verb::Status));
        assert_eq!(full("VERSION").command(), Ok(Command::Version));
    }

    #[test]
    fn k1_all_missing_variables_are_named_at_once() {
        for (command, missing) in [
            ("ADD", "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH"),
            ("CHECK", "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH"),
            ("DEL", "CNI_CONTAINERID, CNI_IFNAME, CNI_PATH"),
            ("GC", "CNI_PATH"),
        ] {
            let error = environment(&[("CNI_COMMAND", command)])
                .verb()
                .expect_err(command);
            assert_eq!(error.code, 4);
            assert!(error.msg.contains(&format!(" {missing},")), "{error}");
        }
        assert_eq!(
            environment(&[("CNI_COMMAND", "STATUS")]).verb(),
            Ok(Verb::Status)
        );
    }

    #[test]
    fn k1_bad_values_are_code_4_and_name_the_variable() {
        for (variable, value) in [
            ("CNI_COMMAND", "add"),
            ("CNI_CONTAINERID", "-c"),
            ("CNI_CONTAINERID", "a/b"),
            ("CNI_IFNAME", "eth0:1"),
            ("CNI_IFNAME", "sixteen-bytes-ab"),
            ("CNI_ARGS", "K8S_POD_NAME"),
        ] {
            let mut environment = full("ADD");
            let field = match variable {
                "CNI_COMMAND" => &mut environment.command,
                "CNI_CONTAINERID" => environment.container_id.get_or_insert_default(),
                "CNI_IFNAME" => environment.interface.get_or_insert_default(),
                _ => environment.args.get_or_insert_default(),
            };
            value.clone_into(field);
            let error = environment.verb().expect_err(value);
            assert_eq!(error.code, 4);
            assert!(error.msg.contains(variable), "{error}");
        }
    }

    #[test]
    fn k1_what_a_command_does_not_need_is_not_looked_at() {
        let mut gc = full("GC");
        gc.container_id = Some("!".to_owned());
        gc.args = Some("=".to_owned());
        assert_eq!(gc.verb(), Ok(Verb::Gc));
    }

    #[test]
    fn k5_del_needs_neither_namespace_nor_sound_arguments() {
        let mut del = full("DEL");
        del.netns = None;
        del.args = Some("K8S_POD_NAME".to_owned());
        assert!(matches!(del.verb(), Ok(Verb::Del(e)) if e.args == PodArgs::default()));
    }

    #[test]
    fn k1_variables_that_are_not_utf8_are_named() {
        let get = |name: &str| (name == "CNI_NETNS").then(|| OsString::from_vec(vec![0xff]));
        let error = Environment::from_vars(get).expect_err("not UTF-8");
        assert_eq!(
            (error.code, error.msg.as_str()),
            (4, "CNI_NETNS is not valid UTF-8")
        );
    }
}
