//! A check of a lab: whoever makes it is beside the lab's supervisor, who lets it into every
//! machine's and Pod's namespaces. A probe process runs in each.

mod load;
mod view;

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::cases::Case;
use super::hands::{Hands, Loads, Outcomes, Source};
use super::interrupt::clear_up_when_asked;
use super::plan::Pairs;
use super::report::{Origin, Report};
use super::services::Room;
use super::trial::own_name;
use super::view::PodView;
use super::{Checked, check};
use crate::agent_client::held_addresses;
use crate::client::Client;
use crate::cluster::{Cluster, ReadyPod};
use crate::error::{Context, LabError};
use crate::namespaces::Namespaces;
use crate::node_files::program;
use crate::protocol::target;
use crate::tool::{ProbeJob, ProbeOutcome};

/// How long the probes of a container may take together.
const IN_CONTAINER: Duration = Duration::from_secs(60);
/// How long Pods of a lab may take to be ready, or gone: longer than the grace that they have.
const MADE: Duration = Duration::from_secs(30);
/// How long all nodes of a lab may take to balance a Service that is new.
const IN_FORCE: Duration = Duration::from_secs(10);

/// Checks a lab. A signal that ends this process meanwhile clears up first.
pub(crate) fn run(client: &Client, all_pairs: bool) -> Result<Report, LabError> {
    let kubeconfig = client.state().kubeconfig();
    let theirs = kubeconfig.clone();
    clear_up_when_asked(move || clear_up(&theirs))?;
    let status = client.status()?;
    let pairs = if all_pairs { Pairs::All } else { Pairs::Ring };
    let view = view::of(client, &status)?;
    let origin = Origin::Lab {
        lab: client.state().name().to_string(),
        logs: client.state().path().join("logs"),
    };
    let mut report = Report::new(origin, status.network.into(), view.pod_mtu());
    let cluster = Cluster::open(&kubeconfig)?;
    let checked = Checked {
        hands: &LabHands(client),
        cluster: &cluster,
        room: Room::Own(own_name()),
    };
    match view.nodes.first().cloned() {
        Some(node) => check(&checked, &node, view, pairs, &mut report)?,
        None => tracing::warn!("the lab has no nodes"),
    }
    Ok(report)
}

/// Asks for the end of all that a check makes. It may not have been made yet, or be gone.
fn clear_up(kubeconfig: &Path) -> Result<(), LabError> {
    let cluster = Cluster::open(kubeconfig)?;
    let namespace = cluster.doom_namespace(&own_name());
    cluster.doom_pod(&own_name()).and(namespace)
}

/// The way into everything by the supervisor.
struct LabHands<'a>(&'a Client);

impl Hands for LabHands<'_> {
    fn probe(&self, source: &Source, jobs: &[ProbeJob]) -> Result<Outcomes, LabError> {
        match source.in_container {
            true => probe_in_container(self.0, &source.name, jobs),
            false => probe(&self.0.enter(&source.name)?, jobs),
        }
    }

    fn begin_loads<'a>(&'a self, cases: &'a [Case]) -> Box<dyn Loads + 'a> {
        Box::new(load::Processes::begin(self.0, cases))
    }

    fn end_container(&self, pod: &str, container: &str) -> Result<(), LabError> {
        self.0.kill(&format!("{pod}/{container}"), 9)
    }

    fn look_at(&self, namespace: &str, pod: &ReadyPod) -> Result<PodView, LabError> {
        let target = target(namespace, &pod.name);
        view::pod_view(self.0, target, &pod.name, &pod.addresses)
    }

    fn holds(&self, node: &str, address: IpAddr) -> Result<bool, LabError> {
        Ok(held_addresses(&self.0.enter(node)?)?.contains(&address))
    }

    fn made(&self) -> Duration {
        MADE
    }

    fn in_force(&self) -> Duration {
        IN_FORCE
    }
}

/// Runs a probe process inside and gives its outcomes by number.
fn probe(namespaces: &Namespaces, jobs: &[ProbeJob]) -> Result<Outcomes, LabError> {
    let path: PathBuf = program("seaway");
    let mut command = Command::new(&path);
    command
        .args(["tool", "probe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let child = namespaces.run(|| command.spawn())?.on("start", &path)?;
    Ok(outcomes(&exchange(child, &path, &input(jobs))?))
}

/// The same as a process of a Pod's container.
fn probe_in_container(client: &Client, pod: &str, jobs: &[ProbeJob]) -> Result<Outcomes, LabError> {
    let command = ["seaway", "tool", "probe"].map(str::to_owned).into();
    let output = client.output_in_container(pod, command, &input(jobs), IN_CONTAINER)?;
    Ok(outcomes(&output))
}

fn input(jobs: &[ProbeJob]) -> String {
    jobs.iter().map(line).collect()
}

fn outcomes(output: &str) -> Outcomes {
    output
        .lines()
        .filter_map(|line| serde_json::from_str::<ProbeOutcome>(line).ok())
        .filter_map(|outcome| Some((outcome.id?, outcome)))
        .collect()
}

fn line(job: &ProbeJob) -> String {
    let mut line = serde_json::to_string(job).expect("numbers and addresses are always JSON");
    line.push('\n');
    line
}

/// Input and output flow at the same time, so that neither pipe can fill up.
fn exchange(mut child: Child, path: &Path, input: &str) -> Result<String, LabError> {
    let stdin = child.stdin.take();
    let output = thread::scope(|scope| {
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        child.wait_with_output().on("wait for", path)
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
