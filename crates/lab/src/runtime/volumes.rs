//! What is in a Pod's volumes. Pure: the files are written by [`writer`](super::writer).

use std::collections::BTreeMap;
use std::path::{Component, Path};

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, PodSpec, ProjectedVolumeSource, Volume, VolumeProjection,
};

use super::downward::View;
use super::refs::{Content, Referred};

const DEFAULT_MODE: u32 = 0o644;

/// A file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeFile {
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
}

/// The files of a volume by their paths in it.
pub(crate) type Files = BTreeMap<String, VolumeFile>;

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// The containers' to fill.
    Empty,
    /// Kept like this.
    Files(Files),
}

/// Why a volume cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VolumeError {
    /// A lab never has such a volume.
    Unsupported(String),
    /// Something is missing that may still come.
    Missing(String),
}

/// All volumes of a Pod.
pub(crate) fn contents(
    view: &View<'_>,
    referred: &Referred,
) -> Result<BTreeMap<String, Contents>, VolumeError> {
    let spec = view.pod.spec.as_ref();
    let volumes = spec
        .and_then(|spec| spec.volumes.as_deref())
        .unwrap_or_default();
    volumes
        .iter()
        .map(|volume| Ok((volume.name.clone(), of(volume, view, referred)?)))
        .collect()
}

/// Whether a Pod has volumes whose files have to be kept up to date.
pub(crate) fn are_followed(pod: &Pod) -> bool {
    let volumes = pod
        .spec
        .as_ref()
        .and_then(|spec: &PodSpec| spec.volumes.as_ref());
    volumes
        .into_iter()
        .flatten()
        .any(|volume| volume.empty_dir.is_none())
}

fn of(volume: &Volume, view: &View<'_>, referred: &Referred) -> Result<Contents, VolumeError> {
    let name = &volume.name;
    let missing = |reason: String| {
        VolumeError::Missing(format!(
            "MountVolume.SetUp failed for volume \"{name}\" : {reason}"
        ))
    };
    let mut files = Files::new();
    if volume.empty_dir.is_some() {
        return Ok(Contents::Empty);
    } else if let Some(source) = &volume.config_map {
        let optional = source.optional.unwrap_or(false);
        let content = referred
            .config_map(&source.name, optional)
            .map_err(missing)?;
        let picked = Picked {
            content,
            items: source.items.as_deref(),
            optional,
            mode: mode(source.default_mode),
        };
        picked.add_to(&mut files).map_err(missing)?;
    } else if let Some(source) = &volume.secret {
        let optional = source.optional.unwrap_or(false);
        let name = source.secret_name.as_deref().unwrap_or_default();
        let picked = Picked {
            content: referred.secret(name, optional).map_err(missing)?,
            items: source.items.as_deref(),
            optional,
            mode: mode(source.default_mode),
        };
        picked.add_to(&mut files).map_err(missing)?;
    } else if let Some(source) = &volume.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        downward(items, mode(source.default_mode), view, &mut files).map_err(missing)?;
    } else if let Some(source) = &volume.projected {
        projected(name, source, view, referred, &mut files)?;
    } else {
        return Err(VolumeError::Unsupported(unsupported(volume)));
    }
    Ok(Contents::Files(files))
}

fn unsupported(volume: &Volume) -> String {
    let name = &volume.name;
    let hint = "use emptyDir, configMap, secret, downwardAPI or projected";
    match &volume.host_path {
        Some(host) => format!(
            "volume \"{name}\": hostPath {} is refused, since a lab keeps its Pods away from the files of this machine; {hint}",
            host.path
        ),
        None => format!("volume \"{name}\" is of a kind that a lab does not have; {hint}"),
    }
}

fn mode(given: Option<i32>) -> u32 {
    given
        .and_then(|mode| u32::try_from(mode).ok())
        .map_or(DEFAULT_MODE, |mode| mode & 0o777)
}

/// What a volume takes of a ConfigMap or Secret.
struct Picked<'a> {
    content: Option<&'a Content>,
    items: Option<&'a [KeyToPath]>,
    optional: bool,
    mode: u32,
}

impl Picked<'_> {
    fn add_to(&self, files: &mut Files) -> Result<(), String> {
        let Some(content) = self.content else {
            return Ok(());
        };
        let Some(items) = self.items.filter(|items| !items.is_empty()) else {
            for (key, data) in content {
                add(files, key, data.clone(), self.mode)?;
            }
            return Ok(());
        };
        for item in items {
            let mode = item.mode.map_or(self.mode, |own| mode(Some(own)));
            match content.get(&item.key) {
                Some(data) => add(files, &item.path, data.clone(), mode)?,
                None if self.optional => {}
                None => return Err(format!("references non-existent config key: {}", item.key)),
            }
        }
        Ok(())
    }
}

fn add(files: &mut Files, path: &str, data: Vec<u8>, mode: u32) -> Result<(), String> {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let inside = !path.is_empty() && Path::new(path).components().all(plain);
    // Names that begin like that are the writer's own.
    if !inside || path.starts_with("..") {
        return Err(format!(
            "the path \"{path}\" does not stay inside of the volume"
        ));
    }
    files.insert(path.to_owned(), VolumeFile { data, mode });
    Ok(())
}

fn downward(
    items: &[DownwardAPIVolumeFile],
    default: u32,
    view: &View<'_>,
    files: &mut Files,
) -> Result<(), String> {
    for item in items {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => view.field(&field.field_path)?,
            (None, Some(resource)) => view.resource(None, resource)?,
            (None, None) => return Err(format!("\"{}\" refers to nothing", item.path)),
        };
        let mode = item.mode.map_or(default, |own| mode(Some(own)));
        add(files, &item.path, value.into_bytes(), mode)?;
    }
    Ok(())
}

