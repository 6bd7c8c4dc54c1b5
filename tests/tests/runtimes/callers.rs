//! Callers of CNI that are no kubelet's runtime: `ctr run --cni` and podman.

use std::net::IpAddr;
use std::path::Path;

use seaway_kernel::netns::Netns;
use seaway_model::Family;
use seaway_testkit::eventually;
use seaway_tests::cri::{Host, IMAGE, Site};
use seaway_tests::probe::udp;

use crate::{LIMIT, attachments};

#[test]
fn k15_ctr_runs_containers_with_cni() {
    let site = Site::start(1);
    let host = site.host(1);
    host.import("default", Path::new("/run/image/image.tar"));
    let before = site.traces(1);
    for name in ["a", "b"] {
        let cgroup = host.cgroup(name);
        host.ctr(&format!(
            "run --cni --detach --cgroup {cgroup} {IMAGE} {name} /seaway tool serve"
        ));
    }
    assert_eq!(attachments(&site, 1), 2);
    let pid = |name: &str| {
        let tasks = host.ctr("tasks list");
        let mut tasks = tasks.lines().map(str::split_whitespace);
        let pid = tasks.find_map(|mut task| (task.next()? == name).then(|| task.next())?);
        host.machine
            .outer_pid(pid.expect("it runs").parse().expect("a PID"))
    };
    let [a, b] = ["a", "b"].map(|name| Netns::of_pid(pid(name)).expect("a namespace"));
    assert_netns_talk(&a, &b);
    drop((a, b));
    for name in ["a", "b"] {
        // The container's end and the network's are two things to ctr.
        host.ctr(&format!("tasks kill --signal KILL {name}"));
        eventually("it ended", LIMIT, || match host.ctr("tasks list") {
            tasks
                if tasks
                    .lines()
                    .any(|t| t.starts_with(name) && t.contains("STOPPED")) =>
            {
                Ok(())
            }
            tasks => Err(tasks),
        });
        host.ctr(&format!("tasks delete {name}"));
        host.ctr(&format!("containers delete {name}"));
    }
    site.wait_for_traces(1, &before);
}

#[test]
fn k15_podman_runs_containers_in_the_network() {
    let site = Site::start(1);
    let host = site.host(1);
    podman(host, "load --input /run/image/image.tar");
    let before = site.traces(1);
    for name in ["a", "b"] {
        let cgroup = host.cgroup("podman");
        podman(
            host,
            &format!(
                "run --detach --name {name} --network seaway --cgroup-parent {cgroup} \
                 --entrypoint /seaway {IMAGE} tool serve"
            ),
        );
    }
    assert_eq!(attachments(&site, 1), 2);
    let namespaces = ["a", "b"].map(|name| {
        let pid = podman(host, &format!("inspect --format {{{{.State.Pid}}}} {name}"));
        let pid = host.machine.outer_pid(pid.trim().parse().expect("a PID"));
        Netns::of_pid(pid).expect("a namespace")
    });
    assert_netns_talk(&namespaces[0], &namespaces[1]);
    drop(namespaces);
    podman(host, "rm --force --time 0 a b");
    assert_eq!(attachments(&site, 1), 0);
    site.wait_for_traces(1, &before);
}

fn podman(host: &Host, line: &str) -> String {
    // Its own folders are the machine's own; the network is of CNI's kind.
    host.machine.run(&format!(
        "podman --cgroup-manager cgroupfs --runtime runc --network-backend cni {line}"
    ))
}

/// Both send to each other's addresses, which are the only ones that the namespaces have.
fn assert_netns_talk(a: &Netns, b: &Netns) {
    for (from, to) in [(a, b), (b, a)] {
        for family in Family::ALL {
            let [own, target] = [from, to].map(|netns| address(netns, family));
            let seen = udp(from, to, target).expect("heard");
            assert_eq!(seen.ip(), own);
        }
    }
}

fn address(netns: &Netns, family: Family) -> IpAddr {
    let flag = match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    };
    let line = format!("ip -br {flag} address show dev eth0 scope global");
    let text = seaway_tests::shell::run(netns, &line);
    let net = text.split_whitespace().nth(2).expect("an address");
    net.split('/')
        .next()
        .expect("one")
        .parse()
        .expect("an address")
}
