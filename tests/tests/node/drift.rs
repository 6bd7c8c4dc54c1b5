//! Somebody deletes, renames or changes what is ours: it comes back. What is theirs stays.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use seaway_kernel::netlink::{
    Exclusive, LinkInfo, LinkSet, LinkTarget, Netlink, Request, RouteSpec, SEAWAY_PROTOCOL,
};
use seaway_kernel::netns::Netns;
use seaway_kernel::sysctl;
use seaway_model::{Family, IfName};
use seaway_testkit::eventually;
use seaway_tests::probe::{assert_talk, wait_for_talk};
use seaway_tests::{Call, Leftovers, Node, Pod};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(10);

fn wait_for_no_drift(node: &Node) {
    eventually("no drift", LIMIT, || match node.drift() {
        none if none.is_empty() => Ok(()),
        some => Err(some),
    });
}

fn host_link(netlink: &mut Netlink) -> LinkInfo {
    let name = &Leftovers::now().links[0];
    netlink
        .link(LinkTarget::Name(name))
        .expect("dump")
        .expect("there")
}

/// Row 33 of the scorecard, as far as this slice has kinds of rows.
#[test]
fn r33_everything_deleted_or_changed_by_hand_comes_back() {
    let node = Node::start();
    let pods = [Pod::attached("a"), Pod::attached("b")];
    let mut netlink = Netlink::open().expect("socket");
    let link = host_link(&mut netlink);
    let target = LinkTarget::Index(link.index);
    let other = IfName::new("other").expect("valid");
    let set = |set: LinkSet<'_>| Request::set_link(target, set);
    let damages = [
        (
            "link down",
            set(LinkSet {
                up: Some(false),
                ..LinkSet::default()
            }),
        ),
        (
            "renamed",
            set(LinkSet {
                name: Some(&other),
                ..LinkSet::default()
            }),
        ),
        (
            "alias",
            set(LinkSet {
                alias: Some("mine now"),
                ..LinkSet::default()
            }),
        ),
        (
            "group",
            set(LinkSet {
                group: Some(7),
                ..LinkSet::default()
            }),
        ),
        (
            "mtu",
            set(LinkSet {
                mtu: Some(1400),
                ..LinkSet::default()
            }),
        ),
        (
            "neighbour",
            Request::delete_neighbour(link.index, pods[0].address(Family::V4)),
        ),
        (
            "neighbour 6",
            Request::delete_neighbour(link.index, pods[0].address(Family::V6)),
        ),
        ("link deleted", Request::delete_link(target)),
    ];
    for (what, damage) in damages {
        netlink
            .send_all(&[damage])
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        wait_for_no_drift(&node);
        assert_talk(&pods[0], &pods[1]);
        for pod in &pods {
            pod.check().unwrap_or_else(|e| panic!("{what}: {e:?}"));
        }
    }
    for (path, bad) in [
        ("net/ipv4/ip_forward", "0"),
        ("net/ipv6/conf/all/forwarding", "0"),
        (
            &format!("net/ipv4/conf/{}/rp_filter", host_link(&mut netlink).name),
            "0",
        ),
    ] {
        sysctl::write(path, bad).expect("written");
        eventually(path, LIMIT, || match sysctl::read(path).expect("read") {
            good if good != bad => Ok(()),
            same => Err(same),
        });
    }
    assert!(node.status()["repairs"].as_u64() > Some(0));
}

