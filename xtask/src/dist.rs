//! `cargo xtask build`: the binaries that users run, static and small, for this machine's triple.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{self, cargo, program};
use crate::metadata;

/// The binaries that users run, each in the package of the same name, and the profile that it is
/// built with: what is started for every Pod is worth more of the compiler's time.
const BINARIES: [(&str, &str); 2] = [("seaway", FOLDER), ("seaway-cni", "plugin")];
/// The profile whose folder holds both.
const FOLDER: &str = "dist";

/// Complete in themselves and at a fixed address: the fewest page faults and relocations at start.
const STATIC: [&str; 2] = ["target-feature=+crt-static", "relocation-model=static"];

/// Builds them and gives the folder that holds them.
pub(crate) fn build() -> Result<PathBuf> {
    let triple = host_triple()?;
    let built = metadata::load()?.target.join(&triple);
    let dir = built.join(FOLDER);
    for (name, profile) in BINARIES {
        command::run(&mut cargo_build(&triple, name, profile))?;
        if profile != FOLDER {
            replace(&built.join(profile).join(name), &dir.join(name))?;
        }
        show(&dir.join(name))?;
    }
    Ok(dir)
}

/// Builds both as a later version would be, whose formats are others, and gives the folder of their own
/// that holds them. For tests of upgrades: unoptimised, as tests are, since only what they keep and
/// read counts; what is not ours is compiled for the tests anyway.
pub(crate) fn build_next() -> Result<PathBuf> {
    let target = metadata::load()?.target;
    let dir = target.join("next");
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let mut build = cargo(&["build", "--features", "next-format"]);
    for (name, _) in BINARIES {
        build.args(["--package", name]);
    }
    command::run(&mut build)?;
    for (name, _) in BINARIES {
        replace(&target.join("debug").join(name), &dir.join(name))?;
        show(&dir.join(name))?;
    }
    Ok(dir)
}

/// Puts a copy in the place of what may be running.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let draft = to.with_extension("new");
    let copied = std::fs::copy(from, &draft).and_then(|_| std::fs::rename(&draft, to));
    copied.with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

/// What the two programs that only start and end are linked with.
const FLOORS: [(&str, &[&str]); 2] = [
    ("true", &[]),
    (
        "bare",
        &[
            "link-arg=-nostartfiles",
            "link-arg=-nostdlib",
            "link-arg=-static",
        ],
    ),
];

/// Builds the floors of every start of a process into `dir`.
pub(crate) fn build_floors(dir: &Path) -> Result<()> {
    for (name, linking) in FLOORS {
        let output = dir.join(format!("seaway-{name}"));
        let mut rustc = rustc(&[&format!("bench/{name}.rs"), "--edition", "2024", "-o"]);
        rustc.arg(&output);
        let small = ["panic=abort", "opt-level=3", "strip=symbols"];
        for option in STATIC
            .into_iter()
            .chain(small)
            .chain(linking.iter().copied())
        {
            rustc.args(["-C", option]);
        }
        command::run(&mut rustc)?;
        show(&output)?;
    }
    Ok(())
}

fn cargo_build(triple: &str, name: &str, profile: &str) -> Command {
    let mut build = cargo(&["build", "--profile", profile, "--target", triple]);
    build.args(["--package", name, "--bin", name]);
    // These two would win over the flags for the target.
    build
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let flags = STATIC.map(|option| format!("-C {option}")).join(" ");
    build.env(flags_variable(triple), flags);
    build
}

fn flags_variable(triple: &str) -> String {
    let triple = triple.to_uppercase().replace(['-', '.'], "_");
    format!("CARGO_TARGET_{triple}_RUSTFLAGS")
}

fn host_triple() -> Result<String> {
    let version = command::output(&mut rustc(&["-vV"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

fn rustc(arguments: &[&str]) -> Command {
    program(
        std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()),
        arguments,
    )
}

fn show(path: &Path) -> Result<()> {
    let file = std::fs::metadata(path);
    let bytes = file
        .with_context(|| format!("looking at {}", path.display()))?
        .len();
    eprintln!("{:>8} kB  {}", bytes.div_ceil(1000), path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_go_to_the_target_only() {
        let expected = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS";
        assert_eq!(flags_variable("x86_64-unknown-linux-gnu"), expected);
        let build = cargo_build("x86_64-unknown-linux-gnu", "seaway", "dist");
        let envs: Vec<_> = build.get_envs().collect();
        assert!(envs.contains(&("RUSTFLAGS".as_ref(), None)), "{envs:?}");
        let flags = "-C target-feature=+crt-static -C relocation-model=static";
        assert!(
            envs.contains(&(expected.as_ref(), Some(flags.as_ref()))),
            "{envs:?}"
        );
    }
}
