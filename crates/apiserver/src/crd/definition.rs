//! A CustomResourceDefinition as it is written, and what is wrong with it.

use serde_json::{Value, json};

use super::columns::Path;
use super::compile::Compiled;
use super::names::Names;
use crate::kinds::{self, FieldError, names, read};

/// The most versions of a definition.
const MOST_VERSIONS: usize = 32;

/// What a definition defines.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) versions: Vec<Version>,
}

/// One version of it.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) served: bool,
    pub(crate) storage: bool,
    /// As it is written.
    json: Value,
}

impl Definition {
    /// Reads a definition.
    pub(crate) fn of(object: &Value) -> Self {
        let (spec, names) = (&object["spec"], &object["spec"]["names"]);
        let text = |name: &str| read::text(names, name).to_owned();
        let texts = |name: &str| {
            read::texts(names, name)
                .into_iter()
                .map(str::to_owned)
                .collect()
        };
        let versions = read::list(spec, "versions").iter().map(|json| Version {
            name: read::text(json, "name").to_owned(),
            served: read::flag(json, "served"),
            storage: read::flag(json, "storage"),
            json: json.clone(),
        });
        Self {
            group: read::text(spec, "group").to_owned(),
            kind: text("kind"),
            list_kind: text("listKind"),
            plural: text("plural"),
            singular: text("singular"),
            short_names: texts("shortNames"),
            categories: texts("categories"),
            namespaced: read::text(spec, "scope") == "Namespaced",
            versions: versions.collect(),
        }
    }

    /// The version that is stored.
    pub(crate) fn storage(&self) -> Option<&Version> {
        self.versions.iter().find(|version| version.storage)
    }

