//! `cargo xtask image`: the container image as an archive, made without Docker and to the byte the
//! same for the same binaries. It holds the two binaries and nothing else that runs.

mod elf;
mod layout;
mod libraries;
#[cfg(test)]
mod tests;
mod tree;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;

use crate::{dist, metadata};
use layout::{Image, Layout};
use tree::Tree;

const HELP: &str = "\
Write the container image, an OCI image layout in one archive, for `ctr images import`,
`podman load`, `docker load` and `skopeo copy oci-archive:`

  --out FILE    where to [seaway-image.tar in cargo's target folder]
  --from DIR    of the binaries in this folder, instead of building those that users run;
                dynamic ones get the libraries of this machine, for tests
SOURCE_DATE_EPOCH is the time of all files, in seconds since 1970 [0].
";

/// The programs, at these paths; the first one starts.
const PROGRAMS: [(&str, &str); 2] = [
    ("seaway", "usr/bin/seaway"),
    ("seaway-cni", "usr/bin/seaway-cni"),
];
/// Folders that runtimes mount something on, and the usual ones that programs look for.
const FOLDERS: [&str; 6] = ["dev", "etc", "proc", "run", "sys", "var"];

/// Makes the image that the arguments ask for.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let Some(options) = Options::parse(args)? else {
        print!("{HELP}");
        return Ok(());
    };
    let folder = match options.from {
        Some(folder) => folder,
        None => dist::build()?,
    };
    let out = match options.out {
        Some(out) => out,
        None => metadata::load()?.target.join("seaway-image.tar"),
    };
    let image = image(&folder, time()?)?;
    let layout = image.layout()?;
    write(&out, &layout.archive)?;
    show(&out, &image, &layout);
    Ok(())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    out: Option<PathBuf>,
    from: Option<PathBuf>,
}

impl Options {
    /// Nothing when help is asked for.
    fn parse(args: &[String]) -> Result<Option<Self>> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(name) = args.next() {
            let place = match name.as_str() {
                "--out" => &mut options.out,
                "--from" => &mut options.from,
                "--help" | "-h" => return Ok(None),
                other => bail!("`cargo xtask image` does not know {other:?}\n\n{HELP}"),
            };
            let value = args
                .next()
                .with_context(|| format!("{name} needs a value"))?;
            *place = Some(PathBuf::from(value));
        }
        Ok(Some(options))
    }
}

fn time() -> Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => seconds.parse().context("SOURCE_DATE_EPOCH"),
        Err(_) => Ok(0),
    }
}

/// The image of the binaries in a folder.
fn image(folder: &Path, time: u64) -> Result<Image> {
    let mut files = Tree::default();
    for name in FOLDERS {
        files.folder(name, 0o755);
    }
    files.folder("tmp", 0o1777);
    let mut architectures = Vec::new();
    let mut dynamic = false;
    for (name, place) in PROGRAMS {
        let path = folder.join(name);
        let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let elf = elf::read(&bytes).with_context(|| format!("reading {}", path.display()))?;
        files.file(place, 0o755, bytes);
        architectures.push(elf.architecture);
        if elf.dynamic {
            dynamic = true;
            libraries::add(&mut files, &path)?;
        }
    }
    architectures.dedup();
    ensure!(
        architectures.len() == 1,
        "the programs in {} are for {architectures:?}",
        folder.display()
    );
    Ok(Image {
        files,
        architecture: architectures[0],
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time,
        // What users never get only has to be there soon.
        compression: if dynamic {
            Compression::fast()
        } else {
            Compression::best()
        },
    })
}

/// Replaces what may be in use.
fn write(out: &Path, archive: &[u8]) -> Result<()> {
    let draft = out.with_extension("new");
    let written = std::fs::write(&draft, archive).and_then(|()| std::fs::rename(&draft, out));
    written.with_context(|| format!("writing {}", out.display()))
}

fn show(out: &Path, image: &Image, layout: &Layout) {
    println!(
        "{}  {} for linux/{}",
        out.display(),
        image.name(),
        image.architecture
    );
    println!("{}", layout.digest);
    let kilobytes = |bytes: usize| bytes.div_ceil(1000);
    println!(
        "{} kB compressed, {} kB on a node",
        kilobytes(layout.packed),
        kilobytes(layout.unpacked)
    );
}
