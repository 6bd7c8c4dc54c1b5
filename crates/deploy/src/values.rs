//! What people chose: from `key=value` and from files, with what is wrong about it.

use std::collections::BTreeMap;

use serde_json::Value;
use thiserror::Error;

use crate::checks;
use crate::rules::RULES;
use crate::settings::{self, Kind, Setting};

/// A choice that cannot be.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ValueError {
    /// There is no such setting.
    #[error("there is no value \"{key}\"; did you mean {near}?")]
    Unknown {
        /// What was asked for.
        key: String,
        /// What has the nearest name.
        near: String,
    },
    /// It is not `key=value`.
    #[error("\"{0}\" is not KEY=VALUE, such as transport=vxlan")]
    Form(String),
    /// The setting cannot have this value.
    #[error("{key}: {value} does not do: {fix}")]
    Value {
        /// The setting.
        key: String,
        /// What it was to be.
        value: String,
        /// What it may be.
        fix: String,
    },
    /// Two settings do not go together.
    #[error("{key}: {value} does not do with {other}: {fix}")]
    Together {
        /// The setting.
        key: String,
        /// What it was to be.
        value: String,
        /// The other, with its value.
        other: String,
        /// What to do.
        fix: String,
    },
    /// The file is no YAML.
    #[error("it is no YAML: {0}")]
    Yaml(String),
}

/// A value for each setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    by_path: BTreeMap<&'static str, Value>,
}

impl Default for Values {
    fn default() -> Values {
        let settings = settings::ALL.iter();
        Values {
            by_path: settings.map(|s| (s.path, s.default())).collect(),
        }
    }
}

impl Values {
    /// Takes `key=value`: lists are written `a,b`, `{a,b}` or `[a,b]`, maps as YAML. What is in a map comes to
    /// what was there; null takes an entry away.
    ///
    /// # Errors
    ///
    /// If there is no such setting, or it cannot have the value.
    pub fn set(&mut self, assignment: &str) -> Result<(), ValueError> {
        let (key, text) = assignment
            .split_once('=')
            .ok_or_else(|| ValueError::Form(assignment.to_owned()))?;
        let setting = known(key.trim())?;
        let value = read(setting, text).ok_or_else(|| refused(setting, &text.into(), None))?;
        self.put(setting, value)
    }

    /// Takes what a file says, in the form of the chart's `values.yaml`.
    ///
    /// # Errors
    ///
    /// If it is no YAML, names what there is not, or gives what a setting cannot have.
    pub fn merge_yaml(&mut self, text: &str) -> Result<(), ValueError> {
        let read: Option<Value> =
            serde_saphyr::from_str(text).map_err(|error| ValueError::Yaml(error.to_string()))?;
        match read {
            None | Some(Value::Null) => Ok(()),
            Some(Value::Object(fields)) => fields
                .iter()
                .try_for_each(|(name, value)| self.merge(name, value)),
            Some(_) => Err(ValueError::Yaml("want a map of values".to_owned())),
        }
    }

    fn merge(&mut self, path: &str, value: &Value) -> Result<(), ValueError> {
        if settings::find(path).is_none()
            && settings::GROUPS.iter().any(|(group, _)| *group == path)
        {
            let Some(fields) = value.as_object() else {
                return Err(ValueError::Value {
                    key: path.to_owned(),
                    value: value.to_string(),
                    fix: "it is a map of values".to_owned(),
                });
            };
            return fields
                .iter()
                .try_for_each(|(name, value)| self.merge(&format!("{path}.{name}"), value));
        }
        self.put(known(path)?, value.clone())
    }

    fn put(&mut self, setting: &'static Setting, value: Value) -> Result<(), ValueError> {
        let value = match (setting.kind, value) {
            (Kind::Map, given) if given.is_object() => {
                let mut merged = self.get(setting.path).clone();
                merge(&mut merged, given);
                merged
            }
            (_, given) => given,
        };
        checks::check(setting, &value).map_err(|fix| refused(setting, &value, Some(fix)))?;
        self.by_path.insert(setting.path, value);
        Ok(())
    }

