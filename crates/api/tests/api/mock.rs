//! A scripted API server on loopback, plain HTTP: it keeps objects and a log of events, and does
//! what it is told to do wrong.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::Client;
use seaway_api::{Access, client_with};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

pub(crate) use crate::pace::{LIMIT, timing};

/// How often an idle watch gets a bookmark.
const BOOKMARK: Duration = Duration::from_millis(30);

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    List,
    Watch,
    Identity,
    Patch,
    Create,
}

/// What is done wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An answer with this code and reason.
    Status(u16, &'static str),
    /// No answer.
    Hang,
    /// A watch that says this in the stream and ends.
    InStream(u16, &'static str),
    /// A watch that ends at once.
    EndAtOnce,
    /// A watch that is established and says nothing.
    Mute,
    /// A watch that tells every event twice.
    Stutter,
    /// A watch that begins with what is to come, as if nothing had happened since.
    SkipToNow,
    /// A list after which the server is another one, empty.
    ReplacedAfter,
}

pub(crate) struct State {
    pub(crate) uid: String,
    pub(crate) version: u64,
    /// Watches from before this version get 410.
    pub(crate) oldest: u64,
    pub(crate) objects: BTreeMap<(String, String), Value>,
    log: Vec<(u64, String, Value)>,
    faults: Vec<(Verb, Fault)>,
    pub(crate) requests: BTreeMap<Verb, usize>,
    pub(crate) patches: Vec<Value>,
    /// What the patches were for, without the group and version.
    pub(crate) patched: Vec<String>,
    /// What the server says that the time is, if not the time.
    pub(crate) date: Option<&'static str>,
    pub(crate) page: usize,
    /// Nothing is answered, and open watches say nothing.
    pub(crate) black_hole: bool,
    /// Open watches of earlier epochs end.
    epoch: u64,
}

impl State {
    /// Nothing more goes wrong.
    pub(crate) fn clear_faults(&mut self) {
        self.faults.clear();
    }
}

/// The server.
#[derive(Clone)]
pub(crate) struct Mock {
    state: Arc<Mutex<State>>,
    news: watch::Sender<u64>,
    pub(crate) address: SocketAddr,
    serving: Arc<Mutex<Option<AbortHandle>>>,
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

impl Mock {
    pub(crate) async fn start() -> Mock {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let mock = Mock {
            state: Arc::new(Mutex::new(State {
                uid: "first".to_owned(),
                version: 1,
                oldest: 0,
                objects: BTreeMap::new(),
                log: Vec::new(),
                faults: Vec::new(),
                requests: BTreeMap::new(),
                patches: Vec::new(),
                patched: Vec::new(),
                date: None,
                page: 1000,
                black_hole: false,
                epoch: 0,
            })),
            news: watch::channel(0).0,
            address: listener.local_addr().expect("bound"),
            serving: Arc::default(),
        };
        mock.serve(listener);
        mock
    }

    fn serve(&self, listener: TcpListener) {
        let mock = self.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                let mock = mock.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let mock = mock.clone();
                        async move {
                            let date = mock.state().date;
                            let mut answer = mock.answer(request).await;
                            if let Some(date) = date {
                                let date = date.parse().expect("a value");
                                answer.headers_mut().insert("date", date);
                            }
                            Ok::<_, Infallible>(answer)
                        }
                    });
                    // A client may go away at any time.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        *self.serving.lock().expect("whole") = Some(task.abort_handle());
    }

    /// Closes the listener and all connections: the kernel refuses from now on.
    pub(crate) fn stop(&self) {
        let task = self.serving.lock().expect("whole").take();
        task.expect("served").abort();
    }

    /// Listens again at the same address.
    pub(crate) async fn resume(&self) {
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                // The stopped task has not let go yet.
                Err(_) => tokio::task::yield_now().await,
            }
        };
        self.serve(listener);
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("whole")
    }

    fn announce(&self) {
        self.news.send_modify(|count| *count += 1);
    }

    /// The next request of this kind goes wrong.
    pub(crate) fn fault(&self, verb: Verb, fault: Fault) {
        self.state().faults.push((verb, fault));
    }

    pub(crate) fn requests(&self, verb: Verb) -> usize {
        self.state()
            .requests
            .get(&verb)
            .copied()
            .unwrap_or_default()
    }

    /// A server with an empty store and another identity.
    pub(crate) fn replace(&self, uid: &str) {
        let mut state = self.state();
        state.uid = uid.to_owned();
        state.version = 1;
        state.oldest = 1;
        state.objects.clear();
        state.log.clear();
        state.epoch += 1;
        drop(state);
        self.announce();
    }

    /// Forgets the past: watches from before now get 410.
    pub(crate) fn expire_all(&self) {
        let mut state = self.state();
        state.oldest = state.version;
    }

    /// Ends all open watches.
    pub(crate) fn cut(&self) {
        self.state().epoch += 1;
        self.announce();
    }

    pub(crate) fn black_hole(&self, on: bool) {
        self.state().black_hole = on;
        self.announce();
    }

    /// Makes or changes an object of `resource`, such as `nodes`.
    pub(crate) fn put(&self, resource: &str, mut object: Value) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let name = object["metadata"]["name"]
            .as_str()
            .expect("named")
            .to_owned();
        let key = (resource.to_owned(), name.clone());
        let before = state.objects.get(&key);
        let uid = before.map_or_else(
            || json!(format!("{}-{name}-{version}", state.uid)),
            |before| before["metadata"]["uid"].clone(),
        );
        let what = if before.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        object["metadata"]["uid"] = uid;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let event = json!({"type": what, "object": object});
        state.log.push((version, resource.to_owned(), event));
        state.objects.insert(key, object);
        drop(state);
        self.announce();
    }

    pub(crate) fn put_node(&self, name: &str, cidr: &str) {
        let spec = json!({"podCIDRs": [cidr]});
        self.put("nodes", json!({"metadata": {"name": name}, "spec": spec}));
    }

    pub(crate) fn put_pod(&self, name: &str, node: &str) {
        let spec = json!({"nodeName": node, "containers": []});
        let meta = json!({"name": name, "namespace": "default"});
        self.put("pods", json!({"metadata": meta, "spec": spec}));
    }

    pub(crate) fn delete(&self, resource: &str, name: &str) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let key = (resource.to_owned(), name.to_owned());
        let mut object = state.objects.remove(&key).expect("there");
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let event = json!({"type": "DELETED", "object": object});
        state.log.push((version, resource.to_owned(), event));
        drop(state);
        self.announce();
    }

    /// A client of this server, through a kubeconfig.
    pub(crate) fn client(&self) -> Client {
        let path = self.kubeconfig();
        let client = client_with(&Access::file(&path), &timing()).expect("good");
        std::fs::remove_file(&path).expect("removed");
        client
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("seaway-api-{}-{number}.kubeconfig", std::process::id());
        let path = std::env::temp_dir().join(name);
        let text = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
             clusters: [{{name: k, cluster: {{server: 'http://{}'}}}}]\n\
             users: [{{name: u, user: {{token: secret}}}}]\n",
            self.address
        );
        std::fs::write(&path, text).expect("written");
        path
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let verb = verb(&request);
        let (fault, black_hole) = {
            let mut state = self.state();
            *state.requests.entry(verb).or_default() += 1;
            let found = state.faults.iter().position(|(v, _)| *v == verb);
            let fault = found.map(|index| state.faults.remove(index).1);
            (fault, state.black_hole)
        };
        let authorised = request.headers().get("authorization");
        if authorised.is_none_or(|token| token != "Bearer secret") {
            return refusal(401, "Unauthorized");
        }
        match fault {
            Some(Fault::Status(code, reason)) => return refusal(code, reason),
            Some(Fault::Hang) => return std::future::pending().await,
            _ if black_hole => return std::future::pending().await,
            _ => {}
        }
        let path: Vec<String> = request.uri().path().split('/').map(str::to_owned).collect();
        let query = query(request.uri().query().unwrap_or_default());
        match verb {
            Verb::Identity => {
                let uid = self.state().uid.clone();
                reply(&json!({"metadata": {"name": "kube-system", "uid": uid}}))
            }
            Verb::List => {
                let answer = self.list(path.last().expect("a path"), &query);
                if fault == Some(Fault::ReplacedAfter) {
                    self.replace("second");
                }
                answer
            }
            Verb::Watch => self.watch(path.last().expect("a path"), &query, fault),
            Verb::Patch => self.patch(&path, request).await,
            Verb::Create => self.create(path.last().expect("a path"), request).await,
        }
    }

    fn list(&self, resource: &str, query: &BTreeMap<String, String>) -> Response<Body> {
        let state = self.state();
        let all: Vec<&Value> = state
            .objects
            .iter()
            .filter(|((r, _), object)| r == resource && selected(object, query))
            .map(|(_, object)| object)
            .collect();
        let start = query
            .get("continue")
            .map_or(0, |t| t.parse().expect("mine"));
        let end = (start + state.page).min(all.len());
        let more = if end < all.len() {
            end.to_string()
        } else {
            String::new()
        };
        reply(&json!({
            "apiVersion": "v1", "kind": "List",
            "metadata": {"resourceVersion": state.version.to_string(), "continue": more},
            "items": all[start..end],
        }))
    }

    fn watch(
        &self,
        resource: &str,
        query: &BTreeMap<String, String>,
        fault: Option<Fault>,
    ) -> Response<Body> {
        let state = self.state();
        let mut from: u64 = query["resourceVersion"].parse().expect("a number");
        if from < state.oldest {
            return refusal(410, "Expired");
        }
        if fault == Some(Fault::SkipToNow) {
            from = state.version;
        }
        let watcher = Watcher {
            mock: self.clone(),
            news: self.news.subscribe(),
            resource: resource.to_owned(),
            query: query.clone(),
            epoch: state.epoch,
            cursor: from,
            fault,
            ended: false,
        };
        drop(state);
        let frames = stream::unfold(watcher, Watcher::next);
        Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)))
    }

    async fn patch(&self, path: &[String], request: Request<Incoming>) -> Response<Body> {
        let body = request
            .into_body()
            .collect()
            .await
            .expect("sent")
            .to_bytes();
        let patch: Value = serde_json::from_slice(&body).expect("JSON");
        let name = path
            .iter()
            .rev()
            .find(|part| *part != "status")
            .expect("named");
        let place = path.iter().position(|part| part == name).expect("found") - 1;
        let resource = path[place].clone();
        self.state().patches.push(patch.clone());
        self.state().patched.push(path[place..].join("/"));
        let found = self
            .state()
            .objects
            .get(&(resource.clone(), name.clone()))
            .cloned();
        let Some(mut object) = found else {
            return refusal(404, "NotFound");
        };
        let wanted = &patch["metadata"]["uid"];
        if !wanted.is_null() && *wanted != object["metadata"]["uid"] {
            return refusal(409, "Conflict");
        }
        merge(&mut object, &patch);
        self.put(&resource, object.clone());
        reply(&object)
    }

    async fn create(&self, resource: &str, request: Request<Incoming>) -> Response<Body> {
        let body = request
            .into_body()
            .collect()
            .await
            .expect("sent")
            .to_bytes();
        let object: Value = serde_json::from_slice(&body).expect("JSON");
        self.put(resource, object.clone());
        reply(&object)
    }
}

