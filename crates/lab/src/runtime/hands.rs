//! What a Pod's worker has done for it: everything that takes time, each on a task of its own, the
//! outcome told as [`News`].

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::spawn_blocking;

use super::capabilities;
use super::containers;
use super::files;
use super::life::{Failure, Hook, Input, ProbeKind, StartFailure};
use super::machine::{Machine, Place};
use super::plan::probe_timeout;
use super::probe::Target;
use super::sandbox::{Owner, Sandbox};
use super::volumes::{self, VolumeError};
use super::writer::PodDir;
use crate::container::{self, LogTarget, Started};
use crate::error::LabError;
use crate::namespaces::Namespaces;
use crate::supervisor::ids;
use crate::supervisor::reaper::Exit;

const UNSUPPORTED: &str = "CreateContainerConfigError";

/// What a worker hears of.
pub(crate) enum News {
    /// Something that the Pod's life takes as it is.
    Input(Input),
    /// The Pod's object has changed.
    Pod(Arc<Pod>),
    /// The Pod's object is gone.
    Deleted,
    /// Something that the Pod refers to has changed.
    Referred,
    /// The lab ends.
    Shutdown,
    Sandbox(Result<Box<Sandbox>, Failure>),
    SandboxDied(String),
    SandboxRemoved(Box<Sandbox>, Result<(), LabError>),
    Started {
        member: usize,
        run: u32,
        result: Result<(Arc<Started>, String), StartFailure>,
    },
    Exited {
        member: usize,
        run: u32,
        exit: Exit,
    },
}

/// The means to do things for one Pod.
#[derive(Clone)]
pub(crate) struct Hands {
    pub(crate) machine: Arc<Machine>,
    pub(crate) place: Arc<Place>,
    pub(crate) dir: PodDir,
    pub(crate) logs: PathBuf,
    pub(crate) news: UnboundedSender<News>,
    /// Held by whoever writes the Pod's files; `true` once they are gone for good.
    pub(crate) files: Arc<Mutex<bool>>,
}

/// Which run of which container.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) member: usize,
    pub(crate) run: u32,
}

impl Hands {
    fn tell(&self, news: News) {
        // The worker is gone only when nothing matters any more.
        let _ = self.news.send(news);
    }

    /// Does something on a task of its own and tells what comes of it.
    fn task(&self, work: impl Future<Output = News> + Send + 'static) {
        let hands = self.clone();
        tokio::spawn(async move { hands.tell(work.await) });
    }

    /// Makes folders, files and volumes.
    pub(crate) fn prepare(&self, pod: Arc<Pod>) {
        let hands = self.clone();
        self.task(async move { News::Input(Input::Prepared(hands.prepared(pod).await)) });
    }

    /// Brings volumes up to date.
    pub(crate) fn refresh(&self, pod: Arc<Pod>) {
        let hands = self.clone();
        tokio::spawn(async move {
            if let Err(failure) = hands.prepared(pod.clone()).await {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                tracing::warn!(
                    "bring the volumes of {name} up to date: {}",
                    failure.message
                );
            }
        });
    }

    async fn prepared(&self, pod: Arc<Pod>) -> Result<(), Failure> {
        let files_are_gone = self.files.lock().await;
        if *files_are_gone {
            return Ok(());
        }
        let default = PodSpec::default();
        let refused = containers::refusal(pod.spec.as_ref().unwrap_or(&default));
        if let Some(message) = refused {
            return Err(Failure {
                waiting: Some(UNSUPPORTED),
                message,
            });
        }
        let plain = |message: String| Failure {
            waiting: None,
            message,
        };
        let referred = self.machine.referred(&pod).await.map_err(plain)?;
        let view = self.machine.view(&pod, &self.place, &[]);
        let contents = volumes::contents(&view, &referred).map_err(|e| match e {
            VolumeError::Missing(message) => plain(message),
            VolumeError::Unsupported(message) => Failure {
                waiting: Some(UNSUPPORTED),
                message,
            },
        })?;
        let (dir, dns) = (self.dir.clone(), self.machine.config.cluster_dns.clone());
        let node = self.place.node.name().to_owned();
        blocking(move || {
            dir.create()?;
            let default = PodSpec::default();
            let spec = pod.spec.as_ref().unwrap_or(&default);
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            dir.write_etc("hostname", &format!("{}\n", host_name(&pod, spec, &node)))?;
            dir.write_etc("resolv.conf", &files::resolv_conf(namespace, spec, &dns))?;
            let group = spec
                .security_context
                .as_ref()
                .and_then(|context| context.fs_group);
            let group = group.and_then(|group| u32::try_from(group).ok());
            let mut volumes = contents.iter();
            volumes.try_for_each(|(name, contents)| dir.write_volume(name, contents, group))
        })
        .await
        .map_err(|e| plain(e.to_string()))
    }

