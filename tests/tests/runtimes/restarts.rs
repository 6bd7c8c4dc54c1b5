//! The runtime or the agent goes away and comes back while there are sandboxes, or are to be some.

use std::thread;

use nix::sys::signal::Signal;
use seaway_testkit::eventually;
use seaway_tests::cri::{Sandbox, Site};
use seaway_tests::probe::Traffic;

use crate::{LIMIT, attachments};

#[test]
fn k15_the_runtime_is_restarted_and_its_pods_do_not_notice() {
    let mut site = Site::start(1);
    let before = site.traces(1);
    let pods = ["a", "b"].map(|name| Sandbox::run(site.host(1), name));
    let servers = pods.each_ref().map(Sandbox::serve);
    let traffic = pods[0].traffic_to(&pods[1]);
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        site.hosts[0].containerd.end(signal);
        traffic.iter().for_each(Traffic::wait_for_more);
        site.hosts[0].start_containerd();
        traffic.iter().for_each(Traffic::wait_for_more);
        for pod in &pods {
            assert_eq!(pod.reported_addresses(), pod.addresses, "after {signal}");
        }
        servers[0].assert_reaches(&servers[1]);
    }
    traffic.into_iter().for_each(Traffic::assert_nothing_lost);
    assert_eq!(attachments(&site, 1), 2);
    pods.iter().for_each(Sandbox::end);
    site.wait_for_traces(1, &before);
}

#[test]
fn k15_without_an_agent_a_sandbox_is_refused_and_made_on_retry() {
    let mut site = Site::start(1);
    let before = site.traces(1);
    site.net.agent_mut(1).kill_agent();
    let config = Sandbox::config(site.host(1), "a");
    let refusal = Sandbox::try_run(site.host(1), config.clone()).expect_err("no agent");
    assert!(refusal.message.contains("seaway-cni"), "{refusal}");
    assert!(refusal.message.contains("agent"), "{refusal}");
    site.net.agent_mut(1).start_agent();
    let pod = Sandbox::try_run(site.host(1), config).expect("RunPodSandbox again");
    pod.serve();
    assert_eq!(attachments(&site, 1), 1, "nothing of what was refused");
    pod.end();
    site.wait_for_traces(1, &before);
}

#[test]
fn k15_the_agent_is_restarted_while_sandboxes_are_made() {
    const PODS: usize = 8;
    let mut site = Site::start(1);
    let before = site.traces(1);
    let Site { hosts, net, .. } = &mut site;
    let (host, agent) = (&hosts[0], net.agent_mut(1));
    let pods: Vec<Sandbox> = thread::scope(|scope| {
        let makers: Vec<_> = (0..PODS)
            .map(|i| {
                scope.spawn(move || {
                    let config = Sandbox::config(host, &format!("p{i}"));
                    // As a kubelet: again and again.
                    eventually("a sandbox is made", LIMIT * 2, || {
                        Sandbox::try_run(host, config.clone())
                    })
                })
            })
            .collect();
        while !makers.iter().all(thread::ScopedJoinHandle::is_finished) {
            agent.restart_agent();
        }
        let made = makers.into_iter().map(thread::ScopedJoinHandle::join);
        made.map(|pod| pod.expect("made")).collect()
    });
    let mut addresses: Vec<_> = pods.iter().flat_map(|pod| pod.addresses.clone()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 2 * PODS, "unique addresses");
    site.net.settle();
    assert_eq!(attachments(&site, 1), PODS);
    let (first, last) = (pods[0].serve(), pods[PODS - 1].serve());
    first.assert_reaches(&last);
    pods.iter().for_each(Sandbox::end);
    site.wait_for_traces(1, &before);
}

#[test]
fn k15_without_an_agent_a_sandbox_is_stopped_and_freed_when_the_agent_is_back() {
    let mut site = Site::start(1);
    let before = site.traces(1);
    let pods = ["a", "b"].map(|name| Sandbox::run(site.host(1), name));
    site.net.agent_mut(1).kill_agent();
    pods.iter().for_each(Sandbox::end);
    assert_eq!(site.host(1).cri.sandboxes().expect("a list"), []);
    site.net.agent_mut(1).start_agent();
    assert_eq!(attachments(&site, 1), 0);
    site.wait_for_traces(1, &before);
}