/// One open watch.
struct Watcher {
    mock: Mock,
    news: watch::Receiver<u64>,
    resource: String,
    query: BTreeMap<String, String>,
    epoch: u64,
    cursor: u64,
    fault: Option<Fault>,
    ended: bool,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<Frame<Bytes>, std::io::Error>, Watcher)> {
        loop {
            if self.ended {
                return None;
            }
            match self.fault {
                Some(Fault::InStream(code, reason)) => {
                    self.ended = true;
                    let line = json!({"type": "ERROR", "object": status(code, reason)});
                    return Some((frame(&format!("{line}\n")), self));
                }
                Some(Fault::EndAtOnce) => return None,
                Some(Fault::Mute) => std::future::pending().await,
                _ => {}
            }
            self.news.mark_unchanged();
            let (text, cursor) = {
                let state = self.mock.state();
                if state.epoch != self.epoch {
                    return None;
                }
                (self.pending(&state), state.version)
            };
            if text.is_some() {
                self.cursor = self.cursor.max(cursor);
            }
            match text {
                Some(text) if !text.is_empty() => return Some((frame(&text), self)),
                Some(_)
                    if tokio::time::timeout(BOOKMARK, self.news.changed())
                        .await
                        .is_err() =>
                {
                    let bookmark = json!({"type": "BOOKMARK", "object": {
                        "apiVersion": "v1", "kind": "Node",
                        "metadata": {"resourceVersion": self.cursor.to_string()}}});
                    return Some((frame(&format!("{bookmark}\n")), self));
                }
                Some(_) => {}
                None => drop(self.news.changed().await),
            }
        }
    }

    /// What is to be said now; `None` while nothing gets through.
    fn pending(&self, state: &State) -> Option<String> {
        if state.black_hole {
            return None;
        }
        let mut text = String::new();
        let times = if self.fault == Some(Fault::Stutter) {
            2
        } else {
            1
        };
        let news = state.log.iter().filter(|(version, resource, event)| {
            let ours = *version > self.cursor && *resource == self.resource;
            ours && selected(&event["object"], &self.query)
        });
        for (_, _, event) in news {
            text.push_str(&format!("{event}\n").repeat(times));
        }
        Some(text)
    }
}

