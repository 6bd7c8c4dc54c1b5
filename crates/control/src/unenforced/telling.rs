//! Which Event a policy should have: a new one for each day of its life and each of its versions.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;

use crate::meta;

/// The Event's reason.
const REASON: &str = "NotEnforced";
/// Who tells.
const COMPONENT: &str = "seaway-controller";
/// What is told.
const MESSAGE: &str = "Seaway does not enforce NetworkPolicies yet: this policy allows and denies \
     nothing, and all traffic of the Pods that it selects is let through";
/// After how long it is told again.
const DAY: u64 = 24 * 60 * 60;
/// How long an object's name may be.
const LONGEST_NAME: usize = 253;

/// What was or is to be told of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Telling {
    uid: String,
    generation: i64,
    /// Days since the policy was made.
    day: u64,
}

impl Telling {
    /// What is to be told now.
    pub(super) fn of(policy: &NetworkPolicy, now: Timestamp) -> Self {
        Self {
            uid: meta::uid(&policy.metadata).to_owned(),
            generation: policy.metadata.generation.unwrap_or_default(),
            day: age(policy, now) / DAY,
        }
    }

    /// The Event of a policy that tells it.
    pub(super) fn event(&self, policy: &NetworkPolicy, now: Timestamp) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(self.name(meta::name(&policy.metadata))),
                namespace: policy.metadata.namespace.clone(),
                ..ObjectMeta::default()
            },
            involved_object: policy.object_ref(&()),
            type_: Some("Warning".to_owned()),
            reason: Some(REASON.to_owned()),
            message: Some(MESSAGE.to_owned()),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            reporting_component: Some(COMPONENT.to_owned()),
            source: Some(EventSource {
                component: Some(COMPONENT.to_owned()),
                host: None,
            }),
            ..Event::default()
        }
    }

    /// The same for the same telling, in any process: a fixed hash (FNV-1a), not a secret one.
    fn name(&self, policy: &str) -> String {
        let text = format!("{}/{}/{}", self.uid, self.generation, self.day);
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let suffix = format!(".{hash:016x}");
        // Names are ASCII; what ends in a dot or dash would not do in front of the suffix.
        let most = LONGEST_NAME - suffix.len();
        let short: String = policy.chars().take(most).collect();
        format!("{}{suffix}", short.trim_end_matches(['.', '-']))
    }
}

/// When there is something new to tell though the policy stays as it is.
pub(super) fn until_next(policy: &NetworkPolicy, now: Timestamp) -> Duration {
    Duration::from_secs(DAY - age(policy, now) % DAY)
}

/// In seconds; a policy of a server whose clock is ahead is new.
fn age(policy: &NetworkPolicy, now: Timestamp) -> u64 {
    let age = now.as_second() - meta::created(&policy.metadata).as_second();
    u64::try_from(age).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::SignedDuration;
    use serde_json::json;

    const MADE: &str = "2026-01-01T10:00:00Z";

    fn policy(name: &str, generation: i64) -> NetworkPolicy {
        serde_json::from_value(
            json!({"metadata": {"name": name, "namespace": "a", "uid": "u",
            "generation": generation, "creationTimestamp": MADE}}),
        )
        .expect("a policy")
    }

    fn after(hours: i64) -> Timestamp {
        let made: Timestamp = MADE.parse().expect("a time");
        made + SignedDuration::from_hours(hours)
    }

    #[test]
    fn a_day_and_a_change_are_told_and_a_restart_is_not() {
        let name = |policy: &NetworkPolicy, hours: i64| {
            let event = Telling::of(policy, after(hours)).event(policy, after(hours));
            event.metadata.name.expect("named")
        };
        let first = policy("p", 1);
        assert_eq!(name(&first, 0), name(&first, 23), "told already");
        assert_ne!(name(&first, 0), name(&first, 24), "a day later");
        assert_ne!(name(&first, 0), name(&policy("p", 2), 0), "changed");
        assert_eq!(name(&first, 0), name(&first, -3), "clocks differ");
        assert_eq!(until_next(&first, after(23)), Duration::from_secs(3600));
        assert_eq!(until_next(&first, after(24)), Duration::from_secs(DAY));
    }

    #[test]
    fn the_event_is_the_policys_and_its_name_can_be_one() {
        let long = policy(&format!("{}.{}", "a".repeat(235), "b".repeat(17)), 1);
        let event = Telling::of(&long, after(1)).event(&long, after(1));
        let name = event.metadata.name.expect("named");
        assert!(name.len() <= LONGEST_NAME && !name.contains(".."), "{name}");
        assert_eq!(event.metadata.namespace.as_deref(), Some("a"));
        assert_eq!(event.involved_object.kind.as_deref(), Some("NetworkPolicy"));
        assert_eq!(
            event.involved_object.api_version.as_deref(),
            Some("networking.k8s.io/v1")
        );
        assert_eq!(event.involved_object.uid.as_deref(), Some("u"));
    }
}
