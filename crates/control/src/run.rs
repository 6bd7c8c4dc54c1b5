//! All loops together: who hears what, and who works.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::accounts::{Accounts, DEFAULT};
use crate::cluster::{Cluster, Heard, LEASES, ROOT_CA};
use crate::config::{ControlConfig, Extent};
use crate::daemonsets::DaemonSets;
use crate::deployments::Deployments;
use crate::endpoint_slices::EndpointSlices;
use crate::endpoints::EndpointsWriter;
use crate::error::ControlError;
use crate::leader::{Election, lead};
use crate::node_cidrs::NodeCidrs;
use crate::node_life::NodeLife;
use crate::orphans::Orphans;
use crate::replicasets::ReplicaSets;
use crate::scheduler::Scheduler;
use crate::standing::Standing;
use crate::startup_taint::StartupTaint;
use crate::unenforced::Unenforced;
use crate::view::View;
use crate::work::{Controller, work};

/// How many keys of Deployments, of ReplicaSets and of DaemonSets are worked on at once.
const WORKERS: usize = 4;
/// How many Services are worked on at once.
const SLICE_WORKERS: usize = 8;
/// How many nodes are untainted at once.
const TAINT_WORKERS: usize = 4;
/// How long work that has been begun may take when the loops are to end.
const LAST_WORK: Duration = Duration::from_secs(2);

type Tasks = JoinSet<&'static str>;

/// All controllers.
#[derive(Debug)]
struct Loops {
    cluster: Arc<Cluster>,
    /// None where nodes get their ranges from elsewhere.
    cidrs: Option<Arc<NodeCidrs>>,
    startup: Arc<StartupTaint>,
    /// None where policies are enforced.
    unenforced: Option<Arc<Unenforced>>,
    /// None in a cluster that has a control plane of its own.
    plane: Option<Plane>,
}

/// What a control plane does in any cluster.
#[derive(Debug)]
struct Plane {
    scheduler: Arc<Scheduler>,
    life: Arc<NodeLife>,
    orphans: Arc<Orphans>,
    deployments: Arc<Deployments>,
    sets: Arc<ReplicaSets>,
    daemon_sets: Arc<DaemonSets>,
    accounts: Arc<Accounts>,
    /// None where somebody else makes them.
    slices: Option<Arc<EndpointSlices>>,
    /// Likewise.
    endpoints: Option<Arc<EndpointsWriter>>,
}

impl Loops {
    fn new(client: Client, config: ControlConfig, standing: &Arc<Standing>) -> Self {
        let cluster = Arc::new(Cluster::new(client));
        let pools = config.cluster_cidrs.clone();
        Self {
            cidrs: (!pools.is_empty()).then(|| Arc::new(NodeCidrs::new(cluster.clone(), pools))),
            startup: Arc::new(StartupTaint::new(cluster.clone())),
            unenforced: (!config.policies_enforced)
                .then(|| Arc::new(Unenforced::new(cluster.clone(), standing.clone()))),
            plane: (config.extent == Extent::Everything).then(|| Plane::new(&cluster, config)),
            cluster,
        }
    }
}

impl Plane {
    fn new(cluster: &Arc<Cluster>, config: ControlConfig) -> Self {
        Self {
            scheduler: Arc::new(Scheduler::new(cluster.clone())),
            life: Arc::new(NodeLife::new(
                cluster.clone(),
                config.node_grace,
                config.pod_stay,
            )),
            orphans: Arc::new(Orphans::new(cluster.clone(), config.node_quarantine)),
            deployments: Arc::new(Deployments::new(cluster.clone())),
            sets: Arc::new(ReplicaSets::new(cluster.clone())),
            daemon_sets: Arc::new(DaemonSets::new(cluster.clone())),
            accounts: Arc::new(Accounts::new(cluster.clone(), config.root_ca)),
            slices: config
                .endpoint_slices
                .then(|| Arc::new(EndpointSlices::new(cluster.clone()))),
            endpoints: config
                .endpoint_slices
                .then(|| Arc::new(EndpointsWriter::new(cluster.clone()))),
        }
    }
}

/// Runs all loops until they are to end, whenever this process leads; always, if nobody is elected.
///
/// # Errors
///
/// As [`run`].
pub async fn serve(
    client: Client,
    config: ControlConfig,
    election: Option<Election>,
    standing: Arc<Standing>,
    end: impl Future<Output = ()>,
) -> Result<(), ControlError> {
    let Some(election) = election else {
        standing.begin();
        return run(client, config, standing, end).await;
    };
    let work = |client, end| run(client, config.clone(), standing.clone(), end);
    lead(client, election, standing.clone(), end, work).await
}

