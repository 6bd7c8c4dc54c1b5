//! What is wrong with a cluster, and what to do next. What several nodes say in the same words is said
//! once.

use std::collections::{BTreeMap, BTreeSet};

use seaway_api::heartbeat::AgentSummary;
use seaway_api::overview::{AgentOverview, NodeOverview, Overview, OwnPod};

use super::view::{AgentState, Complaint, NodeStatus};

/// Everything that there is to say.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Complaint>,
    pub(super) warnings: Vec<Complaint>,
    pub(super) notes: Vec<Complaint>,
}

/// Puts together who says the same, in the order in which it was said first.
#[derive(Default)]
struct Said {
    places: BTreeMap<(String, String), usize>,
    all: Vec<Complaint>,
}

impl Said {
    fn say(&mut self, node: Option<&str>, text: impl Into<String>, next: impl Into<String>) {
        let (text, next) = (text.into(), next.into());
        let key = (text.clone(), next.clone());
        let place = *self.places.entry(key).or_insert(self.all.len());
        if place == self.all.len() {
            self.all.push(Complaint {
                text,
                nodes: BTreeSet::new(),
                next,
            });
        }
        self.all[place].nodes.extend(node.map(str::to_owned));
    }
}

struct Judge<'a> {
    overview: &'a Overview,
    namespace: &'a str,
    problems: Said,
    warnings: Said,
    notes: Said,
}

/// Judges everything.
pub(super) fn judge(overview: &Overview, rows: &[NodeStatus], namespace: &str) -> Findings {
    let mut judge = Judge {
        overview,
        namespace,
        problems: Said::default(),
        warnings: Said::default(),
        notes: Said::default(),
    };
    judge.policies();
    judge.whole(rows);
    for (node, row) in overview.nodes.iter().zip(rows) {
        judge.node(node, row);
    }
    judge.controller();
    judge.pods();
    judge.strays();
    judge.unknown();
    Findings {
        problems: judge.problems.all,
        warnings: judge.warnings.all,
        notes: judge.notes.all,
    }
}

