//! Installing and uninstalling in folders of their own, also when it dies on the way.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::steps::Step;
use super::*;

const FLANNEL: &str = r#"{"name": "cbr0", "plugins": [{"type": "flannel"}, {"type": "portmap"}]}"#;

/// The two folders of a runtime.
struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Node {
        let node = Node(tempfile::tempdir().expect("a folder"));
        for folder in ["bin", "net.d"] {
            fs::create_dir(node.0.path().join(folder)).expect("a folder");
        }
        node
    }

    fn places(&self) -> Places {
        Places {
            bin_dir: Some(self.0.path().join("bin")),
            conf_dir: self.0.path().join("net.d"),
        }
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.0.path().join(path), text).expect("a file");
    }

    /// All files with their permissions and contents.
    fn files(&self) -> BTreeMap<String, (u32, String)> {
        let mut files = BTreeMap::new();
        for folder in ["bin", "net.d"] {
            for entry in fs::read_dir(self.0.path().join(folder)).expect("a folder") {
                let entry = entry.expect("an entry");
                let mode = entry.metadata().expect("a file").permissions().mode() & 0o7777;
                let text = fs::read_to_string(entry.path()).expect("text");
                let name = format!("{folder}/{}", entry.file_name().display());
                files.insert(name, (mode, text));
            }
        }
        files
    }

    fn install(&self, wanted: &Wanted) -> Vec<(&'static str, String)> {
        let changes = install(&self.places(), wanted).expect("installed");
        self.named(&changes)
    }

    fn uninstall(&self) -> (Vec<(&'static str, String)>, Vec<Kept>) {
        let removal = look(&self.places()).expect("looked").uninstall();
        let mut changes = Vec::new();
        for steps in [&removal.configuration, &removal.plugin] {
            perform(steps, &mut changes).expect("done");
        }
        (self.named(&changes), removal.kept)
    }

    fn named(&self, changes: &[Change]) -> Vec<(&'static str, String)> {
        let name = |path: &Path| {
            let name = path.strip_prefix(self.0.path()).expect("inside");
            name.display().to_string()
        };
        changes
            .iter()
            .map(|change| (change.what, name(&change.path)))
            .collect()
    }
}

fn wanted(plugin: &str) -> Wanted {
    Wanted {
        plugin: Some(plugin.as_bytes().to_vec()),
        conflist: Some(format!("{{\"name\": \"seaway\", \"of\": \"{plugin}\"}}")),
        replace_others: false,
    }
}

fn replacing(plugin: &str) -> Wanted {
    Wanted {
        replace_others: true,
        ..wanted(plugin)
    }
}

#[test]
fn what_is_there_is_not_written_again() {
    let node = Node::new();
    let wrote = [
        ("wrote", "bin/seaway-cni".into()),
        ("wrote", "net.d/05-seaway.conflist".into()),
    ];
    assert_eq!(node.install(&wanted("one")), wrote);
    let first = node.files();
    assert_eq!(first["bin/seaway-cni"], (0o755, "one".into()));
    assert_eq!(first["net.d/05-seaway.conflist"].0, 0o644);
    assert_eq!(node.install(&wanted("one")), []);
    assert_eq!(node.files(), first);
    assert_eq!(node.install(&wanted("two")), wrote);
    let plugin = node.0.path().join("bin/seaway-cni");
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o600)).expect("permissions");
    assert_eq!(
        node.install(&wanted("two")),
        wrote[..1],
        "it could not be started"
    );
}

#[test]
fn missing_folders_are_made_for_what_is_put_there() {
    let node = Node::new();
    for folder in ["bin", "net.d"] {
        fs::remove_dir(node.0.path().join(folder)).expect("empty");
    }
    let only = Wanted {
        conflist: None,
        ..wanted("one")
    };
    let made = [("made", "bin".into()), ("wrote", "bin/seaway-cni".into())];
    assert_eq!(node.install(&only), made);
    let made = [
        ("made", "net.d".into()),
        ("wrote", "net.d/05-seaway.conflist".into()),
    ];
    assert_eq!(node.install(&wanted("one")), made);
}

