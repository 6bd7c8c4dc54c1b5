//! From a container of a Pod to what is started: program, environment, mounts, user. Pure but for
//! the few files that a start needs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{
    Container, Pod, PodSecurityContext, PodSpec, SecurityContext, VolumeMount,
};

use super::downward::View;
use super::env::{environment, expand};
use super::life::StartFailure;
use super::refs::Referred;
use super::writer::PodDir;
use crate::container::{self, BindMount, ContainerSpec};
use crate::error::{Context, LabError};

const CONFIG_ERROR: &str = "CreateContainerConfigError";
const TERMINATION_LOG: &str = "/dev/termination-log";

/// The containers of a Pod in the order of its life: init containers, then the others.
pub(crate) fn in_order(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.as_ref();
    let inits = spec.and_then(|spec| spec.init_containers.as_ref());
    inits
        .into_iter()
        .flatten()
        .chain(spec.into_iter().flat_map(|spec| &spec.containers))
}

/// What of a Pod's wishes a lab never fulfils; `None` if there is no such wish.
pub(crate) fn refusal(spec: &PodSpec) -> Option<String> {
    let wishes = [
        (
            spec.host_pid,
            "hostPID: a lab keeps its Pods away from the processes of this machine",
        ),
        (
            spec.host_ipc,
            "hostIPC: a lab keeps its Pods away from the memory of this machine",
        ),
        (
            spec.share_process_namespace,
            "shareProcessNamespace: the containers of a lab have processes of their own",
        ),
    ];
    let refused = |(wish, reason): (Option<bool>, &str)| {
        wish.unwrap_or(false)
            .then(|| format!("{reason}; leave it out"))
    };
    wishes.into_iter().find_map(refused)
}

/// Makes what is to be started.
pub(crate) fn specification(
    container: &Container,
    view: &View<'_>,
    referred: &Referred,
    services: Vec<(String, String)>,
    dir: &PodDir,
    run: u32,
) -> Result<ContainerSpec, StartFailure> {
    let config = |message: String| waits(CONFIG_ERROR, message);
    let env = environment(container, view, referred, services).map_err(config)?;
    let known: BTreeMap<String, String> = env.iter().cloned().collect();
    let words = |words: &Option<Vec<String>>| -> Vec<String> {
        words
            .iter()
            .flatten()
            .map(|word| expand(word, &known))
            .collect()
    };
    let image = container.image.as_deref().unwrap_or_default();
    let argv = container::resolve(image, &words(&container.command), &words(&container.args))
        .map_err(|e| waits(e.reason(), e.to_string()))?;
    let default = PodSpec::default();
    let pod = view.pod.spec.as_ref().unwrap_or(&default);
    let mut spec = ContainerSpec {
        argv,
        mounts: mounts(container, &known, dir, run).map_err(config)?,
        env,
        workdir: container
            .working_dir
            .as_ref()
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from),
        ..ContainerSpec::default()
    };
    secure(&mut spec, container, pod).map_err(config)?;
    spec.check().map_err(|e| config(e.to_string()))?;
    Ok(spec)
}

fn waits(reason: &str, message: String) -> StartFailure {
    StartFailure::Waits {
        reason: reason.to_owned(),
        message,
    }
}

/// Who the container is and what it may do.
fn secure(spec: &mut ContainerSpec, container: &Container, pod: &PodSpec) -> Result<(), String> {
    let (of_pod, own) = (PodSecurityContext::default(), SecurityContext::default());
    let of_pod = pod.security_context.as_ref().unwrap_or(&of_pod);
    let own = container.security_context.as_ref().unwrap_or(&own);
    if own.privileged.unwrap_or(false) {
        return Err(
            "privileged: a lab gives no container power over this machine; leave it out".to_owned(),
        );
    }
    spec.user = id("runAsUser", own.run_as_user.or(of_pod.run_as_user))?;
    spec.group = id("runAsGroup", own.run_as_group.or(of_pod.run_as_group))?;
    let must_not = own
        .run_as_non_root
        .or(of_pod.run_as_non_root)
        .unwrap_or(false);
    if must_not && spec.user.unwrap_or(0) == 0 {
        let what = "container has runAsNonRoot and would run as root; give it a runAsUser";
        return Err(what.to_owned());
    }
    for group in of_pod
        .supplemental_groups
        .iter()
        .flatten()
        .chain(&of_pod.fs_group)
    {
        spec.supplementary_groups
            .extend(id("a group", Some(*group))?);
    }
    if let Some(capabilities) = &own.capabilities {
        spec.add_capabilities = capabilities.add.clone().unwrap_or_default();
        spec.drop_capabilities = capabilities.drop.clone().unwrap_or_default();
    }
    spec.read_only_root = own.read_only_root_filesystem.unwrap_or(false);
    Ok(())
}