    /// Looks whether the values go together.
    ///
    /// # Errors
    ///
    /// If the programs would refuse them.
    pub fn check_together(&self) -> Result<(), ValueError> {
        match RULES.iter().find(|rule| rule.is_broken(self)) {
            None => Ok(()),
            Some(rule) => Err(ValueError::Together {
                key: rule.key.to_owned(),
                value: self.get(rule.key).to_string(),
                other: format!("{}: {}", rule.other, self.get(rule.other)),
                fix: rule.fix.to_owned(),
            }),
        }
    }

    /// The value at a path.
    pub(crate) fn get(&self, path: &str) -> &Value {
        self.by_path.get(path).unwrap_or(&Value::Null)
    }

    /// Whether a switch is on.
    pub(crate) fn switch(&self, path: &str) -> bool {
        self.get(path) == &Value::Bool(true)
    }
}

fn refused(setting: &Setting, value: &Value, fix: Option<String>) -> ValueError {
    ValueError::Value {
        key: setting.path.to_owned(),
        value: value.to_string(),
        fix: fix.unwrap_or_else(|| checks::form(setting.kind)),
    }
}

/// Puts a map into another one, as Helm does: entry by entry, and null takes an entry away.
fn merge(into: &mut Value, given: Value) {
    match (into, given) {
        (Value::Object(into), Value::Object(given)) => {
            for (name, value) in given {
                if value.is_null() {
                    into.remove(&name);
                } else {
                    merge(into.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (into, given) => *into = given,
    }
}

/// A text as the value of a setting, if it can be read as one.
fn read(setting: &Setting, text: &str) -> Option<Value> {
    let yaml = || serde_saphyr::from_str::<Value>(text).ok();
    match setting.kind {
        Kind::Text(_) | Kind::OneOf(_) => Some(text.into()),
        Kind::Switch | Kind::Number { .. } => serde_json::from_str(text).ok(),
        Kind::Share => Some(
            text.parse::<i64>()
                .map_or_else(|_| text.into(), Value::from),
        ),
        Kind::Texts(_) => {
            let texts = |list: &Value| {
                let mut items = list.as_array().into_iter().flatten();
                list.is_array() && items.all(Value::is_string)
            };
            if let Some(list) = yaml().filter(texts) {
                return Some(list);
            }
            let within = |from, to| text.strip_prefix(from)?.strip_suffix(to);
            let inner = within('{', '}').or_else(|| within('[', ']'));
            let items = inner.unwrap_or(text).split(',').map(str::trim);
            Some(
                items
                    .filter(|item| !item.is_empty())
                    .map(Value::from)
                    .collect(),
            )
        }
        Kind::Map | Kind::Maps => yaml(),
    }
}

fn known(key: &str) -> Result<&'static Setting, ValueError> {
    settings::find(key).ok_or_else(|| ValueError::Unknown {
        key: key.to_owned(),
        near: nearest(key).to_owned(),
    })
}

/// The name that needs the fewest changes; the last part counts alone, too.
fn nearest(key: &str) -> &'static str {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_lowercase();
    let distance = |setting: &&Setting| {
        let whole = edits(&key.to_lowercase(), &setting.path.to_lowercase());
        whole.min(edits(&last(key), &last(setting.path)) + 1)
    };
    let nearest = settings::ALL.iter().min_by_key(distance);
    nearest.map_or("", |setting| setting.path)
}

/// How many letters have to be changed, put in or left out.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(assignments: &[&str]) -> Result<Values, String> {
        let mut values = Values::default();
        for assignment in assignments {
            values.set(assignment).map_err(|error| error.to_string())?;
        }
        values.check_together().map_err(|error| error.to_string())?;
        Ok(values)
    }

    #[test]
    fn a_file_and_assignments_say_the_same() {
        let assigned = set(&[
            "transport=vxlan",
            "vxlan.vni=7",
            "mtu=1400",
            "dns.enabled=true",
            "dns.upstream=[192.0.2.53,[2001:db8::53]:5353]",
            "serviceCidrs={10.96.0.0/12,fd00::/108}",
            "clusterCidrs=[10.244.0.0/16=24, \"fd00:10:244::/48=64\"]",
            "agent.resources={requests: {cpu: 1}}",
            "agent.maxUnavailable=10%",
            "masqueradeAll=true",
        ]);
        let mut read = Values::default();
        read.merge_yaml(
            "transport: vxlan\nvxlan: {vni: 7}\nclusterCidrs: [10.244.0.0/16=24, 'fd00:10:244::/48=64']\ndns: {enabled: true, upstream: [192.0.2.53, '[2001:db8::53]:5353']}\n\
             mtu: 1400\nserviceCidrs: [10.96.0.0/12, 'fd00::/108']\n\
             agent:\n  resources: {requests: {cpu: 1}}\n  maxUnavailable: 10%\nmasqueradeAll: true\n",
        )
        .expect("valid");
        assert_eq!(assigned.expect("valid"), read);
        Values::default().merge_yaml("# nothing\n").expect("valid");
    }

    #[test]
    fn refusals_name_the_key_the_value_and_the_fix() {
        for (assignments, words) in [
            (
                &["transprt=vxlan"][..],
                &["\"transprt\"", "did you mean transport?"][..],
            ),
            (&["vni=7"], &["\"vni\"", "vxlan.vni"]),
            (&["image=x"], &["\"image\"", "mean image.tag?"]),
            (&["transport"], &["\"transport\"", "KEY=VALUE"]),
            (
                &["transport=VXLAN"],
                &["transport", "\"VXLAN\"", "auto, direct, vxlan, l2"],
            ),
            (
                &["serviceBackend=ebpf"],
                &["serviceBackend", "\"ebpf\"", "not there yet"],
            ),
            (&["vxlan.vni=0"], &["vxlan.vni", "0", "1 to 16777215"]),
            (&["mtu=lots"], &["mtu", "\"lots\"", "576 to 65535"]),
            (
                &["masquerade=si"],
                &["masquerade", "\"si\"", "true or false"],
            ),
            (
                &["serviceCidrs=10.96.0.1/12"],
                &["serviceCidrs", "the network is 10.96.0.0/12"],
            ),
            (
                &["clusterCidrs=10.244.0.0/16"],
                &["clusterCidrs", "10.244.0.0/16=24"],
            ),
            (
                &["clusterCidrs=10.244.0.0/16=8"],
                &["clusterCidrs", "16 to 32"],
            ),
            (&["runDir=run"], &["runDir", "absolute"]),
            (
                &["image.repository=a/b:tag"],
                &["image.repository", "without its tag"],
            ),
            (
                &["agent.maxUnavailable=0"],
                &["agent.maxUnavailable", "above 0"],
            ),
            (
                &["agent.tolerations=x"],
                &["agent.tolerations", "list of maps"],
            ),
            (
                &["nodePortAddresses=primary,10.0.0.0/8"],
                &["nodePortAddresses", "stands for itself"],
            ),
            (
                &["transport=vxlan", "vxlan.enabled=false"],
                &["transport", "vxlan.enabled: false"],
            ),
            (
                &["kubeProxyReplacement=false", "dns.enabled=true"],
                &["dns.enabled", "kube-proxy has"],
            ),
            (
                &["masquerade=false", "keepSourceTo=192.0.2.0/24"],
                &["keepSourceTo", "leave one"],
            ),
            (
                &["dns.upstream=192.0.2.53"],
                &["dns.upstream", "dns.enabled=true"],
            ),
        ] {
            let error = set(assignments).expect_err(assignments[0]);
            for word in words {
                assert!(error.contains(word), "{assignments:?}: {error}");
            }
        }
    }

    #[test]
    fn a_file_is_refused_like_an_assignment() {
        for (text, word) in [
            ("vxlan: {vmi: 3}", "did you mean vxlan.vni?"),
            ("vxlan: 3", "it is a map of values"),
            ("- a", "want a map"),
            ("a: [", "no YAML"),
            ("transport: 3", "transport: 3 does not do"),
            (
                "imagePullSecrets: null",
                "imagePullSecrets: null does not do",
            ),
        ] {
            let error = Values::default()
                .merge_yaml(text)
                .expect_err(text)
                .to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
