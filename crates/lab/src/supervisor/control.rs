//! The supervisor's socket: requests in, answers out, each connection on its own thread.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use seaway_cni::wire::{Connection, Deadline};
use serde::Serialize;

use super::Lab;
use crate::error::{Context, LabError};
use crate::namespaces::{Namespaces, own};
use crate::protocol::{Door, Reply, Request};

/// How long a client may take to say what it wants.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the socket and serves it for as long as the process lives. `end` is told when a client
/// has had the lab taken down.
pub(crate) fn serve(lab: &Arc<Lab>, end: Sender<()>) -> Result<(), LabError> {
    let path = lab.state.control_socket();
    let listener = UnixListener::bind(&path).on("listen on", &path)?;
    let lab = lab.clone();
    let accept = move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => admit(stream, &lab, &end),
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

fn admit(stream: UnixStream, lab: &Arc<Lab>, end: &Sender<()>) {
    let (lab, end) = (lab.clone(), end.clone());
    let started = thread::Builder::new().spawn(move || {
        let mut client = Client(Connection::accepted(stream, Deadline::after(READ_TIMEOUT)));
        client.serve(&lab, &end);
    });
    if let Err(e) = started {
        tracing::warn!("no thread for a client: {e}");
    }
}

struct Client(Connection);

impl Client {
    fn serve(&mut self, lab: &Lab, end: &Sender<()>) {
        let request = match self.0.receive::<Request>() {
            Ok((request, _)) => request,
            Err(e) => {
                return self.answer::<()>(Err(LabError::Request(format!("read the request: {e}"))));
            }
        };
        tracing::debug!("{request:?}");
        match request {
            Request::Status => self.answer(Ok(lab.status())),
            Request::CreatePod { node, name } => self.answer(lab.create_pod(&node, &name)),
            Request::DeletePod { name } => self.answer(lab.pods.delete(lab, &name)),
            Request::Kill { process, signal } => self.answer(kill(lab, &process, signal)),
            Request::Enter { target } => self.enter(lab, &target),
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

fn kill(lab: &Lab, process: &str, signal: i32) -> Result<(), LabError> {
    let signal = Signal::try_from(signal)
        .map_err(|_| LabError::Request(format!("there is no signal of number {signal}")))?;
    match lab.keeper.signal(process, signal) {
        true => Ok(()),
        false => Err(LabError::Request(format!(
            "no process {process} runs in this lab"
        ))),
    }
}

/// `node1`, `node1/pod-1-1` or `pod-1-1`.
fn find(lab: &Lab, target: &str) -> Result<Arc<Namespaces>, LabError> {
    let found = match target.split_once('/') {
        Some((node, pod)) => lab.pods.namespaces(Some(node), pod),
        None => match lab.node(target) {
            Ok(node) => Some(node.namespaces.clone()),
            Err(_) => lab.pods.namespaces(None, target),
        },
    };
    found.ok_or_else(|| {
        LabError::Request(format!(
            "there is no node or Pod {target} in this lab; `seaway lab status` shows them"
        ))
    })
}
