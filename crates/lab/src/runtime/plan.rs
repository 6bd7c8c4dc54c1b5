//! What the runtime has to know of a Pod's specification to live its life: containers in order,
//! policies and probes with their defaults filled in. Plain data; handlers, environment and volumes
//! stay in the Pod itself.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Probe};

/// What kubelet gives a Pod that names no grace period.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// When a container that has ended starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that goes on beside all that come after it.
    Sidecar,
    Main,
}

/// A Pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) generation: Option<i64>,
    pub(crate) restart: Restart,
    pub(crate) grace: Duration,
    pub(crate) active_deadline: Option<Duration>,
    /// The Pod's readiness gates, and what others have said about each.
    pub(crate) gates: Vec<Gate>,
    /// Init containers in order, then the others.
    pub(crate) members: Vec<MemberPlan>,
}

/// A condition of somebody else that a Pod needs to be ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    pub(crate) condition: String,
    pub(crate) status: Option<String>,
}

/// A container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MemberPlan {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) role: Role,
    pub(crate) startup: Option<ProbePlan>,
    pub(crate) readiness: Option<ProbePlan>,
    pub(crate) liveness: Option<ProbePlan>,
    pub(crate) post_start: bool,
    pub(crate) pre_stop: bool,
}

/// When to probe and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbePlan {
    pub(crate) initial_delay: Duration,
    pub(crate) period: Duration,
    pub(crate) failures: u32,
    pub(crate) successes: u32,
    /// Replaces the Pod's grace period when this probe ends the container.
    pub(crate) grace: Option<Duration>,
}

impl Plan {
    /// Reads a Pod as the API gives it.
    pub(crate) fn of(pod: &Pod) -> Plan {
        let default = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&default);
        let inits = spec.init_containers.iter().flatten();
        let members = inits
            .map(|container| MemberPlan::of(container, init_role(container)))
            .chain(
                spec.containers
                    .iter()
                    .map(|c| MemberPlan::of(c, Role::Main)),
            )
            .collect();
        let meta = &pod.metadata;
        Plan {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation,
            restart: restart_policy(spec.restart_policy.as_deref()),
            grace: seconds(spec.termination_grace_period_seconds).unwrap_or(DEFAULT_GRACE),
            active_deadline: seconds(spec.active_deadline_seconds),
            gates: gates(pod, spec),
            members,
        }
    }

    /// The Pod as kubelet writes it in messages.
    pub(crate) fn full_name(&self) -> String {
        format!("{}_{}({})", self.name, self.namespace, self.uid)
    }
}

fn gates(pod: &Pod, spec: &PodSpec) -> Vec<Gate> {
    let said = |condition: &str| {
        let conditions = pod.status.as_ref()?.conditions.as_ref()?;
        let found = conditions.iter().find(|c| c.type_ == condition)?;
        Some(found.status.clone())
    };
    let gate = |condition: &String| Gate {
        condition: condition.clone(),
        status: said(condition),
    };
    let gates = spec.readiness_gates.iter().flatten();
    gates.map(|g| gate(&g.condition_type)).collect()
}

fn init_role(container: &Container) -> Role {
    match container.restart_policy.as_deref() {
        Some("Always") => Role::Sidecar,
        _ => Role::Init,
    }
}

fn restart_policy(text: Option<&str>) -> Restart {
    match text {
        Some("Never") => Restart::Never,
        Some("OnFailure") => Restart::OnFailure,
        _ => Restart::Always,
    }
}

impl MemberPlan {
    fn of(container: &Container, role: Role) -> MemberPlan {
        let hooks = container.lifecycle.as_ref();
        let probe = |probe: &Option<Probe>| match role {
            Role::Init => None,
            Role::Sidecar | Role::Main => probe.as_ref().map(ProbePlan::of),
        };
        MemberPlan {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            role,
            startup: probe(&container.startup_probe),
            readiness: probe(&container.readiness_probe),
            liveness: probe(&container.liveness_probe),
            post_start: hooks.is_some_and(|hooks| hooks.post_start.is_some()),
            pre_stop: hooks.is_some_and(|hooks| hooks.pre_stop.is_some()),
        }
    }
}

impl ProbePlan {
    fn of(probe: &Probe) -> ProbePlan {
        let positive = |value: Option<i32>, default: u32| {
            let given = value.and_then(|v| u32::try_from(v).ok());
            given.filter(|v| *v > 0).unwrap_or(default)
        };
        ProbePlan {
            initial_delay: Duration::from_secs(positive(probe.initial_delay_seconds, 0).into()),
            period: Duration::from_secs(positive(probe.period_seconds, 10).into()),
            failures: positive(probe.failure_threshold, 3),
            successes: positive(probe.success_threshold, 1),
            grace: seconds(probe.termination_grace_period_seconds),
        }
    }
}

/// How long one try of a probe may take.
pub(crate) fn probe_timeout(probe: &Probe) -> Duration {
    let given = probe.timeout_seconds.and_then(|v| u64::try_from(v).ok());
    Duration::from_secs(given.filter(|v| *v > 0).unwrap_or(1))
}

/// A duration that the API gives in seconds.
pub(crate) fn seconds(value: Option<i64>) -> Option<Duration> {
    let value = u64::try_from(value?).unwrap_or(0);
    // More than a century is as good as for ever, and can be added to any time.
    Some(Duration::from_secs(value.min(4_000_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: serde_json::Value) -> Pod {
        serde_json::from_value(json).expect("a Pod")
    }

    #[test]
    fn defaults_are_those_of_kubernetes() {
        let plan = Plan::of(&pod(serde_json::json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u"},
            "spec": {"containers": [{"name": "c", "livenessProbe": {"tcpSocket": {"port": 1}}}]}
        })));
        assert_eq!((plan.restart, plan.grace), (Restart::Always, DEFAULT_GRACE));
        let liveness = plan.members[0].liveness.expect("a probe");
        assert_eq!((liveness.failures, liveness.successes), (3, 1));
        assert_eq!(liveness.period, Duration::from_secs(10));
        assert_eq!(plan.full_name(), "a_n(u)");
    }

    #[test]
    fn init_containers_come_first_and_may_be_sidecars() {
        let plan = Plan::of(&pod(serde_json::json!({
            "metadata": {}, "spec": {
                "restartPolicy": "Never",
                "initContainers": [{"name": "i", "readinessProbe": {}},
                                   {"name": "s", "restartPolicy": "Always", "readinessProbe": {}}],
                "containers": [{"name": "m"}]}
        })));
        let roles: Vec<_> = plan.members.iter().map(|m| m.role).collect();
        assert_eq!(roles, [Role::Init, Role::Sidecar, Role::Main]);
        assert!(plan.members[0].readiness.is_none() && plan.members[1].readiness.is_some());
        assert_eq!(plan.restart, Restart::Never);
    }

    #[test]
    fn gates_tell_what_others_have_said() {
        let plan = Plan::of(&pod(serde_json::json!({
            "metadata": {}, "spec": {"containers": [], "readinessGates":
                [{"conditionType": "example.com/a"}, {"conditionType": "example.com/b"}]},
            "status": {"conditions": [{"type": "example.com/b", "status": "True"}]}
        })));
        let said: Vec<_> = plan.gates.iter().map(|g| g.status.as_deref()).collect();
        assert_eq!(said, [None, Some("True")]);
    }
}
