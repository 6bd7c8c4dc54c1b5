//! Cells and columns that several kinds have.

use jiff::Timestamp;
use serde_json::Value;

use super::age;
use crate::kinds::{Column, read};

/// What is shown for nothing.
pub(super) const NONE: &str = "<none>";

/// A column of text that is always shown.
pub(super) const fn text(
    name: &'static str,
    description: &'static str,
    cell: fn(&Value, Timestamp) -> Value,
) -> Column {
    Column {
        name,
        kind: "string",
        format: "",
        description,
        priority: 0,
        cell,
    }
}

/// A column of numbers that is always shown.
pub(super) const fn number(
    name: &'static str,
    description: &'static str,
    cell: fn(&Value, Timestamp) -> Value,
) -> Column {
    Column {
        name,
        kind: "integer",
        format: "",
        description,
        priority: 0,
        cell,
    }
}

/// A column of text that is shown with `-o wide`.
pub(super) const fn wide(
    name: &'static str,
    description: &'static str,
    cell: fn(&Value, Timestamp) -> Value,
) -> Column {
    let mut column = text(name, description, cell);
    column.priority = 1;
    column
}

/// The object's name.
pub(super) const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: "Name must be unique within a namespace. Cannot be updated.",
    priority: 0,
    cell: |object, _| read::text(&object["metadata"], "name").into(),
};

/// How long ago the object was made.
pub(super) const AGE: Column = text(
    "Age",
    "CreationTimestamp is the server time when this object was created, shown as its age.",
    |object, now| age::since(read::text(&object["metadata"], "creationTimestamp"), now).into(),
);

/// The text, or `instead` if it is empty.
pub(super) fn or<'a>(text: &'a str, instead: &'a str) -> &'a str {
    if text.is_empty() { instead } else { text }
}

/// The texts with commas between, or `<none>`.
pub(super) fn joined<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<&str> = texts.into_iter().collect();
    or(&texts.join(","), NONE).to_owned()
}

/// The first few texts with commas between, and how many there are besides.
pub(super) fn few(texts: &[String], most: usize, instead: &str) -> String {
    let shown = texts
        .iter()
        .take(most)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(",");
    match texts.len().checked_sub(most) {
        Some(more) if more > 0 => format!("{shown} + {more} more..."),
        _ => or(&shown, instead).to_owned(),
    }
}

/// Addresses and names of a load balancer.
pub(super) fn balancer(object: &Value) -> Vec<&str> {
    read::list(&object["status"]["loadBalancer"], "ingress")
        .iter()
        .map(|ingress| or(read::text(ingress, "ip"), read::text(ingress, "hostname")))
        .filter(|address| !address.is_empty())
        .collect()
}

/// The names of a spec's containers.
pub(super) fn container_names(spec: &Value) -> String {
    let names = read::list(spec, "containers")
        .iter()
        .map(|container| read::text(container, "name"));
    names.collect::<Vec<_>>().join(",")
}

/// The images of a spec's containers.
pub(super) fn container_images(spec: &Value) -> String {
    let images = read::list(spec, "containers")
        .iter()
        .map(|container| read::text(container, "image"));
    images.collect::<Vec<_>>().join(",")
}
