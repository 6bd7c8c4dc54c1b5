//! What cargo knows of the workspace: its packages, their direct dependencies, the target folder.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;

/// The workspace.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// The packages of the workspace.
    pub(crate) packages: Vec<Package>,
}

/// A package of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest: PathBuf,
    /// What it depends on directly.
    pub(crate) dependencies: Vec<Dependency>,
}

/// A direct dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// The package that is depended on.
    pub(crate) name: String,
    /// Whether it is for tests only.
    pub(crate) dev: bool,
}

/// Asks cargo.
pub(crate) fn load() -> Result<Metadata> {
    let arguments = ["metadata", "--no-deps", "--format-version", "1"];
    let text = command::output(&mut command::cargo(&arguments))?;
    parse(&text).context("reading the output of `cargo metadata`")
}

fn parse(text: &str) -> Result<Metadata> {
    let root: Value = serde_json::from_str(text)?;
    Ok(Metadata {
        target: PathBuf::from(string(&root, "target_directory")?),
        packages: list(&root, "packages")?
            .iter()
            .map(package)
            .collect::<Result<_>>()?,
    })
}

fn package(value: &Value) -> Result<Package> {
    let dependencies = list(value, "dependencies")?;
    Ok(Package {
        name: string(value, "name")?,
        manifest: PathBuf::from(string(value, "manifest_path")?),
        dependencies: dependencies.iter().map(dependency).collect::<Result<_>>()?,
    })
}

fn dependency(value: &Value) -> Result<Dependency> {
    let dev = value["kind"].as_str() == Some("dev");
    Ok(Dependency {
        name: string(value, "name")?,
        dev,
    })
}

fn string(value: &Value, key: &str) -> Result<String> {
    let text = value[key]
        .as_str()
        .with_context(|| format!("no text {key:?}"))?;
    Ok(text.to_owned())
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key]
        .as_array()
        .with_context(|| format!("no list {key:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_their_dependencies_are_read() {
        let text = r#"{"target_directory": "/t", "packages": [{"name": "a", "manifest_path": "/a/Cargo.toml",
            "dependencies": [{"name": "b", "kind": null}, {"name": "c", "kind": "dev"}]}]}"#;
        let metadata = parse(text).expect("valid");
        assert_eq!(metadata.target, PathBuf::from("/t"));
        let a = &metadata.packages[0];
        let kinds: Vec<_> = a
            .dependencies
            .iter()
            .map(|d| (d.name.as_str(), d.dev))
            .collect();
        assert_eq!(kinds, [("b", false), ("c", true)]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = parse(r#"{"target_directory": "/t"}"#).expect_err("no packages");
        assert!(error.to_string().contains("packages"), "{error}");
        assert!(parse("no JSON").is_err());
    }
}
