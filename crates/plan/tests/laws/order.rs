//! Any order of events is a cold start, and the changes given on the way lead to the rows.

use proptest::prelude::*;
use seaway_model::{Device, Reachability, RouteRow, Settings};
use seaway_plan::{Change, Planner, Tables, check};

use crate::inputs::{final_inputs, inputs, name, planned};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn any_order_of_events_is_a_cold_start(inputs in inputs()) {
        let warm = planned(inputs.clone());
        let mut cold = final_inputs(&inputs);
        let forwards = planned(cold.clone());
        prop_assert_eq!(warm.rows(), forwards.rows());
        prop_assert_eq!(check::findings(&warm), check::findings(&forwards));
        cold.reverse();
        let backwards = planned(cold);
        prop_assert_eq!(warm.rows(), backwards.rows());
    }

    #[test]
    fn the_changes_lead_to_the_rows(inputs in inputs()) {
        let mut planner = Planner::new(name(0), Settings::default());
        let mut kernel = Tables::default();
        kernel.apply(&planner.rows().changes_from(&Tables::default()));
        for input in inputs {
            kernel.apply(&planner.apply(input));
            prop_assert_eq!(&kernel, planner.rows());
        }
        prop_assert!(planner.rows().changes_from(&kernel).is_empty());
    }

    #[test]
    fn no_input_twice_changes_anything(inputs in inputs()) {
        let mut planner = planned(inputs.clone());
        let again = inputs.last().expect("at least one").clone();
        prop_assert!(planner.apply(again).is_empty());
    }

    #[test]
    fn deleted_rows_are_told_as_they_were(inputs in inputs()) {
        let mut planner = Planner::new(name(0), Settings::default());
        for input in inputs {
            let before = planner.rows().clone();
            for change in planner.apply(input).routes {
                if let Change::Delete(row) = change {
                    let key = seaway_model::Row::key(&row);
                    prop_assert!(before.routes.get(&key).is_some(), "{}", row);
                }
            }
        }
    }

    #[test]
    fn peers_never_take_over_own_addresses(inputs in inputs()) {
        let planner = planned(inputs);
        for route in planner.rows().routes.iter() {
            let Reachability::Via { device: Device::Uplink | Device::Vxlan, .. } = &route.reach
            else {
                continue;
            };
            for own in planner.pod_cidrs() {
                prop_assert!(!own.contains(&route.destination), "{}", route);
                prop_assert!(!route.destination.contains(own), "{}", route);
            }
        }
    }

    #[test]
    fn rows_of_an_attachment_are_all_that_are_there_for_it(inputs in inputs()) {
        let planner = planned(inputs);
        for id in planner.attachments().keys() {
            let rows = planner.rows_of(id);
            let devices = planner.rows().of_attachment(id);
            let by_bridge = |change: &Change<RouteRow>| match &change.row().reach {
                Reachability::Via { device, .. } => *device == Device::Bridge,
                Reachability::Unreachable => false,
            };
            let elsewhere = rows.changes_from(&devices).routes;
            prop_assert!(elsewhere.iter().all(by_bridge), "{:?}", elsewhere);
            prop_assert_eq!(&rows.links, &devices.links);
            prop_assert_eq!(&rows.sysctls, &devices.sysctls);
            prop_assert_eq!(&rows.port_guards, &devices.port_guards);
            prop_assert_eq!(&rows.host_ports, &devices.host_ports);
            prop_assert_eq!(&rows.proxies, &devices.proxies);
            prop_assert_eq!(&rows.shapes, &devices.shapes);
            prop_assert_eq!(&rows.redirects, &devices.redirects);
            prop_assert_eq!(&rows.fdb, &devices.fdb);
        }
    }
}
