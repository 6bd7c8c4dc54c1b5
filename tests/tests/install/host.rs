//! A node whose container runtime has its folders on tmpfs, and `seaway install --host` in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use seaway_tests::binary;
use serde_json::Value;

/// Another network's configuration.
pub(crate) const FLANNEL: &str =
    r#"{"name": "cbr0", "plugins": [{"type": "flannel"}, {"type": "portmap"}]}"#;

/// The folders of a runtime in the calling thread's mount namespace.
pub(crate) struct Folders;

impl Folders {
    /// As they are before any network comes.
    pub(crate) fn make() -> Folders {
        for folder in ["/run/cni/bin", "/run/cni/net.d"] {
            fs::create_dir_all(folder).expect("a folder");
        }
        Folders
    }

    pub(crate) fn conflist(&self) -> PathBuf {
        Path::new("/run/cni/net.d/05-seaway.conflist").to_owned()
    }

    pub(crate) fn plugin(&self) -> PathBuf {
        Path::new("/run/cni/bin/seaway-cni").to_owned()
    }

    pub(crate) fn write_other(&self, name: &str, text: &str) {
        fs::write(Path::new("/run/cni/net.d").join(name), text).expect("written");
    }

    /// `seaway VERB --host` for these folders.
    pub(crate) fn command(&self, verb: &str, flags: &[&str]) -> Command {
        let mut command = Command::new(binary("seaway"));
        command.args([verb, "--host", "--cni-bin-dir", "/run/cni/bin"]);
        command.args(["--cni-conf-dir", "/run/cni/net.d"]);
        command.args(flags);
        command
    }

    /// What it says when it works.
    pub(crate) fn run(&self, verb: &str, flags: &[&str]) -> Value {
        let output = self.try_run(verb, flags);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{verb}: {said}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// What it says when it does not.
    pub(crate) fn refused(&self, verb: &str, flags: &[&str]) -> String {
        let output = self.try_run(verb, flags);
        assert!(!output.status.success(), "{verb} {flags:?} worked");
        String::from_utf8(output.stderr).expect("text")
    }

    fn try_run(&self, verb: &str, flags: &[&str]) -> Output {
        let mut command = self.command(verb, flags);
        command.args(["-o", "json"]).output().expect("it starts")
    }
}

/// What was done to which files, from a report.
pub(crate) fn changes(report: &Value) -> Vec<(String, String)> {
    let changes = report["changes"].as_array().expect("changes").iter();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    changes
        .map(|change| (text(&change["what"]), text(&change["path"])))
        .collect()
}
