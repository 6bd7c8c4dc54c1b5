//! Real container runtimes: Debian's containerd and runc on nodes of a [`Net`](crate::net::Net), each
//! in namespaces of its own, and a client of the container runtime interface that kubelets speak.

pub mod api;
mod api_server;
mod cgroup;
mod client;
mod containerd;
mod grpc;
mod image;
mod kubelet;
mod machine;
mod sandbox;
mod site;

pub use api_server::ApiServer;
pub use client::Cri;
pub use containerd::Containerd;
pub use grpc::Refusal;
pub use image::IMAGE;
pub use kubelet::Template;
pub use machine::Machine;
pub use sandbox::{Container, Sandbox};
pub use site::{Host, Site};
