//! What is taken from the Kubernetes API. What may not be read is told, and nothing fails by it.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, LogParams};
use kube::{Api, Client};
use seaway_api::describe;
use seaway_api::overview::overview;
use serde_json::{Value, json};

use super::Bundle;
use super::kinds::{KINDS, Kind, OURS, Scope};
use super::redact;
use crate::status_cluster::ClusterStatus;

/// How many objects are asked for at once.
const PAGE: u32 = 250;
/// How large a file of objects, or of a log, may become.
pub(super) const FILE_LIMIT: usize = 32 << 20;
const LOG_LIMIT: i64 = 4 << 20;

/// A cluster, and whose namespace is Seaway's.
pub(super) struct Cluster<'a> {
    pub(super) client: Client,
    pub(super) namespace: &'a str,
    /// How many lines of each log; none for no logs.
    pub(super) log_lines: u32,
}

impl Cluster<'_> {
    /// Takes everything. Where there is no answer at all nothing is asked for in vain.
    pub(super) async fn collect(&self, bundle: &mut Bundle) -> anyhow::Result<()> {
        bundle.tell("the API server");
        match self.client.apiserver_version().await {
            Ok(version) => {
                let version = serde_json::to_value(&version).unwrap_or_default();
                bundle.add_json("cluster/version.json", "the API server's version", version)?;
            }
            Err(kube::Error::Api(status)) => {
                bundle.leave("cluster/version.json", &describe(&kube::Error::Api(status)));
            }
            Err(error) => {
                bundle.leave(
                    "cluster",
                    &format!("there is no answer: {}", describe(&error)),
                );
                return Ok(());
            }
        }
        self.status(bundle).await?;
        for kind in KINDS.iter().filter(|kind| kind.scope == Scope::Own) {
            self.objects(kind, bundle).await?;
        }
        self.logs(bundle).await?;
        for kind in KINDS.iter().filter(|kind| kind.scope == Scope::Cluster) {
            self.objects(kind, bundle).await?;
        }
        Ok(())
    }

    async fn status(&self, bundle: &mut Bundle) -> anyhow::Result<()> {
        const FILE: &str = "cluster/status.json";
        bundle.tell("the cluster's status");
        match overview(&self.client, self.namespace).await {
            Ok(overview) => {
                let status = ClusterStatus::of(&overview, self.namespace);
                let status = serde_json::to_value(&status)?;
                bundle.add_json(FILE, "as seaway status --cluster -o json has it", status)
            }
            Err(error) => {
                bundle.leave(FILE, &error);
                Ok(())
            }
        }
    }

    /// The objects of a kind, one a line.
    async fn objects(&self, kind: &Kind, bundle: &mut Bundle) -> anyhow::Result<()> {
        bundle.tell(kind.plural);
        let mut lines = Lines::new(FILE_LIMIT.min(bundle.room()));
        let told = self.list(kind, &mut lines).await;
        if let Err(error) = told {
            bundle.leave(kind.file, &describe(&error));
            if lines.count == 0 {
                return Ok(());
            }
        }
        if lines.dropped > 0 {
            let words = format!("{} more did not fit", lines.dropped);
            bundle.leave(kind.file, &words);
        }
        bundle.add(kind.file, kind.about, lines.count, &lines.bytes)
    }

    async fn list(&self, kind: &Kind, lines: &mut Lines) -> Result<(), kube::Error> {
        let gvk = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural);
        let client = self.client.clone();
        let api: Api<DynamicObject> = match kind.scope {
            Scope::Cluster => Api::all_with(client, &resource),
            Scope::Own => Api::namespaced_with(client, self.namespace, &resource),
        };
        let mut params = ListParams::default().limit(PAGE);
        params.label_selector = kind.labels.map(str::to_owned);
        params.field_selector = kind.fields.map(str::to_owned);
        loop {
            let page = api.list(&params).await?;
            for object in page.items {
                let object = serde_json::to_value(object).map_err(kube::Error::SerdeError)?;
                if let Some(object) = kind.trim(&object, self.namespace) {
                    lines.push(object);
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    /// The logs of Seaway's own Pods, those that have trouble first: there may not be room for all.
    async fn logs(&self, bundle: &mut Bundle) -> anyhow::Result<()> {
        if self.log_lines == 0 {
            bundle.leave("logs", "not asked for");
            return Ok(());
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), self.namespace);
        let mut pods = match api.list(&ListParams::default().labels(OURS)).await {
            Ok(pods) => pods.items,
            Err(error) => {
                bundle.leave("logs", &describe(&error));
                return Ok(());
            }
        };
        pods.sort_by_key(|pod| std::cmp::Reverse(trouble(pod)));
        for pod in &pods {
            for (container, restarts) in containers(pod) {
                self.log(&api, pod, &container, false, bundle).await?;
                if restarts > 0 {
                    self.log(&api, pod, &container, true, bundle).await?;
                }
            }
        }
        Ok(())
    }

    async fn log(
        &self,
        api: &Api<Pod>,
        pod: &Pod,
        container: &str,
        previous: bool,
        bundle: &mut Bundle,
    ) -> anyhow::Result<()> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let which = if previous { ".previous" } else { "" };
        let file = format!("logs/{name}/{container}{which}.log");
        let limit = LOG_LIMIT.min(i64::try_from(bundle.room()).unwrap_or(i64::MAX));
        if limit == 0 {
            bundle.leave(&file, "no room is left");
            return Ok(());
        }
        bundle.tell(&file);
        let params = LogParams {
            container: Some(container.to_owned()),
            previous,
            tail_lines: Some(self.log_lines.into()),
            limit_bytes: Some(limit),
            timestamps: true,
            ..LogParams::default()
        };
        match api.logs(name, &params).await {
            Ok(log) => bundle.add_text(&file, "a log of Seaway's own", &log),
            Err(error) => {
                bundle.leave(&file, &describe(&error));
                Ok(())
            }
        }
    }
}