fn frame(text: &str) -> Result<Frame<Bytes>, std::io::Error> {
    Ok(Frame::data(Bytes::copy_from_slice(text.as_bytes())))
}

fn verb<B>(request: &Request<B>) -> Verb {
    let query = request.uri().query().unwrap_or_default();
    match *request.method() {
        Method::PATCH => Verb::Patch,
        Method::POST => Verb::Create,
        _ if request.uri().path().ends_with("/kube-system") => Verb::Identity,
        _ if query.contains("watch=true") => Verb::Watch,
        _ => Verb::List,
    }
}

fn query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.replace("%3D", "=")))
        .collect()
}

fn selected(object: &Value, query: &BTreeMap<String, String>) -> bool {
    match query
        .get("fieldSelector")
        .and_then(|text| text.split_once('='))
    {
        Some((field, wanted)) => {
            let pointer = format!("/{}", field.replace('.', "/"));
            object.pointer(&pointer).and_then(Value::as_str) == Some(wanted)
        }
        None => true,
    }
}

fn merge(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            if !target.is_object() {
                *target = json!({});
            }
            for (name, value) in fields {
                match value {
                    Value::Null => drop(target.as_object_mut().expect("made").remove(name)),
                    value => merge(&mut target[name], value),
                }
            }
        }
        other => *target = other.clone(),
    }
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "as the test wants it", "reason": reason, "code": code})
}

fn refusal(code: u16, reason: &str) -> Response<Body> {
    let mut response = reply(&status(code, reason));
    *response.status_mut() = StatusCode::from_u16(code).expect("a code");
    response
}

fn reply(value: &Value) -> Response<Body> {
    let full = Full::new(Bytes::from(value.to_string()));
    Response::new(full.map_err(|never| match never {}).boxed_unsync())
}
