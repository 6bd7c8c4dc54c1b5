//! The plugin's binary, called as runtimes call it, against a scripted agent and against none.
//! Needs root: Pods get real network namespaces.

mod support;

use std::fs::{self, File};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use seaway_cni::request::Reply;
use seaway_cni::spec::{CniError, CniVersion};
use serde_json::{Value, json};
use support::{Action, FakeAgent, PodNetns, Scene, inode, names_in};

const DONE: Reply = Reply::Ok(Value::Null);

fn error(code: u32, msg: &str) -> Reply {
    Reply::Error(CniError::new(code, msg).with_details("more"))
}

#[test]
fn k1_without_a_command_it_says_what_it_is() {
    let outcome = Scene::new().call("").stdin("").run();
    assert!(outcome.success && outcome.stdout.is_empty(), "{outcome:?}");
    assert!(outcome.stderr.starts_with("CNI plugin seaway-cni v"));
    assert!(outcome.stderr.contains("0.3.1, 0.4.0, 1.0.0, 1.1.0"));
}

#[test]
fn k1_missing_variables_are_named_all_at_once() {
    let scene = Scene::new();
    let all = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"];
    for command in ["ADD", "CHECK", "DEL", "GC"] {
        let call = scene.call(command).config(&scene.config("1.0.0"));
        let (version, code, msg) = call.unset(&all).fails();
        assert_eq!((version.as_str(), code), ("1.0.0", 4), "{msg}");
        for name in all {
            let needed = match name {
                "CNI_PATH" => true,
                "CNI_NETNS" => matches!(command, "ADD" | "CHECK"),
                _ => command != "GC",
            };
            assert_eq!(msg.contains(name), needed, "{command}: {msg}");
        }
    }
}

#[test]
fn k1_bad_variables_are_code_4_and_named() {
    let scene = Scene::new();
    for (name, value) in [
        ("CNI_COMMAND", "UPDATE"),
        ("CNI_CONTAINERID", "../etc"),
        ("CNI_IFNAME", "a name"),
        ("CNI_IFNAME", "abcdefghijklmnop"),
        ("CNI_ARGS", "K8S_POD_NAME=a=b"),
        ("CNI_ARGS", "COLOUR=blue"),
    ] {
        let call = scene.call("ADD").set("CNI_NETNS", "/nowhere");
        let (_, code, msg) = call.set(name, value).fails();
        assert_eq!(code, 4, "{msg}");
        assert!(msg.contains(name), "{msg}");
    }
}

#[test]
fn k1_the_environment_is_judged_before_the_configuration() {
    let scene = Scene::new();
    let call = scene.call("ADD").stdin("{ garbage");
    assert_eq!(call.fails().1, 4);
    assert_eq!(call.set("CNI_NETNS", "/nowhere").fails().1, 6);
}

#[test]
fn k1_only_a_foreign_network_namespace_will_do() {
    let scene = Scene::new();
    let file = scene.folder.join("file");
    File::create(&file).expect("made");
    let fifo = scene.folder.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
    let (file, fifo) = (file.to_str().expect("UTF-8"), fifo.to_str().expect("UTF-8"));
    for (path, why) in [
        ("/run/netns/nowhere", "cannot be opened"),
        (file, "is none"),
        (fifo, "is none"),
        ("/proc/self/ns/net", "is the node's own"),
    ] {
        for command in ["ADD", "CHECK"] {
            let call = scene.call(command).with("prevResult", json!({}));
            let (_, code, msg) = call.set("CNI_NETNS", path).fails();
            assert_eq!(code, 4, "{msg}");
            assert!(msg.contains(path) && msg.contains(why), "{msg}");
            assert!(msg.contains("must be a network namespace"), "{msg}");
        }
    }
}

#[test]
fn k2_malformed_json_is_code_6_with_its_place() {
    let scene = Scene::new();
    for (text, place) in [
        ("", "line 1 column 0"),
        ("{\n\"name\": }", "line 2 column 9"),
        ("[1]", "must be a JSON object"),
    ] {
        let (version, code, msg) = scene.call("DEL").stdin(text).fails();
        assert_eq!((version.as_str(), code), ("1.1.0", 6), "{msg}");
        assert!(msg.contains(place), "{msg}");
    }
    let endless = "[".repeat(5 << 20);
    let (_, code, msg) = scene.call("DEL").stdin(endless).fails();
    assert_eq!(code, 6, "{msg}");
    assert!(msg.contains("more than"), "{msg}");
}