/// Runs all loops until they are to end; then what has been begun is brought to its end. An API that
/// is away is waited for. Dropping the future stops them wherever they are.
///
/// # Errors
///
/// If a loop stops, which is a defect.
pub async fn run(
    client: Client,
    config: ControlConfig,
    standing: Arc<Standing>,
    end: impl Future<Output = ()>,
) -> Result<(), ControlError> {
    let loops = Arc::new(Loops::new(client, config, &standing));
    let mut watches = JoinSet::new();
    let mut workers = JoinSet::new();
    watch_nodes(&loops, &mut watches);
    if loops.unenforced.is_some() {
        watch_policies(&loops, &mut watches);
    }
    if let Some(plane) = &loops.plane {
        watch_leases(&loops, &mut watches);
        watch_workloads(&loops, &mut watches);
        watch_daemon_sets(&loops, &mut watches);
        watch_namespaces(&loops, &mut watches);
        if plane.slices.is_some() {
            watch_services(&loops, &mut watches);
        }
    }
    start_all(&loops, &mut workers);
    let reached = async {
        loops.cluster.complete().await;
        standing.reached();
        std::future::pending::<()>().await;
    };
    // No task ends by itself but by a defect.
    let ended = tokio::select! {
        ended = watches.join_next() => ended,
        ended = workers.join_next() => ended,
        () = reached => None,
        () = end => {
            finish(&loops.cluster, &mut watches, &mut workers).await;
            return Ok(());
        }
    };
    let name = ended.and_then(Result::ok).unwrap_or("panicking");
    Err(ControlError::Stopped(name))
}

async fn finish(cluster: &Cluster, watches: &mut Tasks, workers: &mut Tasks) {
    cluster.end();
    let all = async { while workers.join_next().await.is_some() {} };
    if timeout(LAST_WORK, all).await.is_err() {
        tracing::info!("some work was left as it is; whoever comes next goes on");
    }
    workers.shutdown().await;
    watches.shutdown().await;
}

fn start_all(loops: &Arc<Loops>, tasks: &mut Tasks) {
    if let Some(cidrs) = &loops.cidrs {
        start(loops, cidrs, 1, tasks);
    }
    start(loops, &loops.startup, TAINT_WORKERS, tasks);
    if let Some(unenforced) = &loops.unenforced {
        start(loops, unenforced, 1, tasks);
    }
    let Some(plane) = &loops.plane else { return };
    if let Some(slices) = &plane.slices {
        start(loops, slices, SLICE_WORKERS, tasks);
    }
    if let Some(endpoints) = &plane.endpoints {
        start(loops, endpoints, WORKERS, tasks);
    }
    start(loops, &plane.scheduler, 1, tasks);
    start(loops, &plane.life, 1, tasks);
    start(loops, &plane.orphans, 1, tasks);
    start(loops, &plane.accounts, 1, tasks);
    start(loops, &plane.deployments, WORKERS, tasks);
    start(loops, &plane.sets, WORKERS, tasks);
    start(loops, &plane.daemon_sets, WORKERS, tasks);
}

fn start<C: Controller>(
    loops: &Arc<Loops>,
    controller: &Arc<C>,
    workers: usize,
    tasks: &mut Tasks,
) {
    for _ in 0..workers {
        let work = work(loops.cluster.clone(), controller.clone());
        tasks.spawn(async move {
            work.await;
            C::NAME
        });
    }
}

/// Objects of one kind, and where their copy is kept.
struct Source<K> {
    api: Api<K>,
    config: Config,
    view: fn(&Cluster) -> &View<K>,
    trim: fn(&mut K),
}

/// All objects of a kind.
fn all<K: Resource<DynamicType = ()>>(loops: &Loops, view: fn(&Cluster) -> &View<K>) -> Source<K> {
    Source {
        api: loops.cluster.everywhere(),
        config: Config::default(),
        view,
        trim: |_| {},
    }
}

impl<K> Source<K> {
    /// Those of that name alone.
    fn named(self, name: &str) -> Self {
        let config = self.config.fields(&format!("metadata.name={name}"));
        Self { config, ..self }
    }
}

/// Keeps the copy of one kind, and tells those whom it concerns of what changes.
fn watch<K>(loops: &Arc<Loops>, tasks: &mut Tasks, source: Source<K>, tell: fn(&Loops, &Heard<K>))
where
    K: k8s_openapi::Resource + Resource<DynamicType = ()>,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    loops.cluster.expect();
    let loops = loops.clone();
    tasks.spawn(async move {
        let cluster = &loops.cluster;
        let tell = |heard: &_| tell(&loops, heard);
        let view = (source.view)(cluster);
        cluster
            .follow(source.api, source.config, view, source.trim, tell)
            .await;
        K::URL_PATH_SEGMENT
    });
}

