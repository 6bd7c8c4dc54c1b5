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

/// Runs `seaway lab …`.
pub fn lab(arguments: &[&str]) -> Output {
    Command::new(binary("seaway"))
        .arg("lab")
        .args(arguments)
        .env("SEAWAY_KUBECTL", kubectl())
        .output()
        .expect("started")
}

/// Runs `seaway lab …`, and wants success; gives its output.
///
/// # Panics
///
/// If it fails, with what it said.
pub fn good(arguments: &[&str]) -> String {
    let output = lab(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}\n{errors}");
    text
}

impl Lab {
    /// Brings it up with further arguments of `lab up`.
    pub fn up(name: &'static str, more: &[&str]) -> Lab {
        let lab = Lab::named(name);
        good(&[&["up", "--name", name], more].concat());
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
