//! Taking Seaway off a cluster: agents end, each node is cleaned by a Pod of its own, then the
//! objects go. The DaemonSet is kept until the nodes are clean, since it says how to clean them;
//! so a run that was cut off, or met a node that is away, is finished by another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::clean_up_pod::{self, LABEL};
use super::objects;
use super::report::{NodeReport, Report};
use crate::inspect::Format;
use crate::reach::UserReachArgs;

const DAEMON_SET: &str = "seaway-agent";
const AGENTS: &str = "app.kubernetes.io/name=seaway,app.kubernetes.io/component=agent";
/// No node has it: agents end, and no new ones come.
const NOWHERE: &str = "network.seaway.dev/uninstalled";
/// How often the API is asked how far things are.
const POLL: Duration = Duration::from_millis(250);
/// How long deleted objects may take to be gone.
const GONE_IN: Duration = Duration::from_secs(60);

/// Which cluster, and how patient to be.
#[derive(Args)]
pub(super) struct ClusterArgs {
    #[command(flatten)]
    reach: UserReachArgs,
    /// The namespace that Seaway is installed in.
    #[arg(short, long, env = "SEAWAY_NAMESPACE", default_value = "seaway-system")]
    namespace: String,
    /// How many seconds a node may take to end its agent and to be cleaned.
    #[arg(long, value_name = "SECONDS", default_value = "120")]
    node_timeout: u64,
    /// Delete everything even if some nodes could not be cleaned.
    #[arg(long)]
    keep_going: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &ClusterArgs, output: Format) -> anyhow::Result<std::process::ExitCode> {
    let access = args.reach.access()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let report = runtime
        .context("start the async runtime")?
        .block_on(async {
            let client = seaway_api::client(&access)?;
            let uninstall = Uninstall {
                client,
                args,
                report: Report {
                    dry_run: args.dry_run,
                    ..Report::default()
                },
            };
            uninstall.run().await
        })?;
    report.print(output)?;
    Ok(report.code())
}

struct Uninstall<'a> {
    client: Client,
    args: &'a ClusterArgs,
    report: Report,
}

