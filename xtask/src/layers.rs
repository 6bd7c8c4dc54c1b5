//! `cargo xtask layers`: who may depend on whom, where async and `unsafe` may be.
//!
//! The table is the architecture's: each crate may use only what stands below it, and nothing
//! imports a daemon but the binary. A new crate fails until it has a line here.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::metadata::{self, Dependency, Package};
use crate::sources::{self, Source};

/// What a crate may depend on among the packages of the workspace.
enum Below {
    /// These and no others.
    Only(&'static [&'static str]),
    /// Every package: the rim of the workspace.
    Anything,
}

const LAYERS: &[(&str, Below)] = &[
    ("seaway-model", Below::Only(&[])),
    ("seaway-plan", Below::Only(&["seaway-model"])),
    (
        "seaway-kernel",
        Below::Only(&["seaway-model", "seaway-plan"]),
    ),
    ("seaway-cni", Below::Only(&["seaway-model"])),
    ("seaway-deploy", Below::Only(&["seaway-model"])),
    ("seaway-dns", Below::Only(&["seaway-model"])),
    ("seaway-api", Below::Only(&["seaway-model"])),
    (
        "seaway-apiserver",
        Below::Only(&["seaway-model", "seaway-api"]),
    ),
    (
        "seaway-control",
        Below::Only(&["seaway-model", "seaway-plan", "seaway-api"]),
    ),
    (
        "seaway-agent",
        Below::Only(&[
            "seaway-model",
            "seaway-plan",
            "seaway-kernel",
            "seaway-cni",
            "seaway-api",
            "seaway-dns",
        ]),
    ),
    (
        "seaway-lab",
        Below::Only(&[
            "seaway-model",
            "seaway-kernel",
            "seaway-cni",
            "seaway-api",
            "seaway-deploy",
        ]),
    ),
    ("seaway", Below::Anything),
    (
        TESTKIT,
        Below::Only(&["seaway-model", "seaway-plan", "seaway-kernel", "seaway-cni"]),
    ),
    ("seaway-tests", Below::Anything),
    ("seaway-bench", Below::Anything),
    ("xtask", Below::Only(&[])),
];

/// Helps tests; may be a dev-dependency of every crate and a plain one of the test packages only.
const TESTKIT: &str = "seaway-testkit";
const TEST_PACKAGES: [&str; 2] = ["seaway-tests", "seaway-bench"];

/// What tests alone may use besides what is below them: daemons meet over the API server, so the
/// tests of what speaks to it may run one.
const FOR_TESTS: [(&str, &str); 3] = [
    ("seaway-api", "seaway-apiserver"),
    ("seaway-control", "seaway-apiserver"),
    ("seaway-lab", "seaway-apiserver"),
];

/// Async stops at the rim: these crates have none.
const SYNCHRONOUS: [&str; 5] = [
    "seaway-model",
    "seaway-plan",
    "seaway-kernel",
    "seaway-cni",
    "seaway-deploy",
];
const ASYNC_RUNTIMES: [&str; 5] = ["tokio", "async-std", "smol", "monoio", "glommio"];

/// The only folder whose code may allow `unsafe`.
const UNSAFE_HOME: &str = "crates/kernel";

/// Checks the whole workspace.
pub(crate) fn run() -> Result<()> {
    let metadata = metadata::load()?;
    let mut breaches = dependency_breaches(&metadata.packages);
    breaches.extend(unsafe_breaches(&sources::with_extension("rs")?));
    breaches.extend(unsafe_breaches(&sources::with_extension("toml")?));
    breaches.extend(lint_breaches(&metadata.packages)?);
    if !breaches.is_empty() {
        bail!("the layers are broken:\n  {}", breaches.join("\n  "));
    }
    eprintln!(
        "layers: {} packages as they should be",
        metadata.packages.len()
    );
    Ok(())
}

fn dependency_breaches(packages: &[Package]) -> Vec<String> {
    let names: Vec<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    packages
        .iter()
        .flat_map(|package| package_breaches(package, &names))
        .collect()
}

