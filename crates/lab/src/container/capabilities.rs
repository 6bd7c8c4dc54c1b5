//! Which capabilities a container gets: Kubernetes' defaults less `MKNOD`, and what a lab can grant
//! without putting the machine at risk.

use seaway_kernel::container::{Capability, CapabilitySet};

use crate::error::LabError;

const DEFAULT: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// What a container may ask for beside those: it acts on the Pod's own namespaces, or on nothing
/// that another process owns.
const GRANTABLE: [&str; 4] = ["IPC_LOCK", "IPC_OWNER", "NET_ADMIN", "NET_BROADCAST"];

const ALL: &str = "ALL";

/// The capabilities of a container that adds and drops these.
pub(crate) fn granted(add: &[String], drop: &[String]) -> Result<CapabilitySet, LabError> {
    let mut granted = match drop.iter().any(|name| is_all(name)) {
        true => CapabilitySet::default(),
        false => DEFAULT
            .iter()
            .copied()
            .filter_map(Capability::named)
            .collect(),
    };
    for name in add {
        granted.insert(grantable(name)?);
    }
    for name in drop.iter().filter(|name| !is_all(name)) {
        granted.remove(known(name)?);
    }
    Ok(granted)
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case(ALL)
}

fn known(name: &str) -> Result<Capability, LabError> {
    Capability::named(name).ok_or_else(|| {
        LabError::Request(format!(
            "there is no capability \"{name}\"; they are called like NET_ADMIN"
        ))
    })
}

fn grantable(name: &str) -> Result<Capability, LabError> {
    if is_all(name) {
        return Err(refused(name));
    }
    let capability = known(name)?;
    match DEFAULT
        .iter()
        .chain(&GRANTABLE)
        .any(|n| Capability::named(n) == Some(capability))
    {
        true => Ok(capability),
        false => Err(refused(name)),
    }
}

fn refused(name: &str) -> LabError {
    LabError::Request(format!(
        "the capability \"{name}\" reaches beyond a Pod, and this machine is not to be at risk: a lab grants only the default ones and {}",
        GRANTABLE.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(add: &[&str], drop: &[&str]) -> Result<Vec<String>, String> {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        granted(&owned(add), &owned(drop))
            .map(|set| set.iter().map(|c| c.to_string()).collect())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn a_container_gets_the_default_ones_without_mknod() {
        let mut names = names(&[], &[]).expect("fine");
        names.sort();
        assert_eq!(names, DEFAULT);
    }

    #[test]
    fn adding_and_dropping_works_as_in_kubernetes() {
        assert_eq!(names(&[], &["ALL"]), Ok(vec![]));
        assert_eq!(
            names(&["net_bind_service"], &["all"]),
            Ok(vec!["NET_BIND_SERVICE".to_owned()])
        );
        let more = names(&["NET_ADMIN"], &["CHOWN"]).expect("fine");
        assert_eq!(more.len(), DEFAULT.len());
        assert!(more.contains(&"NET_ADMIN".to_owned()) && !more.contains(&"CHOWN".to_owned()));
        assert_eq!(
            names(&["CAP_NET_ADMIN"], &["ALL"]),
            names(&["NET_ADMIN"], &["ALL"])
        );
    }

    #[test]
    fn what_reaches_beyond_a_pod_is_refused() {
        let risky = [
            "SYS_ADMIN",
            "SYS_MODULE",
            "SYS_RAWIO",
            "SYS_PTRACE",
            "MKNOD",
            "DAC_READ_SEARCH",
            "SYS_BOOT",
            "SYS_TIME",
            "BPF",
            "PERFMON",
            "SYSLOG",
            "SYS_RESOURCE",
            "ALL",
            "all",
        ];
        for name in risky {
            let error = names(&[name], &[]).expect_err(name);
            assert!(error.contains(name) && error.contains("at risk"), "{error}");
        }
        let error = names(&["NET_ADMIM"], &[]).expect_err("a slip");
        assert!(error.contains("there is no capability"), "{error}");
    }
}
