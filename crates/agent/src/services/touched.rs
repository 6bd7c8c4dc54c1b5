//! Which Services an event of the cluster is about.

use std::collections::BTreeSet;

use seaway_model::{ClusterEvent, ServiceName};
use seaway_plan::Planner;

/// Adds the Services that an event is about, before the planner is told.
pub(crate) fn note(event: &ClusterEvent, planner: &Planner, names: &mut BTreeSet<ServiceName>) {
    match event {
        ClusterEvent::ServiceUpsert(service) => drop(names.insert(service.name.clone())),
        ClusterEvent::ServiceDelete(name) => drop(names.insert(name.clone())),
        ClusterEvent::SliceUpsert(slice) => {
            names.insert(slice.service.clone());
            names.extend(planner.slice_owner(&slice.name).cloned());
        }
        ClusterEvent::SliceDelete(name) => names.extend(planner.slice_owner(name).cloned()),
        ClusterEvent::NodeUpsert(_)
        | ClusterEvent::NodeDelete(_)
        | ClusterEvent::PodUpsert(_)
        | ClusterEvent::PodDelete(_)
        | ClusterEvent::Synced => {}
    }
}

#[cfg(test)]
mod tests {
    use seaway_model::{EndpointSlice, Family, NodeName, Settings};
    use seaway_plan::Input;

    use super::*;

    #[test]
    fn a_slice_that_goes_or_changes_hands_touches_whom_it_served() {
        let slice = |service: &str| {
            ClusterEvent::SliceUpsert(EndpointSlice {
                name: "default/s".parse().expect("valid"),
                service: service.parse().expect("valid"),
                family: Family::V4,
                ports: vec![],
                endpoints: vec![],
            })
        };
        let node = NodeName::new("n").expect("valid");
        let mut planner = Planner::new(node, Settings::default());
        let mut names = |event: ClusterEvent| {
            let mut names = BTreeSet::new();
            note(&event, &planner, &mut names);
            planner.apply(Input::Cluster(event));
            let all = names.into_iter().map(|name| name.to_string());
            all.collect::<Vec<_>>()
        };
        assert_eq!(names(slice("default/a")), ["default/a"]);
        assert_eq!(names(slice("default/b")), ["default/a", "default/b"]);
        let gone = || ClusterEvent::SliceDelete("default/s".parse().expect("valid"));
        assert_eq!(names(gone()), ["default/b"]);
        assert_eq!(names(gone()), [""; 0]);
    }
}