#[test]
fn k2_unknown_versions_are_code_1_in_every_command() {
    let scene = Scene::new();
    let netns = PodNetns::new();
    for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        for asked in [json!("0.2.0"), json!("1.2.0"), json!(null)] {
            let call = scene.call(command).netns(&netns).with("cniVersion", asked);
            let (version, code, msg) = call.fails();
            assert_eq!((version.as_str(), code), ("1.1.0", 1), "{command}: {msg}");
            assert!(msg.contains("0.3.1, 0.4.0, 1.0.0, 1.1.0"), "{msg}");
        }
    }
}

#[test]
fn k2_commands_newer_than_the_configuration_are_code_1() {
    let scene = Scene::new();
    let netns = PodNetns::new();
    for (command, asked) in [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "1.0.0")] {
        let call = scene.call(command).netns(&netns);
        let (version, code, msg) = call.config(&scene.config(asked)).fails();
        assert_eq!((version.as_str(), code), (asked, 1), "{msg}");
        assert!(msg.contains(command), "{msg}");
    }
}

#[test]
fn k2_bad_fields_are_code_7_and_named() {
    let scene = Scene::new();
    for (key, value) in [
        ("name", json!(null)),
        ("name", json!("a network")),
        ("name", json!(["pods"])),
        ("socket", json!("agent.sock")),
        ("timeoutSeconds", json!("soon")),
        ("dns", json!({"search": 1})),
        ("runtimeConfig", json!("x")),
    ] {
        let (version, code, msg) = scene.call("DEL").with(key, value).fails();
        assert_eq!((version.as_str(), code), ("1.1.0", 7), "{msg}");
        assert!(msg.contains(&format!("field {key}")), "{msg}");
    }
}

#[test]
fn k2_errors_of_the_agent_are_printed_as_they_are() {
    let scene = Scene::new();
    let netns = PodNetns::new();
    let _agent = FakeAgent::always(&scene, &error(3, "container c1 is not known"));
    for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        let call = scene.call(command).netns(&netns);
        let call = call.with("prevResult", json!({}));
        let outcome = call.with("cni.dev/valid-attachments", json!([])).run();
        assert!(!outcome.success);
        let printed: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        let expected = json!({
            "cniVersion": "1.1.0", "code": 3, "msg": "container c1 is not known", "details": "more"
        });
        assert_eq!(printed, expected, "{command}");
    }
}

