//! Keeps `deploy/` what this source makes: `deploy/seaway.yaml` and `deploy/chart/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use seaway_deploy::{Values, chart, manifest};

/// Set, it makes the test write the files instead of comparing them.
const UPDATE: &str = "SEAWAY_UPDATE_DEPLOY";

fn made() -> BTreeMap<PathBuf, String> {
    let chart = chart().into_iter();
    let mut files: BTreeMap<PathBuf, String> = chart
        .map(|(path, text)| (Path::new("chart").join(path), text))
        .collect();
    let head = "# What brings Seaway into a Kubernetes cluster, with every value at its default:\n\
                # `seaway install` prints it, with other values as well. Made by crates/deploy; a test\n\
                # compares it. Do not edit.\n";
    let manifest = manifest(&Values::default());
    files.insert("seaway.yaml".into(), format!("{head}{manifest}"));
    files
}

fn there(base: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            there(base, &path, files);
        } else {
            let text = std::fs::read_to_string(&path).expect("readable");
            files.insert(path.strip_prefix(base).expect("below").to_owned(), text);
        }
    }
}

#[test]
fn the_files_are_what_the_source_makes() {
    let base = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let made = made();
    if std::env::var_os(UPDATE).is_some() {
        let _absent = std::fs::remove_dir_all(base.join("chart"));
        for (path, text) in &made {
            let path = base.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
            std::fs::write(path, text).expect("written");
        }
        return;
    }
    let mut found = BTreeMap::new();
    there(&base, &base.join("chart"), &mut found);
    let manifest = std::fs::read_to_string(base.join("seaway.yaml")).expect("readable");
    found.insert("seaway.yaml".into(), manifest);
    let names = |files: &BTreeMap<PathBuf, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&made), "files of deploy/");
    for (path, text) in made {
        assert!(
            found[&path] == text,
            "deploy/{} is not what the source makes; update it with\n    {UPDATE}=1 cargo test -p \
             seaway-deploy --test files\nand look at the difference. It should be:\n{text}",
            path.display()
        );
    }
}
