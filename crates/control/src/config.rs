//! What the loops are told: ranges, graces, the CA.

use std::time::Duration;

use ipnet::IpNet;

use crate::node_cidrs::{ClusterCidr, PoolError};

/// How long a node may be silent.
const NODE_GRACE: Duration = Duration::from_secs(40);
/// How long Pods stay on a lost node.
const POD_STAY: Duration = Duration::from_secs(300);
/// How long a node must be gone before its Pods are.
const NODE_QUARANTINE: Duration = Duration::from_secs(40);

/// Which loops run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All that a cluster needs.
    Everything,
    /// What a cluster with a control plane of its own does not do itself.
    Network,
}

/// The configuration of all loops.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// Which loops run.
    pub extent: Extent,
    /// Cluster ranges to cut node ranges from, one of each family, in the order that nodes get them.
    /// None: nodes get their ranges from elsewhere.
    pub cluster_cidrs: Vec<ClusterCidr>,
    /// How long a node's Lease may stay the same before the node's state is unknown.
    pub node_grace: Duration,
    /// How long Pods that say nothing about it stay on a lost node.
    pub pod_stay: Duration,
    /// How long a node must be gone before its Pods are deleted.
    pub node_quarantine: Duration,
    /// The cluster's CA in PEM, for the ConfigMap `kube-root-ca.crt` of every namespace.
    pub root_ca: Option<String>,
    /// Whether to make the EndpointSlices of Services: not where the cluster's own controller does.
    pub endpoint_slices: bool,
    /// Whether NetworkPolicies are enforced. As long as they are not, every one is told so.
    pub policies_enforced: bool,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            extent: Extent::Everything,
            cluster_cidrs: Vec::new(),
            node_grace: NODE_GRACE,
            pod_stay: POD_STAY,
            node_quarantine: NODE_QUARANTINE,
            root_ca: None,
            endpoint_slices: true,
            policies_enforced: false,
        }
    }
}

impl ControlConfig {
    /// Adds a cluster range, cut into node ranges of `node_mask`; the first `first_index` of them are
    /// left out, so that with 1 the first node of `10.244.0.0/16` gets `10.244.1.0/24`.
    ///
    /// # Errors
    ///
    /// If the range cannot be cut like that.
    pub fn with_cluster_cidr(
        mut self,
        cidr: IpNet,
        node_mask: u8,
        first_index: u64,
    ) -> Result<Self, PoolError> {
        self.cluster_cidrs
            .push(ClusterCidr::new(cidr, node_mask, first_index)?);
        Ok(self)
    }
}