    /// Makes the sandbox.
    pub(crate) fn create_sandbox(&self, pod: Arc<Pod>) {
        let hands = self.clone();
        self.task(async move {
            let created = hands.created(pod).await;
            News::Sandbox(created.map(Box::new).map_err(|e| Failure {
                waiting: None,
                message: e.to_string(),
            }))
        });
    }

    async fn created(&self, pod: Arc<Pod>) -> Result<Sandbox, LabError> {
        let _turn = self.place.gate.acquire().await;
        let hands = self.clone();
        blocking(move || {
            let default = PodSpec::default();
            let spec = pod.spec.as_ref().unwrap_or(&default);
            let meta = &pod.metadata;
            let runtime_config = capabilities::runtime_config(&pod).map_err(LabError::Request)?;
            let owner = Owner {
                namespace: meta.namespace.clone().unwrap_or_default(),
                name: meta.name.clone().unwrap_or_default(),
                uid: meta.uid.clone().unwrap_or_default(),
                host_name: host_name(&pod, spec, hands.place.node.name()),
                host_network: spec.host_network.unwrap_or(false),
                runtime_config,
            };
            let id = ids::container_id()?;
            let (told, died) = (hands.clone(), id.clone());
            let on_death = move || told.tell(News::SandboxDied(died));
            let workshop = hands.machine.workshop(&hands.place);
            let mut sandbox = Sandbox::create(&workshop, &owner, id, on_death)?;
            let hosts = files::hosts(&owner.host_name, &owner.namespace, spec, &sandbox.addresses);
            match hands.dir.write_etc("hosts", &hosts) {
                Ok(()) => Ok(sandbox),
                Err(error) => {
                    drop(sandbox.remove(&workshop, hands.machine.hurries()));
                    Err(error)
                }
            }
        })
        .await
    }

    /// Removes the sandbox.
    pub(crate) fn remove_sandbox(&self, mut sandbox: Box<Sandbox>) {
        let hands = self.clone();
        tokio::spawn(async move {
            let place = hands.place.clone();
            let _turn = place.gate.acquire().await;
            let told = hands.clone();
            let removing = spawn_blocking(move || {
                let workshop = hands.machine.workshop(&hands.place);
                let removed = sandbox.remove(&workshop, hands.machine.hurries());
                told.tell(News::SandboxRemoved(sandbox, removed));
            });
            drop(removing.await);
        });
    }

    /// Starts a container.
    pub(crate) fn start(
        &self,
        pod: Arc<Pod>,
        Run { member, run }: Run,
        namespaces: Arc<Namespaces>,
        ips: Vec<IpAddr>,
    ) {
        let hands = self.clone();
        self.task(async move {
            let result = hands
                .started(pod, Run { member, run }, namespaces, ips)
                .await;
            News::Started {
                member,
                run,
                result,
            }
        });
    }

    async fn started(
        &self,
        pod: Arc<Pod>,
        Run { member, run }: Run,
        namespaces: Arc<Namespaces>,
        ips: Vec<IpAddr>,
    ) -> Result<(Arc<Started>, String), StartFailure> {
        let unknown = |message: String| StartFailure::Waits {
            reason: UNSUPPORTED.to_owned(),
            message,
        };
        let referred = self.machine.referred(&pod).await.map_err(unknown)?;
        let view = self.machine.view(&pod, &self.place, &ips);
        let container = containers::in_order(&pod).nth(member);
        let container = container.ok_or_else(|| unknown("the container is gone".to_owned()))?;
        let services = self.machine.service_variables(&pod).await;
        let spec =
            containers::specification(container, &view, &referred, services, &self.dir, run)?;
        let name = container.name.clone();
        let hands = self.clone();
        let broken = |e: LabError| StartFailure::Broken {
            message: e.to_string(),
        };
        blocking(move || {
            let id = format!("seaway://{}", ids::container_id()?);
            hands.dir.create_message(&name, run)?;
            containers::make_sub_paths(&spec)?;
            let log = hands.log(&name, run);
            forget_old_logs(&hands.logs.join(&name), run);
            let told = hands.clone();
            let on_exit = move |_, exit| told.tell(News::Exited { member, run, exit });
            let reaper = &hands.machine.config.reaper;
            let started = container::start(reaper, &namespaces, &spec, log, on_exit)?;
            Ok((Arc::new(started), id))
        })
        .await
        .map_err(broken)
    }