fn watch_nodes(loops: &Arc<Loops>, tasks: &mut Tasks) {
    watch(loops, tasks, all(loops, |c| &c.nodes), |l, heard| {
        if let Some(cidrs) = &l.cidrs {
            cidrs.hear_nodes(heard);
        }
        l.startup.hear_nodes(heard);
        let Some(plane) = &l.plane else { return };
        plane.life.hear_nodes(heard);
        plane.orphans.hear_nodes(heard);
        plane.scheduler.hear_nodes(heard);
        plane.daemon_sets.hear_nodes(heard);
        if let Some(slices) = &plane.slices {
            slices.hear_nodes(heard);
        }
    });
}

fn watch_policies(loops: &Arc<Loops>, tasks: &mut Tasks) {
    let policies = Source {
        // Which there are is all that matters.
        trim: |policy: &mut NetworkPolicy| policy.spec = None,
        ..all(loops, |c| &c.policies)
    };
    watch(loops, tasks, policies, |l, heard| {
        if let Some(unenforced) = &l.unenforced {
            unenforced.hear_policies(heard);
        }
    });
}

fn watch_leases(loops: &Arc<Loops>, tasks: &mut Tasks) {
    let leases = Source {
        api: loops.cluster.namespaced(LEASES),
        ..all(loops, |c| &c.leases)
    };
    watch(loops, tasks, leases, |l, heard| {
        if let Some(plane) = &l.plane {
            plane.life.hear_leases(heard);
        }
    });
}

fn watch_workloads(loops: &Arc<Loops>, tasks: &mut Tasks) {
    watch(loops, tasks, all(loops, |c| &c.pods), |l, heard| {
        let Some(plane) = &l.plane else { return };
        // First: traffic waits for it.
        if let Some(slices) = &plane.slices {
            slices.hear_pods(heard);
        }
        plane.sets.hear_pods(heard);
        plane.daemon_sets.hear_pods(heard);
        plane.scheduler.hear_pods(heard);
        plane.life.hear_pods(heard);
        plane.orphans.hear_pods(heard);
        plane.deployments.hear_pods(heard);
    });
    watch(loops, tasks, all(loops, |c| &c.sets), |l, heard| {
        let Some(plane) = &l.plane else { return };
        plane.sets.hear_sets(heard);
        plane.deployments.hear_sets(heard);
    });
    watch(loops, tasks, all(loops, |c| &c.deployments), |l, heard| {
        if let Some(plane) = &l.plane {
            plane.deployments.hear_deployments(heard);
        }
    });
}

fn watch_daemon_sets(loops: &Arc<Loops>, tasks: &mut Tasks) {
    watch(loops, tasks, all(loops, |c| &c.daemon_sets), |l, heard| {
        if let Some(plane) = &l.plane {
            plane.daemon_sets.hear_daemon_sets(heard);
        }
    });
    watch(loops, tasks, all(loops, |c| &c.revisions), |l, heard| {
        if let Some(plane) = &l.plane {
            plane.daemon_sets.hear_revisions(heard);
        }
    });
}

fn watch_services(loops: &Arc<Loops>, tasks: &mut Tasks) {
    fn both(loops: &Loops) -> Option<(&Arc<EndpointSlices>, &Arc<EndpointsWriter>)> {
        let plane = loops.plane.as_ref()?;
        plane.slices.as_ref().zip(plane.endpoints.as_ref())
    }
    watch(loops, tasks, all(loops, |c| &c.services), |l, heard| {
        if let Some((slices, endpoints)) = both(l) {
            slices.hear_services(heard);
            endpoints.hear_services(heard);
        }
    });
    watch(loops, tasks, all(loops, |c| &c.slices), |l, heard| {
        if let Some((slices, endpoints)) = both(l) {
            slices.hear_slices(heard);
            endpoints.hear_slices(heard);
        }
    });
    watch(loops, tasks, all(loops, |c| &c.endpoints), |l, heard| {
        if let Some((_, endpoints)) = both(l) {
            endpoints.hear_endpoints(heard);
        }
    });
}

fn watch_namespaces(loops: &Arc<Loops>, tasks: &mut Tasks) {
    fn accounts(loops: &Loops) -> Option<&Arc<Accounts>> {
        Some(&loops.plane.as_ref()?.accounts)
    }
    watch(loops, tasks, all(loops, |c| &c.namespaces), |l, heard| {
        if let Some(accounts) = accounts(l) {
            accounts.hear_namespaces(heard);
        }
    });
    let defaults = all(loops, |c| &c.accounts).named(DEFAULT);
    watch(loops, tasks, defaults, |l, heard| {
        if let Some(accounts) = accounts(l) {
            accounts.hear(heard);
        }
    });
    let maps = all(loops, |c| &c.config_maps).named(ROOT_CA);
    watch(loops, tasks, maps, |l, heard| {
        if let Some(accounts) = accounts(l) {
            accounts.hear(heard);
        }
    });
}