fn package_breaches(package: &Package, ours: &[&str]) -> Vec<String> {
    let name = package.name.as_str();
    let Some((_, below)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
        return vec![format!(
            "{name} has no layer: give it a line in xtask/src/layers.rs"
        )];
    };
    let breach = |dependency: &Dependency| {
        let reason = match ours.contains(&dependency.name.as_str()) {
            true => own_breach(name, below, dependency),
            false => foreign_breach(name, dependency),
        };
        reason.map(|reason| format!("{name} depends on {}: {reason}", dependency.name))
    };
    package.dependencies.iter().filter_map(breach).collect()
}

fn own_breach(name: &str, below: &Below, dependency: &Dependency) -> Option<String> {
    if dependency.name == TESTKIT {
        let fine = dependency.dev || TEST_PACKAGES.contains(&name);
        return (!fine).then(|| "it may be a dev-dependency only".to_owned());
    }
    if dependency.dev && FOR_TESTS.contains(&(name, dependency.name.as_str())) {
        return None;
    }
    match below {
        Below::Anything => None,
        Below::Only(allowed) if allowed.contains(&dependency.name.as_str()) => None,
        Below::Only([]) => Some("it may use no package of the workspace".to_owned()),
        Below::Only(allowed) => Some(format!("it may use only {}", allowed.join(", "))),
    }
}

fn foreign_breach(name: &str, dependency: &Dependency) -> Option<String> {
    let runtime = ASYNC_RUNTIMES.contains(&dependency.name.as_str());
    (runtime && SYNCHRONOUS.contains(&name)).then(|| "it is to stay synchronous".to_owned())
}

fn unsafe_breaches(files: &[Source]) -> Vec<String> {
    let elsewhere = files
        .iter()
        .filter(|file| !file.path.starts_with(UNSAFE_HOME));
    elsewhere.filter_map(unsafe_breach).collect()
}

fn unsafe_breach(file: &Source) -> Option<String> {
    let line = file.text.lines().position(relaxes_unsafe)?;
    let place = file.path.display();
    Some(format!(
        "{place}:{}: only {UNSAFE_HOME} may use unsafe code",
        line + 1
    ))
}

/// The workspace denies unsafe code, so what remains to be found is a line that allows it again.
fn relaxes_unsafe(line: &str) -> bool {
    let line = line.trim();
    let names_it = line.contains("unsafe_code") || line.contains("unsafe-code");
    let keeps_it = ["\"deny\"", "\"forbid\"", "deny(", "forbid("]
        .iter()
        .any(|k| line.contains(k));
    let is_code = line.starts_with("#!") || line.starts_with("#[") || line.starts_with("unsafe");
    names_it && is_code && !keeps_it
}

fn lint_breaches(packages: &[Package]) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    for package in packages.iter().filter(|p| !may_be_unsafe(p)) {
        let text = read(&package.manifest)?;
        if !takes_workspace_lints(&text) {
            breaches.push(format!("{} lacks `[lints] workspace = true`", package.name));
        }
    }
    Ok(breaches)
}

/// Lints are inherited as a whole or not at all, so the home of `unsafe` has to spell them out.
fn may_be_unsafe(package: &Package) -> bool {
    let folder = package.manifest.parent();
    folder.is_some_and(|folder| folder.ends_with(UNSAFE_HOME))
}

fn read(manifest: &Path) -> Result<String> {
    std::fs::read_to_string(manifest).with_context(|| format!("reading {}", manifest.display()))
}