    /// The paths of the fields of any version that field selectors may ask for.
    pub(crate) fn selectable(&self) -> Vec<&str> {
        let mut paths = Vec::new();
        for field in self
            .versions
            .iter()
            .flat_map(|version| read::list(&version.json, "selectableFields"))
        {
            let path = read::text(field, "jsonPath");
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths
    }

    /// What makes the kind of a version what it is, without the words about it.
    pub(crate) fn key(&self, version: &Version) -> String {
        let mut written = version.json.clone();
        if let Some(schema) = written.pointer_mut("/schema/openAPIV3Schema") {
            strip(schema);
        }
        let stored = self.storage().map_or("", |version| &version.name);
        json!([
            [
                self.group,
                self.kind,
                self.list_kind,
                self.plural,
                self.singular
            ],
            [self.short_names, self.categories, self.selectable()],
            [self.namespaced, stored],
            written,
        ])
        .to_string()
    }

    /// What it is called.
    pub(super) fn names(&self) -> Names {
        Names {
            plural: self.plural.clone(),
            singular: self.singular.clone(),
            short: self.short_names.clone(),
            kind: self.kind.clone(),
            list_kind: self.list_kind.clone(),
            categories: self.categories.clone(),
        }
    }

    /// The same under other names.
    pub(super) fn called(&self, names: &Names) -> Self {
        let names = names.clone();
        Self {
            plural: names.plural,
            singular: names.singular,
            short_names: names.short,
            kind: names.kind,
            list_kind: names.list_kind,
            categories: names.categories,
            ..self.clone()
        }
    }
}

/// Takes descriptions out of a schema.
fn strip(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            // A property may be called so too; then it is a schema and no text.
            fields.retain(|name, value| {
                !(matches!(name.as_str(), "description" | "title") && value.is_string())
            });
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

impl Version {
    /// The schema as it is written.
    pub(crate) fn schema(&self) -> &Value {
        self.json
            .pointer("/schema/openAPIV3Schema")
            .unwrap_or(&Value::Null)
    }

    /// The schema, compiled.
    pub(super) fn compile(&self) -> Compiled {
        self.compile_at("schema.openAPIV3Schema")
    }

    fn compile_at(&self, path: &str) -> Compiled {
        Compiled::of(path, self.schema())
    }

    /// Whether there is a `status` subresource.
    pub(crate) fn has_status(&self) -> bool {
        self.json.pointer("/subresources/status").is_some()
    }

    /// The `scale` subresource.
    pub(crate) fn scale(&self) -> Option<&Value> {
        self.json
            .pointer("/subresources/scale")
            .filter(|scale| scale.is_object())
    }

    /// The columns behind the name.
    pub(crate) fn columns(&self) -> Vec<Value> {
        match read::list(&self.json, "additionalPrinterColumns") {
            [] => vec![json!({
                "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
                "description": "CreationTimestamp is the server time when this object was created, \
                    shown as its age.",
            })],
            given => given.to_vec(),
        }
    }
}

/// What is wrong with a definition, given the one that it replaces.
pub(crate) fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let definition = Definition::of(new);
    validate_names(&mut errors, new, &definition);
    validate_versions(&mut errors, &definition);
    let unchanged = old.is_some_and(|old| old["spec"]["versions"] == new["spec"]["versions"]);
    for (at, version) in definition.versions.iter().enumerate() {
        if !unchanged {
            validate_version(&mut errors, &format!("spec.versions[{at}]"), version);
        }
    }
    match new
        .pointer("/spec/conversion/strategy")
        .and_then(Value::as_str)
    {
        None | Some("None") => {}
        Some("Webhook") => errors.push(FieldError::forbidden(
            "spec.conversion.strategy",
            "this server calls no webhooks; use None, which changes nothing but apiVersion",
        )),
        Some(other) => errors.push(FieldError::not_supported(
            "spec.conversion.strategy",
            other,
            &["None"],
        )),
    }
    if new["spec"]["preserveUnknownFields"] == true {
        let detail =
            "must be false; set x-kubernetes-preserve-unknown-fields in the schema instead";
        let at = "spec.preserveUnknownFields";
        errors.push(FieldError::invalid(at, &true.into(), detail));
    }
    if let Some(old) = old {
        validate_change(&mut errors, new, old, &definition);
    }
    errors
}

fn validate_names(errors: &mut Vec<FieldError>, object: &Value, of: &Definition) {
    let wanted = format!("{}.{}", of.plural, of.group);
    let name = read::text(&object["metadata"], "name");
    if name != wanted {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::bad_text("metadata.name", name, detail));
    }
    if of.group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if !of.group.contains('.') {
        let detail = "should be a domain with at least one dot";
        errors.push(FieldError::bad_text("spec.group", &of.group, detail));
    } else {
        names::push_all(errors, "spec.group", &of.group, names::subdomain(&of.group));
    }
    if kinds::all()
        .iter()
        .any(|kind| kind.group == of.group && (kind.plural == of.plural || kind.kind == of.kind))
    {
        errors.push(FieldError::forbidden(
            "spec.group",
            "this resource of the group is built in",
        ));
    }
    for (field, text) in [
        ("plural", &of.plural),
        ("singular", &of.singular),
        ("kind", &of.kind),
        ("listKind", &of.list_kind),
    ] {
        let (place, low) = (format!("spec.names.{field}"), text.to_ascii_lowercase());
        if text.is_empty() {
            errors.push(FieldError::required(place, ""));
        } else {
            let checked = if field.ends_with("ind") { &low } else { text };
            names::push_all(errors, &place, text, names::label(checked));
        }
    }
    for (at, short) in of.short_names.iter().enumerate() {
        names::push_all(
            errors,
            &format!("spec.names.shortNames[{at}]"),
            short,
            names::label(short),
        );
    }
    let scope = read::text(&object["spec"], "scope");
    if !matches!(scope, "Cluster" | "Namespaced") {
        let known = ["Cluster", "Namespaced"];
        errors.push(FieldError::not_supported("spec.scope", scope, &known));
    }
    protected(errors, object, of);
}

/// Groups of Kubernetes are for what Kubernetes approved.
fn protected(errors: &mut Vec<FieldError>, object: &Value, of: &Definition) {
    const APPROVAL: &str = "api-approved.kubernetes.io";
    let is_in = |domain: &str| {
        of.group
            .strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let annotation = &object["metadata"]["annotations"][APPROVAL];
    if (is_in("k8s.io") || is_in("kubernetes.io")) && annotation.as_str().unwrap_or("").is_empty() {
        errors.push(FieldError::required(
            format!("metadata.annotations[{APPROVAL}]"),
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", see \
             https://github.com/kubernetes/enhancements/pull/1111",
        ));
    }
}

fn validate_versions(errors: &mut Vec<FieldError>, of: &Definition) {
    let all: Vec<&str> = of
        .versions
        .iter()
        .map(|version| version.name.as_str())
        .collect();
    let shown: Value = all.clone().into();
    if all.is_empty() {
        errors.push(FieldError::required(
            "spec.versions",
            "must have at least one version",
        ));
        return;
    }
    if all.len() > MOST_VERSIONS {
        errors.push(FieldError::too_many(
            "spec.versions",
            all.len(),
            MOST_VERSIONS,
        ));
    }
    for (at, name) in all.iter().enumerate() {
        let place = format!("spec.versions[{at}].name");
        names::push_all(errors, &place, name, names::label(name));
        if all[..at].contains(name) {
            let detail = "must contain unique version names";
            errors.push(FieldError::invalid("spec.versions", &shown, detail));
        }
    }
    if of.versions.iter().filter(|version| version.storage).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", &shown, detail));
    }
}

