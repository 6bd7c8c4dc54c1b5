//! All that a network can leave on a node, looked at from outside.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use seaway_kernel::netns::Netns;
use seaway_testkit::eventually;
use seaway_tests::shell;

/// What counts and measures, and is no setting.
const MEASURED: [&str; 3] = ["nf_conntrack_count", "/route/", "tcp_fastopen_key"];

/// What the node holds; equal when nothing was left and nothing is missing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traces(BTreeMap<String, String>);

/// Makes the calling thread's namespace what a node of Kubernetes is before it has a network: it
/// forwards, which stays, and its own addresses have settled.
pub(crate) fn make_ordinary() {
    for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        fs::write(Path::new("/proc/sys/net").join(setting), "1").expect("set");
    }
    let netns = Netns::current().expect("namespace");
    eventually(
        "addresses have settled",
        Duration::from_secs(20),
        || match shell::run(&netns, "ip -6 address show tentative") {
            none if none.trim().is_empty() => Ok(()),
            some => Err(some),
        },
    );
}

impl Traces {
    /// Looks at the calling thread's namespaces, and at all files in `folder`.
    pub(crate) fn now(folder: &Path) -> Traces {
        let mut traces = BTreeMap::new();
        let netns = Netns::current().expect("namespace");
        for line in [
            "ip -d link",
            "ip address",
            "ip rule",
            "ip -6 rule",
            "ip route show table all",
            "ip -6 route show table all",
            "ip neighbour show nud permanent",
            "ip neighbour show proxy",
            "nft --stateless list ruleset",
            "tc qdisc",
        ] {
            traces.insert(line.to_owned(), shell::run(&netns, line));
        }
        files(folder, &mut traces);
        settings(Path::new("/proc/sys/net"), &mut traces);
        Traces(traces)
    }

    /// Fails with what differs.
    pub(crate) fn assert_same(&self, before: &Traces) {
        let keys = self.0.keys().chain(before.0.keys());
        let differs = keys.filter(|key| self.0.get(*key) != before.0.get(*key));
        let shown: BTreeMap<_, _> = differs
            .map(|key| (key, (before.0.get(key), self.0.get(key))))
            .collect();
        assert!(shown.is_empty(), "before and now: {shown:#?}");
    }
}

fn files(folder: &Path, traces: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let about = fs::symlink_metadata(&path).expect("there");
        let mode = about.permissions().mode();
        if about.is_dir() {
            traces.insert(path.display().to_string(), format!("{mode:o}"));
            files(&path, traces);
        } else {
            let bytes = fs::read(&path).expect("readable");
            traces.insert(path.display().to_string(), format!("{mode:o} {bytes:?}"));
        }
    }
}

fn settings(folder: &Path, traces: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("settings") {
        let path = entry.expect("an entry").path();
        let name = path.display().to_string();
        if path.is_dir() {
            settings(&path, traces);
        } else if !MEASURED.iter().any(|measured| name.contains(measured))
            // Some can only be written.
            && let Ok(value) = fs::read_to_string(&path)
        {
            traces.insert(name, value);
        }
    }
}
