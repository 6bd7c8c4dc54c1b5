//! The verbs of CNI on a healthy node; names carry the K-numbers of the specification's summary.

use seaway_kernel::netlink::{LinkTarget, Netlink, Request};
use seaway_model::Family;
use seaway_tests::probe::assert_talk;
use seaway_tests::{Call, Leftovers, Node, Pod};
use serde_json::{Value, json};

#[test]
fn k4_add_answers_with_everything_and_pods_talk() {
    let node = Node::start();
    let (a, b) = (Pod::attached("a"), Pod::attached("b"));
    let result = &a.result;
    assert_eq!(result["cniVersion"], "1.1.0");
    assert_eq!(result["interfaces"][1]["name"], "eth0");
    assert_eq!(
        result["interfaces"][1]["sandbox"],
        a.path.to_str().expect("UTF-8")
    );
    // The uplink's 1500, less what VXLAN takes: to some node it may be the way.
    assert_eq!(result["interfaces"][1]["mtu"], 1450);
    assert_eq!(result["ips"][0]["interface"], 1);
    assert_eq!(result["ips"][0]["gateway"], "169.254.1.1");
    assert_eq!(result["routes"][1], json!({"dst": "::/0", "gw": "fe80::1"}));
    assert_talk(&a, &b);
    assert_eq!(node.drift(), Vec::<Value>::new());
}

#[test]
fn k4_a_second_add_is_refused_and_harms_nothing() {
    let _node = Node::start();
    let (mut a, b) = (Pod::attached("a"), Pod::attached("b"));
    let error = a.add().expect_err("exists");
    assert!(
        error.code >= 100 && error.msg.contains("exists already"),
        "{error:?}"
    );
    // Another container id, the same namespace and interface.
    let error = Call::new("ADD", "c")
        .netns(&a.path)
        .run()
        .expect_err("exists");
    assert!(
        error.msg.contains("has an interface eth0 already"),
        "{error:?}"
    );
    assert_talk(&a, &b);
}

#[test]
fn k4_a_chained_add_passes_prev_result_through() {
    let _node = Node::start();
    let pod = Pod::new("a");
    let previous = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "other0", "sandbox": "/somewhere"}],
        "ips": [{"address": "10.9.9.9/32", "interface": 0}],
    });
    let call = pod
        .call("ADD")
        .config("prevResult", previous)
        .config("cniVersion", json!("1.0.0"));
    let result = call.run().expect("ADD");
    assert_eq!(result["interfaces"][0]["name"], "other0");
    assert_eq!(result["ips"][0]["address"], "10.9.9.9/32");
    assert_eq!(result["ips"][1]["interface"], 2);
    assert_eq!(result["interfaces"][2]["name"], "eth0");
    assert!(
        result["interfaces"][2].get("mtu").is_none(),
        "1.0.0 has no mtu"
    );
}

#[test]
fn k6_check_notices_what_is_missing_and_a_dead_agent() {
    let mut node = Node::start();
    let pod = Pod::attached("a");
    pod.check().expect("all in force");
    let v6 = pod.address(Family::V6);
    let mut inside = Netlink::open_in(pod.netns()).expect("socket");
    let index = inside.link_index("eth0").expect("dump").expect("there");
    node.signal_agent(nix::sys::signal::Signal::SIGSTOP);
    inside
        .send_all(&[Request::delete_address(index, ipnet::IpNet::from(v6))])
        .expect("deleted");
    let call = pod.call("CHECK").config("prevResult", pod.result.clone());
    let hung = call
        .clone()
        .config("timeoutSeconds", json!(0.2))
        .run()
        .expect_err("hung");
    assert_eq!(hung.code, 11, "{hung:?}");
    node.kill_agent();
    let dead = pod.check().expect_err("dead agent");
    assert_eq!(dead.code, 11, "{dead:?}");
    node.start_agent();
    seaway_testkit::eventually("the restarted agent repairs it", node_limit(), || {
        pod.check()
    });
    // Where the recorded path leads nowhere, the agent cannot repair, and CHECK must tell.
    let moved = std::path::Path::new("/run/netns/moved");
    pod.netns().pin(moved).expect("pinned");
    seaway_kernel::netns::unpin(&pod.path).expect("unpinned");
    inside
        .send_all(&[Request::delete_address(index, ipnet::IpNet::from(v6))])
        .expect("deleted");
    let call = Call::new("CHECK", "a")
        .netns(moved)
        .config("prevResult", pod.result.clone());
    let error = call.run().expect_err("an address is missing");
    assert!(error.msg.contains(&v6.to_string()), "{error:?}");
    let stranger = Call::new("CHECK", "zz")
        .netns(moved)
        .config("prevResult", json!({}));
    assert_eq!(stranger.run().expect_err("unknown").code, 3);
}

