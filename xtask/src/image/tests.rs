//! Images made, read back, and compared.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime};

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, OciLayout};
use sha2::{Digest, Sha256};

use super::elf::tests::program;
use super::*;

const AMD64: u16 = 0x3e;

/// A folder of two static programs, which were written in this order and at this time.
fn folder(names: [&str; 2], written: SystemTime) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in names {
        let path = folder.path().join(name);
        let mut bytes = program(AMD64, &[1]);
        bytes.extend_from_slice(name.as_bytes());
        fs::write(&path, bytes).expect("a file");
        let file = fs::File::open(&path).expect("the file");
        file.set_modified(written).expect("its time");
    }
    folder
}

fn made(folder: &Path, time: u64) -> Layout {
    image(folder, time)
        .and_then(|image| image.layout())
        .expect("an image")
}

/// The regular files of an archive.
fn unpacked(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().expect("an archive").map(|entry| {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("its bytes");
        (path, bytes)
    });
    entries.collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The blob that is named, after checking that it is what it is named.
fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, named: &Descriptor) -> &'a [u8] {
    let digest = named.digest().digest();
    let bytes = &files[&format!("blobs/sha256/{digest}")];
    assert_eq!(sha256(bytes), digest);
    assert_eq!(bytes.len() as u64, named.size());
    bytes
}

#[test]
fn the_same_programs_make_the_same_image() {
    let now = SystemTime::now();
    let one = folder(["seaway", "seaway-cni"], now);
    let two = folder(["seaway-cni", "seaway"], now - Duration::from_secs(86400));
    let (first, again) = (made(one.path(), 0), made(one.path(), 0));
    let other = made(two.path(), 0);
    assert_eq!(first.digest, again.digest);
    assert!(first.archive == again.archive && first.archive == other.archive);
    assert_ne!(
        first.digest,
        made(one.path(), 1).digest,
        "the time is part of it"
    );
    fs::write(two.path().join("seaway-cni"), program(AMD64, &[])).expect("another program");
    assert_ne!(first.digest, made(two.path(), 0).digest);
}

#[test]
fn an_image_reads_as_the_specification_says() {
    let folder = folder(["seaway", "seaway-cni"], SystemTime::now());
    let layout = made(folder.path(), 1_700_000_000);
    let files = unpacked(&layout.archive);
    OciLayout::from_reader(files["oci-layout"].as_slice()).expect("the mark of a layout");
    let index = ImageIndex::from_reader(files["index.json"].as_slice()).expect("an index");
    let [named] = index.manifests().as_slice() else {
        panic!("one image: {index:?}");
    };
    assert_eq!(named.digest().to_string(), layout.digest);
    let names = named.annotations().as_ref().expect("names");
    let name = format!("seaway:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(names["org.opencontainers.image.ref.name"], name);
    assert_eq!(
        names["io.containerd.image.name"],
        format!("docker.io/library/{name}")
    );

    let manifest = ImageManifest::from_reader(blob(&files, named)).expect("a manifest");
    let config =
        ImageConfiguration::from_reader(blob(&files, manifest.config())).expect("a config");
    assert_eq!(config.architecture().to_string(), "amd64");
    assert_eq!(config.created().as_deref(), Some("2023-11-14T22:13:20Z"));
    let process = config.config().as_ref().expect("how to run it");
    assert_eq!(
        process.entrypoint().as_deref(),
        Some(["/usr/bin/seaway".to_owned()].as_slice())
    );
    assert_eq!(process.user().as_deref(), Some("0:0"));

    let [layer] = manifest.layers().as_slice() else {
        panic!("one layer: {manifest:?}");
    };
    let packed = blob(&files, layer);
    let mut tar = Vec::new();
    let mut unzip = flate2::read::GzDecoder::new(packed);
    unzip.read_to_end(&mut tar).expect("gzip");
    assert_eq!(
        config.rootfs().diff_ids().as_slice(),
        [format!("sha256:{}", sha256(&tar))]
    );
    assert_eq!((layout.packed, layout.unpacked), (packed.len(), tar.len()));
    let inside = unpacked(&tar);
    let paths: Vec<_> = inside.keys().map(String::as_str).collect();
    let expected = [
        "dev/",
        "etc/",
        "proc/",
        "run/",
        "sys/",
        "tmp/",
        "usr/",
        "usr/bin/",
        "usr/bin/seaway",
        "usr/bin/seaway-cni",
        "var/",
    ];
    assert_eq!(paths, expected);
    for name in ["seaway", "seaway-cni"] {
        let bytes = fs::read(folder.path().join(name)).expect("the program");
        assert!(inside[&format!("usr/bin/{name}")] == bytes);
    }
}

#[test]
fn docker_finds_the_same_blobs() {
    let folder = folder(["seaway", "seaway-cni"], SystemTime::now());
    let files = unpacked(&made(folder.path(), 0).archive);
    let list: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).expect("JSON");
    let image = &list[0];
    assert_eq!(
        image["RepoTags"][0],
        format!("seaway:{}", env!("CARGO_PKG_VERSION"))
    );
    for path in [&image["Config"], &image["Layers"][0]] {
        let path = path.as_str().expect("a path");
        assert!(files.contains_key(path), "{path}");
    }
}

#[test]
fn a_dynamic_program_brings_its_libraries() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = std::env::current_exe().expect("this test");
    for name in ["seaway", "seaway-cni"] {
        fs::copy(&own, folder.path().join(name)).expect("a copy");
    }
    let image = image(folder.path(), 0).expect("an image");
    let inside = unpacked(&image.files.archive(0).expect("an archive"));
    let libc = inside.keys().any(|path| path.contains("libc.so"));
    let loader = inside.keys().any(|path| path.contains("ld-linux"));
    assert!(libc && loader, "{:?}", inside.keys());
}

#[test]
fn what_makes_no_image_is_named() {
    let folder = folder(["seaway", "seaway-cni"], SystemTime::now());
    let plugin = folder.path().join("seaway-cni");
    fs::write(&plugin, program(0xb7, &[])).expect("another machine's");
    let error = image(folder.path(), 0)
        .err()
        .expect("two machines")
        .to_string();
    assert!(
        error.contains("amd64") && error.contains("arm64"),
        "{error}"
    );
    fs::remove_file(&plugin).expect("it was there");
    let error = image(folder.path(), 0)
        .err()
        .expect("one is missing")
        .to_string();
    assert!(error.contains("seaway-cni"), "{error}");
}

#[test]
fn options_are_read() {
    let parse = |words: &[&str]| {
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        Options::parse(&words)
    };
    let options = parse(&["--from", "bin", "--out", "x.tar"])
        .expect("good")
        .expect("no help");
    assert_eq!(options.from.as_deref(), Some(Path::new("bin")));
    assert_eq!(options.out.as_deref(), Some(Path::new("x.tar")));
    assert_eq!(parse(&["--help"]).expect("good"), None);
    assert!(parse(&["--out"]).is_err());
    assert!(parse(&["--fast"]).is_err());
}
