//! Kubernetes objects at the rim: client, watch store, conversion to the model, status writer.
//!
//! `plan` never sees these types; this crate never plans. Everything here lives on a tokio runtime
//! of the caller's.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use k8s_openapi::api::core::v1::Node;
//! use seaway_api::{Change, Access, Selector, Timing, client, watched};
//!
//! let client = client(&Access::file("/etc/seaway/kubeconfig"))?;
//! let nodes: kube::Api<Node> = kube::Api::all(client);
//! let (store, mut changes) = watched(nodes, Selector::default(), Timing::default());
//! while let Some(batch) = changes.next().await {
//!     for change in batch {
//!         match change {
//!             Change::Upsert(key, node) => println!("{key}: {:?}", node.spec),
//!             Change::Delete(key, _) => println!("{key} is gone"),
//!             Change::Synced => println!("{} nodes", store.len()),
//!             Change::Problems(problems) => println!("{problems:?}"),
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`client`], [`install_crypto`], [`Access`], [`Timing`]: the connection. Requests that
//!   are no watch have deadlines; dead servers are noticed on open watches.
//! - [`watched`]: a copy of all objects of a kind that match a [`Selector`], kept through
//!   disconnects, 410 and restarted servers: a [`Store`] to look into and [`Changes`] to follow.
//!   [`Mirror`] holds the rules of what may be deleted.
//! - [`convert`], [`ClusterFeed`], [`follow_cluster`]: nodes, Pods, Services and endpoints as the
//!   model has them.
//! - [`StatusWriter`]: status subresources, written only if changed, the last wish winning.
//! - [`NodeVoice`]: what an agent says on its own Node; [`AgentSummary`], [`heartbeat`]: and in its
//!   Lease.
//! - [`overview`]: the whole cluster at one moment, for people.
//! - [`EventRecorder`]: Events, counted together and rate limited.

mod backoff;
mod clock;
mod cluster;
mod connect;
pub mod convert;
mod events;
mod failure;
mod feed;
pub mod heartbeat;
mod key;
mod merge;
mod mirror;
pub mod overview;
mod parcel;
mod status;
mod timing;
mod voice;
mod watched;

pub use backoff::Backoff;
pub use clock::server_time;
pub use cluster::{ClusterNews, Following, follow_cluster};
pub use connect::{
    Access, BadServerUrl, ConnectError, Credentials, ServerUrl, client, client_with,
    install_crypto, server_url,
};
pub use events::{EventNote, EventRecorder, EventType};
pub use failure::{Failure, describe};
pub use feed::{
    ClusterFeed, ServiceParcel, SliceContent, SliceParcel, service_parcel, slice_parcel,
};
pub use heartbeat::AgentSummary;
pub use key::ObjectKey;
pub use merge::merge_diff;
pub use mirror::{Change, Identity, Item, Mirror, Version};
pub use parcel::Parcel;
pub use status::StatusWriter;
pub use timing::Timing;
pub use voice::{NodeNote, NodeVoice};
pub use watched::{Changes, Problem, Selector, Store, read_identity, watched, watched_in_part};
