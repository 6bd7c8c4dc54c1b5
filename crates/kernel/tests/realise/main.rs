//! The Linux realiser against a real kernel, each test in namespaces of its own.

mod bridge;
mod l2;
mod overlay;
mod rig;
mod routed;
mod scale;
mod shapes;
mod watch;
