//! An API server for one agent: it tells what it was made with, and what it is told to tell. Its own
//! work is little, so that what is measured is the agent's.
//!
//! Plain HTTP on the loopback address of the agent's room, without encryption; lists come in pages,
//! watches as chunks, as from a real one. It stores nothing and checks nobody.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::socket::{Shutdown, shutdown};
use serde_json::{Value, json};

use super::objects::{self, Scale};
use crate::room::Room;

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6443);
/// How many objects a page has; agents ask for as many.
const PAGE: usize = 500;
/// How often watchers hear that nothing is new.
const BOOKMARKS: Duration = Duration::from_secs(15);
/// The version of all lists; events come after it.
const VERSION: u64 = 1_000;

/// What is listed and watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Nodes,
    Pods,
    Services,
    Slices,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Nodes, Kind::Pods, Kind::Services, Kind::Slices];

    fn path(self) -> &'static str {
        match self {
            Kind::Nodes => "/api/v1/nodes",
            Kind::Pods => "/api/v1/pods",
            Kind::Services => "/api/v1/services",
            Kind::Slices => "/apis/discovery.k8s.io/v1/endpointslices",
        }
    }

    fn list(self) -> (&'static str, &'static str) {
        match self {
            Kind::Nodes => ("v1", "NodeList"),
            Kind::Pods => ("v1", "PodList"),
            Kind::Services => ("v1", "ServiceList"),
            Kind::Slices => ("discovery.k8s.io/v1", "EndpointSliceList"),
        }
    }
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    /// The pages of each kind's list, whole.
    pages: HashMap<Kind, Vec<Vec<u8>>>,
    watchers: Mutex<HashMap<Kind, Vec<TcpStream>>>,
    version: AtomicU64,
    /// When the last page of a list was sent.
    listed: Mutex<Option<Instant>>,
}

/// A server; gone when dropped.
#[derive(Debug)]
pub(super) struct Stage {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Whoever waits for connections is woken and ends; it is as good as gone if that fails.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
    }
}

impl Stage {
    /// Starts one in a room.
    pub(super) fn open(room: &Room, scale: Scale) -> Result<Stage> {
        let listener = room.netns().run(|| TcpListener::bind(ADDRESS))?;
        let listener = listener.with_context(|| format!("listening at {ADDRESS}"))?;
        let endpoints = |i| objects::endpoints(scale, i);
        let mut pages = HashMap::new();
        for kind in Kind::ALL {
            let (count, object): (usize, &dyn Fn(usize) -> Value) = match kind {
                Kind::Nodes => (objects::NODES, &objects::node_manifest),
                Kind::Pods => (0, &objects::node_manifest),
                Kind::Services => (scale.services, &objects::service_manifest),
                Kind::Slices => (scale.services, &|i| {
                    objects::slice_manifest(i, &endpoints(i), objects::TARGET_PORT, 1)
                }),
            };
            pages.insert(kind, list(kind, count, object));
        }
        let shared = Arc::new(Shared {
            pages,
            watchers: Mutex::default(),
            version: AtomicU64::new(VERSION),
            listed: Mutex::default(),
        });
        let stage = Stage {
            listener: listener.try_clone().context("sharing a socket")?,
            shared: shared.clone(),
        };
        let told = Arc::downgrade(&shared);
        std::thread::spawn(move || {
            while let Some(shared) = told.upgrade() {
                shared.send_bookmarks();
                drop(shared);
                std::thread::sleep(BOOKMARKS);
            }
        });
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let shared = shared.clone();
                std::thread::spawn(move || {
                    // Whoever hangs up is gone; there is nobody to tell.
                    let _ = serve(&shared, stream);
                });
            }
        });
        Ok(stage)
    }

    /// A kubeconfig for whoever lives in the same room.
    pub(super) fn kubeconfig() -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {"server": format!("http://{ADDRESS}")}}],
            "users": [{"name": "bench", "user": {}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        })
        .to_string()
    }

    /// The version of the next event.
    pub(super) fn next_version(&self) -> u64 {
        self.shared.version.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// When the last page of a list was sent; nothing is waited for after that but the agent.
    pub(super) fn listed(&self) -> Option<Instant> {
        *self.shared.listed()
    }

    /// How many bytes the lists of a kind have.
    pub(super) fn size(&self, kind: Kind) -> usize {
        self.shared.pages[&kind].iter().map(Vec::len).sum()
    }

    /// An event that says that an object changed, ready to be sent.
    pub(super) fn event(object: &Value) -> Vec<u8> {
        let event = json!({"type": "MODIFIED", "object": object});
        chunk(format!("{event}\n").as_bytes())
    }

    /// Sends an event to whoever watches the kind; gives to how many.
    pub(super) fn send(&self, kind: Kind, event: &[u8]) -> usize {
        self.shared.send(kind, event)
    }
}

