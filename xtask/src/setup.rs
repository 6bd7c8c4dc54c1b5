//! `cargo xtask setup`: installs what a fresh Debian machine with cargo lacks.
//!
//! Looks first and touches nothing when all is there. It installs Debian packages, two rustup
//! components, cargo-nextest, and a kubectl in the target folder, and no more; elsewhere than on Debian it names what to install.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{self, cargo, program};
use crate::kubectl;

/// How much of the work is to be made possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Building, and running a lab.
    Lab,
    /// Benchmarks beside the peers too.
    Bench,
    /// Everything, the tests too.
    All,
}

/// A Debian package, the smallest scope that needs it, and the file by which it is recognised
/// where there is no dpkg.
struct Package {
    name: &'static str,
    scope: Scope,
    proof: &'static str,
}

const PACKAGES: &[Package] = &[
    Package {
        name: "gcc",
        scope: Scope::Lab,
        proof: "cc",
    },
    Package {
        name: "libc6-dev",
        scope: Scope::Lab,
        proof: "/usr/include/stdio.h",
    },
    Package {
        name: "containernetworking-plugins",
        scope: Scope::Bench,
        proof: "/usr/lib/cni/bridge",
    },
    Package {
        name: "iproute2",
        scope: Scope::Bench,
        proof: "ip",
    },
    // To take a link's help in summing up away.
    Package {
        name: "ethtool",
        scope: Scope::All,
        proof: "ethtool",
    },
    // Both kinds of it, as rules of others that are to be found.
    Package {
        name: "iptables",
        scope: Scope::All,
        proof: "iptables-legacy",
    },
    Package {
        name: "nftables",
        scope: Scope::Bench,
        proof: "nft",
    },
    Package {
        name: "strace",
        scope: Scope::All,
        proof: "strace",
    },
    // Real container runtimes, started by tests in namespaces of their own and never as services.
    Package {
        name: "containerd",
        scope: Scope::All,
        proof: "containerd",
    },
    Package {
        name: "runc",
        scope: Scope::All,
        proof: "runc",
    },
    Package {
        name: "podman",
        scope: Scope::All,
        proof: "podman",
    },
];

/// The version that is installed where there is none; any version that is there is taken.
const NEXTEST: &str = "0.9.143";

/// Installs what `scope` needs and this machine lacks.
pub(crate) fn ensure(scope: Scope) -> Result<()> {
    ensure_packages(scope)?;
    if scope == Scope::All {
        ensure_component("rustfmt", &["fmt", "--version"])?;
        ensure_component("clippy", &["clippy", "--version"])?;
        ensure_nextest()?;
    }
    kubectl::ensure().map(drop)
}

/// Installs one Debian package that something turned out to need.
pub(crate) fn install_package(name: &'static str) -> Result<()> {
    install(&[name])
}

/// Fails unless this runs as root, which `what` needs.
pub(crate) fn require_root(what: &str) -> Result<()> {
    if !is_root() {
        bail!(
            "{what} needs root: it makes network namespaces and links (nothing of the machine's \
             own network is touched). Run `sudo --preserve-env=HOME,PATH cargo xtask ...`"
        );
    }
    Ok(())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn ensure_packages(scope: Scope) -> Result<()> {
    let missing = needed_by(scope)
        .filter(|p| !is_installed(p))
        .map(|p| p.name);
    let missing: Vec<&str> = missing.collect();
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)
}

fn install(missing: &[&str]) -> Result<()> {
    let by_hand = format!("install by hand: {}", missing.join(" "));
    if !on_debian() {
        bail!("this is no Debian machine, {by_hand} (or what they are called here)");
    }
    if !is_root() {
        bail!(
            "packages are missing and only root can install them: run this as root, or {by_hand}"
        );
    }
    apt_install(missing).context(by_hand)
}

fn needed_by(scope: Scope) -> impl Iterator<Item = &'static Package> {
    PACKAGES
        .iter()
        .filter(move |package| package.scope <= scope)
}

fn on_debian() -> bool {
    command::in_path("dpkg-query") && command::in_path("apt-get")
}

fn is_installed(package: &Package) -> bool {
    if on_debian() {
        let query = [
            "--show",
            "--showformat",
            "${db:Status-Status}",
            package.name,
        ];
        return command::output(&mut program("dpkg-query", &query)).is_ok_and(|s| s == "installed");
    }
    match package.proof.starts_with('/') {
        true => Path::new(package.proof).exists(),
        false => command::in_path(package.proof),
    }
}

fn apt_install(names: &[&str]) -> Result<()> {
    command::run(apt_get(&["update"]).args(["--quiet"]))?;
    let _policy = NoServices::declare(Path::new("/usr/sbin/policy-rc.d"))?;
    command::run(apt_get(&["install", "--yes", "--quiet", "--no-install-recommends"]).args(names))
}

/// Packages that bring daemons do not start them as long as this lives: what is installed here is
/// for tests to start by themselves.
struct NoServices<'a> {
    /// The policy that was written; `None` where the machine has one of its own.
    ours: Option<&'a Path>,
}

impl NoServices<'_> {
    fn declare(path: &Path) -> Result<NoServices<'_>> {
        if path.exists() {
            return Ok(NoServices { ours: None });
        }
        let written = std::fs::write(path, "#!/bin/sh\nexit 101\n")
            .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o755)));
        let guard = NoServices { ours: Some(path) };
        written.with_context(|| format!("writing {}", path.display()))?;
        Ok(guard)
    }
}

impl Drop for NoServices<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.ours {
            // It was never there where it cannot be taken away.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = program("apt-get", arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn ensure_component(name: &str, probe: &[&str]) -> Result<()> {
    if command::succeeds(&mut cargo(probe)) {
        return Ok(());
    }
    if !command::in_path("rustup") {
        bail!("{name} is missing and there is no rustup: install {name} as cargo was installed");
    }
    command::run(&mut program("rustup", &["component", "add", name]))
}

fn ensure_nextest() -> Result<()> {
    if command::succeeds(&mut cargo(&["nextest", "--version"])) {
        return Ok(());
    }
    // Without its own updater, which would pull in a TLS stack.
    let features = ["--no-default-features", "--features", "default-no-update"];
    let install = ["install", "cargo-nextest", "--locked", "--version", NEXTEST];
    command::run(cargo(&install).args(features)).context("installing the test runner cargo-nextest")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(scope: Scope) -> Vec<&'static str> {
        needed_by(scope).map(|p| p.name).collect()
    }

    #[test]
    fn a_lab_needs_less_than_the_tests() {
        assert_eq!(names(Scope::Lab), ["gcc", "libc6-dev"]);
        assert!(names(Scope::Bench).contains(&"containernetworking-plugins"));
        assert_eq!(names(Scope::All).len(), PACKAGES.len());
    }

    #[test]
    fn services_are_held_back_only_while_packages_are_installed() {
        let path = std::env::temp_dir().join(format!("policy-rc.d-{}", std::process::id()));
        let policy = NoServices::declare(&path).expect("written");
        let held = command::status(&mut program(&path, &["containerd", "start"]));
        assert_eq!(held.expect("it runs").code(), Some(101));
        // A policy that is there already stays, whoever's it is.
        drop(NoServices::declare(&path).expect("there is one"));
        assert!(path.exists());
        drop(policy);
        assert!(!path.exists());
    }
}
