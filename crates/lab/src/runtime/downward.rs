//! What a Pod may learn of itself: the fields and resources that environment variables and volumes
//! can refer to. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const MILLI: i128 = 1000;

/// A Pod as it can see itself.
#[derive(Clone, Debug)]
pub(crate) struct View<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) node: &'a str,
    pub(crate) pod_ips: &'a [IpAddr],
    pub(crate) host_ips: &'a [IpAddr],
    /// What stands in for limits that the Pod does not name: the node's processors, in thousandths,
    /// and its memory in bytes.
    pub(crate) node_resources: (i128, i128),
}

impl View<'_> {
    fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    /// The value of a field reference; the error says what is wrong with the reference.
    pub(crate) fn field(&self, path: &str) -> Result<String, String> {
        let meta = &self.pod.metadata;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        if let Some((map, key)) = subscript(path) {
            let values = match map {
                "metadata.labels" => &meta.labels,
                "metadata.annotations" => &meta.annotations,
                _ => return Err(unsupported(path)),
            };
            let value = values.as_ref().and_then(|values| values.get(key));
            return Ok(value.cloned().unwrap_or_default());
        }
        Ok(match path {
            "metadata.name" => text(&meta.name),
            "metadata.namespace" => text(&meta.namespace),
            "metadata.uid" => text(&meta.uid),
            "metadata.labels" => lines(meta.labels.as_ref()),
            "metadata.annotations" => lines(meta.annotations.as_ref()),
            "spec.nodeName" => self.node.to_owned(),
            "spec.serviceAccountName" => {
                let named = self
                    .spec()
                    .and_then(|spec| spec.service_account_name.clone());
                named.unwrap_or_else(|| "default".to_owned())
            }
            "status.podIP" => first(self.pod_ips),
            "status.podIPs" => list(self.pod_ips),
            "status.hostIP" => first(self.host_ips),
            "status.hostIPs" => list(self.host_ips),
            _ => return Err(unsupported(path)),
        })
    }

    /// The value of a resource reference; of `own`, unless it names another container.
    pub(crate) fn resource(
        &self,
        own: Option<&Container>,
        selector: &ResourceFieldSelector,
    ) -> Result<String, String> {
        let container = match selector.container_name.as_deref().filter(|n| !n.is_empty()) {
            None => own,
            Some(name) => self.container(name),
        };
        let container = container.ok_or_else(|| {
            let name = selector.container_name.as_deref().unwrap_or_default();
            format!("resourceFieldRef: there is no container \"{name}\" in this Pod")
        })?;
        let (kind, resource) = selector
            .resource
            .split_once('.')
            .ok_or_else(|| unsupported(&selector.resource))?;
        let named = container
            .resources
            .as_ref()
            .and_then(|resources| match kind {
                "limits" => resources.limits.as_ref()?.get(resource),
                "requests" => resources.requests.as_ref()?.get(resource),
                _ => None,
            });
        let value = match (named, kind, resource) {
            (Some(quantity), ..) => thousandths(quantity)?,
            (None, "limits", "cpu") => self.node_resources.0,
            (None, "limits", "memory") => self.node_resources.1 * MILLI,
            (None, "limits" | "requests", "cpu" | "memory" | "ephemeral-storage") => 0,
            _ => return Err(unsupported(&selector.resource)),
        };
        let divisor = selector.divisor.as_ref().map_or(Ok(0), thousandths)?;
        let divisor = if divisor <= 0 { MILLI } else { divisor };
        Ok(((value + divisor - 1) / divisor).to_string())
    }

    fn container(&self, name: &str) -> Option<&Container> {
        let spec = self.spec()?;
        let inits = spec.init_containers.iter().flatten();
        inits.chain(&spec.containers).find(|c| c.name == name)
    }
}

fn unsupported(path: &str) -> String {
    format!("\"{path}\" is no field that a Pod can be told of itself")
}

/// `metadata.labels['key']`, taken apart.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

