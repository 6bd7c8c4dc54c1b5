//! A check of any cluster: whoever makes it reaches the API alone. Everything is made in a Namespace of
//! its own, with a server and a client on each node and in Pods on it, and deleted with that.

mod facts;
mod hands;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::ResourceExt;
use seaway_api::Access;
use seaway_model::Family;

use self::hands::ClusterHands;
use super::hands::Hands;
use super::interrupt::clear_up_when_asked;
use super::plan::Pairs;
use super::report::{ClusterFacts, Origin, Report, Subject};
use super::services::Room;
use super::view::{NodeView, PodView, View};
use super::{Checked, check};
use crate::cluster::{Cluster, MANAGED_BY, ReadyPod, Recipe};
use crate::error::LabError;

/// What the Namespaces of checks begin with.
const PREFIX: &str = "seaway-check-";
/// How many Pods each node gets, as those of a lab do.
const PODS: usize = 2;
/// What Pods with ports of nodes, and those in their networks, are allowed by.
const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";

/// How to check a cluster.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// How to reach its API.
    pub access: Access,
    /// The image that Pods run.
    pub image: String,
    /// The nodes that take part; all that are ready, if there is none.
    pub nodes: Vec<String>,
    /// Whether each is tried with each other one.
    pub all_pairs: bool,
    /// The families that are tried.
    pub families: Vec<Family>,
    /// Whether SCTP is tried.
    pub sctp: bool,
    /// How long Pods may take to be ready.
    pub limit: Duration,
    /// Whether what is made stays.
    pub keep: bool,
}

/// A check that somebody follows.
pub struct Checker<'a> {
    options: &'a CheckOptions,
    /// Where the API is.
    server: String,
    /// Told what is done, a few words each.
    tell: &'a (dyn Fn(&str) + Sync),
}

/// The Namespace of a check, deleted at the end whatever happens.
struct Made<'a> {
    cluster: &'a Cluster,
    limit: Duration,
    keep: bool,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        let name = self.cluster.home();
        if !self.keep
            && let Err(e) = self.cluster.delete_namespace(name, self.limit)
        {
            tracing::warn!("delete the Namespace {name} of the check: {e}");
        }
    }
}

