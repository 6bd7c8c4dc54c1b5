//! The image of the tests: the `seaway` binary, which holds a sandbox, serves and asks. It is made
//! here, so that no registry is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::binary;
use crate::shell::checked;

/// Its name; the tag is a fixed one, so that nobody wants to fetch it.
pub const IMAGE: &str = "seaway.test/tool:1";

/// Writes the image as an archive that runtimes import, into `folder`.
pub(super) fn write(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    fill(&root);
    let layer = folder.join("layer.tar");
    run(Command::new("tar")
        .arg("-C")
        .arg(&root)
        .arg("-cf")
        .arg(&layer)
        .arg("."));
    let digest = run(Command::new("sha256sum").arg(&layer));
    let digest = digest.split_whitespace().next().expect("a digest");
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Entrypoint": ["/seaway", "tool", "pause"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    fs::write(folder.join("config.json"), config.to_string()).expect("written");
    fs::write(folder.join("manifest.json"), manifest.to_string()).expect("written");
    let archive = folder.join("image.tar");
    let parts = ["manifest.json", "config.json", "layer.tar"];
    run(Command::new("tar")
        .arg("-C")
        .arg(folder)
        .arg("-cf")
        .arg(&archive)
        .args(parts));
    archive
}

/// The binary without symbols, and what a debug build of it needs: it is not static.
fn fill(root: &Path) {
    fs::create_dir_all(root.join("tmp")).expect("folder");
    let seaway = binary("seaway");
    run(Command::new("strip")
        .arg("-o")
        .arg(root.join("seaway"))
        .arg(&seaway));
    let needed = Command::new("ldd").arg(&seaway).output().expect("started");
    let needed = String::from_utf8_lossy(&needed.stdout).into_owned();
    for library in needed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        let copy = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(copy.parent().expect("a folder")).expect("folder");
        fs::copy(library, copy).expect("copied");
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("started");
    checked(&format!("{command:?}"), &output)
}
