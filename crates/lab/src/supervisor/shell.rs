//! The supervisor's part of `lab shell`: finds the container that is meant, and stands between the
//! client and the command in it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use seaway_cni::wire::{Connection, Deadline, WireError};

use super::Lab;
use super::control::{READ_TIMEOUT, WRITE_TIMEOUT};
use crate::container::{Lent, Session, SessionEnd, Started};
use crate::error::LabError;
use crate::protocol::{Screen, ShellRequest, Stream, Told, target};
use crate::runtime::{ContainerReport, PodReport};
use crate::topology::POD_NAMESPACE;

/// A program failed, and there is no more to say about it than a message.
const FAILED: u8 = 1;

/// A container, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    namespace: String,
    pod: String,
    container: String,
}

/// A container that runs.
pub(super) struct Place {
    name: Name,
    started: Arc<Started>,
}

impl Place {
    /// The container that a client means.
    pub(super) fn find(lab: &Lab, request: &ShellRequest) -> Result<Place, LabError> {
        let runtime = lab.runtime.get().ok_or_else(|| {
            LabError::Request("the lab is starting, and runs no Pods yet".to_owned())
        })?;
        let (pods, container) = (runtime.pods(), request.container.as_deref());
        let name = resolve(&pods, &request.target, container).map_err(LabError::Request)?;
        let started = runtime.container(&name.namespace, &name.pod, &name.container);
        let started = started.ok_or_else(|| {
            LabError::Request(format!("the container {} has just ended", name.text()))
        })?;
        Ok(Place { name, started })
    }

    /// What it is called.
    pub(super) fn name(&self) -> String {
        self.name.text()
    }

    /// Runs the command until it ends or the client is gone.
    pub(super) fn serve(&self, lab: &Lab, request: &ShellRequest, client: &mut Connection) {
        let lent = match &request.screen {
            Some(Screen { rows, columns, .. }) => {
                client.set_deadline(Deadline::after(READ_TIMEOUT));
                client.receive::<()>().map(|_| Lent::Terminal {
                    rows: *rows,
                    columns: *columns,
                })
            }
            None => borrow(client).map(Lent::Pipes),
        };
        match lent {
            Ok(lent) => self.run(lab, request, lent, client),
            Err(e) => tracing::debug!("a client of a shell left: {e}"),
        }
    }

    fn run(&self, lab: &Lab, request: &ShellRequest, lent: Lent, client: &mut Connection) {
        let kind = request.screen.as_ref().and_then(|s| s.kind.clone());
        let env: Vec<_> = kind
            .map(|kind| ("TERM".to_owned(), kind))
            .into_iter()
            .collect();
        let (reaper, argv) = (&lab.reaper, &request.command);
        let mut session = match Session::start(reaper, &self.started, argv, &env, lent) {
            Ok(Ok(session)) => session,
            Ok(Err(end)) => return tell(client, &ended(end), None),
            Err(e) => return tell(client, &failed(&e), None),
        };
        let terminal = session.take_terminal();
        tell(client, &Told::Started, terminal);
        if let Err(e) = client.receive::<()>() {
            tracing::debug!(
                "a client of a shell in {} does not answer: {e}",
                self.name()
            );
            return session.end(reaper);
        }
        match session.attend(reaper, client.as_fd()) {
            Ok(Some(end)) => tell(client, &ended(end), None),
            Ok(None) => tracing::debug!("a client of a shell in {} left", self.name()),
            Err(e) => tell(client, &failed(&e), None),
        }
    }
}

/// The descriptors that the client lends. The kernel keeps messages that carry one apart.
fn borrow(client: &mut Connection) -> Result<[OwnedFd; 3], WireError> {
    client.set_deadline(Deadline::after(READ_TIMEOUT));
    let mut next = |wanted: Stream| {
        let (stream, fd) = client.receive::<Stream>()?;
        let fd = fd.filter(|_| stream == wanted);
        fd.ok_or(WireError::Closed("waiting for a standard stream"))
    };
    Ok([
        next(Stream::Input)?,
        next(Stream::Output)?,
        next(Stream::Errors)?,
    ])
}

fn tell(client: &mut Connection, told: &Told, fd: Option<OwnedFd>) {
    client.set_deadline(Deadline::after(WRITE_TIMEOUT));
    if let Err(e) = client.send(told, fd.as_ref().map(AsFd::as_fd)) {
        tracing::debug!("a client of a shell does not hear {told:?}: {e}");
    }
}

fn ended(SessionEnd { code, note }: SessionEnd) -> Told {
    Told::Ended { code, note }
}

fn failed(error: &LabError) -> Told {
    Told::Ended {
        code: FAILED,
        note: Some(error.to_string()),
    }
}

impl Name {
    fn text(&self) -> String {
        format!("{}/{}", target(&self.namespace, &self.pod), self.container)
    }
}

