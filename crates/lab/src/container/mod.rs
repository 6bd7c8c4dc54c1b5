//! Containers: host processes with nothing but what they are given.
//!
//! A container's program is the first process of a process namespace of its own, in a root that holds
//! this machine's programs read-only and nothing else of it, with Kubernetes' default capabilities
//! less `MKNOD` and no way to gain any. There is no seccomp filter and no cgroup: a container can
//! still use the machine's processors and memory, and every system call that its capabilities allow.
//!
//! Between the supervisor and the program stands a shim (`seaway lab container run`): the supervisor
//! has many threads and cannot itself become what a container is. When the shim dies, the kernel kills
//! the container; when the supervisor dies, everything. Everything is told over the shim's standard
//! input, a socket: a [`wire::Launch`] in, a [`wire::Report`] back.
//!
//! What a Pod is, when containers start and what their end means is the runtime's matter.

mod attend;
mod capabilities;
mod devices;
mod enter;
mod etc;
mod exec;
mod image;
mod init;
mod launch;
mod log;
mod proc;
mod program;
mod root;
mod session;
mod shim;
mod spec;
mod terminal;
mod unwritable;
mod volumes;
mod wire;

pub(crate) use exec::exec;
pub(crate) use image::resolve;
pub(crate) use launch::{Started, signal, start};
pub(crate) use log::LogTarget;
pub(crate) use session::{Lent, Session, SessionEnd};
pub(crate) use spec::{BindMount, ContainerSpec};

use std::process::ExitCode;

use clap::ValueEnum;

use crate::error::LabError;

/// A step on the way to a container's program; each reads what it is to do from standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// Stand between the supervisor and a container.
    Run,
    /// Become a container's program.
    Init,
    /// Run one more command in a container.
    Enter,
}

/// Does one of the steps.
pub(crate) fn stage(stage: Stage) -> Result<ExitCode, LabError> {
    match stage {
        Stage::Run => shim::run(),
        Stage::Init => init::run(),
        Stage::Enter => enter::run(),
    }
}
