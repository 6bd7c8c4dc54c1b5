//! EndpointSlices: which Pods are behind a Service, at which addresses and ports, and in what state.
//!
//! `plan` decides, from a Service, its Pods, their nodes and the slices that there are, which slices
//! to write: never one that would stay as it is, and one alone where one Pod changed. It is pure. The
//! driver is `EndpointSlices`; `Index` knows which Pods and slices a Service has without looking at
//! all of them, and `Pace` keeps a Service that changes without end from being written without end.
//!
//! The rules are those of Kubernetes' own controller, whose name the slices carry, so that either can
//! go on where the other stopped. Slices that somebody else manages are never touched. A Service that
//! lost its selector keeps its slices as they are: they are its owner's now. Left out are hints by
//! annotation (`service.kubernetes.io/topology-mode`). Slices after Endpoints are made in `endpoints`.

mod driver;
mod endpoint;
mod fill;
mod index;
mod pace;
mod plan;
#[cfg(test)]
mod tests;

pub(crate) use driver::EndpointSlices;
pub(crate) use endpoint::is_reachable;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::meta;

/// The most endpoints of a slice.
const MAX_ENDPOINTS: usize = 100;
/// The label that names a slice's Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that says who manages a slice, and what Kubernetes' own controller puts there.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(crate) const MANAGER: &str = "endpointslice-controller.k8s.io";
/// The label of what proxies must leave alone.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
/// The annotation with the time of the change that a slice was written for.
pub(crate) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// The label of a node that names its zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// An IP family, in the words of slices and Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    V4,
    V6,
}

impl Family {
    const fn text(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn named(text: &str) -> Option<Self> {
        [Self::V4, Self::V6]
            .into_iter()
            .find(|family| family.text() == text)
    }
}

/// What is known of a node that Pods are on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Place {
    zone: Option<String>,
}

/// Whether a Service's slices are ours to make: it has a selector.
pub(crate) fn is_selecting(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let selector = spec.and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| !selector.is_empty())
}

/// Whether a Service is a name for something else.
pub(crate) fn is_external_name(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName")
}

/// The Service of a slice that this controller manages.
fn service_of(slice: &EndpointSlice) -> Option<&str> {
    let labels = meta::labels(&slice.metadata);
    let ours = labels.get(MANAGED_BY).is_some_and(|by| by == MANAGER);
    labels
        .get(SERVICE_NAME)
        .filter(|_| ours)
        .map(String::as_str)
}
