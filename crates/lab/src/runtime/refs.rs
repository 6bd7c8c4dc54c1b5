//! The ConfigMaps and Secrets that a Pod refers to: which they are, and what is in them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret, Volume};

/// What a ConfigMap or a Secret holds.
pub(crate) type Content = BTreeMap<String, Vec<u8>>;

/// The objects that a Pod refers to and that exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Referred {
    pub(crate) namespace: String,
    pub(crate) config_maps: BTreeMap<String, Content>,
    pub(crate) secrets: BTreeMap<String, Content>,
}

impl Referred {
    /// A ConfigMap; `None` if it need not be there and is not.
    pub(crate) fn config_map(
        &self,
        name: &str,
        optional: bool,
    ) -> Result<Option<&Content>, String> {
        find(&self.config_maps, "configmap", name, optional)
    }

    /// A Secret; `None` if it need not be there and is not.
    pub(crate) fn secret(&self, name: &str, optional: bool) -> Result<Option<&Content>, String> {
        find(&self.secrets, "secret", name, optional)
    }
}

fn find<'a>(
    all: &'a BTreeMap<String, Content>,
    kind: &str,
    name: &str,
    optional: bool,
) -> Result<Option<&'a Content>, String> {
    match all.get(name) {
        None if !optional => Err(format!("{kind} \"{name}\" not found")),
        found => Ok(found),
    }
}

/// The names of what a Pod refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) config_maps: BTreeSet<String>,
    pub(crate) secrets: BTreeSet<String>,
}

impl Names {
    /// Everything that a Pod's containers and volumes refer to.
    pub(crate) fn of(pod: &Pod) -> Names {
        let mut names = Names::default();
        if let Some(spec) = &pod.spec {
            let inits = spec.init_containers.iter().flatten();
            inits
                .chain(&spec.containers)
                .for_each(|c| names.add_container(c));
            spec.volumes
                .iter()
                .flatten()
                .for_each(|v| names.add_volume(v));
        }
        names
    }

    fn add_container(&mut self, container: &Container) {
        for source in container.env_from.iter().flatten() {
            self.config_maps
                .extend(source.config_map_ref.iter().map(|r| r.name.clone()));
            self.secrets
                .extend(source.secret_ref.iter().map(|r| r.name.clone()));
        }
        for source in container
            .env
            .iter()
            .flatten()
            .filter_map(|v| v.value_from.as_ref())
        {
            self.config_maps
                .extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
            self.secrets
                .extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
        }
    }

    fn add_volume(&mut self, volume: &Volume) {
        self.config_maps
            .extend(volume.config_map.iter().map(|v| v.name.clone()));
        self.secrets
            .extend(volume.secret.iter().filter_map(|v| v.secret_name.clone()));
        let projected = volume.projected.iter().flat_map(|p| &p.sources).flatten();
        for source in projected {
            self.config_maps
                .extend(source.config_map.iter().map(|v| v.name.clone()));
            self.secrets
                .extend(source.secret.iter().map(|v| v.name.clone()));
        }
    }
}

/// What is in a ConfigMap.
pub(crate) fn config_map_content(object: &ConfigMap) -> Content {
    let text = object
        .data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    let binary = object
        .binary_data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.0.clone()));
    text.chain(binary).collect()
}

/// What is in a Secret.
pub(crate) fn secret_content(object: &Secret) -> Content {
    let data = object
        .data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.0.clone()));
    let text = object
        .string_data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    data.chain(text).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_that_a_pod_refers_to_is_found() {
        let pod = serde_json::from_value(json!({"metadata": {}, "spec": {
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "a"}}]}],
            "containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "s"}}], "env": [
                {"name": "x", "valueFrom": {"configMapKeyRef": {"name": "b", "key": "k"}}},
                {"name": "y", "valueFrom": {"secretKeyRef": {"name": "t", "key": "k"}}}]}],
            "volumes": [{"name": "1", "configMap": {"name": "c"}}, {"name": "2", "secret": {"secretName": "u"}},
                {"name": "3", "projected": {"sources": [{"configMap": {"name": "d"}}, {"secret": {"name": "v"}}]}}]
        }})).expect("a Pod");
        let names = Names::of(&pod);
        assert_eq!(names.config_maps.into_iter().collect::<String>(), "abcd");
        assert_eq!(names.secrets.into_iter().collect::<String>(), "stuv");
    }
}
