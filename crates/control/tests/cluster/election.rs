//! Which of several controllers acts: processes that are killed, stopped and cut off.
//!
//! Each is this test's own program, started once more as `a_controller_process`. Whoever leads writes
//! its name into a ConfigMap as fast as it can, without any precondition: whoever writes after another
//! took over is caught.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, watcher};
use kube::{Api, Client};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seaway_control::{ControlConfig, Election, Ending, Rhythm, Standing, lead};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::harness::{Cluster, client_of, eventually, from};

const QUICK: Rhythm = Rhythm {
    hold: Duration::from_secs(6),
    renew: Duration::from_secs(4),
    retry: Duration::from_millis(500),
};
const ACT: Duration = Duration::from_millis(10);
const LEASE: &str = "seaway-controller";

fn election(name: &str, rhythm: Rhythm) -> Election {
    Election {
        rhythm,
        ..Election::new("default", LEASE, name)
    }
}

/// Writes a name, for as long as it may.
async fn act(client: Client, name: String, mut end: Ending) -> Result<(), kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let patch = Patch::Merge(json!({"data": {"by": name}}));
    loop {
        let acting = async {
            let _refused = maps.patch("acts", &PatchParams::default(), &patch).await;
            tokio::time::sleep(ACT).await;
        };
        tokio::select! {
            () = &mut end => return Ok(()),
            () = acting => {}
        }
    }
}

/// Not a test of its own: the others start it.
#[tokio::test]
#[ignore = "started by the other tests, as a process of its own"]
async fn a_controller_process() {
    let variable = |name| std::env::var(name).expect("set by the test that starts this");
    let name = variable("ACTOR");
    seaway_api::install_crypto();
    tracing_subscriber::fmt()
        .with_writer(std::io::stdout)
        .init();
    let client = client_of(Path::new(&variable("KUBECONFIG")));
    let rhythm = match variable("RHYTHM").as_str() {
        "quick" => QUICK,
        _ => Rhythm::default(),
    };
    let mut terminated = signal(SignalKind::terminate()).expect("a signal");
    let stop = async {
        terminated.recv().await;
    };
    let work = |client, end| act(client, name.clone(), end);
    let standing = Arc::new(Standing::default());
    lead(client, election(&name, rhythm), standing, stop, work)
        .await
        .expect("no end by itself");
}

fn start(name: &str, kubeconfig: &Path, rhythm: &str) -> Child {
    let path = std::env::current_exe().expect("a path");
    Command::new(path)
        .args(["--exact", "--ignored", "--nocapture"])
        .arg("election::a_controller_process")
        .env("ACTOR", name)
        .env("KUBECONFIG", kubeconfig)
        .env("RHYTHM", rhythm)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("started")
}

/// Waits until a process has seen that another one leads. What it says further is to be kept open.
async fn stands_by(child: &mut Child) -> Lines<BufReader<ChildStdout>> {
    let said = child.stdout.take().expect("piped");
    let mut said = BufReader::new(said).lines();
    let waiting = async {
        while let Some(line) = said.next_line().await.expect("readable") {
            if line.contains("standing by") {
                return;
            }
        }
        panic!("it ended");
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    waited.expect("another one is seen to lead");
    said
}

fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    kill(Pid::from_raw(pid.expect("it runs")), signal).expect("signalled");
}

/// Who acted when, as the server saw it.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<Vec<(Instant, String)>>>);

impl Record {
    async fn begin(cluster: &Cluster) -> Self {
        cluster
            .create::<ConfigMap>(json!({"metadata": {"name": "acts"}}))
            .await;
        let record = Self::default();
        let (maps, acts) = (cluster.api::<ConfigMap>(), record.0.clone());
        tokio::spawn(async move {
            let only = Config::default().fields("metadata.name=acts");
            let mut seen = std::pin::pin!(watcher(maps, only).applied_objects());
            while let Some(Ok(map)) = seen.next().await {
                if let Some(by) = map.data.and_then(|data| data.get("by").cloned()) {
                    acts.lock().expect("unpoisoned").push((Instant::now(), by));
                }
            }
        });
        record
    }

