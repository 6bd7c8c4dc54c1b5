//! Bad input: an error with code, object and field, and nothing half done.

use seaway_tests::{Call, Leftovers, Node, Pod};
use serde_json::{Value, json};

#[test]
fn k1_k2_bad_input_is_refused_with_code_and_field() {
    let _node = Node::start();
    let pod = Pod::new("a");
    let add = || pod.call("ADD");
    let cases: Vec<(Call, u64, &str)> = vec![
        (add().config("cniVersion", json!("9.9.9")), 1, "9.9.9"),
        (add().config("name", Value::Null), 7, "name"),
        (add().config("name", json!("-x")), 7, "-x"),
        (add().config("name", json!("n".repeat(64))), 7, "63 bytes"),
        (
            Call {
                container: "a/b".into(),
                ..add()
            },
            4,
            "a/b",
        ),
        (
            Call {
                container: String::new(),
                ..add()
            },
            4,
            "CNI_CONTAINERID",
        ),
        (
            Call {
                netns: None,
                ..add()
            },
            4,
            "CNI_NETNS",
        ),
        (add().netns("/etc/passwd".as_ref()), 4, "/etc/passwd"),
        (
            add().netns("/proc/self/ns/mnt".as_ref()),
            4,
            "network namespace",
        ),
        (
            Call {
                args: Some("nonsense".into()),
                ..add()
            },
            4,
            "nonsense",
        ),
        (
            Call {
                command: "DANCE".into(),
                ..add()
            },
            4,
            "DANCE",
        ),
        (
            Call {
                config: json!(["a"]),
                ..add()
            },
            6,
            "object",
        ),
    ];
    refused(cases);
    pod.call("ADD").run().expect("and good input is taken");
}

#[test]
fn k9_bad_capabilities_and_results_are_refused_with_code_and_field() {
    let _node = Node::start();
    let pod = Pod::new("a");
    let add = || pod.call("ADD");
    refused(vec![
        (
            add().config("runtimeConfig", json!({"ipRanges": [[]]})),
            2,
            "ipRanges",
        ),
        (
            add().config("runtimeConfig", json!({"portMappings": [{"hostPort": 80}]})),
            7,
            "containerPort",
        ),
        (
            add().config("prevResult", json!({"ips": [{"address": "x"}]})),
            7,
            "address",
        ),
    ]);
}

fn refused(cases: Vec<(Call, u64, &str)>) {
    for (call, code, words) in cases {
        let error = call.run().expect_err(words);
        assert_eq!(error.code, code, "{call:?}: {error:?}");
        assert!(error.msg.contains(words), "{call:?}: {error:?}");
        assert_eq!(Leftovers::now(), Leftovers::default(), "{call:?}");
    }
}

#[test]
fn the_agent_refuses_bad_flags_and_a_second_agent() {
    let node = Node::start();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(seaway_tests::binary("seaway"))
            .arg("agent")
            .args(arguments)
            .output()
            .expect("started");
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let file = ["--cluster-file", "/run/cluster.yaml"];
    for (arguments, words) in [
        (
            &["--node-name", "Bad_Name", file[0], file[1]][..],
            "node name \"Bad_Name\" is not valid",
        ),
        (
            &["--node-name", "n", file[0], "/nowhere/x.yaml"],
            "/nowhere/x.yaml",
        ),
        (
            &[
                "--node-name",
                "n",
                file[0],
                file[1],
                "--node-ip",
                "10.0.0.1",
                "--node-ip",
                "10.0.0.2",
            ],
            "--node-ip",
        ),
        (
            &["--node-name", "n", file[0], file[1]],
            "another agent holds",
        ),
    ] {
        let text = run(arguments);
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
    assert_eq!(node.status()["ready"], true);
}