fn id(what: &str, number: Option<i64>) -> Result<Option<u32>, String> {
    let convert = |n: i64| u32::try_from(n).map_err(|_| format!("{what} {n} is no id"));
    number.map(convert).transpose()
}

/// Volumes, then the files of every container, unless a volume is in their place.
fn mounts(
    container: &Container,
    env: &BTreeMap<String, String>,
    dir: &PodDir,
    run: u32,
) -> Result<Vec<BindMount>, String> {
    let own = container.volume_mounts.as_deref().unwrap_or_default();
    let mut mounts: Vec<BindMount> = own
        .iter()
        .map(|mount| volume_mount(mount, env, dir))
        .collect::<Result<_, _>>()?;
    let message = dir.message(&container.name, run);
    let message_path = container
        .termination_message_path
        .as_deref()
        .unwrap_or(TERMINATION_LOG);
    let files = [
        (dir.etc("hosts"), "/etc/hosts", false),
        (dir.etc("hostname"), "/etc/hostname", true),
        (dir.etc("resolv.conf"), "/etc/resolv.conf", false),
        (message, message_path, false),
    ];
    for (source, target, read_only) in files {
        if mounts.iter().all(|mount| mount.target != Path::new(target)) {
            mounts.push(BindMount {
                source,
                sub_path: None,
                target: PathBuf::from(target),
                read_only,
            });
        }
    }
    if container.volume_devices.iter().flatten().next().is_some() {
        return Err("volumeDevices: a lab has no block devices; leave them out".to_owned());
    }
    Ok(mounts)
}

fn volume_mount(
    mount: &VolumeMount,
    env: &BTreeMap<String, String>,
    dir: &PodDir,
) -> Result<BindMount, String> {
    let source = dir.volume(&mount.name);
    if !source.exists() {
        return Err(format!("there is no volume \"{}\" in this Pod", mount.name));
    }
    let expression = mount.sub_path_expr.as_deref().map(|text| expand(text, env));
    let sub_path = mount
        .sub_path
        .clone()
        .or(expression)
        .filter(|path| !path.is_empty());
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if let Some(path) = sub_path
        .as_ref()
        .filter(|p| !Path::new(p).components().all(plain))
    {
        return Err(format!(
            "the subPath \"{path}\" does not stay inside of the volume"
        ));
    }
    Ok(BindMount {
        source,
        sub_path: sub_path.map(PathBuf::from),
        target: PathBuf::from(&mount.mount_path),
        read_only: mount.read_only.unwrap_or(false),
    })
}

