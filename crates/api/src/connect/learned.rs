//! The API servers that the cluster itself names: the EndpointSlices of Service default/kubernetes.
//!
//! They are asked only when all that were given fail, only where TLS proves who they are, and under
//! the name `kubernetes.default.svc`: whoever may write EndpointSlices could name a kubelet, whose
//! certificate is of the same authority and holds the node's address.
//!
//! A file keeps them for the next start: `{"servers": ["https://192.0.2.1:6443"]}`, a cache that
//! may be lost, and whose contents nobody has to trust, for the same reason.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::{Deserialize, Serialize};

use super::ServerUrl;
use crate::convert::SERVICE_NAME_LABEL;

/// The name that every API server's certificate holds, for Pods know it by no other.
pub(super) const NAME: &str = "kubernetes.default.svc";
/// More servers than this are no cluster's.
const MANY: usize = 64;

/// What is learned, and where it is kept.
#[derive(Debug, Default)]
pub(super) struct Learned {
    slices: BTreeMap<String, Vec<ServerUrl>>,
    file: Option<PathBuf>,
    written: Vec<ServerUrl>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    servers: Vec<String>,
}

impl Learned {
    /// With what an earlier process has learned.
    pub(super) fn open(file: Option<PathBuf>) -> Learned {
        let read = file.as_deref().map(read).unwrap_or_default();
        Learned {
            slices: BTreeMap::new(),
            file,
            written: read,
        }
    }

    /// What an earlier process has learned.
    pub(super) fn remembered(&self) -> &[ServerUrl] {
        &self.written
    }

    /// Takes a slice in; gives all servers if they are others than before.
    pub(super) fn take(&mut self, slice: &EndpointSlice) -> Option<Vec<ServerUrl>> {
        let servers = servers_of(slice)?;
        let name = slice.metadata.name.clone().unwrap_or_default();
        if servers.is_empty() {
            self.slices.remove(&name);
        } else {
            self.slices.insert(name, servers);
        }
        let all: Vec<ServerUrl> = self.slices.values().flatten().take(MANY).cloned().collect();
        // Nobody learns from an emptied Service that there is no server.
        if all.is_empty() || all == self.written {
            return None;
        }
        self.written.clone_from(&all);
        if let Some(file) = &self.file
            && let Err(error) = write(file, &all)
        {
            tracing::warn!(file = %file.display(), %error, "the API servers are not kept");
        }
        Some(all)
    }
}

/// The servers that a slice names; `None` if it is not one of Service default/kubernetes.
fn servers_of(slice: &EndpointSlice) -> Option<Vec<ServerUrl>> {
    let meta = &slice.metadata;
    let labels = meta.labels.as_ref()?;
    let ours = meta.namespace.as_deref() == Some("default")
        && labels.get(SERVICE_NAME_LABEL).map(String::as_str) == Some("kubernetes");
    if !ours {
        return None;
    }
    let ports = slice.ports.as_deref().unwrap_or_default();
    let port = ports
        .iter()
        .find(|port| port.name.as_deref() == Some("https"));
    let port = port.or(ports.first()).and_then(|port| port.port);
    let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
    let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|conditions| conditions.ready) != Some(false)
    });
    let addresses = ready.flat_map(|endpoint| endpoint.addresses.iter());
    let parsed = addresses.filter_map(|text| text.parse::<IpAddr>().ok());
    let usable = parsed.filter(|ip| port != 0 && is_one(*ip));
    Some(usable.map(|ip| ServerUrl::https(ip, port)).collect())
}

/// Whether it can be one server's. The API itself refuses loopback addresses.
fn is_one(ip: IpAddr) -> bool {
    !(ip.is_unspecified() || ip.is_multicast())
}

/// The servers in a file, or none and why.
fn read(path: &Path) -> Vec<ServerUrl> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "the API servers are not remembered");
            return Vec::new();
        }
    };
    parse(&text).unwrap_or_else(|problem| {
        tracing::warn!(
            file = %path.display(), %problem,
            "what was kept of the API servers is ignored"
        );
        Vec::new()
    })
}

fn parse(text: &[u8]) -> Result<Vec<ServerUrl>, String> {
    let contents: Contents = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if contents.servers.len() > MANY {
        return Err(format!("{} servers", contents.servers.len()));
    }
    let parse = |text: &String| {
        let url: ServerUrl = text.parse().map_err(|error| format!("{error}"))?;
        match url.is_secure() {
            true => Ok(url),
            false => Err(format!("\"{text}\" is not secured by TLS")),
        }
    };
    contents.servers.iter().map(parse).collect()
}

fn write(path: &Path, servers: &[ServerUrl]) -> io::Result<()> {
    let contents = Contents {
        servers: servers.iter().map(ServerUrl::to_string).collect(),
    };
    let text = serde_json::to_vec(&contents)?;
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(namespace: &str, service: &str, addresses: &[&str]) -> EndpointSlice {
        let endpoints: Vec<_> = addresses
            .iter()
            .map(|a| json!({"addresses": [a]}))
            .collect();
        let slice = json!({
            "metadata": {"name": service, "namespace": namespace,
                "labels": {SERVICE_NAME_LABEL: service}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "metrics", "port": 9}, {"name": "https", "port": 6443}],
        });
        serde_json::from_value(slice).expect("valid")
    }

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("seaway-learned-{}-{name}", std::process::id()))
    }

    #[test]
    fn only_the_apis_own_slices_teach() {
        let mut learned = Learned::default();
        assert_eq!(learned.take(&slice("default", "web", &["192.0.2.1"])), None);
        assert_eq!(
            learned.take(&slice("other", "kubernetes", &["192.0.2.1"])),
            None
        );
        let all = learned.take(&slice(
            "default",
            "kubernetes",
            &["192.0.2.1", "2001:db8::1", "::", "x"],
        ));
        let all = all.expect("learned");
        let shown: Vec<_> = all.iter().map(ServerUrl::to_string).collect();
        assert_eq!(
            shown,
            ["https://192.0.2.1:6443", "https://[2001:db8::1]:6443"]
        );
        assert_eq!(learned.take(&slice("default", "kubernetes", &[])), None);
        assert_eq!(learned.remembered(), all);
    }

    #[test]
    fn what_was_learned_is_kept_for_the_next_start() {
        let path = file("kept");
        let mut learned = Learned::open(Some(path.clone()));
        assert_eq!(learned.remembered(), []);
        let all = learned.take(&slice("default", "kubernetes", &["192.0.2.1"]));
        assert_eq!(
            Some(Learned::open(Some(path.clone())).remembered()),
            all.as_deref()
        );
        fs::remove_file(path).expect("removed");
    }

    #[test]
    fn bad_contents_are_none() {
        let path = file("bad");
        for text in [
            "",
            "{",
            "[]",
            r#"{"servers": 1}"#,
            r#"{"servers": ["http://192.0.2.1"]}"#,
            r#"{"servers": ["192.0.2.1"]}"#,
            r#"{"servers": [], "more": 1}"#,
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
            fs::write(&path, text).expect("written");
            assert_eq!(Learned::open(Some(path.clone())).remembered(), [], "{text}");
        }
        fs::remove_file(path).expect("removed");
        assert_eq!(parse(br#"{"servers": []}"#), Ok(Vec::new()));
    }
}