fn projected(
    name: &str,
    source: &ProjectedVolumeSource,
    view: &View<'_>,
    referred: &Referred,
    files: &mut Files,
) -> Result<(), VolumeError> {
    let missing = |reason: String| {
        VolumeError::Missing(format!(
            "MountVolume.SetUp failed for volume \"{name}\" : {reason}"
        ))
    };
    let default = mode(source.default_mode);
    for part in source.sources.iter().flatten() {
        project(part, default, view, referred, files).map_err(|e| match e {
            VolumeError::Missing(reason) => missing(reason),
            VolumeError::Unsupported(what) => VolumeError::Unsupported(format!(
                "volume \"{name}\": a lab does not project {what}; leave that source out"
            )),
        })?;
    }
    Ok(())
}

fn project(
    part: &VolumeProjection,
    mode: u32,
    view: &View<'_>,
    referred: &Referred,
    files: &mut Files,
) -> Result<(), VolumeError> {
    let missing = VolumeError::Missing;
    if let Some(source) = &part.config_map {
        let optional = source.optional.unwrap_or(false);
        let content = referred
            .config_map(&source.name, optional)
            .map_err(missing)?;
        let items = source.items.as_deref();
        Picked {
            content,
            items,
            optional,
            mode,
        }
        .add_to(files)
        .map_err(missing)
    } else if let Some(source) = &part.secret {
        let optional = source.optional.unwrap_or(false);
        let content = referred.secret(&source.name, optional).map_err(missing)?;
        let items = source.items.as_deref();
        Picked {
            content,
            items,
            optional,
            mode,
        }
        .add_to(files)
        .map_err(missing)
    } else if let Some(source) = &part.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        downward(items, mode, view, files).map_err(missing)
    } else {
        let what = match part.service_account_token {
            Some(_) => "a serviceAccountToken",
            None => "a source of that kind",
        };
        Err(VolumeError::Unsupported(what.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn make(volume: &Value) -> Result<String, VolumeError> {
        let mut volume = volume.clone();
        volume["name"] = json!("v");
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "labels": {"a": "b"}},
            "spec": {"containers": [], "volumes": [volume]}}))
            .expect("a Pod");
        let view = View {
            pod: &pod,
            node: "node1",
            pod_ips: &[],
            host_ips: &[],
            node_resources: (1000, 1),
        };
        let content = Content::from([
            ("k".to_owned(), b"v".to_vec()),
            ("l".to_owned(), b"w".to_vec()),
        ]);
        let referred = Referred {
            namespace: "n".to_owned(),
            config_maps: [("cm".to_owned(), content.clone())].into(),
            secrets: [("s".to_owned(), content)].into(),
        };
        let all = contents(&view, &referred)?;
        Ok(match &all["v"] {
            Contents::Empty => "empty".to_owned(),
            Contents::Files(files) => files
                .iter()
                .map(|(path, f)| {
                    format!("{path}={}/{:o}", String::from_utf8_lossy(&f.data), f.mode)
                })
                .collect::<Vec<_>>()
                .join(" "),
        })
    }

    #[test]
    fn volumes_hold_what_they_refer_to() {
        for (volume, expected) in [
            (json!({"emptyDir": {}}), "empty"),
            (json!({"configMap": {"name": "cm"}}), "k=v/644 l=w/644"),
            (json!({"configMap": {"name": "x", "optional": true}}), ""),
            (
                json!({"secret": {"secretName": "s", "defaultMode": 256, "items":
                [{"key": "k", "path": "a/b"}, {"key": "l", "path": "c", "mode": 448}]}}),
                "a/b=v/400 c=w/700",
            ),
            (
                json!({"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}}),
                "l=a=\"b\"/644",
            ),
            (
                json!({"projected": {"sources": [{"secret": {"name": "s", "items": [{"key": "k", "path": "s"}]}},
                {"configMap": {"name": "cm"}},
                {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}),
                "k=v/644 l=w/644 n=p/644 s=v/644",
            ),
        ] {
            assert_eq!(make(&volume).expect("made"), expected, "{volume}");
        }
    }

    #[test]
    fn what_cannot_be_is_told_apart_from_what_is_missing() {
        for (volume, unsupported, reason) in [
            (
                json!({"hostPath": {"path": "/etc"}}),
                true,
                "hostPath /etc is refused",
            ),
            (
                json!({"nfs": {"server": "a", "path": "/b"}}),
                true,
                "does not have",
            ),
            (
                json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}),
                true,
                "does not project a serviceAccountToken",
            ),
            (
                json!({"configMap": {"name": "x"}}),
                false,
                "for volume \"v\" : configmap \"x\" not found",
            ),
            (
                json!({"configMap": {"name": "cm", "items": [{"key": "z", "path": "z"}]}}),
                false,
                "key: z",
            ),
            (
                json!({"configMap": {"name": "cm", "items": [{"key": "k", "path": "../k"}]}}),
                false,
                "inside",
            ),
            (
                json!({"configMap": {"name": "cm", "items": [{"key": "k", "path": "..data"}]}}),
                false,
                "inside",
            ),
        ] {
            let error = make(&volume).expect_err("refused");
            let (VolumeError::Unsupported(text) | VolumeError::Missing(text)) = &error;
            assert!(text.contains(reason), "{text}");
            assert_eq!(
                matches!(error, VolumeError::Unsupported(_)),
                unsupported,
                "{text}"
            );
        }
    }
}