/// Makes the folders that mounts name inside of volumes, as far as nothing is there. Links of the
/// containers are not followed.
pub(crate) fn make_sub_paths(spec: &ContainerSpec) -> Result<(), LabError> {
    for mount in &spec.mounts {
        let Some(sub_path) = &mount.sub_path else {
            continue;
        };
        let mut path = mount.source.clone();
        for part in sub_path.components() {
            path.push(part);
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => break,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir(&path).on("create", &path)?;
                    // Whoever may write to the volume may write there.
                    let allowed = fs::metadata(&mount.source).on("look at", &mount.source)?;
                    let set = fs::set_permissions(&path, allowed.permissions());
                    set.on("set the mode of", &path)?;
                }
                Err(e) => return Err(e).on("look at", &path),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use serde_json::{Value, json};

    use super::*;

    fn make(pod: Value) -> Result<ContainerSpec, StartFailure> {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": pod})).expect("a Pod");
        let view = View {
            pod: &pod,
            node: "node1",
            pod_ips: &[],
            host_ips: &[],
            node_resources: (1000, 1),
        };
        let container = in_order(&pod).next().expect("a container");
        let dir = PodDir::new(Path::new("/state"), "uid");
        specification(container, &view, &Referred::default(), Vec::new(), &dir, 3)
    }

    #[test]
    fn words_are_expanded_and_files_mounted() {
        let spec = make(
            json!({"securityContext": {"runAsUser": 7, "fsGroup": 9}, "containers": [{
            "name": "c", "image": "seaway", "args": ["serve", "--http", "$(PORT)"],
            "env": [{"name": "PORT", "value": "81"}],
            "securityContext": {"runAsGroup": 8, "readOnlyRootFilesystem": true,
                                "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}}}]}),
        )
        .expect("made");
        assert_eq!(spec.argv, ["seaway", "tool", "serve", "--http", "81"]);
        assert_eq!((spec.user, spec.group), (Some(7), Some(8)));
        assert_eq!(spec.supplementary_groups, [9]);
        assert!(spec.read_only_root);
        let targets: Vec<_> = spec
            .mounts
            .iter()
            .map(|m| m.target.display().to_string())
            .collect();
        assert_eq!(
            targets,
            [
                "/etc/hosts",
                "/etc/hostname",
                "/etc/resolv.conf",
                "/dev/termination-log"
            ]
        );
        assert_eq!(
            spec.mounts[3].source,
            Path::new("/state/pods/uid/messages/c.3")
        );
    }

    #[test]
    fn what_a_lab_does_not_do_is_a_reason_to_wait() {
        for (pod, reason, words) in [
            (
                json!({"containers": [{"name": "c", "image": "nginx"}]}),
                "ErrImagePull",
                "no registry",
            ),
            (
                json!({"containers": [{"name": "c", "image": "seaway", "securityContext": {"privileged": true}}]}),
                CONFIG_ERROR,
                "privileged",
            ),
            (
                json!({"containers": [{"name": "c", "image": "seaway", "securityContext": {"runAsNonRoot": true}}]}),
                CONFIG_ERROR,
                "runAsNonRoot",
            ),
            (
                json!({"containers": [{"name": "c", "image": "seaway", "envFrom": [{"configMapRef": {"name": "x"}}]}]}),
                CONFIG_ERROR,
                "configmap \"x\" not found",
            ),
            (
                json!({"containers": [{"name": "c", "image": "seaway", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}),
                CONFIG_ERROR,
                "no volume \"v\"",
            ),
        ] {
            match make(pod).expect_err("refused") {
                StartFailure::Waits {
                    reason: given,
                    message,
                } => {
                    assert_eq!(given, reason);
                    assert!(message.contains(words), "{message}");
                }
                StartFailure::Broken { message } => panic!("{message}"),
            }
        }
        let spec = |json| serde_json::from_value::<PodSpec>(json).expect("a spec");
        assert!(refusal(&spec(json!({"containers": [], "hostPID": true}))).is_some());
        assert!(refusal(&spec(json!({"containers": [], "hostNetwork": true}))).is_none());
    }

    #[test]
    fn sub_paths_are_made_but_links_are_not_followed() {
        let base = std::env::temp_dir().join(format!("seaway-sub-{}", std::process::id()));
        fs::create_dir_all(base.join("v")).expect("made");
        fs::set_permissions(base.join("v"), Permissions::from_mode(0o2777)).expect("set");
        std::os::unix::fs::symlink("/nowhere", base.join("v/link")).expect("linked");
        let mount = |sub: &str| BindMount {
            source: base.join("v"),
            sub_path: Some(PathBuf::from(sub)),
            target: PathBuf::from("/x"),
            read_only: false,
        };
        let spec = ContainerSpec {
            mounts: vec![mount("a/b"), mount("link/c")],
            ..ContainerSpec::default()
        };
        make_sub_paths(&spec).expect("made");
        let mode = |path: &str| {
            fs::metadata(base.join(path))
                .expect("there")
                .permissions()
                .mode()
        };
        assert_eq!(mode("v/a/b") & 0o7777, 0o2777, "as the volume");
        assert!(!Path::new("/nowhere").exists());
        fs::remove_dir_all(base).expect("removed");
    }
}
