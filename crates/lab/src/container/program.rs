//! The program of a container, as it is started once everything around it stands.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use seaway_kernel::container::{CapabilitySet, Confinement};

use super::capabilities;
use super::root::TOOLS;
use super::spec::ContainerSpec;
use crate::error::{Context, LabError};

const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who the program runs as and what it may do.
pub(super) fn confinement(spec: &ContainerSpec) -> Result<Confinement, LabError> {
    let granted = capabilities::granted(&spec.add_capabilities, &spec.drop_capabilities)?;
    let asked_for = capabilities::granted(&spec.add_capabilities, &["ALL".to_owned()])?;
    let own = CapabilitySet::permitted_here()?;
    if let Some(missing) = asked_for
        .iter()
        .find(|c| granted.contains(*c) && !own.contains(*c))
    {
        return Err(LabError::Request(format!(
            "the capability \"{missing}\" cannot be granted: the lab itself does not have it"
        )));
    }
    Ok(Confinement {
        user: spec.user.unwrap_or(0),
        group: spec.group.unwrap_or(0),
        groups: spec.supplementary_groups.clone(),
        capabilities: granted.and(own),
        terminal: false,
    })
}

/// The command that becomes the program. Changes the working directory.
pub(super) fn command(spec: &ContainerSpec) -> Result<Command, LabError> {
    let workdir = spec.workdir.as_deref().unwrap_or(Path::new("/"));
    fs::create_dir_all(workdir).on("make the working directory", workdir)?;
    std::env::set_current_dir(workdir).on("change to", workdir)?;
    let env = environment(spec);
    let (name, args) = spec
        .argv
        .split_first()
        .ok_or_else(|| LabError::Request("the container has no command".to_owned()))?;
    let path = find(name, env.get("PATH").map_or("", String::as_str))
        .ok_or_else(|| not_started(spec, &io::ErrorKind::NotFound.into()))?;
    let mut command = Command::new(path);
    command.arg0(name).args(args).env_clear().envs(env);
    Ok(command)
}

fn environment(spec: &ContainerSpec) -> BTreeMap<String, String> {
    let home = match spec.user.unwrap_or(0) {
        0 => "/root",
        _ => "/",
    };
    let host_name = nix::unistd::gethostname().unwrap_or_default();
    let usual = [
        ("PATH", format!("{TOOLS}:{USUAL_PATH}")),
        ("HOME", home.to_owned()),
        ("HOSTNAME", host_name.to_string_lossy().into_owned()),
    ];
    usual
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .chain(spec.env.iter().cloned())
        .collect()
}

/// A name with a slash is a path; any other is looked up.
fn find(name: &str, path: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(name.into());
    }
    path.split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// That it did not start, as people know it from other runtimes.
pub(super) fn not_started(spec: &ContainerSpec, reason: &io::Error) -> LabError {
    let name = spec.argv.first().map_or("", String::as_str);
    let text = match reason.kind() {
        io::ErrorKind::NotFound if name.contains('/') => {
            "no such file or directory; a container sees this machine's /usr, and nothing else of it"
                .to_owned()
        }
        io::ErrorKind::NotFound => {
            "executable file not found in $PATH; a container sees the programs of this machine's /usr"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => reason.to_string(),
    };
    LabError::Program {
        name: name.to_owned(),
        reason: text,
        missing: reason.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(env: &[(&str, &str)], user: Option<u32>) -> ContainerSpec {
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        ContainerSpec {
            argv: vec!["x".to_owned()],
            env: env.iter().map(owned).collect(),
            user,
            ..ContainerSpec::default()
        }
    }

    #[test]
    fn the_environment_is_the_containers_and_little_else() {
        let env = environment(&spec(&[("A", "1"), ("A", "2"), ("PATH", "/x")], None));
        let names: Vec<_> = env.keys().map(String::as_str).collect();
        assert_eq!(names, ["A", "HOME", "HOSTNAME", "PATH"]);
        assert_eq!(
            (&*env["A"], &*env["PATH"], &*env["HOME"]),
            ("2", "/x", "/root")
        );
        let env = environment(&spec(&[], Some(1000)));
        assert_eq!(&*env["HOME"], "/");
        assert!(env["PATH"].starts_with("/seaway/bin:"));
    }

    #[test]
    fn programs_are_looked_up_as_by_a_shell() {
        assert_eq!(find("./a", "/usr/bin"), Some("./a".into()));
        assert_eq!(find("sh", "/nowhere:/bin"), Some("/bin/sh".into()));
        assert_eq!(find("passwd", "/etc"), None, "no program");
        assert_eq!(find("sh", ""), None);
    }

    #[test]
    fn a_start_that_fails_is_explained() {
        let error = not_started(&spec(&[], None), &io::ErrorKind::NotFound.into());
        assert!(
            error
                .to_string()
                .starts_with("exec: \"x\": executable file not found in $PATH")
        );
    }
}
