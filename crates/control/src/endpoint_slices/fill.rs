//! Putting endpoints into slices that all have the same ports.
//!
//! Rules, in the order of the code: an endpoint stays in the slice where it is; a slice that loses
//! its last endpoint goes; new endpoints go into slices that are written anyway, the fullest first;
//! what is left goes into one other slice if it fits there, the one that it fills best, else into new
//! slices. Nothing is moved to even slices out.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::jiff::Timestamp;

use super::MAX_ENDPOINTS;

/// An endpoint as it should be.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) endpoint: Endpoint,
    /// Since when its Pod is in the state that it is in.
    pub(super) since: Option<Timestamp>,
}

/// Endpoints by the names of their Pods, of which each has one endpoint in a family.
pub(super) type Endpoints<'a> = BTreeMap<&'a str, Wanted>;

/// The name of the Pod behind an endpoint.
pub(super) fn pod_name(endpoint: &Endpoint) -> &str {
    let target = endpoint.target_ref.as_ref();
    let name = target.and_then(|target| target.name.as_deref());
    name.unwrap_or_default()
}

/// A slice that stays, and what shall be in it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) slice: Arc<EndpointSlice>,
    pub(super) endpoints: Vec<Wanted>,
    pub(super) changed: bool,
}

impl Kept {
    fn room(&self) -> usize {
        MAX_ENDPOINTS.saturating_sub(self.endpoints.len())
    }

    fn take(&mut self, left: &mut Endpoints<'_>) {
        let count = self.room();
        self.endpoints.extend(first(left, count));
        self.changed = true;
    }
}

/// What becomes of the slices with certain ports.
#[derive(Debug, Default)]
pub(super) struct Filled {
    pub(super) kept: Vec<Kept>,
    /// Slices in which nothing is left.
    pub(super) emptied: Vec<Arc<EndpointSlice>>,
    /// Endpoints of new slices.
    pub(super) new: Vec<Vec<Wanted>>,
}

/// Puts `wanted` into slices. `is_current` says whether the rest of a slice is as it should be.
pub(super) fn fill(
    slices: Vec<Arc<EndpointSlice>>,
    wanted: Endpoints<'_>,
    is_current: &dyn Fn(&EndpointSlice) -> bool,
) -> Filled {
    let mut left = wanted;
    let mut filled = Filled::default();
    for slice in slices {
        let kept = keep(&slice, &mut left, is_current);
        if kept.endpoints.is_empty() {
            filled.emptied.push(slice);
        } else {
            filled.kept.push(kept);
        }
    }
    let mut open: Vec<&mut Kept> = filled.kept.iter_mut().filter(|kept| kept.changed).collect();
    open.sort_by_key(|kept| kept.room());
    for kept in open {
        if left.is_empty() {
            break;
        }
        kept.take(&mut left);
    }
    while !left.is_empty() {
        let unchanged = filled.kept.iter_mut().filter(|kept| !kept.changed);
        let fitting = unchanged.filter(|kept| kept.room() >= left.len());
        match fitting.min_by_key(|kept| kept.room()) {
            Some(kept) => kept.take(&mut left),
            None => filled.new.push(first(&mut left, MAX_ENDPOINTS)),
        }
    }
    filled
}

/// The endpoints of a slice that are still wanted there, as they are now.
fn keep(
    slice: &Arc<EndpointSlice>,
    left: &mut Endpoints<'_>,
    is_current: &dyn Fn(&EndpointSlice) -> bool,
) -> Kept {
    let before = slice.endpoints.as_deref().unwrap_or_default();
    let mut endpoints = Vec::with_capacity(before.len());
    let mut changed = !is_current(slice);
    for old in before {
        let wanted = if endpoints.len() < MAX_ENDPOINTS {
            left.remove(pod_name(old))
        } else {
            None
        };
        match wanted {
            Some(wanted) => {
                changed |= wanted.endpoint != *old;
                endpoints.push(wanted);
            }
            None => changed = true,
        }
    }
    Kept {
        slice: slice.clone(),
        endpoints,
        changed,
    }
}

fn first(left: &mut Endpoints<'_>, count: usize) -> Vec<Wanted> {
    std::iter::from_fn(|| left.pop_first())
        .take(count)
        .map(|(_, wanted)| wanted)
        .collect()
}
