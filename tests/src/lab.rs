//! A lab as a user makes one: by the binary's own commands.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::{binary, kubectl};

/// A lab that is taken down whatever happens.
pub struct Lab {
    /// Its name.
    pub name: &'static str,
    kubeconfig: PathBuf,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("seaway"));
    command
        .arg("lab")
        .args(arguments)
        .env("SEAWAY_KUBECTL", kubectl());
    command
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}\n{errors}");
    text
}

/// Runs `seaway lab …`.
pub fn lab(arguments: &[&str]) -> Output {
    command(arguments).output().expect("started")
}

/// Runs `seaway lab …`, and wants success; gives its output.
///
/// # Panics
///
/// If it fails, with what it said.
pub fn good(arguments: &[&str]) -> String {
    succeed(&mut command(arguments))
}

impl Lab {
    /// Brings it up with further arguments of `lab up`.
    pub fn up(name: &'static str, more: &[&str]) -> Lab {
        Lab::up_with(name, more, &[])
    }

    /// Brings it up with variables in the environment of all its daemons.
    pub fn up_with(name: &'static str, more: &[&str], variables: &[(&str, &str)]) -> Lab {
        let lab = Lab::named(name);
        let arguments = [&["up", "--name", name], more].concat();
        succeed(command(&arguments).envs(variables.iter().copied()));
        lab
    }

    /// Brings it up with an API server that tells who asks, in a file.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn up_audited(name: &'static str, more: &[&str], audit: &Path) -> Lab {
        let lab = Lab::named(name);
        let mut command = Command::new(binary("seaway"));
        command.args(["lab", "up", "--name", name]).args(more);
        command.env("SEAWAY_AUDIT_LOG", audit);
        let output = command.output().expect("started");
        assert!(output.status.success(), "{output:?}");
        lab
    }

    fn named(name: &'static str) -> Lab {
        let kubeconfig = PathBuf::from(format!("/run/seaway-lab/{name}/kubeconfig"));
        Lab { name, kubeconfig }
    }

    /// What is printed by a command on a node or in a Pod's network.
    pub fn exec(&self, place: &str, command: &[&str]) -> String {
        good(&[&["exec", "--name", self.name, place, "--"], command].concat())
    }

    /// What kubectl prints.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        good(&[&["kubectl", "--name", self.name], arguments].concat())
    }

    /// What kubectl does, whether it succeeds or not.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        lab(&[&["kubectl", "--name", self.name], arguments].concat())
    }

    /// The user's way to the lab's API server.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        lab(&["down", "--name", self.name]);
    }
}
