//! A container's environment and the references in its words. Pure: what it refers to has been
//! fetched ([`Referred`]).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource};

use super::downward::View;
use super::refs::{Content, Referred};

/// The variables of a container, in the order in which they are to be set: services' first, then
/// `envFrom`, then `env`; a later one replaces an earlier one of its name.
pub(crate) fn environment(
    container: &Container,
    view: &View<'_>,
    referred: &Referred,
    services: Vec<(String, String)>,
) -> Result<Vec<(String, String)>, String> {
    let mut variables = Variables::default();
    for (name, value) in services {
        variables.set(name, value);
    }
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let content = if let Some(wanted) = &source.config_map_ref {
            referred.config_map(&wanted.name, wanted.optional.unwrap_or(false))?
        } else if let Some(wanted) = &source.secret_ref {
            referred.secret(&wanted.name, wanted.optional.unwrap_or(false))?
        } else {
            None
        };
        for (key, value) in content.into_iter().flatten() {
            if !key.contains('=') {
                variables.set(format!("{prefix}{key}"), text(value));
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = value(variable, container, view, referred, &variables.values)?;
        if let Some(value) = value {
            variables.set(variable.name.clone(), value);
        }
    }
    Ok(variables.ordered())
}

#[derive(Default)]
struct Variables {
    order: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Variables {
    fn set(&mut self, name: String, value: String) {
        if self.values.insert(name.clone(), value).is_none() {
            self.order.push(name);
        }
    }

    fn ordered(mut self) -> Vec<(String, String)> {
        let take = |name: String| self.values.remove(&name).map(|value| (name, value));
        self.order.into_iter().filter_map(take).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn value(
    variable: &EnvVar,
    container: &Container,
    view: &View<'_>,
    referred: &Referred,
    before: &BTreeMap<String, String>,
) -> Result<Option<String>, String> {
    match (&variable.value, &variable.value_from) {
        (None, Some(source)) => from(source, container, view, referred)
            .map_err(|reason| format!("env {}: {reason}", variable.name)),
        (value, _) => Ok(Some(expand(value.as_deref().unwrap_or_default(), before))),
    }
}

fn from(
    source: &EnvVarSource,
    container: &Container,
    view: &View<'_>,
    referred: &Referred,
) -> Result<Option<String>, String> {
    if let Some(field) = &source.field_ref {
        return view.field(&field.field_path).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        return view.resource(Some(container), selector).map(Some);
    }
    if let Some(wanted) = &source.config_map_key_ref {
        let optional = wanted.optional.unwrap_or(false);
        let content = referred.config_map(&wanted.name, optional)?;
        return key(content, &wanted.key, optional, || {
            format!("ConfigMap {}/{}", referred.namespace, wanted.name)
        });
    }
    if let Some(wanted) = &source.secret_key_ref {
        let optional = wanted.optional.unwrap_or(false);
        let content = referred.secret(&wanted.name, optional)?;
        return key(content, &wanted.key, optional, || {
            format!("Secret {}/{}", referred.namespace, wanted.name)
        });
    }
    Err("a lab knows fieldRef, resourceFieldRef, configMapKeyRef and secretKeyRef only".to_owned())
}

fn key(
    content: Option<&Content>,
    key: &str,
    optional: bool,
    object: impl FnOnce() -> String,
) -> Result<Option<String>, String> {
    match content.and_then(|content| content.get(key)) {
        Some(value) => Ok(Some(text(value))),
        None if optional => Ok(None),
        None => Err(format!("couldn't find key {key} in {}", object())),
    }
}

/// Replaces each `$(NAME)` by a variable's value. `$$` is a dollar sign that begins no reference;
/// a reference to nothing stays as it is.
pub(crate) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|r| r.split_once(')'))
        {
            match variables.get(name) {
                Some(value) => result.push_str(value),
                None => result.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            result.push('$');
            rest = after;
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;

    fn resolve(container: Value) -> Result<Vec<(String, String)>, String> {
        let container: Container = serde_json::from_value(container).expect("a container");
        let mut pod = Pod::default();
        pod.metadata.name = Some("p".to_owned());
        let view = View {
            pod: &pod,
            node: "node1",
            pod_ips: &[],
            host_ips: &[],
            node_resources: (1000, 1),
        };
        let content =
            |key: &str, value: &str| Content::from([(key.to_owned(), value.as_bytes().to_vec())]);
        let referred = Referred {
            namespace: "n".to_owned(),
            config_maps: [("cm".to_owned(), content("k", "v"))].into(),
            secrets: [("s".to_owned(), content("pass", "word"))].into(),
        };
        let services = vec![("HOST".to_owned(), "10.96.0.1".to_owned())];
        environment(&container, &view, &referred, services)
    }

    fn pairs(resolved: Result<Vec<(String, String)>, String>) -> String {
        let resolved = resolved.expect("resolved");
        let pairs: Vec<_> = resolved
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join(" ")
    }

    #[test]
    fn later_sources_win_and_see_the_earlier() {
        let resolved = resolve(json!({"name": "c",
            "envFrom": [{"configMapRef": {"name": "cm"}, "prefix": "P_"},
                        {"secretRef": {"name": "s"}},
                        {"secretRef": {"name": "none", "optional": true}}],
            "env": [{"name": "A", "value": "$(HOST):$(P_k)"},
                    {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "pass", "value": "$(A)/$(LATER)"},
                    {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pass"}}},
                    {"name": "D", "valueFrom": {"configMapKeyRef":
                        {"name": "cm", "key": "none", "optional": true}}}]}));
        assert_eq!(
            pairs(resolved),
            "HOST=10.96.0.1 P_k=v pass=10.96.0.1:v/$(LATER) A=10.96.0.1:v B=p C=word"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        for (source, reason) in [
            (
                json!({"configMapKeyRef": {"name": "x", "key": "k"}}),
                "configmap \"x\" not found",
            ),
            (
                json!({"configMapKeyRef": {"name": "cm", "key": "z"}}),
                "couldn't find key z in ConfigMap n/cm",
            ),
            (
                json!({"secretKeyRef": {"name": "x", "key": "k"}}),
                "secret \"x\" not found",
            ),
            (
                json!({"fieldRef": {"fieldPath": "spec.x"}}),
                "\"spec.x\" is no field",
            ),
        ] {
            let error = resolve(json!({"name": "c", "env": [{"name": "A", "valueFrom": source}]}))
                .expect_err("refused");
            assert!(error.contains(reason), "{error}");
        }
        let error = resolve(json!({"name": "c", "envFrom": [{"secretRef": {"name": "x"}}]}));
        assert_eq!(error, Err("secret \"x\" not found".to_owned()));
    }

    #[test]
    fn references_expand_as_in_kubernetes() {
        let variables = BTreeMap::from([
            ("A".to_owned(), "1".to_owned()),
            ("B".to_owned(), "$(A)".to_owned()),
        ]);
        for (text, expanded) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(none)", "$(none)"),
            ("$A", "$A"),
            ("$", "$"),
            ("$(A", "$(A"),
            ("$(B)", "$(A)"),
            ("$$", "$"),
        ] {
            assert_eq!(expand(text, &variables), expanded, "{text}");
        }
    }
}