/// What `pod`, `pod/container`, `namespace/pod` or `namespace/pod/container` means among these Pods.
fn resolve(pods: &[PodReport], text: &str, container: Option<&str>) -> Result<Name, String> {
    let find = |namespace: &str, name: &str| {
        let mut pods = pods.iter();
        pods.find(|pod| pod.namespace == namespace && pod.name == name)
    };
    let parts: Vec<&str> = text.split('/').collect();
    let (pod, named) = match *parts.as_slice() {
        [pod] => (find(POD_NAMESPACE, pod), None),
        [a, b] => match (find(POD_NAMESPACE, a), find(a, b)) {
            (Some(_), Some(_)) if container.is_none() => {
                return Err(format!(
                    "{text} is a container of the Pod {a} as well as a Pod of the namespace {a}: \
                     write {POD_NAMESPACE}/{text} for the first, and name the container for the second"
                ));
            }
            (Some(pod), None) => (Some(pod), Some(b)),
            (_, pod) => (pod, None),
        },
        [namespace, pod, named] => (find(namespace, pod), Some(named)),
        _ => (None, None),
    };
    let pod = pod.ok_or_else(|| {
        format!(
            "there is no node and no Pod {text} on the nodes of this lab; \
             `seaway lab status` shows them"
        )
    })?;
    match (named, container) {
        (Some(a), Some(b)) if a != b => {
            Err(format!("{text} names the container {a}, and -c names {b}"))
        }
        (named, container) => choose(pod, named.or(container)),
    }
}

/// The container of a Pod that is meant, the first that runs if none is named.
fn choose(pod: &PodReport, container: Option<&str>) -> Result<Name, String> {
    let target = target(&pod.namespace, &pod.name);
    let runs = |container: &&ContainerReport| container.pid.is_some();
    let found = match container {
        None => {
            pod.containers.iter().find(runs).ok_or_else(|| {
                format!("no container of the Pod {target} runs{}", state(pod, None))
            })?
        }
        Some(name) => {
            let mut all = pod.containers.iter();
            let found = all
                .find(|container| container.name == name)
                .ok_or_else(|| {
                    let names: Vec<&str> = pod.containers.iter().map(|c| c.name.as_str()).collect();
                    format!(
                        "the Pod {target} has no container {name}; it has {}",
                        names.join(", ")
                    )
                })?;
            Some(found).filter(runs).ok_or_else(|| {
                let state = state(pod, Some(found));
                format!("the container {name} of the Pod {target} does not run{state}")
            })?
        }
    };
    Ok(Name {
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        container: found.name.clone(),
    })
}

/// What is known about why it does not run, and where to learn more.
fn state(pod: &PodReport, container: Option<&ContainerReport>) -> String {
    let restarts = match container {
        Some(container) => format!(
            ", the container has been restarted {} times",
            container.restarts
        ),
        None => String::new(),
    };
    format!(
        ": the Pod is {}{restarts}. `seaway lab kubectl describe pod -n {} {}` tells why, \
         `seaway lab logs {}/{}` shows what it wrote",
        pod.phase,
        pod.namespace,
        pod.name,
        target(&pod.namespace, &pod.name),
        container.map_or("CONTAINER", |container| &container.name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(namespace: &str, name: &str, containers: &[(&str, bool)]) -> PodReport {
        let container = |(name, runs): &(&str, bool)| ContainerReport {
            name: name.to_string(),
            pid: runs.then_some(7),
            restarts: 2,
        };
        PodReport {
            namespace: namespace.into(),
            name: name.into(),
            phase: "Running".into(),
            containers: containers.iter().map(container).collect(),
            ..PodReport::default()
        }
    }

    fn pods() -> [PodReport; 4] {
        [
            pod("default", "a", &[("main", false), ("side", true)]),
            pod("default", "web", &[("main", true)]),
            pod("kube-system", "dns", &[("main", true), ("side", true)]),
            pod("web", "main", &[("other", true)]),
        ]
    }

    #[test]
    fn containers_are_found_by_all_their_names() {
        for (text, container, expected) in [
            ("a", None, "a/side"),
            ("a/side", None, "a/side"),
            ("a", Some("side"), "a/side"),
            ("a/side", Some("side"), "a/side"),
            ("default/a", None, "a/side"),
            ("kube-system/dns", None, "kube-system/dns/main"),
            ("kube-system/dns/side", None, "kube-system/dns/side"),
            ("kube-system/dns", Some("side"), "kube-system/dns/side"),
            ("web", None, "web/main"),
            ("default/web/main", None, "web/main"),
            ("web/main", Some("other"), "web/main/other"),
        ] {
            let found = resolve(&pods(), text, container).map(|name| name.text());
            assert_eq!(found.as_deref(), Ok(expected), "{text} {container:?}");
        }
    }

    #[test]
    fn what_is_not_there_or_does_not_run_is_told() {
        for (text, container, expected) in [
            ("b", None, "no Pod b"),
            ("a/b/c/d", None, "no Pod a/b/c/d"),
            ("dns", None, "no Pod dns"),
            ("a/none", None, "no container none; it has main, side"),
            (
                "a/main",
                None,
                "Running, the container has been restarted 2",
            ),
            ("a/side", Some("main"), "-c names main"),
            ("web/main", None, "default/web/main"),
        ] {
            let error = resolve(&pods(), text, container).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
        let idle = [pod("default", "a", &[("main", false)])];
        let error = resolve(&idle, "a", None).expect_err("does not run");
        assert!(error.contains("describe pod -n default a"), "{error}");
    }
}