impl Judge<'_> {
    /// A wall that people believe in and that is not there comes first.
    fn policies(&mut self) {
        if let Ok(count @ 1..) = self.overview.policies {
            let (be, policies) = match count {
                1 => ("is", "NetworkPolicy"),
                _ => ("are", "NetworkPolicies"),
            };
            self.problems.say(
                None,
                format!("{count} {policies} {be} NOT ENFORCED: every Pod can be reached as if there were none"),
                "do not rely on them until Seaway enforces them; kubectl get networkpolicies -A",
            );
        }
    }

    fn whole(&mut self, rows: &[NodeStatus]) {
        if rows.is_empty() {
            let next = "add a node: kubeadm join, or whatever makes nodes of this cluster";
            self.problems.say(None, "the cluster has no nodes", next);
        } else if self.overview.agents.is_empty() && self.overview.own_pods.is_empty() {
            let text = format!("there is nothing of Seaway in namespace {}", self.namespace);
            let next =
                "seaway install | kubectl apply -f -; or name another namespace by --namespace";
            self.problems.say(None, text, next);
        }
        let versions: BTreeSet<&str> = rows
            .iter()
            .filter_map(|row| row.version.as_deref())
            .collect();
        if versions.len() > 1 {
            let versions: Vec<&str> = versions.into_iter().collect();
            let text = format!("agents have different versions: {}", versions.join(", "));
            let next = format!(
                "kubectl -n {} rollout status daemonset/seaway-agent",
                self.namespace
            );
            self.warnings.say(None, text, next);
        }
    }

    fn agent(&self, node: &str) -> Option<&AgentOverview> {
        let mut all = self.overview.agents.iter();
        all.find(|agent| agent.node == node)
    }

    fn pod_on(&self, node: &str) -> Option<&OwnPod> {
        let mut pods = self.overview.own_pods.iter();
        pods.find(|pod| pod.component == "agent" && pod.node == node)
    }

    /// How to find out why an agent does not do what it should.
    fn look_at_agent(&self, node: &str) -> String {
        let namespace = self.namespace;
        match self.pod_on(node) {
            Some(pod) => format!(
                "its Pod is {}: kubectl -n {namespace} logs {}",
                pod.state, pod.name
            ),
            None => format!(
                "no Pod of the agent is on the node: kubectl -n {namespace} describe daemonset \
                 seaway-agent; as a plain process: its log on the node"
            ),
        }
    }

    fn node(&mut self, node: &NodeOverview, row: &NodeStatus) {
        let name = node.name.as_str();
        if !node.ready && row.agent != AgentState::NotWanted {
            let next = "kubectl describe node NODE says why";
            self.problems.say(Some(name), "the node is not Ready", next);
        }
        let look = self.look_at_agent(name);
        match row.agent {
            AgentState::NotWanted | AgentState::Ready => {}
            AgentState::Missing => self.problems.say(Some(name), "the node has no agent", look),
            AgentState::Silent => {
                let text = "the agent is silent: what is in force goes on, but nothing new comes";
                self.problems.say(Some(name), text, look);
            }
            AgentState::Unreadable => {
                let text = "what the agent says of itself cannot be read";
                let next = "use a `seaway` of the agent's version";
                self.problems.say(Some(name), text, next);
            }
            AgentState::NotReady => {
                let why = row.reason.as_deref().unwrap_or("it does not say why");
                let text = format!("no Pod can be attached: {why}");
                self.problems.say(Some(name), text, look);
            }
        }
        if row.agent == AgentState::Ready {
            self.promises(node);
        }
        let summary = self
            .agent(name)
            .and_then(|agent| agent.summary.as_ref().ok());
        if let Some(summary) = summary.cloned().filter(|_| row.agent != AgentState::Silent) {
            self.summary(name, &summary);
        }
    }

    /// What follows for a Node from an agent that is ready.
    fn promises(&mut self, node: &NodeOverview) {
        let name = Some(node.name.as_str());
        if node.network_unavailable {
            let text = "the Node says NetworkUnavailable, though its agent is ready";
            let next = "the agent's log says why it cannot patch nodes/status";
            self.problems.say(name, text, next);
        }
        if node.awaits_agent {
            let text = "taint network.seaway.dev/agent-not-ready is still there, though the agent is ready";
            let next = format!(
                "the controller takes it away: kubectl -n {} get pods -l app.kubernetes.io/component=controller",
                self.namespace
            );
            self.problems.say(name, text, next);
        }
    }

    /// What an agent says itself.
    fn summary(&mut self, node: &str, summary: &AgentSummary) {
        let node = Some(node);
        const NEXT: &str = "`seaway status` on the node says more";
        for problem in &summary.problems {
            self.problems.say(node, problem, NEXT);
        }
        for warning in &summary.warnings {
            self.warnings.say(node, warning, "");
        }
        for note in &summary.notes {
            self.notes.say(node, note, "");
        }
        if summary.rows.drifted > 0 {
            let text = format!("{} rows are not in force as planned", summary.rows.drifted);
            let next = "`seaway tables --drift` on the node shows them";
            self.problems.say(node, text, next);
        }
        for pool in summary.pod_cidrs.iter().filter(|pool| pool.free == 0) {
            let text = format!("no address is left in {}", pool.cidr);
            let next = "delete Pods of the node, or give nodes larger pod CIDRs";
            self.problems.say(node, text, next);
        }
        if let Some(seconds) = summary.clock_ahead_seconds {
            let text = match seconds {
                0.. => format!("the node's clock is {seconds} s ahead of the API server's"),
                _ => format!("the node's clock is {} s behind the API server's", -seconds),
            };
            self.warnings
                .say(node, text, "set the clock: is NTP running?");
        }
    }

    fn controller(&mut self) {
        let namespace = self.namespace;
        let next =
            format!("kubectl -n {namespace} get pods -l app.kubernetes.io/component=controller");
        let has_pods = |pod: &OwnPod| pod.component == "controller";
        match &self.overview.controller {
            None if self.overview.own_pods.iter().any(has_pods) => {
                self.problems.say(None, "no controller has ever led", next);
            }
            None => {}
            Some(lease) if lease.holder.is_none() => {
                self.problems.say(None, "no controller leads", next);
            }
            Some(lease) if lease.renewed.is_none_or(|ago| ago > lease.good_for) => {
                self.problems
                    .say(None, "the controller that leads is silent", next);
            }
            Some(_) => {}
        }
    }

    fn pods(&mut self) {
        const SHOWN: usize = 3;
        let Ok(waiting) = &self.overview.waiting else {
            return;
        };
        let mut by_node: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for pod in waiting {
            by_node.entry(&pod.node).or_default().push(&pod.name);
        }
        for (node, pods) in by_node {
            let more = match pods.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let shown: Vec<&str> = pods.iter().copied().take(SHOWN).collect();
            let text = format!(
                "{} of its Pods have had no address for more than 30 s: {}{more}",
                pods.len(),
                shown.join(", ")
            );
            let next = "kubectl describe pod says what the runtime waits for";
            self.problems.say(Some(node), text, next);
        }
    }

    /// Leases whose Node is gone go with it, in the end.
    fn strays(&mut self) {
        let nodes: BTreeSet<&str> = self
            .overview
            .nodes
            .iter()
            .map(|n| n.name.as_str())
            .collect();
        for agent in &self.overview.agents {
            if !nodes.contains(agent.node.as_str()) {
                let text = format!("agent {} has no Node", agent.node);
                self.notes.say(None, text, "");
            }
        }
    }

    fn unknown(&mut self) {
        let overview = self.overview;
        let counts = [&overview.policies, &overview.services, &overview.slices];
        let errors = counts.into_iter().filter_map(|count| count.as_ref().err());
        for error in errors.chain(overview.waiting.as_ref().err()) {
            let text = format!("not everything is known: {error}");
            self.warnings.say(None, text, "give yourself list on it");
        }
    }
}
