//! Realisers: planned rows made true, and the rows that are true read back.
//!
//! A realiser decides nothing. It takes changes, carries them out in one batch per subsystem,
//! reports each row that it could not make true, and dumps what the kernel holds. The three
//! implementations behind the traits are Linux, a fake in memory, and chaos, which fails at
//! random.

mod changes;
mod chaos;
mod devices;
mod fake;
mod firewall;
mod links;
mod node;
mod observe;
mod outcome;
mod pod;
mod saved;
mod sightings;
mod sysctls;
mod watch;
mod work;

use std::fmt;
use std::os::fd::BorrowedFd;

use seaway_model::{
    Alias, Attachment, AttachmentId, DropReason, IfName, LinkRow, Row, ShapeRow, SysctlRow,
};
use seaway_plan::{ChangeSet, Table, Tables};
use serde::{Deserialize, Serialize};

pub use chaos::{ChaosHost, Dice};
pub use devices::{DeviceInfo, Devices};
pub use fake::FakeHost;
pub use firewall::{Firewall, FirewallWatch};
pub use node::LinuxHost;
pub(crate) use saved::before_us;
pub use sightings::{PodSighting, Sighting};
pub use watch::Watch;

use crate::error::KernelError;
use crate::netlink::TokenBucket;
use crate::netns::{Netns, NetnsId};

/// The link group of the host sides of live Pod links.
pub const LIVE_GROUP: u32 = 0x5ea1;
/// The link group of the host sides of Pod links that are freed and wait to be deleted.
pub const DYING_GROUP: u32 = 0x5ea2;
/// The link group of the node's VXLAN device.
pub const NODE_GROUP: u32 = 0x5ea3;
/// The link group of the node's bridge.
pub const BRIDGE_GROUP: u32 = 0x5ea4;
/// The link group of what limits the rate at which a Pod sends.
pub const SHAPER_GROUP: u32 = 0x5ea5;
/// The alias of the node's bridge.
pub const BRIDGE_ALIAS: &str = NODE_ALIASES[WRITTEN][0];
/// The alias of the node's VXLAN device.
pub const VXLAN_ALIAS: &str = NODE_ALIASES[WRITTEN][1];

/// The aliases of bridge and VXLAN device, and how that of a shaper begins: in the form of this version,
/// and in that of the next, which is read as well (see `seaway_model::attachment`).
const NODE_ALIASES: [[&str; 3]; 2] = [
    ["seaway1-bridge", "seaway1-vxlan", "seaway1-shaper:"],
    ["seaway2-bridge", "seaway2-vxlan", "seaway2-shaper:"],
];

/// Which form is written.
const WRITTEN: usize = if cfg!(feature = "next-format") { 1 } else { 0 };

/// Whether it is the alias of the node's bridge, in either form.
fn is_bridge_alias(alias: &str) -> bool {
    NODE_ALIASES.iter().any(|[bridge, ..]| *bridge == alias)
}

/// Whether it is the alias of the node's VXLAN device, in either form.
fn is_vxlan_alias(alias: &str) -> bool {
    NODE_ALIASES.iter().any(|[_, vxlan, _]| *vxlan == alias)
}

/// Whether a link of this group is one of ours.
pub(crate) fn is_our_group(group: u32) -> bool {
    (LIVE_GROUP..=SHAPER_GROUP).contains(&group)
}

/// Whether the limit of a device's rate is in force when its root queue is `found`: a token bucket,
/// or something else.
pub fn is_shaped(row: &ShapeRow, found: Option<&TokenBucket>) -> bool {
    found.is_some_and(|found| TokenBucket::of(row.rate).is_met_by(found))
}

/// Where rows are made true: the node and its Pods.
pub trait Host: Send + Sync {
    /// A realiser of the node's own namespace, for the use of one thread.
    fn node(&self) -> Result<Box<dyn NodeRealiser>, KernelError>;
    /// A realiser of a Pod's namespace.
    fn pod<'a>(&self, netns: &'a Netns) -> Result<Box<dyn PodRealiser + 'a>, KernelError>;
}

/// Finds the namespace in which a Pod link's other end is to be born.
pub type NetnsOf<'a> = dyn Fn(&AttachmentId) -> Option<BorrowedFd<'a>> + 'a;