impl Shared {
    fn listed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, kind: Kind, event: &[u8]) -> usize {
        let mut all = self.watchers();
        let watchers = all.entry(kind).or_default();
        watchers.retain_mut(|stream| stream.write_all(event).is_ok());
        watchers.len()
    }

    /// Says that nothing is new: who hears nothing for long takes the server for dead.
    fn send_bookmarks(&self) {
        for kind in Kind::ALL {
            let (version, name) = kind.list();
            let now = self.version.load(Ordering::Relaxed).to_string();
            let object = json!({"apiVersion": version, "kind": name.trim_end_matches("List"),
                "metadata": {"resourceVersion": now}});
            let event = json!({"type": "BOOKMARK", "object": object});
            self.send(kind, &chunk(format!("{event}\n").as_bytes()));
        }
    }

    fn watchers(&self) -> MutexGuard<'_, HashMap<Kind, Vec<TcpStream>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn list(kind: Kind, count: usize, object: &dyn Fn(usize) -> Value) -> Vec<Vec<u8>> {
    let (version, name) = kind.list();
    let pages = count.div_ceil(PAGE).max(1);
    (0..pages)
        .map(|page| {
            let from = page * PAGE;
            let items: Vec<Value> = (from..count.min(from + PAGE)).map(object).collect();
            let mut metadata = json!({"resourceVersion": VERSION.to_string()});
            if page + 1 < pages {
                metadata["continue"] = json!((page + 1).to_string());
                metadata["remainingItemCount"] = json!(count - from - PAGE);
            }
            json!({"apiVersion": version, "kind": name, "metadata": metadata, "items": items})
                .to_string()
                .into_bytes()
        })
        .collect()
}

fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// A request, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    method: String,
    path: String,
    query: HashMap<String, String>,
    body: Vec<u8>,
}

impl Asked {
    fn read(line: &str) -> Option<Asked> {
        let mut words = line.split_ascii_whitespace();
        let (method, target) = (words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Some(Asked {
            method: method.to_owned(),
            path: path.to_owned(),
            query: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            body: Vec::new(),
        })
    }
}

/// Answers one request after another; ends with a watch, whose connection is kept by the stage.
fn serve(shared: &Shared, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(asked) = next(&mut reader)? {
        let kind = Kind::ALL.into_iter().find(|kind| kind.path() == asked.path);
        match kind.filter(|_| asked.method == "GET") {
            Some(kind)
                if asked
                    .query
                    .get("watch")
                    .is_some_and(|w| w == "true" || w == "1") =>
            {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                            Transfer-Encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes())?;
                shared.watchers().entry(kind).or_default().push(stream);
                return Ok(());
            }
            Some(kind) => {
                let page = asked.query.get("continue").and_then(|t| t.parse().ok());
                let page: usize = page.unwrap_or_default();
                let body = shared.pages[&kind].get(page).map(Vec::as_slice);
                reply(&mut stream, "200 OK", body.unwrap_or(b"{}"))?;
                *shared.listed() = Some(Instant::now());
            }
            None => other(&mut stream, &asked)?,
        }
    }
    Ok(())
}

/// What is neither listed nor watched: the cluster's identity, and writes, which change nothing.
fn other(stream: &mut TcpStream, asked: &Asked) -> std::io::Result<()> {
    let node = format!(
        "{}/{}",
        Kind::Nodes.path(),
        objects::node_name(objects::OWN)
    );
    let body = match asked.path.as_str() {
        "/api/v1/namespaces/kube-system" => json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "kube-system", "uid": "5ea00000-0000-4000-8000-000000000001"}}),
        path if path.starts_with(&node) => objects::node_manifest(objects::OWN),
        _ if asked.method == "GET" => {
            let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure",
                "reason": "NotFound", "code": 404, "message": "there is no such thing here"});
            return reply(stream, "404 Not Found", status.to_string().as_bytes());
        }
        // What was made is what was sent.
        _ => return reply(stream, "201 Created", &asked.body),
    };
    reply(stream, "200 OK", body.to_string().as_bytes())
}

fn reply(stream: &mut TcpStream, status: &str, body: &[u8]) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}

/// The next request.
fn next(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Asked>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    Ok(Asked::read(&first).map(|asked| Asked { body, ..asked }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        let asked = Asked::read("GET /api/v1/nodes?&limit=500&continue=3 HTTP/1.1\r\n");
        let asked = asked.expect("a request");
        assert_eq!(
            (asked.method.as_str(), asked.path.as_str()),
            ("GET", "/api/v1/nodes")
        );
        assert_eq!(asked.query["continue"], "3");
        assert_eq!(Asked::read("\r\n"), None);
    }

    #[test]
    fn lists_come_in_pages() {
        let pages = list(Kind::Services, 1_001, &objects::service_manifest);
        assert_eq!(pages.len(), 3);
        let page: Value = serde_json::from_slice(&pages[2]).expect("JSON");
        assert_eq!(page["items"].as_array().map(Vec::len), Some(1));
        assert!(page["metadata"]["continue"].is_null());
        assert_eq!(
            list(Kind::Pods, 0, &objects::node_manifest).len(),
            1,
            "an empty one"
        );
    }

    #[test]
    fn an_agent_is_told() {
        let room = Room::new().expect("the tests run as root");
        let scale = Scale {
            services: 2,
            endpoints: 1,
        };
        let stage = Stage::open(&room, scale).expect("it listens");
        let mut stream = room
            .netns()
            .run(|| TcpStream::connect(ADDRESS))
            .expect("runs")
            .expect("connects");
        let get = format!("GET {}?watch=true HTTP/1.1\r\n\r\n", Kind::Slices.path());
        stream.write_all(get.as_bytes()).expect("asked");
        let mut lines = BufReader::new(stream).lines();
        let status = lines.next().expect("a line").expect("read");
        assert_eq!(status, "HTTP/1.1 200 OK");
        let event = Stage::event(&json!({"x": 1}));
        while stage.send(Kind::Slices, &event) == 0 {
            std::thread::yield_now();
        }
        let told = lines
            .map_while(Result::ok)
            .find(|line| line.starts_with('{'));
        assert_eq!(
            told.as_deref(),
            Some(r#"{"object":{"x":1},"type":"MODIFIED"}"#)
        );
    }
}