#[test]
fn r33_all_routes_flushed_come_back_and_strangers_stay() {
    let node = Node::start();
    let (a, b) = (Pod::attached("a"), Pod::attached("b"));
    let mut netlink = Netlink::open().expect("socket");
    let uplink = netlink.link_index("eth0").expect("dump").expect("there");
    let stranger = RouteSpec::by_device("10.77.0.0/16".parse().expect("valid"), uplink);
    let request = Request::add_route(&stranger, Exclusive::Yes).with_protocol(4);
    netlink.send_all(&[request]).expect("a stranger's route");
    let ours = |nl: &mut Netlink| {
        let routes = nl.routes().expect("dump").into_iter();
        routes
            .filter(|r| r.protocol == SEAWAY_PROTOCOL)
            .collect::<Vec<_>>()
    };
    let before = ours(&mut netlink);
    assert!(before.len() >= 8, "{before:?}");
    for route in &before {
        let spec = RouteSpec {
            metric: route.metric,
            index: None,
            unreachable: route.target == seaway_kernel::netlink::RouteTarget::Unreachable,
            ..RouteSpec::by_device(route.destination, 0)
        };
        // One may be back before another is deleted: what counts is the end.
        netlink.send(&[Request::delete_route(&spec)]).expect("sent");
    }
    eventually("all routes are back", LIMIT, || {
        let now = ours(&mut netlink);
        if now.len() == before.len() {
            Ok(())
        } else {
            Err(now)
        }
    });
    assert_talk(&a, &b);
    let routes = netlink.routes().expect("dump");
    assert!(
        routes
            .iter()
            .any(|r| r.destination == stranger.destination && r.protocol == 4)
    );
    assert_eq!(node.drift(), Vec::<Value>::new());
}

#[test]
fn r33_a_strangers_route_in_the_way_is_left_alone_and_reported() {
    let node = Node::start();
    let mut netlink = Netlink::open().expect("socket");
    let uplink = netlink.link_index("eth0").expect("dump").expect("there");
    let theirs = RouteSpec::by_device("10.244.9.0/24".parse().expect("valid"), uplink);
    netlink
        .send_all(&[Request::add_route(&theirs, Exclusive::Yes).with_protocol(4)])
        .expect("a stranger's route");
    node.write_cluster(
        "nodes:\n- {name: node1, addresses: [192.168.7.1], podCIDRs: [10.244.1.0/24]}\n\
         - {name: node9, addresses: [192.168.7.9], podCIDRs: [10.244.9.0/24]}\n",
    );
    let failure = eventually("the conflict is reported", LIMIT, || {
        let failures = node.status()["failures"].clone();
        match failures.as_array().and_then(|f| f.first()) {
            Some(failure) => Ok(failure.clone()),
            None => Err(failures),
        }
    });
    assert_eq!(failure["key"], "10.244.9.0/24");
    assert!(
        failure["error"]
            .as_str()
            .expect("text")
            .contains("not ours"),
        "{failure}"
    );
    let status = seaway_tests::Call::new("STATUS", "x")
        .run()
        .expect_err("impaired");
    assert_eq!(status.code, 51);
    netlink
        .send_all(&[Request::delete_route(&theirs).with_protocol(4)])
        .expect("the stranger goes");
    wait_for_no_drift(&node);
    eventually("no failure is left", LIMIT, || {
        let failures = node.status()["failures"].clone();
        if failures == serde_json::json!([]) {
            Ok(())
        } else {
            Err(failures)
        }
    });
}

#[test]
fn a_pod_that_deletes_its_own_eth0_gets_it_back() {
    let node = Node::start();
    let (a, b) = (Pod::attached("a"), Pod::attached("b"));
    let mut inside = Netlink::open_in(a.netns()).expect("socket");
    inside
        .send_all(&[Request::delete_link(LinkTarget::Name("eth0"))])
        .expect("deleted");
    eventually("eth0 is back as it was", LIMIT, || a.check());
    assert_talk(&a, &b);
    wait_for_no_drift(&node);
    a.del().expect("DEL");
    b.del().expect("DEL");
    Leftovers::wait_for_none();
}

#[test]
fn what_a_pod_deletes_inside_comes_back() {
    let _node = Node::start();
    let (a, b) = (Pod::attached("a"), Pod::attached("b"));
    for family in Family::ALL {
        let mut inside = Netlink::open_in(a.netns()).expect("socket");
        let index = inside.link_index("eth0").expect("dump").expect("there");
        let net = Family::host_net(a.address(family));
        inside
            .send_all(&[Request::delete_address(index, net)])
            .expect("deleted");
        eventually("the address is back", LIMIT, || a.check());
        let down = LinkSet {
            up: Some(false),
            ..LinkSet::default()
        };
        inside
            .send_all(&[Request::set_link(LinkTarget::Index(index), down)])
            .expect("down");
        eventually("the link is up with its routes", LIMIT, || a.check());
    }
    assert_talk(&a, &b);
}