fn first(addresses: &[IpAddr]) -> String {
    addresses
        .first()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn list(addresses: &[IpAddr]) -> String {
    let all: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    all.join(",")
}

/// As downward volumes show a whole map: a line an entry, values quoted.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let mut text = String::new();
    for (key, value) in map.into_iter().flatten() {
        let separator = if text.is_empty() { "" } else { "\n" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{separator}{key}={value:?}");
    }
    text
}

/// A quantity in thousandths, rounded up.
pub(crate) fn thousandths(quantity: &Quantity) -> Result<i128, String> {
    let text = quantity.0.trim();
    parse(text).ok_or_else(|| format!("\"{text}\" is no quantity"))
}

fn parse(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || ".+-".contains(c)));
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        _ => match suffix.strip_suffix('i') {
            Some(unit) => 1024f64.powi(i32::try_from("KMGTPE".find(unit)?).ok()? + 1),
            None => 10f64.powi(suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
        },
    };
    let value = number * factor * 1000.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float becomes the nearest integer that there is"
    )]
    value.is_finite().then_some(value.ceil() as i128)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u",
                         "labels": {"app.kubernetes.io/name": "web", "b": "say \"x\""}},
            "spec": {"containers": [
                {"name": "a", "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "1Mi"}}},
                {"name": "b"}]}
        }))
        .expect("a Pod")
    }

    fn view<'a>(pod: &'a Pod, ips: &'a [IpAddr]) -> View<'a> {
        View {
            pod,
            node: "node1",
            pod_ips: ips,
            host_ips: ips,
            node_resources: (2000, 4096),
        }
    }

    #[test]
    fn fields_are_told() {
        let (pod, ips) = (
            pod(),
            ["10.0.0.1", "fd00::1"].map(|ip| ip.parse().expect("ip")),
        );
        let view = view(&pod, &ips);
        for (path, value) in [
            ("metadata.name", "p"),
            ("metadata.labels['app.kubernetes.io/name']", "web"),
            ("metadata.annotations['none']", ""),
            ("spec.nodeName", "node1"),
            ("spec.serviceAccountName", "default"),
            ("status.podIP", "10.0.0.1"),
            ("status.podIPs", "10.0.0.1,fd00::1"),
            (
                "metadata.labels",
                "app.kubernetes.io/name=\"web\"\nb=\"say \\\"x\\\"\"",
            ),
        ] {
            assert_eq!(view.field(path).as_deref(), Ok(value), "{path}");
        }
        assert!(view.field("spec.containers").is_err());
        assert!(view.field("spec['a']").is_err());
    }

    #[test]
    fn resources_are_rounded_up_and_default_to_the_node() {
        let pod = pod();
        let view = view(&pod, &[]);
        let value = |container: &str, resource: &str, divisor: &str| {
            view.resource(
                None,
                &ResourceFieldSelector {
                    container_name: Some(container.to_owned()),
                    resource: resource.to_owned(),
                    divisor: Some(Quantity(divisor.to_owned())),
                },
            )
        };
        assert_eq!(value("a", "limits.cpu", "0").as_deref(), Ok("2"));
        assert_eq!(value("a", "limits.cpu", "1m").as_deref(), Ok("1500"));
        assert_eq!(value("a", "requests.memory", "1Ki").as_deref(), Ok("1024"));
        assert_eq!(value("b", "limits.memory", "1").as_deref(), Ok("4096"));
        assert_eq!(value("b", "limits.cpu", "1").as_deref(), Ok("2"));
        assert!(value("c", "limits.cpu", "1").is_err() && value("a", "limits", "1").is_err());
    }

    #[test]
    fn quantities_are_understood() {
        for (text, value) in [
            ("1", 1000),
            ("100m", 100),
            ("1.5", 1500),
            ("2k", 2_000_000),
            ("1Ki", 1_024_000),
            ("1e3", 1_000_000),
            ("1Gi", 1_073_741_824_000),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        for bad in ["", "x", "1x", "1KiB", "e3"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