#[test]
fn other_networks_are_named_in_the_order_of_the_runtime() {
    let node = Node::new();
    node.write("net.d/10-flannel.conflist", FLANNEL);
    node.write("net.d/00-broken.conf", "{");
    node.write(
        "net.d/01-single.json",
        r#"{"name": "podman", "type": "bridge"}"#,
    );
    node.write("net.d/notes.txt", "not a configuration");
    node.write("net.d/kubeconfig", "neither");
    node.install(&wanted("one"));
    let found = look(&node.places()).expect("looked");
    let others: Vec<_> = found
        .others
        .iter()
        .map(|other| {
            let file = other
                .path
                .file_name()
                .expect("a name")
                .to_str()
                .expect("text");
            (
                file,
                other.network.as_deref(),
                other.types.join("+"),
                other.first,
                other.problem.is_some(),
            )
        })
        .collect();
    let expected = [
        ("00-broken.conf", None, String::new(), true, true),
        (
            "01-single.json",
            Some("podman"),
            "bridge".into(),
            true,
            false,
        ),
        (
            "10-flannel.conflist",
            Some("cbr0"),
            "flannel+portmap".into(),
            false,
            false,
        ),
    ];
    assert_eq!(others, expected);
    assert!(found.taken().expect("one is").ends_with("00-broken.conf"));
    assert_eq!(
        node.files()["net.d/10-flannel.conflist"].1,
        FLANNEL,
        "untouched"
    );
}

#[test]
fn who_is_taken_follows_the_names() {
    let node = Node::new();
    let taken = || look(&node.places()).expect("looked").taken();
    assert_eq!(taken(), None);
    node.write("net.d/10-flannel.conflist", FLANNEL);
    assert!(
        taken()
            .expect("the only one")
            .ends_with("10-flannel.conflist")
    );
    node.install(&wanted("one"));
    assert!(taken().expect("two").ends_with("05-seaway.conflist"));
}

#[test]
fn others_are_put_aside_and_given_back() {
    let node = Node::new();
    node.write("bin/bridge", "a plugin");
    node.write("net.d/10-flannel.conflist", FLANNEL);
    node.write("net.d/00-first.conf", "{}");
    let before = node.files();
    let changes = node.install(&replacing("one"));
    let aside = |file: &str| ("put aside", format!("net.d/{file}"));
    assert_eq!(
        changes[2..],
        [aside("00-first.conf"), aside("10-flannel.conflist")]
    );
    let found = look(&node.places()).expect("looked");
    assert_eq!(found.others, []);
    assert_eq!(node.install(&replacing("one")), []);
    let (changes, kept) = node.uninstall();
    assert_eq!(kept, []);
    assert_eq!(changes.len(), 4, "{changes:?}");
    assert_eq!(node.files(), before);
    assert_eq!(node.uninstall(), (Vec::new(), Vec::new()));
}

#[test]
fn a_newer_file_is_not_overwritten() {
    let node = Node::new();
    node.write("net.d/10-flannel.conflist", FLANNEL);
    node.install(&replacing("one"));
    node.write("net.d/10-flannel.conflist", "newer");
    let (_, kept) = node.uninstall();
    let [kept] = kept.as_slice() else {
        panic!("one: {kept:?}");
    };
    assert!(kept.saved.ends_with("10-flannel.conflist.seaway-saved"));
    assert_eq!(node.files()["net.d/10-flannel.conflist"].1, "newer");
    assert_eq!(
        node.files()["net.d/10-flannel.conflist.seaway-saved"].1,
        FLANNEL
    );
}

#[test]
fn the_same_file_written_again_is_no_conflict() {
    let node = Node::new();
    node.write("net.d/10-flannel.conflist", FLANNEL);
    let before = node.files();
    node.install(&replacing("one"));
    node.write("net.d/10-flannel.conflist", FLANNEL);
    let (_, kept) = node.uninstall();
    assert_eq!(kept, []);
    assert_eq!(node.files(), before);
    // Its owner's next version is what is given back.
    node.install(&replacing("one"));
    node.write("net.d/10-flannel.conflist", "newer");
    node.install(&replacing("one"));
    node.uninstall();
    assert_eq!(node.files()["net.d/10-flannel.conflist"].1, "newer");
    assert_eq!(node.files().len(), 1);
}

/// What a runtime can meet at any moment.
fn is_whole(node: &Node, versions: &[&str]) {
    let files = node.files();
    let expected = |version: &&str| wanted(version).conflist.expect("one");
    if let Some((mode, text)) = files.get("bin/seaway-cni") {
        assert!(
            versions.contains(&text.as_str()) && *mode == 0o755,
            "{files:?}"
        );
    }
    if let Some((mode, text)) = files.get("net.d/05-seaway.conflist") {
        assert!(
            versions.iter().any(|v| expected(v) == *text) && *mode == 0o644,
            "{files:?}"
        );
        assert!(
            files.contains_key("bin/seaway-cni"),
            "it calls what is not there"
        );
    }
    let flannel = [
        "net.d/10-flannel.conflist",
        "net.d/10-flannel.conflist.seaway-saved",
    ];
    let copies = flannel.iter().filter_map(|name| files.get(*name));
    assert!(
        copies
            .map(|(_, text)| text == FLANNEL)
            .reduce(|one, other| one && other)
            .expect("never lost")
    );
}

