//! Whole clusters, their table and their JSON.

use seaway_api::heartbeat::{AgentSummary, PoolSummary, RowsSummary};
use seaway_api::overview::{
    AgentOverview, ControllerOverview, NodeOverview, Overview, OwnPod, WaitingPod,
};
use serde_json::{Value, json};

use super::show;
use super::view::{AgentState, ClusterStatus};

fn node(name: &str) -> NodeOverview {
    NodeOverview {
        name: name.to_owned(),
        ready: true,
        linux: true,
        ..NodeOverview::default()
    }
}

fn summary() -> AgentSummary {
    let pool = |cidr: &str, usable, free| PoolSummary {
        cidr: cidr.to_owned(),
        usable,
        free,
    };
    AgentSummary {
        format: 1,
        version: "1.0.0".to_owned(),
        ready: true,
        pods: 2,
        pod_cidrs: vec![
            pool("10.244.1.0/24", 253, 251),
            pool("fd00:10:244:1::/64", u64::MAX - 1, u64::MAX - 3),
        ],
        rows: RowsSummary {
            planned: 50,
            drifted: 0,
            repaired: 3,
        },
        transport: "auto".to_owned(),
        wiring: "routed".to_owned(),
        mtu: 1450,
        backend: "nftables".to_owned(),
        api_server: "https://192.0.2.1:6443/".to_owned(),
        ..AgentSummary::default()
    }
}

fn agent(node: &str, summary: AgentSummary) -> AgentOverview {
    AgentOverview {
        node: node.to_owned(),
        summary: Ok(summary),
        renewed: Some(4),
        good_for: 40,
    }
}

/// Two nodes, and all is well.
fn cluster() -> Overview {
    Overview {
        nodes: vec![node("a"), node("b")],
        agents: vec![agent("a", summary()), agent("b", summary())],
        controller: Some(ControllerOverview {
            holder: Some("seaway-controller-x_1".to_owned()),
            version: None,
            renewed: Some(1),
            good_for: 15,
        }),
        own_pods: vec![OwnPod {
            name: "seaway-controller-x".to_owned(),
            component: "controller".to_owned(),
            version: Some("1.0.0".to_owned()),
            state: "Running".to_owned(),
            ..OwnPod::default()
        }],
        waiting: Ok(Vec::new()),
        policies: Ok(0),
        services: Ok(3),
        slices: Ok(4),
    }
}

fn status(overview: &Overview) -> ClusterStatus {
    ClusterStatus::of(overview, "seaway-system")
}

/// The only problem of a cluster, its nodes, and what to do.
fn only_problem(overview: &Overview) -> (String, Vec<String>, String) {
    let status = status(overview);
    assert!(!status.healthy);
    let [problem] = status.problems.as_slice() else {
        panic!("{:?}", status.problems);
    };
    let nodes = problem.nodes.iter().cloned().collect();
    (problem.text.clone(), nodes, problem.next.clone())
}

#[test]
fn a_healthy_cluster_is_a_headline_and_a_table() {
    let text = show::plain(&status(&cluster()));
    let wanted = "\
Seaway: all is well
Agents: 2 of 2 ready
Controller: seaway-controller-x_1 leads, version 1.0.0, heard of 1 s ago
Version: 1.0.0
Services: 3  4 EndpointSlices
Pods: 4 attached
NetworkPolicies: none
 NODE  AGENT  VERSION  PODS  FREE          NETWORK      MTU   ROWS    HEARD    PROBLEMS
 a     ready  1.0.0    2     251/253 many  auto/routed  1450  50/0/3  4 s ago  -
 b     ready  1.0.0    2     251/253 many  auto/routed  1450  50/0/3  4 s ago  -";
    assert_eq!(text, wanted);
}

