//! The one word that says how a Pod is, and the counts beside it.
//!
//! Rules, each overriding the one before:
//! 1. the phase, or the status' own reason, or `SchedulingGated`;
//! 2. `Init:…`: the first init container that has neither ended well nor (as a sidecar) started;
//! 3. if initialised: the reason of the first container that waits or has ended;
//!    `Completed` beside a running container is `Running` or `NotReady`;
//! 4. being deleted: `Terminating`, or `Unknown` if the node is lost.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::kinds::read;

/// How a Pod is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Summary {
    /// The word.
    pub(super) reason: String,
    /// How many containers are ready.
    pub(super) ready: usize,
    /// How many containers there are that stay.
    pub(super) total: usize,
    /// How often containers were restarted.
    pub(super) restarts: i64,
    /// When the last restart was.
    pub(super) last_restart: Option<Timestamp>,
}

/// Restarts, and when the last was.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count = self
            .count
            .saturating_add(read::int(status, "restartCount").unwrap_or_default());
        let ended = read::text(&status["lastState"]["terminated"], "finishedAt")
            .parse()
            .ok();
        self.last = self.last.max(ended);
    }
}

impl Summary {
    /// The summary of a Pod.
    pub(super) fn of(pod: &Value) -> Self {
        let (spec, status) = (&pod["spec"], &pod["status"]);
        let sidecars = read::list(spec, "initContainers")
            .iter()
            .filter(|container| is_sidecar(container));
        let mut summary = Self {
            reason: first_reason(status),
            ready: 0,
            total: read::list(spec, "containers").len() + sidecars.count(),
            restarts: 0,
            last_restart: None,
        };
        let (all, of_sidecars, initializing) = summary.init(spec, status);
        let restarts = if !initializing || is_true(status, "Initialized") {
            summary.main(status, of_sidecars)
        } else {
            all
        };
        (summary.restarts, summary.last_restart) = (restarts.count, restarts.last);
        if read::has(&pod["metadata"], "deletionTimestamp") {
            if read::text(status, "reason") == "NodeLost" {
                summary.reason = "Unknown".to_owned();
            } else if !matches!(read::text(status, "phase"), "Succeeded" | "Failed") {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    /// Rule 2. Returns the restarts of all init containers and of sidecars, and whether one is not done.
    fn init(&mut self, spec: &Value, status: &Value) -> (Restarts, Restarts, bool) {
        let containers = read::list(spec, "initContainers");
        let sidecars: BTreeSet<&str> = containers
            .iter()
            .filter(|container| is_sidecar(container))
            .map(|container| read::text(container, "name"))
            .collect();
        let (mut all, mut of_sidecars) = (Restarts::default(), Restarts::default());
        for (index, status) in read::list(status, "initContainerStatuses")
            .iter()
            .enumerate()
        {
            let sidecar = sidecars.contains(read::text(status, "name"));
            all.add(status);
            if sidecar {
                of_sidecars.add(status);
            }
            let (ended, waits) = (&status["state"]["terminated"], &status["state"]["waiting"]);
            let waits = read::text(waits, "reason");
            if !ended.is_null() && read::int(ended, "exitCode").unwrap_or_default() == 0 {
                continue;
            }
            if sidecar && read::flag(status, "started") {
                self.ready += usize::from(read::flag(status, "ready"));
                continue;
            }
            self.reason = if !ended.is_null() {
                format!("Init:{}", ended_reason(ended))
            } else if !waits.is_empty() && waits != "PodInitializing" {
                format!("Init:{waits}")
            } else {
                format!("Init:{index}/{}", containers.len())
            };
            return (all, of_sidecars, true);
        }
        (all, of_sidecars, false)
    }

    /// Rule 3. Returns the restarts of what stays.
    fn main(&mut self, status: &Value, mut restarts: Restarts) -> Restarts {
        let mut running = false;
        for container in read::list(status, "containerStatuses").iter().rev() {
            restarts.add(container);
            let state = &container["state"];
            let waits = read::text(&state["waiting"], "reason");
            if !waits.is_empty() {
                self.reason = waits.to_owned();
            } else if !state["terminated"].is_null() {
                self.reason = ended_reason(&state["terminated"]);
            } else if read::flag(container, "ready") && !state["running"].is_null() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            self.reason = if is_true(status, "Ready") {
                "Running"
            } else {
                "NotReady"
            }
            .to_owned();
        }
        restarts
    }
}

fn is_sidecar(container: &Value) -> bool {
    read::text(container, "restartPolicy") == "Always"
}

fn is_true(status: &Value, condition: &str) -> bool {
    read::list(status, "conditions")
        .iter()
        .any(|entry| entry["type"] == condition && entry["status"] == "True")
}

fn first_reason(status: &Value) -> String {
    let gated = read::list(status, "conditions")
        .iter()
        .any(|entry| entry["type"] == "PodScheduled" && entry["reason"] == "SchedulingGated");
    if gated {
        return "SchedulingGated".to_owned();
    }
    match read::text(status, "reason") {
        "" => read::text(status, "phase").to_owned(),
        reason => reason.to_owned(),
    }
}

fn ended_reason(ended: &Value) -> String {
    let reason = read::text(ended, "reason");
    let signal = read::int(ended, "signal").unwrap_or_default();
    match (reason, signal) {
        ("", 0) => format!(
            "ExitCode:{}",
            read::int(ended, "exitCode").unwrap_or_default()
        ),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(init: &Value, main: &Value, expected: (&str, usize, i64)) {
        let specs = |statuses: &Value| -> Value {
            statuses
                .as_array()
                .unwrap()
                .iter()
                .map(|status| json!({"name": status["name"], "restartPolicy": status["policy"]}))
                .collect()
        };
        let pod = json!({
            "spec": {"initContainers": specs(init), "containers": specs(main)},
            "status": {"phase": "Pending", "initContainerStatuses": init, "containerStatuses": main},
        });
        let summary = Summary::of(&pod);
        assert_eq!(
            (summary.reason.as_str(), summary.ready, summary.restarts),
            expected,
            "{init} {main}"
        );
    }

    #[test]
    fn init_containers_come_first() {
        let done =
            json!({"name": "a", "restartCount": 2, "state": {"terminated": {"exitCode": 0}}});
        let with = |state: Value| json!([done, {"name": "b", "restartCount": 1, "state": state}]);
        let main = json!([{"name": "m", "state": {"waiting": {"reason": "PodInitializing"}}}]);
        check(&with(json!({"running": {}})), &main, ("Init:1/2", 0, 3));
        check(
            &with(json!({"waiting": {"reason": "PodInitializing"}})),
            &main,
            ("Init:1/2", 0, 3),
        );
        check(
            &with(json!({"waiting": {"reason": "CrashLoopBackOff"}})),
            &main,
            ("Init:CrashLoopBackOff", 0, 3),
        );
        check(
            &with(json!({"terminated": {"exitCode": 1, "reason": "Error"}})),
            &main,
            ("Init:Error", 0, 3),
        );
        check(
            &with(json!({"terminated": {"exitCode": 7}})),
            &main,
            ("Init:ExitCode:7", 0, 3),
        );
        check(
            &with(json!({"terminated": {"exitCode": 137, "signal": 9}})),
            &main,
            ("Init:Signal:9", 0, 3),
        );
        check(&json!([done]), &main, ("PodInitializing", 0, 0));
    }

    #[test]
    fn a_sidecar_counts_once_it_has_started() {
        let sidecar = json!([{"name": "s", "policy": "Always", "started": true, "ready": true, "restartCount": 1,
            "state": {"running": {}}}]);
        let main =
            json!([{"name": "m", "ready": true, "restartCount": 1, "state": {"running": {}}}]);
        check(&sidecar, &main, ("Pending", 2, 2));
    }

    #[test]
    fn containers_say_why_they_do_not_run() {
        let none = json!([]);
        let one = |state: Value| json!([{"name": "m", "restartCount": 3, "state": state}]);
        check(
            &none,
            &one(json!({"waiting": {"reason": "CrashLoopBackOff"}})),
            ("CrashLoopBackOff", 0, 3),
        );
        check(
            &none,
            &one(json!({"waiting": {"reason": "ErrImagePull"}})),
            ("ErrImagePull", 0, 3),
        );
        check(
            &none,
            &one(json!({"terminated": {"reason": "Completed"}})),
            ("Completed", 0, 3),
        );
        check(
            &none,
            &one(json!({"terminated": {"exitCode": 2}})),
            ("ExitCode:2", 0, 3),
        );
        let two = json!([{"name": "a", "state": {"terminated": {"reason": "Completed"}}},
            {"name": "b", "ready": true, "state": {"running": {}}}]);
        check(&none, &two, ("NotReady", 1, 0));
    }

    #[test]
    fn a_pod_that_goes_says_so() {
        let pod = |status: Value| json!({"metadata": {"deletionTimestamp": "2026-11-27T14:00:00Z"}, "status": status});
        let reason = |status: Value| Summary::of(&pod(status)).reason;
        assert_eq!(reason(json!({"phase": "Running"})), "Terminating");
        assert_eq!(reason(json!({"phase": "Succeeded"})), "Succeeded");
        assert_eq!(
            reason(json!({"phase": "Running", "reason": "NodeLost"})),
            "Unknown"
        );
    }

    #[test]
    fn the_status_has_a_reason_of_its_own() {
        let evicted = json!({"status": {"phase": "Failed", "reason": "Evicted"}});
        assert_eq!(Summary::of(&evicted).reason, "Evicted");
        let gated = json!({"status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}});
        assert_eq!(Summary::of(&gated).reason, "SchedulingGated");
    }
}
