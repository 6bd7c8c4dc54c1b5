//! Foreign runtimes (K15): Debian's containerd with its CRI plugin, `ctr run --cni` and podman, all
//! with Debian's runc, call the real plugin.

#![expect(clippy::expect_used, reason = "a test fails by panic")]

mod sandboxes;
