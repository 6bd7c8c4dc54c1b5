//! The Helm chart: the objects with their slots as template expressions, and the settings as
//! `values.yaml` and as a schema.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::node::Node;
use crate::objects::{NAMESPACE, Object, VERSION, objects};
use crate::rules::{RULES, Rule};
use crate::settings::{self, GROUPS, Kind, Setting};
use crate::{POLICY_NOTE, yaml};

const MADE: &str = "Made by Seaway's own source (crates/deploy); a test compares it. Do not edit.";

/// The files of the chart, by their paths in it.
pub fn chart() -> Vec<(String, String)> {
    let mut files = vec![
        ("Chart.yaml".to_owned(), about()),
        ("values.yaml".to_owned(), values()),
        ("values.schema.json".to_owned(), schema_text()),
        ("templates/NOTES.txt".to_owned(), notes()),
        ("templates/checks.yaml".to_owned(), checks()),
    ];
    let objects = objects();
    for of_file in objects.chunk_by(|one, next| one.file == next.file) {
        files.push((format!("templates/{}", of_file[0].file), template(of_file)));
    }
    files
}

fn about() -> String {
    format!(
        "# {MADE}\napiVersion: v2\nname: seaway\ndescription: The Kubernetes network\ntype: application\n\
         version: {VERSION}\nappVersion: \"{VERSION}\"\nkubeVersion: \">=1.29.0-0\"\n"
    )
}

fn template(objects: &[Object]) -> String {
    let documents: Vec<String> = objects
        .iter()
        .map(|object| yaml::document(&object.node))
        .collect();
    format!("{{{{- /* {MADE} */ -}}}}\n{}", documents.join("---\n"))
}

fn checks() -> String {
    let rules: String = RULES.iter().map(Rule::template).collect();
    format!("{{{{- /* {MADE} */ -}}}}\n{rules}")
}

fn notes() -> String {
    let note = POLICY_NOTE.replace('`', "'");
    format!(
        "\
Seaway {{{{ .Chart.AppVersion }}}} is on its way to every node of this cluster.

!!! {}

See how it gets on:
  kubectl -n {NAMESPACE} rollout status daemonset/seaway-agent
  seaway status --cluster
{{{{- if and .Values.kubeProxyReplacement (empty .Values.apiServers) }}}}

Seaway balances Services, and no apiServers are given: agents find the API server by the Service
'kubernetes', which only works while something else balances it (kube-proxy). Without kube-proxy, give
apiServers.
{{{{- end }}}}

Deleting this release stops the agents and leaves each node's network as it is, so that Pods go on. To
remove Seaway from the nodes as well, run 'seaway uninstall' instead.
",
        note.replace('\n', "\n!!! ")
    )
}

fn values() -> String {
    let mut text = format!("# {MADE}\n");
    let mut group = None;
    for setting in settings::ALL {
        let (of, name) = match setting.path.split_once('.') {
            Some((of, name)) => (Some(of), name),
            None => (None, setting.path),
        };
        if of != group {
            group = of;
            text.push('\n');
            let about = GROUPS.iter().find(|(name, _)| Some(*name) == of);
            if let Some((name, about)) = about {
                let _always = writeln!(text, "# {about}\n{name}:");
            }
        }
        write_value(&mut text, setting, name, if of.is_some() { 2 } else { 0 });
    }
    text
}

fn write_value(text: &mut String, setting: &Setting, name: &str, indent: usize) {
    for line in setting.about.lines() {
        let _always = writeln!(text, "{:indent$}# {line}", "");
    }
    if let Kind::OneOf(choices) = setting.kind {
        let choices = choices.iter().filter(|choice| !choice.is_empty());
        let choices: Vec<&str> = choices.copied().collect();
        let _always = writeln!(text, "{:indent$}# One of {}.", "", choices.join(", "));
    }
    let tree = Node::Map(vec![(name.to_owned(), Node::from(&setting.default()))]);
    for line in yaml::document(&tree).lines() {
        let _always = writeln!(text, "{:indent$}{line}", "");
    }
}

fn schema_text() -> String {
    let text = serde_json::to_string_pretty(&schema()).expect("maps with texts as keys are JSON");
    text + "\n"
}

fn schema() -> Value {
    // Helm gives every chart that is part of another one these.
    let mut top = json!({"global": {}});
    for setting in settings::ALL {
        let (place, name) = match setting.path.split_once('.') {
            None => (&mut top, setting.path),
            Some((group, name)) => {
                if top.get(group).is_none() {
                    top[group] = map_of(json!({}));
                }
                (&mut top[group]["properties"], name)
            }
        };
        place[name] = schema_of(setting);
    }
    // Null takes a default away; what the templates count on has to be there.
    for (group, _) in GROUPS {
        top[group]["required"] = required(Some(group));
    }
    let mut schema = map_of(top);
    schema["required"] = required(None);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "Seaway".into();
    schema["$comment"] = MADE.into();
    schema
}

/// The settings of a group, or of none, that cannot be left out.
fn required(group: Option<&str>) -> Value {
    let needed = settings::ALL
        .iter()
        .filter(|setting| !matches!(setting.kind, Kind::Number { optional: true, .. }));
    let names = needed.filter_map(|setting| match (setting.path.split_once('.'), group) {
        (Some((of, name)), Some(group)) if of == group => Some(name),
        (None, None) => Some(setting.path),
        _ => None,
    });
    names.collect()
}

fn map_of(properties: Value) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn schema_of(setting: &Setting) -> Value {
    let mut schema = match setting.kind {
        Kind::Text(check) => json!({"type": "string", "pattern": check.pattern()}),
        Kind::OneOf(choices) => json!({"enum": choices}),
        Kind::Switch => json!({"type": "boolean"}),
        Kind::Number {
            min,
            max,
            optional: false,
        } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Number { min, max, .. } => {
            json!({"type": ["integer", "null"], "minimum": min, "maximum": max})
        }
        Kind::Share => json!({
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": "^([1-9][0-9]?|100)%$"},
            ],
        }),
        Kind::Texts(check) => {
            json!({"type": "array", "items": {"type": "string", "pattern": check.pattern()}})
        }
        Kind::Map => json!({"type": "object"}),
        Kind::Maps => json!({"type": "array", "items": {"type": "object"}}),
    };
    schema["description"] = setting.about.replace('\n', " ").into();
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Values;

    #[test]
    fn what_the_chart_says_by_default_is_the_default() {
        let mut read = Values::default();
        read.set("wiring=bridge").expect("valid");
        read.merge_yaml(&values()).expect("valid");
        assert_eq!(read, Values::default());
    }
}