    /// Who acted, one after the other.
    fn order(&self) -> Vec<String> {
        let acts = self.0.lock().expect("unpoisoned");
        let mut order: Vec<String> = acts.iter().map(|(_, by)| by.clone()).collect();
        order.dedup();
        order
    }

    /// Waits until this one acts; tells when it did so first after `since`.
    async fn acts(&self, name: &str, since: Instant) -> Instant {
        eventually("it acts", async || {
            let first = {
                let acts = self.0.lock().expect("unpoisoned");
                let mut later = acts.iter().filter(|(at, by)| *at >= since && by == name);
                later.next().map(|(at, _)| *at)
            };
            first.ok_or_else(|| (name.to_owned(), self.order()))
        })
        .await
    }

    fn acts_since(&self, name: &str, since: Instant) -> usize {
        let acts = self.0.lock().expect("unpoisoned");
        let later = acts.iter().filter(|(at, by)| *at >= since && by == name);
        later.count()
    }
}

async fn holder(cluster: &Cluster) -> Option<String> {
    let lease = cluster.api::<Lease>().get(LEASE).await.expect("there");
    lease.spec.expect("a spec").holder_identity
}

#[tokio::test]
async fn a_killed_leader_is_followed_after_its_lease_and_a_terminated_one_at_once() {
    let cluster = Cluster::without_loops(ControlConfig::default()).await;
    let record = Record::begin(&cluster).await;
    let path = cluster.kubeconfig();
    let start_time = Instant::now();
    let mut a = start("a", &path, "real");
    record.acts("a", start_time).await;
    let mut b = start("b", &path, "real");
    let _b = stands_by(&mut b).await;
    let killed = Instant::now();
    a.kill().await.expect("killed");
    let after_kill = record.acts("b", killed).await - killed;
    println!("after kill -9: {after_kill:?}");
    let hold = Rhythm::default().hold;
    assert!(after_kill > hold - Duration::from_secs(3), "{after_kill:?}");
    assert!(
        after_kill < hold + Duration::from_secs(10),
        "{after_kill:?}"
    );

    let mut c = start("c", &path, "real");
    let _c = stands_by(&mut c).await;
    let terminated = Instant::now();
    send(&b, Signal::SIGTERM);
    let after_end = record.acts("c", terminated).await - terminated;
    println!("after SIGTERM: {after_end:?}");
    assert!(after_end < Duration::from_secs(5), "{after_end:?}");
    assert!(b.wait().await.expect("ended").success());
    assert_eq!(record.order(), ["a", "b", "c"]);

    send(&c, Signal::SIGTERM);
    assert!(c.wait().await.expect("ended").success());
    assert_eq!(holder(&cluster).await, None, "given back");
    let lease = cluster.api::<Lease>().get(LEASE).await.expect("there");
    assert_eq!(lease.spec.expect("a spec").lease_transitions, Some(2));
}

#[tokio::test]
async fn a_leader_that_was_stopped_does_nothing_when_it_goes_on() {
    let cluster = Cluster::without_loops(ControlConfig::default()).await;
    let record = Record::begin(&cluster).await;
    let begun = Instant::now();
    let a = start("a", &cluster.kubeconfig(), "quick");
    record.acts("a", begun).await;
    let mut b = start("b", &cluster.kubeconfig(), "quick");
    let _b = stands_by(&mut b).await;
    let (mut first, mut second) = (("a", a), ("b", b));
    let mut expected = vec!["a"];
    for _ in 0..3 {
        let stopped = Instant::now();
        send(&first.1, Signal::SIGSTOP);
        record.acts(second.0, stopped).await;
        let resumed = Instant::now();
        send(&first.1, Signal::SIGCONT);
        // Longer than it takes to see that another leads.
        tokio::time::sleep(QUICK.renew).await;
        assert_eq!(record.acts_since(first.0, resumed), 0);
        expected.push(second.0);
        assert_eq!(record.order(), expected);
        std::mem::swap(&mut first, &mut second);
    }
}