#[test]
fn dying_after_any_step_leaves_old_or_new_and_the_next_one_finishes() {
    let total = {
        let node = Node::new();
        node.write("net.d/10-flannel.conflist", FLANNEL);
        node.install(&wanted("old"));
        look(&node.places())
            .expect("looked")
            .install(&replacing("new"), "t")
            .len()
    };
    assert_eq!(total, 5, "two files of two steps, and one to put aside");
    for done in 0..=total {
        let node = Node::new();
        node.write("net.d/10-flannel.conflist", FLANNEL);
        let before = node.files();
        node.install(&wanted("old"));
        let steps = look(&node.places())
            .expect("looked")
            .install(&replacing("new"), "t");
        perform(&steps[..done], &mut Vec::new()).expect("performed");
        if let Some(Step::Draft { path, bytes, .. }) = steps.get(done) {
            fs::write(path, &bytes[..bytes.len() / 2]).expect("it died while it wrote");
        }
        is_whole(&node, &["old", "new"]);
        node.install(&replacing("new"));
        is_whole(&node, &["new"]);
        assert_eq!(node.files().len(), 3, "no drafts: {:?}", node.files());

        let removal = look(&node.places()).expect("looked").uninstall();
        let steps: Vec<_> = removal
            .configuration
            .into_iter()
            .chain(removal.plugin)
            .collect();
        perform(&steps[..done.min(steps.len())], &mut Vec::new()).expect("performed");
        is_whole(&node, &["new"]);
        node.uninstall();
        assert_eq!(node.files(), before);
    }
}

#[test]
fn dying_between_the_two_names_of_what_is_given_back() {
    let node = Node::new();
    node.write("net.d/10-flannel.conflist", FLANNEL);
    let before = node.files();
    node.install(&replacing("one"));
    let home = node.places().conf_dir.join("10-flannel.conflist");
    let saved = node
        .places()
        .conf_dir
        .join("10-flannel.conflist.seaway-saved");
    fs::hard_link(saved, home).expect("a second name");
    let (_, kept) = node.uninstall();
    assert_eq!((kept, node.files()), (Vec::new(), before));
}

#[test]
fn a_draft_that_somebody_writes_is_left_to_them() {
    let node = Node::new();
    let draft = node
        .places()
        .conf_dir
        .join(".05-seaway.conflist.1-2.seaway-draft");
    fs::write(&draft, "half").expect("a draft");
    let writer = fs::File::open(&draft).expect("a draft");
    writer.lock().expect("nobody else");
    node.install(&wanted("one"));
    assert!(draft.exists());
    drop(writer);
    assert_eq!(
        node.install(&wanted("one")),
        [(
            "removed",
            "net.d/.05-seaway.conflist.1-2.seaway-draft".into()
        )]
    );
}

#[test]
fn many_at_once_leave_one_whole() {
    let node = Node::new();
    node.write("net.d/10-flannel.conflist", FLANNEL);
    let versions = ["a", "b", "c", "d"];
    std::thread::scope(|scope| {
        for version in versions {
            let places = node.places();
            scope.spawn(move || {
                for _ in 0..25 {
                    install(&places, &wanted(version)).expect("installed");
                }
            });
        }
        for _ in 0..50 {
            let plugin = fs::read_to_string(node.places().plugin().expect("a folder"));
            assert!(plugin.is_err() || plugin.is_ok_and(|text| versions.contains(&text.as_str())));
        }
    });
    node.install(&wanted("a"));
    is_whole(&node, &["a"]);
    assert_eq!(node.files().len(), 3, "{:?}", node.files());
}

#[test]
fn a_running_plugin_is_replaced() {
    let node = Node::new();
    let program = fs::read("/bin/sleep").expect("a program");
    let with = |program: Vec<u8>| Wanted {
        plugin: Some(program),
        ..Wanted::default()
    };
    install(&node.places(), &with(program.clone())).expect("installed");
    let plugin = node.places().plugin().expect("a folder");
    let mut running = std::process::Command::new(&plugin)
        .arg("60")
        .spawn()
        .expect("it starts");
    let mut newer = program;
    newer.push(0);
    install(&node.places(), &with(newer.clone())).expect("replaced while it runs");
    assert!(fs::read(&plugin).expect("it is there") == newer);
    assert!(
        running.try_wait().expect("ours").is_none(),
        "the old one goes on"
    );
    running.kill().and_then(|()| running.wait()).expect("ours");
    let started = std::process::Command::new(&plugin).arg("0").status();
    assert!(started.expect("it starts at once").success());
}

#[test]
fn what_cannot_be_done_names_the_file_and_the_way_out() {
    let node = Node::new();
    fs::remove_dir(node.0.path().join("net.d")).expect("empty");
    node.write("net.d", "a file");
    let error = install(&node.places(), &wanted("one"))
        .expect_err("no folder")
        .to_string();
    assert!(
        error.contains("net.d") && error.contains("move it away"),
        "{error}"
    );
}
