//! Capabilities by name and number, as sets. Which ones a process is to have is decided elsewhere.

use std::fmt;

use crate::error::{Context, KernelError};

/// In the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// One capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

impl Capability {
    /// The capability of that name, in any case, with `CAP_` before it or not.
    pub fn named(name: &str) -> Option<Capability> {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let number = NAMES.iter().position(|name| *name == short)?;
        u8::try_from(number).ok().map(Capability)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// Puts one in.
    pub fn insert(&mut self, capability: Capability) {
        self.0 |= 1 << capability.0;
    }

    /// Takes one out.
    pub fn remove(&mut self, capability: Capability) {
        self.0 &= !(1 << capability.0);
    }

    /// Whether it is in.
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }

    /// Those that are in both.
    #[must_use]
    pub fn and(self, other: CapabilitySet) -> CapabilitySet {
        CapabilitySet(self.0 & other.0)
    }

    /// All of them, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        (0..64).map(Capability).filter(move |c| self.contains(*c))
    }

    /// Those that the calling thread may use.
    pub fn permitted_here() -> Result<CapabilitySet, KernelError> {
        let path = "/proc/thread-self/status";
        let status = std::fs::read_to_string(path).during("read", || path.to_owned())?;
        let bits = status
            .lines()
            .find_map(|line| line.strip_prefix("CapPrm:"))
            .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
        let not_there = || std::io::Error::other("it tells no permitted capabilities");
        bits.map(CapabilitySet)
            .ok_or_else(not_there)
            .during("understand", || path.to_owned())
    }

    /// The two halves that system calls want.
    pub(super) fn halves(self) -> [u32; 2] {
        let [a, b, c, d, e, f, g, h] = self.0.to_le_bytes();
        [
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        ]
    }

    /// By number.
    pub(super) fn has_number(self, number: u8) -> bool {
        self.contains(Capability(number))
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> CapabilitySet {
        let mut set = CapabilitySet::default();
        capabilities.into_iter().for_each(|c| set.insert(c));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernels_numbers() {
        for (name, number) in [
            ("CHOWN", 0),
            ("NET_ADMIN", 12),
            ("SYS_ADMIN", 21),
            ("BPF", 39),
        ] {
            assert_eq!(Capability::named(name), Some(Capability(number)));
            assert_eq!(Capability(number).to_string(), name);
        }
        assert_eq!(Capability::named("cap_chown"), Some(Capability(0)));
        assert_eq!(Capability::named("ALL"), None);
    }

    #[test]
    fn sets_behave_as_sets() {
        let [chown, bpf] = ["CHOWN", "BPF"].map(|name| Capability::named(name).expect("known"));
        let mut set: CapabilitySet = [chown, bpf].into_iter().collect();
        assert_eq!(set.halves(), [1, 1 << 7]);
        set.remove(chown);
        assert_eq!(set.iter().collect::<Vec<_>>(), [bpf]);
        assert_eq!(
            set.and([chown].into_iter().collect()),
            CapabilitySet::default()
        );
    }
}
