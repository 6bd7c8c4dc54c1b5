//! Whether a lab can run here, found out before anything is touched.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use seaway_kernel::netlink::{Netlink, Request, VethPeer, VethSpec};
use seaway_kernel::netns::Netns;

use crate::error::LabError;
use crate::namespaces::on_new_thread;

/// Capabilities that a lab needs, with their numbers and what for.
const CAPABILITIES: [(&str, u32, &str); 3] = [
    ("CAP_NET_ADMIN", 12, "to make links, addresses and routes"),
    ("CAP_SYS_CHROOT", 18, "to enter mount namespaces"),
    ("CAP_SYS_ADMIN", 21, "to make namespaces and mounts"),
];

/// Fails with everything that is missing.
pub(super) fn check() -> Result<(), LabError> {
    let mut missing = missing_privileges();
    missing.extend(missing_binaries());
    // Without privileges every trial would fail for that reason alone.
    if missing.is_empty() {
        missing.extend(missing_kernel_features());
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(LabError::Missing(missing))
    }
}

fn missing_privileges() -> Vec<String> {
    if !geteuid().is_root() {
        return vec!["you are not root: run it with sudo".to_owned()];
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    missing_capabilities(&status)
}

/// The needed capabilities that `/proc/self/status` does not show as effective.
fn missing_capabilities(status: &str) -> Vec<String> {
    let field = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = field
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    CAPABILITIES
        .iter()
        .filter(|(_, number, _)| held & (1 << number) == 0)
        .map(|(name, _, why)| {
            format!("the capability {name} is missing, needed {why}: in a container, start that with --privileged")
        })
        .collect()
}

fn missing_binaries() -> Vec<String> {
    let Ok(seaway) = std::env::current_exe() else {
        return vec!["the path of this executable cannot be found: is /proc mounted?".to_owned()];
    };
    let plugin = seaway.with_file_name("seaway-cni");
    [seaway, plugin]
        .iter()
        .filter_map(|path| missing_binary(path))
        .collect()
}

fn missing_binary(path: &Path) -> Option<String> {
    let runnable =
        fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hint = "build both binaries with `cargo build -p seaway -p seaway-cni`";
    (!runnable).then(|| format!("the binary {name} is not at {}: {hint}", path.display()))
}

/// Tries, in namespaces that go away at once, what the lab will do.
fn missing_kernel_features() -> Vec<String> {
    let mut missing = Vec::new();
    if !Path::new("/proc/sys/net/ipv6").exists() {
        missing
            .push("IPv6 is switched off in the kernel: start it without ipv6.disable=1".to_owned());
    }
    missing.extend(on_new_thread(try_namespaces));
    missing
}

fn try_namespaces() -> Vec<String> {
    let network = try_namespace("network", CloneFlags::CLONE_NEWNET);
    let mut missing = if network.is_none() {
        try_links()
    } else {
        Vec::new()
    };
    missing.extend(network);
    missing.extend(try_namespace(
        "mount",
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS,
    ));
    missing.extend(try_namespace("host name", CloneFlags::CLONE_NEWUTS));
    // The last, because a thread that has done this can start no other.
    missing.extend(try_namespace("process", CloneFlags::CLONE_NEWPID));
    missing
}

fn try_namespace(name: &str, kind: CloneFlags) -> Option<String> {
    let error = unshare(kind).err()?;
    Some(format!(
        "the kernel refuses a new {name} namespace: {error}"
    ))
}

/// On a thread that is in a network namespace of its own.
fn try_links() -> Vec<String> {
    let (netns, mut netlink) = match Netns::current().and_then(|ns| Ok((ns, Netlink::open()?))) {
        Ok(opened) => opened,
        Err(e) => return vec![e.to_string()],
    };
    let peer = VethPeer {
        name: "b",
        index: None,
        mac: None,
        mtu: None,
        netns: netns.as_fd(),
    };
    let veth = VethSpec {
        name: "a",
        index: None,
        mac: None,
        mtu: None,
        group: None,
        up: true,
        peer,
    };
    let trials = [
        ("bridge", Request::bridge("t")),
        ("veth", Request::veth(veth)),
    ];
    trials
        .into_iter()
        .filter_map(|(kind, request)| {
            let error = netlink.send_all(&[request]).err()?;
            Some(format!(
                "the kernel has no {kind} devices (`modprobe {kind}`): {error}"
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named_with_their_use() {
        let full = "Name:\tx\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n";
        assert!(missing_capabilities(full).is_empty());
        let docker = "CapEff:\t00000000a80425fb\n";
        let missing = missing_capabilities(docker);
        assert_eq!(missing.len(), 2, "{missing:?}");
        assert!(missing[0].contains("CAP_NET_ADMIN") && missing[1].contains("CAP_SYS_ADMIN"));
        assert_eq!(missing_capabilities("").len(), 3);
    }

    #[test]
    fn a_missing_binary_says_how_to_build_it() {
        let missing = missing_binary(Path::new("/nonexistent/seaway-cni")).expect("missing");
        assert!(
            missing.contains("cargo build") && missing.contains("/nonexistent"),
            "{missing}"
        );
        assert_eq!(missing_binary(Path::new("/proc/self/exe")), None);
    }
}
