//! What every namespace has: the ServiceAccount `default`, and the cluster's CA if it is known.
//!
//! Tokens are no part of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::cluster::{Cluster, Heard, ROOT_CA};
use crate::error::Fault;
use crate::meta::{self, Key};
use crate::queue::Queue;
use crate::view::Change;
use crate::work::Controller;

/// The name of the account that Pods get when they name none.
pub(crate) const DEFAULT: &str = "default";
/// The key of the CA in its ConfigMap.
const CA_KEY: &str = "ca.crt";

/// What a namespace lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lacks {
    pub(crate) account: bool,
    pub(crate) ca: bool,
}

/// Decides what a namespace lacks.
pub(crate) fn lacks(
    namespace: &Namespace,
    account: Option<&ServiceAccount>,
    map: Option<&ConfigMap>,
    ca: Option<&str>,
) -> Lacks {
    let phase = namespace
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    if meta::is_terminating(&namespace.metadata) || phase == Some("Terminating") {
        return Lacks::default();
    }
    let has = map
        .and_then(|map| map.data.as_ref())
        .and_then(|data| data.get(CA_KEY));
    Lacks {
        account: account.is_none(),
        ca: ca.is_some_and(|ca| has.map(String::as_str) != Some(ca)),
    }
}

/// The controller of what namespaces have.
#[derive(Debug)]
pub(crate) struct Accounts {
    cluster: Arc<Cluster>,
    queue: Queue<String>,
    ca: Option<String>,
}

impl Accounts {
    pub(crate) fn new(cluster: Arc<Cluster>, ca: Option<String>) -> Self {
        Self {
            cluster,
            queue: Queue::default(),
            ca,
        }
    }

    /// Namespaces changed.
    pub(crate) fn hear_namespaces(&self, heard: &Heard<Namespace>) {
        for namespace in heard
            .changes()
            .iter()
            .filter_map(|change| change.new.as_ref())
        {
            self.queue.add(meta::name(&namespace.metadata).to_owned());
        }
    }

    /// Things in namespaces changed.
    pub(crate) fn hear<K: kube::Resource>(&self, heard: &Heard<K>) {
        for object in heard.changes().iter().flat_map(Change::both) {
            self.queue.add(Key::of(&**object).namespace);
        }
    }

    async fn give_account(&self, namespace: &str) -> Result<(), Fault> {
        let account = ServiceAccount {
            metadata: named(namespace, DEFAULT),
            ..ServiceAccount::default()
        };
        let api = self.cluster.namespaced::<ServiceAccount>(namespace);
        let answer = api.create(&PostParams::default(), &account).await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) => {
                Fault::new("create", "ServiceAccount", &Key::of(&account), &error).unless_usual()
            }
        }
    }

    async fn give_ca(&self, namespace: &str, exists: bool, ca: &str) -> Result<(), Fault> {
        let map = ConfigMap {
            metadata: named(namespace, ROOT_CA),
            data: Some(BTreeMap::from([(CA_KEY.to_owned(), ca.to_owned())])),
            ..ConfigMap::default()
        };
        let api = self.cluster.namespaced::<ConfigMap>(namespace);
        let answer = if exists {
            let patch = Patch::Merge(json!({"data": map.data}));
            api.patch(ROOT_CA, &PatchParams::default(), &patch).await
        } else {
            api.create(&PostParams::default(), &map).await
        };
        match answer {
            Ok(_) => Ok(()),
            Err(error) => Fault::new("write", "ConfigMap", &Key::of(&map), &error).unless_usual(),
        }
    }
}

fn named(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}

impl Controller for Accounts {
    type Key = String;
    const NAME: &'static str = "accounts";

    fn queue(&self) -> &Queue<String> {
        &self.queue
    }

    async fn reconcile(&self, name: &String) -> Result<Option<Duration>, Fault> {
        let in_it = |object: &str| Key {
            namespace: name.clone(),
            name: object.to_owned(),
        };
        let Some(namespace) = self.cluster.namespaces.get(&Key {
            namespace: String::new(),
            name: name.clone(),
        }) else {
            return Ok(None);
        };
        let account = self.cluster.accounts.get(&in_it(DEFAULT));
        let map = self.cluster.config_maps.get(&in_it(ROOT_CA));
        let lacks = lacks(
            &namespace,
            account.as_deref(),
            map.as_deref(),
            self.ca.as_deref(),
        );
        if lacks.account {
            self.give_account(name).await?;
        }
        if let Some(ca) = self.ca.as_deref().filter(|_| lacks.ca) {
            self.give_ca(name, map.is_some(), ca).await?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(phase: &str) -> Namespace {
        serde_json::from_value(json!({"metadata": {"name": "a"}, "status": {"phase": phase}}))
            .expect("a Namespace")
    }

    #[test]
    fn active_namespaces_get_what_they_lack() {
        let active = namespace("Active");
        let account = ServiceAccount::default();
        let map = |text: &str| ConfigMap {
            data: Some(BTreeMap::from([(CA_KEY.to_owned(), text.to_owned())])),
            ..ConfigMap::default()
        };
        let cases = [
            (None, None, None, (true, false)),
            (Some(&account), None, None, (false, false)),
            (Some(&account), None, Some("ca"), (false, true)),
            (Some(&account), Some(map("old")), Some("ca"), (false, true)),
            (Some(&account), Some(map("ca")), Some("ca"), (false, false)),
        ];
        for (account, map, ca, (lacks_account, lacks_ca)) in cases {
            let expected = Lacks {
                account: lacks_account,
                ca: lacks_ca,
            };
            assert_eq!(lacks(&active, account, map.as_ref(), ca), expected);
        }
        let going = namespace("Terminating");
        assert_eq!(lacks(&going, None, None, Some("ca")), Lacks::default());
    }
}
