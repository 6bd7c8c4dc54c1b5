//! `seaway check`, as a user of a cluster has it: with a kubeconfig, from a place that reaches the API
//! server and nothing else of the cluster.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seaway_testkit::{eventually, isolate};
use seaway_tests::binary;
use seaway_tests::lab::Lab;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

fn command(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("seaway"));
    command
        .arg("check")
        .arg("--kubeconfig")
        .arg(lab.kubeconfig())
        .args(arguments);
    command
}

/// What a check ends with, what it prints, and what it says beside.
fn check(lab: &Lab, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command(lab, arguments).output().expect("started");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

fn report(lab: &Lab, arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, out, errors) = check(lab, &[arguments, &["-o", "json"]].concat());
    let report = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{errors}"));
    (code, report)
}

fn rows(report: &Value) -> Vec<Value> {
    report["rows"].as_array().expect("rows").clone()
}

/// Path, family and protocol of rows.
fn keys<'a>(rows: impl IntoIterator<Item = &'a Value>) -> BTreeSet<[String; 3]> {
    let of = |row: &Value, key: &str| row[key].as_str().expect("a name").to_owned();
    rows.into_iter()
        .map(|row| ["path", "family", "protocol"].map(|key| of(row, key)))
        .collect()
}

/// The Namespaces that checks have made.
fn left(lab: &Lab) -> Vec<String> {
    let label = "app.kubernetes.io/managed-by=seaway-check";
    let names = lab.kubectl(&["get", "namespaces", "-l", label, "-o", "name"]);
    names.lines().map(str::to_owned).collect()
}

#[test]
fn a_cluster_is_checked_by_its_api_alone() {
    isolate();
    let lab = Lab::up("check-whole", &[]);
    let pod: SocketAddr = "10.244.1.2:8080".parse().expect("valid");
    let reached = TcpStream::connect_timeout(&pod, Duration::from_millis(200));
    assert!(reached.is_err(), "the user is outside of the cluster");

    let (code, whole) = report(&lab, &[]);
    let rows = rows(&whole);
    let (untried, tried): (Vec<&Value>, Vec<&Value>) = rows
        .iter()
        .partition(|row| row["exchanges"].as_array().is_some_and(Vec::is_empty));
    for row in &tried {
        assert_eq!(row["ok"], true, "{row}");
    }
    assert_eq!((code, &whole["ok"]), (Some(0), &Value::Bool(true)));
    // As those of the lab, of which ten a family need a host outside.
    assert_eq!((tried.len(), untried.len()), (2 * 61, 2 * 10));
    for row in untried {
        assert_eq!(row["not_tried"], "no host outside of the cluster", "{row}");
        assert!(row["path"].to_string().contains("outside"), "{row}");
    }
    assert_eq!(left(&lab), [""; 0]);

    // A part of it.
    let part = ["--nodes", "node2", "--family", "ipv6", "--no-sctp"];
    let (code, part) = report(&lab, &part);
    assert_eq!(code, Some(0), "{part}");
    let of_part = keys(part["rows"].as_array().expect("rows"));
    assert!(!of_part.is_empty());
    for [path, family, protocol] in &of_part {
        assert_eq!(family, "v6");
        assert_ne!(protocol, "sctp");
        assert!(!path.contains("other-node"), "{path}");
    }
    let notes = part["notes"].to_string();
    assert!(
        notes.contains("SCTP") && notes.contains("one node alone"),
        "{notes}"
    );

    // What cannot be checked is no finding about the network.
    for (arguments, why) in [
        (&["--nodes", "nope"][..], "there is no node nope"),
        (&["--image", "NOT AN IMAGE"], "InvalidImageName"),
        (&["--api-server", "https://127.0.0.1:1"], "refused"),
    ] {
        let (code, _, errors) = check(&lab, arguments);
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains(why), "{errors}");
        assert_eq!(left(&lab), [""; 0], "{arguments:?}");
    }
}

#[test]
fn a_broken_path_fails_its_rows_and_no_other() {
    isolate();
    let lab = Lab::up("check-broken", &[]);
    // Somebody's firewall on the second node drops what is large, one way, in one family.
    let nft = |rule: &str| {
        lab.exec(
            "node2",
            &[&["nft"], &rule.split(' ').collect::<Vec<_>>()[..]].concat(),
        )
    };
    nft("add table inet foe");
    nft("add chain inet foe forward { type filter hook forward priority 0 ; }");
    nft(
        "add rule inet foe forward ip saddr 10.244.1.0/24 ip daddr 10.244.2.0/24 udp length > 1300 drop",
    );
    let (code, found) = report(&lab, &["--image", "seaway"]);
    let rows = rows(&found);
    let failed = keys(rows.iter().filter(|row| row["ok"] == false));
    let expected = ["udp-mtu", "udp-fragmented"]
        .map(|protocol| ["pod-to-pod-other-node", "v4", protocol].map(str::to_owned));
    assert_eq!(failed, BTreeSet::from(expected));
    assert_eq!((code, &found["ok"]), (Some(1), &Value::Bool(false)));
    let row = rows.iter().find(|row| row["ok"] == false).expect("one");
    let exchanges = row["exchanges"].as_array().expect("exchanges");
    let bad = exchanges.iter().find(|e| e["ok"] == false).expect("one");
    assert_eq!(
        (&bad["from"], &bad["to"]),
        (&"pod-1-1".into(), &"pod-2-1".into())
    );
    assert!(
        bad["error"].to_string().contains("no answer within"),
        "{bad}"
    );
    assert_eq!(left(&lab), [""; 0]);
}

#[test]
fn nothing_is_left_of_a_check_that_is_stopped_or_killed() {
    isolate();
    let lab = Lab::up("check-ended", &["--pods", "1"]);
    let under_way = || -> Child {
        let mut check = command(&lab, &[]);
        check.stdout(Stdio::null()).stderr(Stdio::null());
        let check = check.spawn().expect("started");
        eventually("its Pods run", LIMIT, || {
            let label = "app.kubernetes.io/managed-by=seaway-check";
            let pods = lab.kubectl(&["get", "pods", "-A", "-l", label, "-o", "name"]);
            match pods.lines().count() {
                0 => Err("none"),
                _ => Ok(()),
            }
        });
        check
    };
    let end = |mut check: Child, signal: Signal| {
        let pid = i32::try_from(check.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("signalled");
        let status = check.wait().expect("waited for");
        assert_eq!(status.signal(), Some(signal as i32), "{status}");
    };
    let nothing = || {
        eventually("nothing is left", LIMIT, || match left(&lab) {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        });
    };
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        end(under_way(), signal);
        nothing();
    }
    end(under_way(), Signal::SIGKILL);
    let names = left(&lab);
    assert_eq!(names.len(), 1, "{names:?}");
    let name = names[0].trim_start_matches("namespace/").to_owned();

    // The next one tells of it, and leaves what it has made itself.
    let (code, out, errors) = check(&lab, &["--keep", "--nodes", "node1"]);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(
        errors.contains(&name) && errors.contains("--clean"),
        "{errors}"
    );
    assert!(out.contains("kept: the Namespace "), "{out}");
    assert_eq!(left(&lab).len(), 2);

    let (code, out, errors) = check(&lab, &["--clean"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        out.contains(&format!("deleted: the Namespace {name}")),
        "{out}"
    );
    assert_eq!(left(&lab), [""; 0]);
}
