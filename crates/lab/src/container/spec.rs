//! What a container is asked to be, and whether a lab may run that. It knows nothing of Pods: the
//! runtime has turned those into this.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::capabilities;
use crate::error::LabError;

/// Places that the root itself furnishes; a volume over them would undo its protection.
const FURNISHED: [&str; 3] = ["/proc", "/sys", "/dev"];
/// Places below those that Pods commonly mount something on.
const SPARE: [&str; 2] = ["/dev/shm", "/dev/termination-log"];

/// One container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerSpec {
    /// The program and its arguments. A name without a slash is looked up in the container's `PATH`.
    pub(crate) argv: Vec<String>,
    /// The whole environment, but for `PATH`, `HOME` and `HOSTNAME`, which are set if they are not here.
    /// Of two entries of the same name the later one counts.
    #[serde(default)]
    pub(crate) env: Vec<(String, String)>,
    /// Where the program starts; made if it is not there. `/` if nothing is said.
    #[serde(default)]
    pub(crate) workdir: Option<PathBuf>,
    /// Volumes, and files like `/etc/hosts`; a later one may be mounted inside an earlier one.
    #[serde(default)]
    pub(crate) mounts: Vec<BindMount>,
    /// Root if nothing is said.
    #[serde(default)]
    pub(crate) user: Option<u32>,
    /// Group 0 if nothing is said, whoever the user is.
    #[serde(default)]
    pub(crate) group: Option<u32>,
    #[serde(default)]
    pub(crate) supplementary_groups: Vec<u32>,
    /// As in a Pod: names without `CAP_`.
    #[serde(default)]
    pub(crate) add_capabilities: Vec<String>,
    /// As in a Pod; `ALL` drops every default one.
    #[serde(default)]
    pub(crate) drop_capabilities: Vec<String>,
    /// No writable root, and no `/tmp` but one that is mounted.
    #[serde(default)]
    pub(crate) read_only_root: bool,
}

/// A file or folder of the node that the container sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BindMount {
    /// On the node. Only what nobody in a container can rename: symbolic links are followed.
    pub(crate) source: PathBuf,
    /// Below the source, where containers may have put links: those lead nowhere outside of it.
    #[serde(default)]
    pub(crate) sub_path: Option<PathBuf>,
    /// In the container; made if it is not there.
    pub(crate) target: PathBuf,
    #[serde(default)]
    pub(crate) read_only: bool,
}

impl ContainerSpec {
    /// Whether a lab may run this, before anything is started.
    pub(crate) fn check(&self) -> Result<(), LabError> {
        if self.argv.first().is_none_or(String::is_empty) {
            return refuse("the container has no command: give one in the Pod's spec".to_owned());
        }
        if self.argv.iter().any(|text| text.contains('\0')) {
            return refuse("an argument of the container contains a zero byte".to_owned());
        }
        for (name, value) in &self.env {
            check_variable(name, value)?;
        }
        for mount in &self.mounts {
            check_target(&mount.target)?;
        }
        if let Some(workdir) = self.workdir.as_deref().filter(|path| !is_plain(path)) {
            return refuse(format!(
                "workingDir \"{}\" is to be an absolute path without \"..\"",
                workdir.display()
            ));
        }
        capabilities::granted(&self.add_capabilities, &self.drop_capabilities).map(drop)
    }
}

fn check_variable(name: &str, value: &str) -> Result<(), LabError> {
    if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
        return refuse(format!(
            "the environment variable \"{}\" has a name or a value that no program can be given",
            name.escape_default()
        ));
    }
    Ok(())
}

fn check_target(target: &Path) -> Result<(), LabError> {
    let shown = target.display();
    if !is_plain(target) || target == Path::new("/") {
        return refuse(format!(
            "the mount path \"{shown}\" is to be an absolute path without \"..\", and not the root"
        ));
    }
    let spare = SPARE.iter().any(|path| target.starts_with(path));
    if !spare && FURNISHED.iter().any(|path| target.starts_with(path)) {
        return refuse(format!(
            "nothing can be mounted on \"{shown}\": that is what isolates the container"
        ));
    }
    Ok(())
}

fn is_plain(path: &Path) -> bool {
    let up = |part| matches!(part, Component::ParentDir);
    path.is_absolute() && !path.components().any(up) && !has_zero(path)
}

fn has_zero(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().contains(&0)
}

fn refuse(reason: String) -> Result<(), LabError> {
    Err(LabError::Request(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut ContainerSpec);

    fn spec() -> ContainerSpec {
        ContainerSpec {
            argv: vec!["true".to_owned()],
            ..ContainerSpec::default()
        }
    }

    fn mount(target: &str) -> BindMount {
        BindMount {
            source: "/usr".into(),
            sub_path: None,
            target: target.into(),
            read_only: true,
        }
    }

    #[test]
    fn an_ordinary_container_is_fine() {
        let mut spec = spec();
        spec.env.push(("A".to_owned(), "b=c".to_owned()));
        spec.workdir = Some("/srv/data".into());
        for target in ["/etc/hosts", "/dev/shm", "/dev/termination-log", "/process"] {
            spec.mounts.push(mount(target));
        }
        spec.check().expect("fine");
    }

    #[test]
    fn what_would_undo_the_isolation_or_cannot_be_is_refused() {
        let broken: [(&str, Change); 9] = [
            ("no command", |spec| spec.argv.clear()),
            ("zero byte", |spec| spec.argv.push("a\0b".to_owned())),
            ("variable", |spec| {
                spec.env.push(("A=B".to_owned(), String::new()));
            }),
            ("mounted on", |spec| {
                spec.mounts.push(mount("/proc/sys/net"));
            }),
            ("mounted on", |spec| spec.mounts.push(mount("/dev/null"))),
            ("absolute", |spec| spec.mounts.push(mount("/a/../proc"))),
            ("absolute", |spec| spec.mounts.push(mount("/"))),
            ("workingDir", |spec| spec.workdir = Some("srv".into())),
            ("SYS_ADMIN", |spec| {
                spec.add_capabilities.push("SYS_ADMIN".to_owned());
            }),
        ];
        for (expected, change) in broken {
            let mut spec = spec();
            change(&mut spec);
            let error = spec.check().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
