//! The lab as a user has it: real commands, real processes, everything gone afterwards.

mod exec;
mod kubelet;
mod shell;
mod status;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use seaway_kernel::netlink::Netlink;
use seaway_testkit::{eventually, isolate};
use seaway_tests::binary;
use seaway_tests::lab::{Lab, good, lab};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

fn json(arguments: &[&str]) -> Value {
    let text = good(arguments);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
}

/// The processes of one lab: what names it on its command line, and what its supervisor started.
fn processes(lab: &str) -> Vec<(u32, String)> {
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    let all: Vec<(u32, u32, String)> = entries
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let text = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&text).replace('\0', " ");
            Some((pid, parent(&entry.path())?, line))
        })
        .collect();
    let named: Vec<u32> = all
        .iter()
        .filter(|(.., line)| line.contains(lab))
        .map(|(pid, ..)| *pid)
        .collect();
    let belongs = |pid: &u32, parent: &u32| named.contains(pid) || named.contains(parent);
    let found = all
        .into_iter()
        .filter(|(pid, parent, _)| belongs(pid, parent));
    found.map(|(pid, _, line)| (pid, line)).collect()
}

fn parent(process: &std::path::Path) -> Option<u32> {
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

fn wait_for_no_processes(lab: &str) {
    eventually("no process is left", LIMIT, || {
        let left = processes(lab);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn a_lab_goes_up_checks_every_path_and_leaves_nothing() {
    isolate();
    let links = || {
        Netlink::open()
            .expect("rtnetlink")
            .links()
            .expect("links")
            .len()
    };
    let before = links();
    {
        let lab_a = Lab::up("a-isolated-1", &[]);
        let rows = json(&["check", "--name", lab_a.name, "-o", "json"]);
        let rows = rows["rows"].as_array().expect("rows").clone();
        // Of each path and protocol one row a family.
        assert_eq!(rows.len(), 2 * 71);
        for row in &rows {
            assert_eq!(row["ok"], true, "{row}");
        }
        let families = |family: &str| rows.iter().filter(|r| r["family"] == family).count();
        assert_eq!(families("v4"), families("v6"), "both families, always");
        let page = lab_a.exec("pod-1-1", &["hostname"]);
        assert_eq!(page.trim(), "pod-1-1");
        // What the check made has just gone.
        eventually("the node holds what it did before", LIMIT, || {
            let status = lab_a.exec("node1", &["seaway", "status", "-o", "json"]);
            let status: Value = serde_json::from_str(&status).expect("JSON");
            let held = status["attachments"].as_array().map(Vec::len);
            match (held, status["drifted"].as_u64()) {
                (Some(2), Some(0)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        let running = processes(lab_a.name);
        assert!(running.len() > 8, "{running:?}");
    }
    assert_eq!(links(), before, "the surrounding namespace is as it was");
    assert!(!PathBuf::from("/run/seaway-lab/a-isolated-1").exists());
    wait_for_no_processes("a-isolated-1");
}

#[test]
fn two_labs_live_side_by_side_and_a_name_is_taken_once() {
    isolate();
    let first = Lab::up("b-isolated-1", &["--nodes", "1", "--pods", "1"]);
    let second = Lab::up("b-isolated-2", &["--nodes", "1", "--pods", "1"]);
    let again = lab(&["up", "--name", first.name]);
    let errors = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        !again.status.success() && errors.contains(first.name),
        "{errors}"
    );
    let names = good(&["list"]);
    assert!(
        names.contains(first.name) && names.contains(second.name),
        "{names}"
    );
    for lab in [&first, &second] {
        good(&["check", "--name", lab.name]);
    }
    drop(first);
    good(&["check", "--name", second.name]);
}

#[test]
fn sixteen_nodes_reach_each_other() {
    isolate();
    let lab = Lab::up("c-isolated-16", &["--nodes", "16", "--pods", "1"]);
    let report = json(&["check", "--name", lab.name, "-o", "json"]);
    for row in report["rows"].as_array().expect("rows") {
        assert_eq!(row["ok"], true, "{row}");
    }
}

/// Row 1 of the scorecard, as a user of the lab sees it.
#[test]
fn r01_a_killed_agent_is_started_again() {
    isolate();
    let lab = Lab::up("d-isolated-1", &["--nodes", "1", "--pods", "2"]);
    let pid = || {
        let agent = processes_in_lab(&lab);
        agent.first().copied().ok_or("no agent")
    };
    let before = eventually("the agent runs", LIMIT, pid);
    kill(before);
    eventually("another agent runs", LIMIT, || match pid() {
        Ok(now) if now != before => Ok(()),
        other => Err(format!("{other:?}")),
    });
    eventually("all is well", LIMIT, || {
        let output = self::lab(&["check", "--name", lab.name]);
        if output.status.success() {
            Ok(())
        } else {
            Err(output)
        }
    });
}

/// The agents of a lab, as the machine numbers them.
fn processes_in_lab(lab: &Lab) -> Vec<u32> {
    let needle = format!("/{}/", lab.name);
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let text = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&text).replace('\0', " ");
            (line.contains(" agent ") && line.contains(&needle)).then_some(pid)
        })
        .collect()
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
}

#[test]
fn a_killed_supervisor_takes_everything_along_and_down_clears_up() {
    isolate();
    let lab_e = Lab::up("e-isolated-1", &["--nodes", "1", "--pods", "1"]);
    let supervisor = processes(lab_e.name)
        .iter()
        .find(|(_, line)| line.contains("supervise"))
        .cloned();
    let (pid, _) =
        supervisor.unwrap_or_else(|| panic!("no supervisor in {:?}", processes(lab_e.name)));
    kill(pid);
    wait_for_no_processes(lab_e.name);
    assert!(
        good(&["list"]).contains(lab_e.name),
        "a dead lab is still listed"
    );
    good(&["down", "--name", lab_e.name]);
    assert!(!PathBuf::from("/run/seaway-lab").join(lab_e.name).exists());
    good(&["down", "--name", lab_e.name]);
}

/// What a check is for: a path that does not work is found, named, and told by the exit code.
#[test]
fn a_broken_path_fails_the_check_and_only_its_rows() {
    isolate();
    let lab_f = Lab::up("f-isolated-1", &["--nodes", "2", "--pods", "1"]);
    let check = || lab(&["check", "--name", lab_f.name, "-o", "json"]);
    // To Pods of the other node, and to Services.
    for (destination, paths) in [
        ("10.244.2.0/24", &["pod-to-pod-other-node"][..]),
        (
            "10.96.0.0/16",
            &[
                "pod-to-cluster-ip",
                "name-to-connection",
                "spread",
                "affinity",
                "no-endpoints",
                "rolling-update",
            ],
        ),
    ] {
        let route = ["blackhole", destination];
        lab_f.exec("pod-1-1", &[&["ip", "route", "add"][..], &route].concat());
        let output = check();
        assert_eq!(output.status.code(), Some(1));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let rows = report["rows"].as_array().expect("rows");
        let failed: Vec<&Value> = rows.iter().filter(|row| row["ok"] == false).collect();
        for row in &failed {
            assert_eq!(row["family"], "v4", "{row}");
        }
        let failed: BTreeSet<&str> = failed.iter().filter_map(|r| r["path"].as_str()).collect();
        assert_eq!(failed, paths.iter().copied().collect(), "{destination}");
        lab_f.exec("pod-1-1", &[&["ip", "route", "del"][..], &route].concat());
    }
    assert!(check().status.success());
}

/// Whoever has seen enough leaves nothing behind.
#[test]
fn a_check_that_is_interrupted_clears_up() {
    isolate();
    let lab_h = Lab::up("h-isolated-1", &["--nodes", "1", "--pods", "1"]);
    let made = || {
        let all = lab_h.kubectl(&["get", "namespaces,pods", "-o", "name"]);
        let made = all.lines().filter(|line| line.contains("/check-"));
        made.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut check = Command::new(binary("seaway"))
        .args(["lab", "check", "--name", lab_h.name])
        .stdout(Stdio::null())
        .spawn()
        .expect("started");
    eventually("both are made", LIMIT, || match made() {
        made if made.len() == 2 => Ok(()),
        made => Err(made),
    });
    let pid = nix::unistd::Pid::from_raw(i32::try_from(check.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("asked");
    let status = check.wait().expect("ends");
    assert_eq!(status.signal(), Some(2), "{status}");
    eventually("nothing is left", LIMIT, || match made() {
        made if made.is_empty() => Ok(()),
        made => Err(made),
    });
}

/// Who builds while a lab runs replaces the programs that it was started from.
#[test]
fn a_rebuilt_binary_does_not_disturb_a_lab_that_runs() {
    isolate();
    let folder = PathBuf::from("/run/built");
    std::fs::create_dir(&folder).expect("created");
    let build = || {
        for name in ["seaway", "seaway-cni"] {
            let draft = folder.join("draft");
            std::fs::copy(binary(name), &draft).expect("copied");
            std::fs::rename(&draft, folder.join(name)).expect("replaced");
        }
    };
    let lab = |arguments: &[&str]| {
        let mut lab = Command::new(folder.join("seaway"));
        let output = lab.arg("lab").args(arguments).output().expect("started");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    };
    build();
    lab(&[
        "up",
        "--name",
        "g-isolated-1",
        "--nodes",
        "1",
        "--pods",
        "1",
    ]);
    build();
    lab(&["pod", "create", "--name", "g-isolated-1", "node1/after"]);
    lab(&["check", "--name", "g-isolated-1"]);
    lab(&["down", "--name", "g-isolated-1"]);
}
