//! What the tests of the plugin share: a folder of their own, a scripted agent, a Pod's namespace,
//! and the plugin called as a runtime calls it.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use seaway_cni::notes::{Note, Notes};
use seaway_cni::request::{CniRequest, Reply, Request};
use seaway_cni::wire::{Connection, Deadline};
use serde_json::{Value, json};

/// A folder with the socket's place in it, gone at the end.
pub(crate) struct Scene {
    pub(crate) folder: PathBuf,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("seaway-plugin-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a new folder");
        Scene { folder }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    /// A socket that nobody listens at any more.
    pub(crate) fn dead_socket(&self) {
        drop(UnixListener::bind(self.socket()).expect("bound"));
    }

    pub(crate) fn config(&self, version: &str) -> Value {
        json!({
            "cniVersion": version, "name": "pods", "type": "seaway-cni",
            "socket": self.socket(), "timeoutSeconds": 30
        })
    }

    pub(crate) fn notes(&self) -> Vec<Note> {
        let pending = Notes::beside(&self.socket()).pending().expect("listed");
        pending.into_iter().map(|n| n.expect("sound")).collect()
    }

    /// A call of `command` with everything that a runtime gives, for container `c1`.
    pub(crate) fn call(&self, command: &str) -> Call {
        let pairs = [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
            (
                "CNI_ARGS",
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0",
            ),
        ];
        Call {
            environment: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            stdin: self.config("1.1.0").to_string(),
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One call of the plugin.
#[derive(Clone)]
pub(crate) struct Call {
    environment: Vec<(String, String)>,
    stdin: String,
}

/// What the plugin left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Call {
    pub(crate) fn set(mut self, name: &str, value: &str) -> Call {
        self.environment.retain(|(key, _)| key != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn unset(mut self, names: &[&str]) -> Call {
        self.environment
            .retain(|(key, _)| !names.contains(&key.as_str()));
        self
    }

    pub(crate) fn netns(self, netns: &PodNetns) -> Call {
        self.set("CNI_NETNS", &netns.path())
    }

    pub(crate) fn stdin(mut self, text: impl Into<String>) -> Call {
        self.stdin = text.into();
        self
    }

    pub(crate) fn config(self, config: &Value) -> Call {
        self.stdin(config.to_string())
    }

    /// The configuration with one more field.
    pub(crate) fn with(self, key: &str, value: Value) -> Call {
        let mut config: Value = serde_json::from_str(&self.stdin).expect("a configuration");
        config[key] = value;
        self.config(&config)
    }

    pub(crate) fn spawn(&self) -> Child {
        let mut child = Command::new(env!("CARGO_BIN_EXE_seaway-cni"))
            .env_clear()
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the plugin starts");
        let mut stdin = child.stdin.take().expect("piped");
        // A plugin that refuses early, or is killed, does not read everything.
        let _ = stdin.write_all(self.stdin.as_bytes());
        child
    }

    pub(crate) fn run(&self) -> Outcome {
        let output = self.spawn().wait_with_output().expect("the plugin ends");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Outcome {
            success: output.status.success(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Runs a call that must succeed and print nothing.
    pub(crate) fn succeeds_silently(&self) {
        let outcome = self.run();
        let said = (outcome.success, outcome.stdout.as_str());
        assert_eq!(said, (true, ""), "{outcome:?}");
    }

    /// Runs a call that must fail by an error result: (cniVersion, code, msg).
    pub(crate) fn fails(&self) -> (String, u64, String) {
        let outcome = self.run();
        assert!(!outcome.success, "{outcome:?}");
        let error: Value = serde_json::from_str(&outcome.stdout).expect("an error result");
        let text = |key: &str| error[key].as_str().expect(key).to_owned();
        let code = error["code"].as_u64().expect("a number");
        (text("cniVersion"), code, text("msg"))
    }
}

/// A network namespace of our own.
pub(crate) struct PodNetns(File);

impl PodNetns {
    pub(crate) fn new() -> PodNetns {
        let open = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make namespaces");
            File::open("/proc/thread-self/ns/net").expect("a namespace")
        };
        PodNetns(thread::spawn(open).join().expect("no panic"))
    }

    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    pub(crate) fn inode(&self) -> u64 {
        inode(&self.0)
    }
}

pub(crate) fn inode(file: &File) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&file.metadata().expect("metadata"))
}

/// What the scripted agent does with a request.
pub(crate) enum Action {
    /// Answers.
    Reply(Reply),
    /// Writes these bytes instead of a reply.
    Raw(Vec<u8>),
    /// Closes the connection.
    Close,
    /// Never answers.
    Hang,
}

/// What came to the agent.
pub(crate) type Seen = Arc<Mutex<Vec<CniRequest>>>;

/// An agent that does what a test says.
pub(crate) struct FakeAgent {
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub(crate) seen: Seen,
}

impl FakeAgent {
    /// Listens, and has `script` answer each request.
    pub(crate) fn start(
        scene: &Scene,
        mut script: impl FnMut(&CniRequest, Option<OwnedFd>) -> Action + Send + 'static,
    ) -> FakeAgent {
        let listener = UnixListener::bind(scene.socket()).expect("bound");
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Seen::default();
        let (stopped, log) = (stop.clone(), seen.clone());
        let serve = move || {
            let mut hung = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                hung.extend(serve_one(stream, &mut script, &log));
            }
        };
        FakeAgent {
            socket: scene.socket(),
            stop,
            thread: Some(thread::spawn(serve)),
            seen,
        }
    }

    /// Answers every request in the same way.
    pub(crate) fn always(scene: &Scene, reply: &Reply) -> FakeAgent {
        let reply = reply.clone();
        FakeAgent::start(scene, move |_, _| Action::Reply(reply.clone()))
    }

    pub(crate) fn last(&self) -> CniRequest {
        let seen = self.seen.lock().expect("no panic");
        seen.last().expect("a request").clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.socket);
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            assert!(result.is_ok() || thread::panicking(), "the agent panicked");
        }
    }
}

/// Serves a connection; gives it back when it is to hang.
fn serve_one(
    stream: UnixStream,
    script: &mut impl FnMut(&CniRequest, Option<OwnedFd>) -> Action,
    log: &Seen,
) -> Option<UnixStream> {
    let mut raw = stream.try_clone().expect("a descriptor");
    let mut connection = Connection::accepted(stream, Deadline::after(Duration::from_secs(30)));
    let (request, fd) = connection.receive::<Request>().expect("a request");
    let Request::Cni(request) = request else {
        panic!("the plugin sends nothing but CNI requests, not {request:?}");
    };
    log.lock().expect("no panic").push(request.clone());
    match script(&request, fd) {
        Action::Reply(reply) => connection.send(&reply, None).expect("sent"),
        Action::Raw(bytes) => raw.write_all(&bytes).expect("written"),
        Action::Close => {}
        Action::Hang => return Some(raw),
    }
    None
}

/// The names in a folder, sorted.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("listed");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.expect("listed").file_name();
        name.into_string().expect("UTF-8")
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}