impl<'a> Checker<'a> {
    /// A check that tells what it does.
    ///
    /// # Errors
    ///
    /// If it is not known how to reach the API.
    pub fn new(
        options: &'a CheckOptions,
        tell: &'a (dyn Fn(&str) + Sync),
    ) -> Result<Checker<'a>, LabError> {
        let server = seaway_api::server_url(&options.access);
        Ok(Checker {
            options,
            server: server.map_err(|e| LabError::Api(e.to_string()))?,
            tell,
        })
    }

    /// Deletes what earlier checks have left, and gives the names of their Namespaces.
    ///
    /// # Errors
    ///
    /// If the API refuses, or does not have them gone in time.
    pub fn clean(&self) -> Result<Vec<String>, LabError> {
        let cluster = self.connect()?;
        let left = cluster.namespaces_with(MANAGED_BY)?;
        let names: Vec<String> = left.iter().map(ResourceExt::name_any).collect();
        for name in &names {
            cluster.doom_namespace(name)?;
        }
        for name in &names {
            (self.tell)(&format!("delete the Namespace {name}"));
            cluster.delete_namespace(name, self.options.limit)?;
        }
        Ok(names)
    }

    /// Checks the cluster. A signal that ends this process meanwhile clears up first. To be called
    /// before any thread is started.
    ///
    /// # Errors
    ///
    /// If nothing can be said of the network, since what a check takes cannot be made.
    pub fn run(&self) -> Result<Report, LabError> {
        let namespace = format!("{PREFIX}{}", random());
        let begun = self.clear_up_when_asked(&namespace)?;
        let cluster = self.connect()?;
        self.tell_of_leftovers(&cluster)?;
        let (nodes, notes) = facts::choose(cluster.nodes()?, &self.options.nodes)?;
        let cluster = cluster.at_home_in(
            &namespace,
            Recipe::Cluster {
                image: self.options.image.clone(),
                nodes: nodes.iter().map(ResourceExt::name_any).collect(),
                sctp: self.options.sctp,
            },
        );
        (self.tell)(&format!("make the Namespace {namespace}"));
        let made = {
            // Whoever asks for the end meanwhile waits until there is something to delete.
            let _begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
            cluster.create_namespace(&namespace, &labels())?;
            Made {
                cluster: &cluster,
                limit: self.options.limit,
                keep: self.options.keep,
            }
        };
        let mut report = self.check(&cluster, &nodes)?;
        report.notes.extend(notes);
        if self.options.keep {
            let kept =
                format!("kept: the Namespace {namespace}; `seaway check --clean` deletes it");
            report.notes.push(kept);
        } else {
            (self.tell)(&format!("delete the Namespace {namespace}"));
        }
        drop(made);
        Ok(report)
    }

    fn connect(&self) -> Result<Cluster, LabError> {
        Cluster::connect(&self.options.access)
    }

    /// From now on, a signal clears up. What is given is locked while the Namespace is made.
    fn clear_up_when_asked(&self, namespace: &str) -> Result<Arc<Mutex<()>>, LabError> {
        let begun = Arc::new(Mutex::new(()));
        let (theirs, namespace) = (begun.clone(), namespace.to_owned());
        let (access, keep) = (self.options.access.clone(), self.options.keep);
        clear_up_when_asked(move || {
            let begun = theirs.lock().unwrap_or_else(PoisonError::into_inner);
            let cleared = match keep {
                true => Ok(()),
                false => Cluster::connect(&access).and_then(|c| c.doom_namespace(&namespace)),
            };
            // Nothing is to be made any more: this process ends.
            std::mem::forget(begun);
            cleared
        })?;
        Ok(begun)
    }

    fn tell_of_leftovers(&self, cluster: &Cluster) -> Result<(), LabError> {
        let left = cluster.namespaces_with(MANAGED_BY)?;
        let is_left = |namespace: &&Namespace| namespace.metadata.deletion_timestamp.is_none();
        let left: Vec<String> = left
            .iter()
            .filter(is_left)
            .map(ResourceExt::name_any)
            .collect();
        if !left.is_empty() {
            tracing::warn!(
                "other checks have made {}, and may still be under way; if not, `seaway check --clean` deletes that",
                left.join(", ")
            );
        }
        Ok(())
    }

    fn check(&self, cluster: &Cluster, nodes: &[Node]) -> Result<Report, LabError> {
        let ports = facts::node_ports();
        let on_nodes: BTreeMap<String, String> = (1..)
            .zip(nodes)
            .map(|(n, node)| (node.name_any(), format!("node-{n}")))
            .collect();
        for (node, pod) in &on_nodes {
            cluster.create_at_home(cluster.recipe.on_node(node, pod, ports))?;
        }
        let mut of_node: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (n, node) in (1..).zip(nodes) {
            for p in 1..=PODS {
                let pod = format!("pod-{n}-{p}");
                cluster.create_pod(&node.name_any(), &pod, None)?;
                of_node.entry(node.name_any()).or_default().push(pod);
            }
        }
        let all = on_nodes.values().chain(of_node.values().flatten());
        let (ready, notes) = self.await_pods(cluster, &all.cloned().collect())?;
        let limit = self.options.limit;
        let families = self.options.families.clone();
        let hands = ClusterHands::new(cluster, on_nodes, families, limit);
        let view = view(&hands, nodes, &ready, ports[1])?;
        let mut report = self.report(cluster, of_node, &view);
        report.notes.extend(notes);
        if view.nodes.len() == 1 {
            let why = "not tried: paths between nodes, since one node alone takes part";
            report.notes.push(why.to_owned());
        }
        let checked = Checked {
            hands: &hands,
            cluster,
            room: Room::Given(cluster.home().to_owned()),
        };
        let pairs = match self.options.all_pairs {
            true => Pairs::All,
            false => Pairs::Ring,
        };
        (self.tell)("try every path");
        if let Some(node) = view.nodes.first().cloned() {
            check(&checked, &node, view, pairs, &mut report)?;
        }
        if !self.options.sctp {
            let why = "not tried: SCTP, which takes CAP_NET_RAW";
            report.notes.push(why.to_owned());
        }
        Ok(report)
    }

    /// Waits until the Pods are ready. Those that run and are not are left to be found out about:
    /// that their node does not reach them is what a check is for.
    fn await_pods(
        &self,
        cluster: &Cluster,
        names: &BTreeSet<String>,
    ) -> Result<(Vec<ReadyPod>, Vec<String>), LabError> {
        let mut ready = Vec::new();
        let total = names.len();
        let waited = cluster.await_pods(names, self.options.limit, |pod| {
            let done = ready.len() + 1;
            (self.tell)(&format!("Pods ready: {done} of {total}, {}", pod.name));
            ready.push(pod);
            Ok(())
        });
        let Err(late) = waited else {
            return Ok((ready, Vec::new()));
        };
        if !matches!(late, LabError::Late { .. }) {
            return Err(late);
        }
        let running = cluster.running()?;
        if running.len() < total {
            return Err(late);
        }
        let is_not = |(pod, why): &(ReadyPod, Option<String>)| {
            let why = why.as_ref()?;
            let ReadyPod { name, node, .. } = pod;
            Some(format!("not ready: {name} on {node}: {why}"))
        };
        let notes = running.iter().filter_map(is_not).collect();
        Ok((running.into_iter().map(|(pod, _)| pod).collect(), notes))
    }

    fn report(
        &self,
        cluster: &Cluster,
        nodes: BTreeMap<String, Vec<String>>,
        view: &View,
    ) -> Report {
        let pods = view.nodes.iter().flat_map(|node| &node.pods);
        let addresses = pods.flat_map(|pod| &pod.addresses);
        let families: BTreeSet<Family> = addresses.map(|a| Family::of(*a)).collect();
        let facts = ClusterFacts {
            server: self.server.clone(),
            namespace: cluster.home().to_owned(),
            nodes,
            families: families.into_iter().collect(),
        };
        let origin = Origin::Cluster {
            namespace: facts.namespace.clone(),
        };
        Report::new(origin, Subject::Cluster(facts), view.pod_mtu())
    }
}