#[test]
fn k7_status_tells_readiness() {
    let mut node = Node::without_agent();
    let status = Call::new("STATUS", "x");
    assert_eq!(status.run().expect_err("no agent").code, 50);
    node.write_cluster("nodes: []");
    node.spawn_agent(&[]);
    let unready = seaway_testkit::eventually("the agent answers", node_limit(), || {
        let error = status.run().expect_err("no pod CIDR");
        if error.msg.contains("no node of this name") {
            Ok(error)
        } else {
            Err(error)
        }
    });
    assert_eq!(unready.code, 50);
    let pod = Pod::new("a");
    assert_eq!(pod.call("ADD").run().expect_err("not ready").code, 11);
    node.write_cluster("nodes: [{name: node1, podCIDRs: [10.244.1.0/24]}]");
    node.wait_ready();
    assert_eq!(status.run().expect("ready"), Value::Null);
}

fn node_limit() -> std::time::Duration {
    std::time::Duration::from_secs(10)
}

#[test]
fn k8_gc_frees_what_is_not_listed_of_its_own_network() {
    let node = Node::start();
    let pods: Vec<Pod> = (0..4).map(|i| Pod::attached(&format!("p{i}"))).collect();
    let other = Pod::new("other");
    other
        .call("ADD")
        .config("name", json!("second"))
        .run()
        .expect("another network");
    let keep =
        json!([{"containerID": "p0", "ifname": "eth0"}, {"containerID": "p3", "ifname": "eth0"}]);
    let gc = Call::new("GC", "x").config("cni.dev/valid-attachments", keep);
    gc.run().expect("GC");
    gc.run().expect("GC again");
    let left: Vec<String> = node.status()["attachments"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|a| a["container_id"].as_str().expect("text").to_owned())
        .collect();
    assert_eq!(left, ["other", "p0", "p3"]);
    assert_talk(&pods[0], &pods[3]);
    Call::new("GC", "x")
        .run()
        .expect_err("without a list nothing is freed");
}

#[test]
fn k9_unknown_capabilities_are_refused_and_nothing_is_done() {
    let _node = Node::start();
    let pod = Pod::new("a");
    let call = pod.call("ADD").config(
        "runtimeConfig",
        json!({"infinibandGUID": "c2:11:22:33:44:55:66:77"}),
    );
    let error = call.run().expect_err("not served");
    assert_eq!(error.code, 2);
    assert!(error.msg.contains("infinibandGUID"), "{error:?}");
    assert_eq!(Leftovers::now(), Leftovers::default());
}

#[test]
fn k11_an_exhausted_pod_cidr_is_named_and_a_freed_address_serves_again() {
    let node = Node::without_agent();
    let mut node = node;
    node.write_cluster("nodes: [{name: node1, podCIDRs: [10.244.1.0/29]}]");
    node.start_agent();
    let pods: Vec<Pod> = (0..5).map(|i| Pod::attached(&format!("p{i}"))).collect();
    let mut late = Pod::new("late");
    let error = late.add().expect_err("full");
    assert_eq!(error.code, 11);
    assert!(
        error
            .msg
            .contains("5 of 5 usable addresses of 10.244.1.0/29"),
        "{error:?}"
    );
    pods[2].del().expect("DEL");
    seaway_testkit::eventually("an address is free again", node_limit(), || late.add());
    assert_eq!(late.addresses, pods[2].addresses);
}

#[test]
fn k12_a_single_stack_node_gives_one_address_and_old_versions_get_old_forms() {
    let mut node = Node::without_agent();
    node.write_cluster("nodes: [{name: node1, podCIDRs: ['fd00:10:244:1::/64']}]");
    node.start_agent();
    let mut pod = Pod::new("a");
    assert_eq!(
        pod.add().expect("ADD")["ips"]
            .as_array()
            .expect("ips")
            .len(),
        1
    );
    let old = Pod::new("b");
    let result = old
        .call("ADD")
        .config("cniVersion", json!("0.4.0"))
        .run()
        .expect("0.4.0");
    assert_eq!(result["ips"][0]["version"], "6");
}

#[test]
fn k13_another_link_is_found_by_alias_and_group_not_by_name() {
    let mut node = Node::start();
    let pod = Pod::attached("a");
    let name = Leftovers::now().links[0].clone();
    let mut netlink = Netlink::open().expect("socket");
    let link = netlink
        .link(LinkTarget::Name(&name))
        .expect("dump")
        .expect("there");
    node.kill_agent();
    let renamed = seaway_model::IfName::new("renamed").expect("valid");
    let set = seaway_kernel::netlink::LinkSet {
        name: Some(&renamed),
        ..Default::default()
    };
    netlink
        .send_all(&[Request::set_link(LinkTarget::Index(link.index), set)])
        .expect("renamed");
    node.start_agent();
    assert_eq!(
        node.status()["attachments"].as_array().expect("list").len(),
        1
    );
    seaway_testkit::eventually("it has its name again", node_limit(), || {
        let links = Leftovers::now().links;
        if links == [name.clone()] {
            Ok(())
        } else {
            Err(links)
        }
    });
    pod.del().expect("DEL");
    Leftovers::wait_for_none();
}
