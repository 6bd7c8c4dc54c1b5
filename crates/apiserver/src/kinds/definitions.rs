//! CustomResourceDefinitions; what comes of them is in `crd`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use super::{Kind, any_status, drop_status, keep_status, only_status, read};
use crate::crd;
use crate::decode::typed;
use crate::table;

/// apiextensions.k8s.io/v1 CustomResourceDefinition.
pub(super) const DEFINITION: Kind = Kind {
    group: "apiextensions.k8s.io",
    version: "v1",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    has_status: true,
    has_scale: false,
    bumps_generation: true,
    custom: None,
    columns: table::simple::DEFINITION,
    decode: typed::<CustomResourceDefinition>,
    default,
    validate: crd::definition::validate,
    selectable: &[],
    on_create: drop_status,
    on_update: keep_status,
    on_status: only_status,
    validate_status: any_status,
};

fn default(object: &mut Value) {
    let kind = read::text(&object["spec"]["names"], "kind").to_owned();
    if let Some(spec) = object.get_mut("spec") {
        if let Some(names) = spec.get_mut("names") {
            read::default(names, "singular", kind.to_lowercase());
            read::default(names, "listKind", format!("{kind}List"));
        }
        if !read::has(spec, "conversion") {
            read::put(spec, "conversion", json!({ "strategy": "None" }));
        }
    }
}