/// What there is to check.
fn view(
    hands: &ClusterHands<'_>,
    nodes: &[Node],
    ready: &[ReadyPod],
    echo: u16,
) -> Result<View, LabError> {
    let is_of_a_node = |pod: &&ReadyPod| hands.nodes.values().any(|name| *name == pod.name);
    let node_view = |node: &Node| -> Result<NodeView, LabError> {
        let name = node.name_any();
        let own = ready.iter().filter(|pod| pod.node == name);
        let mut pods: Vec<&ReadyPod> = own.filter(|pod| !is_of_a_node(pod)).collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        let pods = pods.into_iter().map(|pod| hands.look_at("", pod));
        Ok(NodeView {
            echo,
            addresses: facts::addresses(node, &hands.families),
            stand_ins: facts::stand_ins(node),
            // It may be: who is told of the node's address then is not taken for wrong.
            bridged: true,
            pods: pods.collect::<Result<Vec<PodView>, _>>()?,
            name,
        })
    };
    Ok(View {
        nodes: nodes.iter().map(node_view).collect::<Result<_, _>>()?,
        outside: facts::nowhere(&hands.families),
        reaches_outside: false,
        exposed: None,
        staged: None,
    })
}

/// What tells the Namespace of a check from others, and lets it have what it takes.
fn labels() -> BTreeMap<String, String> {
    let (key, value) = MANAGED_BY;
    let labels = [(key, value), (POD_SECURITY, "privileged")];
    labels
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// A few letters that no other check has by chance.
fn random() -> String {
    use std::hash::{BuildHasher, RandomState};
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let hash = RandomState::new().hash_one(std::process::id());
    let letter = |at: u32| char::from(LETTERS[usize::from((hash >> (5 * at)) as u8 & 31)]);
    (0..6).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_checks_differ_and_are_names() {
        let all: BTreeSet<String> = (0..100).map(|_| random()).collect();
        assert_eq!(all.len(), 100);
        let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        assert!(
            all.iter()
                .all(|name| name.len() == 6 && name.chars().all(is_fine))
        );
    }
}
