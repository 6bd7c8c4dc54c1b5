//! ClusterRoles with an aggregation rule get the rules of those whose labels it selects.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::warn;

use super::GROUP;
use crate::handlers::{Edit, modify};
use crate::kinds::{self, read, selector};
use crate::server::Server;
use crate::status::ApiError;
use crate::store::{At, Object, Objects};

/// More rules than this are not gathered in one role.
const MAX_RULES: usize = 10_000;

/// Keeps the rules of aggregating ClusterRoles up, for ever.
pub(crate) async fn aggregate(server: Arc<Server>) {
    let Some(kind) = kinds::find(GROUP, "v1", "clusterroles") else {
        return;
    };
    let mut changes = server.store.subscribe(kind);
    loop {
        changes.borrow_and_update();
        if let Err(error) = gather(&server) {
            warn!(%error, "could not aggregate ClusterRoles; the next change tries again");
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Writes each aggregating ClusterRole whose rules are not those of the roles that it selects.
fn gather(server: &Server) -> Result<(), ApiError> {
    let Some(kind) = kinds::find(GROUP, "v1", "clusterroles") else {
        return Ok(());
    };
    let Ok(snapshot) = server.store.snapshot(kind, None, At::Latest) else {
        return Ok(());
    };
    let all = snapshot.objects();
    for object in all.iter() {
        let role = object.value();
        if !read::has(&role, "aggregationRule") {
            continue;
        }
        let rules = selected(&role, object, all);
        if role["rules"] == rules || (rules == json!([]) && role["rules"].is_null()) {
            continue;
        }
        let when = (Timestamp::now(), false);
        modify(server, kind, &object.key, Edit::Direct, when, |old| {
            let mut next = old.clone();
            next["rules"] = rules.clone();
            Ok(next)
        })?;
    }
    Ok(())
}

/// The rules of the roles that an aggregating role selects, each once.
fn selected(role: &Value, own: &Object, all: Objects<'_>) -> Value {
    let (mut rules, mut seen) = (Vec::new(), HashSet::new());
    for chosen in read::list(&role["aggregationRule"], "clusterRoleSelectors") {
        for object in all.iter().filter(|object| object.key != own.key) {
            let labels = object.labels.iter();
            let labels = labels.map(|(key, value)| (key.to_string(), Value::from(&**value)));
            if !selector::matches(chosen, &Value::Object(labels.collect())) {
                continue;
            }
            for rule in read::list(&object.value(), "rules") {
                if rules.len() < MAX_RULES && seen.insert(rule.to_string()) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    rules.into()
}
