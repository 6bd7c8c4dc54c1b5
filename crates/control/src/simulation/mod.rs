//! Deployments and ReplicaSets against a cluster that exists in memory only, with faults: late watches,
//! requests that fail, answers that get lost, controllers that start anew.
//!
//! The decisions are the real ones; only requests and watches are played. Bounds are checked on the
//! true state after every single event, convergence at the end.

mod actors;
pub(crate) mod store;
mod world;

use proptest::prelude::*;

use world::World;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever happens, a rollout stays within its bounds and comes to its end.
    #[test]
    fn rollouts_stay_within_bounds_and_converge(
        seed in 1u64..,
        replicas in 1i32..8,
        surge in 0i32..4,
        unavailable in 0i32..4,
    ) {
        let mut world = World::new(seed, replicas, surge, unavailable);
        world.settle();
        let steady = world.truth();
        prop_assert_eq!((steady.active, steady.available), (replicas as usize, replicas as usize));
        for round in 0..4 {
            if round != 3 {
                let version = world.below(3);
                world.set_version(version);
            }
            for _ in 0..150 {
                world.disturb();
                let truth = world.truth();
                let most = usize::try_from(replicas + world.limits().surge).expect("small");
                let least = usize::try_from(replicas - world.limits().unavailable).expect("small");
                prop_assert!(truth.active <= most, "{} of at most {most}", truth.active);
                prop_assert!(truth.available >= least, "{} of at least {least}", truth.available);
            }
        }
        world.settle();
        world.assert_done();
    }

    /// With anything a user may do in between, the end is what was asked for last.
    #[test]
    fn every_history_ends_as_wished(seed in 1u64.., replicas in 0i32..6, recreate in any::<bool>()) {
        let mut world = World::new(seed, replicas, 1, 1);
        if recreate {
            world.use_recreate();
        }
        for _ in 0..6 {
            world.meddle();
            for _ in 0..60 {
                world.disturb();
                if world.below(30) == 0 {
                    world.fail_a_pod();
                }
            }
        }
        world.settle();
        world.assert_done();
    }
}
