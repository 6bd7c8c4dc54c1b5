//! The whole cluster as the API tells it, for a person who asks how Seaway is: Nodes, what agents say
//! in their Leases, Pods that wait, and how much there is of what else matters.
//!
//! Ages are seconds before the server's own time, which agents go by as well when they write: clocks
//! of nodes and of whoever asks do not count.

mod read;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::heartbeat::AgentSummary;
use crate::{describe, server_time};

/// How many objects are asked for at once.
const PAGE: u32 = 500;
/// The Lease of the controller that leads.
pub const CONTROLLER_LEASE: &str = "seaway-controller";
/// The annotation of that Lease with the version of whoever holds it.
pub const VERSION_ANNOTATION: &str = "network.seaway.dev/version";

/// Everything at one moment.
#[derive(Clone, Debug)]
pub struct Overview {
    /// All Nodes, by name.
    pub nodes: Vec<NodeOverview>,
    /// All agents that have a Lease, by node.
    pub agents: Vec<AgentOverview>,
    /// The Lease of the controller that leads.
    pub controller: Option<ControllerOverview>,
    /// Seaway's own Pods.
    pub own_pods: Vec<OwnPod>,
    /// Pods that have been bound to a node for a while and have no address; or why that is not known.
    pub waiting: Result<Vec<WaitingPod>, String>,
    /// How many NetworkPolicies there are, or why that is not known.
    pub policies: Result<u64, String>,
    /// How many Services.
    pub services: Result<u64, String>,
    /// How many EndpointSlices.
    pub slices: Result<u64, String>,
}

/// A Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeOverview {
    /// Its name.
    pub name: String,
    /// Whether its kubelet says that it is ready.
    pub ready: bool,
    /// Whether an agent can be there.
    pub linux: bool,
    /// Whether the Node says that its network is not there.
    pub network_unavailable: bool,
    /// Whether it keeps Pods away until the controller has seen its agent.
    pub awaits_agent: bool,
}

/// An agent's Lease.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentOverview {
    /// Its node.
    pub node: String,
    /// What it says, or why that cannot be read.
    pub summary: Result<AgentSummary, String>,
    /// How many seconds ago it was renewed.
    pub renewed: Option<u64>,
    /// For how many seconds it is good.
    pub good_for: u64,
}

/// The controller's Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControllerOverview {
    /// Who leads; nobody when it was given back.
    pub holder: Option<String>,
    /// Its version, if it says.
    pub version: Option<String>,
    /// How many seconds ago it was renewed.
    pub renewed: Option<u64>,
    /// For how many seconds it is good.
    pub good_for: u64,
}

/// A Pod of Seaway's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPod {
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub node: String,
    /// `agent` or `controller`.
    pub component: String,
    /// What its image is tagged with.
    pub version: Option<String>,
    /// How it is, in one word, such as `Running` or `CrashLoopBackOff`.
    pub state: String,
}

/// A Pod without an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingPod {
    /// Namespace and name.
    pub name: String,
    /// Its node.
    pub node: String,
    /// How many seconds ago it was bound.
    pub seconds: u64,
}

/// Reads everything. Seaway's own objects are in `namespace`.
///
/// # Errors
///
/// There is no answer, or Nodes or Leases may not be read, without which there is nothing to tell. In
/// words that name what was read.
pub async fn overview(client: &Client, namespace: &str) -> Result<Overview, String> {
    let failed =
        |what: &'static str| move |error: kube::Error| format!("{what}: {}", describe(&error));
    let now = server_time(client)
        .await
        .map_err(failed("ask the server for its version"))?;
    let everything = ListParams::default;
    let nodes: Vec<Node> = all(Api::all(client.clone()), everything())
        .await
        .map_err(failed("list nodes"))?;
    let leases: Vec<Lease> = all(Api::namespaced(client.clone(), namespace), everything())
        .await
        .map_err(|error| format!("list leases in namespace {namespace}: {}", describe(&error)))?;
    // Without its time, the last sign of life has to do.
    let now = now.or_else(|| leases.iter().filter_map(read::renewed).max());
    let now = now.unwrap_or_else(Timestamp::now);
    let own = everything().labels("app.kubernetes.io/name=seaway");
    let own: Vec<Pod> = all(Api::namespaced(client.clone(), namespace), own)
        .await
        .unwrap_or_default(); // only advice depends on them
    let pending = everything().fields("status.phase=Pending");
    let pending = all(Api::<Pod>::all(client.clone()), pending).await;
    let mut overview = Overview {
        nodes: nodes.iter().map(read::node).collect(),
        agents: leases
            .iter()
            .filter_map(|lease| read::agent(lease, now))
            .collect(),
        controller: leases.iter().find_map(|lease| read::controller(lease, now)),
        own_pods: own.iter().map(read::own_pod).collect(),
        waiting: pending
            .map(|pods| {
                pods.iter()
                    .filter_map(|pod| read::waiting(pod, now))
                    .collect()
            })
            .map_err(failed("list Pods")),
        policies: count(Api::<NetworkPolicy>::all(client.clone()))
            .await
            .map_err(failed("list NetworkPolicies")),
        services: count(Api::<k8s_openapi::api::core::v1::Service>::all(
            client.clone(),
        ))
        .await
        .map_err(failed("list Services")),
        slices: count(Api::<EndpointSlice>::all(client.clone()))
            .await
            .map_err(failed("list EndpointSlices")),
    };
    overview.nodes.sort_by(|a, b| a.name.cmp(&b.name));
    overview.agents.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(overview)
}

/// All objects, page by page. A list that grew old half-way is begun anew, once.
async fn all<K>(api: Api<K>, params: ListParams) -> Result<Vec<K>, kube::Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    match pages(&api, &params).await {
        Err(kube::Error::Api(status)) if status.code == 410 => pages(&api, &params).await,
        other => other,
    }
}

async fn pages<K>(api: &Api<K>, params: &ListParams) -> Result<Vec<K>, kube::Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut items = Vec::new();
    let mut params = params.clone().limit(PAGE);
    loop {
        let mut page = api.list(&params).await?;
        items.append(&mut page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(items),
        }
    }
}

/// How many objects there are, without having them all sent where the server counts.
async fn count<K>(api: Api<K>) -> Result<u64, kube::Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let first = api.list(&ListParams::default().limit(1)).await?;
    let more = first
        .metadata
        .continue_
        .is_some_and(|token| !token.is_empty());
    let seen = first.items.len() as u64;
    match first.metadata.remaining_item_count {
        Some(remaining) => Ok(seen + u64::try_from(remaining).unwrap_or_default()),
        None if more => Ok(all(api, ListParams::default()).await?.len() as u64),
        None => Ok(seen),
    }
}
