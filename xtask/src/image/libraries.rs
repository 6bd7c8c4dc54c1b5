//! The libraries of this machine that a dynamic program needs, for images of debug builds.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::tree::{self, Tree};
use crate::command::{self, program};

/// Adds them at the paths where the program's loader finds them.
pub(super) fn add(files: &mut Tree, path: &Path) -> Result<()> {
    let mut ldd = program("ldd", &[]);
    let text = command::output(ldd.arg(path))?;
    for library in parse(&text)? {
        let bytes = std::fs::read(library).with_context(|| format!("reading {library}"))?;
        files.file(tree::relative(library)?, 0o755, bytes);
    }
    Ok(())
}

/// The paths in what `ldd` prints: `name => path (address)`, or `path (address)` for the loader.
fn parse(text: &str) -> Result<Vec<&str>> {
    let mut libraries = Vec::new();
    for line in text.lines() {
        let found = line.split_once("=>").map_or(line, |(_, path)| path).trim();
        let path = found.rsplit_once(" (").map_or(found, |(path, _)| path);
        match path.starts_with('/') {
            true => libraries.push(path),
            // The kernel's own.
            false if path.starts_with("linux-vdso") => {}
            false => bail!("a library is missing: {}", line.trim()),
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_and_missing_ones_named() {
        let text = "\tlinux-vdso.so.1 (0x7f47)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7f46)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x7f48)\n";
        let expected = ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(parse(text).expect("all there"), expected);
        let error = parse("\tlibz.so.1 => not found\n").expect_err("one is missing");
        assert!(error.to_string().contains("libz.so.1"), "{error}");
    }
}