#[test]
fn k3_version_needs_nothing_but_the_command() {
    let scene = Scene::new();
    let call = scene.call("VERSION");
    let call = call.unset(&["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH", "CNI_ARGS"]);
    for (stdin, asked) in [
        (r#"{"cniVersion": "0.4.0"}"#, "0.4.0"),
        (r#"{"cniVersion": "1.1.0", "name": ""}"#, "1.1.0"),
        (r#"{"cniVersion": 7}"#, "1.1.0"),
        ("{}", "1.1.0"),
        ("", "1.1.0"),
        ("garbage", "1.1.0"),
    ] {
        let outcome = call.clone().stdin(stdin).run();
        assert!(outcome.success, "{outcome:?}");
        let printed: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        let versions = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
        let expected = json!({"cniVersion": asked, "supportedVersions": versions});
        assert_eq!(printed, expected, "{stdin}");
    }
}

#[test]
fn k4_add_passes_the_namespace_and_prints_the_result() {
    let scene = Scene::new();
    let netns = PodNetns::new();
    let (sender, inodes) = mpsc::channel();
    let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.244.1.2/32"}]});
    let reply = Reply::Ok(result.clone());
    let agent = FakeAgent::start(&scene, move |_, fd| {
        let netns = File::from(fd.expect("the Pod's namespace"));
        sender.send(inode(&netns)).expect("awaited");
        Action::Reply(reply.clone())
    });
    for version in CniVersion::ALL {
        let config = scene.config(version.as_str());
        let outcome = scene.call("ADD").netns(&netns).config(&config).run();
        assert!(outcome.success && outcome.stderr.is_empty(), "{outcome:?}");
        let printed: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        assert_eq!(printed, result);
        assert_eq!(inodes.recv().expect("passed"), netns.inode());
        let call = agent.last().validate(&[]).expect("valid for the agent too");
        assert_eq!(call.config.version, version);
        assert_eq!(call.attachment().expect("for one").to_string(), "c1/eth0");
        assert_eq!(agent.last().config, config);
    }
}

#[test]
fn k4_prev_results_reach_the_agent_untouched() {
    let scene = Scene::new();
    let agent = FakeAgent::always(&scene, &Reply::Ok(json!({})));
    let prev = json!({"cniVersion": "1.1.0", "routes": [{"dst": "::/0", "mtu": 9000, "x": [1]}]});
    let netns = PodNetns::new();
    let call = scene.call("ADD").netns(&netns);
    assert!(call.with("prevResult", prev.clone()).run().success);
    assert_eq!(agent.last().config["prevResult"], prev);
}

#[test]
fn k4_without_the_agent_the_runtime_is_told_to_try_again() {
    for dead in [false, true] {
        let scene = Scene::new();
        if dead {
            scene.dead_socket();
        }
        let netns = PodNetns::new();
        for command in ["ADD", "CHECK", "GC"] {
            let call = scene.call(command).netns(&netns);
            let call = call.with("prevResult", json!({}));
            let (_, code, msg) = call.with("cni.dev/valid-attachments", json!([])).fails();
            assert_eq!(code, 11, "{msg}");
            assert!(msg.contains("agent.sock") && msg.contains("is the agent running?"));
        }
        assert!(scene.notes().is_empty());
    }
}

#[test]
fn k4_an_agent_that_hangs_or_dies_is_to_be_tried_again() {
    for hangs in [false, true] {
        let scene = Scene::new();
        let _agent = FakeAgent::start(&scene, move |_, _| match hangs {
            true => Action::Hang,
            false => Action::Close,
        });
        let netns = PodNetns::new();
        let call = scene.call("ADD").netns(&netns);
        let (_, code, msg) = call.with("timeoutSeconds", json!(0.2)).fails();
        assert_eq!(code, 11, "{msg}");
    }
}

#[test]
fn k4_replies_that_make_no_sense_are_errors_of_our_own() {
    let null = b"\x0b\0\0\0{\"ok\":null}".to_vec();
    for bytes in [b"\x02\0\0\0{}".to_vec(), b"HTTP/1.1 400".to_vec(), null] {
        let scene = Scene::new();
        let reply = bytes.clone();
        let _agent = FakeAgent::start(&scene, move |_, _| Action::Raw(reply.clone()));
        let (_, code, msg) = scene.call("ADD").netns(&PodNetns::new()).fails();
        assert_eq!(code, 101, "{bytes:?}: {msg}");
    }
}

#[test]
fn k5_del_succeeds_in_every_odd_state() {
    let scene = Scene::new();
    let agent = FakeAgent::always(&scene, &DONE);
    let netns = PodNetns::new();
    let file = scene.folder.join("unmounted");
    File::create(&file).expect("made");
    let call = scene.call("DEL");
    for (state, call) in [
        ("no namespace", call.clone()),
        ("empty namespace", call.clone().set("CNI_NETNS", "")),
        ("vanished", call.clone().set("CNI_NETNS", "/run/netns/gone")),
        (
            "unmounted",
            call.clone().set("CNI_NETNS", file.to_str().expect("UTF-8")),
        ),
        (
            "now the node's",
            call.clone().set("CNI_NETNS", "/proc/self/ns/net"),
        ),
        ("alive", call.clone().netns(&netns)),
        ("twice", call.clone().netns(&netns)),
        ("no arguments", call.clone().unset(&["CNI_ARGS"])),
        (
            "bad arguments",
            call.clone().set("CNI_ARGS", "K8S_POD_NAME"),
        ),
        (
            "null prevResult",
            call.clone().with("prevResult", json!(null)),
        ),
        (
            "empty prevResult",
            call.clone().with("prevResult", json!({})),
        ),
        (
            "strange prevResult",
            call.clone().with("prevResult", json!({"ips": 1})),
        ),
        (
            "capabilities",
            call.clone().with("runtimeConfig", json!({"x": 1})),
        ),
        ("old version", call.clone().config(&scene.config("0.3.1"))),
    ] {
        let before = agent.requests();
        let outcome = call.run();
        assert!(
            outcome.success && outcome.stdout.is_empty(),
            "{state}: {outcome:?}"
        );
        assert_eq!(agent.requests(), before + 1, "{state}");
        assert!(agent.last().validate(&[]).is_ok(), "{state}");
    }
    assert!(scene.notes().is_empty());
}

#[test]
fn k5_del_passes_only_a_living_namespace() {
    let scene = Scene::new();
    let (sender, passed) = mpsc::channel();
    let _agent = FakeAgent::start(&scene, move |_, fd| {
        sender.send(fd.is_some()).expect("awaited");
        Action::Reply(DONE)
    });
    let netns = PodNetns::new();
    for (path, living) in [
        (netns.path().as_str(), true),
        ("/proc/self/ns/net", false),
        ("/run/netns/gone", false),
    ] {
        scene.call("DEL").set("CNI_NETNS", path).succeeds_silently();
        assert_eq!(passed.recv(), Ok(living), "{path}");
    }
}

#[test]
fn k5_without_the_agent_a_note_stays() {
    for dead in [false, true] {
        let scene = Scene::new();
        if dead {
            scene.dead_socket();
        }
        for _ in 0..2 {
            scene.call("DEL").succeeds_silently();
        }
        let other = scene.call("DEL").set("CNI_CONTAINERID", "c2").run();
        assert!(other.success && other.stdout.is_empty(), "{other:?}");
        assert!(other.stderr.contains("DEL of c2/eth0"), "{other:?}");
        let mut notes = scene.notes();
        notes.sort_by_key(|note| note.id.to_string());
        let said = |i: usize| (notes[i].id.to_string(), notes[i].network.to_string());
        assert_eq!(notes.len(), 2);
        assert_eq!(said(0), ("c1/eth0".to_owned(), "pods".to_owned()));
        assert_eq!(said(1), ("c2/eth0".to_owned(), "pods".to_owned()));
    }
}

#[test]
fn k5_after_a_reboot_not_even_the_folder_is_there() {
    let scene = Scene::new();
    let socket = scene.folder.join("run/seaway/agent.sock");
    let call = scene.call("DEL").with("socket", json!(socket));
    call.succeeds_silently();
    let names = names_in(&scene.folder.join("run/seaway/deleted"));
    assert_eq!(names, ["sea3mxxdt527zxi"]);
}

#[test]
fn k5_an_agent_that_comes_back_does_it_and_the_note_goes() {
    let scene = Scene::new();
    let notes = scene.folder.join("deleted");
    let mut calls = 0;
    let (sender, noted) = mpsc::channel();
    let agent = FakeAgent::start(&scene, move |_, _| {
        calls += 1;
        sender.send(notes.exists()).expect("awaited");
        match calls {
            1 => Action::Close,
            _ => Action::Reply(DONE),
        }
    });
    scene.call("DEL").succeeds_silently();
    assert_eq!(agent.requests(), 2);
    assert_eq!((noted.recv(), noted.recv()), (Ok(false), Ok(true)));
    assert!(names_in(&scene.folder.join("deleted")).is_empty());
}

#[test]
fn k5_an_error_of_the_agent_that_came_back_is_told() {
    let scene = Scene::new();
    let mut calls = 0;
    let _agent = FakeAgent::start(&scene, move |_, _| {
        calls += 1;
        match calls {
            1 => Action::Close,
            _ => Action::Reply(error(100, "the kernel refused")),
        }
    });
    let (_, code, msg) = scene.call("DEL").fails();
    assert_eq!((code, msg.as_str()), (100, "the kernel refused"));
    assert!(scene.notes().is_empty(), "the runtime tries again");
}

#[test]
fn k5_a_hung_agent_gets_a_note() {
    let scene = Scene::new();
    let agent = FakeAgent::start(&scene, |_, _| Action::Hang);
    let call = scene.call("DEL").with("timeoutSeconds", json!(0.2));
    call.succeeds_silently();
    assert_eq!((scene.notes().len(), agent.requests()), (1, 1));
}

#[test]
fn k5_del_succeeds_even_where_no_note_can_be_written() {
    let scene = Scene::new();
    fs::write(scene.folder.join("deleted"), "in the way").expect("written");
    let outcome = scene.call("DEL").run();
    assert!(outcome.success && outcome.stdout.is_empty(), "{outcome:?}");
    assert!(outcome.stderr.contains("cannot make folder"), "{outcome:?}");
}

#[test]
fn k5_a_killed_plugin_leaves_whole_notes_or_none() {
    let scene = Scene::new();
    for i in 0..100u32 {
        let call = scene.call("DEL").set("CNI_CONTAINERID", &format!("c{i}"));
        let mut child = call.spawn();
        let until = Instant::now() + Duration::from_micros(20) * i;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        child.kill().expect("ours");
        child.wait().expect("ended");
    }
    // Panics on a note that is not sound.
    let whole = scene.notes().len();
    scene
        .call("DEL")
        .set("CNI_CONTAINERID", "last")
        .succeeds_silently();
    assert_eq!(scene.notes().len(), whole + 1);
}

#[test]
fn k6_check_prints_nothing_when_all_is_well() {
    let scene = Scene::new();
    let netns = PodNetns::new();
    let _agent = FakeAgent::always(&scene, &DONE);
    let call = scene.call("CHECK").netns(&netns);
    let (_, code, msg) = call.fails();
    assert_eq!(code, 7, "{msg}");
    assert!(msg.contains("prevResult"), "{msg}");
    call.with("prevResult", json!({})).succeeds_silently();
}

#[test]
fn k7_status_tells_whether_an_add_would_be_served() {
    let scene = Scene::new();
    let call = scene.call("STATUS");
    let call = call.unset(&["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH", "CNI_ARGS"]);
    assert_eq!(call.fails().1, 50);
    let agent = FakeAgent::always(&scene, &DONE);
    call.succeeds_silently();
    drop(agent);
    assert_eq!(call.fails().1, 50);
    fs::remove_file(scene.socket()).expect("removed");
    let agent = FakeAgent::always(&scene, &error(51, "the uplink is down"));
    assert_eq!(call.fails().1, 51);
    drop(agent);
    fs::remove_file(scene.socket()).expect("removed");
    let _agent = FakeAgent::start(&scene, |_, _| Action::Hang);
    assert_eq!(call.with("timeoutSeconds", json!(0.2)).fails().1, 50);
}

#[test]
fn k8_gc_passes_the_list_and_prints_nothing() {
    let scene = Scene::new();
    let agent = FakeAgent::always(&scene, &DONE);
    let call = scene.call("GC");
    let call = call.unset(&["CNI_CONTAINERID", "CNI_IFNAME", "CNI_ARGS"]);
    let (_, code, msg) = call.fails();
    assert_eq!((code, agent.requests()), (7, 0), "{msg}");
    let list = json!([{"containerID": "c1", "ifname": "eth0"}]);
    call.with("cni.dev/valid-attachments", list)
        .succeeds_silently();
    let request = agent.last().validate(&[]).expect("valid");
    let kept = request.config.valid_attachments.expect("a list");
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].to_string(), "c1/eth0");
}

#[test]
fn k9_unknown_capabilities_are_refused_by_the_agent_with_code_2() {
    let scene = Scene::new();
    let _agent = FakeAgent::start(&scene, |request, _| {
        Action::Reply(match request.validate(&[]) {
            Ok(_) => DONE,
            Err(error) => Reply::Error(error),
        })
    });
    let netns = PodNetns::new();
    for value in [json!([{"hostPort": 80}]), json!([]), json!(null)] {
        let call = scene.call("ADD").netns(&netns);
        let call = call.with("runtimeConfig", json!({"portMappings": value}));
        let (_, code, msg) = call.fails();
        assert_eq!(code, 2, "{msg}");
        assert!(msg.contains("portMappings"), "{msg}");
    }
}

#[test]
fn k10_many_plugins_at_once_each_get_their_own_answer() {
    let scene = Scene::new();
    let _agent = FakeAgent::start(&scene, |request, _| {
        let call = request.validate(&[]).expect("valid");
        let name = call.attachment().expect("for one").container.to_string();
        Action::Reply(Reply::Ok(json!({"who": name})))
    });
    let netns = PodNetns::new();
    let start = |i: u32| {
        let call = scene.call("ADD").netns(&netns);
        call.set("CNI_CONTAINERID", &format!("c{i}")).spawn()
    };
    let children: Vec<_> = (0..32).map(start).collect();
    for (i, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().expect("ended");
        let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(printed, json!({"who": format!("c{i}")}));
    }
}
