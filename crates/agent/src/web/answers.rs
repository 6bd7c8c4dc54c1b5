//! What is answered, in the words that kube-proxy uses, and a few of our own beside them.
//!
//! - `/livez` fails when what the cluster tells does not come into force for long (S24).
//! - `/readyz` fails while no Pod can be attached; it is what a rollout of agents waits for.
//! - `/healthz` fails when `/livez` does, and while the node is about to be deleted.
//! - A health check of a Service succeeds while the node has endpoints of it and does not fail
//!   `/livez` (S23).

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::metrics;
use crate::shared::Shared;

const JSON: &str = "application/json";

/// What a listener answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// `/healthz`, `/livez` and `/readyz`.
    Health,
    /// `/metrics`.
    Metrics,
    /// Whatever is asked at the health-check port of a Service.
    Check(u16),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    /// How many endpoints are behind a health check.
    pub(super) weight: Option<usize>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn plain(status: u16, body: &str) -> Answer {
        Answer {
            status,
            kind: "text/plain; charset=utf-8",
            weight: None,
            body: body.to_owned(),
        }
    }

    fn json(good: bool, body: &Value) -> Answer {
        Answer {
            status: if good { 200 } else { 503 },
            kind: JSON,
            weight: None,
            body: body.to_string(),
        }
    }
}

/// Answers a request for a path of a page. May take a while: it may read the kernel.
pub(super) fn answer(shared: &Shared, page: Page, path: &str) -> Answer {
    match (page, path) {
        (Page::Check(port), _) => check(shared, port),
        (Page::Health, "/healthz") => {
            let answer = Health::of(shared).eligible_answer();
            shared.asked.healthz.note(answer.status);
            answer
        }
        (Page::Health, "/livez") => {
            let answer = Health::of(shared).alive_answer();
            shared.asked.livez.note(answer.status);
            answer
        }
        (Page::Metrics, "/metrics") => Answer {
            status: 200,
            kind: metrics::CONTENT_TYPE,
            weight: None,
            body: metrics::text(shared),
        },
        (Page::Health, "/readyz") => Health::of(shared).ready_answer(),
        (Page::Health, _) => Answer::plain(404, "there are /healthz, /livez and /readyz\n"),
        (Page::Metrics, _) => Answer::plain(404, "there is /metrics\n"),
    }
}

/// The node's health, as data.
#[derive(Clone, Debug)]
struct Health {
    stale: bool,
    leaving: bool,
    updated: Option<SystemTime>,
    /// Why the network of Pods is not ready, if so.
    unready: Option<String>,
    /// What is wrong with the source.
    source_problem: Option<String>,
    /// How many rows are not in force.
    failures: usize,
}

impl Health {
    fn of(shared: &Shared) -> Health {
        let account = shared.programming.account(Instant::now());
        let state = shared.lock();
        Health {
            stale: account.stale,
            leaving: state.planner.node().is_some_and(|node| node.leaving),
            updated: account.updated,
            unready: state.unready(),
            source_problem: state
                .source_problem
                .as_ref()
                .map(|problem| problem.text.clone()),
            failures: state.failures.len(),
        }
    }

    fn body(&self) -> Value {
        json!({
            "lastUpdated": time(self.updated.unwrap_or(UNIX_EPOCH)),
            "currentTime": time(SystemTime::now()),
            "network": {
                "ready": self.unready.is_none(),
                "reason": self.unready,
                "programmingStale": self.stale,
                "rowsNotInForce": self.failures,
                "sourceProblem": self.source_problem,
            },
        })
    }

    fn eligible_answer(&self) -> Answer {
        let mut body = self.body();
        body["nodeEligible"] = json!(!self.leaving);
        Answer::json(!self.stale && !self.leaving, &body)
    }

    fn alive_answer(&self) -> Answer {
        Answer::json(!self.stale, &self.body())
    }

    fn ready_answer(&self) -> Answer {
        Answer::json(self.unready.is_none(), &self.body())
    }
}

fn check(shared: &Shared, port: u16) -> Answer {
    let healthy = !shared.programming.account(Instant::now()).stale;
    let checks = shared.checks.borrow();
    let Some((name, local)) = checks.at(port) else {
        return Answer::plain(404, "no Service is checked here any more\n");
    };
    let body = json!({
        "service": {"namespace": name.namespace(), "name": name.name()},
        "localEndpoints": local,
        "serviceProxyHealthy": healthy,
    });
    Answer {
        weight: Some(local),
        ..Answer::json(healthy && local > 0, &body)
    }
}

/// RFC 3339, in UTC.
fn time(at: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(at).unwrap_or_default();
    time.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health {
            stale: false,
            leaving: false,
            updated: Some(UNIX_EPOCH),
            unready: None,
            source_problem: None,
            failures: 0,
        }
    }

    #[test]
    fn s24_healthz_fails_while_the_node_leaves_and_livez_does_not() {
        for (stale, leaving, healthz, livez) in [
            (false, false, 200, 200),
            (false, true, 503, 200),
            (true, false, 503, 503),
        ] {
            let health = Health {
                stale,
                leaving,
                ..health()
            };
            let eligible = health.eligible_answer();
            assert_eq!(
                (eligible.status, health.alive_answer().status),
                (healthz, livez)
            );
            let body: Value = serde_json::from_str(&eligible.body).expect("JSON");
            assert_eq!(body["nodeEligible"], json!(!leaving));
            assert_eq!(body["lastUpdated"], "1970-01-01T00:00:00Z");
            assert_eq!(body["network"]["ready"], true);
            assert_eq!(health.ready_answer().status, 200);
        }
    }

    #[test]
    fn s24_health_says_what_is_wrong_with_the_network() {
        let health = Health {
            unready: Some("no pod CIDR".to_owned()),
            ..health()
        };
        let body: Value = serde_json::from_str(&health.eligible_answer().body).expect("JSON");
        assert_eq!(body["network"]["reason"], "no pod CIDR");
        let codes = [health.ready_answer(), health.alive_answer()].map(|answer| answer.status);
        assert_eq!(codes, [503, 200]);
    }
}
