//! Files and folders of the runtime: put there whole, and given back.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use seaway_testkit::isolate;
use seaway_tests::{Node, Pod, binary};
use serde_json::json;

use crate::host::{FLANNEL, Folders, changes};
use crate::traces::{Traces, make_ordinary};

/// "Uninstall gives back what was there": with an agent that ran and a Pod that was there.
#[test]
fn uninstall_leaves_the_node_as_it_was() {
    let mut node = Node::without_agent();
    let folders = Folders::make();
    folders.write_other("00-first.conf", r#"{"name": "old", "type": "bridge"}"#);
    folders.write_other("10-flannel.conflist", FLANNEL);
    folders.write_other("notes.txt", "no configuration");
    fs::write("/run/cni/bin/bridge", "another plugin").expect("written");
    make_ordinary();
    let all = Path::new("/run/cni");
    let before = Traces::now(all);

    let report = folders.run("install", &["--replace-others"]);
    assert_eq!(report["taken"], "/run/cni/net.d/05-seaway.conflist");
    assert_eq!(report["others"], json!([]));
    let plugin = fs::read(folders.plugin()).expect("installed");
    assert!(plugin == fs::read(binary("seaway-cni")).expect("built"));
    node.start_agent();
    let pod = Pod::attached("a");

    let installed = Traces::now(all);
    let said = folders.refused("uninstall", &["--force"]);
    assert!(said.contains("agent.lock"), "an agent runs: {said}");
    node.kill_agent();
    let said = folders.refused("uninstall", &[]);
    assert!(said.contains("1 Pods are attached"), "{said}");
    assert_eq!(
        installed,
        Traces::now(all),
        "refused before anything was done"
    );

    node.start_agent();
    pod.del().expect("DEL");
    node.kill_agent();
    let report = folders.run("uninstall", &[]);
    assert_eq!(
        (&report["kept"], &report["problems"]),
        (&json!([]), &json!([]))
    );
    let files = report["cleanup"]["files"].as_array().expect("files");
    assert!(
        !files.is_empty() && !Path::new("/run/seaway").exists(),
        "{files:?}"
    );
    Traces::now(all).assert_same(&before);
    let report = folders.run("uninstall", &[]);
    assert_eq!(changes(&report), []);
}

#[test]
fn live_pods_are_cut_off_only_by_force() {
    let mut node = Node::without_agent();
    let folders = Folders::make();
    make_ordinary();
    let before = Traces::now(Path::new("/run/cni"));
    folders.run("install", &[]);
    node.start_agent();
    let _pod = Pod::attached("a");
    node.kill_agent();
    folders.run("uninstall", &["--force"]);
    Traces::now(Path::new("/run/cni")).assert_same(&before);
}

#[test]
fn others_are_named_and_left_alone() {
    isolate();
    let folders = Folders::make();
    folders.write_other("00-first.conf", r#"{"name": "old", "type": "bridge"}"#);
    folders.write_other("10-flannel.conflist", FLANNEL);
    let report = folders.run("install", &["--plugin-only"]);
    assert_eq!(report["taken"], "/run/cni/net.d/00-first.conf");
    assert!(!folders.conflist().exists());
    let report = folders.run("install", &[]);
    let others = report["others"].as_array().expect("a list");
    let named: Vec<_> = others
        .iter()
        .map(|o| (&o["network"], &o["types"], &o["first"]))
        .collect();
    let (old, cbr0, bridge, flannel) = (
        json!("old"),
        json!("cbr0"),
        json!(["bridge"]),
        json!(["flannel", "portmap"]),
    );
    assert_eq!(
        named,
        [
            (&old, &bridge, &json!(true)),
            (&cbr0, &flannel, &json!(false))
        ]
    );
    assert_eq!(changes(&folders.run("install", &[])), [], "all is there");
    let output = folders.command("install", &[]).output().expect("it starts");
    let (said, warned) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        said.contains("The runtime takes /run/cni/net.d/00-first.conf"),
        "{said}"
    );
    assert!(said.contains("network old, bridge"), "{said}");
    assert!(
        warned.contains("NetworkPolic"),
        "not enforced, and said: {warned}"
    );
}

/// Kill it at any point: a runtime meets the old file or the new one, and nothing is left over.
#[test]
fn killed_at_any_moment_files_are_old_or_new() {
    isolate();
    let folders = Folders::make();
    folders.write_other("10-flannel.conflist", FLANNEL);
    let plugin = fs::read(binary("seaway-cni")).expect("built");
    let versions = [plugin.clone(), [plugin.as_slice(), &[0; 4096]].concat()];
    for (version, bytes) in versions.iter().enumerate() {
        fs::write(format!("/run/plugin{version}"), bytes).expect("written");
    }
    let install = |version: usize| {
        let (from, socket) = (
            format!("/run/plugin{version}"),
            format!("/run/{version}.sock"),
        );
        folders.command("install", &["--from", &from, "--agent-socket", &socket])
    };
    let whole = || {
        let plugin = fs::read(folders.plugin()).expect("there");
        assert!(versions.contains(&plugin), "torn: {} bytes", plugin.len());
        let conflist = fs::read(folders.conflist()).expect("there");
        let conflist: serde_json::Value = serde_json::from_slice(&conflist).expect("whole");
        assert!(conflist["plugins"][0]["socket"].is_string());
        assert!(!Path::new("/run/cni/net.d/10-flannel.conflist.seaway-saved").exists());
    };
    let started = Instant::now();
    assert!(install(0).status().expect("it starts").success());
    let takes = started.elapsed();
    let mut killed = 0;
    for round in 0..60u32 {
        let mut child = install(round as usize % 2)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        std::thread::sleep(takes * round / 50);
        // It may be done.
        let _ = child.kill();
        killed += u32::from(!child.wait().expect("ours").success());
        whole();
    }
    assert!(killed >= 10, "only {killed} died");
    assert!(install(1).status().expect("it starts").success());
    whole();
    let names = |folder: &str| {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("/run/cni/bin"), ["seaway-cni"]);
    assert_eq!(
        names("/run/cni/net.d"),
        ["05-seaway.conflist", "10-flannel.conflist"]
    );
}

#[test]
fn what_cannot_be_written_is_named_with_the_way_out() {
    isolate();
    let folders = Folders::make();
    let tmpfs = |flags, data: &str| {
        mount(
            Some("tmpfs"),
            "/run/cni/bin",
            Some("tmpfs"),
            flags,
            Some(data),
        )
        .expect("mounted");
    };
    tmpfs(MsFlags::MS_RDONLY, "");
    let said = folders.refused("install", &[]);
    assert!(
        said.contains("/run/cni/bin") && said.contains("mount it writable"),
        "{said}"
    );
    tmpfs(MsFlags::empty(), "size=64k");
    let said = folders.refused("install", &[]);
    assert!(
        said.contains("/run/cni/bin") && said.contains("make room"),
        "{said}"
    );
    let left = fs::read_dir("/run/cni/bin").expect("a folder").count();
    assert_eq!(left, 0, "a draft would keep the room");
    assert!(
        !folders.conflist().exists(),
        "it would call a plugin that is not there"
    );
}

/// A runtime starts the plugin at any moment; "text file busy" would fail a Pod.
#[test]
fn the_plugin_can_be_started_while_it_is_replaced() {
    isolate();
    let folders = Folders::make();
    let plugin = fs::read(binary("seaway-cni")).expect("built");
    fs::write("/run/longer", [plugin.as_slice(), &[0; 64]].concat()).expect("written");
    folders.run("install", &[]);
    let path = folders.plugin();
    let until = Instant::now() + Duration::from_secs(3);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < until {
                folders.run("install", &["--from", "/run/longer"]);
                folders.run("install", &[]);
            }
        });
        let mut started = 0;
        while Instant::now() < until {
            let mut version = std::process::Command::new(&path);
            let output = version
                .env("CNI_COMMAND", "VERSION")
                .output()
                .expect("it starts");
            assert!(output.status.success());
            started += 1;
        }
        assert!(started > 50, "{started}");
    });
}