impl Uninstall<'_> {
    async fn run(mut self) -> anyhow::Result<Report> {
        let sets: Api<DaemonSet> = Api::namespaced(self.client.clone(), &self.args.namespace);
        let set = sets
            .get_opt(DAEMON_SET)
            .await
            .context("read the agents' DaemonSet")?;
        let nodes = self.nodes().await?;
        if self.args.dry_run {
            return self.only_say(set.is_some(), nodes).await;
        }
        match set {
            Some(set) => {
                self.stop(&sets).await?;
                self.clean(&set, nodes).await?;
            }
            None => self.tell_unknown(nodes),
        }
        if self.report.dirty().next().is_some() && !self.args.keep_going {
            let why = "DaemonSet and rights stay for the nodes that are not clean: run this again when \
                       they are back, or with --keep-going to give them up";
            self.report.left.push(why.to_owned());
            return Ok(self.report);
        }
        self.clear_nodes().await?;
        self.delete_all().await?;
        Ok(self.report)
    }

    async fn only_say(mut self, has_set: bool, nodes: Vec<String>) -> anyhow::Result<Report> {
        match has_set {
            true => {
                for node in nodes {
                    let message = "its agent ends, and a Pod cleans it".to_owned();
                    self.report.nodes.push(NodeReport {
                        node,
                        clean: false,
                        message,
                    });
                }
            }
            false => self.tell_unknown(nodes),
        }
        let found = objects::find(&self.client).await?;
        self.report.deleted = found.iter().map(objects::Found::describe).collect();
        Ok(self.report)
    }

    /// Without the DaemonSet nobody knows how to clean; with no object left it was all done before.
    fn tell_unknown(&mut self, nodes: Vec<String>) {
        eprintln!("there is no DaemonSet {}/{DAEMON_SET}", self.args.namespace);
        for node in nodes {
            let message = "not looked at: without the DaemonSet nobody knows how".to_owned();
            self.report.nodes.push(NodeReport {
                node,
                clean: false,
                message,
            });
        }
    }

    /// The nodes that an agent can run on.
    async fn nodes(&self) -> anyhow::Result<Vec<String>> {
        let api: Api<Node> = Api::all(self.client.clone());
        let nodes = api
            .list(&ListParams::default())
            .await
            .context("list the nodes")?;
        let linux = |node: &Node| {
            let os = node.labels().get("kubernetes.io/os").map(String::as_str);
            os.is_none_or(|os| os == "linux")
        };
        Ok(nodes
            .items
            .iter()
            .filter(|node| linux(node))
            .map(ResourceExt::name_any)
            .collect())
    }

    /// Ends the controllers, which would work against us, and all agents.
    async fn stop(&mut self, sets: &Api<DaemonSet>) -> anyhow::Result<()> {
        for found in objects::find(&self.client).await? {
            if found.is_controller() {
                objects::delete(&self.client, &found).await?;
                self.report.deleted.push(found.describe());
            }
        }
        let selector = json!({"spec": {"template": {"spec": {"nodeSelector": {NOWHERE: "true"}}}}});
        let patch = Patch::Merge(selector);
        let patched = sets
            .patch(DAEMON_SET, &PatchParams::default(), &patch)
            .await;
        patched.context("end the agents").map(drop)
    }

    /// Cleans each node as soon as its agent has ended.
    async fn clean(&mut self, set: &DaemonSet, nodes: Vec<String>) -> anyhow::Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.args.namespace);
        let deadline = Instant::now() + Duration::from_secs(self.args.node_timeout);
        let mut waiting: BTreeSet<String> = nodes.into_iter().collect();
        let mut cleaning = BTreeSet::new();
        remove_earlier(&pods).await?;
        while !(waiting.is_empty() && cleaning.is_empty()) {
            let agents = agents(&pods).await?;
            for node in waiting.clone() {
                if !agents.contains(&node) {
                    let pod = clean_up_pod::of(set, &node)?;
                    let created = pods.create(&PostParams::default(), &pod).await;
                    created.with_context(|| format!("create the Pod that cleans {node}"))?;
                    eprintln!("{node}: being cleaned");
                    waiting.remove(&node);
                    cleaning.insert(node);
                }
            }
            let all = clean_up_pods(&pods).await?;
            for node in cleaning.clone() {
                if let Some(ended) = ended(all.get(&node)) {
                    cleaning.remove(&node);
                    self.tell(&node, ended);
                }
            }
            if Instant::now() >= deadline {
                for node in &waiting {
                    self.tell(node, Err("its agent's Pod did not end in time".to_owned()));
                }
                for node in &cleaning {
                    self.tell(node, Err(unfinished(all.get(node))));
                }
                return Ok(());
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    fn tell(&mut self, node: &str, ended: Result<(), String>) {
        let (clean, message) = match ended {
            Ok(()) => (true, String::new()),
            Err(problem) => (false, problem),
        };
        match clean {
            true => eprintln!("{node}: clean"),
            false => eprintln!("{node}: NOT CLEAN: {message}"),
        }
        let node = node.to_owned();
        self.report.nodes.push(NodeReport {
            node,
            clean,
            message,
        });
    }

    /// Takes what agents and controllers wrote on Nodes: annotations and the start-up taint.
    async fn clear_nodes(&self) -> anyhow::Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        for node in api
            .list(&ListParams::default())
            .await
            .context("list the nodes")?
        {
            if let Some(patch) = without_ours(&node) {
                let name = node.name_any();
                let patched = api
                    .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                    .await;
                patched.with_context(|| format!("clear Node {name}"))?;
            }
        }
        Ok(())
    }

    /// Deletes all objects and waits until they are gone.
    async fn delete_all(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + GONE_IN;
        let mut told = BTreeSet::new();
        loop {
            let found = objects::find(&self.client).await?;
            if found.is_empty() {
                return Ok(());
            }
            for object in &found {
                if told.insert(object.describe()) {
                    objects::delete(&self.client, object).await?;
                    self.report.deleted.push(object.describe());
                }
            }
            if Instant::now() >= deadline {
                let still = found
                    .iter()
                    .map(|object| format!("{}: deleted, and not gone yet", object.describe()));
                self.report.left.extend(still);
                return Ok(());
            }
            sleep(POLL).await;
        }
    }
}

/// Pods of a run that was cut off: they may have cleaned before an agent had ended.
async fn remove_earlier(pods: &Api<Pod>) -> anyhow::Result<()> {
    let now = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    loop {
        let all = clean_up_pods(pods).await?;
        if all.is_empty() {
            return Ok(());
        }
        for pod in all.values() {
            match pods.delete(&pod.name_any(), &now).await {
                Err(error) if !objects::is_unknown(&error) => {
                    return Err(error).context("remove the Pod of an earlier run");
                }
                _ => {}
            }
        }
        sleep(POLL).await;
    }
}

/// The nodes that still have an agent.
async fn agents(pods: &Api<Pod>) -> anyhow::Result<BTreeSet<String>> {
    let list = pods
        .list(&ListParams::default().labels(AGENTS))
        .await
        .context("list the agents")?;
    let node = |pod: Pod| pod.spec.and_then(|spec| spec.node_name);
    Ok(list.items.into_iter().filter_map(node).collect())
}