#[test]
fn the_json_is_stable() {
    let json = serde_json::to_value(status(&cluster())).expect("JSON");
    let keys = |value: &Value| -> Vec<String> {
        let fields = value.as_object().expect("an object");
        fields.keys().cloned().collect()
    };
    assert_eq!(json["format"], 1);
    let top = [
        "agents",
        "controller",
        "endpointSlices",
        "format",
        "healthy",
        "namespace",
        "nodes",
        "notes",
        "podsWithoutAddress",
        "policiesNotEnforced",
        "problems",
        "services",
        "versions",
        "warnings",
    ];
    assert_eq!(keys(&json), top);
    let of_node = [
        "agent",
        "apiServer",
        "backend",
        "drops",
        "heartbeatSecondsAgo",
        "mtu",
        "node",
        "nodeReady",
        "podCidrs",
        "pods",
        "problems",
        "reason",
        "rows",
        "started",
        "transport",
        "uplink",
        "version",
        "wiring",
    ];
    assert_eq!(keys(&json["nodes"][0]), of_node);
    assert_eq!(json["nodes"][0]["agent"], "ready");
    assert_eq!(
        json["nodes"][0]["rows"],
        json!({"planned": 50, "drifted": 0, "repaired": 3})
    );
    let agents = json!({"wanted": 2, "ready": 2, "notReady": 0, "silent": 0, "missing": 0});
    assert_eq!(json["agents"], agents);
    assert_eq!(json["versions"], json!({"1.0.0": 2}));
}

#[test]
fn a_silent_agent_and_a_missing_one_are_told_apart() {
    let mut overview = cluster();
    overview.agents[1].renewed = Some(41);
    let (text, nodes, next) = only_problem(&overview);
    assert!(text.contains("silent") && nodes == ["b"], "{text}");
    assert!(next.contains("describe daemonset seaway-agent"), "{next}");
    assert_eq!(status(&overview).nodes[1].agent, AgentState::Silent);
    overview.agents.pop();
    overview.own_pods.push(OwnPod {
        name: "seaway-agent-7".to_owned(),
        node: "b".to_owned(),
        component: "agent".to_owned(),
        state: "CrashLoopBackOff".to_owned(),
        ..OwnPod::default()
    });
    let (text, nodes, next) = only_problem(&overview);
    assert!(text.contains("no agent") && nodes == ["b"], "{text}");
    assert_eq!(
        next,
        "its Pod is CrashLoopBackOff: kubectl -n seaway-system logs seaway-agent-7"
    );
}

#[test]
fn what_a_silent_agent_said_is_not_believed() {
    let mut overview = cluster();
    let problems = vec!["old".to_owned()];
    overview.agents[1] = agent(
        "b",
        AgentSummary {
            problems,
            ..summary()
        },
    );
    assert_eq!(only_problem(&overview).0, "old");
    overview.agents[1].renewed = Some(100);
    assert!(only_problem(&overview).0.contains("silent"));
}

#[test]
fn what_many_nodes_say_is_said_once() {
    let mut overview = cluster();
    for name in ["a", "b"] {
        let summary = AgentSummary {
            ready: false,
            reason: Some("no pod CIDR".to_owned()),
            ..summary()
        };
        overview.agents[usize::from(name == "b")] = agent(name, summary);
    }
    let (text, nodes, _) = only_problem(&overview);
    assert_eq!(text, "no Pod can be attached: no pod CIDR");
    assert_eq!(nodes, ["a", "b"]);
    assert_eq!(status(&overview).nodes[0].problems, 1);
}

#[test]
fn policies_that_nobody_enforces_are_loud() {
    let mut overview = cluster();
    overview.policies = Ok(2);
    let text = show::plain(&status(&overview));
    assert!(text.contains("NetworkPolicies: 2 NOT ENFORCED"), "{text}");
    let (text, ..) = only_problem(&overview);
    assert!(
        text.starts_with("2 NetworkPolicies are NOT ENFORCED"),
        "{text}"
    );
}

#[test]
fn mixed_versions_are_marked_and_no_problem() {
    let mut overview = cluster();
    let version = "1.1.0".to_owned();
    overview.agents[1] = agent(
        "b",
        AgentSummary {
            version,
            ..summary()
        },
    );
    let status = status(&overview);
    assert!(status.healthy);
    let text = show::plain(&status);
    assert!(
        text.contains("Version: MIXED: 1.0.0 (1), 1.1.0 (1)"),
        "{text}"
    );
    assert!(text.contains("agents have different versions"), "{text}");
}