/// A way to the server that can be cut.
async fn way(to: std::net::SocketAddr) -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let passing = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            connections.spawn(async move {
                let Ok(mut far) = TcpStream::connect(to).await else {
                    return;
                };
                let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (address, passing)
}

#[tokio::test]
async fn a_leader_that_is_cut_off_ends_before_another_begins() {
    let cluster = Cluster::without_loops(ControlConfig::default()).await;
    let record = Record::begin(&cluster).await;
    let (address, passing) = way(cluster.address()).await;
    let standing = Arc::new(Standing::default());
    let client = client_of(&cluster.kubeconfig_by(address));
    let led = standing.clone();
    let a = tokio::spawn(async move {
        let work = |client, end| act(client, "a".to_owned(), end);
        lead(
            client,
            election("a", QUICK),
            led,
            std::future::pending(),
            work,
        )
        .await
    });
    let begun = Instant::now();
    record.acts("a", begun).await;
    let mut b = start("b", &cluster.kubeconfig(), "quick");
    let _b = stands_by(&mut b).await;
    assert!(standing.leads());
    let cut = Instant::now();
    passing.abort();
    eventually("it knows that it leads no more", async || {
        if standing.leads() {
            Err("leads")
        } else {
            Ok(())
        }
    })
    .await;
    let knew = Instant::now();
    assert_eq!(record.acts_since("b", cut), 0, "nobody else had begun");
    let followed = record.acts("b", cut).await;
    println!(
        "cut off: ended after {:?}, followed after {:?}",
        knew - cut,
        followed - cut
    );
    assert_eq!(record.order(), ["a", "b"]);
    drop(b);
    a.abort();
}

#[tokio::test]
async fn times_of_other_clocks_are_not_believed() {
    let cluster = Cluster::without_loops(ControlConfig::default()).await;
    let record = Record::begin(&cluster).await;
    let mut began = Instant::now();
    let mut children = Vec::new();
    for (name, renewed) in [
        ("past", "2001-01-01T00:00:00.000000Z"),
        ("future", "2101-01-01T00:00:00.000000Z"),
    ] {
        // A holder that lives by a clock that is decades off: it renews, so it holds.
        let leases: Api<Lease> = cluster.api();
        let _none = leases.delete(LEASE, &Default::default()).await;
        let mut lease: Lease = from(json!({"metadata": {"name": LEASE}, "spec": {
            "holderIdentity": "elsewhere", "leaseDurationSeconds": 3, "renewTime": renewed}}));
        leases
            .create(&PostParams::default(), &lease)
            .await
            .expect("created");
        let child = start(name, &cluster.kubeconfig(), "quick");
        for number in 0..8 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            lease = leases.get(LEASE).await.expect("there");
            let spec = lease.spec.as_mut().expect("a spec");
            assert_eq!(spec.holder_identity.as_deref(), Some("elsewhere"), "{name}");
            // Its clock may even go backwards.
            let renewed = spec.renew_time.clone().expect("a time").0;
            let step =
                k8s_openapi::jiff::SignedDuration::from_secs(if number % 2 == 0 { -9 } else { 4 });
            spec.renew_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(
                renewed + step,
            ));
            leases
                .replace(LEASE, &PostParams::default(), &lease)
                .await
                .expect("renewed");
        }
        assert_eq!(record.acts_since(name, began), 0, "{name}");
        // It falls silent.
        let silent = Instant::now();
        let took = record.acts(name, silent).await - silent;
        assert!(took > QUICK.hold - Duration::from_millis(100), "{took:?}");
        assert!(took < QUICK.hold + Duration::from_secs(8), "{took:?}");
        children.push(child);
        children.pop().expect("one").kill().await.expect("killed");
        began = Instant::now();
    }
}
