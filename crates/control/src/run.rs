//! All loops together: who hears what, and who works.

use std::fmt::Debug;
use std::sync::Arc;

use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::accounts::{Accounts, DEFAULT};
use crate::cluster::{Cluster, Heard, KINDS, LEASES, ROOT_CA, SERVICE_KINDS};
use crate::config::ControlConfig;
use crate::deployments::Deployments;
use crate::endpoint_slices::EndpointSlices;
use crate::error::ControlError;
use crate::node_cidrs::NodeCidrs;
use crate::node_life::NodeLife;
use crate::orphans::Orphans;
use crate::replicasets::ReplicaSets;
use crate::scheduler::Scheduler;
use crate::view::View;
use crate::work::{Controller, work};

/// How many keys of Deployments and of ReplicaSets are worked on at once.
const WORKERS: usize = 4;
/// How many Services are worked on at once.
const SLICE_WORKERS: usize = 8;

type Tasks = JoinSet<&'static str>;

/// All controllers.
#[derive(Debug)]
struct Loops {
    cluster: Arc<Cluster>,
    scheduler: Arc<Scheduler>,
    cidrs: Arc<NodeCidrs>,
    life: Arc<NodeLife>,
    orphans: Arc<Orphans>,
    deployments: Arc<Deployments>,
    sets: Arc<ReplicaSets>,
    accounts: Arc<Accounts>,
    /// None where somebody else makes them.
    slices: Option<Arc<EndpointSlices>>,
}

/// Runs all loops, for as long as the future lives. An API that is away is waited for.
///
/// # Errors
///
/// If a loop stops, which is a defect.
pub async fn run(client: Client, config: ControlConfig) -> Result<(), ControlError> {
    let kinds = KINDS
        + if config.endpoint_slices {
            SERVICE_KINDS
        } else {
            0
        };
    let cluster = Arc::new(Cluster::new(client, kinds));
    let loops = Arc::new(Loops {
        scheduler: Arc::new(Scheduler::new(cluster.clone())),
        cidrs: Arc::new(NodeCidrs::new(cluster.clone(), config.cluster_cidrs)),
        life: Arc::new(NodeLife::new(
            cluster.clone(),
            config.node_grace,
            config.pod_stay,
        )),
        orphans: Arc::new(Orphans::new(cluster.clone(), config.node_quarantine)),
        deployments: Arc::new(Deployments::new(cluster.clone())),
        sets: Arc::new(ReplicaSets::new(cluster.clone())),
        accounts: Arc::new(Accounts::new(cluster.clone(), config.root_ca)),
        slices: config
            .endpoint_slices
            .then(|| Arc::new(EndpointSlices::new(cluster.clone()))),
        cluster,
    });
    let mut tasks = JoinSet::new();
    watch_workloads(&loops, &mut tasks);
    watch_nodes(&loops, &mut tasks);
    watch_namespaces(&loops, &mut tasks);
    if let Some(slices) = &loops.slices {
        watch_services(&loops, &mut tasks);
        start(&loops, slices, SLICE_WORKERS, &mut tasks);
    }
    start(&loops, &loops.scheduler, 1, &mut tasks);
    start(&loops, &loops.cidrs, 1, &mut tasks);
    start(&loops, &loops.life, 1, &mut tasks);
    start(&loops, &loops.orphans, 1, &mut tasks);
    start(&loops, &loops.accounts, 1, &mut tasks);
    start(&loops, &loops.deployments, WORKERS, &mut tasks);
    start(&loops, &loops.sets, WORKERS, &mut tasks);
    // No task ends but by a defect.
    let ended = tasks.join_next().await;
    let name = ended.and_then(Result::ok).unwrap_or("panicking");
    Err(ControlError::Stopped(name))
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
}

/// All objects of a kind.
fn all<K: Resource<DynamicType = ()>>(loops: &Loops, view: fn(&Cluster) -> &View<K>) -> Source<K> {
    Source {
        api: loops.cluster.everywhere(),
        config: Config::default(),
        view,
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
    let loops = loops.clone();
    tasks.spawn(async move {
        let Source { api, config, view } = source;
        let cluster = &loops.cluster;
        let tell = |heard: &_| tell(&loops, heard);
        cluster.follow(api, config, view(cluster), tell).await;
        K::URL_PATH_SEGMENT
    });
}

fn watch_workloads(loops: &Arc<Loops>, tasks: &mut Tasks) {
    watch(loops, tasks, all(loops, |c| &c.pods), |l, heard| {
        // First: traffic waits for it.
        if let Some(slices) = &l.slices {
            slices.hear_pods(heard);
        }
        l.sets.hear_pods(heard);
        l.scheduler.hear_pods(heard);
        l.life.hear_pods(heard);
        l.orphans.hear_pods(heard);
        l.deployments.hear_pods(heard);
    });
    watch(loops, tasks, all(loops, |c| &c.sets), |l, heard| {
        l.sets.hear_sets(heard);
        l.deployments.hear_sets(heard);
    });
    watch(loops, tasks, all(loops, |c| &c.deployments), |l, heard| {
        l.deployments.hear_deployments(heard);
    });
}

fn watch_nodes(loops: &Arc<Loops>, tasks: &mut Tasks) {
    watch(loops, tasks, all(loops, |c| &c.nodes), |l, heard| {
        l.cidrs.hear_nodes(heard);
        l.life.hear_nodes(heard);
        l.orphans.hear_nodes(heard);
        l.scheduler.hear_nodes(heard);
        if let Some(slices) = &l.slices {
            slices.hear_nodes(heard);
        }
    });
    let leases = Source {
        api: loops.cluster.namespaced(LEASES),
        ..all(loops, |c| &c.leases)
    };
    watch(loops, tasks, leases, |l, heard| l.life.hear_leases(heard));
}

fn watch_services(loops: &Arc<Loops>, tasks: &mut Tasks) {
    watch(loops, tasks, all(loops, |c| &c.services), |l, heard| {
        if let Some(slices) = &l.slices {
            slices.hear_services(heard);
        }
    });
    watch(loops, tasks, all(loops, |c| &c.slices), |l, heard| {
        if let Some(slices) = &l.slices {
            slices.hear_slices(heard);
        }
    });
}

fn watch_namespaces(loops: &Arc<Loops>, tasks: &mut Tasks) {
    watch(loops, tasks, all(loops, |c| &c.namespaces), |l, heard| {
        l.accounts.hear_namespaces(heard);
    });
    let accounts = all(loops, |c| &c.accounts).named(DEFAULT);
    watch(loops, tasks, accounts, |l, heard| l.accounts.hear(heard));
    let maps = all(loops, |c| &c.config_maps).named(ROOT_CA);
    watch(loops, tasks, maps, |l, heard| l.accounts.hear(heard));
}