fn validate_version(errors: &mut Vec<FieldError>, place: &str, version: &Version) {
    if version.schema().is_null() {
        let place = format!("{place}.schema.openAPIV3Schema");
        errors.push(FieldError::required(place, "schemas are required"));
        return;
    }
    errors.extend(
        version
            .compile_at(&format!("{place}.schema.openAPIV3Schema"))
            .errors,
    );
    let path =
        |errors: &mut Vec<FieldError>, at: String, text: &str, plain: bool| match Path::parse(text)
        {
            _ if text.is_empty() => errors.push(FieldError::required(at, "")),
            Ok(path) if !plain || path.fields().is_some() => {}
            Ok(_) => errors.push(FieldError::bad_text(at, text, "must be a chain of fields")),
            Err(why) => errors.push(FieldError::bad_text(at, text, &why)),
        };
    for (at, column) in read::list(&version.json, "additionalPrinterColumns")
        .iter()
        .enumerate()
    {
        let place = format!("{place}.additionalPrinterColumns[{at}]");
        path(
            errors,
            format!("{place}.jsonPath"),
            read::text(column, "jsonPath"),
            false,
        );
        if read::text(column, "name").is_empty() {
            errors.push(FieldError::required(format!("{place}.name"), ""));
        }
        let (kind, known) = (
            read::text(column, "type"),
            ["boolean", "date", "integer", "number", "string"],
        );
        if !known.contains(&kind) {
            errors.push(FieldError::not_supported(
                format!("{place}.type"),
                kind,
                &known,
            ));
        }
    }
    for (at, field) in read::list(&version.json, "selectableFields")
        .iter()
        .enumerate()
    {
        let place = format!("{place}.selectableFields[{at}].jsonPath");
        path(errors, place, read::text(field, "jsonPath"), true);
    }
    if let Some(scale) = version.scale() {
        for field in ["specReplicasPath", "statusReplicasPath"] {
            let place = format!("{place}.subresources.scale.{field}");
            path(errors, place, read::text(scale, field), true);
        }
    }
}

fn validate_change(errors: &mut Vec<FieldError>, new: &Value, old: &Value, of: &Definition) {
    for (pointer, field) in [
        ("/spec/group", "spec.group"),
        ("/spec/scope", "spec.scope"),
        ("/spec/names/plural", "spec.names.plural"),
        ("/spec/names/kind", "spec.names.kind"),
    ] {
        let (new, old) = (new.pointer(pointer), old.pointer(pointer));
        if new != old {
            let given = new.unwrap_or(&Value::Null);
            errors.push(FieldError::invalid(field, given, "field is immutable"));
        }
    }
    for (at, stored) in read::texts(&old["status"], "storedVersions")
        .iter()
        .enumerate()
    {
        if !of.versions.iter().any(|version| version.name == *stored) {
            let detail = format!(
                "missing from spec.versions; {stored} was previously a storage version, and must \
                 remain in spec.versions until a storage migration ensures no data remains \
                 persisted in {stored} and removes {stored} from status.storedVersions"
            );
            let place = format!("status.storedVersions[{at}]");
            errors.push(FieldError::bad_text(place, stored, &detail));
        }
    }
}

/// What whoever writes a definition should know: the rules that nobody evaluates here.
pub(crate) fn warnings(object: &Value) -> Vec<String> {
    let definition = Definition::of(object);
    let versions = definition.versions.iter().enumerate();
    let skipped = versions.flat_map(|(at, version)| {
        let path = format!("spec.versions[{at}].schema.openAPIV3Schema");
        version.compile_at(&path).skipped
    });
    skipped
        .map(|(place, rule, why)| {
            format!("{place}: the rule {rule:?} is not evaluated by this server: {why}")
        })
        .collect()
}
