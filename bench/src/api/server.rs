//! The server under test: the real binary in a room of its own, and what it costs.
//!
//! It is kept to one CPU and its clients to the others, so that its cost is its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;

use super::client::{Connection, Connector, Request};
use super::pods;
use crate::binaries::Binaries;
use crate::cpu::{self, Cpus};
use crate::footprint;
use crate::launch::Daemon;
use crate::room::Room;

const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 6443);
const TOKEN: &str = "a-token-of-the-benchmark";
const READY_WITHIN: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_micros(200);
/// Files in the room's own /run.
const CERTIFICATE: &str = "/run/server.crt";
const KEY: &str = "/run/server.key";
const TOKENS: &str = "/run/tokens.csv";
const LOG: &str = "/run/server.log";

/// Where a server can be started: a room with its certificate and tokens.
#[derive(Debug)]
pub(crate) struct Site {
    room: Room,
    program: PathBuf,
    /// How to reach it.
    pub(crate) connector: Connector,
}

impl Site {
    /// A new room.
    pub(crate) fn new(binaries: &Binaries) -> Result<Site> {
        let room = Room::new()?;
        let names = vec![ADDRESS.ip().to_string()];
        let made = rcgen::generate_simple_self_signed(names).context("making a certificate")?;
        room.run(|| {
            write(CERTIFICATE, &made.cert.pem())?;
            write(KEY, &made.signing_key.serialize_pem())?;
            write(TOKENS, &format!("{TOKEN},bench,1,\"system:masters\"\n"))
        })?;
        let mut roots = RootCertStore::empty();
        roots
            .add(made.cert.der().clone())
            .context("trusting the certificate")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("choosing the versions of TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let netns = room.netns().try_clone()?;
        Ok(Site {
            room,
            program: binaries.program("seaway")?,
            connector: Connector::new(netns, ADDRESS, Arc::new(tls), TOKEN),
        })
    }

    /// Where servers live.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// A kubeconfig for whoever lives in the same room.
    pub(crate) fn kubeconfig(&self) -> String {
        let cluster = json!({
            "server": format!("https://{ADDRESS}"),
            "certificate-authority": CERTIFICATE,
        });
        // JSON is YAML.
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": cluster}],
            "users": [{"name": "bench", "user": {"token": TOKEN}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        })
        .to_string()
    }

    /// Starts the binary for nothing: what every start of it takes at least.
    pub(crate) fn start_for_nothing(&self) -> Result<Duration> {
        let start = Instant::now();
        let mut daemon = self.launch(&["--version".to_owned()])?;
        daemon.wait()?;
        Ok(start.elapsed())
    }

    /// Starts the server and waits until it is ready; how long that took.
    pub(crate) fn start(&self) -> Result<(Server<'_>, Duration)> {
        let start = Instant::now();
        let mut arguments = vec!["apiserver".to_owned()];
        let address = ADDRESS.to_string();
        for (flag, value) in [
            ("--listen", address.as_str()),
            ("--tls-cert", CERTIFICATE),
            ("--tls-key", KEY),
            ("--tokens", TOKENS),
            ("--service-cidr", "10.96.0.0/16"),
            ("--service-cidr", "fd00:5ea:96::/112"),
        ] {
            arguments.extend([flag, value].map(str::to_owned));
        }
        let mut daemon = self.launch(&arguments)?;
        while !self.is_ready() {
            daemon.check(&self.room)?;
            if start.elapsed() > READY_WITHIN {
                let said = daemon.said(&self.room);
                bail!("the API server was not ready within {READY_WITHIN:?}; it said:\n{said}");
            }
            std::thread::sleep(RETRY);
        }
        let took = start.elapsed();
        Ok((Server { site: self, daemon }, took))
    }

    fn launch(&self, arguments: &[String]) -> Result<Daemon> {
        Daemon::start(&self.room, &self.program, arguments, Path::new(LOG))
    }

    fn is_ready(&self) -> bool {
        let asked = |mut connection: Connection| {
            let answer = connection.ask(Request::get("/readyz"));
            answer.map(|_| ())
        };
        self.connector.connect().and_then(asked).is_ok()
    }
}

fn write(path: &str, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {path}"))
}

/// What some work took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// From begin to end, in seconds.
    pub(crate) wall: f64,
    /// CPU time of the server, in seconds.
    pub(crate) cpu: f64,
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server<'a> {
    site: &'a Site,
    daemon: Daemon,
}

impl Server<'_> {
    /// Keeps it to one CPU, this program to the others, and makes the namespaces.
    pub(crate) fn prepare(&self, cpu: usize) -> Result<()> {
        Cpus::one(cpu)?.keep_process(self.daemon.pid())?;
        Cpus::current()?.without(cpu)?.keep_this_thread()?;
        let mut connection = self.connect()?;
        for name in [pods::MOST, pods::TENTH] {
            let body = pods::namespace_manifest(name);
            connection.ask(Request::post("/api/v1/namespaces", &body))?;
        }
        Ok(())
    }

    /// A connection, with its handshake done.
    pub(crate) fn connect(&self) -> Result<Connection> {
        let mut connection = self.site.connector.connect()?;
        connection.ask(Request::get("/version"))?;
        Ok(connection)
    }

    /// So many of them.
    pub(crate) fn several(&self, count: usize) -> Result<Vec<Connection>> {
        (0..count).map(|_| self.connect()).collect()
    }

    /// Does some work and tells what it took.
    pub(crate) fn spend(&self, work: impl FnOnce() -> Result<()>) -> Result<Cost> {
        let pid = self.daemon.pid();
        let (before, start) = (cpu::of_process(pid)?, Instant::now());
        work().with_context(|| {
            format!(
                "the server's last words:\n{}",
                self.daemon.said(&self.site.room)
            )
        })?;
        let wall = start.elapsed().as_secs_f64();
        let cpu = cpu::of_process(pid)?.saturating_sub(before);
        Ok(Cost {
            wall,
            cpu: cpu.as_secs_f64(),
        })
    }

    /// Megabytes of it that are in memory.
    pub(crate) fn resident(&self) -> Result<f64> {
        footprint::resident(self.daemon.pid())
    }

    /// The resourceVersion of now.
    pub(crate) fn revision(&self) -> Result<String> {
        let mut connection = self.connect()?;
        let list = connection.ask(Request::get("/api/v1/namespaces?limit=1"))?;
        text_after(list, "\"resourceVersion\":\"")
            .map(str::to_owned)
            .context("a list has no resourceVersion")
    }
}

/// What stands between the first `key` and the next quote.
pub(crate) fn text_after<'a>(body: &'a [u8], key: &str) -> Option<&'a str> {
    let key = key.as_bytes();
    let head = &body[..body.len().min(2048)];
    let at = head.windows(key.len()).position(|part| part == key)? + key.len();
    let value = head[at..].split(|byte| *byte == b'"').next()?;
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_lists_head_is_found() {
        let list = br#"{"kind":"PodList","metadata":{"resourceVersion":"17","continue":"abc"},"items":[]}"#;
        assert_eq!(text_after(list, "\"resourceVersion\":\""), Some("17"));
        assert_eq!(text_after(list, "\"continue\":\""), Some("abc"));
        assert_eq!(text_after(list, "\"remaining\":\""), None);
    }
}
