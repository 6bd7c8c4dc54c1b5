//! What does not fit a link's alias, cached in the state directory (tmpfs): which Pod, and where
//! its namespace is. Also where address allocation goes on.
//!
//! Never truth: each file may be missing, torn or stale, and is then as good as absent.
//!
//! - `attachments/<host link>.json`: a [`Record`];
//! - `cursors.json`: the address handed out last, by pod CIDR.
//!
//! Beside them, and truth as far as anybody knows it, is `uplink-settings.json`: what settings of the
//! uplink were before us. It is the realiser's. And `api-servers.json`, a cache of the watch's.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use seaway_kernel::realise::PodNetns;
use seaway_model::{Attachment, AttachmentId, PodName, Wiring, host_link_name};
use serde::{Deserialize, Serialize};

use crate::source::api::ApiSource;

/// What is known of an attachment beside the kernel's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) attachment: Attachment,
    // The next form says it in full; each version reads both.
    #[cfg_attr(feature = "next-format", serde(rename = "podName", alias = "pod"))]
    #[cfg_attr(not(feature = "next-format"), serde(alias = "podName"))]
    pub(crate) pod: Option<PodName>,
    pub(crate) netns_path: Option<PathBuf>,
    pub(crate) netns: Option<PodNetns>,
    /// How it was wired; the kernel's own word is good only as long as nobody touches the link.
    #[serde(default)]
    pub(crate) wiring: Option<Wiring>,
}

impl Record {
    /// The record of an attachment of which nothing else is known.
    pub(crate) fn bare(attachment: Attachment) -> Record {
        Record {
            attachment,
            pod: None,
            netns_path: None,
            netns: None,
            wiring: None,
        }
    }
}

/// The cache.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    folder: PathBuf,
    cursors: PathBuf,
    saved: PathBuf,
}

impl Records {
    pub(crate) fn open(state_dir: &Path) -> io::Result<Records> {
        let folder = Records::folder_in(state_dir);
        fs::create_dir_all(&folder)?;
        Ok(Records {
            folder,
            cursors: state_dir.join("cursors.json"),
            saved: Records::saved_settings_in(state_dir),
        })
    }

    /// The folder of the records in a state directory.
    pub(crate) fn folder_in(state_dir: &Path) -> PathBuf {
        state_dir.join("attachments")
    }

    /// The files in a state directory.
    pub(crate) fn files_in(state_dir: &Path) -> [PathBuf; 3] {
        [
            state_dir.join("cursors.json"),
            Records::saved_settings_in(state_dir),
            ApiSource::memory_in(state_dir),
        ]
    }

    /// Where the realiser keeps what settings of the uplink were before us.
    pub(crate) fn saved_settings_in(state_dir: &Path) -> PathBuf {
        state_dir.join("uplink-settings.json")
    }

    /// Where the realiser keeps what settings of the uplink were before us. It alone writes there.
    pub(crate) fn saved_settings(&self) -> &Path {
        &self.saved
    }

    fn path(&self, id: &AttachmentId) -> PathBuf {
        self.folder
            .join(host_link_name(id).as_str())
            .with_extension("json")
    }

    pub(crate) fn write(&self, record: &Record) {
        let path = self.path(&record.attachment.id);
        let text = serde_json::to_vec(record).expect("plain data is always JSON");
        if let Err(error) = fs::write(&path, text) {
            tracing::warn!(path = %path.display(), %error, "record not written");
        }
    }

    pub(crate) fn remove(&self, id: &AttachmentId) {
        // A record that stays is stale, which its readers expect.
        let _ = fs::remove_file(self.path(id));
    }

    /// All records that can be read, by attachment.
    pub(crate) fn read_all(&self) -> BTreeMap<AttachmentId, Record> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return BTreeMap::new();
        };
        let read = |entry: io::Result<fs::DirEntry>| {
            let path = entry.ok()?.path();
            let record: Record = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            (self.path(&record.attachment.id) == path)
                .then(|| (record.attachment.id.clone(), record))
        };
        entries.filter_map(read).collect()
    }

    pub(crate) fn write_cursors(&self, cursors: impl Iterator<Item = (IpNet, IpAddr)>) {
        let cursors: BTreeMap<IpNet, IpAddr> = cursors.collect();
        let text = serde_json::to_vec(&cursors).expect("plain data is always JSON");
        if let Err(error) = fs::write(&self.cursors, text) {
            tracing::warn!(path = %self.cursors.display(), %error, "cursors not written");
        }
    }

    pub(crate) fn read_cursors(&self) -> BTreeMap<IpNet, IpAddr> {
        let text = fs::read(&self.cursors).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}