/// The clean-up Pods, by their nodes.
async fn clean_up_pods(pods: &Api<Pod>) -> anyhow::Result<BTreeMap<String, Pod>> {
    let list = pods.list(&ListParams::default().labels(LABEL)).await;
    let list = list.context("list the Pods that clean up")?;
    let by_node = |pod: Pod| Some((pod.spec.as_ref()?.node_name.clone()?, pod));
    Ok(list.items.into_iter().filter_map(by_node).collect())
}

/// How a clean-up ended, if it did.
fn ended(pod: Option<&Pod>) -> Option<Result<(), String>> {
    let Some(pod) = pod else {
        return Some(Err("the Pod that cleans it was deleted".to_owned()));
    };
    match pod.status.as_ref()?.phase.as_deref()? {
        "Succeeded" => Some(Ok(())),
        "Failed" => {
            Some(Err(said(pod).unwrap_or_else(|| {
                "the Pod that cleans it failed".to_owned()
            })))
        }
        _ => None,
    }
}

/// What a container said when it ended, or why it does not start.
fn said(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let container = status.container_statuses.iter().flatten().next();
    let state = container.and_then(|container| container.state.as_ref());
    let ended = state.and_then(|state| state.terminated.as_ref()?.message.clone());
    let waits = || {
        let waiting = state?.waiting.as_ref()?;
        Some(format!(
            "{}: {}",
            waiting.reason.as_deref()?,
            waiting.message.as_deref().unwrap_or_default()
        ))
    };
    let last_lines = |text: String| {
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        lines[lines.len().saturating_sub(3)..].join("; ")
    };
    ended
        .map(last_lines)
        .or_else(waits)
        .or_else(|| status.message.clone())
}

fn unfinished(pod: Option<&Pod>) -> String {
    let why = pod.and_then(said).map(|why| format!(" ({why})"));
    format!(
        "the Pod that cleans it did not end in time{}",
        why.unwrap_or_default()
    )
}

/// The patch that takes ours from a Node, if there is something.
fn without_ours(node: &Node) -> Option<serde_json::Value> {
    const OURS: &str = "network.seaway.dev/";
    let annotations = node
        .annotations()
        .keys()
        .filter(|key| key.starts_with(OURS));
    let annotations: BTreeMap<&String, ()> = annotations.map(|key| (key, ())).collect();
    let taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let kept: Vec<_> = taints
        .iter()
        .filter(|taint| !taint.key.starts_with(OURS))
        .collect();
    let mut patch = json!({});
    if !annotations.is_empty() {
        patch["metadata"]["annotations"] = json!(annotations);
    }
    if kept.len() < taints.len() {
        patch["spec"]["taints"] = json!(kept);
    }
    (patch != json!({})).then_some(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "x"}, "status": status})).expect("a Pod")
    }

    #[test]
    fn how_a_clean_up_ends() {
        assert_eq!(ended(Some(&pod(json!({"phase": "Running"})))), None);
        assert_eq!(
            ended(Some(&pod(json!({"phase": "Succeeded"})))),
            Some(Ok(()))
        );
        assert!(ended(None).is_some_and(|ended| ended.is_err()));
        let failed = json!({"phase": "Failed", "containerStatuses": [{
            "name": "uninstall", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 1, "message": "1\n2\n\n3\nseaway: it broke\n"}}}]});
        assert_eq!(
            ended(Some(&pod(failed))),
            Some(Err("2; 3; seaway: it broke".to_owned()))
        );
    }

    #[test]
    fn why_one_does_not_end_is_told() {
        let waits = json!({"phase": "Pending", "containerStatuses": [{
            "name": "uninstall", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]});
        let text = unfinished(Some(&pod(waits)));
        assert!(text.contains("ErrImagePull: no such image"), "{text}");
        assert!(unfinished(None).contains("in time"));
    }

    #[test]
    fn only_ours_is_taken_from_nodes() {
        let node = |value| serde_json::from_value::<Node>(value).expect("a Node");
        let bare = json!({"metadata": {"annotations": {"a/b": "c"}}, "spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}});
        assert_eq!(without_ours(&node(bare)), None);
        let ours = json!({"metadata": {"annotations": {"a/b": "c", "network.seaway.dev/transport": "auto"}},
            "spec": {"taints": [{"key": "x", "effect": "NoSchedule"},
                                {"key": "network.seaway.dev/agent-not-ready", "effect": "NoSchedule"}]}});
        let expected = json!({"metadata": {"annotations": {"network.seaway.dev/transport": null}},
            "spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}});
        assert_eq!(without_ours(&node(ours)), Some(expected));
    }
}
