//! `lab kubectl`: the user's kubectl, pointed at the lab.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::KubectlArgs;
use crate::client::Client;
use crate::error::{Context, LabError};

/// Names another kubectl than the first of the search path.
const CHOICE: &str = "SEAWAY_KUBECTL";

/// Becomes kubectl. Comes back only with an error.
pub(super) fn run(args: &KubectlArgs) -> Result<(), LabError> {
    let kubeconfig = Client::of(&args.name.name)?.state().kubeconfig();
    let kubectl = find()?;
    let mut command = Command::new(&kubectl);
    command.args(&args.arguments).env("KUBECONFIG", kubeconfig);
    Err(command.exec()).on("run", &kubectl)
}

fn find() -> Result<PathBuf, LabError> {
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    find_in(std::env::var_os(CHOICE), &search_path)
}

fn find_in(choice: Option<OsString>, search_path: &OsString) -> Result<PathBuf, LabError> {
    if let Some(choice) = choice.filter(|choice| !choice.is_empty()) {
        return Ok(choice.into());
    }
    let mut places = std::env::split_paths(search_path).map(|folder| folder.join("kubectl"));
    places.find(|path| is_program(path)).ok_or_else(|| {
        LabError::Request(format!(
            "there is no kubectl in the search path: install one of version 1.29 or newer \
             (`cargo xtask setup` puts one into target/tools), or name it by {CHOICE}"
        ))
    })
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_kubectl_wins_and_a_missing_one_is_told() {
        let chosen = find_in(Some("/x/kubectl".into()), &"/nowhere".into());
        assert_eq!(chosen.expect("taken"), Path::new("/x/kubectl"));
        let error = find_in(None, &"/nowhere".into()).expect_err("none");
        assert!(error.to_string().contains("1.29"), "{error}");
    }
}