#[test]
fn each_thing_that_is_wrong_is_a_problem() {
    type Damage = fn(&mut Overview);
    let cases: [(&str, Damage); 11] = [
        ("the node is not Ready", |o| o.nodes[1].ready = false),
        ("NetworkUnavailable", |o| {
            o.nodes[1].network_unavailable = true;
        }),
        ("agent-not-ready is still there", |o| {
            o.nodes[1].awaits_agent = true;
        }),
        ("cannot be read", |o| {
            o.agents[1].summary = Err("bad".to_owned());
        }),
        ("2 rows are not in force", |o| {
            let mut drifted = summary();
            drifted.rows.drifted = 2;
            o.agents[1] = agent("b", drifted);
        }),
        ("no address is left in 10.244.1.0/24", |o| {
            let mut full = summary();
            full.pod_cidrs[0].free = 0;
            o.agents[1] = agent("b", full);
        }),
        ("no controller leads", |o| {
            o.controller = Some(ControllerOverview {
                holder: None,
                renewed: Some(2),
                good_for: 15,
                version: None,
            });
        }),
        ("the controller that leads is silent", |o| {
            let controller = o.controller.as_mut().expect("one");
            controller.renewed = Some(16);
        }),
        ("no controller has ever led", |o| o.controller = None),
        (
            "1 of its Pods have had no address for more than 30 s: d/p",
            |o| {
                let (name, node) = ("d/p".to_owned(), "b".to_owned());
                o.waiting = Ok(vec![WaitingPod {
                    name,
                    node,
                    seconds: 31,
                }]);
            },
        ),
        ("the cluster has no nodes", |o| {
            o.nodes.clear();
            o.agents.clear();
        }),
    ];
    for (words, damage) in cases {
        let mut overview = cluster();
        damage(&mut overview);
        let (text, nodes, next) = only_problem(&overview);
        assert!(text.contains(words), "{words}: {text}");
        assert!(nodes.is_empty() || nodes == ["b"], "{words}: {nodes:?}");
        assert!(!next.is_empty(), "{words}: nothing to do");
    }
}

#[test]
fn what_is_no_problem_is_told_all_the_same() {
    let mut overview = cluster();
    overview.nodes.push(NodeOverview {
        linux: false,
        ..node("w")
    });
    overview.controller = None;
    overview.own_pods.clear();
    overview.services = Err("list Services: the server answers 403".to_owned());
    overview.agents.push(agent("gone", summary()));
    let said = AgentSummary {
        warnings: vec!["careful".to_owned()],
        notes: vec!["10-flannel.conflist is there".to_owned()],
        clock_ahead_seconds: Some(-7),
        ..summary()
    };
    overview.agents[0] = agent("a", said);
    let status = status(&overview);
    assert!(status.healthy, "{:?}", status.problems);
    let text = show::plain(&status);
    for words in [
        "Agents: 2 of 2 ready",
        "Controller: none has led",
        "Services: ?  4 EndpointSlices",
        "not wanted",
        "a: careful",
        "a: 10-flannel.conflist is there",
        "a: the node's clock is 7 s behind the API server's",
        "not everything is known: list Services: the server answers 403",
        "agent gone has no Node",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[test]
fn a_cluster_without_seaway_is_told_how_to_get_it() {
    let overview = Overview {
        agents: Vec::new(),
        own_pods: Vec::new(),
        controller: None,
        ..cluster()
    };
    let status = status(&overview);
    assert!(
        status.problems[0]
            .text
            .contains("nothing of Seaway in namespace seaway-system")
    );
    assert!(status.problems[0].next.starts_with("seaway install"));
    let progress = status.progress();
    assert!(
        progress.starts_with("0 of 2 agents are ready; there is nothing"),
        "{progress}"
    );
}
