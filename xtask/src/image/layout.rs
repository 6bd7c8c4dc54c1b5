//! An image of one layer as an OCI image layout: blobs by their digests, and who names whom.
//! `manifest.json` beside them says the same for `docker load`.

use std::io::Write;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::tree::Tree;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Where the source is, once the workspace says so.
const SOURCE: &str = env!("CARGO_PKG_REPOSITORY");

/// What makes an image.
pub(super) struct Image {
    /// Its only layer.
    pub(super) files: Tree,
    /// The processor that it is for.
    pub(super) architecture: &'static str,
    /// The version that names it.
    pub(super) version: String,
    /// The time of all that is in it, in seconds since 1970.
    pub(super) time: u64,
    /// How hard to compress.
    pub(super) compression: Compression,
}

/// An image, ready to be written.
pub(super) struct Layout {
    /// The archive.
    pub(super) archive: Vec<u8>,
    /// What the image is known by.
    pub(super) digest: String,
    /// The layer as it lies on a node.
    pub(super) unpacked: usize,
    /// The layer as it travels.
    pub(super) packed: usize,
}

impl Image {
    /// Lays it out.
    pub(super) fn layout(&self) -> Result<Layout> {
        let layer = self.files.archive(self.time)?;
        let packed = compress(&layer, self.compression).context("compressing the layer")?;
        let mut blobs = Blobs::default();
        let layer_blob = blobs.add(LAYER, &packed);
        let config = self.config(&digest(&layer))?;
        let config_blob = blobs.add(CONFIG, config.to_string().as_bytes());
        let manifest = self.manifest(&config_blob, &layer_blob);
        let mut manifest_blob = blobs.add(MANIFEST, manifest.to_string().as_bytes());
        let digest = manifest_blob["digest"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        manifest_blob["annotations"] = self.names();
        manifest_blob["platform"] = json!({"architecture": self.architecture, "os": "linux"});
        let mut tree = blobs.0;
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest_blob]});
        add(&mut tree, "index.json", &index);
        add(
            &mut tree,
            "oci-layout",
            &json!({"imageLayoutVersion": "1.0.0"}),
        );
        add(
            &mut tree,
            "manifest.json",
            &self.for_docker(&config_blob, &layer_blob),
        );
        Ok(Layout {
            archive: tree.archive(self.time)?,
            digest,
            unpacked: layer.len(),
            packed: packed.len(),
        })
    }

    /// The name that people write.
    pub(super) fn name(&self) -> String {
        format!("seaway:{}", self.version)
    }

    fn config(&self, layer: &str) -> Result<Value> {
        let created = self.created()?;
        Ok(json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": created,
            "config": {
                "User": "0:0",
                "Entrypoint": ["/usr/bin/seaway"],
                "Env": ["PATH=/usr/bin"],
                "WorkingDir": "/",
                "Labels": self.labels(),
            },
            "rootfs": {"type": "layers", "diff_ids": [layer]},
            "history": [{"created": created, "created_by": "cargo xtask image"}],
        }))
    }

    fn created(&self) -> Result<String> {
        let seconds = i64::try_from(self.time)?;
        let time = jiff::Timestamp::from_second(seconds);
        Ok(time.context("the time of the image")?.to_string())
    }

    fn labels(&self) -> Value {
        let mut labels = json!({
            "org.opencontainers.image.title": "seaway",
            "org.opencontainers.image.version": self.version,
            "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
        });
        if !SOURCE.is_empty() {
            labels["org.opencontainers.image.source"] = SOURCE.into();
        }
        labels
    }

    fn manifest(&self, config: &Value, layer: &Value) -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
            "annotations": self.labels(),
        })
    }

    /// The names under which containerd and others take the image in. containerd wants the full one.
    fn names(&self) -> Value {
        json!({
            "org.opencontainers.image.ref.name": self.name(),
            "io.containerd.image.name": format!("docker.io/library/{}", self.name()),
        })
    }

    fn for_docker(&self, config: &Value, layer: &Value) -> Value {
        let path = |blob: &Value| blob_path(blob["digest"].as_str().unwrap_or_default());
        json!([{"Config": path(config), "RepoTags": [self.name()], "Layers": [path(layer)]}])
    }
}

/// Blobs, each at the path of its digest.
#[derive(Default)]
struct Blobs(Tree);

impl Blobs {
    /// Adds one and gives what names it.
    fn add(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        self.0.file(&blob_path(&digest), 0o644, bytes.to_vec());
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }
}

fn add(tree: &mut Tree, path: &str, document: &Value) {
    tree.file(path, 0o644, document.to_string().into_bytes());
}

fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Compresses with a header that tells nothing of this machine and this moment.
fn compress(bytes: &[u8], compression: Compression) -> std::io::Result<Vec<u8>> {
    const UNKNOWN_SYSTEM: u8 = 255;
    let builder = GzBuilder::new().mtime(0).operating_system(UNKNOWN_SYSTEM);
    let mut encoder = builder.write(Vec::new(), compression);
    encoder.write_all(bytes)?;
    encoder.finish()
}
