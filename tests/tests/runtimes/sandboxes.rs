//! Sandboxes as a kubelet has them made: what they get, and that it is given back.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seaway_model::Family;
use seaway_testkit::eventually;
use seaway_tests::cri::api::PortMapping;
use seaway_tests::cri::{Host, Sandbox, Site};
use seaway_tests::net::pod_cidrs;

use crate::{LIMIT, attachments};

/// `SANDBOX_NOTREADY`.
const NOT_READY: i32 = 1;

#[test]
fn k15_sandboxes_get_addresses_of_both_families_and_talk() {
    let site = Site::start(2);
    let before = [1, 2].map(|number| site.traces(number));
    let pods = [(1, "a"), (1, "b"), (2, "c")].map(|(n, name)| Sandbox::run(site.host(n), name));
    for (pod, number) in pods.iter().zip([1, 1, 2]) {
        assert_eq!(pod.addresses.len(), 2, "{pod:?}");
        for (family, cidr) in Family::ALL.into_iter().zip(pod_cidrs(number)) {
            assert!(cidr.contains(&pod.address(family)), "{pod:?}");
        }
    }
    let servers = pods.each_ref().map(Sandbox::serve);
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
        servers[from].assert_reaches(&servers[to]);
    }
    pods.iter().for_each(Sandbox::end);
    for (number, before) in [1, 2].into_iter().zip(&before) {
        site.wait_for_traces(number, before);
    }
}

#[test]
fn k15_host_ports_lead_into_the_sandbox_as_long_as_it_is_there() {
    const HOST_PORT: u16 = 18_080;
    let site = Site::start(2);
    let before = site.traces(1);
    let mut config = Sandbox::config(site.host(1), "server");
    config.port_mappings = vec![PortMapping {
        container_port: 8080,
        host_port: HOST_PORT.into(),
        ..PortMapping::default()
    }];
    let server = Sandbox::try_run(site.host(1), config).expect("RunPodSandbox");
    let client = Sandbox::run(site.host(2), "client");
    server.serve();
    let asker = client.serve();
    for family in Family::ALL {
        let door = (site.net.address(1, family), HOST_PORT).into();
        assert_eq!(asker.fetch(door), Ok(client.address(family)), "{door}");
    }
    server.end();
    for family in Family::ALL {
        let door = (site.net.address(1, family), HOST_PORT).into();
        asker.fetch(door).expect_err("the port leads nowhere");
    }
    client.end();
    site.wait_for_traces(1, &before);
}

#[test]
fn k15_stop_frees_the_addresses_and_all_may_be_asked_twice() {
    let site = Site::start(1);
    let (host, before) = (site.host(1), site.traces(1));
    let pod = Sandbox::run(host, "a");
    pod.serve();
    for _ in 0..2 {
        host.cri.stop_sandbox(&pod.id).expect("StopPodSandbox");
        assert_eq!(
            attachments(&site, 1),
            0,
            "freed before the sandbox is removed"
        );
    }
    for _ in 0..2 {
        host.cri.remove_sandbox(&pod.id).expect("RemovePodSandbox");
    }
    site.wait_for_traces(1, &before);
    assert_eq!(host.cri.sandboxes().expect("a list"), []);
}

/// What became of a sandbox that the runtime did not end.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    /// Its only process was killed.
    Killed,
    /// Its namespace has lost its name, too.
    Unnamed,
}

#[test]
fn k15_a_sandbox_that_died_behind_the_runtimes_back_is_made_anew() {
    let site = Site::start(1);
    let (host, before) = (site.host(1), site.traces(1));
    let neighbour = Sandbox::run(host, "neighbour").serve();
    let mut config = Sandbox::config(host, "victim");
    for (attempt, mishap) in (0..).zip([Mishap::Killed, Mishap::Unnamed, Mishap::Killed]) {
        if let Some(metadata) = &mut config.metadata {
            metadata.attempt = attempt;
        }
        let victim = Sandbox::try_run(host, config.clone()).expect("RunPodSandbox");
        victim.serve().assert_reaches(&neighbour);
        happen(host, &victim, mishap);
        // Where the namespace is gone, the agent may have noticed by itself.
        if let Mishap::Killed = mishap {
            assert_eq!(attachments(&site, 1), 2, "the runtime is to end it");
        }
        victim.end();
        eventually("its addresses are free", LIMIT, || {
            match attachments(&site, 1) {
                1 => Ok(()),
                other => Err((mishap, other)),
            }
        });
    }
    for sandbox in host.cri.sandboxes().expect("a list") {
        host.cri.stop_sandbox(&sandbox.id).expect("StopPodSandbox");
        host.cri
            .remove_sandbox(&sandbox.id)
            .expect("RemovePodSandbox");
    }
    site.wait_for_traces(1, &before);
}

fn happen(host: &Host, victim: &Sandbox, mishap: Mishap) {
    let pid = host.machine.outer_pid(victim.pid());
    let pid = Pid::from_raw(i32::try_from(pid).expect("a PID"));
    kill(pid, Signal::SIGKILL).expect("killed");
    eventually("the runtime sees it", LIMIT, || {
        let status = host.cri.sandbox(&victim.id).expect("a status").status;
        match status.map(|status| status.state) {
            Some(NOT_READY) => Ok(()),
            other => Err(other),
        }
    });
    if let Mishap::Unnamed = mishap {
        let path = victim.netns_path();
        host.machine.run(&format!("umount {}", path.display()));
        host.machine.run(&format!("rm {}", path.display()));
    }
}