/// What an observation does about the tables of Services that grow with the cluster: backends, members,
/// source ranges, frontends and cluster addresses. To read them costs the kernel quadratic time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Services {
    /// They are read.
    Read,
    /// Nobody can have changed them since they were found as planned: they are given as planned. If
    /// the filters around them are not as planned, they are read all the same.
    Unchanged,
    /// Nobody will look at them: none are given.
    Omitted,
}

/// Makes rows of the node's own namespace true.
pub trait NodeRealiser: Send {
    /// What the namespace holds of ours. `planned` says which kernel settings to read.
    fn observe(&mut self, planned: &Tables, services: Services) -> Result<Observed, KernelError>;

    /// The planned kernel settings as they are.
    fn settings(&mut self, planned: &Table<SysctlRow>) -> Table<SysctlRow>;

    /// Carries out changes. A Pod link is made with its other end in the namespace that
    /// `netns_of` gives; a deleted one is moved to the dying group. A bridge or a VXLAN device that
    /// cannot become what is planned is made anew; what hung on it is then missing, so that it is
    /// reported as a failure: the caller compares again.
    fn apply(&mut self, changes: &ChangeSet, netns_of: &NetnsOf<'_>) -> Vec<RowFailure>;

    /// Waits until the host side of a Pod's link carries packets (K14).
    fn settle(&mut self, id: &AttachmentId) -> Result<(), KernelError>;

    /// The attachment whose live link is in the kernel under the name of `id`, if so.
    fn find(&mut self, id: &AttachmentId) -> Result<Option<Attachment>, KernelError>;

    /// Moves links by their index to the dying group.
    fn condemn(&mut self, indexes: &[u32]) -> Result<(), KernelError>;

    /// Deletes the dying group.
    fn reap(&mut self) -> Result<(), KernelError>;

    /// What the filters have dropped since they were made.
    fn drops(&mut self) -> Result<Vec<(DropReason, u64)>, KernelError>;

    /// How many flows of Pods entered the forwarding of the node and how many left it, since the
    /// filters were made: what a stranger's filter drops in between is the difference.
    fn forwarded(&mut self) -> Result<(u64, u64), KernelError>;
}

/// Makes rows of a Pod's namespace true.
pub trait PodRealiser {
    /// What the namespace holds of the planned devices and settings.
    fn observe(&mut self, planned: &Tables) -> Result<Tables, KernelError>;
    /// Carries out changes.
    fn apply(&mut self, changes: &ChangeSet) -> Vec<RowFailure>;
    /// Whether there is an interface of this name.
    fn has_interface(&mut self, name: &IfName) -> Result<bool, KernelError>;
    /// Which namespace this is, beyond doubt.
    fn identity(&self) -> Result<PodNetns, KernelError>;
}

/// Which namespace a Pod has: enough to know it again by a path later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodNetns {
    /// Device and inode.
    pub id: NetnsId,
    /// The number that is never used again; `None` on kernels before 5.14.
    pub cookie: Option<u64>,
}

/// A row that could not be made true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowFailure {
    /// The table.
    pub table: &'static str,
    /// The row's key.
    pub key: String,
    /// What failed, and how.
    pub error: String,
    /// The kernel's error number.
    pub errno: Option<i32>,
}

impl RowFailure {
    /// The failure of a whole batch: no row of it can be called in force.
    pub fn whole(error: &KernelError) -> RowFailure {
        RowFailure {
            table: LinkRow::TABLE,
            key: "(all)".to_owned(),
            error: error.to_string(),
            errno: error.errno(),
        }
    }
}

impl fmt::Display for RowFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.table, self.key, self.error)
    }
}

/// What the node's namespace holds.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The rows that are ours.
    pub tables: Tables,
    /// The attachments that live links name.
    pub attachments: Vec<Attachment>,
    /// Indexes of links in our group without alias: ADDs that were never finished.
    pub unfinished: Vec<u32>,
    /// Links in our group whose alias somebody changed.
    pub strange: Vec<StrangeLink>,
    /// Attachments whose links wait to be deleted; `None` for links without a readable alias.
    pub dying: Vec<Option<Attachment>>,
}

/// A link in our group with an alias that is not ours.
#[derive(Clone, Debug)]
pub struct StrangeLink {
    /// The kernel's index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its alias.
    pub alias: Alias,
}