#[test]
fn a_namespace_that_vanishes_frees_its_addresses_without_del() {
    let node = Node::start();
    let mut a = Pod::attached("a");
    a.destroy();
    eventually("the attachment is gone", LIMIT, || {
        let status = node.status();
        let none = serde_json::json!([]);
        let held = status["pod_cidrs"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|p| p["held"] != 0);
        if status["attachments"] == none && !held {
            Ok(())
        } else {
            Err(status)
        }
    });
    Leftovers::wait_for_none();
    a.del().expect("DEL after that");
}

/// The same path can come to name another Pod: that one must not get the first one's link.
#[test]
fn a_reused_path_is_not_taken_for_the_same_namespace() {
    let node = Node::start();
    let mut a = Pod::attached("a");
    a.destroy();
    let usurper = Netns::create().expect("namespace");
    usurper.pin(&a.path).expect("pinned");
    eventually("the attachment is gone", LIMIT, || {
        let attachments = node.status()["attachments"].clone();
        if attachments == serde_json::json!([]) {
            Ok(())
        } else {
            Err(attachments)
        }
    });
    let mut inside = Netlink::open_in(&usurper).expect("socket");
    assert_eq!(inside.link_index("eth0").expect("dump"), None);
}

/// Callers without a folder of namespaces name one by a process (`ctr`). An agent with no more rights
/// than it needs may not look there; it frees what has vanished all the same.
#[test]
fn a_namespace_behind_a_closed_path_frees_its_addresses_when_it_vanishes() {
    let node = Node::start();
    let mut holder = Command::new("unshare")
        .args([
            "--net",
            "sh",
            "-c",
            "read -r line; exec unshare --net sleep 60",
        ])
        .stdin(Stdio::piped())
        .spawn()
        .expect("started");
    let path = PathBuf::from(format!("/proc/{}/ns/net", holder.id()));
    let own = fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
    eventually("it has its own namespace", LIMIT, || {
        let its = fs::read_link(&path).expect("a namespace");
        (its != own).then_some(()).ok_or(its)
    });
    let add = Call::new("ADD", "a").netns(&path).run();
    add.expect("ADD");
    assert_ne!(node.status()["attachments"], serde_json::json!([]));
    drop(holder.stdin.take());
    eventually("the attachment is gone", LIMIT, || {
        let attachments = node.status()["attachments"].clone();
        let gone = attachments == serde_json::json!([]);
        gone.then_some(()).ok_or(attachments)
    });
    Leftovers::wait_for_none();
    assert!(path.exists(), "the process is there, in another namespace");
    holder.kill().expect("killed");
    holder.wait().expect("ended");
}

/// Nodes come and go; an unreadable cluster file changes nothing.
#[test]
fn peers_follow_the_cluster_file_and_garbage_changes_nothing() {
    let node = Node::start();
    let mut netlink = Netlink::open().expect("socket");
    let mut wait_for = |what: &str, wanted: &[&str]| {
        eventually(what, LIMIT, || {
            let mut found: Vec<String> = netlink
                .routes()
                .expect("dump")
                .into_iter()
                .filter(|r| r.protocol == SEAWAY_PROTOCOL && r.destination.addr().is_ipv4())
                .map(|r| r.destination.to_string())
                .collect();
            found.sort();
            if found == wanted { Ok(()) } else { Err(found) }
        });
    };
    wait_for("node2 at first", &["10.244.1.0/24", "10.244.2.0/24"]);
    let own = "- {name: node1, addresses: [192.168.7.1], podCIDRs: [10.244.1.0/24]}";
    let third = "- {name: node3, addresses: [192.168.7.3], podCIDRs: [10.244.3.0/24]}";
    node.write_cluster(&format!("nodes:\n{own}\n{third}\n"));
    wait_for("node3 instead", &["10.244.1.0/24", "10.244.3.0/24"]);
    for garbage in [
        "",
        "nodes: [",
        "nodes: [{name: node1, podCIDRs: [10.0.0.1/8]}]",
    ] {
        node.write_cluster(garbage);
        let problem =
            eventually(
                "the problem is told",
                LIMIT,
                || match node.status()["source_problem"].as_str() {
                    Some(problem) => Ok(problem.to_owned()),
                    None => Err(()),
                },
            );
        assert!(problem.contains("cluster.yaml"), "{problem}");
        wait_for("nothing changes", &["10.244.1.0/24", "10.244.3.0/24"]);
        assert_eq!(node.status()["ready"], true);
        node.write_cluster(&format!("nodes:\n{own}\n{third}\n"));
        eventually("the problem is over", LIMIT, || {
            let problem = node.status()["source_problem"].clone();
            if problem.is_null() {
                Ok(())
            } else {
                Err(problem)
            }
        });
    }
}