fn takes_workspace_lints(manifest: &str) -> bool {
    let mut lines = manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[lints]")
        .skip(1);
    lines.find(|line| !line.is_empty()) == Some("workspace = true")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, plain: &[&str], dev: &[&str]) -> Package {
        let kinds = [(plain, false), (dev, true)];
        let dependencies = kinds.iter().flat_map(|(names, dev)| {
            names.iter().map(|name| Dependency {
                name: (*name).to_owned(),
                dev: *dev,
            })
        });
        Package {
            name: name.to_owned(),
            manifest: "Cargo.toml".into(),
            dependencies: dependencies.collect(),
        }
    }

    fn breaches(broken: Package) -> Vec<String> {
        let others = LAYERS.iter().filter(|(name, _)| *name != broken.name);
        let mut packages: Vec<_> = others.map(|(name, _)| package(name, &[], &[])).collect();
        packages.push(broken);
        dependency_breaches(&packages)
    }

    #[test]
    fn what_the_table_allows_is_no_breach() {
        for good in [
            package("seaway-model", &["serde"], &["proptest"]),
            package(
                "seaway-kernel",
                &["seaway-model", "seaway-plan"],
                &["seaway-testkit"],
            ),
            package("seaway", &["seaway-agent", "seaway-lab", "tokio"], &[]),
            package("seaway-tests", &["seaway-testkit", "seaway-lab"], &[]),
            package("seaway-agent", &["seaway-api", "tokio"], &[]),
            package("seaway-control", &["seaway-api"], &["seaway-apiserver"]),
        ] {
            assert_eq!(breaches(good), Vec::<String>::new());
        }
    }

    #[test]
    fn a_dependency_upwards_is_named_with_what_is_allowed() {
        let found = breaches(package("seaway-plan", &["seaway-kernel"], &[]));
        let expected = "seaway-plan depends on seaway-kernel: it may use only seaway-model";
        assert_eq!(found, [expected]);
        let found = breaches(package("seaway-model", &[], &["seaway-plan"]));
        assert!(
            found[0].contains("no package of the workspace"),
            "{found:?}"
        );
        let found = breaches(package("seaway-lab", &["seaway-agent"], &[]));
        assert_eq!(
            found.len(),
            1,
            "nothing imports a daemon but the binary: {found:?}"
        );
    }

    #[test]
    fn testkit_stays_out_of_what_is_shipped() {
        let found = breaches(package("seaway", &["seaway-testkit"], &[]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("dev-dependency"), "{found:?}");
    }

    #[test]
    fn the_api_server_is_for_tests_only() {
        let found = breaches(package("seaway-control", &["seaway-apiserver"], &[]));
        assert_eq!(found.len(), 1, "{found:?}");
        let found = breaches(package("seaway-agent", &[], &["seaway-apiserver"]));
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn async_stays_at_the_rim() {
        let found = breaches(package("seaway-kernel", &["tokio"], &[]));
        assert!(found[0].contains("synchronous"), "{found:?}");
        let found = breaches(package("seaway-cni", &[], &["smol"]));
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_crate_without_a_layer_is_a_breach() {
        let found = breaches(package("seaway-new", &[], &[]));
        assert!(found[0].contains("no layer"), "{found:?}");
    }

    #[test]
    fn unsafe_is_allowed_in_one_place() {
        let file = |path: &str, text: &str| Source {
            path: path.into(),
            text: text.to_owned(),
        };
        let relaxed = "//! Doc\n#![expect(unsafe_code, reason = \"x\")]\n";
        assert!(unsafe_breaches(&[file("crates/kernel/src/a.rs", relaxed)]).is_empty());
        let found = unsafe_breaches(&[file("crates/agent/src/a.rs", relaxed)]);
        assert_eq!(
            found,
            ["crates/agent/src/a.rs:2: only crates/kernel may use unsafe code"]
        );
        for bad in [
            "#[allow(unsafe_code)]",
            "    unsafe_code,",
            "unsafe_code = \"allow\"",
        ] {
            assert!(relaxes_unsafe(bad), "{bad}");
        }
        for good in [
            "unsafe_code = \"deny\"",
            "#![forbid(unsafe_code)]",
            "// unsafe_code is denied",
        ] {
            assert!(!relaxes_unsafe(good), "{good}");
        }
    }

    #[test]
    fn workspace_lints_are_required() {
        let at = |manifest: &str| Package {
            manifest: manifest.into(),
            ..package("p", &[], &[])
        };
        assert!(may_be_unsafe(&at("/r/crates/kernel/Cargo.toml")));
        assert!(!may_be_unsafe(&at("/r/crates/plan/Cargo.toml")));
        assert!(takes_workspace_lints(
            "[package]\n[lints]\nworkspace = true\n"
        ));
        assert!(!takes_workspace_lints(
            "[package]\n[lints]\n[dependencies]\nworkspace = true"
        ));
        assert!(!takes_workspace_lints("[package]\nname = \"a\"\n"));
    }
}
