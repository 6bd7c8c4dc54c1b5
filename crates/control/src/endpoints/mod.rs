//! Endpoints, the older form of EndpointSlices, for those who read or write them still.
//!
//! - `made`: Services with a selector get Endpoints, which say what their slices say.
//! - `mirror`: Endpoints that somebody else writes for a Service without a selector become slices.
//!
//! Both plans are pure. The rules are those of Kubernetes' own controllers, whose names the objects
//! carry. Slices here have names that follow from what they are for, so that whoever makes one a
//! second time is told that it exists, and nothing has to be remembered.

mod driver;
mod made;
mod mirror;
#[cfg(test)]
mod tests;

pub(crate) use driver::EndpointsWriter;

/// The most addresses of Endpoints, and of a subset that is mirrored.
const MAX_ADDRESSES: usize = 1000;
/// The label of Endpoints that are made here, and what Kubernetes' own controller puts there.
const MADE_BY: &str = "endpoints.kubernetes.io/managed-by";
const MAKER: &str = "endpoint-controller";
/// Who manages the slices that are made of Endpoints.
const MIRRORER: &str = "endpointslicemirroring-controller.k8s.io";
