//! The supervisor's sockets: requests in, answers out, each connection on its own thread.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use seaway_cni::wire::{Connection, Deadline};
use serde::Serialize;

use super::Lab;
use super::shell::Place;
use crate::error::{Context, LabError};
use crate::namespaces::{Namespaces, own};
use crate::protocol::{Door, Reply, Request, ShellRequest};
use crate::topology::{CONTROL_PLANE, OUTSIDE, POD_NAMESPACE, ROUTER};

/// How long a client may take to say what it wants.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the sockets and serves them for as long as the process lives. `end` is told when a client
/// has had the lab taken down.
pub(crate) fn serve(lab: &Arc<Lab>, end: Sender<()>) -> Result<(), LabError> {
    listen(lab, lab.state.control_socket(), Some(end))?;
    listen(lab, lab.state.containers_socket(), None)
}

/// Without anybody to tell of the end, only commands in containers are served.
fn listen(lab: &Arc<Lab>, path: PathBuf, end: Option<Sender<()>>) -> Result<(), LabError> {
    let listener = UnixListener::bind(&path).on("listen on", &path)?;
    let lab = lab.clone();
    let accept = move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => admit(stream, &lab, end.clone()),
                Err(e) => {
                    tracing::warn!("accept on the control socket: {e}");
                    // Out of descriptors: wait for others to finish instead of spinning.
                    thread::sleep(Duration::from_millis(10));
                }
            }
        }
    };
    let started = thread::Builder::new()
        .name("control".to_owned())
        .spawn(accept);
    started
        .map(drop)
        .during("start", || "the thread of the control socket".to_owned())
}

fn admit(stream: UnixStream, lab: &Arc<Lab>, end: Option<Sender<()>>) {
    let lab = lab.clone();
    let started = thread::Builder::new().spawn(move || {
        let mut client = Client(Connection::accepted(stream, Deadline::after(READ_TIMEOUT)));
        match end {
            Some(end) => client.serve(&lab, &end),
            None => client.serve_commands(&lab),
        }
    });
    if let Err(e) = started {
        tracing::warn!("no thread for a client: {e}");
    }
}

struct Client(Connection);

impl Client {
    fn request(&mut self) -> Option<Request> {
        match self.0.receive::<Request>() {
            Ok((request, _)) => {
                tracing::debug!("{request:?}");
                Some(request)
            }
            Err(e) => {
                self.answer::<()>(Err(LabError::Request(format!("read the request: {e}"))));
                None
            }
        }
    }

    fn serve_commands(&mut self, lab: &Lab) {
        match self.request() {
            Some(Request::Shell(request)) => self.shell(lab, &request),
            Some(_) => self.answer::<()>(Err(LabError::Request(
                "on this socket there are only commands in containers".to_owned(),
            ))),
            None => {}
        }
    }

    fn serve(&mut self, lab: &Lab, end: &Sender<()>) {
        let Some(request) = self.request() else {
            return;
        };
        match request {
            Request::Status => self.answer(Ok(lab.status())),
            Request::Kill { process, signal } => self.answer(kill(lab, &process, signal)),
            Request::Stop { process } => {
                self.answer(known(lab.keeper.hold(&process), &process));
            }
            Request::Start { process } => {
                self.answer(known(lab.keeper.resume(&process), &process));
            }
            Request::Enter { target } => self.enter(lab, &target),
            Request::Shell(request) => self.shell(lab, &request),
            Request::Shutdown => {
                self.answer(lab.take_down());
                let _ = end.send(());
            }
        }
    }

    fn answer<T: Serialize>(&mut self, result: Result<T, LabError>) {
        let reply = match result {
            Ok(value) => Reply::Ok(value),
            Err(e) => Reply::Error(e.to_string()),
        };
        self.0.set_deadline(Deadline::after(WRITE_TIMEOUT));
        if let Err(e) = self.0.send(&reply, None) {
            tracing::debug!("a client left before its answer: {e}");
        }
    }

    fn enter(&mut self, lab: &Lab, target: &str) {
        let opened = find(lab, target).and_then(|namespaces| Ok((namespaces, own("pid")?)));
        match opened {
            Ok((namespaces, pid)) => self.hand_out(&namespaces, &pid),
            Err(e) => self.answer::<()>(Err(e)),
        }
    }

    fn shell(&mut self, lab: &Lab, request: &ShellRequest) {
        match Place::find(lab, request) {
            Ok(place) => {
                self.answer(Ok(place.name()));
                place.serve(lab, request, &mut self.0);
            }
            Err(e) => self.answer::<()>(Err(e)),
        }
    }

    /// Hands out the namespaces that the client asks for, one by one, until it leaves.
    fn hand_out(&mut self, namespaces: &Namespaces, pid: &OwnedFd) {
        self.answer(Ok(()));
        while let Ok((door, _)) = self.0.receive::<Door>() {
            let fd = match door {
                Door::Net => namespaces.net.as_fd(),
                Door::Mount => namespaces.mount.as_fd(),
                Door::Uts => namespaces.uts.as_fd(),
                Door::Pid => pid.as_fd(),
            };
            if let Err(e) = self.0.send(&door, Some(fd)) {
                tracing::debug!("a client left before its namespaces: {e}");
                return;
            }
        }
    }
}

/// `node1/agent`, `control/apiserver`, `pod-1-1/main` or `kube-system/dns/main`.
fn kill(lab: &Lab, process: &str, signal: i32) -> Result<(), LabError> {
    let signal = Signal::try_from(signal)
        .map_err(|_| LabError::Request(format!("there is no signal of number {signal}")))?;
    if lab.keeper.signal(process, signal) {
        return Ok(());
    }
    let parts: Vec<&str> = process.split('/').collect();
    let kill = |namespace, pod, container| {
        let runtime = lab.runtime.get();
        runtime.is_some_and(|runtime| runtime.kill(namespace, pod, container, signal))
    };
    let found = match parts.as_slice() {
        [pod, container] => kill(POD_NAMESPACE, pod, container),
        [namespace, pod, container] => kill(namespace, pod, container),
        _ => false,
    };
    known(found, process)
}

fn known(found: bool, process: &str) -> Result<(), LabError> {
    match found {
        true => Ok(()),
        false => Err(LabError::Request(format!(
            "there is no process {process} in this lab; `seaway lab logs` names all"
        ))),
    }
}

/// `node1`, `control`, `outside`, `router`, `pod-1-1`, `node1/pod-1-1` or `kube-system/dns`.
fn find(lab: &Lab, target: &str) -> Result<Arc<Namespaces>, LabError> {
    let of_pod = |node, namespace, pod| lab.runtime.get()?.namespaces(node, namespace, pod);
    let found = match target.split_once('/') {
        Some((node, pod)) if lab.node(node).is_ok() => of_pod(Some(node), POD_NAMESPACE, pod),
        Some((namespace, pod)) => of_pod(None, namespace, pod),
        None if target == CONTROL_PLANE => Some(lab.control_plane.namespaces.clone()),
        None if target == OUTSIDE => Some(lab.underlay.outside().clone()),
        None if target == ROUTER => Some(lab.underlay.router().clone()),
        None => match lab.node(target) {
            Ok(node) => Some(node.namespaces.clone()),
            Err(_) => of_pod(None, POD_NAMESPACE, target),
        },
    };
    found.ok_or_else(|| {
        LabError::Request(format!(
            "there is no node or running Pod {target} in this lab; `seaway lab status` shows them"
        ))
    })
}
