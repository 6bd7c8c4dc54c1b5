//! `/etc` of a container: what programs need to run at all, and no accounts, keys or settings of this
//! machine.

use std::fs;
use std::path::Path;

use crate::error::{Context, LabError};

/// Taken over from this machine, where it exists: how libraries are found, which program a name stands
/// for, whom to trust, the time zone, the names of ports.
pub(super) const SHARED: [&str; 13] = [
    "alternatives",
    "ca-certificates/extracted",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "os-release",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\n\
    protocols: files\nservices: files\n";
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// Writes the rest. A Pod's own `hosts`, `hostname` and `resolv.conf` are mounted over these.
pub(super) fn write(etc: &Path) -> Result<(), LabError> {
    let host_name = nix::unistd::gethostname().unwrap_or_default();
    let host_name = format!("{}\n", host_name.to_string_lossy());
    let files = [
        ("group", GROUP),
        ("hostname", &host_name),
        ("hosts", HOSTS),
        ("nsswitch.conf", NSSWITCH),
        ("passwd", PASSWD),
        ("resolv.conf", ""),
    ];
    for (name, text) in files {
        let path = etc.join(name);
        fs::write(&path, text).on("write", &path)?;
    }
    let mtab = etc.join("mtab");
    std::os::unix::fs::symlink("/proc/mounts", &mtab).on("create", &mtab)
}