/// How many restarts, and how many containers that are not ready.
fn trouble(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    let all = status.and_then(|status| status.container_statuses.as_deref());
    let of = |status: &k8s_openapi::api::core::v1::ContainerStatus| {
        status.restart_count + i32::from(!status.ready)
    };
    all.unwrap_or_default().iter().map(of).sum()
}

/// A Pod's containers, and how often each was restarted.
fn containers(pod: &Pod) -> Vec<(String, i32)> {
    let Some(spec) = &pod.spec else {
        return Vec::new();
    };
    let statuses = || {
        let status = pod.status.as_ref();
        let inits = status.and_then(|status| status.init_container_statuses.as_ref());
        let others = status.and_then(|status| status.container_statuses.as_ref());
        inits.into_iter().chain(others).flatten()
    };
    let restarts = |name: &str| {
        let found = statuses().find(|status| status.name == name);
        found.map_or(0, |status| status.restart_count)
    };
    let inits = spec.init_containers.iter().flatten();
    let all = inits.chain(&spec.containers);
    all.map(|container| (container.name.clone(), restarts(&container.name)))
        .collect()
}

/// Objects as lines of JSON, as many as fit.
struct Lines {
    bytes: Vec<u8>,
    limit: usize,
    count: usize,
    dropped: usize,
}

impl Lines {
    fn new(limit: usize) -> Lines {
        Lines {
            bytes: Vec::new(),
            limit,
            count: 0,
            dropped: 0,
        }
    }

    fn push(&mut self, mut object: Value) {
        redact::value(&mut object);
        let line = json!(object).to_string();
        if self.bytes.len() + line.len() < self.limit {
            self.bytes.extend_from_slice(line.as_bytes());
            self.bytes.push(b'\n');
            self.count += 1;
        } else {
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut lines = Lines::new(20);
        for _ in 0..3 {
            lines.push(json!({"a": 1}));
        }
        lines.push(json!({"token": "x", "line": "token=abcdef"}));
        assert_eq!((lines.count, lines.dropped), (2, 2));
        assert_eq!(lines.bytes, b"{\"a\":1}\n{\"a\":1}\n");
    }

    #[test]
    fn containers_are_told_with_their_restarts() {
        let status = |name: &str, restarts: i32, ready: bool| json!({"name": name, "image": "", "imageID": "", "ready": ready, "restartCount": restarts});
        let pod: Pod = serde_json::from_value(json!({
            "spec": {"initContainers": [{"name": "i"}], "containers": [{"name": "c"}, {"name": "d"}]},
            "status": {"initContainerStatuses": [status("i", 0, true)],
                "containerStatuses": [status("c", 2, false)]},
        }))
        .expect("a Pod");
        let names = containers(&pod);
        let expected = [("i", 0), ("c", 2), ("d", 0)];
        assert_eq!(names, expected.map(|(name, n)| (name.to_owned(), n)));
        assert_eq!(trouble(&pod), 3);
    }
}