    fn log(&self, container: &str, run: u32) -> LogTarget {
        LogTarget {
            path: self.log_path(container, run),
            max_bytes: self.machine.config.log_bytes,
            keep: self.machine.config.log_files,
        }
    }

    /// Where a run of a container writes its log.
    pub(crate) fn log_path(&self, container: &str, run: u32) -> PathBuf {
        self.logs.join(container).join(format!("{run}.log"))
    }

    /// Tries a probe once.
    pub(crate) fn probe(&self, target: Target, Run { member, run }: Run, kind: ProbeKind) {
        self.task(async move {
            let container = &target.container;
            let probe = match kind {
                ProbeKind::Startup => &container.startup_probe,
                ProbeKind::Readiness => &container.readiness_probe,
                ProbeKind::Liveness => &container.liveness_probe,
            };
            let result = match probe {
                Some(probe) => target.probe(probe, probe_timeout(probe)).await,
                None => Ok(()),
            };
            News::Input(Input::Probed {
                member,
                run,
                kind,
                result,
            })
        });
    }

    /// Runs a hook, which may take as long as the Pod's grace.
    pub(crate) fn hook(
        &self,
        target: Target,
        Run { member, run }: Run,
        hook: Hook,
        limit: std::time::Duration,
    ) {
        self.task(async move {
            let hooks = target.container.lifecycle.clone().unwrap_or_default();
            let handler = match hook {
                Hook::PostStart => hooks.post_start,
                Hook::PreStop => hooks.pre_stop,
            };
            let result = match handler {
                Some(handler) => target.hook(&handler, limit).await,
                None => Ok(()),
            };
            News::Input(Input::Hooked {
                member,
                run,
                hook,
                result,
            })
        });
    }

    /// Removes the Pod's folders.
    pub(crate) async fn clean_up(&self) {
        *self.files.lock().await = true;
        let (dir, logs) = (self.dir.clone(), self.logs.clone());
        let removed = blocking(move || {
            drop(fs::remove_dir_all(&logs));
            dir.remove()
        });
        if let Err(e) = removed.await {
            tracing::warn!("{e}");
        }
    }
}

/// Runs what blocks, or enters namespaces, away from the runtime's thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LabError> + Send + 'static,
) -> Result<T, LabError> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(LabError::Request(format!("the work was not finished: {e}"))),
    }
}

fn host_name(pod: &Pod, spec: &PodSpec, node: &str) -> String {
    if spec.host_network.unwrap_or(false) {
        return node.to_owned();
    }
    files::host_name(pod.metadata.name.as_deref().unwrap_or_default(), spec)
}

/// Only the present and the previous run's logs can be asked for.
fn forget_old_logs(dir: &Path, run: u32) {
    let Some(oldest) = run.checked_sub(1) else {
        return;
    };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name
            .to_string_lossy()
            .split('.')
            .next()
            .and_then(|n| n.parse::<u32>().ok());
        if number.is_some_and(|number| number < oldest) {
            // What cannot be removed now goes with the Pod.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The last lines of a log, as a container's last words.
pub(crate) fn last_words(log: &Path) -> String {
    const LINES: usize = 80;
    const BYTES: usize = 2048;
    let text = crate::supervisor::tail(log, LINES);
    let content = |line: &str| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned();
    let all = text.lines().map(content).collect::<Vec<_>>().join("\n");
    let mut start = all.len().saturating_sub(BYTES);
    while !all.is_char_boundary(start) {
        start += 1;
    }
    all[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_runs_keep_their_logs() {
        let dir = std::env::temp_dir().join(format!("seaway-logs-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("made");
        for name in ["0.log", "8.log", "8.log.1", "9.log", "10.log", "other"] {
            fs::write(dir.join(name), "2026-11-27T14:00:00Z stdout F bye bye\n").expect("written");
        }
        forget_old_logs(&dir, 10);
        let mut left: Vec<_> = fs::read_dir(&dir)
            .expect("listed")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("text")
            })
            .collect();
        left.sort();
        assert_eq!(left, ["10.log", "9.log", "other"]);
        assert_eq!(last_words(&dir.join("9.log")), "bye bye");
        fs::remove_dir_all(dir).expect("removed");
    }
}
