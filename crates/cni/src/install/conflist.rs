//! The configuration that tells a runtime to call the plugin.

use std::path::PathBuf;

use serde::Serialize;

use super::PLUGIN;
use crate::spec::{CAPABILITIES, CniVersion};

/// What every runtime in use speaks.
const COMMON: CniVersion = CniVersion::V1_0_0;

/// What is to be in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflist {
    /// The version to speak, whatever the runtime knows. Without one, each runtime takes the
    /// newest that it knows.
    pub version: Option<CniVersion>,
    /// Where the agent listens, if elsewhere than usual.
    pub socket: Option<PathBuf>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    cni_version: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cni_versions: Vec<&'static str>,
    name: &'static str,
    plugins: [Plugin<'a>; 1],
}

#[derive(Serialize)]
struct Plugin<'a> {
    r#type: &'static str,
    capabilities: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<&'a PathBuf>,
}

impl Conflist {
    /// The file's content.
    ///
    /// A runtime of before CNI 1.1 (containerd 1, CRI-O before 1.31) refuses every ADD of a
    /// configuration of version 1.1.0, since it cannot read the results. It takes `cniVersion` and
    /// knows no `cniVersions`; a newer one takes the best of the latter, so both get what they can.
    pub fn text(&self) -> String {
        let newer = |version: &CniVersion| *version >= COMMON;
        let list = List {
            cni_version: self.version.unwrap_or(COMMON).as_str(),
            cni_versions: match self.version {
                Some(_) => Vec::new(),
                None => {
                    let versions = CniVersion::ALL.into_iter().filter(newer);
                    versions.map(CniVersion::as_str).collect()
                }
            },
            name: "seaway",
            plugins: [Plugin {
                r#type: PLUGIN,
                capabilities: CAPABILITIES
                    .iter()
                    .map(|capability| ((*capability).to_owned(), true.into()))
                    .collect(),
                socket: self.socket.as_ref(),
            }],
        };
        let text = serde_json::to_string_pretty(&list);
        text.expect("plain strings are always JSON") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(conflist: &Conflist) -> Value {
        serde_json::from_str(&conflist.text()).expect("JSON")
    }

    #[test]
    fn old_and_new_runtimes_find_their_version() {
        let expected = json!({
            "cniVersion": "1.0.0",
            "cniVersions": ["1.0.0", "1.1.0"],
            "name": "seaway",
            "plugins": [{
                "type": "seaway-cni",
                "capabilities": {"portMappings": true, "bandwidth": true},
            }],
        });
        assert_eq!(read(&Conflist::default()), expected);
    }

    #[test]
    fn a_version_that_is_asked_for_is_the_only_one() {
        let list = read(&Conflist {
            version: Some(CniVersion::V0_4_0),
            socket: Some("/run/other.sock".into()),
        });
        assert_eq!(list["cniVersion"], "0.4.0");
        assert_eq!(list.get("cniVersions"), None);
        assert_eq!(list["plugins"][0]["socket"], "/run/other.sock");
    }
}