/// Adopt, never flush: an agent that cannot see the cluster leaves every route.
#[test]
fn an_agent_without_a_cluster_deletes_nothing() {
    let mut node = Node::start();
    let (a, b) = (Pod::attached("a"), Pod::attached("b"));
    let mut netlink = Netlink::open().expect("socket");
    let before = netlink.routes().expect("dump");
    node.kill_agent();
    std::fs::remove_file("/run/cluster.yaml").expect("removed");
    node.spawn_agent(&[]);
    eventually("the agent answers", LIMIT, || node.try_status().ok_or(()));
    eventually("it says why it is not ready", LIMIT, || {
        let reason = node.status()["reason"].clone();
        if reason.as_str().is_some_and(|r| r.contains("cluster.yaml")) {
            Ok(())
        } else {
            Err(reason)
        }
    });
    assert_eq!(netlink.routes().expect("dump"), before);
    assert_talk(&a, &b);
    a.del().expect("DEL works without the cluster");
}

#[test]
fn r37_an_mtu_change_of_the_uplink_reaches_running_pods() {
    let node = Node::start();
    let (a, b) = (Pod::attached("a"), Pod::attached("b"));
    let mut netlink = Netlink::open().expect("socket");
    let smaller = LinkSet {
        mtu: Some(1400),
        ..LinkSet::default()
    };
    netlink
        .send_all(&[Request::set_link(LinkTarget::Name("eth0"), smaller)])
        .expect("a smaller MTU");
    for pod in [&a, &b] {
        let mut inside = Netlink::open_in(pod.netns()).expect("socket");
        eventually("the Pod's side follows", LIMIT, || {
            let link = inside
                .link(LinkTarget::Name("eth0"))
                .expect("dump")
                .expect("there");
            if link.mtu == 1350 {
                Ok(())
            } else {
                Err(link.mtu)
            }
        });
        pod.check().expect("all in force");
    }
    wait_for_no_drift(&node);
    assert_talk(&a, &b);
}

#[test]
fn r37_a_lost_node_address_is_told_and_followed_when_it_returns() {
    let node = Node::start();
    let (a, b) = (Pod::attached("a"), Pod::attached("b"));
    let mut netlink = Netlink::open().expect("socket");
    let index = netlink.link_index("eth0").expect("dump").expect("there");
    let nets = ["192.168.7.1/24", "fd00:7::1/64"].map(|n| n.parse().expect("valid"));
    let status = || seaway_tests::Call::new("STATUS", "x").run();
    netlink
        .send_all(&nets.map(|net| Request::delete_address(index, net)))
        .expect("gone");
    eventually(
        "STATUS tells that other nodes are out of reach",
        LIMIT,
        || match status() {
            Err(error) if error.code == 51 => Ok(()),
            other => Err(other),
        },
    );
    // With the address Linux takes the routes that prefer it as a source, those to Pods too: they
    // are back in a moment.
    wait_for_talk("local Pods talk on", &a, &b);
    netlink
        .send_all(&nets.map(|net| Request::add_address(index, net)))
        .expect("back");
    eventually("all is well again", LIMIT, status);
    wait_for_no_drift(&node);
    let routes = netlink.routes().expect("dump");
    let peer = "10.244.2.0/24".parse::<ipnet::IpNet>().expect("valid");
    assert!(routes.iter().any(|r| r.destination == peer), "{routes:?}");
}
